"""numba's modules on a warm import: their compiled functions, loaded without numba.

Warm room: what the import of a published module costs, in one file. The module runs as the ``.py`` that it is, but for
its imports from numba: these names are `Lazy`. Its jitted functions are dispatchers of the runtime's (``csrc/aart.c``),
bound to the module's library. Whatever numba alone can answer brings numba in on the spot (`materialize`): a type that
was not seen before, ``signatures``, a call from another jitted function, any other use of a name of numba's.
"""

import _imp
import sys
from _frozen_importlib import ModuleSpec, _call_with_frames_removed  # type: ignore[attr-defined]
from _frozen_importlib_external import SourceFileLoader

from .. import holds

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType, ModuleType
    from typing import Any

    from .._typing import Record

__all__ = [
    "CPU",
    "JitLoader",
    "Lazy",
    "State",
    "cpu",
    "depends",
    "digest",
    "materialize",
    "options_digest",
    "real",
    "settle",
    "thaw",
]

#: The processor as Linux tells it: maker, family, model and features. Code that was made for another one may crash.
CPU = "/sys/devices/system/cpu/modalias"
#: How the note in a library is laid out.
FORMAT = 3

_FUNCTION: "Any" = type(lambda: 0)
_MODULE = type(sys)
_BUILTIN = type(len)
_JIT = ("numba.njit", "numba.jit", "numba.core.decorators.njit", "numba.core.decorators.jit")
#: Options of ``jit`` that are ours to look after, or that numba takes for itself.
_NOT_OPTIONS = ("cache", "signature_or_function")

#: The runtime, once a module has needed it.
_runtime: "Any" = None
#: Name of a module -> its state.
states: "dict[str, State]" = {}


class JitLoader(SourceFileLoader):
    """Loads a ``.py`` file whose jitted functions have been published; as plain Python where that does not hold.

    Args:
        name, path: the module and its source.
        record: what its manifest holds.
        names: the listing of its directory.
    """

    def __init__(self, name: str, path: str, record: "Record", names: "set[str]") -> None:
        super().__init__(name, path)
        self.record = record
        self.names = names
        #: the library, once it is loaded
        self.artifact: str | None = None

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module, natively where all that its code was made from is what it was."""
        state = None
        # Who has numba loaded gains nothing from doing without.
        if "numba" not in sys.modules:
            state = _state(self, module.__dict__)
        if state is None:
            super().exec_module(module)
            return
        self.artifact = self.record[3]
        names = module.__dict__
        names["__autoaccel_numba__"] = Lazy
        try:
            _call_with_frames_removed(exec, state.note["code"], names)
        finally:
            names.pop("__autoaccel_numba__", None)


class State:
    """A module's library, loaded.

    Attributes:
        note: what `publish` wrote into it.
        table: its functions, for the runtime.
        names: the module's globals.
        proxies: the dispatchers that were made from it.
    """

    __slots__ = ("names", "note", "proxies", "table")

    def __init__(self, note: "dict[str, Any]", table: object, names: "dict[str, Any]") -> None:
        self.note = note
        self.table = table
        self.names = names
        self.proxies: list[Any] = []


def _state(loader: JitLoader, names: "dict[str, Any]") -> "State | None":
    """The library of a module, if it is what numba would make here and now."""
    if not holds(loader.record, loader.names) and not _renewed(loader):
        return None
    try:
        _os.stat(".numba_config.yaml")
    except OSError:
        pass
    else:
        return None
    name, path = loader.name, loader.record[5][-1][0]
    # Of the files that it was made from, the one that is no text.
    runtime = next(row[0] for row in loader.record[5] if row[0][-3:] != ".py")
    try:
        library = _library(name.rpartition(".")[2], path, runtime)
        note = library.note
        if note["format"] == FORMAT and note["cpu"] == cpu() and note["optimize"] == sys.flags.optimize:
            state = states[name] = State(note, library.table, names)
            return state
    except Exception as problem:
        from .watch import warn

        warn(f"{name} is left to numba", problem)
    return None


def _renewed(loader: JitLoader) -> bool:
    """Whether all that seems to have changed has its content still; looked at in the cold rooms."""
    from ..loader import read_alone

    record = read_alone(loader.name, loader.path)
    if record is None or record[2] != loader.record[2]:
        return False
    from .hold import renewed

    found = renewed(record)
    if found is not None:
        loader.record = found
    return found is not None


def _library(stem: str, path: str, runtime: str) -> "Any":
    global _runtime
    if _runtime is None:
        made = _extension("autoaccel.numba.aart", runtime)
        made.set_hooks(_exception, _validate, _fallback, _attribute, _threads, _class)
        _runtime = made
    return _extension(stem, path)


def _extension(name: str, path: str) -> "Any":
    spec = ModuleSpec(name, None, origin=path)
    module = _imp.create_dynamic(spec)
    _imp.exec_dynamic(module)
    return module


def cpu() -> str:
    """The processor of this machine; ``""`` where it can't be told, and nothing is loaded."""
    try:
        descriptor = _os.open(CPU, _os.O_RDONLY)
    except OSError:
        return ""
    try:
        return _os.read(descriptor, 1 << 16).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        _os.close(descriptor)


