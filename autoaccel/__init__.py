"""Import native sources: ``import autoaccel; import sample`` compiles ``sample.pyx`` or ``sample.c`` once.

Importing this package puts a finder on ``sys.meta_path``. ``AUTOACCEL=off`` in the environment makes it a no-op.

This file is the warm room: all that the import of an unchanged module runs. It is one file, and has nothing that a hit
does not need, because every process pays for it: a further file costs as much as two imports, a function a twentieth
of that (docs/architecture.md has the figures). What is rarer is in `finder` and `loader`, imported when it comes up.

`AccelFinder` is on ``sys.meta_path`` and in front of ``sys.path_hooks``. It answers almost nothing itself: it sees to
it that each of the user's own directories is looked through by a `DirectoryFinder`, and lets ``PathFinder`` go on. So
the order of ``sys.path``, namespace packages and everybody's path hooks stay CPython's business, an unrelated import
costs two look-ups and no system call, and a directory is listed once for both. A `DirectoryFinder` is the directory's
own ``FileFinder`` with one more question: is there a native source where an extension module would be? `NativeLoader`
asks whether an artifact holds, and loads it as CPython does.

A *record* tells what a build depended on: (name, source, toolchain, artifact, key, rows, folders, siblings, context);
`manifest.Manifest` explains it. The records of a directory's modules lie in one *pack*; what modules share (system
headers, environment) is a *context*, checked once per process. On disk each is eight bytes of SipHash and a marshalled
value; the check comes before unmarshalling, because marshal trusts its input. A record is a note, never the truth
about an artifact (its key is): it may be lost, torn or behind; what does not hold here is looked at in the cold rooms.
"""

import _imp
import marshal
import sys
import time
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import (  # type: ignore[attr-defined]
    ExtensionFileLoader,
    PathFinder,
    _path_isdir,
    _path_isfile,
    _relax_case,
)

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._typing import *
else:
    from _frozen_importlib_external import FileFinder

#: Not empty when this module is reloaded, which changes nothing: others hold what is here.
_before = dict(globals()) if "AccelFinder" in globals() else {}

__version__ = "0.1.0"

__all__ = (
    "AccelError",
    "BuildError",
    "ConfigError",
    "Handle",
    "LoadError",
    "ToolchainMissing",
    "build",
    "install",
    "reload_dependents",
    "sync",
    "uninstall",
    "watch",
)

#: The one table of what is ours. (suffix, toolchain, whether only the content tells that the file is a module), in the
#: order of precedence.
SUFFIXES = (
    (".pyx", "cython", False),
    (".c", "c", True),
    (".cpp", "c++", True),
    (".cc", "c++", True),
    (".cxx", "c++", True),
    (".rs", "rust", True),
)

#: (file name, toolchain): what makes a directory a native package.
PACKAGE_SOURCES = (("__init__.pyx", "cython"),)

#: (file name, toolchain): what makes a directory a crate, where it is no package; only the content tells.
CRATE_SOURCES = (("Cargo.toml", "cargo"),)

#: Modules of others that are told when they are imported.
WATCHED = ("pkgutil", "numba")

#: The format of everything below the cache's root; a change of layout is a new bucket beside the old one.
BUCKET = "v1"

#: ABI of this interpreter as CPython spells it in file names: version, free-threading, debug, platform.
TAG = _imp.extension_suffixes()[0].strip(".").rpartition(".")[0] or sys.implementation.cache_tag

#: Changes with what is written: a record of another shape is no record.
SALT = 0x6163_6365_6C04

#: Packages whose finders leave native modules to others.
_HARMLESS = ("_distutils_hack", "_pytest", "six")

#: Seconds in which a directory may change again without a new time stamp (coarse kernel clocks).
_GRAIN = 0.05

#: When this process came here (wall clock): what changed before is what it reads.
STARTED = time.time_ns()

_SEP = "\\" if sys.platform == "win32" else "/"
#: What lies below these is nobody's source, unless an `include` names it.
_PYTHON = (getattr(sys, "_stdlib_dir", None) or f"{sys.base_prefix}{_SEP}lib") + _SEP
_SITE = f"{_SEP}site-packages{_SEP}"
_DIST = f"{_SEP}dist-packages{_SEP}"
_OWN = __file__.rpartition(_SEP)[0] + _SEP
_READ = _os.O_RDONLY | getattr(_os, "O_BINARY", 0) | getattr(_os, "O_NOFOLLOW", 0) | getattr(_os, "O_CLOEXEC", 0)
#: What the names of environment variables are to the interpreter, see `environ`.
_raw = str if sys.platform == "win32" else str.encode
_stat = _os.stat
_access = _os.access

