"""What a build depended on, as one small file for each module; whether it still holds; and where these files are.

Warm room: stats and reads, never writes. A manifest is how a hit avoids work: it names the artifact and every input,
each with the stat identity under which its content was seen. It is never the truth about an artifact (its key is); it
may be lost, torn or replaced at any time, and costs a look at the store then.

On disk: eight bytes of SipHash over the rest, then a marshalled tuple in the order of `FIELDS`. The check comes before
unmarshalling, because marshal trusts its input.
"""

import marshal
import sys
from _frozen_importlib_external import _path_join  # type: ignore[attr-defined]
from _imp import extension_suffixes, source_hash

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from typing import Any

    Row = tuple[str, int, int, int, int]
    Identity = tuple[int, int, int, int]

__all__ = [
    "BUCKET",
    "FRESH",
    "TAG",
    "Manifest",
    "artifact_reason",
    "environ",
    "fallback",
    "forget",
    "getenv",
    "identity",
    "pack",
    "path_of",
    "preferred",
    "read",
    "read_checked",
    "roots",
    "slot",
    "stale_reason",
    "trusted",
]

#: The format of everything below the root; a change of layout is a new bucket beside the old one.
BUCKET = "v1"

#: ABI of this interpreter as CPython spells it in file names: version, free-threading, debug, platform.
TAG = extension_suffixes()[0].strip(".").rpartition(".")[0] or sys.implementation.cache_tag

# The ladder of places: ``AUTOACCEL_CACHE_DIR``, else the platform's cache folder (what platformdirs gives; a test
# holds the two together), then a private folder for users without a writable home. A folder is used only when its
# owner is this user and nobody else may write it, for whoever can write there runs code in this process.

_roots: "tuple[str, ...] | None" = None


def getenv(name: str) -> "str | None":
    """The environment variable's value now, without making an interpreter load ``os`` that has not."""
    os = sys.modules.get("os")
    if os is not None:
        value: str | None = os.environ.get(name)
        return value
    system: Any = _os.environ
    raw = system.get(name.encode() if sys.platform != "win32" else name)
    return raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw


def environ() -> "dict[Any, Any]":
    """The environment in the interpreter's own encoding: bytes on POSIX, str on Windows; not to be changed."""
    os = sys.modules.get("os")
    raw: dict[Any, Any] = os.environ._data if os is not None else _os.environ
    return raw


def preferred() -> str:
    """The root that the user's environment names; it need not exist."""
    told = getenv("AUTOACCEL_CACHE_DIR")
    if told:
        return told if _absolute(told) else f"{_os.getcwd()}/{told}"
    home = getenv("HOME") or getenv("USERPROFILE") or ""
    if sys.platform == "win32":
        local = getenv("LOCALAPPDATA") or (home and home + "\\AppData\\Local")
        return local + "\\autoaccel\\Cache" if local else fallback()
    if sys.platform == "darwin":
        return home + "/Library/Caches/autoaccel" if _absolute(home) else fallback()
    xdg = getenv("XDG_CACHE_HOME") or ""
    if _absolute(xdg):
        return xdg + "/autoaccel"
    return home + "/.cache/autoaccel" if _absolute(home) else fallback()


def fallback() -> str:
    """The private root for users whose home can't be written."""
    if sys.platform == "win32":
        return (getenv("TEMP") or "C:\\Temp") + "\\autoaccel"
    return f"/var/tmp/autoaccel-{_os.geteuid()}"  # noqa: S108  (its owner and mode are checked)


def roots() -> "tuple[str, ...]":
    """The existing, trusted roots, best first; remembered for the process until `forget`."""
    global _roots
    if _roots is None:
        first, last = preferred(), fallback()
        _roots = tuple(root for root in ((first,) if first == last else (first, last)) if trusted(root))
    return _roots


def trusted(directory: str) -> bool:
    """Whether ``directory`` exists, is this user's, and nobody else can write it."""
    try:
        status = _os.stat(directory)
    except (OSError, ValueError):
        return False
    if status.st_mode & 0o170000 != 0o040000:
        return False
    if sys.platform == "win32":
        return True
    return status.st_uid == _os.geteuid() and not status.st_mode & 0o022


def _absolute(path: str) -> bool:
    return path.startswith("/") or (sys.platform == "win32" and path[1:2] == ":")


_stat = _os.stat
_SALT = 0x6163_6365_6C00
_LIMIT = 1 << 24
_READ = _os.O_RDONLY | getattr(_os, "O_BINARY", 0) | getattr(_os, "O_NOFOLLOW", 0) | getattr(_os, "O_CLOEXEC", 0)

#: A stat identity that never equals a real one: an input that was too fresh to trust its time stamps (git's "racy").
FRESH: "Identity" = (0, 0, 0, 0)


FIELDS = ("name", "source", "toolchain", "artifact", "seen", "key", "inputs", "siblings", "absent", "env", "system")


