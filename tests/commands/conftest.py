"""The command line as users start it: in a process of its own, piped or in a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout as a document."""
        return json.loads(self.out)


@dataclass
class Commands:
    """Starts ``python …`` and ``python -m autoaccel …`` in a project's folder."""

    project: Any

    def python(self, *args: str | Path, cwd: Path | None = None, **env: str) -> Ended:
        """Plain ``python``, to its end."""
        done = subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=cwd or self.project.root,
            env=self.project.environ(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def __call__(self, *args: str | Path, cwd: Path | None = None, **env: str) -> Ended:
        """``autoaccel args``, piped."""
        return self.python("-m", "autoaccel", *args, cwd=cwd, **env)

    def in_terminal(self, *args: str | Path, answer: tuple[str, str] = ("", ""), **env: str) -> tuple[int, str]:
        """``autoaccel args`` in a terminal of 100 columns; its status and what stands on the screen, one stream.

        ``answer``: what is waited for, and what is typed then.
        """
        child, master = pty.fork()
        if child == 0:
            os.chdir(self.project.root)  # noqa: TID251
            environment = self.project.environ(**{"TERM": "xterm-256color", "COLUMNS": "100", **env})
            os.execve(sys.executable, [sys.executable, "-m", "autoaccel", *map(str, args)], environment)
        shown = b""
        prompt, typed = answer
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if typed and prompt.encode() in shown:
                # The prompt is written before it is read from.
                time.sleep(0.3)
                os.write(master, typed.encode())
                typed = ""
            if not select.select([master], [], [], 1.0)[0]:
                continue
            try:
                chunk = os.read(master, 1 << 16)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        os.close(master)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode("utf-8", "replace")


@pytest.fixture
def accel(project: Any) -> Callable[..., Ended]:
    """The command line in the project's folder."""
    return Commands(project)
