"""Manifests for the cold rooms: what is in them, reading and writing. Comparing them is the warm room's."""

from __future__ import annotations

import marshal
import os
import sys
from _imp import source_hash
from dataclasses import astuple, dataclass

from . import _READ, BUCKET, CRATE_SOURCES, SALT, TAG, cache_roots, loader, packs, slot, staleness, unmarshalled
from .loader import executable, forget, trusted
from .location import fallback, layers, preferred
from .staleness import COARSE_GRAIN_NS, FRESH, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._typing import Folder as Folder
    from ._typing import Group as Group
    from ._typing import Row as Row
    from .staleness import Identity as Identity

__all__ = [
    "BUCKET",
    "COARSE_GRAIN_NS",
    "FRESH",
    "TAG",
    "Manifest",
    "absent",
    "at",
    "cache_roots",
    "context_name",
    "environment_row",
    "executable",
    "fallback",
    "forget",
    "grouped",
    "home",
    "identity",
    "layers",
    "load",
    "name_of",
    "pack",
    "pack_name",
    "pack_records",
    "preferred",
    "read",
    "read_pack",
    "records_at",
    "slot",
    "stale_reason",
    "trusted",
    "unmarshalled",
    "whole",
]


#: So many files of one folder are a group: to open and close the folder takes what five looks save, where it is deep.
_MANY = 8


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a build of one module depended on; the fields in the order of the record.

    Attributes:
        name, source, toolchain: the module, its source path, the toolchain's word.
        artifact: path of the library.
        key: the artifact's key in the store.
        rows: (path, mtime_ns, ctime_ns, size, inode) of the source, of the other files that the user may edit, and
            last of the artifact, by the name by which it is loaded (`location`); always checked.
        folders: rows (folder, ctime_ns, inode) of the user's folders in which names must stay absent.
        siblings: names with this module's stem that must stay absent beside the source, with a slash between them.
        context: hash of the context, which the modules of a folder mostly share: (rows of the toolchain's and the
            system's files; folder rows likewise; paths that must stay absent; names that must stay absent beside the
            source, as one text ``/name/name/``; names and values of environment variables in the interpreter's own
            encoding; groups of further rows, see `grouped`). Rows, folders and paths are checked once per process. The
            names that are missing in its folders are in a file beside it, which is read only when a folder has changed.
        missing: folder -> the names that must stay absent in it; of a folder in which a pattern was looked for, all
            that it has (see `whole`). A folder of which nothing may change is not there. A pack's records end before
            this, and have no key.
    """

    name: str
    source: str
    toolchain: str
    artifact: str
    key: str
    rows: tuple[Row, ...]
    folders: tuple[Folder, ...]
    siblings: str
    context: str
    missing: dict[str, tuple[str, ...]]

    @property
    def inputs(self) -> tuple[Row, ...]:
        """The rows of the source and of the other files that the user may edit."""
        return self.rows[:-1]

    @property
    def beside(self) -> tuple[str, ...]:
        """The names of `siblings`."""
        return tuple(filter(None, self.siblings.split("/")))

    def record(self) -> tuple[Any, ...]:
        """As it is written down."""
        return astuple(self)


def read(name: str, source: str) -> Manifest | None:
    """The manifest of a module as the last build or look wrote it; None where there is none."""
    record = loader.read_alone(name, source)
    return Manifest(*record) if record is not None else None


def whole(names: tuple[str, ...]) -> tuple[str, ...]:
    """All that a folder has, in the place of names that are missing in it: a pattern may name any new one."""
    return (staleness.WHOLE, *names)


def absent(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are missing in a folder; none where all that it has is known."""
    return () if names[:1] == (staleness.WHOLE,) else names


def stale_reason(manifest: Manifest, *, system: bool = True) -> str | None:
    """Why a build now may give something else, or the artifact not be the one that was published."""
    return staleness.stale_reason(manifest.record(), system=system)


def load(path: str) -> Any:
    """The content of a file that holds what `pack` gave; None where it is missing or damaged."""
    return _unmarshalled(_checked(path))


def _unmarshalled(data: memoryview | None) -> Any:
    try:
        return marshal.loads(data) if data is not None else None
    except (ValueError, TypeError, EOFError):
        return None