#: Full name -> artifact that the module of this name in ``sys.modules`` was loaded from.
loaded: "dict[str, str]" = {}
#: Threads that are inside the cold room now.
building: "set[int]" = set()
#: Not empty while the thread that has the lock under which finders are asked is not to give it back, see `cold`.
keeping: "list[object]" = []
#: Trusted cache roots that exist, best first; empty before they are asked for.
known_roots: "list[str]" = []
#: Directory -> its pack: full name -> a marshalled record.
packs: "dict[str, dict[str, bytes]]" = {}
#: Contexts that held when this process looked -> (names that must stay absent, variables, their values).
held: "dict[str, tuple[Any, ...]]" = {}
#: Context -> the listing that had none of its siblings.
clear: "dict[str, object]" = {}


class AccelFinder:
    """The entry of ``sys.meta_path`` and ``sys.path_hooks``; made and undone by `autoaccel.install`.

    Args:
        include: top-level names that are looked at even in site-packages.
        exclude: patterns (``fnmatch``) of full module names that are never claimed.
        pure: patterns of full names of ``.py`` files that Cython compiles.
        mode: handed to the loaders: ``"build"``, ``"load"`` or ``"check"``.
    """

    make_loader: "MakeLoader | None" = None

    def __init__(self, include: "Words" = (), exclude: "Words" = (), pure: "Words" = (), mode: str = "build") -> None:
        self.include = frozenset(include)
        self.exclude = tuple(exclude)
        self.pure = tuple(pure)
        self.mode = mode
        #: the directories' finders that are ours
        self.adopted: list[DirectoryFinder] = []
        #: path of a pyproject.toml -> what it tells the finder; False: nothing; True: not read yet
        self.projects: dict[str, Project | bool | None] = {}
        #: finders that came up while a pyproject.toml was read
        self.later: list[DirectoryFinder] | None = None
        #: names of modules that packs tell of -> the finder of their directory
        self.packed: dict[str, DirectoryFinder] = {}
        #: ``sys.meta_path`` as it was when we looked; empty: we are not there
        self.order: list[Any] = []
        #: whether nobody on it could answer for a packed name before ``PathFinder`` does
        self.direct = False
        #: path entries that a hook is being asked about
        self.asked: set[str] = set()
        #: names that are not found in a directory: (source path, toolchain, package, the project's folder), or None
        self.special: dict[str, Declared | None] = dict.fromkeys(WATCHED)

    def find_spec(self, fullname: str, path: "Path" = None, target: object = None) -> "ModuleSpec | None":
        """The spec of a module that only a pyproject.toml knows, or that ``PathFinder`` would find at once."""
        if sys.meta_path != self.order or sys.path_hooks[:1] != [self]:
            # Somebody has put a finder or a hook in, or an older list back.
            self.attach()
        if fullname in self.packed and self.direct:
            # Where the first directory of the path has it, nobody else is to be asked.
            finder = self.packed[fullname]
            try:
                first = (sys.path if path is None else path)[0]
                there = sys.path_importer_cache[first if first != "" else _os.getcwd()] is finder
            except Exception:  # noqa: BLE001  (a path may be any object, and say anything)
                there = False
            if there and type(finder) is DirectoryFinder:
                spec = finder.find_spec(fullname)
                if spec is not None and type(spec.loader) is NativeLoader:
                    return spec
        if fullname in self.special:
            declared = self.special[fullname]
            if declared is not None and declared[1] == CRATE_SOURCES[0][1] and not self.exclude and not building:
                source, toolchain, _, root = declared
                if path is None or (len(path) and f"{path[0]}{_SEP}".startswith(root + _SEP)):
                    record = _read(fullname, source, source.rpartition(_SEP)[0].rpartition(_SEP)[0])
                    if record is not None and same(record[5][:1]):
                        return _spec(fullname, source, toolchain, self.mode, set(), record)
            return cold("finder", "special_spec", self, fullname, path)  # type: ignore[no-any-return]
        return None

    def __call__(self, path: str) -> "Any":
        """The path hook: what the other hooks give, made ours where it is a directory of the user's."""
        if self not in sys.meta_path:
            self.order = []  # whoever puts us back is to be noticed
        elif path not in self.asked:
            # A hook that asks the others, as this one does, asks us too.
            self.asked.add(path)
            try:
                for hook in sys.path_hooks:
                    if type(hook).__name__ != "AccelFinder":
                        try:
                            finder = hook(path)
                        except ImportError:
                            continue
                        known = len(self.special)
                        self.adopt(finder)
                        if len(self.special) > known:
                            cold("finder", "look_again", finder)
                        # Another thread may have put another one in our place meanwhile.
                        return finder if self.order else sys.path_hooks[0](path)
            finally:
                self.asked.discard(path)
        raise ImportError("no hook is for this", path=path)

    def adopt(self, finder: object) -> None:
        """Make a directory's finder ours in place: whoever holds it, and its path hook's loaders, stay right."""
        if not isinstance(finder, FileFinder) or isinstance(finder, DirectoryFinder):
            return
        inside = finder.path.rstrip(_SEP) + _SEP
        foreign = inside.startswith(_PYTHON) or _SITE in inside or _DIST in inside
        if (foreign and not self.include) or inside.startswith(_OWN):
            return
        odd = type(finder) is not FileFinder or _relax_case()
        ours: Any = finder
        # On the object, not the class: a search that runs while the class is given back goes on.
        vars(ours).update(
            owner=self, base=inside, plain=type(finder), project=None,
            odd=False, foreign=False, limited=False, _stems=(), _listed=None, _changed=-1, _racy=False,
        )  # fmt: skip
        if foreign or odd or self.exclude or self.pure:
            if not cold("finder", "adopt", self, finder, odd):
                return
        else:
            # Last: from here on, other threads may ask it as ours.
            ours.__class__ = DirectoryFinder
        self.adopted.append(ours)
        self.settle(ours)
        if not self.order:
            ours.__class__ = ours.plain

    def settle(self, finder: "DirectoryFinder") -> None:
        """Find the project around a directory, if it is in one that tells something."""
        if finder.limited:
            return
        here = finder.base[:-1]
        # The folder of a crate that is itself on the path: the crate's library is a module.
        path = f"{here}{_SEP}Cargo.toml"
        if _access(path, 0):
            self.projects.setdefault(path, True)
            self.obey(finder, path)
        while not _access(f"{here}{_SEP}pyproject.toml", 0):
            above = here.rpartition(_SEP)[0]
            if not above or _access(f"{here}{_SEP}.git", 0):
                return
            here = above
        path = f"{here}{_SEP}pyproject.toml"
        if path not in self.projects:
            self.projects[path] = _speaks(path)
        self.obey(finder, path)

    def obey(self, finder: "DirectoryFinder", path: str) -> None:
        """Take what the project file at ``path`` tells."""
        if self.projects[path] is True and self.later is None:
            found = told(path)
            if found is not None and not (found[1] or found[2] or found[3]):
                # It does nothing but declare modules.
                for name, declared in found[0].items():
                    self.special.setdefault(name, (*declared, path.rpartition(_SEP)[0]))
                self.projects[path] = False
        if self.projects[path] is not False:
            cold("finder", "learn", self, finder, path)

    def attach(self) -> None:
        """Be the first path hook while on ``sys.meta_path``, and take the directories that are known already."""
        _imp.acquire_lock()
        keeping.append(self)
        try:
            self.order = []
            if self not in sys.meta_path:
                return
            self.order = sys.meta_path[:]
            self.direct = False
            for one in self.order[self.order.index(self) + 1 :]:
                if one is PathFinder:
                    # A frozen program may have modules of its own in the interpreter.
                    self.direct = not hasattr(sys, "frozen")
                    break
                if one not in (BuiltinImporter, FrozenImporter) and one.__module__.partition(".")[0] not in _HARMLESS:
                    break
            if self in sys.path_hooks:
                sys.path_hooks.remove(self)
            sys.path_hooks.insert(0, self)
            for finder in list(sys.path_importer_cache.values()):
                self.adopt(finder)
        finally:
            keeping.pop()
            _imp.release_lock()

    def invalidate_caches(self) -> None:
        """Look at toolchains, projects and the cache's place again (called by ``importlib.invalidate_caches``)."""
        cold("finder", "refresh", self)


