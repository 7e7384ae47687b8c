"""Import native sources: ``import autoaccel; import sample`` compiles ``sample.pyx`` or ``sample.c`` once.

Importing this package puts a finder on ``sys.meta_path``. ``AUTOACCEL=off`` in the environment makes it a no-op.

This file is the warm room: all that the import of an unchanged module runs. It is one file, and has nothing that a hit
does not need, because every process pays for it: a further file costs as much as two imports, a class or a ``from`` a
twentieth, all annotations together a fifth of that (docs/architecture.md has the figures); so types and docstrings are
comments here, and the finder and its loaders are objects with functions on them. What is rarer is in `finder` and
`loader`, imported when it comes up.

The finder (`new_finder`) is on ``sys.meta_path``, its hook in front of ``sys.path_hooks``. It answers almost nothing
itself: it sees to it that each of the user's own directories is looked through by `directory_spec`, and lets
``PathFinder`` go on. So the order of ``sys.path``, namespace packages and everybody's path hooks stay CPython's
business, an unrelated import costs two look-ups and no system call, and a directory is listed once for both.
`directory_spec` is the ``find_spec`` of the directory's own ``FileFinder``, with one more question: is there a native
source where an extension module would be? The loader (`native_loader`) asks whether an artifact holds, and loads it as
CPython does.

A *record* tells what a build depended on: (name, source, toolchain, artifact, key, rows, folders, siblings, context);
`manifest.Manifest` explains it. The records of a directory's modules lie in one *pack*; what modules share (system
headers, environment) is a *context*, checked once per process. On disk each is eight bytes of SipHash and a marshalled
value; the check comes before unmarshalling, because marshal trusts its input. A record is a note, never the truth about
an artifact (its key is): it may be lost, torn or behind; what does not hold here is looked at in the cold rooms.

PYTEST_DONT_REWRITE: pytest warns of plugins that were imported before it, as this package is by ``autoaccel run``.
"""

# Each `from` would cost as much as a function.
import _frozen_importlib as _bootstrap
import _frozen_importlib_external as _external
import _imp
import _thread
import marshal
import sys
import time

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._typing import *

ModuleSpec = _bootstrap.ModuleSpec
#: The function that finds a module and loads it: what was looked at to find it need not be looked at again to load it.
_IMPORT = _bootstrap._find_and_load_unlocked.__code__  # type: ignore[attr-defined]
_GLOBALS = globals()
_PATH_FINDER = vars(_external)

#: Not empty when this module is reloaded, which changes nothing: others hold what is here.
_before = dict(globals()) if "new_finder" in globals() else {}

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
BUCKET = "v2"

#: ABI of this interpreter as CPython spells it in file names: version, free-threading, debug, platform.
TAG = _imp.extension_suffixes()[0].strip(".").rpartition(".")[0] or sys.implementation.cache_tag

#: Changes with what is written: a record of another shape is no record.
SALT = 0x6163_6365_6C07

#: When this process came here (wall clock): what changed before is what it reads.
STARTED = time.time_ns()

_SEP = "\\" if sys.platform == "win32" else "/"
#: What lies below these is nobody's source, unless an `include` names it.
_PYTHON = (getattr(sys, "_stdlib_dir", None) or f"{sys.base_prefix}{_SEP}lib") + _SEP
_SITE = f"{_SEP}site-packages{_SEP}"
_DIST = f"{_SEP}dist-packages{_SEP}"
_OWN = __file__.rpartition(_SEP)[0] + _SEP
#: A pipe in the place of a file would be waited for.
_READ = _os.O_NOFOLLOW | _os.O_NONBLOCK if sys.platform != "win32" else _os.O_BINARY  # type: ignore[attr-defined]
_stat = _os.stat
_access = _os.access

#: Full name -> artifact that the module of this name in ``sys.modules`` was loaded from.
loaded = {}  # type: dict[str, str]
#: The class of loaders, once there are many.
classes = []  # type: list[Any]
#: Threads that are inside the cold room now.
building = set()  # type: set[int]
#: Not empty while the thread that has the lock under which finders are asked is not to give it back, see `cold`.
keeping = []  # type: list[object]
#: Trusted cache roots that exist, best first; empty before they are asked for.
known_roots = []  # type: list[str]
#: Directory -> its pack: full name -> where a marshalled record is, and "/" with a context's name -> where the context
#: is, both from the end of what is under None.
packs = {}  # type: dict[str, dict[str | None, Any]]
#: Contexts that held when this process looked -> [names that must stay absent, variables, their values; None: unset].
held = {}  # type: dict[str, tuple[Any, ...]]
#: Context -> the listing that had none of its siblings.
clear = {}  # type: dict[str, object]


