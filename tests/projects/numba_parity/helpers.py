"""Called from `features`: another file, with a constant of its own."""
from numba import njit

SCALE = 2.5
TABLE = (1, 2.5, 4)

@njit
def scaled(x):
    return x * SCALE

@njit
def picked(i):
    return TABLE[1] + i

@njit
def fails_if_negative(x):
    if x < 0:
        raise ValueError("from another file")
    return x

def plain(x):
    return x + 1
