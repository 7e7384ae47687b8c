"""numba's own cache of compiled functions for the user's modules: kept in our folder, fresh by the whole truth.

Entered when numba has been imported. Dispatchers of functions in the user's directories get caching, whether they ask
for it or not. Where it is kept comes by numba's own locator protocol; whether it is fresh, by `stamp`.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import pickle
import sys
import weakref
from contextlib import suppress
from importlib import import_module

from ..bytecode import distrust
from ..finder import excludes, is_adopted
from ..staleness import identity
from ..store import open_store
from . import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import FunctionType
    from typing import Any

    from ..staleness import Identity

__all__ = [
    "Stamp",
    "caching",
    "dispatchers",
    "enrol",
    "files",
    "is_kept",
    "is_ours",
    "is_users",
    "jitted_in",
    "kernel_caching",
    "settings_digest",
    "spelled_out",
    "unsettled",
    "wrapper_caching",
]

#: Settings of numba's that change the code it makes, as `numba.core.config` has them.
CODEGEN = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "DEBUG_ARRAY_OPT_RUNTIME", "DEBUG_NRT",
    "DISABLE_INTEL_SVML", "ENABLE_AVX", "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE", "NRT_STATS", "OPT", "PARFOR_MAX_TUPLE_SIZE", "SLP_VECTORIZE",
)  # fmt: skip


#: The dispatchers of the user's functions.
_enrolled: list[weakref.ref[Any]] = []
#: Their files -> what these were when they were run last.
files: dict[str, Identity | None] = {}


def enrol(dispatcher: Any) -> None:
    """A function of the user's is jitted."""
    # What is compiled from it, and published under the file's identity, has to be what the file says.
    path = os.path.abspath(dispatcher.py_func.__code__.co_filename)
    distrust(path)
    files[path] = identity(path)
    _enrolled.append(weakref.ref(dispatcher))


def dispatchers() -> list[Any]:
    """The dispatchers of the user's functions that are alive, oldest first."""
    return [found for one in _enrolled if (found := one()) is not None]


def unsettled(function: FunctionType) -> str | None:
    """Why the code of a function may not be what its stamp tells; None where it is."""
    taken = _stamps.get(id(function))
    return taken.unsettled() if taken is not None else "it is not watched"


def settings_digest() -> tuple[str, ...]:
    """What decides the code that numba makes, apart from the source."""
    numba = sys.modules["numba"]
    config: Any = import_module("numba.core.config")
    llvmlite, numpy = import_module("llvmlite"), import_module("numpy")
    told = [f"{name}={getattr(config, name, None)!r}" for name in CODEGEN]
    return (numba.__version__, llvmlite.__version__, numpy.__version__, *told)


def is_ours(function: FunctionType) -> bool:
    """Whether a function is of a module in one of the user's directories that nobody excludes."""
    return is_users(os.path.abspath(function.__code__.co_filename), function.__module__ or "")


def is_users(path: str, name: str) -> bool:
    """Whether a module is in one of the user's directories and nobody excludes it."""
    finder = sys.path_importer_cache.get(os.path.dirname(path))
    if not is_adopted(finder) or not os.path.isfile(path):
        return False
    limited = finder.limited and name.partition(".")[0] not in finder.owner.include
    return not limited and not excludes(finder, name)


