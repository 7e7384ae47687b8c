"""Import native sources: ``import autoaccel; import sample`` compiles ``sample.pyx`` or ``sample.c`` once.

Importing this package puts a finder on ``sys.meta_path``. ``AUTOACCEL=off`` in the environment makes it a no-op.

PYTEST_DONT_REWRITE: pytest warns of plugins that were imported before it, as this package is by ``autoaccel run``.
"""

# This file is the hot room: all that the import of an unchanged module from the first directory of the path runs. It is
# one file, and has nothing that such a hit does not need, because every process pays for it: a further file costs as
# much as two imports, a class or a `from` a twentieth, a name that the interpreter has not yet 0.2 µs, all annotations
# together a fifth of an import (docs/architecture.md has the figures); so types and docstrings are comments here, and
# the finder and its loaders are objects with functions on them. What any other import needs is in `directories`; what
# is rarer is in `finder` and `loader`, imported when it comes up.
#
# The finder (`bare_finder`) is on ``sys.meta_path``. As long as imports are hits, it answers them from the pack of the
# path's first directory (`first_spec`), and nothing else is set up. The first other one puts the hook in front of
# ``sys.path_hooks``, which sees to the user's directories (`directories.attach`). The loader (`native_loader`) asks
# whether an artifact holds, and loads it as CPython does.
#
# A *record* tells what a build depended on: (name, source, toolchain, artifact, key, rows, folders, siblings, context);
# `manifest.Manifest` explains it. The records of a directory's modules lie in one *pack*; what modules share (system
# headers, environment) is a *context*, checked once per process. On disk each is eight bytes of SipHash and a
# marshalled value; the check comes before unmarshalling, because marshal trusts its input. A record is a note, never
# the truth about an artifact (its key is): it may be lost, torn or behind; what does not hold here is looked at in the
# cold rooms.

# Each `from` would cost as much as a function.
import _frozen_importlib as _bootstrap
import _frozen_importlib_external as _external
import _imp
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
_PATH_FINDER = vars(_external)

#: Not empty when this module is reloaded, which changes nothing: others hold what is here.
_before = dict(globals()) if "bare_finder" in globals() else {}

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

#: The format of everything below the cache's root; a change of layout is a new bucket beside the old one.
BUCKET = "v2"

#: ABI of this interpreter as CPython spells it in file names: version, free-threading, debug, platform.
TAG = _imp.extension_suffixes()[0].strip(".").rpartition(".")[0] or sys.implementation.cache_tag

#: Changes with what is written: a record of another shape is no record.
SALT = 0x6163_6365_6C08

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


def bare_finder(mode="build"):
    # type: (str) -> AccelFinder
    # What an entry of ``sys.meta_path`` begins with: `_typing.AccelFinder` explains it, `directories.equip` goes on.
    self = type(sys)("AccelFinder")  # type: Any
    self.__module__ = __name__  # who looks at the others on that list expects it
    self.find_spec = _find_spec.__get__(self)
    self.path_hook = None
    self.lean = False
    self.mode = mode
    self.packed = {}
    self.order = []
    self.direct = False
    return self  # type: ignore[no-any-return]


def _find_spec(self, fullname, path=None, target=None):
    # type: (AccelFinder, str, Path, object) -> ModuleSpec | None
    # The spec of a module that the pack of the path's first directory tells of, before anything else is set up.
    if self.lean and path is None:
        if not self.order:
            look(self)
        if sys.meta_path == self.order:
            spec = first_spec(self, fullname, sys.path)
            if spec is not None:
                return spec
    if fullname.partition(".")[0] == __name__:
        # Or this would have to be imported for its own import. It is found whatever others on that list, or the path
        # hooks, say.
        ours = type(globals().get("__loader__")) is _external.SourceFileLoader
        if ours and fullname == f"{__name__}.directories" and vars(sys.modules.get(__name__, sys)) is globals():
            return _external.spec_from_file_location(fullname, f"{_OWN}directories.py")
        return None
    try:
        return cold("directories", "begin_spec", self, fullname, path, target)  # type: ignore[no-any-return]
    except (ImportError, OSError):
        if sys.modules.get(f"{__name__}.directories") is not None:
            raise
        return None  # our files are gone, say by an upgrade: others' imports go on


