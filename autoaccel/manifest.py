"""Manifests: writing them. Reading and comparing them, which every import does, is in `loader`."""

from __future__ import annotations

import marshal
import os
import sys
from _imp import source_hash

from .loader import (
    _SALT,
    BUCKET,
    FRESH,
    TAG,
    Manifest,
    artifact_reason,
    forget,
    identity,
    read,
    read_alone,
    read_checked,
    read_pack,
    roots,
    slot,
    stale_reason,
    trusted,
)
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
    "read_alone",
    "read_checked",
    "read_pack",
    "roots",
    "slot",
    "stale_reason",
    "trusted",
    "values",
]


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
    return source_hash(_SALT, data) + data


def values(manifest: Manifest) -> tuple[Any, ...]:
    """The tuple that `Manifest` is made of."""
    return (
        manifest.name,
        manifest.source,
        manifest.toolchain,
        manifest.artifact,
        manifest.seen,
        manifest.key,
        manifest.inputs,
        manifest.absent,
        manifest.siblings,
        manifest.context,
    )


def environment_row(env: Iterable[tuple[str, str | None]]) -> tuple[tuple[bytes | str, ...], tuple[object, ...]]:
    """Environment variables as a manifest has them: in the encoding in which the interpreter keeps them."""
    pairs = list(env)
    return tuple(_raw(name) for name, _ in pairs), tuple(None if value is None else _raw(value) for _, value in pairs)


def _raw(text: str) -> bytes | str:
    return text if sys.platform == "win32" else os.fsencode(text)
