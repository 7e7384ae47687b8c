"""The finder's rarer cases: native packages, files that only their content tells, projects' rules, installed packages.

Lukewarm room: imported by the warm one when such a case comes up; loads nothing that a bare interpreter has not loaded.
"""

import _imp
import sys
from _frozen_importlib import ModuleSpec, _find_and_load  # type: ignore[attr-defined]
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
    _find_spec,
    building,
    keeping,
    native_loader,
)
from .directories import WATCHED, attach, directory_spec, equip, find_spec, settle
from .directories import adopt as adopt_directory
from .loader import ColdRoom, PackageLoader, forget, in_cold_room, read_alone, recognise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, TypeGuard

    from ._typing import AccelFinder, DirectoryFinder

__all__ = [
    "ImportLock",
    "Project",
    "adopt",
    "entries",
    "excludes",
    "is_adopted",
    "learn",
    "refresh",
    "release",
    "search",
    "spec_of",
    "special_spec",
    "successor_spec",
    "wanted",
]

_SEP = "\\" if sys.platform == "win32" else "/"
#: The source of a package that is made as a whole.
_PROJECT = "pyproject.toml"
_STDLIB = getattr(sys, "_stdlib_dir", None) or f"{sys.base_prefix}{_SEP}lib"


#: The function in which a module is imported; and the name of our own.
_LOAD = _find_and_load.__code__
_OWN = __name__.partition(".")[0]

#: Held while project files are read.
_reading = RLock()
#: Thread that reads them -> directories that came up meanwhile, in imports of our own.
_later: "dict[int, list[DirectoryFinder]]" = {}


def _forked() -> None:
    """A child has not the thread that may be at it."""
    global _reading
    _reading = RLock()
    _later.clear()


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_forked)


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

    def excludes(self, name: str) -> bool:
        """Whether the module of this name is left to CPython."""
        return _matches(name, self.exclude)

    def compiles(self, name: str) -> bool:
        """Whether the ``.py`` file of this name is for Cython."""
        return _matches(name, self.pure)


# the entry of sys.meta_path


def entries() -> "Iterator[AccelFinder]":
    """Those on ``sys.meta_path``: one, or none."""
    for one in list(sys.meta_path):
        if getattr(getattr(one, "find_spec", None), "__func__", None) in (_find_spec, find_spec):
            yield one  # type: ignore[misc]


