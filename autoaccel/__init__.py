"""Import native sources: ``import autoaccel; import sample`` compiles ``sample.pyx`` or ``sample.c`` once.

Importing this package puts a finder on ``sys.meta_path``. ``AUTOACCEL=off`` in the environment makes it a no-op.
"""

import sys

from .finder import AccelFinder, Hint, Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from .build import build as build
    from .errors import AccelError as AccelError
    from .errors import BuildError as BuildError
    from .errors import ConfigError as ConfigError
    from .errors import LoadError as LoadError
    from .errors import ToolchainMissing as ToolchainMissing

__version__ = "0.1.0"

__all__ = [
    "AccelError",
    "BuildError",
    "ConfigError",
    "Handle",
    "LoadError",
    "ToolchainMissing",
    "build",
    "install",
    "uninstall",
]

_LAZY = {
    "AccelError": "errors",
    "BuildError": "errors",
    "ConfigError": "errors",
    "LoadError": "errors",
    "ToolchainMissing": "errors",
    "build": "build",
}


class Handle:
    """An installed hook; ``uninstall()`` takes it out, and so does the end of a ``with`` block."""

    def __init__(self, finder: AccelFinder, before: "Handle | None") -> None:
        self.finder = finder
        self._hint = Hint(finder)
        self._before = before

    def uninstall(self) -> None:
        """Take the hook out; modules that it loaded stay. Twice is once. The hook before it comes back."""
        global _installed
        if _installed is not self:
            return
        self._remove()
        _installed = self._before
        if _installed is not None:
            _installed._insert()

    def _insert(self) -> None:
        sys.meta_path.insert(0, self.finder)
        sys.meta_path.append(self._hint)

    def _remove(self) -> None:
        # By identity: a finder of somebody else's may compare as it likes.
        mine = (self.finder, self._hint)
        sys.meta_path[:] = [entry for entry in sys.meta_path if not any(entry is own for own in mine)]
        self.finder.detach()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.uninstall()


_installed: "Handle | None" = None


def install(*, include: "Sequence[str]" = (), exclude: "Sequence[str]" = (), mode: str | None = None) -> Handle:
    """Put the hook in, or replace the one that is there by one with these settings.

    Args:
        include: top-level names outside of the user's own roots (packages in site-packages) to look at all the same.
        exclude: patterns (``fnmatch``) of full module names that are never claimed.
        mode: ``"build"`` compiles what is missing, ``"load"`` never compiles, ``"check"`` compares the contents of all
            inputs at every import; None takes ``$AUTOACCEL``, else ``"build"``.

    Returns:
        The handle that undoes it.

    Raises:
        ValueError: an unknown mode.
    """
    global _installed
    told = mode or _getenv("AUTOACCEL") or "build"
    if told in ("1", "on"):
        told = "build"
    if told not in ("build", "load", "check"):
        raise ValueError(f"mode or $AUTOACCEL is {told!r}: known are 'build', 'load', 'check', and 'off' in $AUTOACCEL")
    before = _installed
    if before is not None:
        before._remove()
    _installed = Handle(AccelFinder(Rules(include, exclude), told), before)
    _installed._insert()
    return _installed


def uninstall() -> None:
    """Take every hook out."""
    while _installed is not None:
        _installed.uninstall()


def _getenv(name: str) -> str | None:
    os = sys.modules.get("os")
    if os is not None:
        value: str | None = os.environ.get(name)
        return value
    # An interpreter without `site` has not loaded `os`, and we don't make it.
    system = sys.modules.get("posix") or sys.modules["nt"]
    raw = system.environ.get(name.encode()) or system.environ.get(name)
    return raw.decode() if isinstance(raw, bytes) else raw


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})


if _getenv("AUTOACCEL") not in ("off", "0"):
    install()