def first_spec(self, fullname, path):
    # type: (AccelFinder, str, Any) -> ModuleSpec | None
    # The spec of a module that a pack tells of. Where the first directory of the path has it, nobody else is to be
    # asked (but for `__hello__` and such).
    finder = self.packed.get(fullname)
    if finder is None or not self.direct or fullname[:2] == "__":
        return None
    try:
        first = path[0]
        there = sys.path_importer_cache[first if first != "" else _os.getcwd()] is finder
    except Exception:  # noqa: BLE001  (a path may be any object, and say anything)
        return None
    if not there or finder.owner is not self or finder.odd or finder.foreign or building:
        return None
    names = names_in(finder)
    stem = fullname.rpartition(".")[2]
    for suffix, toolchain, _ in SUFFIXES:
        if stem + suffix in names:
            if stem in names:
                return None
            source = f"{finder.base}{stem}{suffix}"
            break
    else:
        # Cargo's names have hyphens where Python's have none.
        folder = stem if stem in names else stem.replace("_", "-")
        inside = f"{finder.base}{folder}{_SEP}"
        if folder not in names:
            return None
        if folder == stem:
            for suffix, _ in ((".pyx", None), *finder._loaders):
                if _access(f"{inside}__init__{suffix}", 0):
                    return None
        file, toolchain = CRATE_SOURCES[0]
        source = inside + file
    return _hit(self, fullname, source, toolchain, finder.directory, names, finder, 4, whole=True)


def look(self):
    # type: (AccelFinder) -> None
    # See what the pack of the first directory on the path tells of; nothing else is set up for that.
    order = sys.meta_path[:]
    if self not in order:
        return  # somebody asks it in another one's name
    self.order = order
    self.direct = direct(self, order)
    try:
        first = sys.path[0]
        finder = sys.path_importer_cache[first if first != "" else _os.getcwd()]
    except Exception:  # noqa: BLE001  (as above)
        return
    if type(finder) is _external.FileFinder and not _external._relax_case():  # type: ignore[attr-defined]
        inside = finder.path.rstrip(_SEP) + _SEP
        if not foreign(inside) and not inside.startswith(_OWN) and "find_spec" not in vars(finder):
            take(self, finder, inside)
            # Where there is no cache yet, nobody looks for its other places.
            if known_roots or cache_roots(False):
                _pack(inside[:-1], finder)  # type: ignore[arg-type]


def direct(self, order):
    # type: (AccelFinder, list[Any]) -> bool
    # Whether nobody on ``sys.meta_path`` could answer for a packed name before ``PathFinder`` does.
    for one in order[order.index(self) + 1 :]:
        if one is _external.PathFinder:
            # A frozen program may have modules of its own in the interpreter.
            return "frozen" not in vars(sys)
        if one is _bootstrap.BuiltinImporter or one is _bootstrap.FrozenImporter:
            continue
        # The finders of these leave native modules to others.
        if f"{getattr(one, '__module__', '')}".partition(".")[0] not in ("_distutils_hack", "_pytest", "six"):
            break
    return False


def foreign(inside):
    # type: (str) -> bool
    # Whether what lies in a directory is not the user's own; ``inside``: its path with a separator at the end.
    return inside.startswith(_PYTHON) or _SITE in inside or _DIST in inside


def take(self, finder, inside):
    # type: (AccelFinder, Any, str) -> None
    # What a directory's finder of ours begins with.
    finder.owner, finder.base, finder.directory = self, inside, inside[:-1]
    finder.project = finder._listed = finder._stems = finder._changed = None
    finder.odd = finder.foreign = finder.limited = finder._racy = False
    finder.unsettled = ()


def names_in(self):
    # type: (DirectoryFinder) -> set[str]
    # The names in a directory of ours, as they are now.
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
    return names