class Manifest:
    """What a build of one module depended on.

    Attributes:
        name, source, toolchain: the module, its source path, the toolchain's word.
        artifact: path of the library; ``seen`` its stat identity.
        key: the artifact's key in the store.
        inputs: rows (path, mtime_ns, ctime_ns, size, inode) of files that the user may edit; always checked.
        siblings: marshalled tuple of names that must stay absent in the source's own directory.
        absent: rows (directory, mtime_ns, inode, names that must stay absent in it).
        env: rows (name, value or None) in the interpreter's own encoding.
        system: marshalled (inputs, absent) of the toolchain and the system, checked once per process.
    """

    __slots__ = FIELDS

    name: str
    source: str
    toolchain: str
    artifact: str
    seen: "Identity"
    key: str
    inputs: "tuple[Row, ...]"
    siblings: bytes
    absent: "tuple[tuple[str, int, int, tuple[str, ...]], ...]"
    env: "tuple[tuple[bytes | str, bytes | str | None], ...]"
    system: bytes

    def __init__(self, values: "Any") -> None:
        (
            self.name,
            self.source,
            self.toolchain,
            self.artifact,
            self.seen,
            self.key,
            self.inputs,
            self.siblings,
            self.absent,
            self.env,
            self.system,
        ) = values


#: System parts that held when this process looked.
_held: "set[bytes]" = set()

#: Siblings -> the listing that had none of them: modules of one directory mostly share both.
_missing: "dict[bytes, object]" = {}


def forget() -> None:
    """Look at the toolchains, the system and the cache's place again at the next check."""
    global _roots
    _roots = None
    _held.clear()
    _missing.clear()


def slot(name: str, source: str) -> str:
    """The file name of the manifest of this module built from this source, for this ABI."""
    return source_hash(_SALT, f"{name}\0{source}\0{TAG}".encode("utf-8", "surrogateescape")).hex()


def path_of(root: str, name: str, source: str) -> str:
    """Where below a cache root the manifest of a module is."""
    return f"{root}/{BUCKET}/manifests/{slot(name, source)}"


def read(name: str, source: str) -> "Manifest | None":
    """The manifest of a module, from the first root that has a good one; None where there is none."""
    for root in roots():
        data = read_checked(path_of(root, name, source))
        if data is not None:
            try:
                manifest = Manifest(marshal.loads(data))
            except (ValueError, TypeError, EOFError):
                continue
            # The file name is a 64-bit hash: two modules may share it.
            if manifest.name == name and manifest.source == source:
                return manifest
    return None


def pack(values: "Any") -> bytes:
    """The bytes of a file that `read_checked` accepts."""
    data = marshal.dumps(values)
    return source_hash(_SALT, data) + data


def read_checked(path: str) -> "bytes | None":
    """The marshalled content of a file that `pack` wrote; None where it is missing, foreign or damaged."""
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


def identity(path: str) -> "Identity | None":
    """(mtime_ns, ctime_ns, size, inode) of the file that ``path`` leads to; None where there is none."""
    try:
        status = _os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def stale_reason(manifest: Manifest, names: "Container[str] | None" = None, *, system: bool = True) -> "str | None":
    """Why the build that ``manifest`` tells of may not be what a build now would give; None where it holds.

    Args:
        manifest: what was recorded.
        names: the listing of the source's directory, where the caller has just made it.
        system: whether the toolchain and the system's headers count.
    """
    for row in manifest.inputs:
        try:
            status = _stat(row[0])
        except (OSError, ValueError):
            return f"{row[0]} is gone"
        if (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino) != row[1:]:
            return f"{row[0]} may have changed"
    environment = environ()
    for name, value in manifest.env:
        if environment.get(name) != value:
            return f"${_text(name)} has changed"
    if names is None or _missing.get(manifest.siblings) is not names:
        appeared = _appeared(_parent(manifest.source), marshal.loads(manifest.siblings), names)
        if appeared:
            return appeared
        if names is not None:
            _missing[manifest.siblings] = names
    if manifest.absent:
        appeared = _absent_reason(manifest.absent)
        if appeared:
            return appeared
    return _system_reason(manifest.system) if system and manifest.system not in _held else None


def artifact_reason(manifest: Manifest) -> "str | None":
    """Why the artifact may not be the file that was published; None where it is."""
    seen = identity(manifest.artifact)
    if seen is None:
        return f"{manifest.artifact} is gone"
    return None if seen == manifest.seen else f"{manifest.artifact} may have changed"


def _absent_reason(rows: "Iterable[tuple[str, int, int, tuple[str, ...]]]") -> "str | None":
    for directory, mtime_ns, inode, names in rows:
        seen = identity(directory)
        if seen is None or (seen[0] == mtime_ns and seen[3] == inode):
            continue
        appeared = _appeared(directory, names, None)
        if appeared:
            return appeared
    return None


def _system_reason(blob: bytes) -> "str | None":
    inputs, absent = marshal.loads(blob)
    for row in inputs:
        if identity(row[0]) != row[1:]:
            return f"{row[0]} may have changed"
    reason = _absent_reason(absent)
    if reason is None:
        _held.add(blob)
    return reason


def _appeared(directory: str, names: "tuple[str, ...]", listing: "Container[str] | None") -> "str | None":
    if listing is None:
        try:
            listing = frozenset(_os.listdir(directory))
        except OSError:
            return None
    for name in names:
        if name in listing:
            return f"{_path_join(directory, name)} has appeared"
    return None


def _parent(path: str) -> str:
    cut = max(path.rfind("/"), path.rfind("\\") if sys.platform == "win32" else -1)
    return path[:cut] or "/"


def _text(name: "bytes | str") -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
