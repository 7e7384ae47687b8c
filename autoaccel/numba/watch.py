"""The moment at which numba is imported: what we put around it, and when we leave it alone."""

from __future__ import annotations

import atexit
import functools
import os
import sys
from importlib import import_module
from importlib.machinery import PathFinder

from ..logs import log
from ..watched import spec_that_tells
from . import settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

__all__ = ["TESTED", "numba_spec", "steps_aside", "watch"]

#: The minor versions of numba that the test suite ran with; others work as if we were not there.
TESTED = ("0.68",)

#: Who sets one of these wants to see numba itself at work.
_ASIDE = ("NUMBA_DEBUG", "NUMBA_DUMP_", "NUMBA_DISABLE_JIT", "NUMBA_TRACE", "NUMBA_ENABLE_PROFILING",
          "NUMBA_ENABLE_SYS_MONITORING", "NUMBA_JIT_COVERAGE", "NUMBA_CHROME_TRACE", "NUMBA_NRT_STATS",
          "NUMBA_CACHE_LOCATOR_CLASSES", "NUMBA_DIFF_IR", "NUMBA_DEVELOPER_MODE")  # fmt: skip

_watched: list[ModuleType] = []


def steps_aside() -> str | None:
    """Why numba is left alone in this process; None where it is not."""
    for name, value in os.environ.items():
        if name.startswith(_ASIDE) and value not in ("", "0"):
            return f"${name} is set"
    return "there is a .numba_config.yaml in the current folder" if os.path.exists(".numba_config.yaml") else None


def numba_spec(path: Any = None) -> ModuleSpec | None:
    """The spec of numba as CPython finds it, whose loader tells us when numba has run."""
    return PathFinder.find_spec("numba", path) if _watched else spec_that_tells("numba", path, watch)


def watch(numba: ModuleType) -> None:
    """Have the functions of the user's modules cached by us from here on."""
    try:
        _watch(numba)
    finally:
        settle()


def _watch(numba: ModuleType) -> None:
    if _watched or steps_aside() is not None:
        return
    version = str(getattr(numba, "__version__", ""))
    if ".".join(version.split(".")[:2]) not in TESTED:
        log.info(
            "numba %s is not one that autoaccel was tested with (%s): it is left alone", version, ", ".join(TESTED)
        )
        return
    try:
        _attach()
    except Exception as problem:  # numba is the user's; ours must never be in its way
        warn("numba is left alone", problem)
    else:
        _watched.append(numba)


_warned: list[str] = []


def warn(what: str, problem: BaseException) -> None:
    """Tell once in a process that our part has failed, and numba does the work."""
    if not _warned:
        log.warning("%s: %s: %s", what, type(problem).__name__, problem)
    _warned.append(what)


def _attach() -> None:
    Dispatcher: Any = import_module("numba.core.dispatcher").Dispatcher
    CPUDispatcher: Any = import_module("numba.core.registry").CPUDispatcher

    from . import made, making, tier1

    initialise, enable = Dispatcher.__init__, Dispatcher.enable_caching

    def __init__(self: Any, py_func: Any, *args: Any, **options: Any) -> None:
        initialise(self, py_func, *args, **options)
        if type(self) is CPUDispatcher:
            if cache(self, asked=False):
                tier1.enrol(self)
            if making:
                made(self)

    def enable_caching(self: Any) -> None:
        if type(self) is not CPUDispatcher or not cache(self, asked=True):
            enable(self)

    def cache(dispatcher: Any, *, asked: bool) -> bool:
        try:
            if not tier1.is_ours(dispatcher.py_func):
                return False
            dispatcher._cache = tier1.caching(dispatcher, asked)
        except Exception as problem:
            warn(f"{dispatcher.py_func.__qualname__} is not cached", problem)
            return False
        return True

    def looked_at(plain: Any) -> Any:
        @functools.wraps(plain)
        def look(self: Any, *given: Any, **options: Any) -> Any:
            # Of cached code there is nothing to see; who has not asked for a cache need not know of ours.
            if self._cache_hits and getattr(self._cache, "_asked", True) is False:
                _afresh(self)
            return plain(self, *given, **options)

        return look

    for name in (
        "inspect_llvm",
        "inspect_asm",
        "inspect_types",
        "inspect_cfg",
        "inspect_disasm_cfg",
        "parallel_diagnostics",
    ):
        setattr(Dispatcher, name, looked_at(getattr(Dispatcher, name)))
    Dispatcher.__init__ = __init__
    Dispatcher.enable_caching = enable_caching
    _attach_to_ufuncs()
    atexit.register(_at_exit)


def _attach_to_ufuncs() -> None:
    """Have what `@vectorize` and `@guvectorize` compile kept as well; they have classes of their own."""
    Dispatcher: Any = import_module("numba.np.ufunc.ufuncbuilder").UFuncDispatcher
    Wrapper: Any = import_module("numba.np.ufunc.wrappers")._GufuncWrapper

    from . import tier1

    enable, compile_, initialise = Dispatcher.enable_caching, Dispatcher.compile, Wrapper.__init__

    def ours(function: Any, set_up: Callable[[], None]) -> bool:
        try:
            if not tier1.is_ours(function):
                return False
            set_up()
        except Exception as problem:
            warn(f"{getattr(function, '__qualname__', function)} is not cached", problem)
            return False
        return True

    def enable_caching(self: Any) -> None:
        def ask() -> None:
            self._asked = True

        if type(self) is not Dispatcher or not ours(self.py_func, ask):
            enable(self)

    def compile_kept(self: Any, sig: Any, *given: Any, **options: Any) -> Any:
        def keep() -> None:
            # The decorator's options come with the first compile, not with the dispatcher.
            if not tier1.is_kept(self.cache):
                told = {**self.targetoptions, **options}
                self.cache = tier1.kernel_caching(self, told, getattr(self, "_asked", False))

        plain = not given and "locals" not in options
        if plain and type(self) is Dispatcher and ours(self.py_func, keep):
            sig = tier1.spelled_out(sig)
        return compile_(self, sig, *given, **options)

    def __init__(self: Any, py_func: Any, *args: Any, **options: Any) -> None:
        initialise(self, py_func, *args, **options)

        def keep() -> None:
            self.cache = tier1.wrapper_caching(self)

        if not self.is_parfors:
            ours(py_func, keep)

    Dispatcher.enable_caching, Dispatcher.compile, Wrapper.__init__ = enable_caching, compile_kept, __init__


def _afresh(dispatcher: Any) -> None:
    """Compile again what came from the cache; unlike ``recompile``, with the return types that were asked for."""
    explicit = not dispatcher._can_compile
    wanted = [one.signature if explicit else one.signature.args for one in list(dispatcher.overloads.values())]
    dispatcher._cache.disable()
    dispatcher._make_finalizer()()
    dispatcher._reset_overloads()
    dispatcher._can_compile = True
    try:
        for signature in wanted:
            dispatcher.compile(signature)
    finally:
        dispatcher._can_compile = not explicit
        dispatcher._cache_hits.clear()


def _at_exit() -> None:
    """Publish what was compiled, and modules that have brought numba in."""
    try:
        from .harvest import at_exit

        at_exit()
    except Exception as problem:
        warn("what numba has compiled is not published", problem)


if "numba" in sys.modules and hasattr(sys.modules["numba"], "njit"):
    watch(sys.modules["numba"])
