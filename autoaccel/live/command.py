"""The program that a watcher runs: started in a process group of its own, asked to end, and made to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

from .. import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Keeper", "Program", "exit_code"]

_POSIX = sys.platform != "win32"


class Keeper:
    """Sees to it that programs end with this process, however that ends.

    Args:
        grace: seconds that a program has between the question and the kill.
    """

    def __init__(self, grace: float) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        if _POSIX:
            # Of the interpreter alone: nothing of the user's is to run in it.
            script = os.path.join(os.path.dirname(__file__), "keeper.py")
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", script, str(grace)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=os.sep,
                env=process.environment(),
                start_new_session=True,
            )
            process.started.append(self.compiler)

    def compiler(self, group: int, running: bool) -> None:
        """A tool has been started, or has ended."""
        self._say(f"{'+' if running else '-'}{group}")

    def program(self, group: int, running: bool) -> None:
        """A program has been started, or has ended."""
        self._say(f"{'~' if running else '-'}{group}")

    def close(self) -> None:
        """It is not needed any more."""
        if self._child is not None:
            process.started.remove(self.compiler)
            assert self._child.stdin is not None
            with contextlib.suppress(OSError):
                self._child.stdin.close()
            process.end(self._child)

    def _say(self, line: str) -> None:
        if self._child is None:
            return
        assert self._child.stdin is not None
        # Killed, it is of no use; there is nothing that it must do while we live.
        with self._guard, contextlib.suppress(OSError, ValueError):
            self._child.stdin.write(line.encode() + b"\n")
            self._child.stdin.flush()


class Program:
    """A command that is run, and run again.

    Args:
        command: its words.
        grace: seconds between the question to end and the kill.
        keeper: who ends it if we can't.
        ended: is told by a thread that it has ended by itself.
        interactive: whether it gets the terminal, with Ctrl-C.
        quiet_stdout: whether what it prints goes to stderr.
    """

    def __init__(
        self,
        command: Sequence[str],
        grace: float,
        keeper: Keeper,
        ended: Callable[[Program, int], None],
        *,
        interactive: bool = False,
        quiet_stdout: bool = False,
    ) -> None:
        self.command = list(command)
        self._grace = grace
        self._keeper = keeper
        self._ended = ended
        self._terminal = interactive and _POSIX and sys.stdin is not None and sys.stdin.isatty()
        self._stdout = sys.stderr if quiet_stdout else None
        self._child: subprocess.Popen[bytes] | None = None
        self._asked = threading.Event()
        #: how it ended the last time; None: it never did
        self.status: int | None = None

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._child is not None

    @property
    def number(self) -> int:
        """Its process's number."""
        return self._child.pid if self._child is not None else 0

    def start(self) -> None:
        """Run it.

        Raises:
            OSError: it can't be started.
        """
        at_terminal = sys.stdin is None or sys.stdin.isatty()
        # From the background, a program that reads the terminal would be stopped.
        stdin = None if self._terminal or not at_terminal else subprocess.DEVNULL
        options = {"process_group": 0} if _POSIX else {}
        # One for each child: the thread that waits for the last one may be late.
        asked = self._asked = threading.Event()
        child = self._child = subprocess.Popen(self.command, stdin=stdin, stdout=self._stdout, **options)  # type: ignore[call-overload]
        self._keeper.program(child.pid, True)
        if self._terminal:
            _foreground(child.pid)
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGCONT)
        threading.Thread(target=self._wait, args=(child, asked), name="autoaccel-program", daemon=True).start()

    def _wait(self, child: subprocess.Popen[bytes], asked: threading.Event) -> None:
        status = child.wait()
        self._over(child, status)
        if not asked.is_set():
            self._ended(self, status)

    def _over(self, child: subprocess.Popen[bytes], status: int) -> None:
        if self._child is child:
            self._child, self.status = None, status
            if self._terminal:
                _foreground(os.getpgrp())
            if _POSIX:
                # What it has started and left goes with it.
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
            self._keeper.program(child.pid, False)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end with a signal, wait, and kill it and all that it has started."""
        child = self._child
        if child is None:
            return
        self._asked.set()
        with contextlib.suppress(OSError):
            if _POSIX:
                os.killpg(child.pid, number)
            else:
                child.terminate()
        try:
            status = child.wait(self._grace)
        except subprocess.TimeoutExpired:
            process.end(child)
            status = child.wait()
        self._over(child, status)


def exit_code(status: int) -> int:
    """A status as shells tell it."""
    return 128 - status if status < 0 else status


@contextlib.contextmanager
def _unstopped() -> Iterator[None]:
    """Who changes the terminal from the background is stopped, unless it ignores that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _foreground(group: int) -> None:
    """Give the terminal to a process group."""
    with _unstopped(), contextlib.suppress(OSError):
        os.tcsetpgrp(sys.stdin.fileno(), group)
