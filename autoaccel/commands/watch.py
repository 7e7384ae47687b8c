"""``autoaccel watch``: builds while files are edited, and a program that is started again."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import click

from .. import process
from ..bytecode import distrust
from ..errors import AccelError
from ..live.affected import key_of
from ..live.command import Keeper, Program, exit_code
from ..live.watcher import Changed, Done, Gone, Round, Started, Watcher, message
from ..logs import show_log
from ..progress import quiet
from .build import error_data
from .common import complain, counted, duration, enter_folder, is_terminal, near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from rich.console import RenderableType

    from ..live.affected import Key

    class View(Protocol):
        """Shows what happens."""

        def tell(self, event: object) -> None:
            """An event of the watcher's, or one of `_Program`."""

        def tick(self) -> None:
            """Time has passed."""

        def open(self) -> None:
            """It goes on after a `close`."""

        def close(self) -> None:
            """It is over."""


__all__ = ["watch"]

_GRACE = 5.0
_USAGE = 2


class _Words(click.Command):
    """Everything after ``--`` is another program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the program off before click sees it."""
        if "--" in args:
            at = args.index("--")
            ctx.obj = args[at + 1 :]
            if not ctx.obj:
                raise click.UsageError("after -- comes the command to run", ctx)
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(
    cls=_Words,
    short_help="Build on every change; restart a program after a good build.",
    options_metavar="[OPTIONS]",
    epilog="Everything after -- is the command, with its arguments.",
)
@click.argument("paths", nargs=-1, metavar="[PATH]... [-- COMMAND...]")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="How many builds at once (default: one for each core).")
@click.option("--root", metavar="DIR", help="The folder on sys.path from which the modules are imported.")
@click.option("--poll/--events", default=None, help="Look at the files, or trust in events (default: find out).")
@click.option("--grace", type=click.FloatRange(min=0), default=_GRACE, show_default=True, metavar="SECONDS",
              help="How long COMMAND may take to end before it is killed.")  # fmt: skip
