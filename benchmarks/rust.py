"""Rust beside maturin-import-hook and rustimport: first crate, further crates, an edit, warm imports.

Run it with an interpreter, in a virtual environment of its own, that has autoaccel *installed*, and the peers with
maturin: ``pip install . maturin maturin-import-hook rustimport``. The hook installs the crates into that environment.
Crates are downloaded before anything is measured. Numbers are the wall time of whole processes, except in the rows "in
process": there the interpreter's own start and end, the same for all, are left out, and a process tells how long its
hook and its import took.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from measure import Rounds, Run, inside, processes

#: Peer -> the code that switches it on; each as its documentation says.
HOOKS = {
    "ours": "import autoaccel",
    "maturin-import-hook": (
        "import maturin_import_hook; maturin_import_hook.install(enable_automatic_installation=True)"
    ),
    "rustimport": "import rustimport.import_hook",
}
PACKAGES = {"maturin-import-hook": "maturin_import_hook", "rustimport": "rustimport"}

MANIFEST = """[package]
name = "{name}"
version = "0.1.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]

[dependencies]
pyo3 = "0.30"
"""
PYPROJECT = """[build-system]
requires = ["maturin>=1,<2"]
build-backend = "maturin"

[project]
name = "{name}"
version = "0.1.0"
"""
LIBRARY = """use pyo3::prelude::*;

#[pyfunction]
fn add_two(a: i64, b: i64) -> i64 {{
    {factor} * (a + b)
}}

#[pyfunction]
fn count(words: Vec<String>) -> std::collections::HashMap<String, usize> {{
    let mut found = std::collections::HashMap::new();
    for word in words {{
        *found.entry(word).or_insert(0) += 1;
    }}
    found
}}

