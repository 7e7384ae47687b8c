"""What the loader does rarely: renew a loaded module, and explain a library that does not load."""

from __future__ import annotations

import _imp
import itertools
import sys
from importlib.machinery import ModuleSpec

from . import errors, loaded
from .loader import open_library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import NativeLoader
    from .sources import Source

__all__ = ["explained", "renew"]

_numbers = itertools.count(1)


def renew(loader: NativeLoader, module: Any, artifact: str) -> None:
    """Put the content of the library at ``artifact`` into ``module``, in place; nothing where it is there already."""
    spec: ModuleSpec = module.__spec__
    if loaded.get(loader.name) == artifact:
        loader.path = spec.cached = module.__cached__ = artifact
        return
    # A library is initialised once; the new one makes a module of its own, whose content moves over. Its functions keep
    # it alive and see its globals.
    attributes = ("__name__", "__spec__", "__loader__", "__package__", "__path__")
    real = {name: module.__dict__[name] for name in attributes if name in module.__dict__}
    try:
        renewed: Any = open_library(loader, spec, artifact)
        renewed.__dict__.update(real)
        if renewed is module:
            # pybind11 keeps its modules by the name in their spec: the new one needs another, for as long as it starts.
            alias = ModuleSpec(f"renewed {next(_numbers)}.{loader.name.rpartition('.')[2]}", loader, origin=spec.origin)
            renewed = open_library(loader, alias, artifact)
            renewed.__dict__.update(real, __spec__=alias)
        _imp.exec_dynamic(renewed)
        renewed.__dict__.update(real)
    finally:
        # Single-phase initialisation puts the new module there by itself.
        sys.modules[loader.name] = module
    module.__dict__.update(renewed.__dict__)
    module.__cached__ = artifact
    module.__dict__["__autoaccel_renewed__"] = renewed
    loaded[loader.name] = artifact


def explained(error: ImportError, source: Source, artifact: str) -> ImportError:
    """The error of the dynamic loader with advice; the module's own errors as they are."""
    ours = error.path == artifact or "does not support loading in subinterpreters" in str(error)
    if not ours or isinstance(error, ModuleNotFoundError):
        return error
    return errors.not_loadable(source.name, source.path, artifact, error.msg)