@click.option("-i", "--interactive", is_flag=True, help="Give COMMAND the terminal: a debugger, a REPL. Ctrl-C is its.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr why something is built.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line for each event, on stdout.")
@click.pass_obj
def watch(
    command: list[str] | None,
    paths: tuple[str, ...],
    jobs: int | None,
    root: str | None,
    poll: bool | None,
    grace: float,
    interactive: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Build everything native in and below PATH (default: the current folder), and again what a change concerns.

    With a COMMAND, that is started when everything is built, and started again after each good build, and when a .py
    file has changed. It goes on running while something does not build.

    Ctrl-C ends it. Exit status: that of COMMAND; without one, 0 when everything was built at the end, else 1; 2 when
    there is no such path.
    """
    if verbose:
        show_log()
    quiet()
    enter_folder("filelock", "importlib.metadata", "rich.live", "rich.table", "shlex", "watchdog.observers")
    view: View
    if as_json:
        view = _Json()
    elif is_terminal() and command is None:
        view = _Live()
    else:
        view = _Plain(to_stderr=command is not None)
    session = _Session(view, command, grace, interactive=interactive, as_json=as_json)
    watcher = Watcher(paths or [os.getcwd()], root=root, jobs=jobs, poll=poll, told=session.put)
    return session.run(watcher)


class _Ended(BaseException):
    """A signal asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Session:
    """What the command line does with a watcher's events."""

    def __init__(
        self, view: View, command: Sequence[str] | None, grace: float, *, interactive: bool, as_json: bool
    ) -> None:
        self._view = view
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._keeper = Keeper(grace)
        self._program: Program | None = None
        if command is not None:
            self._program = Program(
                command,
                grace,
                self._keeper,
                self._program_ended,
                self._program_stopped,
                interactive=interactive,
                quiet_stdout=as_json,
            )
        self._interactive = interactive
        self._stale = True
        self._good = False
        #: changed since the program was started
        self._python: set[str] = set()

    def put(self, event: object) -> None:
        """An event, from any thread."""
        self._events.put(event)

    def _program_ended(self, program: Program, status: int) -> None:
        self.put(_Ran("ended", program.command, 0, status))

    def _program_stopped(self, program: Program, number: int) -> None:
        waits = number in (signal.SIGTTIN, signal.SIGTTOU)
        if waits and program.can_have_terminal:
            # It has read while this process was in the background.
            self.put(_CONTINUED)
        elif program.has_terminal:
            self.put(_SUSPENDED)
        elif waits:
            self.put(_Ran("stopped", program.command, program.number, None))

    def run(self, watcher: Watcher) -> int:
        """Until the user has enough; the exit status."""
        asked = signal.SIGINT
        for name, handler in (
            ("SIGTERM", _raise_ended),
            ("SIGHUP", _raise_ended),
            ("SIGTSTP", lambda *_: self.put(_SUSPENDED)),
            ("SIGCONT", self._continued),
        ):
            number = getattr(signal, name, None)
            # What whoever has started this has it ignore (nohup), it ignores.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
        try:
            watcher.start()
            self._view.tell(_Watching(len(watcher.sources), watcher.polling))
            self._loop(watcher)
        except (FileNotFoundError, AccelError) as error:
            self._view.close()
            complain(str(error))
            return _USAGE
        except KeyboardInterrupt:
            pass
        except _Ended as ended:
            asked = signal.Signals(ended.number)
        finally:
            # From here to the end, being asked again changes nothing.
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), signal.SIG_IGN)
            self._view.close()
            if self._program is not None:
                self._program.stop(signal.SIGTERM if self._interactive else asked)
            watcher.stop()
            self._keeper.close()
        if self._program is not None and self._program.status is not None:
            return exit_code(self._program.status)
        if asked != signal.SIGINT:
            return 128 + asked
        return 0 if self._good else 1

    def _continued(self, *_: object) -> None:
        """After a stop that nobody could see coming; or it is `fg` that has brought this process to the foreground."""
        if self._program is not None:
            self._program.lost_terminal()
        self.put(_CONTINUED)

    def _loop(self, watcher: Watcher) -> None:
        while not watcher.over.is_set():
            try:
                event = self._events.get(timeout=0.1 if watcher.busy else 5.0)
            except queue.Empty:
                self._view.tick()
                continue
            if event is _SUSPENDED:
                self._suspend()
                continue
            if event is _CONTINUED:
                if self._program is not None:
                    self._program.resume()
                continue
            if isinstance(event, Round):
                # Before anybody is told, who may end this at once and ask how it went.
                self._good = event.good
            self._view.tell(event)
            if isinstance(event, Round):
                self._stale = self._stale or bool(event.built or event.python)
                self._python.update(event.python)
                self._run_again(event)
            elif isinstance(event, _Ran) and self._interactive and event.status in (-signal.SIGINT, 130):
                return
        if watcher.problem is not None:
            raise watcher.problem

    def _suspend(self) -> None:
        """Stop as Ctrl-Z does, the program too, until the shell has us go on."""
        self._view.close()
        if self._program is not None:
            self._program.pause()
        woken = threading.Event()
        asked = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        before = signal.signal(signal.SIGCONT, lambda *_: woken.set())
        os.kill(0, signal.SIGTSTP)
        # Another thread may be the one that is told. Where there is no shell, nothing stops, and we go on.
        woken.wait(0.3)
        signal.signal(signal.SIGCONT, before)
        signal.signal(signal.SIGTSTP, asked)
        if self._program is not None:
            self._program.resume()
        self._view.open()

    def _run_again(self, event: Round) -> None:
        program = self._program
        if program is None:
            return
        if not event.good:
            self._view.tell(_Ran("kept" if program.running else "waiting", program.command, 0, None))
            return
        if not self._stale:
            return
        self._stale = False
        again = program.running
        program.stop()
        # After its end: it may just have written bytecode of what was changed since.
        for path in self._python:
            distrust(path)
        self._python.clear()
        try:
            program.start()
        except OSError as problem:
            raise click.ClickException(f"{program.command[0]} can't be started: {problem.strerror}") from None
        self._view.tell(_Ran("restarted" if again else "started", program.command, program.number, None))


