"""The dev loop in a process: native modules are built in the background, and swapped when the program says so."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from .. import loaded
from ..finder import entries
from ..loader import is_native, source_of
from ..logs import log
from . import swap
from .swap import reload_dependents
from .watcher import Done, Round, Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from ..errors import AccelError
    from ..plan import Artifact
    from ..sources import Source

__all__ = ["Round", "Watch", "imported", "reload_dependents", "sync", "watch"]


class Watch:
    """Watches the native modules of this process; made by `autoaccel.watch`. A context manager: its end is `stop`."""

    def __init__(
        self,
        paths: tuple[str, ...],
        callback: Callable[[Round], object] | None,
        *,
        root: str | None,
        jobs: int | None,
        poll: bool | None,
        told: Callable[[object], None] | None = None,
    ) -> None:
        self._callback = callback
        self._listener = told
        self._guard = threading.RLock()
        self._owner = os.getpid()
        #: full name -> the module, and the library to be loaded for it
        self._ready: dict[str, tuple[Source, Artifact]] = {}
        self._python: set[str] = set()
        self._failed: tuple[Done, ...] = ()
        self._untold: list[Done] = []
        #: whether what is ready has raised an error already
        self._refused = False
        # As an import would.
        mode = next((one.mode for one in entries()), "build")
        self.watcher = Watcher(
            paths, root=root, jobs=jobs, poll=poll, told=self._tell, more=imported, also=swap.jitted_files, mode=mode
        )

    def start(self) -> None:
        """Begin; from here on the callback may be called."""
        self.watcher.start()
        atexit.register(self.stop)

    def _tell(self, event: object) -> None:
        if self._listener is not None:
            self._listener(event)
        if not isinstance(event, Round):
            return
        with self._guard:
            self._ready.update({source.name: (source, artifact) for source, artifact in event.built})
            self._python.update(event.python)
            self._untold += [done for done in event.failed if done.news and done not in self._failed]
            self._failed = event.failed
            self._refused = self._refused and not (event.built or event.python)
        if self._callback is not None:
            try:
                self._callback(event)
            except Exception:
                log.exception("the callback of autoaccel.watch() has failed")

    def sync(self, wait: float | None = 0.0) -> tuple[str, ...]:
        """Put the new code of all modules that have some into them, all or none; see `autoaccel.sync`."""
        if self._owner != os.getpid():
            return ()  # the threads stayed in the parent
        if wait != 0.0 and threading.current_thread() is not self.watcher.thread:
            self.watcher.settle(wait)
        with self._guard:
            failed = [done for done in self._failed if done.source.name in sys.modules]
            if failed:
                # Modules that were changed together go together.
                untold = [done.error for done in self._untold if done in failed and done.error is not None]
                self._untold.clear()
                if untold:
                    raise untold[0]
                return ()
            self._untold.clear()
            if self._refused:
                return ()
            ready = {name: pair for name, pair in self._ready.items() if name in sys.modules}
            # Also for a module that calls this when it starts.
            self._refused = True
            try:
                names = swap.swap(ready, self._python)
            except BaseException as problem:
                # What no module has raised, Ctrl-C say, refuses nothing.
                self._refused = isinstance(problem, Exception)
                raise
            self._refused = False
            self._ready.clear()
            self._python.clear()
        return names

    @property
    def errors(self) -> tuple[AccelError, ...]:
        """What is wrong with the sources as they are."""
        with self._guard:
            return tuple(done.error for done in self._failed if done.error is not None)

    def stop(self) -> None:
        """Watch no more; what is being built is given up."""
        global _current
        if self._owner == os.getpid():
            self.watcher.stop()
            atexit.unregister(self.stop)
        if _current is self:
            _current = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


_current: Watch | None = None


def watch(
    *paths: str | os.PathLike[str],
    callback: Callable[[Round], object] | None = None,
    root: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    poll: bool | None = None,
) -> Watch:
    """Build native modules in the background when a file changes that they are made from.

    Nothing is swapped before `autoaccel.sync` is called. A second call takes the place of the first. Where imports
    never compile (``AUTOACCEL=load``), neither does it.

    Args:
        paths: files and folders of which every native source is built; without any, the modules that this process has
            imported, or imports later.
        callback: called by the watcher's thread when everything that a burst of changes concerns is built, with a
            `Round`; it may call `autoaccel.sync`.
        root: the folder on ``sys.path`` that the modules below ``paths`` are imported from, if it is not found out.
        jobs: how many builds at once; None: one for each core.
        poll: True: look at the files, for file systems that give no events; False: trust in events; None: find out.

    Returns:
        What ends it: ``stop()``, or the end of a ``with`` block.

    Raises:
        FileNotFoundError: a path does not exist.
        AccelError: a path is a file and no native source.
    """
    global _current
    if _current is not None:
        _current.stop()
    made = _current = Watch(
        tuple(os.fspath(path) for path in paths),
        callback,
        root=os.fspath(root) if root is not None else None,
        jobs=jobs,
        poll=poll,
    )
    try:
        made.start()
    except BaseException:
        _current = None
        raise
    return made


def sync(wait: float | None = 0.0) -> tuple[str, ...]:
    """Put the new code of watched modules into the modules of this process, all of it or none.

    Args:
        wait: seconds to wait for the builds of what has been saved up to now; None: until they are done.

    Returns:
        The names of the modules with new code; none where nothing has changed, or something is broken.

    Raises:
        BuildError: a changed source does not compile; the old code stays. Raised once for each failure, as is what the
            new code of a module raises when it starts.
        RuntimeError: `autoaccel.watch` was not called.
    """
    if _current is None:
        raise RuntimeError("nothing is watched: call autoaccel.watch() first")
    return _current.sync(wait)


def imported() -> Iterator[tuple[Source, str]]:
    """The native modules of this process, and the library that each of them has its content from."""
    for name, artifact in list(loaded.items()):
        loader = getattr(getattr(sys.modules.get(name), "__spec__", None), "loader", None)
        if is_native(loader):
            yield source_of(loader), artifact
