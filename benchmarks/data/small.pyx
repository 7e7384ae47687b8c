# A module as small as a first try: one typed loop, one function on lists.
def harmonic(int n):
    cdef int i
    cdef double total = 0
    for i in range(1, n + 1):
        total += 1.0 / i
    return total


def runs(values):
    """Lengths of runs of equal neighbours."""
    lengths = []
    last = object()
    for value in values:
        if value == last:
            lengths[-1] += 1
        else:
            lengths.append(1)
            last = value
    return lengths