def special_spec(
    owner: "AccelFinder", fullname: str, path: "Sequence[str] | None", declared: "tuple[str, str, bool, str] | None"
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


def successor_spec(
    owner: "AccelFinder", fullname: str, path: "Sequence[str] | None", target: object
) -> "ModuleSpec | None":
    """What the one gives that is there now in the place of ``owner``, which somebody asks on the way through the list.

    None where there is none: what was taken out claims nothing.
    """
    other = next((one for one in entries() if one is not owner), None)
    return other.find_spec(fullname, path, target) if other is not None else None


def refresh(owner: "AccelFinder") -> None:
    """Look at toolchains, projects and the cache's place again; nothing is given up before the new state is there."""
    forget()
    roots = {declared[3] for declared in list(owner.special.values()) if declared is not None}
    later: list[DirectoryFinder] = []
    # Not under the lock, in which nothing may be imported: another thread may be importing it, and wait for the lock.
    read = {
        path: _read(path, later)
        for path, told in list(owner.projects.items())
        if told is not False or path.rpartition(_SEP)[0] in roots
    }
    with ImportLock():
        if owner.order:
            owner.order = [None]
        known = {path: project for path, project in read.items() if project is not None}
        owner.projects = dict(known)
        # In this order, and added to in the other one: no name is special that is not packed, whoever reads a project.
        owner.packed = dict.fromkeys(WATCHED)
        owner.special = dict.fromkeys(WATCHED)
        for path, project in known.items():
            _obey(owner, project, path, later)
        for other in list(sys.path_importer_cache.values()):
            adopt_directory(owner, other, later)
        for finder in owner.adopted:
            if not finder.unsettled:
                finder.unsettled = (finder.foreign,)
                finder.odd = finder.foreign = True
    attach(owner)


def release(owner: "AccelFinder") -> None:
    """Give every directory its plain finder back."""
    equip(owner)
    for finder in owner.adopted:
        # What is on the object otherwise stays: a search that runs meanwhile goes on.
        if finder.owner is owner:
            vars(finder).pop("find_spec", None)
    owner.adopted.clear()
    owner.order = []
    owner.lean = False
    owner.special = dict.fromkeys(WATCHED)
    # It may come back, and is to know then what they declare.
    owner.projects = {}


class ImportLock:
    """The lock under which finders are asked: what is changed in here, no other thread sees half.

    Nothing may be imported in here, for which another thread may hold a lock that waits for this one.
    """

    def __enter__(self) -> None:
        _imp.acquire_lock()
        keeping.append(self)

    def __exit__(self, *_: object) -> None:
        keeping.pop()
        _imp.release_lock()


# directories


def wanted(owner: "AccelFinder", directory: str) -> "bool | None":
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


def adopt(owner: "AccelFinder", finder: FileFinder, foreign: bool) -> bool:
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


def learn(owner: "AccelFinder", finder: "DirectoryFinder", path: str) -> bool:
    """Have a directory's finder follow the project file at ``path``; remember the modules that this declares.

    Returns:
        Whether that is done later: this thread is at importing what the reading of project files needs.
    """
    if get_ident() in _later:
        _later[get_ident()].append(finder)
        return True
    if _beneath_python():
        return True
    later: list[DirectoryFinder] = []
    # Other threads wait for what is being read, but not for ever: the reader may be waiting for what they import.
    alone = _reading.acquire(timeout=10)
    try:
        # Another thread's `refresh` may have put another table here.
        project = owner.projects.get(path, True)
        if project is True:
            read = _read(path, later)
            with ImportLock():
                if read is not None:
                    _obey(owner, read, path, later)
                project = owner.projects[path] = read or False
    finally:
        if alone:
            _reading.release()
    if isinstance(project, Project):
        finder.project = project
        finder.odd = finder.odd or bool(project.exclude or project.pure)
    _settle(owner, later)
    return False


def _read(path: str, later: "list[DirectoryFinder]") -> "Project | None":
    """What a project file tells; to be called without the import lock.

    Args:
        path: the file.
        later: gets the directories that come up meanwhile, in imports of our own.
    """
    me = get_ident()
    outer = _later.setdefault(me, later) is not later
    before = set(sys.modules)
    try:
        with ColdRoom():
            from .projects import declared

            return declared(path)
    finally:
        if not outer:
            del _later[me]
        _let_go(before)


def _told(owner: "AccelFinder", path: str) -> "Project | None":
    """What a project file says that no directory follows."""
    if get_ident() in _later or _beneath_python():
        return None
    later: list[DirectoryFinder] = []
    alone = _reading.acquire(timeout=10)
    try:
        found = _read(path, later)
    finally:
        if alone:
            _reading.release()
    _settle(owner, later)
    return found


def _settle(owner: "AccelFinder", later: "list[DirectoryFinder]") -> None:
    for one in later:
        adopt_directory(owner, one)
        if is_adopted(one) and one.unsettled:
            settle(owner, one)


def _beneath_python() -> bool:
    """Whether this thread is in the middle of an import of the standard library's, or of our own.

    It could need the module that it is at, and so may another thread, for which it would have to wait.
    """
    frame: Any = sys._getframe()
    first = True
    while frame is not None:
        if frame.f_code is _LOAD:
            top = frame.f_locals["name"].partition(".")[0]
            # What is being searched for is no module yet. `site` runs the user's own code.
            if not first and top != "site" and (top in sys.stdlib_module_names or top == _OWN):
                return True
            first = False
        frame = frame.f_back
    return False


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


def _obey(owner: "AccelFinder", project: Project, path: str, kept: "list[DirectoryFinder]") -> None:
    root = path.rpartition(_SEP)[0]
    for name, declared in project.modules.items():
        known = owner.special.get(name)
        if known is None or known[3] == root:
            owner.special[name] = (*declared, root)
            owner.packed.setdefault(name, None)
    if not owner.include.issuperset(project.include):
        owner.include |= frozenset(project.include)
        for finder in list(sys.path_importer_cache.values()):
            adopt_directory(owner, finder, kept)


# modules


def search(
    finder: "DirectoryFinder", fullname: str, stem: str, names: "set[str]", target: object
) -> "ModuleSpec | None":
    """What ``finder.find_spec`` gives, in all cases."""
    # What Python's own modules are called is not for a project to say; their import would wait for its being read.
    if finder.unsettled and fullname.partition(".")[0] not in sys.stdlib_module_names:
        owner = finder.owner
        settle(owner, finder)
        if owner.special.get(fullname) is not None:
            spec = owner.find_spec(fullname, [finder.path])
            if spec is not None:
                return spec
    limited = finder.limited and fullname not in finder.owner.include
    if not limited and not (building and in_cold_room(fullname)):
        found = _source(finder, fullname, stem, names)
        if found is not None and not excludes(finder, fullname):
            path, toolchain, package, record = found
            beside = _listing(path.rpartition(_SEP)[0]) if package else names
            return spec_of(finder.owner, fullname, path, toolchain, package, beside, record)
    return type(finder).find_spec(finder, fullname, target)  # type: ignore[arg-type]


def spec_of(
    owner: "AccelFinder",
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
    make = owner.make_loader or (PackageLoader if package else native_loader)
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


def _is_another(owner: "AccelFinder", fullname: str, manifest: str) -> bool:
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


def _made(owner: "AccelFinder", fullname: str, pyproject: str) -> "tuple[Any, ...] | None":
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
    # Another thread may take it away.
    project = finder.project
    return patterns + getattr(project, kind) if project is not None else patterns


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
