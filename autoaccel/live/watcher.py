"""The loop: changed files in, rounds of builds out. One thread decides, others build, others hear of changes."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from dataclasses import dataclass

from .. import CRATE_SOURCES, SUFFIXES, early, errors, pipeline, process, settings
from ..ahead import folders_below, source_at, sources_below
from ..logs import log
from ..roots import SKIPPED
from ..store import open_store
from ..toolchains import TOOLCHAINS
from .affected import Dependents, key_of
from .events import Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..plan import Artifact
    from ..sources import Source
    from ..staleness import Identity
    from .affected import Key

__all__ = ["Changed", "Done", "Gone", "Round", "Started", "Watcher", "message"]


#: Seconds without a further change after which one is taken; more where several files change at once.
QUIET = 0.02
BURST = 0.15
#: However it goes on, after so many seconds work begins.
PATIENCE = 2.0

#: A look is followed by a pause of so many times the processor time that it took.
_SHARE = 150

#: A build whose inputs change under its hands is made again, so many times.
_TRIES = 5

#: Names that decide what is a module of whose name.
_DECIDING = frozenset(
    {"pyproject.toml", "setup.py", "__init__.py", "__init__.pyx", *(name for name, _ in CRATE_SOURCES)}
)
_SUFFIXES = tuple(suffix for suffix, _, _ in SUFFIXES)


@dataclass(frozen=True, slots=True)
class Changed:
    """Files are not what they were."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The build of a module has begun."""

    source: Source


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a module.

    Attributes:
        source: the module.
        artifact: what is to be loaded now; None where there is none.
        error: why it did not build.
        news: whether that is something else than before: other code, or another error.
        cancelled: a change came in between; it is built again.
        seconds: how long it took.
    """

    source: Source
    artifact: Artifact | None
    error: errors.AccelError | None
    news: bool
    cancelled: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Gone:
    """A module has no source any more."""

    source: Source


@dataclass(frozen=True, slots=True)
class Round:
    """All that a burst of changes has led to.

    Attributes:
        built: modules with new code, and where that is.
        failed: what is wrong now, with these modules and with others, in the order of their paths.
        python: changed ``.py`` files.
        seconds: from the first change to the last build.
        first: whether this is the round of the start.
    """

    built: tuple[tuple[Source, Artifact], ...]
    failed: tuple[Done, ...]
    python: tuple[str, ...]
    seconds: float
    first: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing is broken."""
        return not self.failed


