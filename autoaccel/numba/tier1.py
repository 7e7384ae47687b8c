"""numba's own cache of compiled functions for the user's modules: kept in our folder, fresh by the whole truth.

Entered when numba has been imported. Dispatchers of functions in the user's directories get caching, whether they ask
for it or not. Where it is kept comes by numba's own locator protocol; whether it is fresh, by `stamp`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import weakref
from contextlib import suppress
from importlib import import_module

from ..bytecode import distrust
from ..finder import excludes, is_adopted
from ..store import open_store
from . import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FunctionType
    from typing import Any

__all__ = ["Stamp", "caching", "dispatchers", "enrol", "is_ours", "settings_digest", "unsettled"]

#: Settings of numba's that change the code it makes, as `numba.core.config` has them.
CODEGEN = (
    "BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "DEBUG_ARRAY_OPT_RUNTIME", "DEBUG_NRT",
    "DISABLE_INTEL_SVML", "ENABLE_AVX", "EXTEND_VARIABLE_LIFETIMES", "LLVM_REFPRUNE_FLAGS", "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE", "NRT_STATS", "OPT", "PARFOR_MAX_TUPLE_SIZE", "SLP_VECTORIZE",
)  # fmt: skip


#: The dispatchers of the user's functions.
_enrolled: list[weakref.ref[Any]] = []


def enrol(dispatcher: Any) -> None:
    """A function of the user's is jitted."""
    # What is compiled from it, and published under the file's identity, has to be what the file says.
    distrust(os.path.abspath(dispatcher.py_func.__code__.co_filename))
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
    path = os.path.abspath(function.__code__.co_filename)
    folder = os.path.dirname(path)
    finder = sys.path_importer_cache.get(folder)
    if not is_adopted(finder) or not os.path.isfile(path):
        return False
    name = function.__module__ or ""
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

    def unsettled(self) -> str | None:
        """Why the code of the function may not be what its stamp tells; None where it is.

        A callee that was compiled before a constant changed keeps its code in this process, and brings it into callers.
        """
        try:
            for one in stamp.functions(self.function):
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
    base = os.path.splitext(os.path.basename(function.__code__.co_filename))[0]
    folder = hashlib.sha256(os.path.abspath(function.__code__.co_filename).encode()).hexdigest()[:20]
    cache: Any = object.__new__(_classes()[0])
    impl: Any = object.__new__(_classes()[1])
    impl._lineno = function.__code__.co_firstlineno
    impl._locator = _classes()[2](function, f"{open_store().bucket}/numba/{folder}", taken)
    impl._filename_base = impl.get_filename_base(f"{base}.{function.__qualname__}", sys.abiflags)
    cache._name, cache._py_func, cache._impl, cache._asked = repr(function), function, impl, asked
    cache._cache_path = impl._locator.get_cache_path()
    cache._cache_file = import_module("numba.core.caching").IndexDataCacheFile(
        cache_path=cache._cache_path, filename_base=impl._filename_base, source_stamp=taken
    )
    cache._stamp = taken
    cache.enable()
    return cache


def _open_ended(library: Any) -> bool:
    """Whether code has calls that numba fills in later: mutual recursion, which crashes when loaded from its cache."""
    return any(one.name.startswith(".numba.unresolved$") for one in library._final_module.global_variables)


@functools.cache
def _classes() -> tuple[type, type, type]:
    """(cache, its serializer, its locator), made when numba's are there to build on."""
    caching: Any = import_module("numba.core.caching")

    class Locator(caching._CacheLocator):  # type: ignore[misc]
        def __init__(self, function: FunctionType, path: str, taken: Stamp) -> None:
            self._py_file = function.__code__.co_filename
            self._function, self._path, self._taken = function, path, taken

        def get_cache_path(self) -> str:
            return self._path

        def get_source_stamp(self) -> Stamp:
            return self._taken

        def get_disambiguator(self) -> str:
            # Functions of one name and line are told apart by the module's own name: a script may be imported as well.
            name = hashlib.sha256(self._function.__module__.encode()).hexdigest()[:6]
            return f"{self._function.__code__.co_firstlineno}-{name}"

    class Impl(caching.CompileResultCacheImpl):  # type: ignore[misc]
        pass

    class Cache(caching.FunctionCache):  # type: ignore[misc]
        """numba's function cache; a damaged or foreign file is a miss, and a failure to write none of the user's."""

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                found = super().load_overload(sig, target_context)
            except Exception:  # truncated and foreign files fail in many ways
                found = None
            self._stamp.note()
            return found

        def save_overload(self, sig: Any, data: Any) -> None:
            lifted = any(not one.can_cache for one in data.lifted)
            if not self._asked and (lifted or data.library.has_dynamic_globals):
                return
            try:
                if self._stamp.unsettled() is None and not _open_ended(data.library):
                    super().save_overload(sig, data)
            except Exception:
                return

        def flush(self) -> None:
            with suppress(OSError):
                super().flush()

    return Cache, Impl, Locator