def new_finder(include=(), exclude=(), pure=(), mode="build"):
    # type: (Words, Words, Words, str) -> AccelFinder
    # What an entry of ``sys.meta_path`` is: `_typing.AccelFinder` explains it; made and undone by `install`.
    self = type(sys)("AccelFinder")  # type: Any
    self.__module__ = __name__  # who looks at the others on that list expects it
    self.find_spec = _find_spec.__get__(self)
    self.invalidate_caches = _invalidate_caches.__get__(self)
    self.path_hook = accel_hook.__get__(self)
    self.include = frozenset(include)
    self.exclude = tuple(exclude)
    self.pure = tuple(pure)
    self.mode = mode
    self.make_loader = None
    self.adopted = []
    self.projects = {}
    self.packed = {}
    self.order = []
    self.direct = False
    self.asked = set()
    self.special = dict.fromkeys(WATCHED)
    return self  # type: ignore[no-any-return]


def _find_spec(self, fullname, path=None, target=None):
    # type: (AccelFinder, str, Path, object) -> ModuleSpec | None
    # The spec of a module that only a pyproject.toml knows, or that ``PathFinder`` would find at once.
    hooks = sys.path_hooks
    if sys.meta_path != self.order or not hooks or hooks[0] is not self.path_hook:
        # Somebody has put a finder or a hook in, or an older list back. What reading a project imports, in another
        # thread too, is not to wait for its being read.
        first = fullname.partition(".")[0]
        if first != __name__ and first not in sys.stdlib_module_names:
            attach(self)
            if not self.order:
                return cold("finder", "successor_spec", self, fullname, path, target)  # type: ignore[no-any-return]
    finder = self.packed.get(fullname)
    if finder is not None and self.direct and fullname[:2] != "__":
        # Where the first directory of the path has it, nobody else is to be asked (but for `__hello__` and such).
        try:
            first = (sys.path if path is None else path)[0]
            there = sys.path_importer_cache[first if first != "" else _os.getcwd()] is finder
        except Exception:  # noqa: BLE001  (a path may be any object, and say anything)
            there = False
        if there and finder.owner is self and not finder.foreign:
            spec = directory_spec(finder, fullname, None, 4)
            if spec is not None and getattr(spec.loader, "package", None) is False:
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
    foreign = inside.startswith(_PYTHON) or _SITE in inside or _DIST in inside
    if (foreign and not self.include) or inside.startswith(_OWN):
        return
    if getattr(finder.find_spec, "__func__", None) is directory_spec:
        return
    odd = type(finder) is not _external.FileFinder or _external._relax_case()  # type: ignore[attr-defined]
    ours = finder  # type: Any
    other = foreign or odd or self.exclude or self.pure
    if other and later is not None:
        room = sys.modules.get(f"{__name__}.finder")
        if room is None or getattr(room.__spec__, "_initializing", False):
            later.append(ours)
            return
    ours.owner, ours.base, ours.directory = self, inside, inside[:-1]
    ours.project = ours._listed = ours._stems = ours._changed = None
    ours.odd = ours.foreign = ours.limited = ours._racy = False
    ours.unsettled = ()
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


def attach(self, wait=False):
    # type: (AccelFinder, bool) -> None
    # Be the first path hook while on ``sys.meta_path``, and take the directories that are known already.
    #
    # ``wait``: somebody keeps the import lock, and calls again without it, for what these directories' projects tell.
    later = []  # type: list[Any]
    _imp.acquire_lock()
    keeping.append(self)
    try:
        self.order = []
        order = sys.meta_path[:]
        if self not in order:
            return
        # Until all is known.
        self.order = [None]
        self.direct = False
        for one in order[order.index(self) + 1 :]:
            if one is _external.PathFinder:
                # A frozen program may have modules of its own in the interpreter.
                self.direct = "frozen" not in vars(sys)
                break
            if one is _bootstrap.BuiltinImporter or one is _bootstrap.FrozenImporter:
                continue
            # The finders of these leave native modules to others.
            if f"{getattr(one, '__module__', '')}".partition(".")[0] not in ("_distutils_hack", "_pytest", "six"):
                break
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


