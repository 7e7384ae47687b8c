"""The finder's rarer cases: native packages, files that only their content tells, projects' rules, installed packages.

Lukewarm room: imported by the warm one when such a case comes up; loads nothing that a bare interpreter has not loaded.
"""

import _imp
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import FileFinder, _path_isfile, _path_join  # type: ignore[attr-defined]
from _thread import RLock, get_ident

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

from . import (
    CRATE_SOURCES,
    PACKAGE_SOURCES,
    SUFFIXES,
    WATCHED,
    AccelFinder,
    NativeLoader,
    building,
    directory_spec,
    keeping,
)
from .loader import ColdRoom, PackageLoader, forget, in_cold_room, read_alone, recognise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeGuard

    from ._typing import DirectoryFinder

__all__ = [
    "ImportLock",
    "Project",
    "adopt",
    "excludes",
    "is_adopted",
    "learn",
    "look_again",
    "refresh",
    "release",
    "search",
    "spec_of",
    "special_spec",
    "wanted",
]

_SEP = "\\" if sys.platform == "win32" else "/"
#: The source of a package that is made as a whole.
_PROJECT = "pyproject.toml"
_STDLIB = getattr(sys, "_stdlib_dir", None) or f"{sys.base_prefix}{_SEP}lib"


#: Held while a project file is read, and by whom.
_reading = RLock()
_reader: "list[int]" = []


class Project:
    """What the finder must know of a pyproject.toml.

    Attributes:
        modules: full name -> (source path, toolchain, whether a package).
        include: top-level names outside of the user's roots to look at.
        exclude: patterns of full names never to claim.
        pure: patterns of full names of ``.py`` files to compile with Cython.
    """

    __slots__ = ("exclude", "include", "modules", "pure")

    def __init__(
        self,
        modules: "Mapping[str, tuple[str, str, bool]]",
        include: "tuple[str, ...]",
        exclude: "tuple[str, ...]",
        pure: "tuple[str, ...]",
    ) -> None:
        self.modules = modules
        self.include = include
        self.exclude = exclude
        self.pure = pure


# the entry of sys.meta_path


def special_spec(
    owner: AccelFinder, fullname: str, path: "Sequence[str] | None", declared: "tuple[str, str, bool, str] | None"
) -> "ModuleSpec | None":
    """The spec of a module that no directory has under its name: one that a pyproject.toml declares, or ``pkgutil``."""
    if declared is None:
        if fullname == "pkgutil":
            from .listing import pkgutil_spec

            return pkgutil_spec()
        from .numba.watch import numba_spec

        return numba_spec(path)
    file, toolchain, package, root = declared
    # Another project's package of the same name is not meant.
    near = path is None or any(entry == root or str(entry).startswith(root + _SEP) for entry in path)
    if building and in_cold_room(fullname):
        return None
    if near and not _matches(fullname, owner.exclude) and _path_isfile(file):
        return spec_of(owner, fullname, file, toolchain, package)
    return None


def refresh(owner: AccelFinder) -> None:
    """Look at toolchains, projects and the cache's place again; nothing is given up before the new state is there."""
    forget()
    owner.packed.clear()
    with ImportLock():
        before = dict(owner.special)
        owner.projects = {}
        # Who settles a directory declares, from what is remembered or from what is read.
        for name in [name for name, declared in before.items() if declared is not None]:
            del owner.special[name]
        try:
            for other in list(sys.path_importer_cache.values()):
                owner.adopt(other)
            for finder in owner.adopted:
                owner.settle(finder)
                project = finder.project
                if project is not None and project not in owner.projects.values():
                    finder.project = project = None
                rules = (owner.exclude, owner.pure, *((project.exclude, project.pure) if project is not None else ()))
                finder.odd = finder.limited or finder.foreign or any(rules)
        except BaseException:
            owner.special = {**before, **owner.special}
            raise


