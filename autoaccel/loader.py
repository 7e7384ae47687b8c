"""The loader: is there an artifact that holds? Then CPython's own dynamic loading. Warm room: stats and reads only.

A *manifest* is how a hit avoids work: one small file for each module, which names the artifact and every input, each
with the stat identity under which its content was seen. It is never the truth about an artifact (its key is); it may be
lost, torn or replaced at any time, and costs a look at the store then. Reading and comparing it is here, because each
module file that a hit needs costs every process 0.1 ms; writing it is in `manifest`.

The manifests of a folder's modules are also kept together in one *pack*, so that importing a hundred of them reads
one file. A pack is a copy that may lag behind: what it lacks is read from the manifest; what it has wrong is looked
at again.

On disk a manifest is eight bytes of SipHash over the rest, then a marshalled tuple, a *record*, in the order of
`manifest.Manifest`, which explains it. The check comes before unmarshalling, because marshal trusts its input.
"""

import _imp
import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import source_hash
from _thread import get_ident

from .finder import getenv

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any

    from .sources import Source

    #: See `manifest.Manifest`.
    Record = tuple[Any, ...]
    Row = tuple[str, int, int, int, int]
    Absent = tuple[str, int, int, tuple[str, ...]]
    Identity = tuple[int, int, int, int]

#: The format of everything below the cache's root; a change of layout is a new bucket beside the old one.
BUCKET = "v1"

#: ABI of this interpreter as CPython spells it in file names: version, free-threading, debug, platform.
TAG = _imp.extension_suffixes()[0].strip(".").rpartition(".")[0] or sys.implementation.cache_tag

#: A stat identity that never equals a real one: an input that was too fresh to trust its time stamps (git's "racy").
FRESH: "Identity" = (0, 0, 0, 0)

_stat = _os.stat
_SEP = "\\" if sys.platform == "win32" else "/"
#: Changes with what is written: a record of another shape is no record.
_SALT = 0x6163_6365_6C03
_LIMIT = 1 << 24
_READ = _os.O_RDONLY | getattr(_os, "O_BINARY", 0) | getattr(_os, "O_NOFOLLOW", 0) | getattr(_os, "O_CLOEXEC", 0)

#: Full name -> artifact that the module of this name in ``sys.modules`` was loaded from.
loaded: "dict[str, str]" = {}

#: Threads that are inside the cold room now.
_building: "set[int]" = set()

#: Trusted cache roots that exist, best first.
_roots: "tuple[str, ...] | None" = None

#: Hash -> context: what the modules of a folder and a toolchain have in common.
_contexts: "dict[str, tuple[Any, ...]]" = {}
#: Folder -> its pack: source path -> a marshalled record.
_packs: "dict[str, dict[str, bytes]]" = {}
#: Contexts whose toolchain and system held when this process looked.
_held: "set[str]" = set()
#: Context -> the listing that had none of its siblings.
_missing: "dict[str, object]" = {}


