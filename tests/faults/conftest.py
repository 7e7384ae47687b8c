"""What the tests of faults share. Each is named after its row in the plan: F01, F02 …

After each fault the same must hold: nobody died but who was killed, whoever imports gets the right code, a fresh
process needs nobody to clean up, and ``cache verify`` finds nothing. ``AUTOACCEL_FAULTS=all`` tries every point where
the usual run tries a few.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autoaccel import keys, store, verify
from tests.conftest import Project, need

T = TypeVar("T")

#: Whether every point is tried.
FULL = os.environ.get("AUTOACCEL_FAULTS") == "all"

CODE = "import autoaccel, sample; print(sample.value())"

#: System calls that change something.
CHANGING = re.compile(
    r"^(mkdir|rename|write|pwrite64|fsync|chmod|fchmod|unlink|unlinkat|rmdir|flock|link|ftruncate|utimensat|vfork|clone3?)\("
)


def some(points: list[T], count: int) -> list[T]:
    """Evenly spread points out of many; all of them in a full run."""
    if FULL or len(points) <= count:
        return points
    return [points[number * (len(points) - 1) // (count - 1)] for number in range(count)]


@dataclass
class Point:
    """One system call of a process: the ``when``-th of its name."""

    call: str
    when: int
    text: str


@dataclass
class Faults:
    """A project under attack."""

    project: Project
    record: Callable[[str, object], None]
    injections: int = 0
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """The cache folder."""
        return self.project.cache

    def injected(self, count: int = 1) -> None:
        """So many faults were injected."""
        self.injections += count

    def aside(self, code: str) -> str:
        """Code that, where this cache can't be used, goes to a place of the test's, not to the machine's last resort."""
        return f"from autoaccel import location; location.fallback = lambda: {str(self.cache) + '-fallback'!r}\n{code}"

    def wipe(self) -> None:
        """An empty cache that knows the compilers: what they are is asked once."""
        kept = self.cache.parent / "tools"
        if not kept.exists() and (self.cache / "v2" / "tools").exists():
            shutil.copytree(self.cache / "v2" / "tools", kept)
        for folder in (str(self.cache), str(self.cache) + "-fallback"):
            shutil.rmtree(folder, ignore_errors=True)
        if kept.exists():
            shutil.copytree(kept, self.cache / "v2" / "tools")
            for folder in (self.cache, self.cache / "v2", self.cache / "v2" / "tools"):
                folder.chmod(0o700)

    def fine(self, want: object = 7, **env: str) -> None:
        """A fresh process gets the right code, and nothing in the cache is damaged."""
        run = self.project.run(self.aside(CODE), **env)
        assert (run.status, run.out) == (0, f"{want}\n"), run.err
        assert "Traceback" not in run.err
        self.clean()

    def clean(self) -> None:
        """Nothing in the cache is damaged."""
        assert verify.check(store.Reader(str(self.cache))).problems == ()

    def changing_calls(self, code: str = CODE) -> list[Point]:
        """Where an interpreter that runs ``code`` changes something: system calls, in their order."""
        log = self.cache.parent / "strace.txt"
        self.strace(["-o", str(log)], code)
        seen: dict[str, int] = {}
        found = []
        for line in log.read_text(errors="replace").splitlines():
            name = line.partition("(")[0]
            seen[name] = seen.get(name, 0) + 1
            creates = name == "openat" and "O_CREAT" in line
            if (CHANGING.match(line) and not line.startswith("write(1,")) or creates:
                found.append(Point(name, seen[name], line))
        return found

    def strace(self, words: list[str], code: str = CODE, **env: str) -> subprocess.CompletedProcess[str]:
        """An interpreter under strace, which traces it alone, not what it starts."""
        return subprocess.run(
            ["strace", "-s", "200", *words, sys.executable, "-c", self.aside(code)],
            cwd=self.project.root,
            env=self.project.environ(PYTHONHASHSEED="0", **env),
            capture_output=True,
            text=True,
            timeout=40,
        )

    def inject(self, point: Point, what: str, code: str = CODE) -> subprocess.CompletedProcess[str]:
        """Run ``code`` with something happening to one of its system calls: ``error=EIO``, ``signal=KILL`` …"""
        self.injected()
        words = ["-o", os.devnull, "-e", f"trace={point.call}", "-e", f"inject={point.call}:{what}:when={point.when}"]
        return self.strace(words, code)

    def start(self, code: str = CODE, **env: str) -> subprocess.Popen[str]:
        """A process in the background, which ends with the test."""
        child = self.project.start(code, **env)
        self.children.append(child)
        return child

    def until(self, what: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait for something."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)
        return found

    def library(self) -> Path:
        """The only library in the cache."""
        (path,) = self.project.artifacts()
        return path

    def end(self) -> None:
        """Leave nothing running."""
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.communicate()
        self.record("injections", self.injections)


@pytest.fixture
def faults(project: Project, record_property: Callable[[str, object], None]) -> Iterator[Faults]:
    """A project with the module ``sample``, whose value is 7, and a cache that knows the compiler."""
    need("cc")
    project.c("sample.c", 7)
    made = Faults(project, record_property)
    yield made
    made.end()


@pytest.fixture
def built(faults: Faults) -> Faults:
    """The same, built."""
    assert faults.project.ok(CODE) == "7"
    return faults


@pytest.fixture
def strace(faults: Faults) -> None:
    """A machine on which strace may trace."""
    need("strace")
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")


def in_thread(what: Callable[[], None]) -> threading.Thread:
    """Something that goes on meanwhile."""
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    return thread


def digest(path: Path) -> str | None:
    """The content of a file."""
    return keys.file_digest(str(path))
