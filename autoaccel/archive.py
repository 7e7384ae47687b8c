"""A cache, or a part of it, in one file: for an image, another machine, a colleague with the same paths.

A tar file: ``autoaccel.json`` first, which has the digest of every other member, then the artifacts' files. What is
imported is checked against both that list and each artifact's own description, then published like a build. The
archive is code: who imports one trusts its maker.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from dataclasses import dataclass

from . import keys, manifest
from .errors import ConfigError
from .inventory import Item, current
from .store import Store, context_of, damage, has, library_row, link, read_meta, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .store import Reader

__all__ = ["Exported", "Imported", "read", "write"]

_SCHEMA = 2
_INDEX = "autoaccel.json"
#: A name that is a digest: no other becomes a folder's or a note's.
_DIGEST = re.compile(r"[0-9a-f]{16,64}")
#: Members of the index, and of what it tells of a module, by type.
_MEMBERS = {"files": (dict,), "manifests": (list,)}
_NOTE = {
    **dict.fromkeys(("slot", "name", "source", "toolchain", "key", "beside"), (str,)),
    **dict.fromkeys(("inputs", "siblings", "folders", "absent"), (list,)),
    "missing": (dict,),
}
#: No member may be larger: an archive that lies about its sizes must not fill the disk.
_MOST = 1 << 31


@dataclass(frozen=True, slots=True)
class Exported:
    """An archive that was written.

    Attributes:
        artifacts: how many it holds.
        size: its bytes.
        sha256: its digest, for `read`.
    """

    artifacts: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came out of an archive.

    Attributes:
        new: names of the modules whose artifacts were added.
        known: of those that were there already.
        elsewhere: of those that are for another Python or platform than this one.
    """

    new: tuple[str, ...]
    known: tuple[str, ...]
    elsewhere: tuple[str, ...]


