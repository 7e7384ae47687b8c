"""Reloaded while it runs."""
from numba import int64, njit

@njit
def lazy(x): return x + 1
@njit(int64(int64))
def explicit(x): return lazy(x) + 1
