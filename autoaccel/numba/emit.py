"""From numba's compiled functions to what `link` makes objects of. Runs in the user's process, where numba is.

numba's own optimised module is taken as it is, with its boxing and its exceptions; for the frequent types it gets
another wrapper (`callwrapper`). Nothing is compiled here: that takes ten times
as long, and another process does it.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType, ModuleType

from . import callwrapper, depends, digest, options_digest, source, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["NotNative", "Overload", "dependencies", "dump", "function_row", "why_not"]

UNRESOLVED = ".numba.unresolved$"
#: What starts the name of an environment in LLVM.
ENVIRONMENT = "_ZN08NumbaEnv"
_OMITTED, _ARRAY, _TUPLE, _LIST, _SET = 17, 32, 33, 34, 35
NUMPY, CONSTANTS, THREADS, TUPLE_STYLE = 1, 2, 4, 8


class NotNative(Exception):
    """Why something stays on numba."""


@dataclass(frozen=True)
class Overload:
    """One compiled signature.

    Attributes:
        symbol: of its wrapper.
        main: of the function itself.
        types: fingerprint of the argument types, as the runtime computes it.
        flags: what must be there before it is called.
        signature: for people.
        pickled: its argument types, for numba.
        bitcode: numba's module.
        wrapper: LLVM text of the wrapper; ``""`` where numba's own is used.
        helpers: bitcode of what the wrapper needs.
        environments: (name in LLVM, pickled constants).
        unresolved: names that recursion left open.
    """

    symbol: str
    main: str
    types: bytes
    flags: int
    signature: str
    pickled: bytes
    bitcode: bytes
    wrapper: str
    helpers: tuple[bytes, ...]
    environments: tuple[tuple[str, bytes], ...]
    unresolved: tuple[str, ...]


def why_not(dispatcher: Any) -> str | None:
    """Why no overload of a function can be native; None where some may."""
    function = dispatcher.py_func
    if function.__code__.co_flags & 0x0C:
        return "it takes *args or **kwargs"
    if function.__code__.co_kwonlyargcount:
        return "it has keyword-only arguments"
    if function.__code__.co_argcount > 32:
        return "it has more than 32 arguments"
    if dispatcher.locals:
        return "it is told the types of its variables (`locals`)"
    if dispatcher._compiler.pipeline_class is not import_module("numba.core.compiler").Compiler:
        return "it has a compiler pipeline of its own"
    options = dispatcher.targetoptions
    if options.get("forceobj") or not options.get("nopython"):
        return "it is in object mode"
    if options.get("debug"):
        return "it is compiled for debugging"
    return None


# what it depends on


def dependencies(
    dispatcher: Any, lazy_of: Mapping[str, Mapping[str, str]]
) -> list[tuple[str | None, tuple[str, ...], object]]:
    """What is baked into a function, as rows (module or None for its own, chain of names, digest).

    Args:
        dispatcher: numba's.
        lazy_of: for each of the user's modules, its names of numba's and their paths.

    Raises:
        NotNative: a value in it can't be compared, or somebody's extension of numba's takes part.
    """
    function = dispatcher.py_func
    rows: list[tuple[str | None, tuple[str, ...], object]] = [
        (None, (), _sure(depends(function, None, ()), "its defaults or closure"))
    ]
    for one in stamp.functions(function):
        home = None if one.__globals__ is function.__globals__ else one.__module__
        module = sys.modules.get(one.__module__)
        if home is not None and getattr(module, "__dict__", None) is not one.__globals__:
            raise NotNative(f"it calls {one.__qualname__}, which is in no module")
        lazy = lazy_of.get(one.__module__, {})
        for chain, value in stamp.references(one):
            if _of_numba(value):
                if len(chain) > 1 or chain[0] not in lazy:
                    raise NotNative(f"it uses {'.'.join(chain)}, which numba made elsewhere")
                row = ("numba", lazy[chain[0]].rpartition(".")[2])
            else:
                _no_extension(value)
                row = _sure(digest(value), ".".join(chain))  # type: ignore[assignment]
            if (home, chain, row) not in rows:
                rows.append((home, chain, row))
    return rows


def _sure(told: object, what: str) -> object:
    if told is None or (isinstance(told, tuple) and any(_unsure(one) for one in told)):
        raise NotNative(f"nobody can tell whether {what} is what it was")
    return told


def _unsure(told: object) -> bool:
    return (
        isinstance(told, tuple)
        and told[:1] not in (("class",), ("function",))
        and any(one is None or _unsure(one) for one in told)
    )


def _of_numba(value: object) -> bool:
    if hasattr(value, "py_func"):
        return False
    if isinstance(value, ModuleType):
        return value.__name__.partition(".")[0] == "numba"
    kind = value if isinstance(value, type | FunctionType) else type(value)
    return str(getattr(kind, "__module__", "")).partition(".")[0] == "numba" or type(type(value)).__module__.startswith(
        "numba"
    )


def _no_extension(value: object) -> None:
    """Refuse what somebody has taught numba by ``@overload``: what it compiles to is written elsewhere."""
    keys, everywhere = _extensions()
    if everywhere:
        raise NotNative(f"{everywhere} extends numba")
    if any(value is key for key in keys):
        raise NotNative(f"it uses {getattr(value, '__name__', value)}, which numba knows by an @overload")


def _extensions() -> tuple[list[object], str]:
    """(functions that others have taught numba, a word for what may take part in any function)."""
    registry = import_module("numba.core.typing.templates").builtin_registry
    keys: list[object] = []
    for template in registry.functions:
        maker = getattr(template, "_overload_func", None)
        if maker is not None and _foreign(maker):
            keys.append(template.key)
            if str(getattr(template.key, "__module__", "")).partition(".")[0] in stamp.LIBRARIES:
                return keys, f"an @overload in {maker.__module__}"
    for template in registry.attributes:
        maker = getattr(template, "_overload_func", None)
        if maker is not None and _foreign(maker):
            return keys, f"an @overload of a method or attribute in {maker.__module__}"
    return keys, ""


def _foreign(maker: Any) -> bool:
    # numba generates some of its own, which have no module.
    home = maker.__globals__.get("__name__") or maker.__module__ or "numba"
    return str(home).partition(".")[0] != "numba"


def function_row(dispatcher: Any, told: source.Module) -> dict[str, Any]:
    """What the runtime and the warm room know of a function, without its overloads.

    Raises:
        NotNative: its signature comes from where a change would not be seen.
    """
    function = dispatcher.py_func
    code = function.__code__
    explicit = not dispatcher._can_compile
    if explicit and told.foreign.get(code.co_firstlineno, ("its place",)):
        names = ", ".join(told.foreign.get(code.co_firstlineno, ("something",)))
        raise NotNative(f"its signature is made from {names}")
    return {
        "explicit": explicit,
        "options": options_digest(dispatcher.targetoptions),
        "argnames": code.co_varnames[: code.co_argcount],
        "defaults": len(function.__defaults__ or ()),
        "conversions": _conversions(dispatcher) if explicit else None,
    }


def _conversions(dispatcher: Any) -> list[int] | None:
    """For a single explicit signature: for each argument, a mask of the types that numba converts to it."""
    if len(dispatcher.overloads) != 1:
        return None
    (compiled,) = dispatcher.overloads.values()
    types = import_module("numba.core.types")
    masks = []
    for wanted in compiled.signature.args:
        if type(wanted) is types.Array:
            masks.append(0xFFFFFFFF)
            continue
        if wanted not in _codes():
            return None
        mask = 0
        for kind, code in _codes().items():
            if dispatcher.typingctx.can_convert(kind, wanted) is not None:
                mask |= 1 << code
        masks.append(mask)
    return masks


# types


_known: dict[Any, int] = {}


def _codes() -> dict[Any, int]:
    """numba's scalar types -> their codes in the runtime."""
    if not _known:
        types = import_module("numba.core.types")
        words = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128 boolean none "
        words += "unicode_type"
        _known.update({getattr(types, word): code for code, word in enumerate(words.split(), 1)})
    return _known