def _checked(path: str) -> memoryview | None:
    try:
        with open(path, "rb", opener=_opened) as file:
            data = file.read()
    except (OSError, ValueError):
        return None
    return memoryview(data)[8:] if source_hash(SALT, data[8:]) == data[:8] else None


def grouped(rows: Iterable[Row]) -> tuple[tuple[Row, ...], tuple[Group, ...]]:
    """Rows as a context has them: alone, and those of one folder as (folder, rows whose paths begin there).

    To look at a file by its name in an open folder takes a sixth less than by a path of nine folders.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(os.path.dirname(row[0]), []).append(row)
    many = [folder for folder, inside in found.items() if len(inside) >= _MANY and hasattr(os, "O_PATH")]
    for folder in sorted(set(found).difference(many)):
        # The few of a folder below go with those above them.
        if os.path.dirname(folder) in many:
            found[os.path.dirname(folder)] += found.pop(folder)
    return (
        tuple(row for folder, inside in found.items() if folder not in many for row in inside),
        tuple(
            (folder, tuple((row[0][len(folder) :].lstrip(os.sep), *row[1:]) for row in found[folder]))
            for folder in many
        ),
    )


def at(path: str) -> Manifest | None:
    """The manifest in a file, of whichever module; None where it is missing, damaged or none."""
    # Whose it is can't be told from the file's name: another Python's, or another version's, has another one.
    record = load(path)
    whole = isinstance(record, tuple) and len(record) == len(Manifest.__slots__) and isinstance(record[0], str)
    return Manifest(*record) if whole else None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | _READ)


def read_pack(directory: str) -> dict[str, bytes]:
    """The pack of a folder: full name -> marshalled record, "/" with a context's name -> marshalled context."""
    index = unmarshalled(pack_name(directory), True)
    packs.pop(directory, None)
    return _records(index, index.pop(None)) if index else {}


def records_at(path: str) -> dict[str, bytes]:
    """As `read_pack`, of the pack in a file; empty where it is missing or damaged."""
    data = _checked(path)
    index = _unmarshalled(data)
    return _records(index, data) if isinstance(index, dict) and data is not None else {}


def _records(index: dict[str, int], data: memoryview) -> dict[str, bytes]:
    places = sorted(index.values())
    ends = dict(zip(places, (*places[1:], None), strict=True))
    return {name: bytes(data[place : ends[place]]) for name, place in index.items()}


def pack_records(records: dict[str, bytes]) -> bytes:
    """The bytes of a pack: where each record begins, from the end; then the records, of which few will be needed."""
    place = -sum(map(len, records.values()))
    index = {}
    for name, record in records.items():
        index[name] = place
        place += len(record)
    data = marshal.dumps(index) + b"".join(records.values())
    return source_hash(SALT, data) + data


def name_of(name: str, source: str) -> str:
    """Where below a cache root's bucket the manifest of a module is."""
    return f"manifests/{slot(name, source)}"


def context_name(context: str) -> str:
    """Where below a cache root's bucket a context is."""
    return f"contexts/{context}"


def home(source: str) -> str:
    """The folder whose pack tells of a source: where its module is looked for, around a crate's or package's folder."""
    folder, file = os.path.split(source)
    inside = file == "__init__.py" or file in [name for name, _ in CRATE_SOURCES]
    return os.path.dirname(folder) if inside else folder


def pack_name(directory: str) -> str:
    """Where below a cache root's bucket the pack of a folder is."""
    return f"packs/{slot('', directory)}"


def pack(content: Any) -> bytes:
    """The bytes of a file that `unmarshalled` accepts."""
    data = marshal.dumps(content)
    return source_hash(SALT, data) + data


def environment_row(env: Iterable[tuple[str, str | None]]) -> tuple[tuple[bytes | str, ...], tuple[object, ...]]:
    """Environment variables as a manifest has them: in the encoding in which the interpreter keeps them."""
    pairs = list(env)
    return tuple(_raw(name) for name, _ in pairs), tuple(None if value is None else _raw(value) for _, value in pairs)


def _raw(text: str) -> bytes | str:
    return text if sys.platform == "win32" else os.fsencode(text)
