"""Decorators of numba's other than ``@jit``, in a module that is imported without numba: their work waits for numba.

What ``@vectorize``, ``@guvectorize``, ``@cfunc``, ``@stencil`` and ``@jitclass`` give is made when somebody uses it.
``@overload`` and its kind teach numba something, and give the function back; numba is told when it is imported.
"""

from __future__ import annotations

import inspect
import sys
from copy import copy
from types import CodeType, FunctionType

from . import Lazy, lock, pending, real, restored, states, thaw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["Made", "decorated"]

#: They give back what they decorate.
_TEACHING = ("overload", "overload_method", "overload_attribute", "register_jitable")
#: They may be given what they decorate, alone or with options; ``@register_jitable`` alone.
_GIVEN = ("register_jitable", "vectorize", "stencil", "jitclass")


def decorated(decorator: Lazy, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What a decorator gives that is called with these arguments: the decorated thing, or a decorator of it."""
    word = decorator._path.rpartition(".")[2]
    # What it is given may be another when it is made.
    given, options = _kept(given), _kept(options)
    here = word in _GIVEN and not (options and word == "register_jitable")
    if here and given and isinstance(given[0], FunctionType | type):
        return _later(word, given[0], lambda: real(decorator)(*real(given), **real(options)))
    return lambda function: _later(word, function, lambda: real(decorator)(*real(given), **real(options))(function))


def _later(word: str, function: Any, make: Callable[[], Any]) -> Any:
    if word not in _TEACHING:
        return Made(f"{function.__module__}.{function.__qualname__}", _Maker(function, make).made)

    def teach() -> None:
        thaw(_home(function))
        make()

    if "numba" in sys.modules:
        teach()
    else:
        pending.append(teach)
    return function


def _home(function: Any) -> dict[str, Any]:
    found: dict[str, Any] | None = getattr(function, "__globals__", None)
    if found is not None:
        return found
    state = states.get(function.__module__)
    return state.names if state is not None else getattr(sys.modules.get(function.__module__), "__dict__", {})


def _kept(value: Any) -> Any:
    """A copy of nested containers, ordered dictionaries among them, with what they hold now."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([_kept(one) for one in value])
    if issubclass(kind, dict):
        found = copy(value)
        for name, one in value.items():
            found[name] = _kept(one)
        return found
    return value


def _seen(function: Any) -> list[tuple[dict[str, Any], str, Any]]:
    """The globals that a function's code names, as they are: numba may freeze them when it decorates."""
    if type(function) is not FunctionType:
        return []
    names = function.__globals__
    return [(names, name, names[name]) for name in set(_named(function.__code__)) if name in names]


def _named(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from _named(one)


class _Maker:
    """Makes something of numba's once; the module then has it in the place of what stood for it."""

    def __init__(self, function: Any, make: Callable[[], Any]) -> None:
        self.function = function
        self.make: Callable[[], Any] | None = make
        self.value: Any = None
        self.seen = _seen(function)

    def made(self) -> Any:
        """The object; None while it is being made, for those that ask on the way."""
        if self.value is not None:
            return self.value
        with lock():
            make, self.make = self.make, None
            if make is None:
                return self.value
            names = _home(self.function)
            try:
                if isinstance(self.function, type):
                    fields = inspect.get_annotations(self.function)
                    self.function.__annotations__ = {name: real(kind) for name, kind in fields.items()}
                thaw(names, self.function)
                self.value = restored(self.seen, make)
            except BaseException:
                self.make = make
                raise
            self.seen.clear()
            for name, value in list(names.items()):
                if type(value) is Made and object.__getattribute__(value, "_make") == self.made:
                    names[name] = self.value
            return self.value


class Made(Lazy):
    """Stands for an object of numba's that is made when it is used; all that it is asked is answered by that object."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(real(self), name)

    def __call__(self, *given: Any, **options: Any) -> Any:  # noqa: D102
        return real(self)(*given, **options)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(real(self))

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return real(self).__doc__

    @property
    def __module__(self) -> Any:  # type: ignore[override]
        return real(self).__module__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _itself, (real(self),)


def _itself(value: Any) -> Any:
    return value