class DirectoryFinder(FileFinder):
    """A directory of the user's: ``FileFinder`` with native sources in the place of the extensions they become.

    Attributes:
        owner: the finder on ``sys.meta_path``.
        base: the directory's path with one separator at its end.
        plain: the class that this object had before.
        odd: whether more than the names in the directory decides what is claimed.
        foreign: whether the search for what is not claimed is somebody else's.
        limited: whether only the included top-level names are looked at.
        project: what the project around this root tells.
    """

    def find_spec(self, fullname: str, target: object = None) -> "ModuleSpec | None":
        """The spec of ``fullname`` in this directory, as ``FileFinder`` gives it; never builds, never imports."""
        stem = fullname.rpartition(".")[2]
        try:
            status = _stat(self.path or _os.getcwd())
            mtime, changed = status.st_mtime, status.st_ctime
        except OSError:
            mtime = changed = -1
        # The change time too: what restores a folder's time stamp can't set that back.
        if mtime != self._path_mtime or changed != self._changed or self._racy:
            self._fill_cache()
            self._path_mtime, self._changed = mtime, changed
            self._racy = time.time() - changed < _GRAIN
        names = self._path_cache
        if names is not self._listed:
            self._stems = frozenset([name.partition(".")[0] for name in names])
            self._listed = names
        # Cargo's names have hyphens where Python's have none.
        hyphened = stem.replace("_", "-") if "_" in stem else stem
        if stem not in self._stems and hyphened not in names and not self.foreign:
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
            # What `FileFinder.find_spec` does after its `stat`.
            directory = self.base[:-1]
            pack = packs.get(directory)
            if pack is None:
                # Where there is no cache yet, nobody looks for its other places.
                there = known_roots or not (usual := _usual()) or _access(usual, 0)
                pack = packs[directory] = _pack(directory, self) if there else {}
            jitted = fullname in pack
            if stem in names:
                inside = f"{self.base}{stem}"
                for file, _ in PACKAGE_SOURCES:
                    if _access(f"{inside}{_SEP}{file}", 0):
                        return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
                for suffix, cls in self._loaders:
                    path = f"{inside}{_SEP}__init__{suffix}"
                    if _path_isfile(path):
                        if jitted:
                            return cold("numba.find", "spec", self, cls, fullname, path, [inside], target)  # type: ignore[no-any-return]
                        return self._get_spec(cls, fullname, path, [inside], target)
                if _path_isdir(inside):
                    namespace = inside
            for file, toolchain in CRATE_SOURCES:
                for folder in (stem, hyphened):
                    if folder in names and _access(f"{self.base}{folder}{_SEP}{file}", 0):
                        source = f"{self.base}{folder}{_SEP}{file}"
                        break
        if source is not None:
            record = _read(fullname, source, self.base[:-1], self)
            if record is not None and same(record[5][:1]):
                return _spec(fullname, source, toolchain, self.owner.mode, names, record)
            return cold("finder", "search", self, fullname, stem, names, target)  # type: ignore[no-any-return]
        for suffix, cls in self._loaders:
            if stem + suffix in names:
                path = f"{self.base}{stem}{suffix}"
                if _path_isfile(path):
                    if jitted:
                        return cold("numba.find", "spec", self, cls, fullname, path, None, target)  # type: ignore[no-any-return]
                    return self._get_spec(cls, fullname, path, None, target)
        if namespace is None:
            return None
        spec = ModuleSpec(fullname, None)
        spec.submodule_search_locations = [namespace]
        return spec


