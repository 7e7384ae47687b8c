"""Processes, clocks and counters. Everything is measured in fresh interpreters that look like a user's."""

import contextlib
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

#: What a developer's shell may hold and what would change the measurement.
_UNWANTED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONSTARTUP", "CFLAGS", "CXXFLAGS", "LDFLAGS")

_TIMEOUT = 600

#: A median of less says nothing.
_FEWEST = 3


@dataclass(frozen=True)
class Run:
    """A way to do something: Python code, run in a folder by a fresh interpreter."""

    code: str
    directory: Path
    env: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [sys.executable, *self.flags, "-c", self.code]

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _UNWANTED and not name.startswith("AUTOACCEL")
        }
        return {**kept, "PYTHONHASHSEED": "0", **dict(self.env)}


@dataclass(frozen=True)
class Rounds:
    """How often something is measured: ``most`` times, or as often as ``seconds`` allow on a busy machine."""

    most: int
    seconds: float


@dataclass
class Sample:
    """The seconds that a run took in all rounds."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def lower(self) -> float:
        """The lower quartile: less disturbed by what else the machine does."""
        return sorted(self.seconds)[len(self.seconds) // 4]


def output(run: Run) -> str:
    """What a run prints; whatever goes wrong in it ends the benchmark."""
    done = subprocess.run(
        run.command(),
        cwd=run.directory,
        env=run.environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{run.code}\nfailed in {run.directory}:\n{done.stdout}{done.stderr}")
    return done.stdout


def processes(runs: dict[str, Run], rounds: "Rounds", every: dict[str, int] | None = None) -> dict[str, Sample]:
    """Wall seconds of whole processes, interleaved.

    Args:
        runs: what to compare.
        rounds: how often.
        every: of the runs that are slow, only each so-many-th round.
    """
    return _interleaved(_whole, runs, rounds, every)


def inside(runs: dict[str, Run], rounds: "Rounds", every: dict[str, int] | None = None) -> dict[str, Sample]:
    """Seconds that the runs measure themselves and print, interleaved; else as `processes`."""
    return _interleaved(lambda run: float(output(run)), runs, rounds, every)


def _interleaved(
    measured: Callable[[Run], float], runs: dict[str, Run], rounds: "Rounds", every: dict[str, int] | None
) -> dict[str, Sample]:
    samples = {name: Sample() for name in runs}
    start = perf_counter()
    for turn in range(rounds.most):
        for name, run in _in_turn(runs, turn):
            if turn % (every or {}).get(name, 1) == 0:
                samples[name].seconds.append(measured(run))
        if turn + 1 >= _FEWEST and perf_counter() - start > rounds.seconds:
            break
    return samples


def _in_turn(runs: dict[str, Run], turn: int) -> list[tuple[str, Run]]:
    # Whoever comes first finds the caches of the machine in another state.
    items = list(runs.items())
    start = turn % len(items)
    return items[start:] + items[:start]


def _whole(run: Run) -> float:
    command, environment = run.command(), run.environment()
    with contextlib.chdir(run.directory):
        # `subprocess` itself costs a millisecond, a tenth of what is measured.
        start = perf_counter()
        process = os.posix_spawn(command[0], command, environment)
        status = os.waitpid(process, 0)[1]
        seconds = perf_counter() - start
    if status:
        raise SystemExit(f"{run.code}\nfailed in {run.directory}")
    return seconds


def instructions(run: Run) -> int | None:
    """Instructions that a process executes (valgrind's callgrind); None where it is not installed."""
    counted = _under(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"], run)
    found = re.search(r"Collected : (\d+)", counted or "")
    return int(found[1]) if found else None


def system_calls(run: Run) -> int | None:
    """System calls of a process (strace); None where it is not installed or not allowed."""
    counted = _under(["strace", "-f", "-qq"], run)
    calls = len(re.findall(r"^(?:\[pid +\d+\] )?\w+\(", counted or "", re.MULTILINE))
    return calls or None


def _under(tool: list[str], run: Run) -> str | None:
    if shutil.which(tool[0]) is None:
        return None
    done = subprocess.run(
        [*tool, *run.command()],
        cwd=run.directory,
        env=run.environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    return None if done.returncode else done.stderr


def fresh(parent: Path, counter: "itertools.count[int]" = itertools.count()) -> Path:  # noqa: B008 (one for all)
    """A new empty folder."""
    made = parent / f"fresh{next(counter)}"
    made.mkdir(parents=True)
    return made
