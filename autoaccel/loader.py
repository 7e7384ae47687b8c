"""The loader's rarer cases: what does not hold at first sight, packages, manifests that no pack has.

Lukewarm room: imported by the warm one when such a case comes up; loads nothing that a bare interpreter has not loaded.
"""

import _imp
import sys
from _frozen_importlib import ModuleSpec, _module_locks  # type: ignore[attr-defined]
from _frozen_importlib_external import ExtensionFileLoader
from _thread import get_ident

from . import (
    _SEP,
    BUCKET,
    _access,
    building,
    clear,
    create_module,
    exec_module,
    held,
    known_roots,
    native_loader,
    packs,
    slot,
    unmarshalled,
)

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, TypeGuard

    from ._typing import NativeLoader, Record
    from .sources import Source

    _Native = NativeLoader
else:
    _Native = ExtensionFileLoader

__all__ = [
    "ColdRoom",
    "PackageLoader",
    "create",
    "executable",
    "forget",
    "held_by",
    "in_cold_room",
    "is_native",
    "ladder",
    "obtained",
    "open_library",
    "read_alone",
    "recognise",
    "renew",
    "source_of",
    "trusted",
]


def is_native(loader: object) -> "TypeGuard[NativeLoader]":
    """Whether a spec's loader is one of ours, of a module that is built."""
    return isinstance(loader, ExtensionFileLoader) and "toolchain" in vars(loader)


class PackageLoader(_Native):
    """Loads a package's ``__init__``; `_typing.NativeLoader` has the attributes."""

    package = True
    asked = 0
    created: "tuple[ModuleType, ...]" = ()

    def __init__(
        self,
        name: str,
        origin: str,
        toolchain: str,
        mode: str = "build",
        names: "set[str] | None" = None,
        record: "Record | None" = None,
    ) -> None:
        native_loader(name, origin, toolchain, mode, names, record, self)

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """The uninitialised module, built first where no artifact holds.

        Raises:
            autoaccel.BuildError: the source does not compile.
            autoaccel.ToolchainMissing: no compiler for it is installed.
            autoaccel.LoadError: the library can't be loaded.
        """
        return create_module(self, spec)

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's init; on a reload, build what has changed and put the new content into ``module``."""
        exec_module(self, module)

    def is_package(self, fullname: str) -> bool:
        """Whether the source is a package's ``__init__``."""
        return self.package

    def get_resource_reader(self, name: "str | None" = None) -> "Any":
        """The reader of the source's folder: data files lie beside the source, not in the cache."""
        if not self.package:
            return None
        from importlib.machinery import SourceFileLoader
        from importlib.readers import FileReader

        return FileReader(SourceFileLoader(self.name, self.origin))


def source_of(loader: "NativeLoader") -> "Source":
    """What a loader loads, as the cold rooms take it."""
    from .sources import Source

    return Source(loader.name, loader.origin, loader.toolchain, loader.package)


# loading

#: How often a library is built again that somebody removes from the cache before it can be loaded; the last time, where
#: nobody does.
_TRIES = 5


def create(loader: "NativeLoader", spec: ModuleSpec, problem: "ImportError | None") -> "ModuleType | ImportError":
    """The uninitialised module of a loader whose record does not hold at first sight; or why there is none.

    Args:
        loader: whose it is.
        spec: the module's.
        problem: how the library of a record that did hold has failed to load.
    """
    if problem is None:
        artifact = obtained(loader)
        if isinstance(artifact, ImportError):
            return artifact
        try:
            return open_library(loader, spec, artifact)
        except ImportError as error:
            problem = error
    else:
        from .reload import explained

        problem = explained(problem, source_of(loader), loader.path)
    # The cache may have been cleared between the look and the load, or be no good; else it is the library that is not.
    artifact = problem if not _was_gone(problem, loader.path) and _is_right(loader) else _built(loader)
    for turn in range(_TRIES):
        if isinstance(artifact, ImportError):
            return artifact
        try:
            return open_library(loader, spec, artifact)
        except ImportError as error:
            if _access(artifact, 0) and not _was_gone(error, artifact):
                raise
            problem = error
        artifact = _built(loader, privately=turn + 2 == _TRIES)
    return problem


def _was_gone(problem: ImportError, artifact: str) -> bool:
    """Whether there was no library, as the system says: it may be there again, built by another process."""
    return f"{artifact}: cannot open shared object file: No such file" in str(problem)


def open_library(loader: "NativeLoader", spec: ModuleSpec, artifact: str) -> "ModuleType":
    """The uninitialised module in the library at ``artifact``."""
    from .location import opened

    loader.path = spec.cached = artifact
    # CPython opens `origin`; everyone else is to see the source there.
    spec.origin = opened(artifact)
    try:
        module: ModuleType = _imp.create_dynamic(spec)
    except ImportError as error:
        from .reload import explained

        problem = explained(error, source_of(loader), artifact)
        if problem is error:
            raise
    else:
        module.__file__ = loader.origin
        return module
    finally:
        spec.origin = loader.origin
    raise problem


def renew(loader: "NativeLoader", module: "ModuleType") -> "ImportError | None":
    """Build what has changed and put the new content into ``module``; or why that can't be."""
    from . import reload

    # On a reload no listing is at hand, and everything is looked at again.
    forget()
    loader.record = loader.names = None
    artifact = obtained(loader)
    if isinstance(artifact, ImportError):
        return artifact
    reload.renew(loader, module, artifact)
    return None


