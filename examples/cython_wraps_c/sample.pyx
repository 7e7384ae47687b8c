# distutils: sources = sample_func.c
#
# The loop is C; Cython only carries the arguments across. The line above is the one that a setup.py would have in
# `Extension(sources=[...])`: it names what is compiled into the module beside this file.

cdef extern from "sample_func.h":
    long long cadd_two(int a, int b)


def add_two(a, b):
    return cadd_two(a, b)