def native_loader(name, origin, toolchain, mode="build", names=None, record=None, made=None):
    # type: (str, str, str, str, set[str] | None, Record | None, Any) -> NativeLoader
    # The loader of the module that a native source becomes: `_typing.NativeLoader` explains it.
    #
    # ``made``: one of another class of ours, to be filled.
    #
    # At once: other threads may be adding to the packs.
    if made is None and not classes and len(loaded) < 8 and max(map(len, [*packs.values()]), default=0) < 30:
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
            "whole": False,
            "created": (),
        }
        return loader  # type: ignore[no-any-return]
    # A class costs as much as the functions of twenty objects: few processes need it, and who imports from a folder of
    # many modules the sooner the better.
    if made is None and not classes:
        own = {"create_module": create_module, "exec_module": exec_module}
        own |= {"package": False, "asked": 0, "whole": False, "created": ()}  # type: ignore[dict-item]
        classes.append(type("NativeLoader", (_external.ExtensionFileLoader,), own))
    loader = object.__new__(classes[0]) if made is None else made
    # One by one: so its objects share a table of names.
    loader.name = name
    loader.path = loader.origin = origin
    loader.toolchain = toolchain
    loader.mode = mode
    loader.names = names
    loader.record = record
    return loader  # type: ignore[no-any-return]


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
    if record is not None and self.mode == "build" and ((known and self.whole) or holds(record, self.names, known)):
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
        rows, folders, paths, *told, groups = data
        if not same(rows, folders):
            return False
        for folder, inside in groups:
            # Many files of one folder, whose path is gone through once.
            try:
                base = _os.open(folder, _os.O_PATH)
            except OSError:
                return False
            try:
                if not same(inside, base=base):
                    return False
            finally:
                _os.close(base)
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


def same(rows, folders=(), base=None):
    # type: (tuple[Row, ...], tuple[Folder, ...], int | None) -> bool
    # Whether all files are what they were, by their stat identity; likewise the folders that are still there.
    # ``base``: descriptor of the folder in which the rows' paths begin.
    try:
        for path, mtime, changed, size, inode in rows:
            st = _stat(path, dir_fd=base)
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


def _hit(owner, name, source, toolchain, directory, names, finder=None, depth=0, whole=False):
    # type: (AccelFinder, str, str, str, str, set[str], DirectoryFinder | None, int, bool) -> ModuleSpec | None
    # The spec of a module whose source is as it was when it was built, by its directory's pack or its own manifest;
    # ``whole``: and all else that it was built from.
    pack = packs.get(directory)
    if pack is None:
        pack = _pack(directory, finder)
    place = pack.get(name)
    record = marshal.loads(pack[None][place:]) if place is not None else None
    if record is None or record[1] != source:
        record = cold("loader", "read_alone", name, source)
    if record is None or not (holds(record, names) if whole else same(record[5][:1])):
        return None
    loader = native_loader(name, source, toolchain, owner.mode, names, record)
    if depth:
        # As many frames up is the import, where nobody but us, or ``PathFinder``, is in between.
        try:
            frame = sys._getframe(depth)
            between = sys._getframe(depth - 2).f_globals
        except ValueError:
            pass
        else:
            if frame.f_code is _IMPORT and (between is _PATH_FINDER or between.get("__package__") == __name__):
                loader.asked = id(frame)
                loader.whole = whole
    spec = ModuleSpec(name, loader, origin=source)
    spec._set_fileattr = True  # type: ignore[attr-defined]
    return spec


def _pack(directory, finder):
    # type: (str, DirectoryFinder | None) -> dict[str | None, Any]
    pack = packs[directory] = unmarshalled(f"packs/{slot('', directory)}", True) or {}
    if pack and finder is not None:
        packed = finder.owner.packed
        packed |= dict.fromkeys(pack, finder)
        # What is built in or frozen comes first.
        for names in sys.stdlib_module_names, sys.builtin_module_names:
            packed |= dict.fromkeys(set(pack).intersection(names))
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
    _entry = bare_finder()
    sys.meta_path.insert(0, _entry)
    if "importlib" in sys.modules:
        # Who has this may ask what imports ask, past ``sys.meta_path``.
        cold("directories", "begin", _entry)
    else:
        _entry.lean = True
else:
    cold("hook", "start")
