"""``pkgutil.iter_modules`` for directories of the user's: native sources are modules there, as built extensions are."""

from __future__ import annotations

import os
import sys
from importlib.machinery import FileFinder, ModuleSpec, PathFinder

from . import SUFFIXES
from .finder import entries, wanted
from .watched import spec_that_tells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["pkgutil_spec", "register"]

#: ``pkgutil``, once it lists native modules.
registered: list[Any] = []


def pkgutil_spec() -> ModuleSpec | None:
    """The spec of ``pkgutil``, whose loader registers our listing after the module has run."""
    return PathFinder.find_spec("pkgutil") if registered else spec_that_tells("pkgutil", None, register)


def register(pkgutil: Any) -> None:
    """Have ``pkgutil`` list native modules too."""
    if not hasattr(pkgutil, "iter_importer_modules"):
        return  # a module of the user's
    plain = pkgutil.iter_importer_modules.dispatch(FileFinder)

    def modules(finder: FileFinder, prefix: str = "") -> Iterator[tuple[str, bool]]:
        hook = next(entries(), None)
        if hook is None or wanted(hook, finder.path) is not True:
            yield from plain(finder, prefix)
            return
        seen = set()
        for name, package in plain(finder, prefix):
            seen.add(name)
            yield name, package
        for name, package in _native(finder.path):
            if prefix + name not in seen:
                yield prefix + name, package

    pkgutil.iter_importer_modules.register(FileFinder, modules)
    registered.append(pkgutil)


def _native(directory: str) -> Iterator[tuple[str, bool]]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    from .sources import claimed

    suffixes = {"", *(suffix for suffix, _, _ in SUFFIXES)}
    stems = (name.partition(".")[0] for name in names if os.path.splitext(name)[1] in suffixes)
    # Cargo's names have hyphens where Python's have none.
    for stem in dict.fromkeys(stem.replace("-", "_") for stem in stems):
        source = next(claimed(stem, directory), None) if stem.isidentifier() and stem != "__init__" else None
        if source is not None:
            yield stem, source.package


if "pkgutil" in sys.modules and not registered:
    register(sys.modules["pkgutil"])
