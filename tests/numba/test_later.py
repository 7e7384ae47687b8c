"""Modules that use numba's other decorators, or its types only: imported without numba, and right when they are used."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from autoaccel.numba.harvest import PYTHONS
from tests.conftest import Project, need

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] not in PYTHONS, reason="functions are cached only, with this Python"
)

TYPES = """
import numba as nb
FLOATS = (nb.float32, nb.float64)
def is_array(t): return isinstance(t, nb.types.Array)
def threads(): return nb.config.NUMBA_NUM_THREADS > 0, bool(nb.config.DISABLE_JIT)
"""
MODULE = """
import math
from collections import OrderedDict
import numpy as np
from numba import njit, vectorize, guvectorize, cfunc, stencil, float64, int64, prange
from numba.experimental import jitclass
from numba.extending import overload, register_jitable

@njit
def kernel(a):
    s = 0.0
    for i in range(a.shape[0]): s += a[i]*a[i]
    return s
@njit
def helper(x): return x + 1.0

@vectorize([float64(float64, float64)])
def added(x, y):
    'adds'
    return helper(x) + y
@vectorize
def dyn(x): return x * 2
@vectorize(nopython=True)
def dyn2(x): return x * 3
@guvectorize([(float64[:], float64[:])], "(n)->()")
def gsum(a, out):
    out[0] = a.sum()
@cfunc(float64(float64))
def cf(x): return x * 4
@stencil
def st(a): return a[-1] + a[1]
spec = OrderedDict(); spec["x"] = float64; spec["arr"] = float64[:]
@jitclass(spec)
class Point:
    def __init__(self, x): self.x = x; self.arr = np.zeros(3)
    def norm(self): return math.sqrt(self.x) + self.arr.sum()
@jitclass
class Annotated:
    x: float64
    n: int64
    def __init__(self, x): self.x = x; self.n = 2
    def get(self): return self.x * self.n
def target(x): return -x
@overload(target)
def _target(x):
    def impl(x): return -x
    return impl
@register_jitable
def plain(x): return x - 1
@njit
def uses_overload(x): return target(x)
@njit
def uses_plain(x): return plain(x)
@njit
def uses_vec(x): return added(x, 2.0)
"""
#: What goes without numba, and what brings it in.
LIGHT = (
    "print(vec.kernel(np.arange(4.0)), vec.helper(2.0), vec.uses_plain(3), vec.target(2), types_only.threads.__name__)"
)
USE = """
a = np.arange(3.0)
print(vec.added(1.0, 2.0), vec.added(a, a), vec.added.__doc__, vec.added.reduce(a), isinstance(vec.added, np.ufunc))
print(vec.added.nin + 1, vec.dyn(a), vec.dyn(3), vec.dyn2(2), vec.gsum(np.ones((2, 3))), vec.cf.ctypes(2.0), vec.cf(2))
p = vec.Point(4.0)
print(vec.st(a), p.norm(), isinstance(p, vec.Point), vec.Annotated(3.0).get(), vec.Point.__name__, vec.Point.__module__)
print(vec.uses_overload(3), vec.uses_vec(3.0), vec.dyn.__class__.__name__, vec.Point.__class__.__name__)
print(pickle.loads(pickle.dumps(vec.added))(1.0, 1.0))
print(types_only.is_array(types_only.nb.float64[:]), types_only.threads(), types_only.FLOATS[1] == types_only.nb.float64)
"""
IMPORTS = "import pickle, sys, numpy as np, types_only, vec\n"


def test_decorators_other_than_jit_wait_for_numba(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("types_only.py", TYPES)
    project.write("vec.py", MODULE)
    time.sleep(0.1)
    light, wanted = project.ok(IMPORTS + LIGHT), project.ok(IMPORTS + LIGHT + USE)
    hooked = f"import autoaccel\n{IMPORTS}{LIGHT}"
    assert project.ok(hooked + USE) == wanted
    time.sleep(0.1)
    without = 'assert "numba" not in sys.modules\n'
    assert project.ok(f"{hooked}\n{without}{USE}") == wanted
    time.sleep(0.1)
    assert project.ok(f"{hooked}\n{without}") == light
    # Who is first to bring numba in finds what the module has taught it.
    first = 'print(vec.uses_overload("a".count("a")), vec.Annotated(3.0).get(), vec.uses_vec(1.0))'
    assert project.ok(f"import autoaccel\n{IMPORTS}{first}") == "-1 6.0 4.0"


def test_numba_errors_that_are_caught_are_classes(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    text = """
from numba import njit
from numba.core.errors import TypingError
@njit
def half(x): return x / 2
def tried(x):
    try:
        if x is None: raise KeyError(1)
        return half(x)
    except TypingError: return "numba can't"
    except KeyError: return "no key"
