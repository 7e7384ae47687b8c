"""1000 times a + b, by a loop, with numba: compiled once, and loaded without numba ever after."""

from numba import int32, int64, jit


@jit(int64(int32, int32), nopython=True, nogil=True)
def add_two(a, b):
    acc = 0
    i = 0
    while i < 1000:
        acc += a + b
        i += 1
    return acc
