"""What needs numba when it is imported: all of it stays there."""
import numpy as np
from numba import cfunc, float64, guvectorize, njit, stencil, vectorize
from numba.experimental import jitclass
from numba.extending import overload, register_jitable

@vectorize(["float64(float64,float64)"])
def vec(a, b): return a + b
@guvectorize(["void(float64[:], float64[:])"], "(n)->()")
def guv(a, r): r[0] = a.sum()
@stencil
def sten(a): return 0.5 * (a[-1] + a[1])
@cfunc("float64(float64)")
def cf(x): return x * 2
@jitclass([("x", float64)])
class Counter:
    def __init__(self, x): self.x = x
    def get(self): return self.x
@njit
def vec_use(a): return vec(a, a)
@njit
def sten_use(a): return sten(a)
@njit
def cf_use(x): return cf(x)
@njit
def counter_local(x): return Counter(x).get()
@njit
def counter_use(o): return o.get()
def taught(x): return "python"
@overload(taught)
def _taught(x): return lambda x: x + 100
@njit
def uses_taught(x): return taught(x)
@register_jitable
def shared(x): return x * 3
@njit
def uses_shared(x): return shared(x)