def _fingerprint(kind: Any) -> bytes:
    """A type as the runtime's ``fp_of`` spells the values of it."""
    types = import_module("numba.core.types")
    if kind in _codes():
        return bytes([_codes()[kind]])
    if isinstance(kind, types.Omitted):
        return bytes([_OMITTED])
    if type(kind) is types.Array:
        if _codes().get(kind.dtype, 99) > 13:
            raise NotNative(f"arrays of {kind.dtype} are left to numba")
        return bytes([_ARRAY, _codes()[kind.dtype], kind.ndim, "CFA".index(kind.layout) | (0 if kind.mutable else 4)])
    if type(kind) in (types.UniTuple, types.Tuple):
        return bytes([_TUPLE, len(kind)]) + b"".join(map(_fingerprint, kind))
    if isinstance(kind, types.List) and kind.reflected:
        return bytes([_LIST]) + _fingerprint(kind.dtype)
    if isinstance(kind, types.Set) and kind.reflected:
        return bytes([_SET]) + _fingerprint(kind.dtype)
    raise NotNative(f"arguments of type {kind} are left to numba")


def _needs_numpy(kind: Any) -> bool:
    types = import_module("numba.core.types")
    if isinstance(kind, types.BaseTuple):
        return any(map(_needs_numpy, kind))
    if isinstance(kind, types.Optional):
        return _needs_numpy(kind.type)
    # Complex numbers are unboxed by numpy's C API.
    return not isinstance(kind, types.Omitted) and _codes().get(kind, 11) in (11, 12)


