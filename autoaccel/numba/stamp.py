"""What numba bakes into a function's machine code besides its own text, as values that can be compared.

numba freezes globals, closure cells, defaults and callees at compile time. Its own cache looks at the function's file
and closure only, so that a callee or a constant in another file goes unnoticed (numba#1833). Here the whole of it is
followed: through names, attributes of the user's modules, and jitted callees, from file to file. It is read from the
objects in memory, never from files: what is in memory is what is compiled.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from enum import EnumMeta
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = [
    "LIBRARIES",
    "Opaque",
    "callees",
    "code_digest",
    "enclosed",
    "functions",
    "references",
    "resolve",
    "stamp",
    "value_digest",
]

#: Packages whose content changes with their version only, which is part of every key.
LIBRARIES = frozenset(sys.stdlib_module_names) | {"numba", "numpy", "llvmlite", "scipy"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


class Opaque(Exception):
    """A value of which nobody can tell whether it is what it was."""


def stamp(function: FunctionType) -> str:
    """Digest of everything that the machine code of ``function`` has from elsewhere.

    Raises:
        Opaque: there is a value in it that can't be compared.
    """
    parts: list[object] = []
    for one in functions(function):
        parts.append((one.__module__, one.__qualname__, code_digest(one.__code__), frozen(one)))
        parts.extend(
            (chain, value_digest(value))
            for chain, value in references(one)
            # While it is decorated, a recursive function has no name yet.
            if getattr(value, "py_func", None) is not one
        )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def functions(function: FunctionType) -> list[FunctionType]:
    """``function`` and all that it calls, as far as numba compiles them into one piece."""
    found: dict[int, FunctionType] = {}
    waiting = [function]
    while waiting:
        one = waiting.pop(0)
        if id(one) not in found:
            found[id(one)] = one
            waiting.extend(callees(one))
    return list(found.values())


def callees(function: FunctionType) -> Iterator[FunctionType]:
    """The functions of Python's that a function refers to: jitted ones, and plain ones that are inlined."""
    cells = [_content(cell) for cell in function.__closure__ or ()]
    for value in (*(value for _, value in references(function)), *cells):
        yield from _functions_in(value)


def enclosed(function: FunctionType) -> list[FunctionType]:
    """``function`` and those in its closure, in theirs, and so on."""
    found = [function]
    for one in found:
        for cell in one.__closure__ or ():
            found.extend(inner for inner in _functions_in(_content(cell)) if inner not in found)
    return found


def _functions_in(value: object) -> Iterator[FunctionType]:
    inner: Any = getattr(value, "py_func", value) if not isinstance(value, ModuleType | type) else value
    inner = inner._dispatcher.py_func if _is_universal(inner) else inner
    if isinstance(inner, FunctionType) and (inner.__module__ or "").partition(".")[0] not in LIBRARIES:
        yield inner
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _functions_in(item)


def _is_universal(value: Any) -> bool:
    """Whether a value is what `@vectorize` or `@guvectorize` give for signatures that are told.

    Without these, what a call of it becomes depends on the calls before.
    """
    kind = type(value)
    return kind.__name__ in ("DUFunc", "GUFunc") and kind.__module__.startswith("numba.np.ufunc.") and value._frozen


def frozen(function: FunctionType) -> object:
    """Digest of what a function carries itself: defaults and closure cells."""
    return (
        value_digest(function.__defaults__),
        value_digest(tuple(sorted((function.__kwdefaults__ or {}).items()))),
        tuple(value_digest(_content(cell)) for cell in function.__closure__ or ()),
    )


def _content(cell: object) -> object:
    try:
        return cell.cell_contents  # type: ignore[attr-defined]
    except ValueError:
        return None


def references(function: FunctionType) -> Iterator[tuple[tuple[str, ...], object]]:
    """(chain of names, value) of each global that a function's code mentions; attributes of the user's modules too."""
    seen = set()
    for chain in _chains(function.__code__):
        used, value = resolve(function.__globals__, chain)
        if used and used not in seen:
            seen.add(used)
            yield used, value