class NativeLoader(ExtensionFileLoader):
    """Loads the module that a native source becomes; ``path`` is the artifact once it is known, the source before.

    Args:
        name: the module's full name.
        origin: the source's path.
        toolchain: the word in the table of toolchains.
        mode: ``"build"``, ``"load"`` (never compile) or ``"check"`` (trust no time stamp).
        names: the listing of the source's directory as of now.
        record: what its manifest holds, if the caller has just read it.
    """

    package = False

    def __init__(
        self,
        name: str,
        origin: str,
        toolchain: str,
        mode: str = "build",
        names: "set[str] | None" = None,
        record: "Record | None" = None,
    ) -> None:
        self.name = name
        self.path = self.origin = origin
        self.toolchain = toolchain
        self.mode = mode
        self.names = names
        self.record = record
        #: modules that were made, and not run yet
        self.created: list[ModuleType] = []

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """The uninitialised module, built first where no artifact holds.

        Raises:
            autoaccel.BuildError: the source does not compile.
            autoaccel.ToolchainMissing: no compiler for it is installed.
            autoaccel.LoadError: the library can't be loaded.
        """
        record = self.record
        if record is not None and self.mode == "build" and holds(record, self.names):
            self.path = spec.cached = spec.origin = record[3]
            # CPython opens `origin`; everyone else is to see the source there.
            try:
                module: Any = _imp.create_dynamic(spec)
            except ImportError as error:
                problem = error
            else:
                module.__file__ = self.origin
                self.created.append(module)
                return module  # type: ignore[no-any-return]
            finally:
                spec.origin = self.origin
        else:
            problem = None
        module = cold("loader", "create", self, spec, problem)
        if isinstance(module, ImportError):
            raise module  # from here: the way through the colder rooms tells the user nothing
        self.created.append(module)
        return module  # type: ignore[no-any-return]

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's init; on a reload, build what has changed and put the new content into ``module``."""
        if module in self.created:
            self.created.remove(module)
            _imp.exec_dynamic(module)
            loaded[self.name] = self.path
            return
        problem = cold("loader", "renew", self, module)
        if problem is not None:
            raise problem


