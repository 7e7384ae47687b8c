"""What only type checkers read of `autoaccel/__init__.py`; at run time it would cost every process."""

import importlib.machinery
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import AccelFinder
from .ahead import build
from .errors import AccelError, BuildError, ConfigError, LoadError, ToolchainMissing
from .finder import Project
from .hook import Handle, install, uninstall
from .live import reload_dependents, sync, watch

__all__ = [
    "AccelError",
    "Any",
    "BuildError",
    "Callable",
    "ConfigError",
    "Declared",
    "DirectoryFinder",
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
    "reload_dependents",
    "sync",
    "uninstall",
    "watch",
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


class DirectoryFinder(importlib.machinery.FileFinder):
    """What a directory's ``FileFinder`` is once it is adopted, and its private attributes.

    Attributes:
        owner: the finder on ``sys.meta_path``.
        base: the directory's path with one separator at its end.
        odd: whether more than the names in the directory decides what is claimed.
        foreign: whether the search for what is not claimed is somebody else's.
        limited: whether only the included top-level names are looked at.
        project: what the project around this root tells.
        unsettled: not empty before that is known: what ``foreign`` is then, which is true meanwhile, as is ``odd``.
    """

    owner: AccelFinder
    base: str
    odd: bool
    foreign: bool
    limited: bool
    project: Project | None
    unsettled: tuple[bool, ...]
    _stems: frozenset[str] | None
    _listed: set[str] | None
    _changed: float
    _racy: bool
    _path_mtime: float
    _path_cache: set[str]
    _loaders: list[tuple[str, type]]

    _fill_cache: Callable[[], None]
    _get_spec: Callable[..., ModuleSpec]