#: Ctrl-Z, for this process or for the program.
_SUSPENDED = object()
#: Somebody has had this process go on.
_CONTINUED = object()


def _raise_ended(number: int, _: object) -> None:
    raise _Ended(number)


@dataclass(frozen=True, slots=True)
class _Watching:
    """The watcher has begun."""

    count: int
    polling: str


@dataclass(frozen=True, slots=True)
class _Ran:
    """The program was started, has ended, or has not been touched."""

    what: str
    command: Sequence[str]
    number: int
    status: int | None

    def __str__(self) -> str:
        shown = process.shown(self.command)
        return {
            "stopped": f"{shown} waits for the terminal; --interactive gives it that",
            "kept": "not restarted before everything builds",
            "waiting": f"not started before everything builds: {shown}",
            "ended": f"{shown} has ended with status {exit_code(self.status or 0)}; waiting for a change",
        }.get(self.what, f"{self.what} {shown}")


def _summary(event: Round, cached: int = 0) -> str:
    built = sum(artifact.built or not event.first for _, artifact in event.built)
    parts = [f"{built} built"] if built else []
    parts += [f"{cached} cached"] if cached else []
    parts += [f"{len(event.failed)} failed"] if event.failed else []
    if not parts and event.python:
        parts.append("changed")
    if not parts:
        parts.append("all is well again" if event.good and not event.first else "nothing new")
    return f"{', '.join(parts)} in {duration(event.seconds)}"


class _Plain:
    """A line for each event that matters."""

    def __init__(self, *, to_stderr: bool) -> None:
        self._err = to_stderr
        self._cached = 0

    def _say(self, text: str) -> None:
        click.echo(f"autoaccel: {text}" if self._err else text, err=self._err)
        if not self._err:
            sys.stdout.flush()

    def tell(self, event: object) -> None:
        if isinstance(event, _Watching):
            how = f" (looking at the files: {event.polling})" if event.polling else ""
            self._say(f"watching {counted(event.count, 'module')}{how}")
        elif isinstance(event, Changed):
            paths = [near(path) for path in event.paths]
            self._say(f"changed {', '.join(paths[:3])}{f' and {len(paths) - 3} more' if len(paths) > 3 else ''}")
        elif isinstance(event, Gone):
            self._say(f"gone {event.source.name}")
        elif isinstance(event, Done) and event.error is not None:
            self._say(click.style(f"failed {event.source.name}", fg="red"))
            if event.news:
                click.echo(f"\n{message(event.error)}\n", err=True)
        elif isinstance(event, Done) and event.artifact is not None:
            if event.artifact.built:
                self._say(click.style(f"built {event.source.name}", fg="green") + f" {duration(event.seconds)}")
            else:
                self._cached += 1
        elif isinstance(event, Round):
            self._say(_summary(event, self._cached if event.first else 0))
        elif isinstance(event, _Ran):
            self._say(str(event))

    def tick(self) -> None:
        pass

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Json:
    """A document for each event, for editors."""

    def tell(self, event: object) -> None:
        data = self._data(event)
        if data is not None:
            data["time"] = round(time.time(), 3)
            # ASCII: paths may be no text at all, and pipes of any encoding.
            click.echo(json.dumps(data))
            sys.stdout.flush()

    def _data(self, event: object) -> dict[str, Any] | None:
        if isinstance(event, _Watching):
            return {"event": "watching", "modules": event.count, "polling": event.polling or None}
        if isinstance(event, Changed):
            return {"event": "changed", "paths": list(event.paths)}
        if isinstance(event, Started):
            return {"event": "building", "name": event.source.name, "source": event.source.path}
        if isinstance(event, Gone):
            return {"event": "gone", "name": event.source.name, "source": event.source.path}
        if isinstance(event, Done):
            return self._done(event)
        if isinstance(event, Round):
            return {
                "event": "round",
                "built": [source.name for source, _ in event.built],
                "failed": [done.source.name for done in event.failed],
                "python": list(event.python),
                "seconds": round(event.seconds, 3),
            }
        if isinstance(event, _Ran):
            status = exit_code(event.status) if event.status is not None else None
            command = list(event.command)
            return {"event": "command", "state": event.what, "command": command, "pid": event.number or None, "status": status}  # fmt: skip  # noqa: E501
        return None

    def _done(self, event: Done) -> dict[str, Any]:
        word = _word(event)
        data: dict[str, Any] = {
            "event": word, "name": event.source.name, "source": event.source.path, "seconds": round(event.seconds, 3),
        }  # fmt: skip
        if event.error is not None:
            data["news"] = event.news
            data["error"] = error_data(event.error)
        elif event.artifact is not None:
            data["artifact"] = event.artifact.path
        return data

    def tick(self) -> None:
        pass

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