def release(owner: AccelFinder) -> None:
    """Give every directory its plain finder back."""
    for finder in owner.adopted:
        # What is on the object otherwise stays: a search that runs meanwhile goes on.
        if finder.owner is owner:
            vars(finder).pop("find_spec", None)
    owner.adopted.clear()
    owner.order = []
    owner.special = dict.fromkeys(WATCHED)


class ImportLock:
    """The lock under which finders are asked: what is changed in here, no other thread sees half."""

    def __enter__(self) -> None:
        _imp.acquire_lock()
        keeping.append(self)

    def __exit__(self, *_: object) -> None:
        keeping.pop()
        _imp.release_lock()


# directories


def wanted(owner: AccelFinder, directory: str) -> "bool | None":
    """True: everything in it is the user's; False: nothing is; None: only the included top-level names."""
    if directory.startswith(_STDLIB):
        rest = directory[len(_STDLIB) :]
        if not rest.startswith((f"{_SEP}site-packages", f"{_SEP}dist-packages")):
            return rest[:1] not in ("", _SEP)
    parts = directory.split(_SEP)
    for place in ("site-packages", "dist-packages"):
        if place in parts:
            inside = parts[parts.index(place) + 1 :]
            return inside[0] in owner.include if inside else (None if owner.include else False)
    return True


def adopt(owner: AccelFinder, finder: FileFinder, foreign: bool) -> bool:
    """Make a directory's finder ours where more than its names decides; whether it is.

    Args:
        owner: whose it becomes.
        finder: the finder of the directory.
        foreign: whether what follows the look at native sources is not the plain ``FileFinder``'s own search.
    """
    kind = wanted(owner, finder.path)
    if kind is False:
        return False
    ours: Any = finder
    ours.limited = kind is None
    ours.foreign = foreign
    ours.odd = True
    # Last: from here on, other threads may ask it as ours.
    ours.find_spec = directory_spec.__get__(ours)
    return True


def is_adopted(finder: object) -> "TypeGuard[DirectoryFinder]":
    """Whether a value of ``sys.path_importer_cache`` is the finder of one of the user's directories."""
    found = vars(finder).get("find_spec") if isinstance(finder, FileFinder) else None
    return getattr(found, "__func__", None) is directory_spec


def learn(owner: AccelFinder, finder: "DirectoryFinder", path: str) -> None:
    """Have a directory's finder follow the project file at ``path``; remember the modules that this declares."""
    if owner.later is not None and _reader[-1:] == [get_ident()]:
        # An import of our own in the middle of reading another one.
        owner.later.append(finder)
        return
    # Other threads wait for what is being read, but not for ever: the reader may be waiting for what they import.
    alone = _reading.acquire(timeout=10)
    try:
        # Another thread's `refresh` may have put an empty table here.
        project = owner.projects.get(path, True)
        if project is True:
            project, later = _read(owner, path)
            if isinstance(project, Project):
                _obey(owner, project, path)
            owner.projects[path] = project
            for one in later:
                owner.settle(one)
    finally:
        if alone:
            _reading.release()
    if isinstance(project, Project):
        finder.project = project
        finder.odd = finder.odd or bool(project.exclude or project.pure)


def _read(owner: AccelFinder, path: str) -> "tuple[Project | bool, list[DirectoryFinder]]":
    """What a project file says, and the finders that have waited for it to be read, which are to be settled."""
    owner.later = []
    before = set(sys.modules)
    _reader.append(get_ident())
    try:
        with ColdRoom():
            from .projects import declared

            project = declared(path) or False
    finally:
        _reader.pop()
        later, owner.later = owner.later, None
        _let_go(before)
    return project, later


def _told(owner: AccelFinder, path: str) -> "Project | None":
    """What a project file says that no directory follows."""
    if owner.later is not None and _reader[-1:] == [get_ident()]:
        return None
    alone = _reading.acquire(timeout=10)
    try:
        project, later = _read(owner, path)
        for one in later:
            owner.settle(one)
    finally:
        if alone:
            _reading.release()
    return project if isinstance(project, Project) else None