def _settled(self):
    # type: (AccelFinder) -> bool
    for finder in self.adopted:  # noqa: SIM110  (a generator would be one function more)
        if finder.unsettled:
            return False
    return True


def _invalidate_caches(self):
    # type: (AccelFinder) -> None
    # Look at toolchains, projects and the cache's place again (called by ``importlib.invalidate_caches``).
    cold("finder", "refresh", self)


def directory_spec(self, fullname, target=None, depth=5):
    # type: (DirectoryFinder, str, object, int) -> ModuleSpec | None
    # What ``FileFinder.find_spec`` gives for a directory of the user's; never builds, never imports.
    #
    # Native sources are in the place of the extensions they become. The function is put on the object; its class stays.
    stem = fullname.rpartition(".")[2]
    try:
        st = _stat(self.path or _os.getcwd())
        mtime, changed = st.st_mtime, st.st_ctime
    except OSError:
        mtime = changed = -1
    # The change time too: what restores a folder's time stamp can't set that back.
    if mtime != self._path_mtime or changed != self._changed or self._racy:
        age = time.time() - changed
        # A listing from before we came is good where nothing has touched the folder since its last entry came or went.
        if self._changed or mtime != self._path_mtime or mtime != changed or age < 10:
            self._fill_cache()
        self._path_mtime, self._changed = mtime, changed
        # So long a directory may change again without a new time stamp (coarse kernel clocks, or whole seconds).
        self._racy = age < (0.05 if changed % 1 else 2.1)
    names = self._path_cache
    if names is not self._listed:
        self._stems = None
        self._listed = names
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


def native_loader(name, origin, toolchain, mode="build", names=None, record=None):
    # type: (str, str, str, str, set[str] | None, Record | None) -> NativeLoader
    # The loader of the module that a native source becomes: `_typing.NativeLoader` explains it.
    # At once: other threads may be adding to the packs.
    if len(loaded) < 8 and max(map(len, [*packs.values()]), default=0) < 30:
        loader = object.__new__(_external.ExtensionFileLoader)  # type: Any
        # At once: one by one, they would have the dictionary grow twice.
        loader.__dict__ = {
            "create_module": create_module.__get__(loader),
            "exec_module": exec_module.__get__(loader),
            "name": name,
            "path": origin,
            "origin": origin,
            "toolchain": toolchain,
            "mode": mode,
            "names": names,
            "record": record,
            "package": False,
            "asked": 0,
            "created": (),
        }
        return loader  # type: ignore[no-any-return]
    # A class costs as much as the functions of twenty objects: few processes need it, and who imports from a folder of
    # many modules the sooner the better.
    if not classes:
        own = {"__init__": prepare, "create_module": create_module, "exec_module": exec_module}
        own |= {"package": False, "asked": 0, "created": ()}  # type: ignore[dict-item]
        classes.append(type("NativeLoader", (_external.ExtensionFileLoader,), own))
    return classes[0](name, origin, toolchain, mode, names, record)  # type: ignore[no-any-return]


def prepare(self, name, origin, toolchain, mode="build", names=None, record=None):
    # type: (Any, str, str, str, str, set[str] | None, Record | None) -> None
    # What a loader of ours begins with.
    self.name = name
    self.path = self.origin = origin
    self.toolchain = toolchain
    self.mode = mode
    self.names = names
    self.record = record


def create_module(self, spec):
    # type: (NativeLoader, ModuleSpec) -> ModuleType
    # The uninitialised module, built first where no artifact holds.
    record = self.record
    known = False
    if self.asked:
        # Once, and only where the same import goes on.
        try:
            known = id(sys._getframe(3)) == self.asked
        except ValueError:
            known = False
        self.asked = 0
    if record is not None and self.mode == "build" and holds(record, self.names, known):
        self.path = spec._cached = record[3]  # type: ignore[attr-defined]
        # CPython opens `origin`; everyone else is to see the source there. The last row is the library's.
        spec.origin = record[5][-1][0]
        try:
            module = _imp.create_dynamic(spec)  # type: Any
        except ImportError as error:
            problem = error
        else:
            module.__file__ = self.origin
            self.created += (module,)
            # Fewer objects for the garbage collector to look through as long as the process lives.
            self.record = self.names = None
            return module  # type: ignore[no-any-return]
        finally:
            spec.origin = self.origin
    else:
        problem = None
    module = cold("loader", "create", self, spec, problem)
    if isinstance(module, ImportError):
        raise module  # from here: the way through the colder rooms tells the user nothing
    self.created += (module,)
    return module  # type: ignore[no-any-return]