#[pymodule]
fn {name}(module: &Bound<'_, PyModule>) -> PyResult<()> {{
    module.add_function(wrap_pyfunction!(add_two, module)?)?;
    module.add_function(wrap_pyfunction!(count, module)?)
}}
"""


class Place:
    """Where one of the three works: sources and caches that nothing has been built in."""

    def __init__(self, who: str, top: Path) -> None:
        self.who = who
        self.sources = top / who / "sources"
        self.sources.mkdir(parents=True)
        self.env = (
            ("AUTOACCEL_CACHE_DIR", str(top / who / "autoaccel")),
            ("MATURIN_BUILD_DIR", str(top / who / "hook")),
            ("RUSTIMPORT_CACHE_DIR", str(top / who / "rustimport")),
            # maturin wants to know that it is in a virtual environment.
            ("VIRTUAL_ENV", sys.prefix),
            ("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
        )

    def write(self, name: str, factor: int) -> None:
        """A PyO3 crate, opted in wherever that is asked for."""
        folder = self.sources / name
        (folder / "src").mkdir(parents=True, exist_ok=True)
        if not (folder / "Cargo.toml").exists():
            (folder / "Cargo.toml").write_text(MANIFEST.format(name=name))
            (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name))
            (folder / ".rustimport").touch()
        (folder / "src" / "lib.rs").write_text(LIBRARY.format(name=name, factor=factor))

    def run(self, name: str, factor: int) -> Run:
        """Import the crate, and see that it is the one on disk."""
        return self.process(name, f"{HOOKS[self.who]}\nimport {name}\n{right(name, factor)}")

    def timed(self, name: str, factor: int, *, hook: bool) -> Run:
        """The same, in a process that prints how long the import took, with or without switching the hook on."""
        return self.process(name, clocked(HOOKS[self.who], name, factor, hook=hook))

    def process(self, name: str, code: str) -> Run:
        """An interpreter that finds the crate."""
        # The hook looks for projects around the folders of sys.path, the others for crates in them.
        folder = self.sources / name if self.who == "maturin-import-hook" else self.sources
        return Run(code, folder, self.env)


def right(name: str, factor: int) -> str:
    """Code that sees that the module is the one on disk."""
    return f"assert {name}.add_two(2, 3) == {5 * factor}, {name}.add_two(2, 3)"


def clocked(switch: str, name: str, factor: int, *, hook: bool) -> str:
    """Code that prints the seconds of an import, and of the code that switches the hook on where it is meant too."""
    first, then = ("", switch) if hook else (switch, "")
    lines = [
        "from time import perf_counter",
        first,
        "start = perf_counter()",
        then,
        f"import {name}",
        "print(perf_counter() - start)",
        right(name, factor),
    ]
    return "\n".join(filter(None, lines))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5, help="edits, and further crates")
    options.add_argument("--warm", type=int, default=40, help="warm imports")
    options.add_argument("--keep", type=Path, help="a folder for sources and caches, instead of a temporary one")
    told = options.parse_args()
    if (
        Path(importlib.util.find_spec("autoaccel").origin).parent
        == Path(__file__).resolve().parent.parent / "autoaccel"
    ):
        sys.exit("autoaccel must be installed into this interpreter, as users have it")
    top = told.keep or Path(tempfile.mkdtemp(prefix="autoaccel-bench-"))
    peers = [who for who in HOOKS if who not in PACKAGES or importlib.util.find_spec(PACKAGES[who])]
    places = {who: Place(who, top) for who in peers}
    try:
        rows = measure(places, told.rounds, told.warm)
    finally:
        uninstall()
        if told.keep is None:
            shutil.rmtree(top, ignore_errors=True)
    show(rows, peers)
    return 0


def measure(places: dict[str, Place], rounds: int, warm: int) -> list[tuple[str, dict[str, float]]]:
    """(case, who -> median seconds) in the order of the table."""
    uninstall()
    download(places)
    names = ["first", *(f"further{number}" for number in range(rounds))]
    first: dict[str, list[float]] = {who: [] for who in places}
    further: dict[str, list[float]] = {who: [] for who in places}
    edits: dict[str, list[float]] = {who: [] for who in places}
    for turn, name in enumerate(names):
        for who, place in in_turn(places, turn):
            place.write(name, 1000)
            (further if turn else first)[who].append(timed(place.run(name, 1000)))
    for turn in range(rounds):
        for who, place in in_turn(places, turn):
            place.write("first", 2000 + turn)
            edits[who].append(timed(place.run("first", 2000 + turn)))
    factor = 1999 + rounds
    for place in places.values():
        for _ in range(2):
            timed(place.run("first", factor))  # what was too fresh to trust is old enough now
    runs = {who: place.run("first", factor) for who, place in places.items()}
    runs["floor"] = floor(places["ours"], factor)
    runs["nothing"] = Run("pass", places["ours"].sources)
    samples = processes(runs, Rounds(warm, 300))
    hooked, alone = (
        inside(clocks(places, runs["floor"], factor, hook=hook), Rounds(warm, 200)) for hook in (True, False)
    )
    return [
        ("first import of a first PyO3 crate", medians(first)),
        ("first import of a further PyO3 crate", medians(further)),
        ("one line edited → imported", medians(edits)),
        ("warm import", {who: sample.median for who, sample in samples.items()}),
        ("warm import, lower quartile", {who: sample.lower for who, sample in samples.items()}),
        ("warm import, in process: hook and module", {who: sample.median for who, sample in hooked.items()}),
        ("… lower quartile", {who: sample.lower for who, sample in hooked.items()}),
        ("warm import, in process: module alone", {who: sample.median for who, sample in alone.items()}),
        ("… lower quartile", {who: sample.lower for who, sample in alone.items()}),
    ]


def clocks(places: dict[str, Place], floor: Run, factor: int, *, hook: bool) -> dict[str, Run]:
    """Who -> a process that prints how long its import took; the floor among them."""
    runs = {who: place.timed("first", factor, hook=hook) for who, place in places.items()}
    return {**runs, "floor": replace(floor, code=clocked("", "first", factor, hook=hook))}


def in_turn(places: dict[str, Place], turn: int) -> list[tuple[str, Place]]:
    """Whoever comes first finds the machine in another state."""
    items = list(places.items())
    return items[turn % len(items) :] + items[: turn % len(items)]


def timed(run: Run) -> float:
    """Wall seconds of a process that must end well."""
    start = perf_counter()
    done = subprocess.run(
        run.command(), cwd=run.directory, env=run.environment(), capture_output=True, text=True, check=False
    )
    seconds = perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{run.code}\nfailed in {run.directory}:\n{done.stdout}{done.stderr}")
    return seconds


def floor(place: Place, factor: int) -> Run:
    """The same library, built before, on ``sys.path``, with no hook."""
    code = "import autoaccel, first; print(first.__cached__)"
    run = Run(code, place.sources, place.env)
    artifact = subprocess.run(
        run.command(), cwd=run.directory, env=run.environment(), capture_output=True, text=True, check=True
    ).stdout.strip()
    folder = place.sources.parent / "prebuilt"
    folder.mkdir()
    shutil.copy(artifact, folder)
    return Run(f"import first\n{right('first', factor)}", folder, place.env)


def download(places: dict[str, Place]) -> None:
    """Have every crate on this machine, so that no network is measured."""
    place = places["ours"]
    place.write("first", 1)
    folder = place.sources / "first"
    subprocess.run(["cargo", "fetch"], cwd=folder, capture_output=True, check=True)
    shutil.rmtree(folder)


def uninstall() -> None:
    """Take out what maturin-import-hook has installed."""
    there = [one.metadata["Name"] for one in importlib.metadata.distributions()]
    ours = [name for name in there if name == "first" or name.startswith("further")]
    if ours:
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "-q", "-y", *ours], capture_output=True, check=True)


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {who: statistics.median(values) for who, values in seconds.items()}


def show(rows: list[tuple[str, dict[str, float]]], peers: list[str]) -> None:
    """The table, in Markdown."""
    others = [who for who in peers if who != "ours"]
    print("|", " | ".join(["case", "floor", "ours", *others, "better peer ÷ ours", "ours ÷ floor"]), "|")
    print("|", " | ".join(["---"] * (5 + len(others))), "|")
    form: Callable[[float | None], str] = lambda value: "" if value is None else seconds(value)  # noqa: E731
    for case, told in rows:
        best = min((told[who] for who in others), default=None)
        gain = f"{best / told['ours']:.1f} ×" if best else ""
        cost = f"{told['ours'] / told['floor']:.3f} ×" if "floor" in told else ""
        print("|", " | ".join([case, form(told.get("floor")), *(form(told[who]) for who in peers), gain, cost]), "|")
    for _, told in rows:
        if "nothing" in told:
            print(f"\nAn interpreter that does nothing: {seconds(told['nothing'])}.")
            break


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.5 else f"{value * 1e3:.{1 if value >= 0.01 else 3}f} ms"


if __name__ == "__main__":
    sys.exit(main())
