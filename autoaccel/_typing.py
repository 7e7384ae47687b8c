"""What only type checkers read of `autoaccel/__init__.py`; at run time it would cost every process."""

from __future__ import annotations

import importlib.machinery
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .ahead import build
from .errors import AccelError, BuildError, ConfigError, LoadError, ToolchainMissing
from .finder import Project
from .hook import Handle, install, uninstall
from .live import reload_dependents, sync, watch

__all__ = [
    "AccelError",
    "AccelFinder",
    "Any",
    "BuildError",
    "Callable",
    "ConfigError",
    "Declared",
    "DirectoryFinder",
    "Folder",
    "Group",
    "Handle",
    "LoadError",
    "MakeLoader",
    "ModuleType",
    "NativeLoader",
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
#: A folder and rows whose paths begin there, see `manifest.grouped`.
Group = tuple[str, tuple[Row, ...]]
MakeLoader = Callable[..., Any]


class DirectoryFinder(importlib.machinery.FileFinder):
    """What a directory's ``FileFinder`` is once it is adopted, and its private attributes.

    Attributes:
        owner: the finder on ``sys.meta_path``.
        directory: its path.
        base: the same with one separator at its end.
        odd: whether more than the names in the directory decides what is claimed.
        foreign: whether the search for what is not claimed is somebody else's.
        limited: whether only the included top-level names are looked at.
        project: what the project around this root tells.
        unsettled: not empty before that is known: what ``foreign`` is then, which is true meanwhile, as is ``odd``.
    """

    owner: AccelFinder
    directory: str
    base: str
    odd: bool
    foreign: bool
    limited: bool
    project: Project | None
    unsettled: tuple[bool, ...]
    _stems: set[str] | None
    _listed: set[str] | None
    _changed: float | None
    _racy: bool
    _path_mtime: float
    _path_cache: set[str]
    _loaders: list[tuple[str, type]]

    _fill_cache: Callable[[], None]
    _get_spec: Callable[..., ModuleSpec]


class AccelFinder(ModuleType):
    """The entry of ``sys.meta_path``: a namespace with its functions bound to it, as a class would cost 15 µs.

    Attributes:
        mode: handed to the loaders: ``"build"``, ``"load"`` or ``"check"``.
        lean: whether nothing is set up before the first import that is no hit of the path's first directory.
        packed: names of modules that packs tell of -> the finder of their directory, and all others that we are to be
            asked about -> None.
        order: ``sys.meta_path`` as it was when we looked; empty: we are not there; [None]: projects are to be read.
        direct: whether nobody on it could answer for a packed name before ``PathFinder`` does.
        path_hook: the entry of ``sys.path_hooks``; None before `directories.equip`, which adds the rest.
        include: top-level names that are looked at even in site-packages.
        exclude: patterns (``fnmatch``) of full module names that are never claimed.
        pure: patterns of full names of ``.py`` files that Cython compiles.
        make_loader: what makes the loaders instead.
        adopted: the directories' finders that are ours.
        projects: path of a pyproject.toml -> what it tells the finder; False: nothing; True: not read yet.
        asked: path entries that a hook is being asked about, and by which thread.
        special: names that are not found in a directory: (source path, toolchain, package, the project's folder), or
            None.
    """

    find_spec: Callable[..., ModuleSpec | None]
    mode: str
    lean: bool
    packed: dict[str, DirectoryFinder | None]
    order: list[Any]
    direct: bool
    path_hook: Any
    invalidate_caches: Callable[[], None]
    include: frozenset[str]
    exclude: tuple[str, ...]
    pure: tuple[str, ...]
    make_loader: MakeLoader | None
    adopted: list[DirectoryFinder]
    projects: dict[str, Project | bool | None]
    asked: set[tuple[str, int]]
    special: dict[str, Declared | None]


class NativeLoader(importlib.machinery.ExtensionFileLoader):
    """Loads the module that a native source becomes.

    An ``ExtensionFileLoader`` with functions of ours on the object, as a class would cost every process 20 µs; or a
    `loader.PackageLoader`.

    Attributes:
        name: the module's full name.
        path: the artifact once it is known, the source before.
        origin: the source's path.
        toolchain: the word in the table of toolchains.
        mode: ``"build"``, ``"load"`` (never compile) or ``"check"`` (trust no time stamp).
        names: the listing of the source's directory as of now.
        record: what its manifest holds, if the caller has just read it.
        package: whether the source is a package's ``__init__``.
        asked: in which import the source has just been looked at.
        whole: whether all else was, too.
        created: modules that were made, and not run yet.
    """

    origin: str
    toolchain: str
    mode: str
    names: set[str] | None
    record: Record | None
    package: bool
    asked: int
    whole: bool
    created: tuple[ModuleType, ...]
