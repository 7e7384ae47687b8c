"""A watcher in a process of its own, driven by what it tells as JSON."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from tests.conftest import Project

Event = dict[str, Any]

#: Seconds after which something that was to happen counts as missing.
PATIENCE = 40.0


class Watching:
    """``autoaccel watch --json`` in a project."""

    def __init__(self, project: Project, *words: str, before: Sequence[str] = (), **env: str) -> None:
        # A fresh process group, as a terminal gives it.
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "autoaccel", "watch", "--json", *words],
            cwd=project.root,
            env=project.environ(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.events: list[Event] = []
        self.said: list[str] = []
        self._queue: queue.Queue[Event] = queue.Queue()
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._hear)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(json.loads(line))

    def _hear(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def until(self, wanted: Callable[[Event], bool] | str) -> list[Event]:
        """The events up to the first one that is wanted."""
        test = wanted if callable(wanted) else lambda event: event["event"] == wanted
        found: list[Event] = []
        end = time.monotonic() + PATIENCE
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{wanted} did not happen; there were {found}; {''.join(self.said)}") from None
            self.events.append(event)
            found.append(event)
            if test(event):
                return found

    def round(self) -> list[Event]:
        """The events up to the end of a round."""
        return self.until("round")

    def settled(self) -> list[Event]:
        """What else happens within a moment."""
        time.sleep(1.0)
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found

    def end(self, number: int = signal.SIGINT) -> int:
        """Have it end; its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=PATIENCE)
        for thread in self._threads:
            thread.join(timeout=PATIENCE)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        for thread in self._threads:
            thread.join(timeout=PATIENCE)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def names(events: list[Event], what: str) -> list[str]:
    """The modules that something has happened to."""
    return sorted(event["name"] for event in events if event["event"] == what)
