"""A trial of the runtime after it was built: a few functions natively and by numba, with the same results."""

from __future__ import annotations

import marshal
import sys
import tempfile
from typing import Any

from . import FORMAT, _library, emit, link

__all__ = ["main"]


def main(library: str) -> None:
    """Compare; a difference ends the process with an exception.

    Args:
        library: the runtime's path.
    """
    import numba
    import numpy

    def add(first: Any, second: Any) -> Any:
        return first + second

    def total(values: Any) -> Any:
        result = 0.0
        for value in values:
            result += value
        return result

    def fails(number: Any) -> Any:
        if number < 0:
            raise ValueError("negative")
        return number, number * 0.5

    def fresh(number: Any) -> Any:
        return numpy.ones(number)

    data = numpy.arange(5.0)
    trials: list[tuple[Any, list[tuple[Any, ...]]]] = [
        (add, [(1, 2), (1.5, 2), (2**62, 2**62)]),
        (total, [(data,), (data[::2],)]),
        (fails, [(1,), (-1,)]),
        (fresh, [(3,)]),
    ]
    codegen: Any = numba.core.registry.cpu_target.target_context.codegen()
    target = link.machine(
        codegen._llvm_module.triple, codegen._get_host_cpu_name(), codegen._tm_features, int(numba.core.config.OPT)
    )
    rows = []
    objects = []
    expected = []
    with tempfile.TemporaryDirectory() as work:
        for function, cases in trials:
            dispatcher = numba.njit(function)
            expected.append([_result(dispatcher, case) for case in cases])
            natives = []
            for compiled in dispatcher.overloads.values():
                made, data_of = link.native(emit.dump(dispatcher, compiled), target, library)
                objects.append(f"{work}/{made.symbol}.o")
                with open(objects[-1], "wb") as file:
                    file.write(data_of)
                natives.append(made)
            row = {
                "argnames": function.__code__.co_varnames[: function.__code__.co_argcount],
                "defaults": 0,
                "conversions": None,
            }
            rows.append((function.__name__, 1, row, natives))
        note = marshal.dumps({"format": FORMAT})
        path, _ = link.library("selftest", rows, note, objects, library, work)
        made = _library("selftest", path, library)
        runtime = sys.modules["autoaccel.numba.aart"]
        runtime.set_hooks(*[_hook] * 6)
        for (function, cases), wanted in zip(trials, expected, strict=True):
            native = runtime.attach(made.table, function.__name__, 1, globals())
            found = [_result(native, case) for case in cases]
            if repr(found) != repr(wanted):
                raise SystemExit(f"{function.__name__}: {found}, not {wanted}")


def _hook(*given: Any) -> Any:
    """Every overload holds; nothing else may be asked for."""
    if len(given) == 2 and isinstance(given[1], int):
        return True
    raise SystemExit(f"a call went to numba: {given}")


def _result(function: Any, case: tuple[Any, ...]) -> object:
    try:
        return function(*case)
    except Exception as problem:
        return type(problem).__name__, str(problem)
