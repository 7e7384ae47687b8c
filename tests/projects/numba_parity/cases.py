"""Expressions over `features` and `heavy`; `python cases.py MODE` prints what each gives as JSON.

MODE: ``plain``: numba alone; ``hooked``: with autoaccel. What is native, and why the rest is not, goes to the end.
"""
import json
import sys
import traceback

CASES = """
add_two(1, 2) | add_two(-1, 2) | add_two(a=1, b=2) | add_two(1.7, 2) | add_two(True, 2) | add_two(np.int64(4), np.int8(2))
add_two(2**31 - 1, 1) | add_two(2**31, 1) | add_two(2**70, 1) | add_two("a", 1) | add_two(1) | add_two(1, 2, 3) | add_two(1, c=2) | add_two(None, 1)
add_two(1+2j, 1) | total(f) | total(f[::2]) | total(f.astype(np.float32)) | total(readonly) | total(f.reshape(2, 3)) | total([1.0]) | total(None)
as_text(4) | as_text(2.9) | as_text(2**63) | as_text(True) | two(1) | two(1.5) | two(np.float32(1.5)) | two(np.int32(3)) | two(1j) | single(1.0) | single(2)
small(3) | small(255) | small(300) | turned(2) | turned(1.5 + 1j) | negated(True) | negated(1) | changed(fill, f.copy()) | paired(3) | ones(2) | contiguous(f) | contiguous(f[::2])
length("abc") | length(b"abc")
scalars(2, 3) | scalars(2.0, 3) | scalars(np.int32(2), np.float32(1.5)) | scalars(True, 2) | scalars(2**62, 4) | scalars(2**70, 1) | scalars(np.uint64(3), 2) | scalars(1j, 2)
scalars(np.float16(1), 2) | boolfn(True) | boolfn(np.bool_(False)) | complexfn(1+2j) | complexfn(np.complex64(1+2j)) | nonearg(None) | nonearg(1) | optret(1) | optret(-1)
floordiv(7, -2) | floordiv(7.5, 2) | floordiv(1, 0) | modulo(-7, 3) | modulo(7.5, -2.0) | modulo(1, 0) | power(3, 4) | power(2.0, 3) | power(2, -1) | shifts(5, 2) | compare(1, 2.5)
maths(1.5) | maths(2) | rounding(2.5) | rounding(-2.5) | minmax(1, 2.5) | minmax(float("nan"), 1.0)
arr1d(f) | arr1d(f[::2]) | arr1d(np.arange(6)) | arr1d(f.astype(np.float32)) | arr1d(readonly) | arr1d(unaligned) | arr1d(f.astype(">f8")) | arr1d(np.array([1, "a"], dtype=object)) | arr1d(np.arange(3, dtype=np.uint8))
arr1d(f.astype(np.complex128)) | arr1d([1.0]) | arr2d(f.reshape(2, 3)) | arr2d(np.asfortranarray(f.reshape(2, 3))) | arr2d(np.arange(24.).reshape(4, 6)[::2, ::2]) | arr2d(np.zeros((0, 3))) | arr2d(f)
arr3d(np.zeros((2, 3, 4))) | arr3d(np.zeros((2, 3, 4), order="F")) | changed(arrwrite, f.copy()) | arrwrite(readonly) | arrret(3) | arrret(-1) | arrsame(f) is f | arrsame(f[::2]) | arrslice(f) | arrslice(f).base is not None | arrT(f.reshape(2, 3))
arrints(4) | arrbool(f) | arrmask(f) | np_funcs(f) | np_sort(f[::-1].copy()) | np_dot(f, f) | np_linalg(np.eye(2) * 2) | np_linalg(np.zeros((2, 2))) | np_cumsum(f) | np_where(f) | np_isin(f, f[:2].copy()) | np_concat(f, f) | np_reshape(f) | np_reshape(f[:5].copy())
np_random(3) | enumerate_zip(f, f) | zero_d(np.array(4.5)) | arr1d(Sub(3))
tupret(2) | tuparg((1, 2)) | tuparg((1, 2.5)) | tuparg((1, "a")) | tuparg(()) | tupnest((1, (2.5, 3))) | tuparr((f, 2)) | ntret(2) | ntarg(features.Point(1, 2)) | list_local(5) | list_ret(3) | mutated(list_arg, [1, 2]) | list_arg([1, "a"]) | list_arg([])
set_arg({1, 2}) | set_local(3) | tlist_local(4) | tlist_arg(TList([1, 2])) | tdict_local(4) | tdict_str(4) | str(dict_ret(4))
exc_static(1) | exc_static(-1) | exc_dyn(1) | exc_dyn(-1) | exc_user(-1) | exc_zero(1) | exc_zero(0) | exc_index((1, 2, 3), 1) | exc_index((1, 2, 3), 7) | exc_assert(1) | exc_assert(-1) | exc_catch(1) | exc_catch(-1) | exc_callee(1) | exc_callee(-1) | exc_bare(1) | exc_key(7) | exc_in_list([1, 2])
printer(3) | string_len("héllo") | string_ret("héllo") | string_ret("") | string_int(12) | string_split("a,b") | string_eq("a", "a") | string_eq("a", "ä") | string_replace("banana") | string_hash("abc") == hash("abc") | string_hash("héé") == hash("héé") | bytes_arg(b"abc") | global_text()
nested(4) | recur(10) | recur_explicit(10) | mutual_a(3) | mutual_b(3) | other_file(2) | through_module(2.0) | closure(3) | closure_again(3) | features.make(7)(1) | inner_closure(3) | globconst(3) | globarr(2) | enums(2) | enums(features.Color.BLUE) | takes_function(inner2, 3) | takes_function(closure, 3)
uses_inlined(2) | list(gen(5)) | gen_use(5) | defaults(1) | defaults(1, 5) | defaults(1, c=5.0) | defaults(1, 5, 2.0) | defaults() | defaults(1, d=3) | default_none(1) | default_none(1, 2) | default_none(1, None) | starargs(1, 2) | with_objmode(1) | rangeret(4) | slicearg(f, slice(1, 3))
dtype_arg(2, np.float32) | dt_arg(np.datetime64("2020-01-01")) | struct_arr(np.zeros(2, dtype=[("x", "f8"), ("y", "i4")])) | rng_arg(np.random.default_rng(1)) | nothing() | nothing(1) | constant() | many(1, 2, 3, 4, 5, 6, 7, 8) | many(1, 2.0, 3, 4, 5, 6, 7, h=8) | wide(3) | wide(-1) | no_default_conv(np.float64(2)) | no_default_conv(Int(3))
fast(f) | parallel_sum(f) | parallel_expression(f) | parallel_write(5) | without_gil(1000) | numpy_errors(0.0) | python_errors(0.0) | checked(f, 2) | checked(f, 99) | with_cache(2) | with_locals(2)
Holder().method(2) | Holder.static(2) | plain_function(3) | features.plain_function.__doc__
heavy.vec(f, f) | heavy.guv(f) | heavy.vec_use(f) | heavy.sten(f) | heavy.sten_use(f) | heavy.cf_use(2.0) | heavy.cf.ctypes(2.0) | heavy.counter_local(2.0) | heavy.counter_use(heavy.Counter(3.0)) | heavy.uses_taught(1) | heavy.uses_shared(2)
pickle.loads(pickle.dumps(scalars)) is scalars | pickle.loads(pickle.dumps(scalars))(2, 3) | pickle.loads(pickle.dumps(closure))(3) | copy.copy(scalars)(2, 3) | copy.deepcopy({"f": scalars})["f"](2, 3)
scalars.py_func(2, 3) | scalars.__name__ | scalars.__qualname__ | scalars.__module__ | add_two.__doc__ | scalars.__wrapped__ is scalars.py_func | type(scalars).__name__ | repr(scalars).partition(" at ")[0] | callable(scalars) | hasattr(scalars, "nonsense")
str(inspect.signature(defaults)) | inspect.getsource(recur) | inspect.getdoc(add_two) | scalars.__code__.co_varnames | defaults.__defaults__ | scalars.__annotations__ | inspect.getmodule(scalars) is features | inspect.isfunction(scalars) | inspect.isroutine(scalars) | inspect.unwrap(scalars) is scalars.py_func
weakref.ref(scalars)() is scalars | hash(scalars) == hash(scalars) | scalars == scalars | {scalars: 1}[scalars] | isinstance(scalars, Dispatcher()) | is_jitted(scalars) | is_jitted(plain_function) | functools.partial(scalars, 2)(3) | list(map(recur, range(5))) | attribute(scalars)
sorted(map(str, constant.signatures)) | sorted(map(str, add_two.signatures)) | "add" in next(iter(add_two.inspect_llvm().values())) | add_two.nopython_signatures | len(add_two.overloads) | scalars.targetoptions["nopython"] | str(typeof_(add_two)).partition(" at ")[0] | parallel_write.get_metadata(parallel_write.signatures[0])["parfors"] is not None if False else 1
numba.njit(lambda x: scalars(x, 2))(3) | numba.njit(lambda x: recur(x))(6) | numba.njit(lambda x: other_file(x))(1.5) | numba.njit(lambda x: exc_static(x))(-1)
features.int32 == numba.int32 | features.nb.float64 == numba.float64 | features.prange is not None | [threaded(k) for k in range(2)] | released() | refcounts() | reloaded() | stop_iteration() | in_class_body() | reconst()
"""


