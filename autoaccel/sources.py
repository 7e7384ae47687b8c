"""What the cold rooms build: a source, as the finder recognised it; and which file of a folder that would be."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import CRATE_SOURCES, PACKAGE_SOURCES, SUFFIXES
from .content import claims

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source", "claimed", "named", "root_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is the module ``name``.

    Attributes:
        name: the module's full dotted name.
        path: the source file, as the import system spells its directory.
        toolchain: the word in the table of toolchains (``"cython"``, ``"c"``, …).
        package: whether the module is a package (``__init__.pyx``).
    """

    name: str
    path: str
    toolchain: str
    package: bool = False


def named(name: str, folder: str, stem: str) -> Iterator[tuple[Source, bool]]:
    """Files of ``folder`` that by their names could be the module ``name``, as the finder ranks them.

    Yields:
        Each as the source that it would be, and whether its content decides.
    """
    for file, toolchain in PACKAGE_SOURCES:
        path = os.path.join(folder, stem, file)
        if os.path.isfile(path):
            yield Source(name, path, toolchain, True), False
    for suffix, toolchain, ask in SUFFIXES:
        path = os.path.join(folder, stem + suffix)
        if os.path.isfile(path):
            yield Source(name, path, toolchain), ask
    for directory in dict.fromkeys((stem, stem.replace("_", "-"))):
        for file, toolchain in CRATE_SOURCES:
            path = os.path.join(folder, directory, file)
            if os.path.isfile(path):
                yield Source(name, path, toolchain), True


def claimed(name: str, folder: str, stem: str | None = None) -> Iterator[Source]:
    """The sources in ``folder`` that are the module ``name``: the first is what the finder takes.

    Args:
        name: the module's full name.
        folder: where its package's modules are.
        stem: the file's name without its suffix, where it is not the last part of the module's.
    """
    stem = name.rpartition(".")[2] if stem is None else stem
    regular = os.path.isfile(os.path.join(folder, stem, "__init__.py"))
    for source, ask in named(name, folder, stem):
        if not (regular and not source.package) and not (ask and not claims(name, source.path)):
            yield source


def root_of(source: Source) -> str | None:
    """The folder on ``sys.path`` from which a source has its name; None where it is declared under another name."""
    stem = os.path.splitext(source.path)[0]
    here = os.path.dirname(stem) if os.path.basename(stem) == "__init__" else stem
    for part in reversed(source.name.split(".")):
        here, last = os.path.split(here)
        if last != part:
            return None
    return here
