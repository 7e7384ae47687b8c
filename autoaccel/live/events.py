"""How changes of files become known: events of the system where they arrive, a look now and then everywhere."""

from __future__ import annotations

import errno
import logging
import os
import sys

from ..logs import log
from ..roots import SKIPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["Events", "silent_mount"]


#: Seconds between two looks at all files, where no events come, and where they do: no system tells of every change.
POLL = 0.4
RARELY = 2.0

#: File systems on which another machine, or the host of a container, changes files without the kernel's knowledge.
_SILENT = frozenset({
    "9p", "acfs", "afs", "afpfs", "ceph", "cifs", "davfs", "drvfs", "fakeowner", "gfs2", "glusterfs", "grpcfuse",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "osxfs", "prl_fs", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs",
    "vmhgfs", "webdav",
})  # fmt: skip

#: So many single folders get a thread and a handle of the system's each; further ones are looked at.
_MOST = 32


def silent_mount(path: str, table: str = "/proc/self/mountinfo") -> str | None:
    """The type of the file system that a path is on, if changes on it may come without an event; else None.

    Args:
        path: an absolute path.
        table: where Linux lists what is mounted; on other systems there is none, and nothing is known.
    """
    best, kind = "", ""
    below = os.path.realpath(path) + "/"
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                point = before.split(" ")[4].replace("\\040", " ")
                inside = point == "/" or below.startswith(point + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, after.split(" ")[0]
    except (OSError, IndexError):
        return None
    return kind if kind in _SILENT or kind.startswith("fuse.") else None


def _is_news(record: logging.LogRecord) -> bool:
    return "called when the thread is inactive" not in record.getMessage()


class Events:
    """Tells of paths that may have changed.

    Args:
        touched: is told a path, by some thread.
        poll: True: only look; False: trust in events; None: look where events do not arrive.
    """

    def __init__(self, touched: Callable[[str], None], poll: bool | None = None) -> None:
        self._touched = touched
        self._trusted = poll is False
        self._observer: Any = None
        self._followed: set[tuple[str, bool]] = set()
        #: why we look instead of listening; "" while we listen
        self.polling = "it was asked for" if poll else ""
        #: whether there was no folder too many
        self._complete = True
        self._heard = self._heard_before = 0
        self._suspected = False
        if not poll:
            self._listen()

    @property
    def complete(self) -> bool:
        """Whether every folder that is followed has events; else they have to be looked at."""
        return not self.polling and self._complete

    @property
    def interval(self) -> float:
        """Seconds after which to look at the files again."""
        return RARELY if self.complete else POLL

    def looked(self, found: bool) -> None:
        """Somebody has looked: changes that he has found and no event told of mean that none will."""
        silent = self._heard == self._heard_before
        self._heard_before = self._heard
        if self._suspected and silent:
            self._give_up("files change without an event")
        self._suspected = found and silent and self._complete and not self._trusted

    def stop(self) -> None:
        """End all threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=2)

    def follow(self, tops: Iterable[str], folders: Iterable[str]) -> None:
        """Have events of all that is below some folders, and of what is in some others.

        Args:
            tops: looked at with everything below, except where no sources are.
            folders: looked at by themselves.
        """
        if self._observer is None:
            return
        wanted: dict[tuple[str, bool], None] = {}
        for top in tops:
            wanted[top, False] = None
            # Not the top as a whole: a virtual environment or .git in it would take thousands of the system's handles.
            for name in _names(top):
                inside = os.path.join(top, name)
                if name not in SKIPPED and not name.startswith(".") and os.path.isdir(inside):
                    wanted[inside, True] = None
        below = tuple(folder + os.sep for folder, deep in wanted if deep)
        for folder in sorted(folders):
            if not (folder + os.sep).startswith(below) and (folder, False) not in wanted and os.path.isdir(folder):
                wanted[folder, False] = None
        for one in wanted:
            if one not in self._followed:
                self._schedule(*one)

    def _schedule(self, folder: str, deep: bool) -> None:
        kind = None if self._trusted else silent_mount(folder)
        if kind is not None:
            self._give_up(f"{folder} is on {kind}")
        elif len(self._followed) >= _MOST:
            self._complete = False
        else:
            try:
                self._observer.schedule(self._handler, folder, recursive=deep)
                self._followed.add((folder, deep))
            except OSError as problem:
                if os.path.isdir(folder):
                    self._give_up(f"the system gives no events of {folder} ({_shown(problem)})")

    def _give_up(self, reason: str) -> None:
        if not self.polling:
            self.polling = reason
            log.info("files are looked at every %.1f s: %s", POLL, reason)

    def _listen(self) -> None:
        try:
            from watchdog.events import FileSystemEventHandler
            from watchdog.observers import Observer
        except ImportError:
            self._give_up("watchdog is not installed (pip install 'autoaccel[watch]')")
            return
        # When it is stopped, its thread may say as an error that it has been.
        logging.getLogger("watchdog.observers.inotify").addFilter(_is_news)
        events = self

        class Handler(FileSystemEventHandler):
            """Hands on what is a change."""

            def on_any_event(self, event: Any) -> None:
                events.heard(event)

        self._handler = Handler()
        try:
            observer = Observer()
            observer.start()
        except (OSError, RuntimeError) as problem:  # too many of them on this machine, or too many threads
            self._give_up(f"the system gives no events ({_shown(problem)})")
        else:
            self._observer = observer

    def heard(self, event: Any) -> None:
        """An event of watchdog's."""
        if event.event_type in ("opened", "closed_no_write") or (event.is_directory and event.event_type == "modified"):
            return
        self._heard += 1
        for path in (event.src_path, getattr(event, "dest_path", "")):
            if path:
                self._touched(os.fsdecode(path))


def _shown(problem: Exception) -> str:
    """What keeps events from us, and what to do about it."""
    number = getattr(problem, "errno", None) if sys.platform == "linux" else None
    limit = {errno.ENOSPC: "max_user_watches", errno.EMFILE: "max_user_instances"}.get(number or 0)
    return f"{problem}; sysctl fs.inotify.{limit} sets how many" if limit else str(problem)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