def write(path: str, items: Sequence[Item], readers: Sequence[Reader]) -> Exported:
    """Write artifacts, and what is known of the modules that they are now, into the archive ``path``.

    Raises:
        OSError: it can't be written.
    """
    members: dict[str, str] = {}
    for item in items:
        # Compiled Python lies beside that of a package, in a folder, and is written again where it is missing.
        for name in sorted(one for one in os.listdir(item.path) if os.path.isfile(f"{item.path}/{one}")):
            members[f"artifacts/{os.path.basename(item.path)}/{name}"] = f"{item.path}/{name}"
    taken = {item.library for item in items}
    notes = [note for reader in readers for note in _notes(reader, taken)]
    index = {
        "schema": _SCHEMA,
        "made": time.time(),
        "modules": sorted({item.name for item in items}),
        "files": {name: keys.file_digest(place) for name, place in members.items()},
        "manifests": notes,
    }
    staged = f"{path}.new-{os.getpid()}"
    try:
        with tarfile.open(staged, "w:gz", compresslevel=3, format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(index, indent=1).encode()
            tar.addfile(_member(_INDEX, len(text)), io.BytesIO(text))
            for name, place in members.items():
                with open(place, "rb") as file:
                    tar.addfile(_member(name, os.fstat(file.fileno()).st_size), file)
        os.replace(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Exported(len(items), os.path.getsize(path), digest)


def _member(name: str, size: int) -> tarfile.TarInfo:
    told = tarfile.TarInfo(name)
    told.size, told.mode, told.mtime = size, 0o600, 0
    return told


def _notes(reader: Reader, taken: set[str | None]) -> list[dict[str, Any]]:
    """What a machine needs to know to load an artifact without planning a build: the manifests, without time stamps."""
    notes = []
    for path, known in current(reader).items():
        if known.artifact in taken:
            content = manifest.load(f"{reader.bucket}/{manifest.context_name(known.context)}")
            if isinstance(content, tuple):
                notes.append(
                    {
                        "slot": os.path.basename(path),
                        "name": known.name,
                        "source": known.source,
                        "toolchain": known.toolchain,
                        "key": known.key,
                        "inputs": [row[0] for row in known.inputs],
                        "siblings": known.beside,
                        "missing": known.missing,
                        "folders": [row[0] for row in known.folders],
                        "absent": content[2],
                        "beside": content[3],
                    }
                )
    return notes


def read(path: str, store: Store, sha256: str | None = None) -> Imported:
    """Add what an archive holds to a cache. All of it is checked before anything is added.

    Args:
        path: the archive.
        store: the cache.
        sha256: what the archive's digest must be.

    Raises:
        ConfigError: it is no archive of ours, it is damaged, or not the one that was meant.
        OSError: it can't be read, or the cache not be written.
    """
    with open(path, "rb") as file:
        if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256.lower():
            raise ConfigError(f"{path} is not the archive that was meant: its SHA-256 is another one")
    with store.workdir() as work:
        try:
            index = _unpacked(path, work)
        except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
            raise ConfigError(f"{path} is no archive of `autoaccel cache export`, or damaged: {error}") from None
        folders = _checked(path, work)
        new: list[str] = []
        known: list[str] = []
        elsewhere: list[str] = []
        places: dict[str, str] = {}
        for folder, meta in folders:
            final = store.home(meta["plan"], meta["key"])
            places[meta["key"]] = f"{final}/{meta['library']}"
            (elsewhere if meta.get("python") != manifest.TAG else []).append(str(meta["name"]))
            (new if _added(store, folder, meta, final) else known).append(str(meta["name"]))
        for note in index["manifests"]:
            if note["key"] in places:
                _remember(store, note, places[note["key"]])
    manifest.forget()
    return Imported(tuple(sorted(new)), tuple(sorted(known)), tuple(sorted(elsewhere)))


def _unpacked(path: str, work: str) -> dict[str, Any]:
    """The index of an archive whose files now are in the work folder, with the content that the index tells."""
    with tarfile.open(path, "r|*") as tar:
        first = tar.next()
        if first is None or first.name != _INDEX or first.size > _MOST:
            raise ValueError(f"it does not begin with {_INDEX}")
        stream = tar.extractfile(first)
        index = _index(json.load(stream) if stream is not None else None)
        left = dict(index["files"])
        while (member := tar.next()) is not None:
            parts = member.name.split("/")
            wanted = left.pop(member.name, None)
            plain = member.isreg() and len(parts) == 3 and parts[0] == "artifacts" and _is_name(parts[2])
            if wanted is None or not plain or member.size > _MOST or not _DIGEST.fullmatch(parts[1]):
                raise ValueError(f"{member.name} has no place in it")
            stream = tar.extractfile(member)
            assert stream is not None
            place = f"{work}/{member.name}"
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            with open(place, "xb") as file:
                shutil.copyfileobj(stream, file)
                file.flush()
                os.fsync(file.fileno())
            if keys.file_digest(place) != wanted:
                raise ValueError(f"{member.name} has another content than its index tells")
        if left:
            raise ValueError(f"{min(left)} is missing")
    return index


def _index(told: object) -> dict[str, Any]:
    """The index, of which all is of the right kind."""
    if not has(told, {"schema": (int,)}):
        raise ValueError(f"its {_INDEX} is no index")
    if told["schema"] != _SCHEMA:
        raise ValueError(f"its format is {told['schema']}, and this autoaccel reads {_SCHEMA}")
    whole = has(told, _MEMBERS) and all(isinstance(digest, str) for digest in told["files"].values())
    if not whole or not all(map(_is_note, told["manifests"])):
        raise ValueError(f"its {_INDEX} is no index")
    return told


def _is_note(note: object) -> bool:
    if not has(note, _NOTE) or not _DIGEST.fullmatch(note["slot"]):
        return False
    lists = [note["inputs"], note["siblings"], note["folders"], note["absent"], *note["missing"].values()]
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists)


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "\\" not in part and "\0" not in part


def _checked(path: str, work: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    top = f"{work}/artifacts"
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else []:
        folder = f"{top}/{name}"
        meta = read_meta(folder)
        what = damage(folder, meta) if meta is not None else "its meta.json can't be read"
        if what is not None or meta is None:
            raise ConfigError(f"{path}: the artifact {name} is damaged: {what}")
        os.chmod(f"{folder}/{meta['library']}", 0o500)
        found.append((folder, meta))
    return found


def _added(store: Store, folder: str, meta: dict[str, Any], final: str) -> bool:
    theirs = read_meta(final)
    if theirs is not None and damage(final, theirs) is None:
        return False
    if os.path.lexists(final):
        store.quarantine(final)
    os.makedirs(os.path.dirname(final), mode=0o700, exist_ok=True)
    link(meta, final, folder)
    os.rename(folder, final)
    return True


def _remember(store: Store, note: dict[str, Any], artifact: str) -> None:
    """Write a manifest that holds as soon as somebody has compared contents; nothing is known of time stamps here."""
    path = f"{store.bucket}/manifests/{note['slot']}"
    if manifest.load(path) is not None:
        return
    # A row that no file has: of the system here, nothing was looked at.
    rows = ((f"{store.bucket}/imported", 0, 0, 0, 0),)
    content = manifest.pack((rows, (), tuple(note["absent"]), note["beside"], (), (), ()))
    missing = manifest.pack({})
    context = context_of(content, missing)
    told = manifest.Manifest(
        note["name"],
        note["source"],
        note["toolchain"],
        artifact,
        note["key"],
        (
            *((one, *manifest.FRESH) for one in note["inputs"]),
            library_row(artifact),
        ),
        tuple((folder, 0, 0) for folder in note["folders"]),
        "/".join(note["siblings"]),
        context,
        {folder: tuple(names) for folder, names in note["missing"].items()},
    )
    for name, data in ((f"{context}.absent", missing), (context, content)):
        replace(f"{store.bucket}/{manifest.context_name(name)}", data)
    replace(path, manifest.pack(told.record()))
