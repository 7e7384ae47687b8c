"""The hook in front of ``sys.path_hooks``, and the user's directories: what any import but a hit needs.

Warm room: nearly every process that imports more than native modules comes here once, with the first such import. So
it is written as `autoaccel` itself is, without classes, annotations and docstrings.

The path hook sees to it that each of the user's own directories is looked through by `directory_spec`, and lets
``PathFinder`` go on. So the order of ``sys.path``, namespace packages and everybody's path hooks stay CPython's
business, an unrelated import costs two look-ups and no system call, and a directory is listed once for both.
`directory_spec` is the ``find_spec`` of the directory's own ``FileFinder``, with one more question: is there a native
source where an extension module would be?
"""

import _frozen_importlib_external as _external
import _imp
import _thread
import sys

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

from . import (
    _OWN,
    _SEP,
    CRATE_SOURCES,
    PACKAGE_SOURCES,
    SUFFIXES,
    ModuleSpec,
    _access,
    _hit,
    _pack,
    bare_finder,
    building,
    cache_roots,
    cold,
    direct,
    first_spec,
    foreign,
    keeping,
    known_roots,
    names_in,
    packs,
    same,
    slot,
    take,
    unmarshalled,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._typing import *

#: Modules of others that are told when they are imported.
WATCHED = ("pkgutil", "numba")

__all__ = (
    "WATCHED",
    "accel_hook",
    "adopt",
    "attach",
    "begin",
    "begin_spec",
    "directory_spec",
    "equip",
    "files",
    "find_spec",
    "new_finder",
    "settle",
    "told",
)


def new_finder(include=(), exclude=(), pure=(), mode="build"):
    # type: (Words, Words, Words, str) -> AccelFinder
    # What `install` puts on ``sys.meta_path``: `_typing.AccelFinder` explains it.
    self = bare_finder(mode)
    equip(self, include, exclude, pure)
    return self


def equip(self, include=(), exclude=(), pure=()):
    # type: (AccelFinder, Words, Words, Words) -> None
    # Give a finder what all imports but hits need, once.
    _imp.acquire_lock()
    try:
        if getattr(self.find_spec, "__func__", None) is not find_spec:
            _equip(self, include, exclude, pure)
    finally:
        _imp.release_lock()


def _equip(self, include, exclude, pure):
    # type: (AccelFinder, Words, Words, Words) -> None
    self.invalidate_caches = _invalidate_caches.__get__(self)
    self.include = frozenset(include)
    self.exclude = tuple(exclude)
    self.pure = tuple(pure)
    self.make_loader = None
    self.adopted = []
    self.projects = {}
    self.asked = set()
    self.special = dict.fromkeys(WATCHED)
    self.packed = {**dict.fromkeys(WATCHED), **self.packed}
    self.path_hook = accel_hook.__get__(self)
    # Last: by this it is known.
    self.find_spec = find_spec.__get__(self)


def attach(self, wait=False, anyway=False):
    # type: (AccelFinder, bool, bool) -> None
    # Be the first path hook while on ``sys.meta_path``, and take the directories that are known already.
    #
    # ``wait``: somebody keeps the import lock, and calls again without it, for what these directories' projects tell.
    # ``anyway``: also where it is not on that list: somebody may ask it who has put something else in its place.
    later = []  # type: list[Any]
    _imp.acquire_lock()
    keeping.append(self)
    try:
        self.lean = False
        equip(self)
        self.order = []
        order = sys.meta_path[:]
        if self not in order and not anyway:
            return
        # Until all is known.
        self.order = [None]
        self.direct = self in order and direct(self, order)
        if self.path_hook in sys.path_hooks:
            sys.path_hooks.remove(self.path_hook)
        sys.path_hooks.insert(0, self.path_hook)
        for finder in list(sys.path_importer_cache.values()):
            adopt(self, finder, later)
        if not later and _settled(self):
            self.order = order
            return
    finally:
        keeping.pop()
        _imp.release_lock()
    # Another thread may take us out meanwhile, and put us back; and this one may be at reading a project.
    for _ in range(0 if wait else 5):
        for finder in later:
            adopt(self, finder)
        for finder in self.adopted:
            if finder.unsettled:
                settle(self, finder)
        _imp.acquire_lock()
        done = not self.order or _settled(self)
        if done and self.order:
            self.order = order
        _imp.release_lock()
        if done:
            break


def begin(self):
    # type: (AccelFinder) -> None
    # Take what is there: directories that are known already, and modules of others that are told.
    attach(self)
    if "pkgutil" in sys.modules:
        from . import listing  # noqa: F401  (registers itself)
    if "numba" in sys.modules:
        from .numba import watch as _watch  # noqa: F401  (looks after numba itself)


def _settled(self):
    # type: (AccelFinder) -> bool
    for finder in self.adopted:  # noqa: SIM110  (a generator would be one function more)
        if finder.unsettled:
            return False
    return True


def begin_spec(self, fullname, path, target):
    # type: (AccelFinder, str, Path, object) -> ModuleSpec | None
    # What `find_spec` gives, where nothing was set up before; other threads may come here meanwhile.
    _imp.acquire_lock()
    # One thread does it, and the others are as all are while it is at it.
    lean, self.lean = self.lean, False
    _imp.release_lock()
    equip(self)
    if lean:
        attach(self, anyway=True)
        order = sys.meta_path[:]
        if self in order and _external.PathFinder in order[: order.index(self)]:
            # Asked already, when the directories were not ours yet.
            spec = _external.PathFinder.find_spec(fullname, path, target)  # type: ignore[arg-type]
            if spec is not None:
                return spec
    return find_spec(self, fullname, path, target)


def find_spec(self, fullname, path=None, target=None):
    # type: (AccelFinder, str, Path, object) -> ModuleSpec | None
    # The spec of a module that only a pyproject.toml knows, or that ``PathFinder`` would find at once.
    #
    # Nearly every name is none of these, and all imports come through here: a function of few variables is the faster.
    try:
        if sys.meta_path == self.order and sys.path_hooks[0] is self.path_hook and fullname not in self.packed:
            return None
    except IndexError:
        pass
    return _named_spec(self, fullname, path, target)


def _named_spec(self, fullname, path, target):
    # type: (AccelFinder, str, Path, object) -> ModuleSpec | None
    hooks = sys.path_hooks
    if sys.meta_path != self.order or not hooks or hooks[0] is not self.path_hook:
        # Somebody has put a finder or a hook in, or an older list back. What reading a project imports, in another
        # thread too, is not to wait for its being read.
        first = fullname.partition(".")[0]
        if first != __package__ and first not in sys.stdlib_module_names:
            attach(self)
            if not self.order:
                return cold("finder", "successor_spec", self, fullname, path, target)  # type: ignore[no-any-return]
    spec = first_spec(self, fullname, sys.path if path is None else path)
    if spec is not None:
        return spec
    declared = self.special.get(fullname, self)  # type: Any
    if declared is not self:
        if declared is not None and declared[1] == CRATE_SOURCES[0][1] and not self.exclude and not building:
            source, toolchain, _, root = declared
            if path is None or (len(path) and f"{path[0]}{_SEP}".startswith(root + _SEP)):
                directory = source.rpartition(_SEP)[0].rpartition(_SEP)[0]
                spec = _hit(self, fullname, source, toolchain, directory, set())
                if spec is not None:
                    return spec
        return cold("finder", "special_spec", self, fullname, path, declared)  # type: ignore[no-any-return]
    return None


def _invalidate_caches(self):
    # type: (AccelFinder) -> None
    # Look at toolchains, projects and the cache's place again (called by ``importlib.invalidate_caches``).
    cold("finder", "refresh", self)


def accel_hook(self, path):
    # type: (AccelFinder, str) -> Any
    # The path hook: what the other hooks give, made ours where it is a directory of the user's.
    asked = path, _thread.get_ident()
    if self not in sys.meta_path:
        self.order = []  # whoever puts us back is to be noticed
    elif asked not in self.asked:
        # A hook that asks the others, as this one does, asks us too.
        self.asked.add(asked)
        try:
            for hook in sys.path_hooks:
                if getattr(hook, "__name__", None) != "accel_hook":
                    try:
                        finder = hook(path)
                    except ImportError:
                        continue
                    adopt(self, finder)
                    # Another thread may have taken us out meanwhile, which lets go of it, and put us back.
                    adopt(self, finder)
                    # Or another one in our place.
                    return finder if self.order else sys.path_hooks[0](path)
        finally:
            self.asked.discard(asked)
    raise ImportError("no hook is for this", path=path)


def adopt(self, finder, later=None):
    # type: (AccelFinder, object, list[Any] | None) -> None
    # Make a directory's finder ours in place: whoever holds it, and its path hook's loaders, stay right.
    #
    # ``later``: the import lock is kept, so that nothing may be imported here. It gets what has to wait for that.
    if not isinstance(finder, _external.FileFinder):
        return
    inside = finder.path.rstrip(_SEP) + _SEP
    others = foreign(inside)
    if (others and not self.include) or inside.startswith(_OWN):
        return
    if getattr(finder.find_spec, "__func__", None) is directory_spec:
        return
    odd = type(finder) is not _external.FileFinder or _external._relax_case()  # type: ignore[attr-defined]
    ours = finder  # type: Any
    other = others or odd or self.exclude or self.pure
    if other and later is not None:
        room = sys.modules.get(f"{__package__}.finder")
        if room is None or getattr(room.__spec__, "_initializing", False):
            later.append(ours)
            return
    take(self, ours, inside)
    if files(self, ours):
        # Odd and foreign until these are read: then no search goes past `finder.search`, which has them read.
        ours.unsettled = (odd,)
        ours.odd = ours.foreign = True
    if other:
        if not cold("finder", "adopt", self, finder, odd):
            return
    else:
        # Last: from here on, other threads may ask it as ours.
        ours.find_spec = directory_spec.__get__(ours)
    self.adopted.append(ours)
    if not self.order:
        vars(ours).pop("find_spec", None)


def files(self, finder):
    # type: (AccelFinder, DirectoryFinder) -> list[str]
    # The project files around a directory that may tell something of it.
    found = []  # type: list[str]
    directory = finder.directory
    # The folder of a crate that is itself on the path: the crate's library is a module.
    path = f"{directory}{_SEP}Cargo.toml"
    if _access(path, 0):
        self.projects.setdefault(path, True)
        found.append(path)
    while not _access(path := f"{directory}{_SEP}pyproject.toml", 0):
        directory = directory.rpartition(_SEP)[0]
        if not directory:
            return found
    inside = finder.directory
    while inside != directory:
        if _access(f"{inside}{_SEP}.git", 0):
            return found  # of another project
        inside = inside.rpartition(_SEP)[0]
    if path not in self.projects:
        data = b""
        try:
            fd = _os.open(path, getattr(_os, "O_BINARY", 0))
            try:
                while more := _os.read(fd, 1 << 16):
                    data += more
            finally:
                _os.close(fd)
        except OSError:
            pass
        # Whether it may say anything to us.
        known = False
        for word in b"tool.autoaccel", b"ext-modules", b"tool.maturin", b'"maturin"', b"'maturin'", b"setuptools-rust":
            known = known or word in data
        self.projects[path] = known
    if self.projects.get(path) is not False:
        found.append(path)
    return found


def settle(self, finder):
    # type: (AccelFinder, DirectoryFinder) -> None
    # Have a directory of ours follow the projects that it is in; not while the import lock is kept.
    before = finder.unsettled
    wait = False
    for path in () if finder.limited else files(self, finder):
        if self.projects.get(path) is True:
            values = told(path)
            if values is not None and not (values[1] or values[2] or values[3]):
                # It does nothing but declare modules.
                for name, declared in values[0].items():
                    self.special.setdefault(name, (*declared, path.rpartition(_SEP)[0]))
                    self.packed.setdefault(name, None)
                self.projects[path] = False
        if self.projects.get(path) is not False and cold("finder", "learn", self, finder, path):
            wait = True
    if before and not wait and finder.unsettled is before:
        project = finder.project
        if project is not None and project not in self.projects.values():
            project = finder.project = None
        finder.foreign = before[0]
        finder.odd = bool(finder.limited or finder.foreign or self.exclude or self.pure) or (
            project is not None and bool(project.exclude or project.pure)
        )
        finder.unsettled = ()


def told(path):
    # type: (str) -> tuple[Any, ...] | None
    # What a project file tells: (modules, include, exclude, pure), as it was remembered; None if it must be read.
    values = unmarshalled(f"projects/{slot('', path)}")
    if type(values) is tuple and len(values) == 7 and values[0] == path and same(values[1]):
        for path in values[2]:
            if _access(path, 0):
                return None
        return values[3:]
    return None


def directory_spec(self, fullname, target=None, depth=5):
    # type: (DirectoryFinder, str, object, int) -> ModuleSpec | None
    # What ``FileFinder.find_spec`` gives for a directory of the user's; never builds, never imports.
    #
    # Native sources are in the place of the extensions they become. The function is put on the object; its class stays.
    stem = fullname.rpartition(".")[2]
    names = names_in(self)
    # Cargo's names have hyphens where Python's have none.
    hyphened = stem.replace("_", "-") if "_" in stem else stem
    # Where there is nothing but native sources, nobody asks for these.
    stems = self._stems or (_stems(self) if self.odd or building else None)
    if stems is not None and stem not in stems and hyphened not in names and not self.foreign:
        return None
    if self.odd or building:
        return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
    namespace = source = None
    for suffix, toolchain, _ in SUFFIXES:
        if stem + suffix in names:
            if stem in names:
                return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
            source = f"{self.base}{stem}{suffix}"
            break
    else:
        if stems is None and stem not in _stems(self) and hyphened not in names and not self.foreign:
            return None
        # What `FileFinder.find_spec` does after its `stat`.
        pack = packs.get(self.directory)
        if pack is None:
            # Where there is no cache yet, nobody looks for its other places.
            pack = packs[self.directory] = _pack(self.directory, self) if known_roots or cache_roots(False) else {}
        jitted = fullname in pack
        if stem in names:
            inside = f"{self.base}{stem}"
            for file, _ in PACKAGE_SOURCES:
                if _access(f"{inside}{_SEP}{file}", 0):
                    return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
            for suffix, loader in self._loaders:
                path = f"{inside}{_SEP}__init__{suffix}"
                if _external._path_isfile(path):  # type: ignore[attr-defined]
                    if jitted:
                        return cold("numba.find", "spec", self, loader, fullname, path, [inside], target)  # type: ignore[no-any-return]
                    return self._get_spec(loader, fullname, path, [inside], target)
            if _external._path_isdir(inside):  # type: ignore[attr-defined]
                namespace = inside
        for file, toolchain in CRATE_SOURCES:
            for name in (stem, hyphened):
                if name in names and _access(f"{self.base}{name}{_SEP}{file}", 0):
                    source = f"{self.base}{name}{_SEP}{file}"
                    break
    if source is not None:
        spec = _hit(self.owner, fullname, source, toolchain, self.directory, names, self, depth)
        if spec is not None:
            return spec
        return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
    for suffix, loader in self._loaders:
        if stem + suffix in names:
            path = f"{self.base}{stem}{suffix}"
            if _external._path_isfile(path):  # type: ignore[attr-defined]
                if jitted:
                    return cold("numba.find", "spec", self, loader, fullname, path, None, target)  # type: ignore[no-any-return]
                return self._get_spec(loader, fullname, path, None, target)
    if namespace is None:
        return None
    spec = ModuleSpec(fullname, None)
    spec.submodule_search_locations = [namespace]
    return spec


def _stems(finder):
    # type: (DirectoryFinder) -> set[str]
    # What the names in a directory begin with, by which most searches end.
    names = finder._path_cache
    stems = set()
    for name in names:
        stems.add(name.partition(".")[0])
    finder._stems = stems
    if finder._path_cache is not names:
        # Another thread has listed it anew meanwhile.
        finder._stems = None
    return stems


#: Not empty when this is imported a second time, because somebody has put an older ``sys.modules`` back: what others
#: hold stays what is compared with it.
_before = vars(sys.modules[__package__]).get("directories")
if _before is not None:
    globals().update(vars(_before))
