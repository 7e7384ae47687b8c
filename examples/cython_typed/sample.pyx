# The same loop on C numbers: objects are only met at the door, when the arguments come in and the result goes out.
# `acc` is wider than `a` and `b`, so that no pair of arguments makes it overflow.


def add_two(int a, int b):
    cdef long long acc = 0
    cdef int i
    for i in range(1000):
        acc += <long long>a + b
    return acc
