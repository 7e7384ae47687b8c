"""The finder: one object on ``sys.meta_path``, and the directory finders that it puts behind it. Warm room.

CPython asks `AccelFinder` first about every import. It answers almost nothing itself: it sees to it that each of the
user's own directories on the searched path is looked through by a `DirectoryFinder`, and lets ``PathFinder`` go on. So
the order of ``sys.path``, namespace packages and everybody's path hooks stay CPython's business, an unrelated import
costs a comparison per path entry and no system call, and a directory is listed once for both.

A `DirectoryFinder` is the directory's own ``FileFinder`` (of whatever path hook) with one more question: is there a
native source where an extension module would be? The loader's room is imported when the answer is yes for the first
time.
"""

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (  # type: ignore[attr-defined]
    FileFinder,
    PathFinder,
    _path_isdir,
    _path_isfile,
    _path_join,
    _relax_case,
)
from time import time

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

    from .projects import Project

#: The one table of what is ours. (suffix, toolchain, whether only the content tells that the file is a module), in the
#: order of precedence.
SUFFIXES = (
    (".pyx", "cython", False),
    (".c", "c", True),
    (".cpp", "c++", True),
    (".cc", "c++", True),
    (".cxx", "c++", True),
)

#: (file name, toolchain): what makes a directory a native package.
PACKAGE_SOURCES = (("__init__.pyx", "cython"),)

#: Seconds in which a directory may change again without a new time stamp (coarse kernel clocks).
_GRAIN = 0.05

_SEP = "\\" if sys.platform == "win32" else "/"

_STDLIB = getattr(sys, "_stdlib_dir", None) or f"{sys.base_prefix}{_SEP}lib"
_SITE = (_SEP + "site-packages", _SEP + "dist-packages")


def getenv(name: str) -> "str | None":
    """The environment variable's value now, without making an interpreter load ``os`` that has not."""
    os = sys.modules.get("os")
    if os is not None:
        value: str | None = os.environ.get(name)
        return value
    system: Any = _os.environ
    raw = system.get(name.encode() if sys.platform != "win32" else name)
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw


