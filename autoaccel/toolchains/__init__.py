"""The table of toolchains: a new compiler is one module, one line here, and one name that mypy looks at."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import cargo, cc, cython, maturin, numba, rustfile
    from .base import Toolchain

    _FITTING: tuple[Toolchain, ...] = (cargo, cc, cython, maturin, numba, rustfile)

__all__ = ["TOOLCHAINS"]


class _Table(Mapping[str, "Toolchain"]):
    """Imports a toolchain when it is asked for: the others' rooms take a tenth of the first import of a C module."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules

    def __getitem__(self, word: str) -> Toolchain:
        toolchain: Toolchain = import_module(f".{self._modules[word]}", __package__)
        return toolchain

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


#: A toolchain's word -> the module here.
TOOLCHAINS: Mapping[str, Toolchain] = _Table(
    {
        "cython": "cython",
        "c": "cc",
        "c++": "cc",
        "cargo": "cargo",
        "rust": "rustfile",
        "maturin": "maturin",
        "numba": "numba",
    }
)