class NativeLoader(ExtensionFileLoader):
    """Loads the module that a native source becomes; ``path`` is the artifact once it is known, the source before.

    Args:
        name: the module's full name.
        origin: the source's path.
        toolchain: the word in the table of toolchains.
        package: whether the source is a package's ``__init__``.
        mode: ``"build"``, ``"load"`` (never compile) or ``"check"`` (trust no time stamp).
        names: the listing of the source's directory as of now.
        record: what the module's manifest holds, if the caller has just read it.
        seen: the source's row as of now, if the caller has just made it.
    """

    def __init__(
        self,
        name: str,
        origin: str,
        toolchain: str,
        package: bool,
        mode: str = "build",
        names: "set[str] | None" = None,
        record: "Record | None" = None,
        seen: "Row | None" = None,
    ) -> None:
        self.name = name
        self.path = self.origin = origin
        self.toolchain = toolchain
        self.package = package
        self.mode = mode
        self._names = names
        self._record = record
        self._seen = seen
        self._created: ModuleType | None = None

    @property
    def source(self) -> "Source":
        """The source, as the cold rooms take it."""
        from .sources import Source

        return Source(self.name, self.origin, self.toolchain, self.package)

    def create_module(self, spec: ModuleSpec) -> "ModuleType":
        """The uninitialised module, built first where no artifact holds.

        Raises:
            autoaccel.BuildError: the source does not compile.
            autoaccel.ToolchainMissing: no compiler for it is installed.
            autoaccel.LoadError: the library can't be loaded.
        """
        artifact = self.hold() or self._build()
        try:
            module = self.create(spec, artifact)
        except ImportError:
            # The cache may have been cleared between the look and the load.
            if identity(artifact) is not None:
                raise
            module = self.create(spec, self._build())
        self._created = module
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's init; on a reload, build what has changed and put the new content into ``module``."""
        if module is self._created:
            self._created = None
            _imp.exec_dynamic(module)
            loaded[self.name] = self.path
            return
        from .reload import renew

        # On a reload no listing is at hand, and everything is looked at again.
        forget()
        self._record = self._names = self._seen = None
        renew(self, module, self.hold() or self._build())

    def is_package(self, fullname: str) -> bool:
        """Whether the source is a package's ``__init__``."""
        return self.package

    def get_resource_reader(self, name: "str | None" = None) -> "Any":
        """The reader of the source's folder: data files lie beside the source, not in the cache."""
        if not self.package:
            return None
        from importlib.machinery import SourceFileLoader
        from importlib.readers import FileReader

        return FileReader(SourceFileLoader(self.name, self.origin))

    def create(self, spec: ModuleSpec, artifact: str) -> "ModuleType":
        """The uninitialised module in the library at ``artifact``."""
        self.path = spec.cached = artifact
        # CPython opens `origin`; everyone else is to see the source there.
        spec.origin = artifact
        try:
            module: ModuleType = _imp.create_dynamic(spec)
        except ImportError as error:
            from .reload import explained

            problem = explained(error, self.source, artifact)
            if problem is error:
                raise
        else:
            module.__file__ = self.origin
            return module
        finally:
            spec.origin = self.origin
        raise problem

    def hold(self) -> "str | None":
        """Path of the artifact that is what a build now would give, if a manifest tells of one."""
        record = (self._record or read(self.name, self.origin)) if self.mode != "check" else None
        if (
            record is not None
            and stale_reason(record, self._names, self._seen, system=self.mode != "load") is None
            and artifact_reason(record) is None
        ):
            artifact: str = record[3]
            return artifact
        return None

    def _build(self) -> str:
        me = get_ident()
        nested = me in _building
        _building.add(me)
        try:
            from . import pipeline
            from .errors import AccelError

            try:
                return pipeline.obtain(self.source, mode=self.mode).path
            except AccelError as error:
                # The way through our own rooms tells the user nothing.
                problem = error.with_traceback(None)
        finally:
            if not nested:
                _building.discard(me)
        raise problem