def _word(event: Done) -> str:
    if event.cancelled:
        return "cancelled"
    if event.error is not None:
        return "failed"
    return "built" if event.artifact is not None and event.artifact.built else "cached"


class _Live:
    """A table that changes in its place: modules, their state, seconds; below, the last error."""

    _COLOURS: ClassVar = {
        "failed": "red",
        "building": "yellow",
        "built": "green",
        "cached": "cyan",
        "cancelled": "yellow",
    }

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        #: module -> (state, when that began or how long it took, a number that orders)
        self._states: dict[Key, tuple[str, float, int]] = {}
        self._errors: dict[Key, Done] = {}
        self._last = "searching"
        self._polling = ""
        self._count = 0
        self._live = Live(console=self._console, auto_refresh=False, transient=False, vertical_overflow="crop")
        self._live.start()

    def tell(self, event: object) -> None:
        self._count += 1
        if isinstance(event, _Watching):
            self._polling = event.polling
            self._last = "building"
        elif isinstance(event, Changed):
            self._last = f"changed: {', '.join(near(path) for path in event.paths[:3])}{' …' * (len(event.paths) > 3)}"
        elif isinstance(event, Started):
            self._states[key_of(event.source)] = ("building", time.monotonic(), self._count)
        elif isinstance(event, Gone):
            self._states.pop(key_of(event.source), None)
            self._errors.pop(key_of(event.source), None)
        elif isinstance(event, Done):
            key = key_of(event.source)
            self._states[key] = (_word(event), event.seconds, self._count)
            if event.error is not None:
                self._errors[key] = event
            elif not event.cancelled:
                self._errors.pop(key, None)
        elif isinstance(event, Round):
            self._last = _summary(event)
        self.tick()

    def tick(self) -> None:
        self._live.update(self._picture(), refresh=True)

    def open(self) -> None:
        self._live.start()
        self.tick()

    def close(self) -> None:
        self._live.stop()

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        height = self._console.size.height
        order = {"failed": 0, "building": 1, "cancelled": 1}
        rows = sorted(self._states.items(), key=lambda row: (order.get(row[1][0], 2), -row[1][2]))
        room = max(3, (height - 4) // 2 if self._errors else height - 4)
        table = Table.grid(padding=(0, 2))
        for (name, path), (word, seconds, _) in rows[:room]:
            shown = time.monotonic() - seconds if word == "building" else seconds
            table.add_row(
                Text(word, self._COLOURS[word]), Text(name), Text(duration(shown), "dim"), Text(near(path), "dim")
            )
        words = [word for word, _, _ in self._states.values()]
        counts = [f"{words.count(word)} {word}" for word in self._COLOURS if word in words]
        parts: list[Any] = [table]
        if len(rows) > room:
            parts.append(Text(f"… and {len(rows) - room} more", "dim"))
        how = f" · looking at the files: {self._polling}" if self._polling else ""
        parts.append(Text(f"{', '.join(counts) or 'no modules'} · {self._last}{how} · Ctrl-C ends", "bold"))
        if self._errors:
            error = list(self._errors.values())[-1].error
            assert error is not None
            lines = message(error).splitlines()
            left = max(3, height - min(len(rows), room) - 4)
            parts.append(Text("\n".join(lines[:left]), "red" if self._console.no_color else ""))
        return Group(*parts)