def cold(room: str, function: str, *values: object) -> "Any":
    """What a function of a colder module of ours gives.

    Finders are asked under one lock of the interpreter's. The cold rooms import modules, which other threads may be
    importing too: these would wait for that lock, and we for them. So it is given back meanwhile.
    """
    depth = 0
    try:
        while not keeping:
            _imp.release_lock()
            depth += 1
    except RuntimeError:  # it is not, or no more, this thread's
        pass
    try:
        module = __import__(f"{__name__}.{room}", fromlist=("*",))
        return getattr(module, function)(*values)
    finally:
        for _ in range(depth):
            _imp.acquire_lock()


def holds(record: "Record", names: "set[str] | None") -> bool:
    """Whether the build that a record tells of surely is what a build now would give.

    True only where `staleness.stale_reason` has none to give; that one decides when this is False.
    """
    rows, folders, siblings, context = record[5:9]
    if names is None or not names.isdisjoint(siblings) or not same(rows) or not _same_folders(folders):
        return False
    if context not in held:
        content = unmarshalled(f"contexts/{context}")
        if content is None:
            return False
        rows, folders, paths, *told = content
        if not same(rows) or not _same_folders(folders):
            return False
        for path in paths:
            if _access(path, 0):
                return False
        held[context] = told
    siblings, variables, values = held[context]
    if clear.get(context) is not names:
        if not names.isdisjoint(siblings):
            return False
        clear[context] = names
    return tuple(map(environ().get, variables)) == values  # type: ignore[no-any-return]


def same(rows: "tuple[Row, ...]") -> bool:
    """Whether all files are what they were, by their stat identity."""
    try:
        for path, mtime_ns, ctime_ns, size, inode in rows:
            status = _stat(path)
            if (
                status.st_mtime_ns != mtime_ns
                or status.st_ctime_ns != ctime_ns
                or status.st_size != size
                or status.st_ino != inode
            ):
                return False
    except (OSError, ValueError):
        return False
    return True


def _same_folders(rows: "tuple[Folder, ...]") -> bool:
    for folder, ctime_ns, inode in rows:
        try:
            status = _stat(folder)
        except OSError:
            continue
        if status.st_ctime_ns != ctime_ns or status.st_ino != inode:
            return False
    return True


def _spec(name: str, source: str, toolchain: str, mode: str, names: "set[str]", record: "Record") -> ModuleSpec:
    spec = ModuleSpec(name, NativeLoader(name, source, toolchain, mode, names, record), origin=source)
    spec._set_fileattr = True  # type: ignore[attr-defined]
    return spec


def _read(name: str, source: str, directory: str, finder: "DirectoryFinder | None" = None) -> "Record | None":
    """The record of a module, from its directory's pack or its own manifest; None where there is none."""
    pack = packs.get(directory)
    if pack is None:
        pack = _pack(directory, finder)
    data = pack.get(name)
    if data is not None:
        record: Record = marshal.loads(data)
        if record[1] == source:
            return record
    return cold("loader", "read_alone", name, source)  # type: ignore[no-any-return]


def told(path: str) -> "tuple[Any, ...] | None":
    """What a project file tells: (modules, include, exclude, pure), as it was remembered; None if it must be read."""
    values = unmarshalled(f"projects/{slot('', path)}")
    if type(values) is tuple and len(values) == 7 and values[0] == path and same(values[1]):
        for absent in values[2]:
            if _access(absent, 0):
                return None
        return values[3:]
    return None