def recognise(name: str, path: str, ask: bool) -> "tuple[Record | None, Row | None] | None":
    """What is known of the file at ``path`` as the source of the module ``name``; None where it is not.

    Args:
        name: the full name of the module.
        path: a file of the right name.
        ask: whether only the content tells; what was built from this very file needs no second look.

    Returns:
        The record of its manifest, and its row, as far as they have been made.
    """
    record = read(name, path)
    seen = None
    if record is None or ask:
        try:
            status = _stat(path)
        except (OSError, ValueError):
            return None
        if status.st_mode & 0o170000 != 0o100000:
            return None
        seen = (path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        if ask and (record is None or seen not in record[6]):
            from .csource import claims

            if not claims(name, path):
                return None
    return record, seen


def forget() -> None:
    """Look at the toolchains, the system and the cache's place again at the next check."""
    global _roots
    _roots = None
    _held.clear()
    _missing.clear()
    _packs.clear()


def in_cold_room(fullname: str) -> bool:
    """Whether this thread is building, and ``fullname`` is a module that the build itself may import."""
    if not _building or get_ident() not in _building:
        return False
    top = fullname.partition(".")[0]
    return top in sys.stdlib_module_names or top in (
        "autoaccel",
        "filelock",
        "rich",
        "click",
        "setuptools",
        "pyximport",
    )


# where manifests are


def roots() -> "tuple[str, ...]":
    """The cache roots that exist and may be loaded from, best first; remembered for the process until `forget`.

    Usually this is ``$AUTOACCEL_CACHE_DIR`` or ``~/.cache/autoaccel``; the rest of the ladder is in `location`.
    """
    global _roots
    if _roots is None:
        first = getenv("AUTOACCEL_CACHE_DIR")
        if not first or first[:1] != "/":
            from .location import preferred

            first = preferred()
        if trusted(first) and _os.access(first, 2):
            _roots = (first,)
        else:
            # What this user can't write there is in the fallback.
            from .location import fallback

            _roots = tuple(root for root in (first, fallback()) if trusted(root))
    return _roots


def trusted(directory: str) -> bool:
    """Whether ``directory`` exists and only this user can write it: who can write it runs code in this process."""
    try:
        status = _stat(directory)
    except (OSError, ValueError):
        return False
    if status.st_mode & 0o170000 != 0o040000:
        return False
    return sys.platform == "win32" or (status.st_uid == _os.geteuid() and not status.st_mode & 0o022)


def slot(name: str, source: str) -> str:
    """The file name of the manifest of this module built from this source, for this ABI and this autoaccel."""
    version = sys.modules["autoaccel"].__version__
    return source_hash(_SALT, f"{name}\0{source}\0{TAG}\0{version}".encode("utf-8", "surrogateescape")).hex()


def read(name: str, source: str) -> "Record | None":
    """The record of a module, from its folder's pack or its own manifest; None where there is none."""
    directory = source.rpartition(_SEP)[0]
    pack = _packs.get(directory)
    if pack is None:
        pack = _packs[directory] = read_pack(directory)
    if source in pack:
        record = _record(pack[source])
        if record is not None and record[0] == name:
            return record
    return read_alone(name, source)


def read_pack(directory: str) -> "dict[str, bytes]":
    """The pack of a folder: source path -> a marshalled manifest."""
    for root in roots():
        data = read_checked(f"{root}/{BUCKET}/packs/{slot('', directory)}")
        if data is not None:
            pack: dict[str, bytes] = unmarshalled(data)
            if isinstance(pack, dict):
                return pack
    return {}


def read_alone(name: str, source: str) -> "Record | None":
    """The record of a module as the last build or look wrote it; None where there is none."""
    for root in roots():
        data = read_checked(f"{root}/{BUCKET}/manifests/{slot(name, source)}")
        record = _record(data) if data is not None else None
        # The file name is a 64-bit hash: two modules may share it.
        if record is not None and record[:2] == (name, source):
            return record
    return None


def unmarshalled(data: "bytes | None") -> "Any":
    """The value in what `read_checked` gave; None where it is none."""
    try:
        return marshal.loads(data) if data is not None else None
    except (ValueError, TypeError, EOFError):
        return None


def _record(data: bytes) -> "Record | None":
    record: Record | None = unmarshalled(data)
    return record if type(record) is tuple and len(record) == 10 else None


def read_checked(path: str) -> "bytes | None":
    """The marshalled content of a file that `manifest.pack` made; None where it is missing, foreign or damaged."""
    try:
        descriptor = _os.open(path, _READ)
    except OSError:
        return None
    try:
        data = _os.read(descriptor, 1 << 13)
        if len(data) == 1 << 13:
            while len(data) < _LIMIT and (more := _os.read(descriptor, 1 << 20)):
                data += more
    except OSError:
        return None
    finally:
        _os.close(descriptor)
    body = data[8:]
    return body if source_hash(_SALT, body) == data[:8] else None


# whether they hold


def identity(path: str) -> "Identity | None":
    """(mtime_ns, ctime_ns, size, inode) of the file that ``path`` leads to; None where there is none."""
    try:
        status = _stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def stale_reason(
    record: "Record", names: "set[str] | None" = None, known: "Row | None" = None, *, system: bool = True
) -> "str | None":
    """Why the build that a manifest tells of may not be what a build now would give; None where it holds.

    Args:
        record: what was written down.
        names: the listing of the source's directory, where the caller has just made it.
        known: a row that the caller has just made.
        system: whether the toolchain and the system's headers count.
    """
    _, source, _, _, _, _, inputs, absent, siblings, context = record
    for row in inputs:
        if row == known:
            continue
        try:
            status = _stat(row[0])
        except (OSError, ValueError):
            return f"{row[0]} is gone"
        if (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino) != row[1:]:
            return f"{row[0]} may have changed"
    if names is None:
        names = _listing(source.rpartition(_SEP)[0] or _SEP)
    if not names.isdisjoint(siblings):
        return f"{min(names.intersection(siblings))} has appeared beside {source}"
    if absent:
        appeared = _absent_reason(absent)
        if appeared:
            return appeared
    return _context_reason(context, names, system)


def artifact_reason(record: "Record") -> "str | None":
    """Why the artifact may not be the file that was published; None where it is."""
    seen = identity(record[3])
    if seen is None:
        return f"{record[3]} is gone"
    return None if seen == record[4] else f"{record[3]} may have changed"


def _context_reason(context: str, names: "set[str]", system: bool) -> "str | None":
    if context not in _contexts:
        for root in roots():
            data = read_checked(f"{root}/{BUCKET}/contexts/{context}")
            content = unmarshalled(data)
            if type(content) is tuple and len(content) == 6:
                _contexts[context] = content
                break
        else:
            return "a part of the manifest is gone"
    rows, absent, paths, siblings, variables, values = _contexts[context]
    if _missing.get(context) is not names:
        if not names.isdisjoint(siblings):
            return f"{min(names.intersection(siblings))} has appeared beside the source"
        _missing[context] = names
    if not system:
        return _path_reason(paths)
    os: Any = sys.modules.get("os")
    environment: Any = getattr(os.environ, "_data", None) if os is not None else _os.environ
    if environment is None:  # somebody has put a plain dict there
        environment = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    if tuple(map(environment.get, variables)) != values:
        return f"${_differing(environment, variables, values)} has changed"
    if context in _held:
        return None
    for row in rows:
        if identity(row[0]) != row[1:]:
            return f"{row[0]} may have changed"
    reason = _path_reason(paths) or _absent_reason(absent)
    if reason is None:
        _held.add(context)
    return reason


def _path_reason(paths: "Iterable[str]") -> "str | None":
    for path in paths:
        if identity(path) is not None:
            return f"{path} has appeared"
    return None


def _absent_reason(rows: "Iterable[Absent]") -> "str | None":
    for directory, ctime_ns, inode, names in rows:
        seen = identity(directory)
        if seen is None or (seen[1] == ctime_ns and seen[3] == inode):
            continue
        if not names:
            return f"the content of {directory} has changed"
        appeared = _listing(directory).intersection(names)
        if appeared:
            return f"{directory}{_SEP}{min(appeared)} has appeared"
    return None


def _listing(directory: str) -> "set[str]":
    try:
        return set(_os.listdir(directory))
    except OSError:
        return set()


def _differing(environment: "Any", variables: "tuple[Any, ...]", values: "tuple[Any, ...]") -> str:
    for variable, value in zip(variables, values, strict=True):
        if environment.get(variable) != value:
            return variable.decode("utf-8", "replace") if isinstance(variable, bytes) else str(variable)
    return ""