class AccelFinder:
    """The entry of ``sys.meta_path``; made and undone by `autoaccel.install`.

    Args:
        include: top-level names that are looked at even in site-packages.
        exclude: patterns (``fnmatch``) of full module names that are never claimed.
        pure: patterns of full names of ``.py`` files that Cython compiles.
        mode: handed to the loaders: ``"build"``, ``"load"`` or ``"check"``.
    """

    def __init__(
        self,
        include: "Sequence[str]" = (),
        exclude: "Sequence[str]" = (),
        pure: "Sequence[str]" = (),
        mode: str = "build",
    ) -> None:
        self.include = frozenset(include)
        self.exclude = tuple(exclude)
        self.pure = tuple(pure)
        self.mode = mode
        #: path entry -> the finder that was there when we looked
        self._known: dict[object, object] = {}
        self._adopted: list[DirectoryFinder] = []
        self._learning = False
        self._projects: dict[str, Project | None] = {}
        #: whether ``pkgutil`` was loaded before us, and is still to be told
        self._untold = "pkgutil" in sys.modules
        #: modules that a project's pyproject.toml declares -> (source path, toolchain, package, the project's folder)
        self._declared: dict[str, tuple[str, str, bool, str]] = {}

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Make the user's directories on ``path`` ours; the spec of a module that only a pyproject.toml knows."""
        if self._learning:
            return None  # an import of our own; roots that are new to us wait for the next one
        cache = sys.path_importer_cache
        known = self._known
        for entry in sys.path if path is None else path:
            try:
                if cache[entry] is known[entry]:
                    continue
            except (KeyError, TypeError):
                pass
            self._look(entry)
        if fullname in self._declared:
            file, toolchain, package, root = self._declared[fullname]
            # Another project's package of the same name is not meant.
            near = path is None or any(entry == root or str(entry).startswith(root + _SEP) for entry in path)
            if near and not _matches(fullname, self.exclude) and _path_isfile(file):
                return self.spec_of(fullname, file, toolchain, package)
        elif fullname == "pkgutil":
            from .listing import pkgutil_spec

            return pkgutil_spec()
        return None

    def spec_of(
        self,
        name: str,
        path: str,
        toolchain: str,
        package: bool,
        names: "set[str] | None" = None,
        record: "tuple[Any, ...] | None" = None,
        seen: "tuple[Any, ...] | None" = None,
    ) -> ModuleSpec:
        """The spec of a native source: ``origin`` is the source; the artifact becomes ``cached`` when it is loaded.

        Args:
            name, path, toolchain, package: the source; see `sources.Source`.
            names: the listing of its directory, if there is one as of now.
            record: what its manifest holds, if it has been read.
            seen: the source's row as of now, if it has been made.
        """
        loader = _room().NativeLoader(name, path, toolchain, package, self.mode, names, record, seen)
        spec = ModuleSpec(name, loader, origin=path, is_package=package)
        spec._set_fileattr = True  # type: ignore[attr-defined]
        if package:
            spec.submodule_search_locations = [path.rpartition(_SEP)[0]]
        return spec

    def invalidate_caches(self) -> None:
        """Look at toolchains, projects and the cache's place again (called by ``importlib.invalidate_caches``)."""
        self._known.clear()
        self._projects.clear()
        if _loader_room is not None:
            _loader_room.forget()

    def detach(self) -> None:
        """Leave ``sys.meta_path``, and give every directory its plain finder back."""
        # By identity: a finder of somebody else's may compare as it likes.
        hint = "autoaccel.unclaimed"
        sys.meta_path[:] = [one for one in sys.meta_path if one is not self and type(one).__module__ != hint]
        for finder in self._adopted:
            finder.__class__ = finder.plain  # type: ignore[assignment]
        self._adopted.clear()
        self._known.clear()

    def _look(self, entry: object) -> None:
        """A path entry that is new to us, or whose finder somebody has replaced."""
        if not isinstance(entry, str):
            return
        cache = sys.path_importer_cache
        if not entry:
            # CPython asks for the current directory at every import; nothing to remember but the finder there.
            try:
                entry = _os.getcwd()
            except OSError:
                return
            if entry in cache and cache[entry] is self._known.get(entry):
                return
        if self._untold:
            self._untold = False
            self._learning = True
            try:
                from . import listing  # noqa: F401  (registers itself with pkgutil)
            finally:
                self._learning = False
        finder: Any = cache[entry] if entry in cache else PathFinder._path_importer_cache(entry)  # type: ignore[attr-defined]
        self._known[entry] = finder
        wanted = self.wanted(finder.path) if isinstance(finder, FileFinder) else False
        if wanted is not False:
            if not isinstance(finder, DirectoryFinder):
                self._adopted.append(_adopt(finder, self))
            finder.limited = wanted is not True
            if wanted is True:
                finder.project = self._learn(finder.path)

    def wanted(self, directory: str) -> "bool | None":
        """True: everything in it is the user's; False: nothing is; None: only the included top-level names."""
        if directory.startswith(_STDLIB):
            if len(directory) == len(_STDLIB) or not directory.startswith(_SITE, len(_STDLIB)):
                return directory[len(_STDLIB) :][:1] not in ("", _SEP)
        elif "-packages" not in directory:
            return True
        parts = directory.split(_SEP)
        for place in ("site-packages", "dist-packages"):
            if place in parts:
                inside = parts[parts.index(place) + 1 :]
                return inside[0] in self.include if inside else (None if self.include else False)
        return True

    def _learn(self, directory: str) -> "Project | None":
        """What the project around a root tells; its declared modules are remembered here."""
        here = directory
        while not _exists(f"{here}{_SEP}pyproject.toml"):
            above = here.rpartition(_SEP)[0]
            if not above or above == here or _exists(f"{here}{_SEP}.git"):
                return None
            here = above
        path = f"{here}{_SEP}pyproject.toml"
        if path in self._projects:
            return self._projects[path]
        self._projects[path] = None
        if not _speaks(path):
            return None
        self._learning = True
        try:
            from . import projects

            project = projects.declared(path)
        finally:
            self._learning = False
        self._projects[path] = project
        if project is not None:
            for name, declared in project.modules.items():
                self._declared.setdefault(name, (*declared, here))
            if not self.include.issuperset(project.include):
                self.include |= frozenset(project.include)
                self._known.clear()
        return project

    def __repr__(self) -> str:
        return f"<autoaccel finder, {len(self._adopted)} directories>"