class Stamp:
    """A freshness stamp that is taken when it is compared or kept: at decoration, later globals are still missing."""

    def __init__(self, function: FunctionType, options: str = "") -> None:
        self.function = function
        #: how it is compiled: a decorator's arguments are not in the function
        self.options = options
        #: the stamp under which this process first compiled or loaded something of the function's
        self.first: str | None = None

    def value(self) -> tuple[str, ...] | None:
        """The stamp now; None where something can't be compared."""
        try:
            return (stamp.stamp(self.function), self.options, *settings_digest())
        except stamp.Opaque:
            return None

    def unsettled(self, given: tuple[Any, ...] = ()) -> str | None:
        """Why the code of the function may not be what its stamp tells; None where it is.

        A callee that was compiled before a constant changed keeps its code in this process, and brings it into callers.

        Args:
            given: dispatchers that are its arguments.
        """
        try:
            wholes = (self.function, *(one.py_func for one in given))
            for one in (part for whole in wholes for part in stamp.functions(whole)):
                first = _stamps.get(id(one))
                if first is not None and first.first is not None and first.first != stamp.stamp(one):
                    return "something that it is made from has changed since it was compiled"
        except stamp.Opaque as problem:
            return f"nobody can tell whether {problem} is what it was"
        return None

    def note(self) -> None:
        """The function is compiled or loaded for the first time."""
        if self.first is None:
            try:
                self.first = stamp.stamp(self.function)
            except stamp.Opaque:
                self.first = ""

    def __eq__(self, other: object) -> bool:
        value = self.value()
        return value is not None and value == other

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (self.value() or (),)


#: id of a function -> its stamp, for as long as its dispatcher lives.
_stamps: weakref.WeakValueDictionary[int, Stamp] = weakref.WeakValueDictionary()


def caching(dispatcher: Any, asked: bool) -> Any:
    """numba's cache object for a function of the user's.

    Args:
        dispatcher: the function's.
        asked: whether the user has asked for caching, who is then told by numba what can't be cached.
    """
    function: FunctionType = dispatcher.py_func
    options = repr((sorted(dispatcher.targetoptions.items()), sorted(dispatcher.locals.items())))
    taken = _stamps[id(function)] = Stamp(function, options)
    return _cache_of(taken, asked, "")


def kernel_caching(dispatcher: Any, options: Mapping[str, object], asked: bool) -> Any:
    """numba's cache object for the kernel that a universal function of the user's (`@vectorize` and its like) runs.

    Args:
        dispatcher: the kernel's, which is of another class than those of jitted functions.
        options: how it is compiled.
        asked: whether the user has asked for caching.
    """
    taken = Stamp(dispatcher.py_func, repr((sorted(options.items()), sorted(dispatcher.locals.items()))))
    _stamps.setdefault(id(dispatcher.py_func), taken)
    return _cache_of(taken, asked, "kernel")


def wrapper_caching(wrapper: Any) -> Any:
    """numba's cache object for the loop around the kernel of a generalised universal function of the user's."""
    # The kernel's name is in its code, and tells of its signature and options.
    name = wrapper.cres.fndesc.mangled_name
    taken = Stamp(wrapper.py_func, repr((name, wrapper.sin, wrapper.sout, type(wrapper).__name__)))
    return _cache_of(taken, False, "wrapper")


def is_kept(cache: Any) -> bool:
    """Whether a cache object of numba's is one of ours."""
    return isinstance(cache, _classes()[0])


def spelled_out(signature: Any) -> Any:
    """A signature as numba has it of what the user may have written."""
    kinds, returned = import_module("numba.core.sigutils").normalize_signature(signature)
    return kinds if returned is None else returned(*kinds)


def _cache_of(taken: Stamp, asked: bool, kind: str) -> Any:
    """A cache object of numba's for one function.

    Args:
        taken: the function's stamp.
        asked: whether the user has asked for it.
        kind: what is kept of it: ``"kernel"``, ``"wrapper"``, or as ``""`` what a jitted function is compiled to.
    """
    function = taken.function
    base = os.path.splitext(os.path.basename(function.__code__.co_filename))[0]
    folder = hashlib.sha256(os.path.abspath(function.__code__.co_filename).encode()).hexdigest()[:20]
    cache: Any = object.__new__(_classes()[0])
    impl: Any = object.__new__(_library_impl() if kind == "wrapper" else _classes()[1])
    impl._lineno = function.__code__.co_firstlineno
    impl._locator = _classes()[2](taken, f"{open_store().bucket}/numba/{folder}", kind)
    impl._filename_base = impl.get_filename_base(f"{base}.{function.__qualname__}", sys.abiflags)
    cache._name, cache._py_func, cache._impl, cache._asked = repr(function), function, impl, asked
    cache._cache_path = impl._locator.get_cache_path()
    cache._cache_file = _classes()[3](
        cache_path=cache._cache_path, filename_base=impl._filename_base, source_stamp=taken
    )
    cache._stamp = taken
    cache.enable()
    return cache