"""
    project.write("catching.py", text)
    time.sleep(0.1)
    for _ in range(3):
        code = "import autoaccel, catching; print(catching.tried(None), catching.tried(3), catching.tried('a'))"
        assert project.ok(code) == "no key 1.5 numba can't"
        time.sleep(0.1)


def test_an_edit_that_no_function_sees_is_published(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("types_only.py", TYPES)
    project.write("small.py", "from numba import njit\n@njit\ndef one(x): return x + 1\n")
    code = "import sys, autoaccel, small, types_only; print(small.one(1), 'numba' in sys.modules)"
    time.sleep(0.1)
    for file, text in (("small.py", "# a remark\n"), ("types_only.py", "OTHER = nb.int64\n"), ("small.py", "Z = 1\n")):
        project.ok(code)
        time.sleep(0.1)
        assert project.ok(code) == "2 False"
        before = (project.root / file).read_text()
        for content in (before + text, before):
            project.write(file, content)
            time.sleep(0.1)
            project.ok(code)
            time.sleep(0.1)
            assert project.ok(code) == "2 False", (file, content)


def test_a_package_is_imported_without_numba(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write(
        "pkg/__init__.py", "import numba\nfrom .inner import one\n@numba.njit\ndef two(x): return one(x) + 1\n"
    )
    project.write("pkg/inner.py", "from numba import njit\n@njit\ndef one(x): return x + 1\n")
    code = "import sys, autoaccel, pkg; print(pkg.two(1), 'numba' in sys.modules, pkg.__path__, pkg.__file__)"
    time.sleep(0.1)
    first = project.ok(code)
    time.sleep(0.1)
    assert project.ok(code) == first.replace("True", "False")


def test_explain_tells_of_all_processes(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("vec.py", MODULE)
    time.sleep(0.1)
    for call in ("vec.uses_vec(1.0)", "vec.helper(1.0)", "vec.helper(1)", "vec.Point(1.0).norm()"):
        project.ok(f"import autoaccel, vec; {call}")
        time.sleep(0.1)
    done = subprocess.run(
        [sys.executable, "-m", "autoaccel", "explain", "--json", "vec"],
        cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = json.loads(done.stdout)["jitted"]
    assert told["state"] == "native"
    assert sorted(told["native"]["helper"]) == ["(float64,) -> float64", "(int64,) -> float64"]
    assert {"uses_vec", "Point.norm"} <= set(told["numba"])
    assert "#" not in json.dumps(told["numba"])


CALLED = """
from numba import float64, njit, stencil, vectorize
from numba.experimental import jitclass
class Pair:
    def __init__(self): self.x = 2.0
    def twice(self): return self.x * 2
spec = [("x", float64)]
Placed = jitclass(Pair, spec)
Keyed = jitclass(Pair, spec=spec)
def double(x): return x * 2
doubled = vectorize(double, identity=0)
def back(a): return a[-1] + a[0]
backwards = stencil(back, neighborhood=((-1, 0),))
@njit
def one(x): return x + 1
"""


def test_a_decorator_is_called_with_the_function_and_more(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("called.py", CALLED)
    code = """
    import sys, autoaccel, called, numpy as np
    print(called.one(1), "numba" in sys.modules)
    print(called.Placed().twice(), called.Keyed().twice(), isinstance(called.Keyed(), called.Keyed))
    print(called.doubled(np.arange(3.0)), called.doubled.identity, called.backwards(np.arange(3.0)))
    """
    time.sleep(0.1)
    first = project.ok(code)
    assert first == "2 True\n4.0 4.0 True\n[0. 2. 4.] 0 [0. 1. 3.]"
    time.sleep(0.1)
    assert project.ok(code) == first.replace("2 True", "2 False")


TRIED = """
from numba import njit
try:
    from numba import jitclass
except ImportError:
    from numba.experimental import jitclass
try:
    from numba import nothing_such
except ImportError:
    nothing_such = None
try:
    import numba.absent
except ModuleNotFoundError as problem:
    told = str(problem)
try:
    from numba.absent import one, other
except ModuleNotFoundError:
    one = other = int
try:
    from numba.core import float64 as a_signature
except ImportError:
    from signatures import a_signature
TYPE_CHECKING = False
if TYPE_CHECKING:
    from numba.core.types import Type
