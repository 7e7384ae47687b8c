"""Locks between processes. They save work and decide nothing: who can't have one goes on without."""

from __future__ import annotations

import contextlib
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["held"]

#: Seconds after which somebody who waits is told so.
_SILENT = 5.0


@contextlib.contextmanager
def held(path: str, timeout: float, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the lock in the file ``path``; False where it can't be had.

    Args:
        path: never removed while anybody may use it.
        timeout: seconds to wait for another holder; 0 tries once.
        waiting: called once, when the wait takes long.
    """
    import filelock

    # A soft lock would outlive a killed holder; where the system has no locks, we go without (NotImplementedError).
    lock = filelock.FileLock(path, mode=0o600, fallback_to_soft=False)
    end = time.monotonic() + timeout
    ours = False
    while not ours:
        left = max(0.0, end - time.monotonic())
        try:
            lock.acquire(timeout=min(_SILENT, left), poll_interval=0.02)
            ours = True
        except filelock.Timeout:
            if waiting is not None and timeout:
                waiting()
                waiting = None
            if time.monotonic() >= end:
                break
        except (OSError, NotImplementedError):
            break
    try:
        yield ours
    finally:
        if ours:
            lock.release()
