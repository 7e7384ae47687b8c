"""What only type checkers read of `autoaccel/__init__.py`; at run time it would cost every process."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from .ahead import build
from .errors import AccelError, BuildError, ConfigError, LoadError, ToolchainMissing
from .finder import Project
from .hook import Handle, install, uninstall

__all__ = [
    "AccelError",
    "Any",
    "BuildError",
    "Callable",
    "ConfigError",
    "Declared",
    "Folder",
    "Handle",
    "LoadError",
    "MakeLoader",
    "ModuleType",
    "Path",
    "Project",
    "Record",
    "Row",
    "ToolchainMissing",
    "Words",
    "build",
    "install",
    "uninstall",
]

Words = Sequence[str]
Path = Sequence[str] | None
Declared = tuple[str, str, bool, str]
#: See `manifest.Manifest`.
Record = tuple[Any, ...]
#: A file and its stat identity: (path, mtime_ns, ctime_ns, size, inode).
Row = tuple[str, int, int, int, int]
#: A folder in which names must stay absent: (path, ctime_ns, inode).
Folder = tuple[str, int, int]
MakeLoader = Callable[..., Any]