def _pack(directory: str, finder: "DirectoryFinder | None") -> "dict[str, bytes]":
    pack = packs[directory] = unmarshalled(f"packs/{slot('', directory)}") or {}
    if pack and finder is not None:
        # What is built in or frozen comes first.
        ours = [one for one in pack if one[:2] != "__" and one not in sys.stdlib_module_names]
        finder.owner.packed.update(dict.fromkeys(ours, finder))
        for one in sys.builtin_module_names:
            finder.owner.packed.pop(one, None)
    return pack


def slot(name: str, source: str) -> str:
    """The file name of the manifest of this module built from this source, for this ABI and this autoaccel."""
    text = f"{name}\0{source}\0{TAG}\0{__version__}"
    return _imp.source_hash(SALT, text.encode("utf-8", "surrogateescape")).hex()


def unmarshalled(name: str) -> "Any":
    """The content of a file in the cache that `manifest.pack` made; None where it is missing, foreign or damaged."""
    for root in known_roots or cache_roots():
        try:
            descriptor = _os.open(f"{root}/{BUCKET}/{name}", _READ)
        except OSError:
            continue
        try:
            data = _os.read(descriptor, 1 << 16)
            if len(data) == 1 << 16:
                while more := _os.read(descriptor, 1 << 20):
                    data += more
        except OSError:
            continue
        finally:
            _os.close(descriptor)
        body = data[8:]
        if _imp.source_hash(SALT, body) == data[:8]:
            try:
                return marshal.loads(body)
            except (ValueError, TypeError, EOFError):
                continue
    return None


def cache_roots() -> "list[str]":
    """The cache roots that exist and may be loaded from, best first; remembered for the process until `forget`.

    Here are the usual ones: ``$AUTOACCEL_CACHE_DIR`` and ``~/.cache/autoaccel``; the whole ladder is in `location`.
    """
    first = _usual()
    if first[:1] == b"/" and b".." not in first:
        try:
            status = _stat(first)
        except OSError:
            pass
        else:
            # Who can write it runs code in this process.
            if status.st_mode & 0o170022 == 0o040000 and status.st_uid == _os.geteuid() and _access(first, 2):
                known_roots[:] = [first.decode("utf-8", "surrogateescape")]
                return known_roots
    known_roots[:] = cold("loader", "ladder")
    return known_roots


def _usual() -> bytes:
    told = environ()
    if b"AUTOACCEL_READONLY_CACHES" in told:
        return b""
    first: bytes = told.get(b"AUTOACCEL_CACHE_DIR") or b""  # never on Windows, whose names are no bytes
    if not first and sys.platform == "linux":
        first = (told.get(b"XDG_CACHE_HOME") or told.get(b"HOME", b"") + b"/.cache") + b"/autoaccel"
    return first


def environ() -> "Any":
    """The environment now, in the interpreter's own encoding, without loading ``os`` where nobody has."""
    os: Any = sys.modules.get("os")
    if os is None:
        return _os.environ
    try:
        return os.environ._data
    except AttributeError:  # somebody has put a plain dict there
        return cold("location", "environment")


def _speaks(path: str) -> bool:
    """Whether a pyproject.toml may say anything to the finder."""
    try:
        descriptor = _os.open(path, _os.O_RDONLY | getattr(_os, "O_BINARY", 0))
        try:
            text = b""
            while chunk := _os.read(descriptor, 1 << 16):
                text += chunk
        finally:
            _os.close(descriptor)
    except OSError:
        return False
    return b"tool.autoaccel" in text or b"ext-modules" in text or b"tool.maturin" in text or b'"maturin"' in text


def __getattr__(name: str) -> object:
    if name not in __all__ and name[-17:] != "ipython_extension":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = cold("public", "value", name)
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})


if _before:
    globals().update(_before)
elif not environ().get(_raw("AUTOACCEL")) and "AccelFinder" not in [type(_one).__name__ for _one in sys.meta_path]:
    # The usual case of `hook.install`, without its room.
    _entry = AccelFinder()
    sys.meta_path.insert(0, _entry)
    _entry.attach()
    if "pkgutil" in sys.modules:
        from . import listing  # noqa: F401  (registers itself)
    if "numba" in sys.modules:
        from .numba import watch as _watch  # noqa: F401  (looks after numba itself)
else:
    cold("hook", "start")
