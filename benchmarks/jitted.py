"""Modules with numba's @jit: whole processes and the cost of a call, beside numba's own ``cache=True``.

A call has two rows: as it is, and what it costs beyond a C function that looks at nothing, with nogil one that lets go
of the GIL and takes it again. The second is what a dispatcher is answerable for.
"""

import time
from pathlib import Path

from measure import Rounds, Run, fresh, inside, output, processes
from place import DATA, Setup
from report import Row

#: What a process does with the module, and how much faster than with numba's cache that is to be.
PROGRAMS = (
    ("a scalar function", "jit_scalars", "scalars.add_two(1, 2)", 25.0),
    ("an array kernel, with numpy", "jit_arrays", "arrays.work()", 4.0),
)

#: (what, module, set-up, call, function of ``bare.c`` that does as little)
CALLS = (
    ("add_two(1, 2), nogil", "scalars", "", "scalars.add_two(1, 2)", "nogil"),
    ("lazy(2, 3)", "scalars", "", "scalars.lazy(2, 3)", "plain"),
    ("lazy(2.0, 3)", "scalars", "", "scalars.lazy(2.0, 3)", "plain"),
    ("total(1-D array)", "arrays", "a = np.arange(5.0)", "arrays.total(a)", "plain"),
    ("scale(a, out)", "arrays", "a = np.arange(5.0); out = np.zeros(5)", "arrays.scale(a, out)", "plain"),
    ("product(a, a, out)", "arrays", "a = np.arange(5.0); out = np.zeros(5)", "arrays.product(a, a, out)", "plain"),
)

_TIMED = """
{first}
import numpy as np, sys
import {module}
from timeit import Timer
{prepare}
{call}
assert ("numba" in sys.modules) is {numba}
called, _, rest = {call!r}.partition("(")
timer = Timer("call(" + rest, "call = " + called, globals=globals())
print(min(timer.repeat(9, 20000)) / 20000)
"""


def numba(setup: Setup, quick: bool) -> list[Row]:
    """Everything about numba; nothing where it is not installed."""
    if not setup.has("numba"):
        return []
    ours, theirs = fresh(setup.place), fresh(setup.place)
    for name in ("scalars", "arrays"):
        text = (DATA / f"jit_{name}.txt").read_text(encoding="utf-8")
        for folder, cache in ((ours, ""), (theirs, "cache=True")):
            comma = ", " if cache and name == "scalars" else ""
            (folder / f"{name}.py").write_text(text.replace("@CACHE@", comma + cache), encoding="utf-8")
    time.sleep(0.1)
    calls = "; ".join(call for _, _, _, call, _ in CALLS)
    prepare = "import numpy as np, scalars, arrays; a = np.arange(5.0); out = np.zeros(5)"
    for _ in range(2):
        output(_run(setup, f"import autoaccel; {prepare}; {calls}; arrays.work()", ours))
        output(_run(setup, f"{prepare}; {calls}; arrays.work()", theirs))
        time.sleep(0.1)
    return [*_processes(setup, ours, theirs, quick), *_calls(setup, ours, theirs, quick)]


def _run(setup: Setup, code: str, folder: Path) -> Run:
    run = setup.run(code, folder)
    return Run(run.code, run.directory, (*run.env, ("AUTOACCEL_NUMBA", "wait")), run.flags)


def _processes(setup: Setup, ours: Path, theirs: Path, quick: bool) -> list[Row]:
    rounds = Rounds(7, 20) if quick else Rounds(41, 150)
    rows = []
    for what, source, call, goal in PROGRAMS:
        module = source.partition("_")[2]
        runs = {
            "floor": Run("pass", setup.empty),
            "again": Run("pass", setup.empty),
            "ours": _run(setup, f"import autoaccel, {module}; {call}", ours),
            "numba": _run(setup, f"import {module}; {call}", theirs),
        }
        samples = processes(runs, rounds)
        own, other, floor = samples["ours"], samples["numba"], samples["floor"]
        case = f"numba, whole process, {what}"
        rows.append(
            Row(
                f"{case}: numba's cache ÷ ours", own.median * 1e3, floor.median * 1e3, {"numba": other.median * 1e3},
                value=other.median / own.median, robust=other.lower / own.lower, goal=goal, at_least=True,
            )
        )  # fmt: skip
        if module == "scalars":
            noise = samples["again"].median / floor.median
            rows.append(
                Row(
                    f"{case}: ours ÷ `python -c pass`", own.median * 1e3, floor.median * 1e3,
                    value=own.median / floor.median, robust=own.lower / floor.lower, goal=1.5, noise=noise,
                )
            )  # fmt: skip
    return rows


def _calls(setup: Setup, ours: Path, theirs: Path, quick: bool) -> list[Row]:
    rounds = Rounds(3, 10) if quick else Rounds(9, 40)
    rows = []
    bare = setup.sources(DATA / "bare.c", "bare")
    for what, module, prepare, call, least in CALLS:
        given = {"module": module, "prepare": prepare, "call": call}
        code = {
            "ours": _TIMED.format(first="import autoaccel", **given, numba=False),
            "numba": _TIMED.format(first="", **given, numba=True),
            "bare": _TIMED.format(
                first="import autoaccel", module="bare", prepare=prepare, call=f"bare.{least}({call.partition('(')[2]}",
                numba=False,
            ),
        }  # fmt: skip
        folders = {"ours": ours, "numba": theirs, "bare": bare}
        runs = {name: _run(setup, code[name], folder) for name, folder in folders.items()}
        samples = inside(runs, rounds)
        own, other, floor = (min(samples[name].seconds) for name in ("ours", "numba", "bare"))
        case = f"numba, one call, {what}"
        times = (own * 1e9, floor * 1e9, {"numba": other * 1e9})
        rows += [
            Row(case, *times, unit="ns", value=own / other, goal=0.5),
            Row(
                f"{case}: beyond a bare C function",
                *times,
                unit="ns",
                value=(own - floor) / (other - floor),
                goal=0.5,
            ),
        ]
    return rows
