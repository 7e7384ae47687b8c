"""Loads modules that are a folder: what maturin makes of a crate, a library and the Python that gives it to Python.

Lukewarm room: imported by the finder when a project declares such a module; loads nothing that a bare interpreter has
not loaded.
"""

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader

from . import cold, loaded
from .loader import PackageLoader, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["FolderLoader"]

_SEP = "\\" if sys.platform == "win32" else "/"


class FolderLoader(PackageLoader):
    """Loads a package whose ``__init__.py`` lies beside the library in the artifact's folder.

    ``__file__`` is that file, by which the package finds its library, and ``__cached__`` the artifact, as everywhere.
    """

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """An empty module, once its folder is what a build now would give.

        Raises:
            autoaccel.BuildError: the crate does not compile, or maturin makes no package of it.
            autoaccel.ToolchainMissing: cargo, maturin or cffi is needed and not installed.
        """
        self._obtain()
        module = type(sys)(spec.name)
        self._place(module, spec)
        self.created += (module,)
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """Run the package's ``__init__``; on a reload, that of the sources of now."""
        if module in self.created:
            self.created = tuple(one for one in self.created if one is not module)
        else:
            # On a reload no record is at hand, and everything is looked at again.
            forget()
            self.record = self.names = None
            self._obtain()
            self._drop_submodules()
            self._place(module, module.__spec__)
        SourceFileLoader(self.name, f"{self.folder}{_SEP}__init__.py").exec_module(module)
        loaded[self.name] = self.path

    def get_resource_reader(self, name: "str | None" = None) -> "Any":  # noqa: ARG002
        """The reader of the artifact's folder."""
        from importlib.readers import FileReader

        return FileReader(self)

    @property
    def folder(self) -> str:
        """Where the package is."""
        return self.path.rpartition(_SEP)[0]

    def _obtain(self) -> None:
        found = cold("loader", "obtained", self)
        if isinstance(found, ImportError):
            raise found
        self.path = found

    def _place(self, module: "Any", spec: "Any") -> None:
        spec.cached = module.__cached__ = self.path
        module.__file__ = f"{self.folder}{_SEP}__init__.py"
        # The list itself is what the finder has handed out.
        spec.submodule_search_locations[:] = [self.folder]
        module.__path__ = spec.submodule_search_locations

    def _drop_submodules(self) -> None:
        """Forget the modules of the folder that was loaded before: they belong to another library."""
        before = loaded.get(self.name, self.path).rpartition(_SEP)[0]
        if before != self.folder:
            for name, module in list(sys.modules.items()):
                file = getattr(module, "__file__", None) or ""
                if name.startswith(f"{self.name}.") and file.rpartition(_SEP)[0] == before:
                    del sys.modules[name]
