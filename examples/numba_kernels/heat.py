"""Heat that spreads over a plate: arrays, tuples, an exception, several threads; its parts are in `stencils`."""

import numpy as np
from numba import njit, prange
from stencils import moved, ratio


@njit(parallel=True)
def step(field, out):
    """One step of the whole plate; its rim keeps its heat."""
    rows, columns = field.shape
    for row in prange(1, rows - 1):
        for column in range(1, columns - 1):
            out[row, column] = moved(field, row, column)


@njit
def hottest(field):
    """(row, column, heat) of the hottest cell."""
    best, where_row, where_column = field[0, 0], 0, 0
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            if field[row, column] > best:
                best, where_row, where_column = field[row, column], row, column
    return where_row, where_column, best


@njit(fastmath=True)
def total(field):
    """All heat on the plate."""
    heat = 0.0
    for row in range(field.shape[0]):
        for column in range(field.shape[1]):
            heat += field[row, column]
    return heat


@njit
def histogram(field, bins, top):
    """How many cells are in each of ``bins`` shares of 0 to ``top``."""
    if top <= 0.0:
        raise ValueError("no heat", top)
    counts = np.zeros(bins, np.int64)
    for heat in field.ravel():
        counts[min(bins - 1, max(0, int(bins * ratio(heat, top))))] += 1
    return counts


@njit
def spread(field, steps):
    """The plate after so many steps."""
    now, then = field.copy(), field.copy()
    for _ in range(steps):
        step(now, then)
        now, then = then, now
    return now


def plate(size):
    """A plate with one hot spot."""
    field = np.zeros((size, size))
    field[size // 3, size // 2] = 1000.0
    return field
