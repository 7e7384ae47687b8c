"""The table of toolchains: a new compiler is one module and one line here."""

from __future__ import annotations

from . import cargo, cc, cython, maturin, numba, rustfile
from .base import Toolchain

__all__ = ["TOOLCHAINS"]

TOOLCHAINS: dict[str, Toolchain] = {
    "cython": cython,
    "c": cc,
    "c++": cc,
    "cargo": cargo,
    "rust": rustfile,
    "maturin": maturin,
    "numba": numba,
}