class DirectoryFinder(FileFinder):
    """A directory of the user's: ``FileFinder`` with native sources in the place of the extensions they become.

    Attributes:
        owner: the finder on ``sys.meta_path``.
        plain: the class that this object had before.
        limited: whether only the included top-level names are looked at.
        project: what the project around this root tells.
    """

    owner: AccelFinder
    plain: "type[FileFinder]"
    limited: bool
    project: "Project | None"
    _stems: "frozenset[str]"
    _listed: "set[str] | None"
    _racy: bool
    #: whether what follows the look at native sources is FileFinder's own search
    _short: bool

    if TYPE_CHECKING:  # FileFinder's own
        _path_mtime: float
        _path_cache: set[str]
        _loaders: list[tuple[str, type]]

        def _fill_cache(self) -> None: ...
        def _get_spec(self, *values: object) -> ModuleSpec: ...

    def find_spec(self, fullname: str, target: "ModuleType | None" = None) -> "ModuleSpec | None":
        """The spec of ``fullname`` in this directory, as ``FileFinder`` gives it; never builds, never imports."""
        stem = fullname.rpartition(".")[2]
        try:
            mtime = _os.stat(self.path or _os.getcwd()).st_mtime
        except OSError:
            mtime = -1
        if mtime != self._path_mtime or self._racy:
            self._fill_cache()
            self._path_mtime = mtime
            self._racy = time() - mtime < _GRAIN
        names = self._path_cache
        if names is not self._listed:
            self._stems = frozenset([name.partition(".")[0] for name in names])
            self._listed = names
        if stem in self._stems:
            if not (self.limited and fullname not in self.owner.include) and not _own_import(fullname):
                found = self._source(fullname, stem, names)
                if found is not None and not self.excludes(fullname):
                    path, toolchain, package, record, seen = found
                    return self.owner.spec_of(fullname, path, toolchain, package, names, record, seen)
            if self._short:
                return self._python_spec(fullname, stem, names, target)
        return None if self._short else super().find_spec(fullname, target)

    def _source(self, fullname: str, stem: str, names: "set[str]") -> "tuple[Any, ...] | None":
        """(path, toolchain, package, record, row) of the native source here; the last two if they have been made."""
        directory = stem in names
        if directory:
            inside = _path_join(self.path, stem)
            for file, toolchain in PACKAGE_SOURCES:
                path = _path_join(inside, file)
                if _path_isfile(path):
                    return path, toolchain, True, None, None
        for suffix, toolchain, ask in SUFFIXES:
            if stem + suffix not in names or (directory and self._is_package(stem)):
                continue
            path = _path_join(self.path, stem + suffix)
            found = _room().recognise(fullname, path, ask)
            if found is not None:
                return path, toolchain, False, *found
            if _path_isfile(path):
                from .unclaimed import note

                note(fullname, path)
        return self._pure_source(stem, names) if _matches(fullname, self._rules("pure")) else None

    def excludes(self, fullname: str) -> bool:
        """Whether a module is left to CPython."""
        return _matches(fullname, self._rules("exclude"))

    def _rules(self, kind: str) -> "tuple[str, ...]":
        """The patterns of this kind that hold here: those of `install`, and the project's."""
        patterns: tuple[str, ...] = getattr(self.owner, kind)
        return patterns + getattr(self.project, kind) if self.project is not None else patterns

    def _pure_source(self, stem: str, names: "set[str]") -> "tuple[Any, ...] | None":
        """A ``.py`` file that the project wants compiled."""
        for path, package in (
            (_path_join(self.path, stem, "__init__.py"), True),
            (_path_join(self.path, stem + ".py"), False),
        ):
            if (stem if package else stem + ".py") in names and _path_isfile(path):
                return path, "cython", package, None, None
        return None

    def _is_package(self, stem: str) -> bool:
        """Whether a regular package is here, which comes before an extension module of the same name."""
        inside = _path_join(self.path, stem)
        return any(_path_isfile(_path_join(inside, "__init__" + suffix)) for suffix, _ in self._loaders)

    def _python_spec(
        self, fullname: str, stem: str, names: "set[str]", target: "ModuleType | None"
    ) -> "ModuleSpec | None":
        """What ``FileFinder.find_spec`` does after its ``stat``, which has been done."""
        namespace = None
        if stem in names:
            inside = _path_join(self.path, stem)
            for suffix, cls in self._loaders:
                path = _path_join(inside, "__init__" + suffix)
                if _path_isfile(path):
                    return self._get_spec(cls, fullname, path, [inside], target)
            if _path_isdir(inside):
                namespace = inside
        for suffix, cls in self._loaders:
            if stem + suffix in names:
                path = _path_join(self.path, stem + suffix)
                if _path_isfile(path):
                    return self._get_spec(cls, fullname, path, None, target)
        if namespace is None:
            return None
        spec = ModuleSpec(fullname, None)
        spec.submodule_search_locations = [namespace]
        return spec


