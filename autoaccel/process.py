"""The only door to subprocess: explicit arguments, folder and environment; all output kept; nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from subprocess import TimeoutExpired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

__all__ = [
    "SLICE",
    "Cancelled",
    "Result",
    "Scope",
    "TimeoutExpired",
    "detach",
    "end",
    "environment",
    "find_program",
    "inherited",
    "interrupted",
    "run",
    "shown",
]


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended.

    Attributes:
        status: its exit code; negative: the signal that ended it.
        output: what it printed; without what it said on stderr, if that was asked for apart.
        errors: that, else ``""``.
    """

    status: int
    output: str
    errors: str = ""


def environment(**changes: str) -> dict[str, str]:
    """The environment for a tool: the user's, messages in English, and the hook off in Pythons that tools start."""
    return {**os.environ, "LC_ALL": "C.UTF-8", "AUTOACCEL": "off", **changes}


def find_program(name: str) -> str | None:
    """Absolute path of a program on ``$PATH``, or of ``name`` itself where it is a path."""
    return shutil.which(name)


def shown(args: Sequence[str]) -> str:
    """The command as a shell would take it."""
    import shlex

    return shlex.join(args)


def run(
    args: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    timeout: float | None = None,
    apart: bool = False,
    heard: Callable[[str], None] | None = None,
) -> Result:
    """Run a program to its end. Whatever interrupts the wait (Ctrl-C too) ends it and all that it started.

    Args:
        args: program and arguments.
        cwd: folder to run in.
        env: the whole environment.
        apart: keep stderr apart from stdout.
        heard: is told each line of stderr as it comes, by another thread; only with ``apart``.
        timeout: seconds, after which it is killed and `TimeoutExpired` raised.

    Raises:
        OSError: the program can't be started.
    """
    _check()
    # A session of its own: Ctrl-C in a terminal reaches us first, and the tool's children end with it.
    child = subprocess.Popen(
        list(args),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if apart else subprocess.STDOUT,
        start_new_session=sys.platform != "win32",
    )
    _running[child] = _current()
    for told in started:
        told(child.pid, True)
    try:
        _check()  # set after the look above, and before this child was known
        output, errors = _communicate(child, timeout) if heard is None else _listen(child, heard)
    except BaseException:
        end(child)
        raise
    finally:
        _running.pop(child, None)
        for told in started:
            told(child.pid, False)
    _check()
    return Result(child.returncode, output.decode("utf-8", "replace"), (errors or b"").decode("utf-8", "replace"))


#: Seconds that are waited for at once: Ctrl-C in the moment before a wait begins ends none without an end.
SLICE = 0.5


def _communicate(child: subprocess.Popen[bytes], timeout: float | None) -> tuple[bytes, bytes | None]:
    """What a program prints and says."""
    ended = time.monotonic() + (float("inf") if timeout is None else timeout)
    while True:
        try:
            return child.communicate(timeout=min(SLICE, max(0.0, ended - time.monotonic())))
        except TimeoutExpired:
            if time.monotonic() >= ended:
                raise


def _listen(child: subprocess.Popen[bytes], heard: Callable[[str], None]) -> tuple[bytes, bytes]:
    """What a program prints and says, told on line by line."""
    assert child.stdout is not None
    assert child.stderr is not None
    printed, stream = child.stdout, child.stderr
    output: list[bytes] = []
    lines: list[bytes] = []

    def read() -> None:
        output.append(printed.read())

    def listen() -> None:
        for line in stream:
            lines.append(line)
            heard(line.decode("utf-8", "replace").rstrip())

    threads = [threading.Thread(target=one, name=f"autoaccel-{one.__name__}") for one in (read, listen)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(SLICE)
        child.wait()
    except BaseException:
        end(child)
        raise
    finally:
        for thread in threads:
            thread.join()
        printed.close()
        stream.close()
    return b"".join(output), b"".join(lines)


def detach(args: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> None:
    """Start a program that outlives this process, which does not look after it any more.

    Raises:
        OSError: it can't be started.
    """
    child = subprocess.Popen(
        list(args),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=sys.platform != "win32",
    )
    # Nobody waits for it, and Python need not complain of that.
    child.returncode = 0


class Cancelled(KeyboardInterrupt):
    """The work of a `Scope` is not wanted any more."""


class Scope:
    """Work of one or several threads that can be given up by another one; so is what is part of it."""

    def __init__(self) -> None:
        self._given_up = False
        self._whole = _current()

    @property
    def cancelled(self) -> bool:
        """Whether the work, or what it is part of, was given up."""
        return self._given_up or (self._whole is not None and self._whole.cancelled)

    def cancel(self) -> None:
        """End the programs that the work waits for; its waits, and later ones, raise `Cancelled`."""
        self._given_up = True
        for child, scope in list(_running.items()):
            if scope is not None and scope.cancelled:
                end(child)

    def __enter__(self) -> Self:
        self._before = _current()
        _local.scope = self
        return self

    def __exit__(self, *_: object) -> None:
        _local.scope = self._before


_local = threading.local()

#: Programs that threads of this process wait for, and for whose work.
_running: dict[subprocess.Popen[bytes], Scope | None] = {}

if hasattr(os, "register_at_fork"):
    # The parent's programs are none of a child's to end.
    os.register_at_fork(after_in_child=_running.clear)

#: Are told the process group of each program that is started, and that it has ended.
started: list[Callable[[int, bool], None]] = []


def _current() -> Scope | None:
    scope: Scope | None = getattr(_local, "scope", None)
    return scope


def inherited(scope: Scope | None = None) -> Callable[[], None]:
    """What a helping thread is to call first, so that its programs count as this thread's, or as those of a scope."""
    scope = scope or _current()

    def take() -> None:
        _local.scope = scope

    return take


def _check() -> None:
    """Give up if somebody has said so."""
    scope = _current()
    if scope is not None and scope.cancelled:
        raise Cancelled


def interrupted() -> bool:
    """Whether this thread is to give up: who waits for something else than a program looks here."""
    scope = _current()
    return scope is not None and scope.cancelled


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill a program started by us, and its process group."""
    try:
        if sys.platform != "win32":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()
