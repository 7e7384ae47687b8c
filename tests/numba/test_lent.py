"""Arrays given to native functions: lent for the call, and kept alive by what the function has made of them."""

from __future__ import annotations

import sys
import time

import pytest

from autoaccel.numba.harvest import PYTHONS
from tests.conftest import Project, need

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] not in PYTHONS, reason="functions are cached only, with this Python"
)

KERNELS = """
import numpy as np
from numba import njit

@njit
def same(a): return a
@njit
def tail(a): return a[1:]
@njit
def both(a, b): return b[::2], a
@njit
def pick(a, b, first):
    if first:
        return a
    return b
@njit(nogil=True)
def view_without_gil(a): return a[:2]
@njit
def total(a, b): return a.sum() + b.sum()
@njit
def put(a, place, value):
    a[place] = value
    return len(a)
@njit
def fails(a, b):
    if a.size != b.size:
        raise ValueError("sizes", a.size)
    return a
@njit
def point(a): return a[()], a.ndim, a.size
@njit
def nothing(): return 5
@njit
def kept(a):
    held = [a]
    return held[0].T
@njit
def number(a, n): return a.size + n
"""

#: Prints what it finds; run by numba alone and natively.
CHECKS = """
import gc, sys, threading, weakref
import numpy as np
from kernels import *

def told(value):
    if isinstance(value, tuple):
        return tuple(map(told, value))
    if not isinstance(value, np.ndarray):
        return value
    flags = value.flags
    # What numba makes of an array it was given is based on this, through a MemInfo; else it is the array itself.
    base = type(value.base).__name__
    return value.tolist(), value.strides, flags.writeable, flags.c_contiguous, base

def array(n=6, **options): return np.arange(n, **options)

inputs = {
    "plain": array(dtype=float), "strided": array(12)[::2], "backwards": array()[::-1], "two": array(6).reshape(2, 3),
    "fortran": np.asfortranarray(array(6).reshape(2, 3)), "empty": array(0),
    "zero strides": np.broadcast_to(array(1), (4,)), "small": array(6, dtype=np.int8),
    "swapped": array(dtype=">i4"), "matrix": np.matrix([[1, 2]]), "record": np.zeros(2, dtype=[("x", "i4")]),
    "unaligned": np.frombuffer(bytes(33), dtype=np.uint8)[1:].view(np.float64),
    "tagged": array(dtype=np.dtype(float, metadata={"a": 1})), "flags": array(6) > 2,
}
fixed = array(dtype=float); fixed.flags.writeable = False
inputs["read only"] = fixed
for name, one in inputs.items():
    for function in (same, tail, view_without_gil):
        for _ in range(3):
            try:
                result = told(function(one))
            except Exception as error:
                result = type(error).__name__
        print(name, function.__name__, result)
print(told(same(np.array(3.0))), point(np.array(3.0)), told(kept(inputs["two"])))
for name, one in inputs.items():
    before = sys.getrefcount(one)
    identical = []
    for function in (same, tail, view_without_gil):
        try:
            identical.append(function(one) is one)
        except Exception as error:
            pass
    gc.collect()
    print(name, "identical", identical, sys.getrefcount(one) - before)

# alive as long as something refers to them, no longer
a, b = array(6), array(7)
gone = []
for index, one in enumerate((a, b)):
    weakref.finalize(one, gone.append, index)
parts = both(a, b)
assert parts[1] is a
part = parts[0]
print(both(a, b)[0].base is not None, gone)
del parts, a
gc.collect(); print(gone)
del one, b
gc.collect(); print(gone, part.tolist())
del part
gc.collect(); print(gone)

# one array for two arguments, many views at once, from threads
c = array(5, dtype=float)
before = sys.getrefcount(c)
print(total(c, c), pick(c, c, True) is c, both(c, c)[1] is c)
views = [view_without_gil(c) for _ in range(500)]
print(len({one.ctypes.data for one in views}), sum(one.sum() for one in views))
assert sys.getrefcount(c) == before + 500
del views
gc.collect()
assert sys.getrefcount(c) == before
def work():
    for _ in range(3000):
        held = [view_without_gil(c), view_without_gil(c)]
        assert held[0][1] == 1.0
threads = [threading.Thread(target=work) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
gc.collect()
assert sys.getrefcount(c) == before

# what goes wrong while arguments are unboxed, and after
d, e = array(3), array(4)
number(d, 1), put(d, 1, 1)
before = sys.getrefcount(d), sys.getrefcount(e)
for _ in range(200):
    for call in (lambda: number(d, 2**70), lambda: fails(d, e), lambda: put(d, 1, 2**63)):
        try:
            call()
        except (OverflowError, ValueError) as error:
            found = type(error).__name__, error.args

    assert fails(d, d) is d
assert (sys.getrefcount(d), sys.getrefcount(e)) == before

# kinds that alternate, and more of them than are remembered
for _ in range(4):
    for one in (1, 1.5, True, np.float32(2), 2 + 1j):
        print(type(put(np.zeros(2, dtype=complex), 0, one)).__name__, nothing(), total(e, np.ones(2)), total(np.ones(2), e))
for _ in range(3):
    for one in (e, e.astype(float), e[::2], e.reshape(2, 2), e.reshape(2, 2).T):
        print(total(one, one), number(one, 1), number(a=one, n=2))
"""


def test_arrays_are_what_numba_would_have_made_of_them(project: Project) -> None:
    need("numba", "cc", "c++")
    project.write("kernels.py", KERNELS)
    time.sleep(0.1)
    wanted = project.ok(CHECKS)
    hooked = "import autoaccel\n" + CHECKS
    assert project.ok(hooked, AUTOACCEL_NUMBA="wait") == wanted
    time.sleep(0.1)
    # Records and the like bring numba in; the others are to be as natively before it has come.
    left = ("swapped", "matrix", "record")
    pure = "\n".join(line for line in hooked.splitlines() if not any(f'"{name}"' in line for name in left))
    pure += '\nassert "numba" not in sys.modules, same.__dict__'
    assert project.ok(pure) == "\n".join(line for line in wanted.splitlines() if not line.startswith(left))
    assert project.ok(hooked) == wanted
