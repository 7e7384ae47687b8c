"""The compile server's process, started before the rooms that talk to it are imported: both take as long."""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
from importlib.machinery import PathFinder

from . import process

__all__ = ["start", "stay", "take"]

_SCRIPT = os.path.join(os.path.dirname(__file__), "toolchains", "cython_server.py")

#: A process that nobody has taken yet, and whose child it is.
_waiting: list[tuple[int, subprocess.Popen[bytes]]] = []


def start(toolchain: str) -> None:
    """A build is likely to follow: have a server ready if that takes one, and don't wait for it."""
    if toolchain == "cython" and not _waiting and PathFinder.find_spec("Cython") is not None:
        with contextlib.suppress(OSError):
            _waiting.append((os.getpid(), _started()))


#: More words for the server.
_words: list[str] = []


def stay() -> None:
    """From now on, a server lives as long as this process, and is ready for a first request as for a second."""
    _words[:] = ["--idle", "1000000", "--warm"]


def take() -> subprocess.Popen[bytes]:
    """The process that was started, or a new one; from now on the caller's to end."""
    while _waiting:
        owner, server = _waiting.pop()
        if owner == os.getpid() and server.poll() is None:
            return server
    return _started()


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _SCRIPT, *_words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process.environment(),
        cwd=os.sep,
        start_new_session=sys.platform != "win32",
    )


@atexit.register
def _dismiss() -> None:
    """End what was started for nothing."""
    for owner, server in _waiting:
        if owner == os.getpid():
            process.end(server)