class Watcher:
    """Builds what is below some folders, and again what a change concerns.

    Args:
        paths: files and folders; none: only the modules that `more` gives.
        root: the folder that modules are imported from, if it is not found out.
        jobs: how many builds at once; None: one for each core.
        poll: see `events.Events`.
        told: is told every event, by the watcher's own thread.
        more: further modules and what is loaded of each, asked now and then.
        also: further ``.py`` files and what they were when they were run, asked now and then.
        mode: as the hook's; ``"load"`` never compiles.
    """

    def __init__(
        self,
        paths: Sequence[str] = (),
        *,
        root: str | None = None,
        jobs: int | None = None,
        poll: bool | None = None,
        told: Callable[[object], None] | None = None,
        more: Callable[[], Iterable[tuple[Source, str]]] = tuple,
        also: Callable[[], Mapping[str, Identity | None]] = dict,
        mode: str = "build",
    ) -> None:
        self.paths = tuple(os.path.abspath(path) for path in paths)
        self._root = root
        self._told = told or _ignore
        self._more = more
        self._also = also
        self._mode = mode
        self._poll = poll
        self._jobs = jobs or settings.jobs()
        self._messages: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
        self._known = Dependents()
        self._sources: dict[Key, Source] = {}
        self._below: set[Key] = set()
        self._waiting: dict[Key, None] = {}
        self._running: dict[Key, process.Scope] = {}
        self._again: dict[Key, int] = {}
        #: module -> its last artifact, and its last failure
        self._artifacts: dict[Key, Artifact] = {}
        self._failures: dict[Key, Done] = {}
        #: what this round has given so far
        self._built: dict[Key, Artifact] = {}
        self._python: set[str] = set()
        self._news = False
        self._began = 0.0
        self._first = True
        #: paths that may have changed, since when, and the last time that one came
        self._touched: set[str] = set()
        self._since = self._latest = 0.0
        self._waiters: list[threading.Event] = []
        self._look_at = 0.0
        self._events: Events | None = None
        #: whether every folder is looked at
        self._looks = False
        #: daemons, other than those of a pool: a process that ends does not wait for what is being built
        self._builders: set[threading.Thread] = set()
        self.thread = threading.Thread(target=self._run, name="autoaccel-watch", daemon=True)
        #: set when the watcher has ended, and what has ended it
        self.over = threading.Event()
        self.problem: BaseException | None = None

    # for other threads

    def start(self) -> None:
        """Look for modules, and begin to build them.

        Raises:
            FileNotFoundError: a path does not exist.
            AccelError: a path is a file and no source.
        """
        self._events = Events(lambda path: self._messages.put(("touched", path)), self._poll)
        try:
            # First: what comes during the search is told.
            self._follow_all()
            found = list(sources_below(self.paths, self._root)) if self.paths else []
        except BaseException:
            self._events.stop()
            raise
        early.stay()
        self._began = time.monotonic()
        for source in found:
            self._add(source)
            self._below.add(key_of(source))
        self._adopt()
        self._follow()
        self.thread.start()

    def stop(self) -> None:
        """End: what is being built is given up."""
        self._messages.put(("stop",))
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join(timeout=30)

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until everything that has changed up to now is built; whether it is."""
        done = threading.Event()
        self._messages.put(("settle", done))
        ended = time.monotonic() + (float("inf") if timeout is None else timeout)
        # In slices: on some systems a wait without an end can't be interrupted by Ctrl-C.
        while not done.wait(min(0.5, max(0.0, ended - time.monotonic()))):
            if self.over.is_set() or time.monotonic() >= ended:
                return False
        return True

    @property
    def sources(self) -> list[Source]:
        """The modules that are watched."""
        return list(self._sources.values())

    @property
    def polling(self) -> str:
        """Why files are looked at, and no events listened to; ``""`` where they are."""
        return self._events.polling if self._events is not None else ""

    @property
    def busy(self) -> bool:
        """Whether something is waiting or being built."""
        return bool(self._waiting or self._running or self._touched)

    # the watcher's own thread

    def _run(self) -> None:
        try:
            self._look_at = time.monotonic() + 0.5
            self._dispatch()
            while self._turn():
                pass
        except BaseException as problem:
            self.problem = problem
            log.exception("the watcher has ended")
        finally:
            self._end()

    def _turn(self) -> bool:
        """Wait for one thing to happen, and do what follows from it; whether to go on."""
        try:
            message = self._messages.get(timeout=max(0.0, self._next() - time.monotonic()))
        except queue.Empty:
            message = ("time",)
        kind, *values = message
        if kind == "stop":
            return False
        if kind == "touched":
            self._touch(str(values[0]))
        elif kind == "done":
            self._finish(*values)  # type: ignore[arg-type]
        elif kind == "settle":
            # Without waiting for events, or for a pause.
            self._adopt()
            self._look()
            self._take()
            self._waiters.append(values[0])  # type: ignore[arg-type]
        now = time.monotonic()
        if now >= self._look_at:
            self._look()
        if self._touched and now >= self._due():
            self._take()
        self._dispatch()
        return True

    def _next(self) -> float:
        return min(self._look_at, self._due()) if self._touched else self._look_at

    def _due(self) -> float:
        """When what has changed is to be taken."""
        quiet = QUIET if len(self._touched) < 2 else BURST
        return min(self._latest + quiet, self._since + PATIENCE)

    def _touch(self, path: str) -> None:
        if not self._concerns(path):
            return
        self._latest = time.monotonic()
        if not self._touched:
            self._since = self._latest
        self._touched.add(path)

    def _concerns(self, path: str) -> bool:
        """Whether a path may be of interest: most that is written is not."""
        if self._known.knows(path):
            return True
        top = self._top_of(path)
        if top is None:
            return False
        parts = path[len(top) + 1 :].split(os.sep)
        if any(part in SKIPPED or part.startswith(".") for part in parts):
            return False
        name = parts[-1]
        if self._known.doubtful:
            return True
        # A folder that comes or goes may be full of sources.
        return name in _DECIDING or name.endswith((*_SUFFIXES, ".py")) or ("." not in name and not os.path.isfile(path))

    def _top_of(self, path: str) -> str | None:
        """The watched folder that a path is below."""
        return next((one for one in self.paths if path.startswith(one + os.sep)), None)

    def _look(self) -> None:
        """See which files have changed that no event has told of."""
        assert self._events is not None
        before = time.thread_time()
        self._adopt()
        if not self._looks and not self._events.complete:
            # What has come up to now, no event has told of.
            self._search_all()
        found = [path for path in self._known.look() if self._concerns(path)]
        for path in found:
            self._touch(path)
        self._events.looked(bool(found))
        self._prepare()
        # However many files there are, looking at them takes less than a hundredth of a processor.
        pause = max(self._events.interval, _SHARE * (time.thread_time() - before))
        self._look_at = time.monotonic() + pause

    def _prepare(self) -> None:
        """Have ready what has been killed in between, or was never needed."""
        if self._mode == "load":
            return
        for toolchain in dict.fromkeys(source.toolchain for source in self._sources.values()):
            TOOLCHAINS[toolchain].prepare()

    def _take(self) -> None:
        """Find out whom the touched files concern."""
        paths, self._touched = self._touched, set()
        changed, keys = self._known.affected(paths)
        if not changed:
            return
        if not self._round_is_open():
            self._began = self._since
        appeared = self._search(changed)
        native = {source.path for source in self._sources.values()}
        python = {path for path in changed - native if path.endswith(".py") and os.path.isfile(path)}
        self._python |= python
        keys = {key for key in keys if key in self._sources} | appeared
        if keys or python:
            # Also what is gone; a folder only where it is all that there is to tell.
            shown = [
                path for path in changed if path in python or (self._known.knows(path) and not os.path.isdir(path))
            ]
            self._told(Changed(tuple(sorted(shown or changed))))
        for key in keys:
            self._want(key)

    def _round_is_open(self) -> bool:
        return bool(self._waiting or self._running or self._built or self._python)

    def _search(self, changed: set[str]) -> set[Key]:
        """Find sources that have come and gone; those that have come."""
        if not self.paths:
            for source in list(self._sources.values()):
                if not os.path.exists(source.path):
                    self._drop(source)
            return set()
        paths = {source.path for source in self._sources.values()}
        again = any(
            os.path.basename(path) in _DECIDING
            or (path in paths and not os.path.exists(path))
            or (path not in paths and os.path.isdir(path) and not self._known.knows(path))
            for path in changed
        ) or any(not os.path.isdir(os.path.dirname(path)) for path in paths)
        if again:
            return self._search_all()
        found: set[Key] = set()
        for path in changed - paths:
            top = self._top_of(path)
            if not path.endswith(_SUFFIXES) or not os.path.isfile(path) or top is None:
                continue
            try:
                come = source_at(path, top, self._root)
            except (errors.AccelError, OSError):
                continue
            if come is not None:
                self._below.add(key_of(come))
                found |= {key_of(come)} if self._add(come) else set()
        if found:
            self._follow()
        return found

    def _search_all(self) -> set[Key]:
        # First: what comes into a new folder from now on is told.
        self._follow_all()
        now: dict[Key, Source] = {}
        for top in self.paths:
            try:
                found = list(sources_below([top], self._root, silent=True))
            except (errors.AccelError, OSError) as problem:
                # A folder that is being replaced, whose next change comes soon, or one that is gone.
                log.info("the search for sources broke off: %s", problem)
                inside = (self._sources[key] for key in self._below if key in self._sources)
                found = [source for source in inside if (source.path + os.sep).startswith(top + os.sep)]
            known = {path for _, path in now}
            now.update((key_of(source), source) for source in found if source.path not in known)
        for key in self._below - now.keys():
            if key in self._sources:
                self._drop(self._sources[key])
        self._below = set(now)
        new = {key for key, source in now.items() if self._add(source)}
        self._follow()
        return new

    def _adopt(self) -> None:
        """Take in what has been imported since."""
        found = [pair for pair in self._more() if self._add(pair[0], want=False)]
        if self._known.also(self._also()) or found:
            self._follow()
            for source, artifact in found:
                if self._known.learn(source, loaded=artifact):
                    self._want(key_of(source))

    def _add(self, source: Source, *, want: bool = True) -> bool:
        key = key_of(source)
        if key in self._sources:
            return False
        self._sources[key] = source
        if want:
            self._known.learn(source)
            self._want(key)
        return True

    def _drop(self, source: Source) -> None:
        key = key_of(source)
        self._sources.pop(key, None)
        self._known.forget(key)
        self._waiting.pop(key, None)
        # What was broken is no more.
        self._news = self._news or key in self._failures
        self._failures.pop(key, None)
        self._artifacts.pop(key, None)
        if key in self._running:
            self._running[key].cancel()
        self._told(Gone(source))

    def _follow(self) -> None:
        assert self._events is not None
        folders = {os.path.dirname(path) for path in self._known.files()}
        tops = [path for path in self.paths if os.path.isdir(path)]
        near = {folder for folder in folders if not _foreign(folder)}
        self._events.follow(tops, near)
        self._known.notice([*tops, *near])

    def _follow_all(self) -> None:
        """Follow also the folders in which no source is yet, where no event would tell of one."""
        assert self._events is not None
        self._follow()
        self._looks = not self._events.complete
        if self._looks:
            for top in filter(os.path.isdir, self.paths):
                self._known.notice(folder for folder, _ in folders_below(top))

    def _want(self, key: Key) -> None:
        """Have a module built, again if it is being built."""
        if key in self._running:
            self._running[key].cancel()
        self._waiting[key] = None

    def _dispatch(self) -> None:
        """Begin as many builds as there is room for; tell when the last one is over."""
        for key in list(self._waiting):
            if len(self._running) >= self._jobs:
                break
            if key in self._running:
                continue  # it is on its way out
            del self._waiting[key]
            source = self._sources[key]
            scope = self._running[key] = process.Scope()
            self._told(Started(source))
            builder = threading.Thread(
                target=self._build, args=(source, scope), name=f"autoaccel-build-{source.name}", daemon=True
            )
            self._builders.add(builder)
            builder.start()
        if not self._running and not self._waiting and not self._touched:
            if self._built or self._python or self._first or self._news:
                self._close_round()
            for waiter in self._waiters:
                waiter.set()
            self._waiters.clear()

    def _close_round(self) -> None:
        built = tuple((self._sources[key], artifact) for key, artifact in self._built.items() if key in self._sources)
        failed = tuple(self._failures[key] for key in sorted(self._failures, key=lambda key: key[1]))
        seconds = time.monotonic() - self._began
        python = tuple(sorted(self._python))
        first, self._first, self._news = self._first, False, False
        self._built.clear()
        self._python.clear()
        self._prepare()
        self._told(Round(built, failed, python, seconds, first))

    def _build(self, source: Source, scope: process.Scope) -> None:
        """In a thread of the pool."""
        started = time.monotonic()
        artifact: Artifact | None = None
        error: errors.AccelError | None = None
        try:
            with scope:
                artifact = pipeline.obtain(source, mode=self._mode)
        except errors.AccelError as problem:
            error = problem.with_traceback(None)
        except KeyboardInterrupt:
            pass
        except Exception as problem:  # noqa: BLE001  (a source that goes while it is read, a full disk)
            error = errors.broke_off(source.name, source.path, f"{type(problem).__name__}: {problem}")
        self._messages.put(("done", source, scope, artifact, error, time.monotonic() - started))
        self._builders.discard(threading.current_thread())

    def _finish(
        self,
        source: Source,
        scope: process.Scope,
        artifact: Artifact | None,
        error: errors.AccelError | None,
        seconds: float,
    ) -> None:
        key = key_of(source)
        self._running.pop(key, None)
        if key not in self._sources:
            return
        if scope.cancelled or (artifact is None and error is None):
            self._told(Done(source, None, None, news=False, cancelled=True, seconds=seconds))
            self._waiting[key] = None
            return
        if artifact is not None and not artifact.key and self._again.get(key, 0) < _TRIES and not open_store().private:
            # An input has changed under the compiler's hands.
            self._again[key] = self._again.get(key, 0) + 1
            self._told(Done(source, None, None, news=False, cancelled=True, seconds=seconds))
            self._waiting[key] = None
            return
        self._again.pop(key, None)
        before, failure = self._artifacts.get(key), self._failures.pop(key, None)
        if artifact is not None:
            news = before is None or before.path != artifact.path
            done = Done(source, artifact, None, news or failure is not None, cancelled=False, seconds=seconds)
            self._artifacts[key] = artifact
            if news:
                self._built[key] = artifact
        else:
            assert error is not None
            news = failure is None or failure.error is None or message(failure.error) != message(error)
            done = Done(source, None, error, news, cancelled=False, seconds=seconds)
            self._failures[key] = done
        self._news = self._news or done.news
        self._told(done)
        if self._known.learn(source, error):
            self._want(key)
        if self._first is False or not self._waiting:
            self._follow()

    def _end(self) -> None:
        for scope in list(self._running.values()):
            scope.cancel()
        if self._events is not None:
            self._events.stop()
        for builder in list(self._builders):
            builder.join(timeout=10)
        self.over.set()
        for waiter in self._waiters:
            waiter.set()


def _ignore(_: object) -> None:
    """Nobody listens."""


def message(error: errors.AccelError) -> str:
    """What an error says, whether it was remembered or not: who watches need not force anything."""
    return error.msg.partition("\n\n(remembered:")[0].strip()


def _foreign(folder: str) -> bool:
    """Whether package managers change what is in a folder, and nobody else."""
    return folder.startswith((sys.base_prefix + os.sep, "/usr/")) or "site-packages" in folder.split(os.sep)
