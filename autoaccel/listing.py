"""``pkgutil.iter_modules`` for directories of the user's: native sources are modules there, as built extensions are."""

from __future__ import annotations

import os
import sys
from importlib.machinery import FileFinder, ModuleSpec, PathFinder

from . import CRATE_SOURCES, PACKAGE_SOURCES, SUFFIXES, AccelFinder
from .content import claims
from .finder import wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType
    from typing import Any

__all__ = ["pkgutil_spec", "register"]

#: ``pkgutil``, once it lists native modules.
registered: list[Any] = []


def pkgutil_spec() -> ModuleSpec | None:
    """The spec of ``pkgutil``, whose loader registers our listing after the module has run."""
    spec = PathFinder.find_spec("pkgutil")
    if spec is not None and spec.loader is not None and not registered:
        plain: Any = spec.loader
        run = plain.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            register(module)

        plain.exec_module = exec_module
    return spec


def register(pkgutil: Any) -> None:
    """Have ``pkgutil`` list native modules too."""
    plain = pkgutil.iter_importer_modules.dispatch(FileFinder)

    def modules(finder: FileFinder, prefix: str = "") -> Iterator[tuple[str, bool]]:
        hook = next((entry for entry in sys.meta_path if isinstance(entry, AccelFinder)), None)
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
    for name in names:
        if any(os.path.isfile(os.path.join(directory, name, file)) for file, _ in PACKAGE_SOURCES):
            yield name, True
            continue
        stem, suffix = os.path.splitext(name)
        module = name.replace("-", "_")
        crates = [os.path.join(directory, name, file) for file, _ in CRATE_SOURCES]
        if module.isidentifier() and any(os.path.isfile(crate) and claims(module, crate) for crate in crates):
            yield module, False
            continue
        for known, _, ask in SUFFIXES:
            if suffix == known and stem.isidentifier() and (not ask or claims(stem, os.path.join(directory, name))):
                yield stem, False


if "pkgutil" in sys.modules and not registered:
    register(sys.modules["pkgutil"])
