"""The compile server's process, started before the rooms that talk to it are imported: both take as long."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder

from . import BUCKET, process
from .location import preferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["foresee", "places", "start", "stay", "take", "tell"]

#: So many are looked at for a source.
_FILES = 5000

_SCRIPT = os.path.join(os.path.dirname(__file__), "toolchains", "cython_server.py")

#: As a script, but compiled already. Its folder must not be searched: modules in there have names of others.
_RUN = """import sys
from importlib.machinery import SourceFileLoader
module = type(sys)("cython_server")
sys.modules[module.__name__] = module
module.__file__ = sys.argv[1]
del sys.argv[0]
SourceFileLoader(module.__name__, module.__file__).exec_module(module)
module.main()
"""

#: A process that nobody has taken yet, and whose child it is.
_waiting: list[tuple[int, subprocess.Popen[bytes]]] = []


def start(toolchain: str) -> None:
    """A build is likely to follow: have a server ready if that takes one, and don't wait for it."""
    if toolchain == "cython" and not _waiting and PathFinder.find_spec("Cython") is not None:
        with contextlib.suppress(OSError):
            server = _started()
            _waiting.append((os.getpid(), server))
            # It loads Cython as soon as it knows from where.
            tell(server, {"sys_path": places()})


def foresee(paths: list[str]) -> None:
    """A build of ``paths`` is about to begin, and rooms are still to be imported: start where nothing is built yet."""
    if not os.path.isdir(f"{preferred()}/{BUCKET}/artifacts"):
        files = itertools.islice(_files(paths or [os.curdir]), _FILES)
        if any(file.endswith(".pyx") for file in files):
            start("cython")


def _files(paths: list[str]) -> Iterator[str]:
    for path in paths:
        yield path
        for _, folders, files in os.walk(path):
            yield from files
            folders[:] = [name for name in folders if not name.startswith(".")]


#: More words for the server.
_words: list[str] = []


def stay() -> None:
    """From now on, a server lives as long as this process, and is ready for a first request as for a second."""
    _words[:] = ["--idle", "1000000", "--warm"]


def places() -> list[str]:
    """Where this process imports from, as another one would name it."""
    return [os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path]


def tell(server: subprocess.Popen[bytes], message: object) -> None:
    """Send a message to a server.

    Past the buffer of the pipe's object: what is in there when another thread forks is sent by both processes.

    Raises:
        OSError: it has ended, or was told to.
    """
    if server.stdin is None or server.stdin.closed:
        raise BrokenPipeError
    rest = json.dumps(message).encode() + b"\n"
    while rest:
        rest = rest[os.write(server.stdin.fileno(), rest) :]


def take() -> subprocess.Popen[bytes]:
    """The process that was started, or a new one; from now on the caller's to end."""
    while _waiting:
        owner, server = _waiting.pop()
        if owner == os.getpid() and server.poll() is None:
            return server
    return _started()


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _RUN, _SCRIPT, *_words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process.environment(),
        cwd=os.sep,
        start_new_session=sys.platform != "win32",
    )


def _forked() -> None:
    """A child's end of a pipe would keep its parent's server."""
    for _, server in _waiting:
        assert server.stdin is not None
        server.stdin.close()
        # Nobody here waits for it, and Python need not complain of that.
        server.returncode = 0
    _waiting.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@atexit.register
def _dismiss() -> None:
    """End what was started for nothing."""
    for owner, server in _waiting:
        if owner == os.getpid():
            process.end(server)
