"""The program that a watcher runs: started in a process group of its own, asked to end, and made to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

from .. import process

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

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


class Terminal:
    """The terminal of this process, lent to a program's process group and taken back, with the modes that it had."""

    def __init__(self) -> None:
        self._number = sys.stdin.fileno()
        self._modes = self._get()
        #: whether a program has it, or a job that the program has put into the foreground
        self._lent = False
        #: the modes of the program that was stopped
        self._theirs: Any = None

    def lend(self, group: int) -> None:
        """Put a process group into the foreground, if this process is there."""
        with contextlib.suppress(OSError):
            if self.at_hand:
                self._set(self._theirs)
                self._put(group)
            self._lent = os.tcgetpgrp(self._number) == group
        self._theirs = None

    def lost(self) -> None:
        """A shell has taken it, and may have given it to somebody else."""
        self._lent = False

    @property
    def at_hand(self) -> bool:
        """Whether this process has it, and can lend it."""
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(self._number) == os.getpgrp()
        return False

    @property
    def user(self) -> int | None:
        """The process group that has it now, if it has it from this process."""
        with contextlib.suppress(OSError):
            if self._lent and (front := os.tcgetpgrp(self._number)) not in (0, *_shells()):
                return front
        return None

    def take_back(self, *, stopped: bool = False) -> None:
        """Be in the foreground again, if it was lent; with the modes that were there before.

        Args:
            stopped: whether the program will want its own modes again.
        """
        with contextlib.suppress(OSError):
            if self.user is not None:
                self._theirs = self._get() if stopped else None
                self._put(os.getpgrp())
                # A line editor that was killed leaves a terminal that shows nothing of what is typed.
                self._set(self._modes)
        self._lent = False

    def _put(self, group: int) -> None:
        with _unstopped():
            os.tcsetpgrp(self._number, group)

    def _get(self) -> Any:
        with contextlib.suppress(termios.error):
            return termios.tcgetattr(self._number)
        return None

    def _set(self, modes: Any) -> None:
        if modes is not None:
            # At once: output that somebody holds up (Ctrl-S) is not to hold this process up.
            with _unstopped(), contextlib.suppress(termios.error):
                termios.tcsetattr(self._number, termios.TCSANOW, modes)