_classes: "dict[type[FileFinder], type[DirectoryFinder]]" = {FileFinder: DirectoryFinder}


def _adopt(finder: FileFinder, owner: AccelFinder) -> DirectoryFinder:
    """Make a directory's finder ours in place, so that whoever holds it, and its path hook's loaders, stay right."""
    plain = type(finder)
    if plain not in _classes:
        _classes[plain] = type("DirectoryFinder", (DirectoryFinder, plain), {})
    adopted: Any = finder
    adopted.owner = owner
    adopted.plain = plain
    adopted.limited = False
    adopted.project = None
    adopted._stems = frozenset()
    adopted._listed = None
    adopted._racy = False
    adopted._short = plain is FileFinder and not _relax_case()
    # Last: from here on, other threads may ask it as ours.
    adopted.__class__ = _classes[plain]
    return adopted  # type: ignore[no-any-return]


#: The loader's room, once it is needed.
_loader_room: "Any" = None


def _room() -> "Any":
    global _loader_room
    if _loader_room is None:
        from . import loader

        _loader_room = loader
    return _loader_room


def _matches(name: str, patterns: "Sequence[str]") -> bool:
    if not patterns:
        return False
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _exists(path: str) -> bool:
    try:
        _os.stat(path)
    except (OSError, ValueError):
        return False
    return True


def _speaks(path: str) -> bool:
    """Whether a pyproject.toml may say anything to the finder."""
    text = b""
    try:
        descriptor = _os.open(path, _os.O_RDONLY | getattr(_os, "O_BINARY", 0))
        try:
            while chunk := _os.read(descriptor, 1 << 16):
                text += chunk
        finally:
            _os.close(descriptor)
    except OSError:
        return False
    return b"tool.autoaccel" in text or b"ext-modules" in text


def _own_import(fullname: str) -> bool:
    """Whether this is an import of autoaccel itself in the middle of a build.

    A user's ``json.pyx`` must not become the ``json`` that its own build needs.
    """
    return _loader_room is not None and _loader_room.in_cold_room(fullname)
