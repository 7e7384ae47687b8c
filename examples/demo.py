"""Runs every example in fresh interpreters, first with an empty cache, then again, and shows what came out as a table.

``make demo`` starts it. Every example can be run by itself as well: ``python examples/cython_typed/run.py``.
"""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
CRATES = HERE.parent / "rust_crates"

#: Folder -> the system that it shows, in the order of the table.
SYSTEMS = {
    "python_plain": "Python",
    "cython_plain": "Cython, plain",
    "cython_typed": "Cython, typed",
    "cython_wraps_c": "Cython wrapping C",
    "c_extension": "C extension",
    "cpp_pybind11": "C++, pybind11",
    "cpp_nanobind": "C++, nanobind",
    "raw_ffi": "Rust, C API",
    "no_std": "Rust, C API, no_std",
    "rust_cpython": "Rust, rust-cpython",
    "pyo3": "Rust, PyO3",
    "mixed_maturin": "Rust in a package",
    "numba_jit": "numba",
    "edit_distance": "edit distance, Cython",
    "single_file": "planets, one .rs",
    "numba_kernels": "heat on a plate, numba",
}
#: Those that have another function than the rest, and their own baseline.
REAL_WORK = ("edit_distance", "single_file", "numba_kernels")
BASELINE = "python_plain"
WARM_RUNS = 3

#: What run.py prints when a compiler, or a package that brings one, is not installed; the rest is the advice.
MISSING = "autoaccel.errors.ToolchainMissing: "
#: How it advises where crates.io is out of reach.
OFFLINE = "Cargo needs the network once"
NO_PACKAGE = re.compile(r"^ModuleNotFoundError: No module named '(numba|numpy)'", re.MULTILINE)


@dataclass
class Run:
    """What one interpreter printed, times in seconds; `python` is the baseline that an example brings along."""

    imported: float
    result: str
    call: float
    python: float | None


@dataclass
class Row:
    """A line of the table: the first import compiled, the later ones found the result in the cache."""

    folder: str
    cold: Run | None = None
    warm: list[Run] | None = None
    missing: str = ""
    failed: str = ""


def main() -> int:
    console = Console(highlight=False)
    rows = []
    with tempfile.TemporaryDirectory(prefix="autoaccel-demo-") as cache:
        for folder in SYSTEMS:
            row = measure(folder, cache)
            rows.append(row)
            state = "missing" if row.missing else "failed" if row.failed else f"imported in {row.cold.imported:.2f} s"
            console.print(f"{place(folder).parent.name}/{folder}/run.py: {state}", style="dim")
    baseline = next(row for row in rows if row.folder == BASELINE)
    console.print()
    console.print(table(rows, baseline))
    console.print(
        "cold, warm: both imports together, with an empty cache and from the cache.\n"
        "speed-up: against the same function in Python. Times are the best of three runs.\n"
        "per call: a C compiler makes one multiplication of the typed versions' loop;\n"
        "what is left is the cost of the call.",
        style="dim",
    )
    same = [row for row in rows if row.cold and row.folder not in REAL_WORK]
    wrong = [row for row in same if row.cold.result != baseline.cold.result]
    for row in rows:
        if row.missing or row.failed:
            word = "is missing here" if row.missing else "failed"
            console.print(f"\n[bold]{SYSTEMS[row.folder]}[/bold] {word}:")
            console.print(row.missing or row.failed, markup=False)
    for row in wrong:
        console.print(f"\n[bold]{SYSTEMS[row.folder]}[/bold] gives another result than Python: {row.cold.result}")
    failed = wrong or any(row.failed or (row.missing and os.environ.get("CI")) for row in rows)
    return 1 if failed else 0


def place(folder: str) -> Path:
    """Where an example is."""
    return HERE / folder if (HERE / folder).is_dir() else CRATES / folder


def measure(folder: str, cache: str) -> Row:
    """Run an example with nothing of it in the cache, then from the cache."""
    # Where this is set, the baseline would be compiled to bytecode at every import.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # What numba compiles is published when a process ends; here the next one is to find it.
    env |= {"AUTOACCEL_CACHE_DIR": cache, "AUTOACCEL": "on", "AUTOACCEL_NUMBA": "wait"}
    runs = []
    for _ in range(1 + WARM_RUNS):
        command = [sys.executable, "run.py"]
        child = subprocess.run(command, cwd=place(folder), env=env, capture_output=True, text=True, check=False)
        if child.returncode != 0:
            package = NO_PACKAGE.search(child.stderr)
            if package is not None:
                return Row(folder, missing=f"{package[1]} is not installed: `pip install {package[1]}`")
            advice = child.stderr.rpartition(MISSING)
            if OFFLINE in child.stderr:
                return Row(folder, missing=f"{OFFLINE}{child.stderr.rpartition(OFFLINE)[2].partition(chr(10))[0]}")
            return Row(folder, missing=advice[2].strip()) if advice[1] else Row(folder, failed=child.stderr.strip())
        runs.append(parse(child.stdout))
    return Row(folder, runs[0], runs[1:])


def parse(text: str) -> Run:
    """What a run.py prints: the time of the import, a result, the time per call."""
    imported = re.search(r"^imported in (\S+) ms$", text, re.MULTILINE)
    result = re.search(r"^.+ = (.+)$", text, re.MULTILINE)
    call = re.search(r"^(\S+) ns per call$", text, re.MULTILINE)
    python = re.search(r"^Python: (\S+) ns per call$", text, re.MULTILINE)
    return Run(float(imported[1]) / 1e3, result[1], float(call[1]) / 1e9, float(python[1]) / 1e9 if python else None)


def table(rows: list[Row], baseline: Row) -> Table:
    shown = Table(title="import autoaccel; import sample")
    shown.add_column("system", no_wrap=True)
    for heading in ("cold", "warm", "result", "per call", "speed-up"):
        shown.add_column(heading, justify="right")
    for row in rows:
        system = SYSTEMS[row.folder]
        if row.folder == REAL_WORK[0]:
            shown.add_section()
        if row.cold is None or row.warm is None:
            shown.add_row(system, "missing" if row.missing else "failed", style="yellow")
            continue
        call = min(run.call for run in row.warm)
        own = [run.python for run in row.warm if run.python]
        python = min(own or [run.call for run in baseline.warm])
        cold = "" if row is baseline else f"{row.cold.imported:.2f} s"
        warm = f"{min(run.imported for run in row.warm) * 1e3:.1f} ms"
        gain = "" if row is baseline or (row.folder in REAL_WORK and not own) else times(python / call)
        shown.add_row(system, cold, warm, row.cold.result, seconds(call), gain)
    return shown


def times(factor: float) -> str:
    """A speed-up with two digits, no more than the timing is good for."""
    return f"{float(f'{factor:.2g}'):,g} ×"


def seconds(value: float) -> str:
    """A time with three digits and the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


if __name__ == "__main__":
    sys.exit(main())
