"""The only door to subprocess: explicit arguments, folder and environment; all output kept; nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from subprocess import TimeoutExpired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Result",
    "TimeoutExpired",
    "detach",
    "end",
    "environment",
    "find_program",
    "interrupt",
    "interrupted",
    "resume",
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
    if _over.is_set():
        raise KeyboardInterrupt
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
    _running.add(child)
    try:
        if _over.is_set():  # set after the look above, and before this child was known
            raise KeyboardInterrupt  # noqa: TRY301
        output, errors = child.communicate(timeout=timeout) if heard is None else _listen(child, heard)
    except BaseException:
        end(child)
        raise
    finally:
        _running.discard(child)
    if _over.is_set():
        raise KeyboardInterrupt
    return Result(child.returncode, output.decode("utf-8", "replace"), (errors or b"").decode("utf-8", "replace"))


def _listen(child: subprocess.Popen[bytes], heard: Callable[[str], None]) -> tuple[bytes, bytes]:
    """What a program prints and says, told on line by line."""
    assert child.stdout is not None
    assert child.stderr is not None
    stream = child.stderr
    lines: list[bytes] = []

    def listen() -> None:
        for line in stream:
            lines.append(line)
            heard(line.decode("utf-8", "replace").rstrip())

    listener = threading.Thread(target=listen, name="autoaccel-listener")
    listener.start()
    try:
        output = child.stdout.read()
        child.wait()
    except BaseException:
        end(child)
        raise
    finally:
        listener.join()
        child.stdout.close()
        child.stderr.close()
    return output, b"".join(lines)


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


#: Programs that threads of this process wait for, and whether they are to give up.
_running: set[subprocess.Popen[bytes]] = set()
_over = threading.Event()


def interrupted() -> bool:
    """Whether `interrupt` was called: who waits for something else than a program gives up as well."""
    return _over.is_set()


def interrupt() -> None:
    """End all programs that threads of this process wait for; their waits, and later ones, raise KeyboardInterrupt."""
    _over.set()
    for child in list(_running):
        end(child)


def resume() -> None:
    """Programs may be run again."""
    _over.clear()


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
