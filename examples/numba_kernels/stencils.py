"""The small functions that `heat` calls from another file."""

from numba import njit

#: The share of a cell that it gives away in a step.
RATE = 0.2


@njit
def laplace(field, row, column):
    """What the four neighbours of a cell have more than it, in sum."""
    here = field[row, column]
    return (
        field[row - 1, column] + field[row + 1, column] + field[row, column - 1] + field[row, column + 1] - 4.0 * here
    )


@njit
def moved(field, row, column):
    """A cell after a step."""
    return field[row, column] + RATE * laplace(field, row, column)


@njit(error_model="numpy")
def ratio(part, whole):
    """Without a check of the divisor."""
    return part / whole