def resolve(names: dict[str, Any], chain: tuple[str, ...]) -> tuple[tuple[str, ...], object]:
    """How much of a chain leads through modules of the user's, and the value there; ``()`` for a builtin."""
    if chain[0] not in names:
        return (), None
    value = names[chain[0]]
    used = 1
    while isinstance(value, ModuleType) and used < len(chain) and value.__name__.partition(".")[0] not in LIBRARIES:
        value = getattr(value, chain[used], None)
        used += 1
    return chain[:used], value


def _chains(code: CodeType) -> Iterator[tuple[str, ...]]:
    chain: tuple[str, ...] = ()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if chain:
                yield chain
            chain = (step.argval,)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain += (step.argval,)
        elif step.opname not in ("CACHE", "PRECALL", "PUSH_NULL", "EXTENDED_ARG"):
            if chain:
                yield chain
            chain = ()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _chains(constant)


def code_digest(code: CodeType) -> object:
    """A code object as a value: what it does and on which lines, for numba's tracebacks name them."""
    constants = tuple(
        code_digest(one) if isinstance(one, CodeType) else (type(one).__name__, repr(one)) for one in code.co_consts
    )
    return (
        code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags,
        code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        code.co_filename, code.co_firstlineno, code.co_linetable,
    )  # fmt: skip


def value_digest(value: object) -> object:
    """A value as text and tuples of text, equal for values that compile to the same.

    Raises:
        Opaque: nobody can tell.
    """
    kind = type(value)
    if kind in _PLAIN:
        return kind.__name__, repr(value)
    if isinstance(value, tuple):
        return "tuple", _name(kind), getattr(kind, "_fields", ()), tuple(map(value_digest, value))
    if kind is list:
        return "list", tuple(map(value_digest, value))  # type: ignore[call-overload]
    if kind is dict:
        return "dict", tuple((value_digest(key), value_digest(item)) for key, item in value.items())  # type: ignore[attr-defined]
    if kind is ModuleType:
        return "module", value.__name__  # type: ignore[attr-defined]
    if isinstance(value, type):
        return _class_digest(value)
    inner = getattr(value, "py_func", value)
    if isinstance(inner, FunctionType):
        # Its code and what that refers to are told of once, by `stamp`.
        return (
            "function",
            kind.__name__,
            inner.__module__,
            inner.__qualname__,
            repr(getattr(value, "targetoptions", None)),
        )
    if _is_universal(value):
        return _universal_digest(value)
    if isinstance(value, BuiltinFunctionType):
        return "builtin", value.__module__, value.__qualname__
    return _library_digest(value, kind)


def _universal_digest(value: Any) -> object:
    builder = getattr(value, "gufunc_builder", None)
    options = builder.targetoptions if builder is not None else value._dispatcher.targetoptions
    signatures = builder._sigs if builder is not None else value._dispatcher.overloads
    kernel = value._dispatcher.py_func
    return (
        "universal",
        kernel.__module__,
        kernel.__qualname__,
        repr(sorted(options.items())),
        tuple(map(str, signatures)),
        (builder.signature, builder.writable_args) if builder is not None else (),
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class_digest(value: type) -> object:
    members: tuple[object, ...] = ()
    if isinstance(value, EnumMeta):
        members = tuple((name, repr(member.value)) for name, member in value.__members__.items())  # type: ignore[var-annotated]
    elif type(value).__module__.partition(".")[0] == "numba":
        raise Opaque(f"the jitclass {value.__qualname__}")
    return "class", _name(value), getattr(value, "_fields", ()), members


def _library_digest(value: object, kind: type) -> object:
    top = kind.__module__.partition(".")[0]
    if top == "numpy":
        if kind.__name__ == "ndarray":
            array: Any = value
            if array.dtype.hasobject:
                raise Opaque("an array of objects")
            data = hashlib.sha256(array.tobytes()).hexdigest()
            return "array", array.dtype.descr, array.shape, array.strides, data
        return "numpy", kind.__name__, repr(value)
    if top == "numba":
        # Types, signatures and the like have names; what has none may have a state.
        if "object at 0x" in repr(value) or not kind.__module__.startswith("numba.core.t"):
            raise Opaque(f"a {kind.__qualname__} of numba's")
        return "numba", kind.__name__, repr(value)
    if isinstance(kind, EnumMeta):
        return "member", _name(kind), repr(value)
    raise Opaque(f"a {_name(kind)}")
