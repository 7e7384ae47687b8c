"""autoaccel beside the floor (a prebuilt module, no hook) and its peers, in one run.

python benchmarks/run.py [--quick] [--only CASE] [--json FILE] [--markdown]
"""

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter

import cold
import full
import jitted
import report
import warm
from measure import Rounds
from place import HOOKS, Setup, machine
from rich.console import Console

CASES = {
    "own": lambda setup, quick: warm.own_import(setup, Rounds(21, 3) if quick else Rounds(101, 20)),
    "one": lambda setup, quick: warm.one_module(setup, Rounds(60, 8) if quick else Rounds(400, 60)),
    "many": lambda setup, quick: warm.many_modules(setup, Rounds(9, 5) if quick else Rounds(61, 30)),
    "unrelated": lambda setup, quick: warm.unrelated(setup, Rounds(9, 2) if quick else Rounds(99, 30), count=not quick),
    "full": lambda setup, quick: full.full_cache(setup, Rounds(40, 6) if quick else Rounds(300, 45)),
    "cold": cold.first_import,
    "ten": cold.ten_modules,
    "numba": jitted.numba,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: two minutes")
    parser.add_argument("--only", choices=CASES, action="append", help="a part of the cases; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/benchmarks.md")
    options = parser.parse_args()
    # Children inherit it, and an import without its .pyc is no import that a user sees.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    console = Console(width=None if Console().is_terminal else 180)
    about = machine()
    console.print(", ".join(f"{name} {value}" for name, value in about.items()), highlight=False)
    rows: list[report.Row] = []
    with tempfile.TemporaryDirectory(prefix="autoaccel-bench-") as place:
        setup = Setup(Path(place).resolve())
        setup.check()
        for peer in HOOKS:
            if not setup.has(peer):
                console.print(f"{peer} is not installed: its columns stay empty")
        for name in options.only or CASES:
            start = perf_counter()
            rows += CASES[name](setup, options.quick)
            console.print(f"{name}: measured in {perf_counter() - start:.0f} s", style="dim")
    report.show(rows, console)
    if options.markdown:
        print(report.markdown(rows))
    if options.json:
        report.save(rows, options.json, about)


if __name__ == "__main__":
    main()