def held_by(loader: "NativeLoader") -> "str | None":
    """Path of the artifact that is what a build now would give, if a manifest tells of one."""
    if loader.mode == "check":
        return None
    record = loader.record or read_alone(loader.name, loader.origin)
    if record is None:
        return None
    from . import staleness

    if staleness.stale_reason(record, loader.names, system=loader.mode != "load") is not None:
        return None
    writable = loader.mode == "build" and known_roots and _access(known_roots[0], 2)
    if writable and staleness.is_outdated(record):
        try:
            with ColdRoom():
                from .store import open_store

                open_store().refresh(loader.name, loader.origin)
        except (ImportError, OSError):
            pass  # no harm: all is as it was
    artifact: str = record[3]
    return artifact


def obtained(loader: "NativeLoader") -> "str | ImportError":
    """Path of the artifact that is what a build now would give, built where there is none; or why there is none."""
    return held_by(loader) or _built(loader)


def _built(loader: "NativeLoader", privately: bool = False) -> "str | ImportError":
    """Path of the artifact; or why there is none, for the caller to raise: our own rooms tell the user nothing.

    ``privately``: kept for this process only.
    """
    with ColdRoom():
        if loader.mode == "build" and read_alone(loader.name, loader.origin) is None:
            from . import early

            early.start(loader.toolchain)
        from . import pipeline
        from .errors import AccelError

        try:
            return pipeline.obtain(source_of(loader), mode=loader.mode, privately=privately).path
        except AccelError as error:
            return error.with_traceback(None)


class ColdRoom:
    """While a thread is in it, what our own work imports is not taken from the user's folders, see `in_cold_room`."""

    def __enter__(self) -> None:
        self.thread = get_ident()
        self.nested = self.thread in building
        building.add(self.thread)

    def __exit__(self, *_: object) -> None:
        if not self.nested:
            building.discard(self.thread)


def _forked() -> None:
    """A child has none of the other threads: what they were at importing is imported anew, and not waited for.

    Python leaves their locks as they are: usually these are held for a moment, but in a build for as long as it takes.
    """
    me = get_ident()
    for name, made in list(_module_locks.items()):
        lock = made()
        owner = lock.owner if lock is not None else None
        if owner not in (None, me):
            del _module_locks[name]
            if getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False):
                del sys.modules[name]
    # Later threads may get their numbers.
    building.intersection_update((me,))


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_forked)


def in_cold_room(fullname: str) -> bool:
    """Whether this thread is building, and ``fullname`` is a module that the build itself may import.

    A user's ``json.pyx`` must not become the ``json`` that its own build needs.
    """
    if get_ident() not in building:
        return False
    top = fullname.partition(".")[0]
    return top in sys.stdlib_module_names or top in (
        "autoaccel",
        "filelock",
        "rich",
        "click",
        "setuptools",
        "pyximport",
    )


# recognising


def recognise(name: str, path: str, ask: bool) -> "tuple[bool, Record | None]":
    """Whether the file at ``path`` is the source of the module ``name``, and its record if there is one.

    Args:
        name: the full name of the module.
        path: a file of the right name.
        ask: whether only the content tells; what was built from this very file needs no second look.
    """
    try:
        status = _os.stat(path)
    except (OSError, ValueError):
        return False, None
    if status.st_mode & 0o170000 != 0o100000:
        return False, None
    record = read_alone(name, path)
    if ask:
        row = (path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if record is None or row not in record[5]:
            from .content import claims

            return claims(name, path), record
    return True, record


def read_alone(name: str, source: str) -> "Record | None":
    """The record of a module as the last build or look wrote it; None where there is none."""
    record: Record | None = unmarshalled(f"manifests/{slot(name, source)}")
    # The file name is a 64-bit hash: two modules may share it.
    if type(record) is tuple and len(record) == 10 and record[:2] == (name, source):
        return record
    return None


# the cache's place


def ladder() -> "tuple[str, ...]":
    """The cache roots that exist and may be loaded from, best first."""
    from .location import fallback, layers, preferred

    first = preferred()
    # What this user can't write there is in the fallback.
    places = (first,) if trusted(first) and executable(first) and _os.access(first, 2) else (first, fallback())
    mine = [root for root in places if trusted(root) and executable(root)]
    return (*mine, *(root for root in layers() if root not in mine and trusted(root, True) and executable(root)))


def forget() -> None:
    """Look at the toolchains, the system and the cache's place again at the next check."""
    known_roots.clear()
    held.clear()
    clear.clear()
    packs.clear()


def trusted(directory: str, shared: bool = False) -> bool:
    """Whether ``directory`` exists and only this user can write it: who can write it runs code in this process.

    ``shared``: or only root, who runs what they like anyway.
    """
    try:
        status = _os.stat(directory)
    except (OSError, ValueError):
        return False
    if status.st_mode & 0o170000 != 0o040000:
        return False
    if sys.platform == "win32":
        return True
    owner = status.st_uid == _os.geteuid() or (shared and status.st_uid == 0)
    return owner and not status.st_mode & 0o022


def executable(path: str) -> bool:
    """Whether libraries can be loaded from the file system of a path; what can't be told is taken for a yes."""
    try:
        return sys.platform == "win32" or not _os.statvfs(path).f_flag & getattr(_os, "ST_NOEXEC", 0)
    except (OSError, ValueError):
        return True


def _is_right(loader: "NativeLoader") -> bool:
    """Whether the library that has failed to load is what was published for the module, where it may be loaded."""
    if not executable(loader.path):
        return False
    from .store import serves

    # What an import could not keep is in no cache.
    return serves(loader.name, loader.path) or f"{_SEP}{BUCKET}{_SEP}" not in loader.path
