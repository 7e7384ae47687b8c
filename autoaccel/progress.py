"""What a terminal shows of builds: a quiet line while one takes longer than a second."""

from __future__ import annotations

import contextlib
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["line", "quiet", "tell"]

_FIRST = 1.0
_EVERY = 0.5

_silenced = False

#: Thread -> what its build is at.
_details: dict[int, str] = {}


def tell(detail: str, builder: int) -> None:
    """Have the line of this thread's build say what it is at."""
    _details[builder] = detail


def quiet() -> None:
    """No lines from now on: somebody else draws on the terminal."""
    global _silenced
    _silenced = True


@contextlib.contextmanager
def line(name: str) -> Iterator[None]:
    """Tell that ``name`` is being built, if it takes long enough and someone looks at stderr."""
    stream = sys.stderr
    if _silenced or stream is None or not _terminal(stream):
        yield
        return
    over = threading.Event()
    builder = threading.get_ident()
    started = time.monotonic()

    def draw() -> None:
        told = False
        wait = _FIRST
        while not over.wait(wait):
            wait, told = _EVERY, True
            detail = f" ({_details[builder]})" if builder in _details else ""
            stream.write(
                f"\r\x1b[2mautoaccel: building {name}{detail} … {time.monotonic() - started:.0f} s\x1b[0m\x1b[K"
            )
            stream.flush()
        if told:
            stream.write("\r\x1b[K")
            stream.flush()

    teller = threading.Thread(target=draw, name="autoaccel-progress", daemon=True)
    try:
        teller.start()
    except RuntimeError:
        # Sub-interpreters allow no daemon threads; they build in silence.
        yield
        return
    try:
        yield
    finally:
        over.set()
        teller.join()
        _details.pop(builder, None)


def _terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError, OSError):
        return False