def look_again(finder: "Any") -> None:
    """Have the next search of a directory find what its project declares.

    That is the search which has made the directory known; the entry of ``sys.meta_path`` had been asked before it.
    """

    usual = finder.find_spec

    def find_spec(fullname: str, target: object = None) -> "ModuleSpec | None":
        if vars(finder).get("find_spec") is find_spec:
            finder.find_spec = usual
        if is_adopted(finder) and finder.owner.special.get(fullname) is not None:
            spec = finder.owner.find_spec(fullname, [finder.path])
            if spec is not None:
                return spec
        found: ModuleSpec | None = usual(fullname, target)
        return found

    finder.find_spec = find_spec


def _let_go(before: "set[str]") -> None:
    """Forget the modules that are being found right now, if our own work has imported them in between.

    Whoever waits for them makes new ones, which would lack their submodules as attributes.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_find_spec" and frame.f_globals.get("__name__") == "importlib._bootstrap":
            name = frame.f_locals["name"]
            if name not in before:
                for other in list(sys.modules):
                    if (other == name or other.startswith(name + ".")) and other not in before:
                        del sys.modules[other]
        frame = frame.f_back  # type: ignore[assignment]


def _obey(owner: AccelFinder, project: Project, path: str) -> None:
    root = path.rpartition(_SEP)[0]
    for name, declared in project.modules.items():
        known = owner.special.get(name)
        if known is None or known[3] == root:
            owner.special[name] = (*declared, root)
    if not owner.include.issuperset(project.include):
        owner.include |= frozenset(project.include)
        for finder in list(sys.path_importer_cache.values()):
            owner.adopt(finder)


# modules


def search(
    finder: "DirectoryFinder", fullname: str, stem: str, names: "set[str]", target: object
) -> "ModuleSpec | None":
    """What ``finder.find_spec`` gives, in all cases."""
    limited = finder.limited and fullname not in finder.owner.include
    if not limited and not (building and in_cold_room(fullname)):
        found = _source(finder, fullname, stem, names)
        if found is not None and not excludes(finder, fullname):
            path, toolchain, package, record = found
            beside = _listing(path.rpartition(_SEP)[0]) if package else names
            return spec_of(finder.owner, fullname, path, toolchain, package, beside, record)
    return type(finder).find_spec(finder, fullname, target)  # type: ignore[arg-type]


def spec_of(
    owner: AccelFinder,
    name: str,
    path: str,
    toolchain: str,
    package: bool,
    names: "set[str] | None" = None,
    record: "tuple[Any, ...] | None" = None,
) -> ModuleSpec:
    """The spec of a native source: ``origin`` is the source; the artifact becomes ``cached`` when it is loaded.

    Args:
        owner: whose mode it gets.
        name, path, toolchain, package: the source; see `sources.Source`.
        names: the listing of its directory, if there is one as of now.
        record: what its manifest holds, if it has been read.
    """
    make = owner.make_loader or (PackageLoader if package else NativeLoader)
    folder, _, file = path.rpartition(_SEP)
    places = [folder]
    if package and file == _PROJECT:
        from . import packaged

        make = packaged.FolderLoader
        record = record or read_alone(name, path)
        # Where it was the last time; its loader knows better.
        places = [record[3].rpartition(_SEP)[0]] if record is not None else []
    loader = make(name, path, toolchain, owner.mode, names, record)
    spec = ModuleSpec(name, loader, origin=path, is_package=package)
    spec._set_fileattr = True  # type: ignore[attr-defined]
    if package:
        spec.submodule_search_locations = places
    return spec


def excludes(finder: "DirectoryFinder", fullname: str) -> bool:
    """Whether a module is left to CPython."""
    return _matches(fullname, _rules(finder, "exclude"))


def _source(finder: "DirectoryFinder", fullname: str, stem: str, names: "set[str]") -> "tuple[Any, ...] | None":
    """(path, toolchain, package, record) of the native source here; the last one if it has been read."""
    directory = stem in names
    if directory:
        inside = _path_join(finder.path, stem)
        for file, toolchain in PACKAGE_SOURCES:
            path = _path_join(inside, file)
            if _path_isfile(path):
                return path, toolchain, True, None
    for suffix, toolchain, ask in SUFFIXES:
        if stem + suffix not in names or (directory and _is_package(finder, stem)):
            continue
        path = _path_join(finder.path, stem + suffix)
        claimed, record = recognise(fullname, path, ask)
        if claimed:
            return path, toolchain, False, record
        if _path_isfile(path):
            from .unclaimed import note

            note(fullname, path)
    for folder in dict.fromkeys((stem, stem.replace("_", "-"))):
        if folder not in names or (directory and _is_package(finder, stem)):
            continue
        for file, toolchain in CRATE_SOURCES:
            path = _path_join(finder.path, folder, file)
            if _path_isfile(path) and not _is_another(finder.owner, fullname, path):
                claimed, record = recognise(fullname, path, True)
                if claimed:
                    return path, toolchain, False, record
            made = _made(finder.owner, fullname, _path_join(finder.path, folder, _PROJECT))
            if made is not None:
                return made
    return _pure_source(finder, stem, names) if _matches(fullname, _rules(finder, "pure")) else None


def _is_another(owner: AccelFinder, fullname: str, manifest: str) -> bool:
    """Whether the project in a crate's folder makes other modules of the crate.

    The folder may have the name of the package whose inner part the crate is, and this comes later on the path.
    """
    folder = manifest.rpartition(_SEP)[0]
    # A setup.py is read with the crate.
    for asked, teller in ((_PROJECT, _path_join(folder, _PROJECT)), ("setup.py", manifest)):
        if _path_isfile(_path_join(folder, asked)):
            project = _told(owner, teller)
            modules = project.modules if project is not None else {}
            made = [one for one, (source, _, _) in modules.items() if source == manifest]
            if made:
                return fullname not in made and fullname.rpartition(".")[2] not in made
    return False


def _made(owner: AccelFinder, fullname: str, pyproject: str) -> "tuple[Any, ...] | None":
    """As `_source`, of a crate's folder that is a maturin project, whose library is no module by itself."""
    if not _path_isfile(pyproject):
        return None
    project = _told(owner, pyproject)
    told = project.modules.get(fullname) if project is not None else None
    return (*told, None) if told is not None and told[0] == pyproject and told[2] else None


