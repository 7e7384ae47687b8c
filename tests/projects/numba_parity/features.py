"""What people do with @jit: one small function for each kind of it."""
import math
from collections import namedtuple
from enum import IntEnum

import numpy as np
import numba as nb
from numba import boolean, complex128, float32, float64, int32, int64, jit, njit, objmode, prange, types, uint8
from numba.typed import Dict, List

import helpers
from helpers import fails_if_negative, picked, plain, scaled

G = 3
GFLOAT = 1.5
GSTR = "word"
GARRAY = np.arange(4.0)
GTUPLE = (1, 2.5)
Point = namedtuple("Point", "x y")

class Color(IntEnum):
    RED = 1
    BLUE = 2

class Mine(Exception):
    pass

# explicit signatures
@jit(int32(int32, int32), nopython=True, nogil=True)
def add_two(a, b):
    "adds"
    return 1000 * (a + b)
@njit(float64(float64[:]))
def total(values):
    result = 0.0
    for value in values: result += value
    return result
@njit("int64(int64)")
def as_text(a): return a + 1
@njit([int64(int64), float64(float64)])
def two(a): return a * 2
@njit(float32(float32))
def single(a): return a / 3
@njit(uint8(uint8))
def small(a): return a + 1
@njit(complex128(complex128))
def turned(z): return z * 1j
@njit(boolean(boolean))
def negated(b): return not b
@njit(types.void(float64[:]))
def fill(values): values[:] = 7.0
@njit(nb.types.Tuple((int64, float64))(int64))
def paired(a): return a, a * 0.5
@njit(float64[:](int64))
def ones(n): return np.ones(n)
@njit(float64(float64[::1]))
def contiguous(values): return values[0]
@njit(int64(types.unicode_type))
def length(text): return len(text)

# lazily typed
@njit
def scalars(a, b): return a * b + 1
@njit
def boolfn(a): return not a
@njit
def complexfn(z): return z * z.conjugate()
@njit
def nonearg(a): return a is None
@njit
def optret(a):
    if a > 0: return a
    return None
@njit
def floordiv(a, b): return a // b
@njit
def modulo(a, b): return a % b
@njit
def power(a, b): return a ** b
@njit
def shifts(a, b): return a << b, a >> b, a & b, a | b, a ^ b, ~a
@njit
def compare(a, b): return a < b, a == b, a != b
@njit
def maths(x): return math.sin(x) + math.exp(x) + math.gamma(x) + x ** 0.5 + math.hypot(x, 2)
@njit
def rounding(x): return round(x), int(x), math.floor(x), math.ceil(x)
@njit
def minmax(a, b): return min(a, b), max(a, b), abs(a)

# arrays
@njit
def arr1d(a):
    s = 0.0
    for i in range(a.shape[0]): s += a[i]
    return s
@njit
def arr2d(a):
    s = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]): s += a[i, j] * (i + 1)
    return s
@njit
def arr3d(a): return a.shape, a.ndim, a.size
@njit
def arrwrite(a): a[0] = 42
@njit
def arrret(n): return np.ones(n) * 2
@njit
def arrsame(a): return a
@njit
def arrslice(a): return a[1:]
@njit
def arrT(a): return a.T
@njit
def arrints(n): return np.arange(n)
@njit
def arrbool(a): return a > 1
@njit
def arrmask(a): return a[a > 1]
@njit
def np_funcs(a): return np.sum(a) + a.mean() + np.sqrt(a).max()
@njit
def np_sort(a): return np.sort(a)
@njit
def np_dot(a, b): return np.dot(a, b)
@njit
def np_linalg(a): return np.linalg.inv(a)
@njit
def np_cumsum(a): return np.cumsum(a)
@njit
def np_where(a): return np.where(a > 1, a, -a)
@njit
def np_isin(a, b): return np.isin(a, b).sum()
@njit
def np_concat(a, b): return np.concatenate((a, b))
@njit
def np_reshape(a): return a.reshape((2, 3))
@njit
def np_random(n):
    np.random.seed(n)
    return np.random.random()
@njit
def enumerate_zip(a, b):
    s = 0.0
    for i, (x, y) in enumerate(zip(a, b)): s += i * x * y
    return s
@njit
def zero_d(a): return a[()]

# tuples and containers
@njit
def tupret(a): return a, a * 0.5, (a, True)
@njit
def tuparg(t): return t[0] + t[1]
@njit
def tupnest(t): return t[1][0]
@njit
def tuparr(t): return t[0].sum() + t[1]
@njit
def ntret(a): return Point(a, a + 1)
@njit
def ntarg(p): return p.x + p.y
@njit
def list_local(n):
    l = [i * 2 for i in range(n)]
    return sum(l)
@njit
def list_ret(n): return [i * 1.5 for i in range(n)]
@njit
def list_arg(l):
    l.append(9)
    return len(l)
@njit
def set_arg(s): return len(s)
@njit
def set_local(n):
    s = {1, 2}
    s.add(n)
    return len(s)
@njit
def tlist_local(n):
    l = List()
    for i in range(n): l.append(i)
    return len(l)
@njit
def tlist_arg(l): return l[0]
@njit
def tdict_local(n):
    d = {}
    for i in range(n): d[i] = i * 0.5
    return d[n - 1]