class Program:
    """A command that is run, and run again.

    Args:
        command: its words.
        grace: seconds between the question to end and the kill.
        keeper: who ends it if we can't.
        ended: is told by a thread that it has ended by itself.
        stopped: is told by a thread which signal has stopped it.
        interactive: whether it gets the terminal, with Ctrl-C and Ctrl-Z.
        quiet_stdout: whether what it prints goes to stderr.
    """

    def __init__(
        self,
        command: Sequence[str],
        grace: float,
        keeper: Keeper,
        ended: Callable[[Program, int], None],
        stopped: Callable[[Program, int], None],
        *,
        interactive: bool = False,
        quiet_stdout: bool = False,
    ) -> None:
        self.command = list(command)
        self._grace = grace
        self._keeper = keeper
        self._ended = ended
        self._stopped = stopped
        at_terminal = interactive and _POSIX and sys.stdin is not None and sys.stdin.isatty()
        self._terminal = Terminal() if at_terminal else None
        self._stdout = sys.stderr if quiet_stdout else None
        self._child: subprocess.Popen[bytes] | None = None
        self._asked = threading.Event()
        #: whose end it is, and who has the terminal: both the thread that waits and `stop` see to that
        self._guard = threading.Lock()
        #: whether it was `pause` that has stopped it
        self._paused = False
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

    @property
    def has_terminal(self) -> bool:
        """Whether it is what somebody at the terminal talks to."""
        return self._terminal is not None

    @property
    def can_have_terminal(self) -> bool:
        """Whether `resume` would give it the terminal."""
        return self._terminal is not None and self._terminal.at_hand

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
        with _undisturbed():
            child = self._child = subprocess.Popen(self.command, stdin=stdin, stdout=self._stdout, **options)  # type: ignore[call-overload]
            self._keeper.program(child.pid, True)
        if self._terminal is not None:
            self._terminal.lend(child.pid)
            # It may have read before it was allowed to.
            self._signal([child.pid], signal.SIGCONT)
        threading.Thread(target=self._wait, args=(child, asked), name="autoaccel-program", daemon=True).start()

    def _wait(self, child: subprocess.Popen[bytes], asked: threading.Event) -> None:
        while (number := self._stop_of(child)) is not None:
            if number and self._child is child:
                self._stopped(self, number)
        status = child.wait()
        self._over(child, status)
        if not asked.is_set():
            self._ended(self, status)

    def _stop_of(self, child: subprocess.Popen[bytes]) -> int | None:
        """The signal by which it is stopped next; 0: it is not its own; None: it ends before, or nobody can tell."""
        if not hasattr(os, "waitid"):
            return None
        try:
            # Its end is left to be waited for.
            told = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if told is None or told.si_code != os.CLD_STOPPED:
                return None
            # Before the next look, which finds no stop that `resume` has ended.
            paused = self._paused
            stands = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG) is not None
        except ChildProcessError:
            return None
        return told.si_status if stands and not paused else 0

    def _over(self, child: subprocess.Popen[bytes], status: int) -> None:
        with self._guard:
            if self._child is not child:
                return
            groups = self._groups(child)
            if self._terminal is not None:
                self._terminal.take_back()
            if _POSIX:
                # What it has started and left goes with it.
                self._signal(groups, signal.SIGKILL)
            self._keeper.program(child.pid, False)
            # Last: what is started next gets the terminal.
            self._child, self.status = None, status

    def pause(self) -> None:
        """Stop it for a while, as Ctrl-Z does, and have the terminal."""
        with self._guard:
            if (child := self._child) is not None:
                self._paused = True
                self._signal([child.pid], signal.SIGTSTP)
                if self._terminal is not None:
                    self._terminal.take_back(stopped=True)

    def lost_terminal(self) -> None:
        """A shell has stopped this process, and has the terminal itself. May be called by a signal's handler."""
        if self._terminal is not None:
            self._terminal.lost()

    def resume(self) -> None:
        """Have it go on."""
        with self._guard:
            if (child := self._child) is not None:
                if self._terminal is not None:
                    self._terminal.lend(child.pid)
                self._signal([child.pid], signal.SIGCONT)
            self._paused = False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end with a signal, wait, and kill it and all that it has started."""
        child = self._child
        if child is None:
            return
        self._asked.set()
        if _POSIX:
            groups = self._groups(child)
            self._signal(groups, number)
            # A stopped program hears nothing.
            self._signal(groups, signal.SIGCONT)
        else:
            with contextlib.suppress(OSError):
                child.terminate()
        try:
            status = child.wait(self._grace)
        except subprocess.TimeoutExpired:
            process.end(child)
            status = child.wait()
        self._over(child, status)

    def _groups(self, child: subprocess.Popen[bytes]) -> set[int]:
        """Its process group, and that of the job that it has put into the foreground, as a shell does."""
        front = self._terminal.user if self._terminal is not None else None
        return {child.pid} if front is None or front == os.getpgrp() else {child.pid, front}

    @staticmethod
    def _signal(groups: Iterable[int], number: int) -> None:
        for group in groups:
            with contextlib.suppress(OSError):
                os.killpg(group, number)


def exit_code(status: int) -> int:
    """A status as shells tell it."""
    return 128 - status if status < 0 else status


def _shells() -> set[int]:
    """The process groups that nothing is taken from: the session's first, and that of who has started this process."""
    return {os.getsid(0), os.getpgid(os.getppid())} - {os.getpgrp()}


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What a signal's handler raises comes afterwards: a program that nobody knows of would go on for ever."""
    waiting: list[int] = []
    with contextlib.ExitStack() as stack:
        # Last, when all handlers are themselves again.
        stack.callback(lambda: list(map(signal.raise_signal, waiting)))
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # What is ignored stays so for the program too.
                if number is not None and callable(handler := signal.getsignal(number)):
                    stack.callback(signal.signal, number, handler)
                    signal.signal(number, lambda number, _: waiting.append(number))
        yield


@contextlib.contextmanager
def _unstopped() -> Iterator[None]:
    """Who changes the terminal from the background is stopped, unless it ignores that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