def exec_module(self, module):
    # type: (NativeLoader, ModuleType) -> None
    # Run the module's init; on a reload, build what has changed and put the new content into ``module``.
    if module in self.created:
        if len(self.created) == 1:
            self.created = ()
        else:
            created = [*self.created]
            created.remove(module)
            self.created = (*created,)
        _imp.exec_dynamic(module)
        loaded[self.name] = self.path
        return
    problem = cold("loader", "renew", self, module)
    if problem is not None:
        raise problem


def cold(room, function, *values):
    # type: (str, str, *object) -> Any
    # What a function of a colder module of ours gives.
    #
    # Finders are asked under one lock of the interpreter's. The cold rooms import modules, which other threads may be
    # importing too: these would wait for that lock, and we for them. So it is given back meanwhile.
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


def holds(record, names, known=False):
    # type: (Record, set[str] | None, bool) -> bool
    # Whether the build that a record tells of surely is what a build now would give.
    #
    # True only where `staleness.stale_reason` has none to give; that one decides when this is False. The source itself
    # is not looked at where it is ``known`` to be what it was.
    rows, folders, siblings, context = record[5:9]
    if known:
        rows = rows[1:]
    if names is None or not names.isdisjoint(siblings.split("/")) or not same(rows, folders):
        return False
    told = held.get(context)
    if told is None:
        data = None
        for pack in (*packs.values(),):  # at once: other threads may be adding to it
            if f"/{context}" in pack:
                data = marshal.loads(pack[None][pack[f"/{context}"] :])
        if data is None:
            data = unmarshalled(f"contexts/{context}")
        if data is None:
            return False
        rows, folders, paths, *told = data
        if not same(rows, folders):
            return False
        for path in paths:
            if _access(path, 0):
                return False
        if told[2].count(None) == len(told[2]):
            told[2] = None
        held[context] = told
    siblings, variables, values = told
    if clear.get(context) is not names:
        # Many names, that most folders have none of: to look for a few in one text is cheaper than to make them all.
        for name in names if len(names) < 50 else names.intersection(siblings.split("/")):
            if f"/{name}/" in siblings:
                return False
        clear[context] = names
    if values is None:
        # None of them was set, which is the usual case, and asked in one go.
        return environ().keys().isdisjoint(variables)  # type: ignore[no-any-return]
    return tuple(map(environ().get, variables)) == values  # type: ignore[no-any-return]


def same(rows, folders=()):
    # type: (tuple[Row, ...], tuple[Folder, ...]) -> bool
    # Whether all files are what they were, by their stat identity; likewise the folders that are still there.
    try:
        for path, mtime, changed, size, inode in rows:
            st = _stat(path)
            if st.st_mtime_ns != mtime or st.st_ctime_ns != changed or st.st_size != size or st.st_ino != inode:
                return False
    except (OSError, ValueError):
        return False
    for path, changed, inode in folders:
        try:
            st = _stat(path)
        except OSError:
            continue
        if st.st_ctime_ns != changed or st.st_ino != inode:
            return False
    return True


def _hit(owner, name, source, toolchain, directory, names, finder=None, depth=0):
    # type: (AccelFinder, str, str, str, str, set[str], DirectoryFinder | None, int) -> ModuleSpec | None
    # The spec of a module whose source is as it was when it was built, by its directory's pack or its own manifest.
    pack = packs.get(directory)
    if pack is None:
        pack = _pack(directory, finder)
    place = pack.get(name)
    record = marshal.loads(pack[None][place:]) if place is not None else None
    if record is None or record[1] != source:
        record = cold("loader", "read_alone", name, source)
    if record is None or not same(record[5][:1]):
        return None
    loader = (classes[0] if classes else native_loader)(name, source, toolchain, owner.mode, names, record)
    if depth:
        # As many frames up is the import, where nobody but us, or ``PathFinder``, is in between.
        try:
            frame = sys._getframe(depth)
            between = sys._getframe(depth - 2).f_globals
        except ValueError:
            pass
        else:
            if frame.f_code is _IMPORT and (between is _GLOBALS or between is _PATH_FINDER):
                loader.asked = id(frame)
    spec = ModuleSpec(name, loader, origin=source)
    spec._set_fileattr = True  # type: ignore[attr-defined]
    return spec


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