@njit
def tdict_str(n):
    d = {}
    for i in range(n): d[str(i)] = i
    return d["1"]
@njit
def dict_ret(n): return {n: 1.0}

# exceptions
@njit
def exc_static(x):
    if x < 0: raise ValueError("negative!")
    return x
@njit
def exc_dyn(x):
    if x < 0: raise ValueError("negative", x)
    return x
@njit
def exc_user(x):
    if x < 0: raise Mine("mine")
    return x
@njit
def exc_zero(x): return 1 // x
@njit
def exc_index(t, i): return t[i]
@njit
def exc_assert(x):
    assert x > 0, "must be positive"
    return x
@njit
def exc_catch(x):
    try:
        if x < 0: raise ValueError("a")
        return 1
    except Exception:
        return -1
@njit
def exc_callee(x): return fails_if_negative(x) + 1
@njit
def exc_bare(x):
    if x: raise Mine
    return 0
@njit
def exc_key(x): return {1: 2}[x]
@njit
def exc_in_list(l): return sum(l)

# text
@njit
def printer(a): print("hello", a, 1.5)
@njit
def string_len(s): return len(s) + 1
@njit
def string_ret(s): return s + "-x".upper()
@njit
def string_int(a): return str(a)
@njit
def string_split(s): return s.split(",")[1]
@njit
def string_eq(a, b): return a == b
@njit
def string_replace(s): return s.replace("a", "b")
@njit
def string_hash(s): return hash(s)
@njit
def bytes_arg(b): return b[0]
@njit
def global_text(): return GSTR

# calls
@njit
def nested(a): return scalars(a, 2) + inner2(a)
@njit
def inner2(a): return a - 1
@njit
def recur(n):
    if n < 2: return n
    return recur(n - 1) + recur(n - 2)
@njit(int64(int64))
def recur_explicit(n):
    if n < 2: return n
    return recur_explicit(n - 1) + recur_explicit(n - 2)
@njit
def mutual_a(n):
    if n <= 0: return 0
    return mutual_b(n - 1) + 1
@njit
def mutual_b(n):
    if n <= 0: return 1
    return mutual_a(n - 1) + 2
@njit
def other_file(x): return scaled(x) + picked(1)
@njit
def through_module(x): return helpers.scaled(x) + helpers.SCALE
def make(k):
    @njit
    def inner(x): return x + k
    return inner
closure = make(10)
closure_again = make(20)
@njit
def inner_closure(x):
    def f(y): return y * x
    return f(3)
@njit
def globconst(x): return x + G + GTUPLE[0] + GFLOAT
@njit
def globarr(i): return GARRAY[i]
@njit
def enums(x): return x == Color.BLUE
@njit
def takes_function(f, x): return f(x)
@njit(inline="always")
def inlined(x): return x + 1
@njit
def uses_inlined(x): return inlined(x)
@njit
def gen(n):
    for i in range(n): yield i * 2
@njit
def gen_use(n):
    t = 0
    for x in gen(n): t += x
    return t
@njit
def defaults(a, b=2, c=1.5): return a + b * c
@njit
def default_none(a, b=None):
    if b is None: return a
    return a + b
@njit
def starargs(*a): return len(a)
@njit
def with_objmode(a):
    with objmode(r="float64"):
        r = plain(float(a)) + 0.5
    return r
@njit
def rangeret(a): return range(a)
@njit
def slicearg(a, s): return a[s]
@njit
def dtype_arg(n, d): return np.zeros(n, d)
@njit
def dt_arg(d): return d
@njit
def struct_arr(a): return a[0].x
@njit
def rng_arg(g): return g.integers(0, 10)
@njit
def nothing(): pass
@njit
def constant(): return 42
@njit
def many(a, b, c, d, e, f, g, h): return a + b + c + d + e + f + g + h
@njit
def wide(a): return np.uint64(a) + np.uint64(1)
@njit
def no_default_conv(x): return x

# options
@njit(fastmath=True)
def fast(a):
    s = 0.0
    for i in range(a.shape[0]): s += a[i]
    return s
@njit(parallel=True)
def parallel_sum(a):
    s = 0.0
    for i in prange(a.shape[0]): s += a[i]
    return s
@njit(parallel=True)
def parallel_expression(a): return a * 2.0 + 1.0
@njit(parallel=True)
def parallel_write(n):
    out = np.empty(n)
    for i in prange(n): out[i] = i * i
    return out
@njit(nogil=True)
def without_gil(n):
    s = 0.0
    for i in range(n): s += math.sin(i)
    return s
@njit(error_model="numpy")
def numpy_errors(x): return 1.0 / x
@njit
def python_errors(x): return 1.0 / x
@njit(boundscheck=True)
def checked(a, i): return a[i]
@njit(cache=True)
def with_cache(x): return x + 1.5
@njit(locals={"b": int32})
def with_locals(a):
    b = a + 1
    return b

class Holder:
    factor = 3
    @staticmethod
    @njit
    def static(x): return x * 3
    def method(self, x): return self.static(x) + self.factor

def plain_function(x):
    "not jitted"
    return scalars(x, 2)
