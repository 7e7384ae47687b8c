"""Manifests for the cold rooms: what is in them, reading and writing. Comparing them is the loader's."""

from __future__ import annotations

import marshal
import os
import sys
from _imp import source_hash
from dataclasses import astuple, dataclass

from . import loader
from .loader import BUCKET, FRESH, TAG, forget, identity, read_checked, read_pack, roots, slot, trusted
from .location import fallback, preferred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .loader import Absent as Absent
    from .loader import Identity as Identity
    from .loader import Row as Row

__all__ = [
    "BUCKET",
    "FRESH",
    "TAG",
    "Manifest",
    "artifact_reason",
    "context_path",
    "environment_row",
    "fallback",
    "forget",
    "identity",
    "pack",
    "pack_path",
    "path_of",
    "preferred",
    "read",
    "read_checked",
    "read_pack",
    "roots",
    "slot",
    "stale_reason",
    "trusted",
]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a build of one module depended on; the fields in the order of the record.

    Attributes:
        name, source, toolchain: the module, its source path, the toolchain's word.
        artifact: path of the library; ``seen`` its stat identity.
        key: the artifact's key in the store.
        inputs: rows (path, mtime_ns, ctime_ns, size, inode) of files that the user may edit; always checked.
        absent: rows (directory, ctime_ns, inode, names that must stay absent in it; none: nothing may change in it).
        siblings: names with this module's stem that must stay absent beside the source.
        context: hash of the context, which the modules of a folder mostly share: (rows of the toolchain's and the
            system's files; absent rows likewise; paths that must stay absent; names that must stay absent beside the
            source; names and values of environment variables in the interpreter's own encoding). The first three are
            checked once per process.
    """

    name: str
    source: str
    toolchain: str
    artifact: str
    seen: Identity
    key: str
    inputs: tuple[Row, ...]
    absent: tuple[Absent, ...]
    siblings: tuple[str, ...]
    context: str

    def record(self) -> tuple[Any, ...]:
        """As it is written down."""
        return astuple(self)


def read(name: str, source: str) -> Manifest | None:
    """The manifest of a module as the last build or look wrote it; None where there is none."""
    record = loader.read_alone(name, source)
    return Manifest(*record) if record is not None else None


def stale_reason(manifest: Manifest, *, system: bool = True) -> str | None:
    """Why a build now may give something else; see `loader.stale_reason`."""
    return loader.stale_reason(manifest.record(), system=system)


def artifact_reason(manifest: Manifest) -> str | None:
    """Why the artifact may not be the file that was published; None where it is."""
    return loader.artifact_reason(manifest.record())


def path_of(root: str, name: str, source: str) -> str:
    """Where below a cache root the manifest of a module is."""
    return f"{root}/{BUCKET}/manifests/{slot(name, source)}"


def context_path(root: str, context: str) -> str:
    """Where below a cache root a context is."""
    return f"{root}/{BUCKET}/contexts/{context}"


def pack_path(root: str, directory: str) -> str:
    """Where below a cache root the pack of a folder is."""
    return f"{root}/{BUCKET}/packs/{slot('', directory)}"


def pack(content: Any) -> bytes:
    """The bytes of a file that `read_checked` accepts."""
    data = marshal.dumps(content)
    return source_hash(loader._SALT, data) + data


def environment_row(env: Iterable[tuple[str, str | None]]) -> tuple[tuple[bytes | str, ...], tuple[object, ...]]:
    """Environment variables as a manifest has them: in the encoding in which the interpreter keeps them."""
    pairs = list(env)
    return tuple(_raw(name) for name, _ in pairs), tuple(None if value is None else _raw(value) for _, value in pairs)


def _raw(text: str) -> bytes | str:
    return text if sys.platform == "win32" else os.fsencode(text)
