"""From a source to an imported module, with nothing remembered; and how fast what was built runs."""

import contextlib
import json
import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from measure import Sample, fresh, output
from place import DATA, HOOKS, Setup
from report import Row

#: How many modules are built at once.
TOGETHER = 10

_KERNELS = """
import importlib.machinery, importlib.util, json, sys
from time import perf_counter
loader = importlib.machinery.ExtensionFileLoader("medium", {artifact!r})
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("medium", loader))
loader.exec_module(module)
results, seconds = {{}}, {{}}
for name, kernel in module.KERNELS.items():
    taken = []
    for _ in range({repeats}):
        start = perf_counter()
        results[name] = repr(kernel())
        taken.append(perf_counter() - start)
    seconds[name] = min(taken)
print(json.dumps([results, seconds]))
"""


@dataclass
class Timed(Sample):
    """Wall seconds, and the processor's for the process with all that it started."""

    used: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Measure what happens inside."""
        before, start = _children(), perf_counter()
        yield
        self.seconds.append(perf_counter() - start)
        self.used.append(_children() - before)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def first_import(setup: Setup, quick: bool) -> list[Row]:
    """One module, from a fresh cache, in a fresh process; then its kernels."""
    rows = []
    artifacts: dict[str, str] = {}
    for name, lines, goal, rounds in (("small", 20, 1.5, 2 if quick else 5), ("medium", 450, 2.5, 1 if quick else 3)):
        samples = {"ours": Timed(), "pyximport": Timed()}
        hooks = {"ours": "import autoaccel", "pyximport": HOOKS["pyximport"]}
        for turn in range(rounds):
            for who, hook in list(hooks.items())[:: 1 if turn % 2 else -1]:
                if who == "pyximport" and not setup.has(who):
                    continue
                code = f"{hook}; import {name}; print({name}.__spec__.cached or {name}.__file__)"
                folder = setup.sources(DATA / f"{name}.pyx", name)
                with samples[who].timed():
                    printed = output(setup.run(code, folder, cold=True))
                artifacts[who] = printed.strip()
        rows += _against_peer(f"cold, {lines} lines of Cython", samples, goal)
    if len(artifacts) == len(hooks):
        rows += _kernels(setup, artifacts, 3 if quick else 9)
    return rows


def _kernels(setup: Setup, artifacts: dict[str, str], rounds: int) -> list[Row]:
    best: dict[str, dict[str, float]] = {who: {} for who in artifacts}
    results: dict[str, dict[str, str]] = {}
    for _ in range(rounds):
        for who, artifact in artifacts.items():
            code = _KERNELS.format(artifact=artifact, repeats=5)
            results[who], seconds = json.loads(output(setup.run(code, setup.empty)))
            for kernel, value in seconds.items():
                best[who][kernel] = min(value, best[who].get(kernel, value))
    for kernel, value in results["ours"].items():
        theirs = results["pyximport"][kernel]
        # Compilers may add up floating-point numbers in another order.
        if value != theirs and not math.isclose(float(value), float(theirs), rel_tol=1e-9):
            raise SystemExit(f"{kernel} gives {value} here and {theirs} with pyximport")
    ratios = {kernel: seconds / best["pyximport"][kernel] for kernel, seconds in best["ours"].items()}
    mean = statistics.geometric_mean(ratios.values())
    worst = max(ratios, key=lambda kernel: ratios[kernel])
    return [
        Row(
            f"run time of {len(ratios)} kernels against pyximport's build",
            ours=sum(best["ours"].values()) * 1e3,
            peers={"pyximport": sum(best["pyximport"].values()) * 1e3},
            value=mean,
            goal=1.05,
            note=f"geometric mean; worst: {worst} {ratios[worst]:.2f} ×, best: {min(ratios.values()):.2f} ×",
        )
    ]


def ten_modules(setup: Setup, quick: bool) -> list[Row]:
    """Ten modules of a folder: ``autoaccel build``, against an import of each with pyximport."""
    text = (DATA / "small.pyx").read_text(encoding="utf-8")
    names = [f"small{number}" for number in range(TOGETHER)]
    samples = {"ours": Timed(), "pyximport": Timed()}
    for turn in range(1 if quick else 7):
        for who in list(samples)[:: 1 if turn % 2 else -1]:
            folder = fresh(setup.place)
            for number, name in enumerate(names):
                # Not one content ten times, which a cache may build once.
                (folder / f"{name}.pyx").write_text(f"{text}\n\nNUMBER = {number}\n", encoding="utf-8")
            if who == "ours":
                with samples[who].timed():
                    setup.build(folder, cold=True)
            elif setup.has(who):
                with samples[who].timed():
                    output(setup.run(f"{HOOKS[who]}; import {', '.join(names)}", folder, cold=True))
    return _against_peer(f"{TOGETHER} modules, `autoaccel build`", samples, 4)


def _against_peer(case: str, samples: dict[str, Timed], goal: float) -> list[Row]:
    ours, theirs = samples["ours"], samples["pyximport"]
    row = Row(f"{case}: pyximport ÷ ours", ours=ours.median, unit="s", goal=goal, at_least=True)
    used = Row("   processor time, all processes", ours=statistics.median(ours.used), unit="s")
    if theirs.seconds:
        row.peers = {"pyximport": theirs.median}
        row.value = theirs.median / ours.median
        row.robust = theirs.lower / ours.lower
        used.peers = {"pyximport": statistics.median(theirs.used)}
        used.value = used.peers["pyximport"] / used.ours
    return [row, used]