def _simple(kind: Any) -> bool:
    """Whether boxing and unboxing need no further compilation."""
    types = import_module("numba.core.types")
    if isinstance(kind, types.Optional):
        return _simple(kind.type)
    if type(kind) in (types.UniTuple, types.Tuple):
        return all(map(_simple, kind))
    return _codes().get(kind, 99) <= 14 or type(kind) is types.Array or isinstance(kind, types.Omitted | types.NoneType)


# overloads


def dump(dispatcher: Any, compiled: Any) -> Overload:
    """What `link` needs of one compiled signature.

    Raises:
        NotNative: it stays on numba.
    """
    if compiled.lifted or compiled.objectmode:
        raise NotNative("it is in object mode, or has a part that is")
    if compiled.library.has_dynamic_globals:
        raise NotNative("it holds addresses of this process (ctypes, cfunc, a global array of more than 1 MB)")
    given, result = compiled.signature.args, compiled.signature.return_type
    types = b"".join(map(_fingerprint, given))
    if len(types) > 250:
        raise NotNative("its signature is too long")
    description = compiled.fndesc
    marks = (description.llvm_cpython_wrapper_name + description.mangled_name + repr(types)).encode()
    symbol = "aav_" + hashlib.sha256(marks).hexdigest()[:20]
    module = _module(compiled.library)
    names = [variable.name for variable in module.global_variables]
    wrapper = ""
    helpers: tuple[bytes, ...] = ()
    tuple_style = not all(map(_simple, (*given, result)))
    if not tuple_style:
        wrapper, helpers = callwrapper.text(dispatcher, compiled, symbol)
    environments = tuple(_environment(name) for name in dict.fromkeys(names) if name.startswith(ENVIRONMENT))
    flags = (TUPLE_STYLE if tuple_style else 0) | (NUMPY if any(map(_needs_numpy, (*given, result))) else 0)
    serialize = import_module("numba.core.serialize")
    return Overload(
        symbol=symbol,
        main=description.llvm_func_name,
        types=types,
        flags=flags,
        signature=str(compiled.signature),
        pickled=serialize.dumps(given),
        bitcode=module.as_bitcode(),
        wrapper=wrapper or description.llvm_cpython_wrapper_name,
        helpers=helpers,
        environments=environments,
        unresolved=tuple(name for name in names if name.startswith(UNRESOLVED)),
    )


def _module(library: Any) -> Any:
    """The optimised LLVM module of a library, compiled here or loaded from numba's cache."""
    library._ensure_finalized()
    module = library._final_module
    if all(one.is_declaration for one in module.functions):
        module = library._shared_module
    return module


def _environment(name: str) -> tuple[str, bytes]:
    environment = import_module("numba.core.environment").lookup_environment(name)
    # One that is gone was not needed: numba keeps those alive that its code uses.
    consts = list(environment.consts) if environment is not None else []
    return name, import_module("numba.core.serialize").dumps(consts) if consts else b""