def _pack(directory, finder):
    # type: (str, DirectoryFinder | None) -> dict[str | None, Any]
    pack = packs[directory] = unmarshalled(f"packs/{slot('', directory)}", True) or {}
    if pack and finder is not None:
        packed = finder.owner.packed
        packed |= dict.fromkeys(pack, finder)
        # What is built in or frozen comes first.
        for names in sys.stdlib_module_names, sys.builtin_module_names:
            for name in set(pack).intersection(names):
                packed.pop(name, None)
    return pack


def slot(name, source):
    # type: (str, str) -> str
    # The file name of the manifest of this module built from this source, for this ABI and this autoaccel.
    text = f"{name}\0{source}\0{TAG}\0{__version__}"
    return _imp.source_hash(SALT, text.encode("utf-8", "surrogateescape")).hex()


def unmarshalled(name, pack=False):
    # type: (str, bool) -> Any
    # The content of a file in the cache that `manifest.pack` made; None where it is missing, foreign or damaged.
    #
    # ``pack``: it is a dictionary, and gets all of the file under None: what follows in it is left alone, as only the
    # records of what is imported need become objects.
    for root in known_roots or cache_roots():
        try:
            path = f"{root}/{BUCKET}/{name}"
            fd = _os.open(path, _READ)
        except OSError:
            continue
        try:
            # Larger buffers would cost the process system calls and page faults, to get them and to give them back; to
            # begin again is cheaper than to put two pieces together.
            size = 1 << 14
            while len(data := _os.read(fd, size)) == size:
                size += _os.fstat(fd).st_size
                _os.lseek(fd, 0, 0)
        except OSError:
            continue
        finally:
            _os.close(fd)
        content = memoryview(data)[8:]
        if _imp.source_hash(SALT, content) == data[:8]:
            try:
                value = marshal.loads(content)  # type: Any
                if pack:
                    value[None] = content
            except (ValueError, TypeError, EOFError):
                continue
            else:
                return value
    return None


def cache_roots(all_places=True):
    # type: (bool) -> list[str]
    # The cache roots that exist and may be loaded from, best first; remembered for the process until `forget`.
    #
    # Here are the usual ones: ``$AUTOACCEL_CACHE_DIR`` and ``~/.cache/autoaccel``; the whole ladder is in `location`,
    # and is not asked for when the usual one does not exist and ``all_places`` is False.
    told = environ()
    first = told.get(b"AUTOACCEL_CACHE_DIR") or b""  # never on Windows, whose names are no bytes
    if b"AUTOACCEL_READONLY_CACHES" in told:
        first = b""
    elif not first and sys.platform == "linux":
        first = (told.get(b"XDG_CACHE_HOME") or told.get(b"HOME", b"") + b"/.cache") + b"/autoaccel"
    if first[:1] == b"/" and b".." not in first:
        try:
            st = _stat(first)
        except OSError:
            if not all_places:
                return known_roots
        else:
            # Who can write it runs code in this process.
            if st.st_mode & 0o170022 == 0o040000 and st.st_uid == _os.geteuid() and _access(first, 2):
                known_roots[:] = [first.decode("utf-8", "surrogateescape")]
                return known_roots
    known_roots[:] = cold("loader", "ladder")
    return known_roots


def environ():
    # type: () -> Any
    # The environment now, in the interpreter's own encoding, without loading ``os`` where nobody has.
    os = sys.modules.get("os")  # type: Any
    if os is None:
        return _os.environ
    try:
        return os.environ._data
    except AttributeError:  # somebody has put a plain dict there
        return cold("location", "environment")


def __getattr__(name):
    # type: (str) -> object
    if name not in __all__ and name[-17:] != "ipython_extension":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = cold("public", "value", name)
    return value


def __dir__():
    # type: () -> list[str]
    return sorted({*globals(), *__all__})


_usual = not environ().get("AUTOACCEL" if sys.platform == "win32" else b"AUTOACCEL")
for _entry in sys.meta_path:
    if getattr(_entry, "__name__", None) == "AccelFinder":
        _usual = False
if _before:
    globals().update(_before)
elif _usual:
    # The usual case of `hook.install`, without its room.
    _entry = new_finder()
    sys.meta_path.insert(0, _entry)
    attach(_entry)
    if "pkgutil" in sys.modules:
        from . import listing  # noqa: F401  (registers itself)
    if "numba" in sys.modules:
        from .numba import watch as _watch  # noqa: F401  (looks after numba itself)
else:
    cold("hook", "start")
