"""The runtime's library: where it is, built where it is missing."""

from __future__ import annotations

import os

from .. import pipeline
from ..sources import Source

__all__ = ["SOURCE", "obtain"]

SOURCE = Source("autoaccel.numba.aart", os.path.join(os.path.dirname(__file__), "csrc", "aart.c"), "numba")


def obtain() -> str:
    """Path of the runtime for the numba that is installed.

    Raises:
        AccelError: it can't be built here.
    """
    return pipeline.obtain(SOURCE).path