def _listing(directory: str) -> "set[str] | None":
    try:
        return set(_os.listdir(directory))
    except OSError:
        return None


def _rules(finder: "DirectoryFinder", kind: str) -> "tuple[str, ...]":
    """The patterns of this kind that hold here: those of `install`, and the project's."""
    patterns: tuple[str, ...] = getattr(finder.owner, kind)
    return patterns + getattr(finder.project, kind) if finder.project is not None else patterns


def _pure_source(finder: "DirectoryFinder", stem: str, names: "set[str]") -> "tuple[Any, ...] | None":
    """A ``.py`` file that the project wants compiled."""
    for path, package in (
        (_path_join(finder.path, stem, "__init__.py"), True),
        (_path_join(finder.path, stem + ".py"), False),
    ):
        if (stem if package else stem + ".py") in names and _path_isfile(path):
            return path, "cython", package, None
    return None


def _is_package(finder: "DirectoryFinder", stem: str) -> bool:
    """Whether a regular package is here, which comes before an extension module of the same name."""
    inside = _path_join(finder.path, stem)
    return any(_path_isfile(_path_join(inside, "__init__" + suffix)) for suffix, _ in finder._loaders)


def _matches(name: str, patterns: "Sequence[str]") -> bool:
    if not patterns:
        return False
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for pattern in patterns)