@njit
def half(x): return x / 2
@njit(a_signature)
def typed(x): return x * 1.5
"""
PLAIN = """
from numba import njit, __version__
from numba.core.config import NUMBA_NUM_THREADS
@njit
def half(x): return x / 2
def told(): return NUMBA_NUM_THREADS + 1 > 1, "%s" % __version__[:2], type(__version__).__name__
"""


def test_an_import_from_numba_that_fails_does_so_without_numba(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("tried.py", TRIED)
    project.write("signatures.py", 'a_signature = "float64(float64)"\n')
    code = """
    import sys, autoaccel, tried
    print(tried.half(1), tried.nothing_such, tried.told, tried.one, tried.other, "numba" in sys.modules)
    print(repr(tried.jitclass)[:19])
    """
    time.sleep(0.1)
    first = project.ok(code)
    assert first.splitlines()[0].startswith("0.5 None No module named 'numba.absent' <class 'int'>")
    time.sleep(0.1)
    assert project.ok(code) == first.replace(" True", " False")
    typed = "import autoaccel, tried; print(tried.typed(3))"
    assert project.ok(typed) == "4.5"
    # An edit of what stands in is seen.
    project.write("signatures.py", 'a_signature = "int64(float64)"\n')
    assert project.ok(typed) == "4"


def test_a_plain_value_of_numbas_is_that_value(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("plain.py", PLAIN)
    code = "import autoaccel, plain; print(plain.half(1), plain.told())"
    time.sleep(0.1)
    first = project.ok(code)
    time.sleep(0.1)
    assert project.ok(code) == first
    done = subprocess.run(
        [sys.executable, "-m", "autoaccel", "explain", "plain"],
        cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "numba.__version__, numba.core.config.NUMBA_NUM_THREADS, for which nothing can stand" in done.stdout


ASKING = """
import numba
from numba import float64
THERE = hasattr(numba, "no_such_thing"), hasattr(numba, "njit"), hasattr(numba.types, "float64"), hasattr(float64, "ndim")
class wrap:
    def __init__(self, signatures):
        self.signatures = signatures
    def __call__(self, function):
        self.sizes = [getattr(one, "ndim", 0) for sig in self.signatures for one in (*sig.args, sig.return_type)]
        self.names = [str(one.return_type) for one in self.signatures if hasattr(one, "args")]
        return self
"""
ASKED = """
from numba import float64, int64, njit
from asking import wrap
@wrap([float64(float64, float64[:]), int64(int64, int64[:, :])])
def function(x, a): return x
@njit
def twice(x): return x * 2
row = float64[:]
size, has = getattr(row, "ndim", 0), hasattr(row, "no_such_thing")
"""


def test_what_types_and_signatures_are_asked_is_answered(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("asking.py", ASKING)
    project.write("asked.py", ASKED)
    code = (
        "import asked as m, asking; print(m.function.sizes, m.function.names, m.size, m.has, asking.THERE, m.twice(4))"
    )
    plain = project.ok(code)
    assert plain == "[0, 1, 0, 0, 2, 0] ['float64', 'int64'] 1 False (False, True, True, False) 8"
    for _ in range(3):
        time.sleep(0.1)
        assert project.ok(f"import autoaccel, {code.removeprefix('import ')}") == plain


CHANGING = """
from collections import OrderedDict, defaultdict
from numba import cfunc, float64, njit, stencil, vectorize
from numba.experimental import jitclass
K = 2
@vectorize([float64(float64)])
def times(x): return x * K
@cfunc(float64(float64))
def called(x): return x * K
@stencil
def around(a): return a[0] * K
@vectorize
def later(x): return x * K
K = 3
fields = [("x", float64)]
@jitclass(fields)
class Pair:
    def __init__(self): self.x = 2.0
fields.append(("y", "no type"))
ordered = OrderedDict(x=float64)
@jitclass(spec=ordered)
class Ordered:
    def __init__(self): self.x = 3.0
ordered["y"] = "no type"
found = defaultdict(list, x=float64)
@jitclass(found)
class Default:
    def __init__(self): self.x = 4.0
signatures = [float64(float64)]
@njit(signatures)
def listed(x): return x * 5
signatures.append("no signature")
@njit(locals=OrderedDict(y=float64))
def local(x):
    y = x
    return y / 2
@njit
def one(x): return x + 1
"""


def test_what_a_decorator_has_seen_is_another_when_numba_comes(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("changing.py", CHANGING)
    code = """
    import sys, autoaccel, changing, numpy as np
    print(changing.one(1), "numba" in sys.modules)
    print(changing.times(1.0), changing.called.ctypes(1), changing.around(np.ones(1)), changing.later(1.0), changing.K)
    print(changing.Pair().x, changing.Ordered().x, changing.Default().x)
    print(changing.listed(1), len(changing.listed.signatures), changing.local(1))
    """
    time.sleep(0.1)
    first = project.ok(code)
    assert first == "2 True\n2.0 2.0 [2.] 3.0 3\n2.0 3.0 4.0\n5.0 1 0.5"
    time.sleep(0.1)
    assert project.ok(code) == first.replace("2 True", "2 False")
