"""The loader: an artifact for this spec, then CPython's own dynamic loading. Warm room.

``create_module`` and ``exec_module`` both ask for the artifact, because ``importlib.reload`` calls only the second. The
one edge up, to the cold room, is in `_build`.
"""

import _imp
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _thread import get_ident

from . import manifest as manifests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from types import ModuleType
    from typing import Any

__all__ = ["NativeLoader", "Source", "forget", "in_cold_room", "loaded", "recognise"]

#: Threads that are inside the cold room now.
_building: "set[int]" = set()

#: Full name -> artifact that the module of this name in ``sys.modules`` was loaded from.
loaded: "dict[str, str]" = {}

#: What the cold room imports: inside a build, a user's source of such a name is not meant.
_OWN_NEEDS = sys.stdlib_module_names | {"autoaccel", "filelock", "platformdirs", "rich", "click", "setuptools"}


class Source:
    """A file that is the module ``name``.

    Attributes:
        name: the module's full dotted name.
        path: the source file, as the import system spells its directory.
        toolchain: the word in the table of toolchains (``"cython"``, ``"c"``, …).
        package: whether the module is a package (``__init__.pyx``).
    """

    __slots__ = ("name", "package", "path", "toolchain")

    def __init__(self, name: str, path: str, toolchain: str, package: bool = False) -> None:
        self.name = name
        self.path = path
        self.toolchain = toolchain
        self.package = package

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.path!r}, {self.toolchain!r})"


class NativeLoader(ExtensionFileLoader):
    """Loads the module that a native source becomes; ``path`` is the artifact once it is known, the source before."""

    def __init__(
        self,
        source: "Source",
        names: "Container[str] | None" = None,
        mode: str = "build",
        manifest: "manifests.Manifest | None" = None,
    ) -> None:
        self.name = source.name
        self.path = source.path
        self.source = source
        self.mode = mode
        self._names = names
        self._manifest = manifest
        self._created: ModuleType | None = None

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """The uninitialised module, built first where no artifact holds.

        Raises:
            autoaccel.BuildError: the source does not compile.
            autoaccel.ToolchainMissing: no compiler for it is installed.
            autoaccel.LoadError: the library can't be loaded.
        """
        self._created = module = self._create(spec)
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's init; on a reload, build what has changed and put the new content into ``module``."""
        if module is self._created:
            self._created = None
            _imp.exec_dynamic(module)
            loaded[self.name] = self.path
            return
        self._reload(module)

    def is_package(self, fullname: str) -> bool:
        """Whether the source is a package's ``__init__``."""
        return self.source.package

    def get_resource_reader(self, name: "str | None" = None) -> "Any":
        """The reader of the source's folder: data files lie beside the source, not in the cache."""
        from importlib.readers import FileReader

        beside: Any = _Beside(self.source.path)
        return FileReader(beside) if self.source.package else None

    def _create(self, spec: ModuleSpec) -> "ModuleType":
        artifact = self._artifact()
        self.path = spec.cached = artifact
        # CPython opens `origin`; everyone else is to see the source there.
        spec.origin = artifact
        try:
            module: ModuleType = _imp.create_dynamic(spec)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) or error.path not in (None, artifact):
                raise
            reason = error.msg
        else:
            module.__file__ = self.source.path
            return module
        finally:
            spec.origin = self.source.path
        from . import errors

        raise errors.not_loadable(self.name, self.source.path, artifact, reason)

    def _reload(self, module: "Any") -> None:
        artifact = self._artifact(fresh=True)
        spec: ModuleSpec = module.__spec__
        if loaded.get(self.name) == artifact:
            self.path = spec.cached = module.__cached__ = artifact
            return
        # A library is initialised once; the new one makes a module of its own, whose content moves over. Its functions
        # keep it alive and see its globals.
        renewed = self._create(spec)
        for name in ("__spec__", "__loader__", "__package__", "__path__", "__cached__"):
            if name in module.__dict__:
                renewed.__dict__[name] = module.__dict__[name]
        _imp.exec_dynamic(renewed)
        module.__dict__.update(renewed.__dict__)
        module.__cached__ = artifact
        module.__dict__["__autoaccel_renewed__"] = renewed
        loaded[self.name] = artifact

    def _artifact(self, *, fresh: bool = False) -> str:
        """Path of a library that is what a build now would give."""
        source = self.source
        if fresh:
            manifests.forget()
            self._names = self._manifest = None
        manifest = self._manifest or manifests.read(source.name, source.path)
        self._manifest = None
        if manifest is None:
            reason = "never built here"
        elif self.mode == "check":
            reason = "AUTOACCEL=check compares contents"
        else:
            held = manifests.stale_reason(manifest, self._names, system=self.mode != "load")
            held = held or manifests.artifact_reason(manifest)
            if held is None:
                return manifest.artifact
            reason = held
        if self.mode == "load":
            from . import errors

            raise errors.not_built(source.name, source.path, reason)
        return self._build(reason)

    def _build(self, reason: str) -> str:
        from . import pipeline
        from .errors import AccelError

        me = get_ident()
        nested = me in _building
        _building.add(me)
        try:
            return pipeline.obtain(self.source, reason=reason).path
        except AccelError as error:
            # The way through our own rooms tells the user nothing.
            problem = error.with_traceback(None)
        finally:
            if not nested:
                _building.discard(me)
        raise problem


def recognise(name: str, path: str, toolchain: str, ask: bool) -> "tuple[Source, manifests.Manifest | None] | None":
    """The file at ``path`` as the source of the module ``name``, with its manifest; None where it is not.

    Args:
        name: the full name of the module.
        path: a file of the right name.
        toolchain: what would build it.
        ask: whether only the content tells; what was built from this very file needs no second look.
    """
    manifest = manifests.read(name, path)
    seen = manifests.identity(path) if manifest is None or ask else None
    if manifest is None:
        if seen is None:
            return None
        if not ask:
            from _frozen_importlib_external import _path_isfile  # type: ignore[attr-defined]

            return (Source(name, path, toolchain), None) if _path_isfile(path) else None
    if ask and not (manifest is not None and any(row[0] == path and row[1:] == seen for row in manifest.inputs)):
        from . import csource

        if not csource.claims(name, path):
            return None
    return Source(name, path, toolchain), manifest


def forget() -> None:
    """Look at toolchains, projects and the cache's place again."""
    manifests.forget()


def in_cold_room(fullname: str) -> bool:
    """Whether this thread is building, and ``fullname`` is a module that the build itself may import."""
    return bool(_building) and get_ident() in _building and fullname.partition(".")[0] in _OWN_NEEDS


class _Beside:
    """What ``importlib.readers.FileReader`` asks of a loader."""

    def __init__(self, path: str) -> None:
        self.path = path
