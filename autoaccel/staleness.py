"""Why a record does not hold, in words. `autoaccel.holds` is the quick look that the warm room takes first.

Lukewarm room: what the quick look refuses may still hold, say when a folder has changed but nothing that matters in it.
"""

import sys
import time

from . import environ, unmarshalled
from .loader import read_alone

try:
    import posix as _os
except ImportError:  # Windows
    import nt as _os  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._typing import Folder, Record

    #: (mtime_ns, ctime_ns, size, inode)
    Identity = tuple[int, int, int, int]

__all__ = ["COARSE_GRAIN_NS", "FRESH", "WHOLE", "identity", "is_outdated", "listed", "stale_reason"]

#: What is younger than this when it is read may change again under the same stamps, where a file system counts whole
#: seconds (FAT: two).
COARSE_GRAIN_NS = 2_100_000_000

#: So long nothing must have come to a folder or gone before it is noted anew: ten minutes.
_QUIET_NS = 600_000_000_000

#: A stat identity that never equals a real one: an input that was too fresh to trust its time stamps (git's "racy").
FRESH: "Identity" = (0, 0, 0, 0)

_SEP = "\\" if sys.platform == "win32" else "/"

#: In the place of a first missing name: what follows is all that a folder has, because a pattern was looked for in it.
WHOLE = "/"
#: What Python itself writes into folders.
_NOISE = {"__pycache__"}


def identity(path: str) -> "Identity | None":
    """(mtime_ns, ctime_ns, size, inode) of the file that ``path`` leads to; None where there is none."""
    try:
        status = _os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def stale_reason(record: "Record", names: "set[str] | None" = None, *, system: bool = True) -> "str | None":
    """Why the build that a record tells of may not be what a build now would give; None where it is.

    Args:
        record: what was written down, or as much of it as a pack has.
        names: the listing of the source's directory, where the caller has just made it.
        system: whether the toolchain and the system's headers count.
    """
    name, source, (*inputs, artifact), folders, siblings, context = *record[:2], *record[5:9]
    reason = _row_reason(inputs)
    if reason:
        return reason
    if len(record) == 9:
        # Of a pack, which has no more than the quick look needs.
        whole = read_alone(name, source)
        if whole is None or whole[:4] != record[:4] or whole[5:9] != record[5:]:
            return "a part of the manifest is gone"
        record = whole
    if names is None:
        names = _listing(source.rpartition(_SEP)[0] or _SEP)
    appeared = names.intersection(siblings.split("/"))
    if appeared:
        return f"{min(appeared)} has appeared beside {source}"
    content = unmarshalled(f"contexts/{context}")
    missing = unmarshalled(f"contexts/{context}.absent")
    if type(content) is not tuple or type(missing) is not dict:
        return "a part of the manifest is gone"
    return (
        _absent_reason(folders, record[9])
        or _context_reason(content, missing, names, system)
        or (_row_reason([artifact]) or "").replace(artifact[0], record[3])
        or None
    )


def is_outdated(record: "Record") -> bool:
    """Whether a folder is to be noted anew, which each import lists: it had just changed at its note, or has since.

    That takes as long as fifty such imports: so it is done two seconds after a change that was before the note, as
    builds are rarer than imports, and else when nothing has changed for ten minutes.
    """
    content = unmarshalled(f"contexts/{record[8]}")
    for folder, ctime_ns, inode in (*record[6], *(content[1] if type(content) is tuple else ())):
        seen = identity(folder)
        if seen is not None and (seen[1] != ctime_ns or seen[3] != inode):
            quiet = _QUIET_NS if ctime_ns else COARSE_GRAIN_NS
            if time.time_ns() - seen[1] > quiet:
                return True
    return False


def _context_reason(
    content: "tuple[Any, ...]", missing: "dict[str, tuple[str, ...]]", names: "set[str]", system: bool
) -> "str | None":
    rows, folders, paths, siblings, variables, values, groups = content
    appeared = names.intersection(siblings.split("/"))
    if appeared:
        return f"{min(appeared)} has appeared beside the source"
    if not system:
        return _path_reason(paths)
    environment = environ()
    if tuple(map(environment.get, variables)) != values:
        return f"${_differing(environment, variables, values)} has changed"
    rows = [*rows, *((f"{folder.rstrip(_SEP)}{_SEP}{row[0]}", *row[1:]) for folder, inside in groups for row in inside)]
    return _row_reason(rows) or _path_reason(paths) or _absent_reason(folders, missing)


def _row_reason(rows: "Iterable[Any]") -> "str | None":
    for path, *seen in rows:
        found = identity(path)
        if found is None:
            return f"{path} is gone"
        if found != tuple(seen):
            return f"{path} may have changed"
    return None


def _path_reason(paths: "Iterable[str]") -> "str | None":
    for path in paths:
        if identity(path) is not None:
            return f"{path} has appeared"
    return None


def _absent_reason(folders: "Iterable[Folder]", missing: "dict[str, tuple[str, ...]]") -> "str | None":
    for folder, ctime_ns, inode in folders:
        seen = identity(folder)
        if seen is None or (seen[1] == ctime_ns and seen[3] == inode):
            continue
        names = missing.get(folder)
        if names is not None and names[:1] == (WHOLE,):
            names = None if listed(folder) != set(names[1:]) else ()
        if names is None:
            return f"the content of {folder} has changed"
        appeared = _there(folder, names)
        if appeared:
            return f"{folder}{_SEP}{min(appeared)} has appeared"
    return None


def _there(folder: str, names: "Iterable[str]") -> "set[str]":
    """Which of the names a folder has, also where it can't be listed."""
    try:
        return set(_os.listdir(folder)).intersection(names)
    except OSError:
        return {name for name in names if identity(f"{folder}{_SEP}{name}") is not None}


def listed(directory: str) -> "set[str]":
    """The names in a directory, without what Python itself writes there."""
    return _listing(directory) - _NOISE


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