# names of numba's


class Lazy:
    """Something of numba's that has not been imported: a path, and what has been done with it."""

    __slots__ = ("_make", "_path")

    def __init__(self, path: str, make: "Any" = None) -> None:
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_make", make)

    def __getattr__(self, name: str) -> "Any":
        if name == "py_func":
            raise AttributeError(name)
        # Only of numba's modules is it known what is there. What is asked of a type, or whether something is there at
        # all, has to be the truth.
        path = self._path
        known = name in _MODULES or name in _TYPES or name in _LATER or name in ("jit", "njit", "config")
        if (known or path[-6:] == ".types") and self._make is None and _MODULES.issuperset(path.split(".")):
            return Lazy(f"{path}.{name}")
        return getattr(real(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(real(self), name, value)

    def __call__(self, *given: "Any", **options: "Any") -> "Any":  # noqa: D102
        if self._path in _JIT:
            return _jit(self, given, options)
        if self._make is None and self._path.rpartition(".")[2] in _LATER:
            from .later import decorated

            return decorated(self, given, options)
        if "numba.types." in self._path or self._path.rpartition(".")[2].rstrip("()[]") in _TYPES:
            return Lazy(f"{self._path}()", lambda: real(self)(*real(given), **real(options)))
        return real(self)(*real(given), **real(options))

    def __getitem__(self, index: object) -> "Any":
        return Lazy(f"{self._path}[]", lambda: real(self)[real(index)])

    def __iter__(self) -> "Any":
        return iter(real(self))

    def __eq__(self, other: object) -> bool:
        return bool(real(self) == real(other))

    def __hash__(self) -> int:
        return hash(real(self))

    def __repr__(self) -> str:
        return repr(real(self))

    def __bool__(self) -> bool:
        return bool(real(self))

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(real(instance), real(self))

    def __subclasscheck__(self, kind: type) -> bool:
        return issubclass(kind, real(self))

    def __mro_entries__(self, bases: object) -> "tuple[Any, ...]":
        return (real(self),)

    def __reduce_ex__(self, protocol: "Any") -> "Any":
        return real, (real(self),)

    @property
    def _numba_type_(self) -> "Any":
        from numba import typeof

        return typeof(real(self))


#: The modules of numba's that have these.
_MODULES = frozenset(("numba", "types", "core", "decorators", "np", "ufunc", "experimental", "extending"))
#: Decorators whose work can wait until numba is there.
_LATER = frozenset(
    """vectorize guvectorize cfunc stencil jitclass overload overload_method overload_attribute
    register_jitable""".split()
)
_TYPES = frozenset(
    """void none boolean bool_ int_ intc intp uint uintc uintp byte char short int8 int16 int32 int64 uint8 uint16
    uint32 uint64 float_ double float32 float64 complex64 complex128 long_ longlong ulong ulonglong ushort uchar b1 i1
    i2 i4 i8 u1 u2 u4 u8 f4 f8 c8 c16 unicode_type string optional Tuple UniTuple Array""".split()
)


def real(value: "Any") -> "Any":
    """A value with numba's own objects in the place of lazy ones."""
    kind = type(value)
    if kind is Lazy or kind.__base__ is Lazy:
        return value._make() if value._make is not None else _imported(value._path)
    if kind is tuple or kind is list:
        return kind([real(one) for one in value])
    if kind is dict:
        return {name: real(one) for name, one in value.items()}
    if issubclass(kind, dict):
        from copy import copy

        # There may be more to it than its items.
        found = copy(value)
        for name, one in value.items():
            found[name] = real(one)
        return found
    return value


def _imported(path: str) -> "Any":
    from importlib import import_module

    if path.startswith(("numba.config", "numba.core.config", "numba.core")):
        # Who reaches for its settings may change what its code does. Another thread may be importing.
        for state in list(states.values()):
            for proxy in list(state.proxies):
                proxy._off = 1
    first, *rest = path.split(".")
    value: Any = import_module(first)
    settle()
    for count, name in enumerate(rest, 2):
        try:
            value = getattr(value, name)
        except AttributeError:
            whole = ".".join(path.split(".")[:count])
            try:
                value = import_module(whole)
            except ModuleNotFoundError:
                raise ImportError(f"cannot import name {name!r} from {path.rpartition('.')[0]!r}") from None
    return value


#: What is to be told numba when it comes: see `later`.
pending: "list[Any]" = []


#: Whether some thread, which holds the lock, is at it.
_settling = False


def settle() -> None:
    """Tell numba, which is there now, what modules have taught it by ``@overload`` and the like."""
    global _settling
    if not pending:
        return
    with lock():
        # Teaching imports from numba, and so comes here again.
        if _settling:
            return
        _settling = True
        try:
            while pending:
                try:
                    pending[0]()
                except Exception as problem:
                    # Who imports numba has nothing to do with it.
                    from .watch import warn

                    warn("numba could not be taught what a module adds to it", problem)
                # Others look at numba once there is nothing left.
                del pending[0]
        finally:
            _settling = False


def thaw(names: "dict[str, Any]", function: "Any" = None) -> None:
    """Put numba's own objects into a module, in the place of lazy ones: numba must see its types, prange, ...

    Args:
        names: the module's.
        function: what is about to be compiled; of the objects that are made later, only those that it names are made.
    """
    code = getattr(function, "__code__", None)
    for name, value in list(names.items()):
        kind = type(value)
        if kind is Lazy or (kind.__base__ is Lazy and code is not None and _names(code, name)):
            found = real(value)
            if found is not None:
                names[name] = found


def _names(code: "Any", name: str) -> bool:
    if name in code.co_names:
        return True
    return any(_names(one, name) for one in code.co_consts if type(one) is type(code))


# dispatchers


def _jit(decorator: Lazy, given: "tuple[Any, ...]", options: "dict[str, Any]") -> "Any":
    """What ``@jit`` gives: a dispatcher of the runtime's for a function of a module whose library is loaded."""
    if len(given) == 1 and type(given[0]) is _FUNCTION:
        function = given[0]
        return _proxy(function, lambda: real(decorator)(function, **real(options)), False, options)
    explicit = bool(given and given[0] is not None) or options.get("signature_or_function") is not None
    # The list may grow before numba comes.
    given = tuple([list(one) if type(one) is list else one for one in given])

    def decorate(function: "Any") -> "Any":
        if type(function) is not _FUNCTION:
            return real(decorator)(*real(given), **real(options))(function)
        return _proxy(function, lambda: real(decorator)(*real(given), **real(options))(function), explicit, options)

    return decorate


def _proxy(function: "FunctionType", make: "Any", explicit: bool, options: "dict[str, Any]") -> "Any":
    state = states.get(function.__module__)
    if state is None or state.names is not function.__globals__:
        return make()
    told = state.note["functions"].get((function.__qualname__, function.__code__.co_firstlineno))
    if told is not None and (told["explicit"] != explicit or told["options"] != options_digest(options)):
        told = None
    line = function.__code__.co_firstlineno if told is not None else 0
    proxy = _runtime.attach(state.table, function.__qualname__, line, function.__globals__)
    names = proxy.__dict__
    names.update(function.__dict__)
    names["__name__"] = function.__name__
    names["__qualname__"] = function.__qualname__
    names["__module__"] = function.__module__
    names["__doc__"] = function.__doc__
    names["__wrapped__"] = names["py_func"] = function
    names["_autoaccel"] = [make, None, state, told, explicit, None]
    state.proxies.append(proxy)
    if explicit and told is not None:
        # numba compiles it now; what it would see now is what counts.
        if not _holds(proxy, told):
            proxy._off = 1
        names["_autoaccel"][5] = _values(function, told)
    return proxy


def options_digest(options: "dict[str, Any]") -> object:
    """The options of ``jit`` that change the code, for comparing; as numba completes them."""
    told = {name: value for name, value in options.items() if name not in _NOT_OPTIONS}
    told.setdefault("boundscheck", None)
    told["nopython"] = True
    return tuple(sorted((name, _option(value)) for name, value in told.items()))


def _option(value: "Any") -> str:
    if type(value) in (set, frozenset):
        return repr(sorted(map(repr, value)))
    if type(value) is dict:
        return repr(sorted((repr(name), _option(one)) for name, one in value.items()))
    return repr(value)


def _validate(proxy: "Any", place: int) -> bool:
    """Whether an overload that is used for the first time still is what numba would compile now."""
    _, _, _, told, explicit, values = proxy.__dict__["_autoaccel"]
    # With an explicit signature, numba has compiled when it was decorated.
    if told is None or not (explicit or _holds(proxy, told)):
        return False
    if values is None:
        proxy.__dict__["_autoaccel"][5] = _values(proxy.py_func, told)
    return True


def _values(function: "FunctionType", told: "dict[str, Any]") -> "list[tuple[dict[str, Any], str, Any]]":
    """The values that numba would freeze now, and where they are; a later change is not to be seen."""
    found = []
    for home, chain, _ in told["deps"]:
        names = _globals(function, home)
        for name in chain[:-1]:
            names = getattr(names.get(name), "__dict__", {})
        # A class's can't be put back.
        if chain and type(names) is dict and chain[-1] in names:
            found.append((names, chain[-1], names[chain[-1]]))
    return found


def _holds(proxy: "Any", told: "dict[str, Any]") -> bool:
    function = proxy.py_func
    try:
        for home, chain, expected in told["deps"]:
            if depends(function, home, chain) != expected:
                return False
    except (AttributeError, KeyError, ValueError):
        return False
    return True


def depends(function: "FunctionType", home: "str | None", chain: "tuple[str, ...]") -> object:
    """Digest of something that is baked into the code of ``function``, as it is now.

    Args:
        function: whose code.
        home: the module in which the chain of names starts; None for the function's own.
        chain: the names; none for the function's own defaults and closure.
    """
    if not chain:
        return _own(function)
    value: Any = _globals(function, home).get(chain[0], _missing)
    for name in chain[1:]:
        value = getattr(value, name)
    return digest(value)


_missing = object()


def _globals(function: "FunctionType", home: "str | None") -> "dict[str, Any]":
    # A program may take modules out of the list, and put anything into it.
    return function.__globals__ if home is None else getattr(sys.modules.get(home), "__dict__", {})


def _own(function: "FunctionType", depth: int = 0) -> object:
    cells = tuple([digest(cell.cell_contents, depth + 1) for cell in function.__closure__ or ()])
    return digest(function.__defaults__, depth + 1), cells


def digest(value: "Any", depth: int = 0) -> object:
    """A value as text and tuples of text, equal for values that compile to the same; None where nobody can tell."""
    kind = type(value)
    if kind in _PLAIN:
        return kind.__name__, repr(value)
    if kind is Lazy:
        return "numba", value._path.rpartition(".")[2]
    if kind.__base__ is Lazy:
        return None
    if kind is tuple:
        return "tuple", tuple([digest(one, depth) for one in value])
    if kind is _MODULE:
        return "module", value.__name__
    if isinstance(value, type):
        return "class", value.__module__, value.__qualname__, getattr(value, "_fields", None)
    if kind is _BUILTIN:
        return "builtin", value.__module__, value.__qualname__
    inner = getattr(value, "py_func", value)
    if type(inner) is _FUNCTION:
        # What its code refers to is told of apart.
        line = inner.__code__.co_firstlineno
        return "function", inner.__module__, inner.__qualname__, line, _own(inner, depth) if depth < 4 else None
    if kind.__module__ == "numpy":
        if kind.__name__ == "ndarray":
            import _sha1  # type: ignore[import-not-found]

            layout = (str(value.dtype), value.shape, value.strides)
            return None if value.dtype.hasobject else ("array", *layout, _sha1.sha1(value.tobytes()).hexdigest())
        return "numpy", kind.__name__, repr(value)
    if isinstance(value, tuple):
        return "named", digest(kind), tuple([digest(one, depth) for one in value])
    return None


_PLAIN = (type(None), bool, int, float, complex, str, bytes)


# numba itself


def lock() -> "Any":
    """What is held while something of numba's is made: numba's own lock, under which it asks for more of it.

    To be called while nothing is held: who imports numba holds it off from all others until it has been told all.
    """
    import numba  # noqa: F401
    from numba.core.compiler_lock import global_compiler_lock

    return global_compiler_lock


def materialize(proxy: "Any") -> "Any":
    """numba's own dispatcher behind one of the runtime's, made now if need be."""
    told = proxy.__dict__["_autoaccel"]
    if told[1] is None:
        with lock():
            if told[1] is None:
                thaw(proxy.py_func.__globals__, proxy.py_func)
                told[1] = _made(proxy, told)
    return told[1]


#: Functions that are being decorated by numba, and the proxies that wait for it: a recursive function asks for itself.
making: "list[Any]" = []
#: Values that were put aside, for as long as those of an earlier time are in their places.
_restored: "list[Any]" = []


def _made(proxy: "Any", told: "list[Any]") -> "Any":
    def make() -> "Any":
        dispatcher = told[0]()
        # A caller may have restored what this one is made from.
        if _restored:
            _compile_used(proxy, dispatcher)
        return dispatcher

    making.append(proxy)
    try:
        # Compiled at its decoration or when it was first called, it has seen the values of that time.
        return restored(told[5] or (), make)
    finally:
        making.remove(proxy)


def restored(values: "Any", make: "Any") -> "Any":
    """What ``make`` gives while values of an earlier time, as `_values` tells them, are in their places."""
    swapped = []
    for names, name, value in values:
        kind = type(value)
        if name in names and names[name] is not value and kind is not Lazy and kind.__base__ is not Lazy:
            swapped.append((names, name, names[name]))
            names[name] = value
    _restored.extend(swapped)
    try:
        return make()
    finally:
        del _restored[len(_restored) - len(swapped) :]
        for names, name, value in swapped:
            names[name] = value


def made(dispatcher: "Any") -> None:
    """numba has begun to make a dispatcher: the proxies that wait for it can have it."""
    for proxy in making:
        if proxy.py_func is dispatcher.py_func:
            proxy.__dict__["_autoaccel"][1] = dispatcher


def _fallback(proxy: "Any", given: "tuple[Any, ...]", options: "dict[str, Any]") -> "Any":
    return materialize(proxy)(*given, **options)


#: Attributes of a plain function's that a dispatcher has as well.
_FUNCTIONS = ("__code__", "__defaults__", "__kwdefaults__", "__annotations__")


def _attribute(proxy: "Any", name: str) -> "Any":
    """An attribute that the runtime's dispatcher does not have."""
    if name in _FUNCTIONS:
        return getattr(proxy.py_func, name)
    if name == "__reduce_ex__":
        return _reduction(proxy)
    if name[:2] == "__" and name != "__numba__":
        raise AttributeError(f"'CPUDispatcher' object has no attribute {name!r}")
    dispatcher = materialize(proxy)
    if name in ("signatures", "nopython_signatures", "overloads", "stats", "get_metadata") or name[:8] == "inspect_":
        _compile_used(proxy, dispatcher)
    return getattr(dispatcher, name)


def _compile_used(proxy: "Any", dispatcher: "Any") -> None:
    """Have numba compile what this process has used natively, for those who look at it."""
    told = proxy.__dict__["_autoaccel"]
    if not told[4]:
        import pickle

        overloads = told[2].note["overloads"]
        for index in proxy._used:
            dispatcher.compile(pickle.loads(overloads[index]))


def _reduction(proxy: "Any") -> "Any":
    """Pickled by its name where it has one, as functions are; else as numba does."""
    value: Any = sys.modules.get(proxy.__module__)
    for name in proxy.__qualname__.split("."):
        value = getattr(value, name, None)
    if value is proxy:
        return lambda _: proxy.__qualname__
    return materialize(proxy).__reduce_ex__


def _class(proxy: "Any") -> type:
    """``__class__``: numba's own type, once somebody may ask for it."""
    registry = sys.modules.get("numba.core.registry")
    return getattr(registry, "CPUDispatcher", None) or type(proxy)


def _threads(proxy: "Any") -> None:
    """Bind numba's threading layer, the one that the code was made with."""
    from .threads import bind

    bind(_runtime, proxy.__dict__["_autoaccel"][2].note)


def _exception(static: bytes, given: "tuple[Any, ...]") -> "tuple[Any, ...]":
    """The class, arguments and place of an exception whose arguments are known at run time only."""
    from .threads import exception

    return exception(static, given)