def main(mode):
    if mode != "plain":
        import autoaccel
    import copy, functools, inspect, pickle, weakref
    import numpy as np
    import features
    first = "numba" in sys.modules
    if mode == "warm":
        # The order of a program that needs no numba: what needs it comes last.
        names = [case for case in all_cases() if not needs_numba(case)]
        early = {case: attempt(case, space(features)) for case in names}
    else:
        early = {}
    import numba, heavy
    found = space(features)
    found.update(numba=numba, heavy=heavy)
    results = {case: early[case] if case in early else attempt(case, found) for case in all_cases()}
    print(json.dumps({"results": results, "first": first}))


def needs_numba(case):
    return any(word in case for word in ("heavy.", "numba.", "TList", "is_jitted", "Dispatcher()", "typeof_"))


def all_cases():
    return [case.strip() for line in CASES.strip().splitlines() for case in line.split(" | ")]


def space(features):
    import copy, functools, inspect, pickle, threading, weakref, gc
    import numpy as np

    f = np.arange(6.0)
    readonly = f.copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + f.tobytes(), dtype=np.uint8)[1:].view(np.float64)

    class Sub(np.ndarray):
        def __new__(cls, n): return np.arange(float(n)).view(cls)
    class Int(int):
        pass

    def changed(function, value):
        function(value)
        return value
    def mutated(function, value):
        return function(value), value
    def attribute(function):
        function.note = 5
        return function.note
    def Dispatcher():
        from numba.core.dispatcher import Dispatcher as kind
        return kind
    def is_jitted(value):
        from numba.extending import is_jitted
        return is_jitted(value)
    def TList(values):
        from numba.typed import List
        return List(values)
    def typeof_(value):
        import numba
        return numba.typeof(value)
    def threaded(k):
        results = []
        threads = [threading.Thread(target=lambda: results.append(features.recur(12))) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        return results
    def released():
        steps, stop = [0], []
        def spin():
            while not stop: steps[0] += 1
        features.without_gil(10)
        thread = threading.Thread(target=spin)
        thread.start()
        before = steps[0]
        features.without_gil(3_000_000)
        moved = steps[0] - before
        stop.append(1)
        thread.join()
        return moved > 10
    def refcounts():
        value, text = np.arange(6.0), "some text"
        features.arr1d(value), features.arrsame(value), features.string_ret(text)
        gc.collect()
        before = sys.getrefcount(value), sys.getrefcount(text)
        for _ in range(200):
            features.arr1d(value), features.arrsame(value), features.arrslice(value), features.string_ret(text)
        gc.collect()
        return (sys.getrefcount(value), sys.getrefcount(text)) == before
    def reloaded():
        import importlib
        import again
        before = again.lazy(2), again.explicit(2)
        importlib.reload(again)
        return before, again.lazy(2), again.explicit(2)
    def stop_iteration():
        it = features.gen(1)
        next(it)
        return next(it)
    def in_class_body():
        class Owner:
            call = features.scalars
        return Owner.call(2, 3), type(Owner().call).__name__
    def reconst():
        features.G = 100
        try:
            return features.make(1)(1), features.globconst(np.float32(2))
        finally:
            features.G = 3
    found = {name: value for name, value in locals().items() if name != "found"}
    found.update({name: getattr(features, name) for name in dir(features) if name not in found and not name.startswith("__") and name not in ("nb", "numba")})
    return found


def attempt(case, space):
    import contextlib, io
    out = io.StringIO()
    try:
        value = eval(case, space)
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(("features.py", "helpers.py"))]
        text = str(error).splitlines()[0] if str(error) else ""
        where = [[frame.name, frame.lineno] for frame in frames[-1:]]
        return ["raised", type(error).__name__, text, where]
    return ["gave", shown(value)]


def shown(value):
    import numpy as np
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), list(value.shape), repr(value.tolist()), value.flags.writeable, value.flags.c_contiguous]
    if isinstance(value, tuple | list):
        return [type(value).__name__, *[shown(one) for one in value]]
    return [type(value).__name__, repr(value) if not callable(value) else "callable"]


if __name__ == "__main__":
    main(sys.argv[1])