def _open_ended(library: Any) -> bool:
    """Whether code has calls that numba fills in later: mutual recursion, which crashes when loaded from its cache."""
    return any(one.name.startswith(".numba.unresolved$") for one in library._final_module.global_variables)


def jitted_in(kinds: Iterable[Any]) -> tuple[Any, ...]:
    """The dispatchers that are arguments of a signature."""
    types = import_module("numba.core.types")
    found: list[Any] = []
    for kind in kinds:
        if isinstance(kind, types.Dispatcher):
            found.append(kind.dispatcher)
        elif isinstance(kind, types.BaseTuple):
            found += jitted_in(kind)
    return tuple(found)


def _named(dispatcher: Any) -> tuple[str, ...]:
    """What another process knows a dispatcher by: its name, and the stamp of all that its code is made from.

    Raises:
        Opaque: nobody can tell what it is made from.
    """
    function = dispatcher.py_func
    return (*_place(dispatcher), stamp.stamp(function), repr(sorted(dispatcher.targetoptions.items())))


def _place(dispatcher: Any) -> tuple[str, ...]:
    function = dispatcher.py_func
    return (str(function.__module__), function.__qualname__, str(function.__code__.co_firstlineno))


class _Gone:
    """Stands for a dispatcher that an index names and that is not in this process."""

    def __init__(self, told: tuple[str, ...]) -> None:
        self.told = told


_gone: dict[tuple[str, ...], _Gone] = {}


def _known(told: tuple[str, ...], given: tuple[Any, ...]) -> Any:
    """The dispatcher of this process that a cache file means; None where there is none."""
    for one in (*given, *dispatchers()):
        with suppress(stamp.Opaque):
            if _place(one) == told[:3] and _named(one) == told:
                return one
    return None


def _compartment(function: FunctionType) -> str:
    """Two digits for what a closure encloses, so that closures of one factory have few of their files in common."""
    if not function.__closure__:
        return ""
    with suppress(stamp.Opaque):
        enclosed = [stamp.frozen(one) for one in stamp.enclosed(function)]
        return hashlib.sha256(repr(enclosed).encode("utf-8", "surrogatepass")).hexdigest()[:2]
    return ""


