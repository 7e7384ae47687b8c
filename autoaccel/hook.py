"""Putting the hook in and taking it out."""

from __future__ import annotations

import os
import sys

from .directories import attach, begin, new_finder
from .finder import ImportLock, entries, release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import NoReturn, Self

    from ._typing import AccelFinder

__all__ = ["Handle", "install", "uninstall"]

_MODES = ("build", "load", "check")

#: What was installed and not taken out again, the latest last; only the last one is on ``sys.meta_path``.
_stack: list[AccelFinder] = []


class Handle:
    """An installed hook; ``uninstall()`` takes it out, and so does the end of a ``with`` block."""

    def __init__(self, finder: AccelFinder) -> None:
        self.finder = finder

    def uninstall(self) -> None:
        """Take this hook out; modules that it loaded stay. The one that it replaced comes back. Twice is once."""
        with _Change() as change:
            if self.finder in _stack:
                _stack.remove(self.finder)
                change.activate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()


def install(
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    pure_python: Sequence[str] = (),
    mode: str | None = None,
) -> Handle:
    """Put the hook in, in the place of the one that is there.

    Args:
        include: top-level names outside of the user's own roots (packages in site-packages) to look at all the same.
        exclude: patterns (``fnmatch``) of full module names that are never claimed.
        pure_python: patterns of full names of ``.py`` files that Cython compiles.
        mode: ``"build"`` compiles what is missing, ``"load"`` never compiles, ``"check"`` trusts no time stamp and
            compares the contents of all inputs at every import; None takes ``$AUTOACCEL``, else ``"build"``.

    Returns:
        The handle that undoes it.

    Raises:
        ValueError: an unknown mode.
        ConfigError: ``$AUTOACCEL`` has a word that means nothing.
    """
    told = mode or os.environ.get("AUTOACCEL") or "build"
    if mode is None and told in ("1", "on", "0", "off"):
        told = "build"
    if told not in _MODES:
        if mode is not None:
            raise ValueError(f"mode is {mode!r}: known are {', '.join(map(repr, _MODES))}")
        _refuse(told)
    return put(new_finder(include, exclude, pure_python, told))


def start() -> None:
    """What ``import autoaccel`` does where ``$AUTOACCEL`` says something, or another copy of it is there."""
    for other in [one for one in sys.meta_path if getattr(one, "__name__", None) == "AccelFinder"]:
        _detach(other)  # type: ignore[arg-type]
    if os.environ.get("AUTOACCEL") not in ("0", "off"):
        install()


def _refuse(told: str) -> NoReturn:
    """``$AUTOACCEL`` means nothing: an error of the import; a line of its own where the command line starts."""
    from .errors import ConfigError

    text = f"$AUTOACCEL is {told!r}: known are on, off, build, load and check"
    # `-m` has no path yet while the package is imported.
    program = sys.orig_argv[-len(sys.argv)] if sys.argv[:1] == ["-m"] else os.path.basename((sys.argv or [""])[0])
    if program in ("autoaccel", "-mautoaccel", "autoaccel.exe"):
        sys.stderr.write(f"autoaccel: {text}\n")
        raise SystemExit(2)
    raise ConfigError(text)


def put(finder: AccelFinder) -> Handle:
    """Put a finder in, in the place of the one that is there."""
    with _Change() as change:
        _stack.append(finder)
        change.activate()
    return Handle(finder)


def uninstall() -> None:
    """Take every hook out."""
    with _Change() as change:
        _stack.clear()
        change.activate()


class _Change:
    """A change of what is on ``sys.meta_path``, of which no other thread sees half."""

    def __init__(self) -> None:
        self._lock = ImportLock()
        #: what came in
        self._wanted: AccelFinder | None = None

    def __enter__(self) -> Self:
        self._lock.__enter__()
        # The finder that ``import autoaccel`` put in counts as the first.
        _stack[:0] = [entry for entry in entries() if entry not in _stack]
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()
        # What imports something, or reads, is done without the lock.
        if self._wanted is not None:
            begin(self._wanted)

    def activate(self) -> None:
        """Have the last of the stack on ``sys.meta_path``, and no other."""
        wanted = _stack[-1] if _stack else None
        there = list(entries())
        if wanted is None:
            for entry in there:
                _detach(entry)
        elif wanted not in there:
            # In the old one's place: another thread may be on its way through the list.
            sys.meta_path[:] = [wanted if any(entry is one for one in there[:1]) else entry for entry in sys.meta_path]
            if not there:
                sys.meta_path.insert(0, wanted)
            for entry in there:
                _detach(entry)
            attach(wanted, wait=True)
            self._wanted = wanted


def _detach(finder: AccelFinder) -> None:
    """Leave ``sys.meta_path`` and the path hooks, and give every directory its plain finder back."""
    # By identity: a finder of somebody else's may compare as it likes.
    hint = "autoaccel.unclaimed"
    sys.meta_path[:] = [one for one in sys.meta_path if one is not finder and type(one).__module__ != hint]
    sys.path_hooks[:] = [one for one in sys.path_hooks if one is not finder.path_hook]
    release(finder)
