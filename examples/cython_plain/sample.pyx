# The Python function, unchanged. Cython turns it into the C-API calls that the interpreter would make:
# the loop over the bytecode is gone, the Python objects are not.


def add_two(a, b):
    acc = 0
    i = 0
    while i < 1000:
        acc += a + b
        i += 1
    return acc