@functools.cache
def _classes() -> tuple[type, type, type, type]:
    """(cache, its serializer, its locator, its files), made when numba's are there to build on."""
    caching: Any = import_module("numba.core.caching")
    serialize: Any = import_module("numba.core.serialize")
    Dispatcher: Any = import_module("numba.core.dispatcher").Dispatcher

    class Pickler(serialize.NumbaPickler):  # type: ignore[misc]
        named: tuple[Any, ...] = ()

        def persistent_id(self, obj: Any) -> Any:
            if type(obj) is _Gone:
                return obj.told
            return _named(obj) if isinstance(obj, Dispatcher) and any(obj is one for one in self.named) else None

    class Unpickler(pickle.Unpickler):
        given: tuple[Any, ...] = ()
        index = False

        def persistent_load(self, told: Any) -> Any:
            found = _known(told, self.given)
            if found is None and not self.index:
                raise pickle.UnpicklingError(f"there is no {told[1]} as it was")
            return found if found is not None else _gone.setdefault(told, _Gone(told))

    class Files(caching.IndexDataCacheFile):  # type: ignore[misc]
        """numba's files, but that jitted functions which are arguments are told by what they are made from.

        numba's own are told by an address, so that what was compiled for them is found in no other process.
        """

        #: the jitted functions among the arguments of the signature that is loaded or saved
        given: tuple[Any, ...] = ()

        def _dump(self, obj: Any) -> bytes:
            with io.BytesIO() as file:
                pickler = Pickler(file)
                pickler.named = (*self.given, *dispatchers())
                pickler.dump(obj)
                return file.getvalue()

        def _load(self, data: bytes, *, index: bool) -> Any:
            unpickler = Unpickler(io.BytesIO(data))
            unpickler.given, unpickler.index = self.given, index
            return unpickler.load()

        def _load_index(self) -> Any:
            try:
                with open(self._index_path, "rb") as file:
                    version = pickle.load(file)
                    data = file.read()
            except FileNotFoundError:
                return {}
            if version != self._version:
                return {}
            taken, overloads = self._load(data, index=True)
            return overloads if taken == self._source_stamp else {}

        def _load_data(self, name: str) -> Any:
            with open(self._data_path(name), "rb") as file:
                return self._load(file.read(), index=False)

    class Locator(caching._CacheLocator):  # type: ignore[misc]
        def __init__(self, taken: Stamp, path: str, kind: str) -> None:
            self._py_file = taken.function.__code__.co_filename
            self._function, self._path, self._taken, self._kind = taken.function, path, taken, kind

        def get_cache_path(self) -> str:
            return self._path

        def get_source_stamp(self) -> Stamp:
            return self._taken

        def get_disambiguator(self) -> str:
            # Functions of one name and line are told apart by the module's own name: a script may be imported as well.
            # One may be jitted twice, with other options.
            told = (self._function.__module__, self._kind, self._taken.options)
            name = hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest()[:6]
            return f"{self._function.__code__.co_firstlineno}-{name}{_compartment(self._function)}"

    class Impl(caching.CompileResultCacheImpl):  # type: ignore[misc]
        pass

    class Cache(caching.FunctionCache):  # type: ignore[misc]
        """numba's function cache; a damaged or foreign file is a miss, and a failure to write none of the user's."""

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                self._cache_file.given = jitted_in(_arguments(sig))
                found = super().load_overload(sig, target_context)
                if found is not None and any(map(_is_omitted, _arguments(sig))):
                    found = found._replace(signature=found.signature.replace(args=_arguments(sig)))
            except Exception:  # truncated and foreign files fail in many ways
                found = None
            self._stamp.note()
            return found

        def save_overload(self, sig: Any, data: Any) -> None:
            library = getattr(data, "library", data)
            lifted = any(not one.can_cache for one in getattr(data, "lifted", ()))
            if not self._asked and (lifted or library.has_dynamic_globals):
                return
            try:
                self._cache_file.given = jitted_in(_arguments(sig))
                if self._stamp.unsettled(self._cache_file.given) is None and not _open_ended(library):
                    super().save_overload(sig, data)
            except Exception:
                return

        def _index_key(self, sig: Any, codegen: Any) -> Any:
            # Bytecode and closure are in the stamp, which tells a jitted function there by what it is made from.
            # So are defaults, of which numba tells some by their address.
            if any(map(_is_omitted, _arguments(sig))):
                kinds = tuple("omitted" if _is_omitted(one) else one for one in _arguments(sig))
                sig = kinds, None if isinstance(sig, tuple) else sig.return_type
            return sig, codegen.magic_tuple()

        def flush(self) -> None:
            with suppress(OSError):
                super().flush()

    return Cache, Impl, Locator, Files


@functools.cache
def _library_impl() -> type:
    """The serializer of libraries that are kept by themselves."""
    caching: Any = import_module("numba.core.caching")

    class Impl(caching.CodeLibraryCacheImpl):  # type: ignore[misc]
        _filename_prefix = "guf"

    return Impl


def _is_omitted(kind: Any) -> bool:
    return type(kind).__name__ == "Omitted"


def _arguments(signature: Any) -> tuple[Any, ...]:
    return signature if isinstance(signature, tuple) else tuple(signature.args)
