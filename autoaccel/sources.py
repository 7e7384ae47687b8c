"""What the cold rooms build: a source, as the finder recognised it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Source"]


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
