"""What is in a cache: every thing that takes room, when it was used last, and what the cache has saved. Only looks.

Nothing is written on a hit, so a last use is known from what the system keeps anyway: a library's access time, which
Linux renews at most once a day where it is younger than the last change (``relatime``), and the time at which a cold
room last found an artifact, which is its folder's modification time. So it is right to a day, and a lower bound where
the file system keeps no access times.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from dataclasses import dataclass, field

from . import keys, manifest
from .store import Entry, Reader, listed, size_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = [
    "COARSE", "Item", "Statistics", "accesses", "current", "items", "mapped", "pin_name", "pins", "size", "statistics",
]  # fmt: skip

#: Seconds by which an access time may be behind the last use.
COARSE = 86_400.0


@dataclass(frozen=True, slots=True)
class Item:
    """Something that takes room in a cache and can be removed as a whole.

    Attributes:
        kind: ``"artifact"``, ``"cargo"`` (a build folder of cargo's), ``"numba"`` (numba's cached functions of a file),
            ``"part"`` (what was compiled ahead for many modules) or ``"version"`` (the bucket of another autoaccel's).
        root: the cache.
        path: its folder.
        name: the module, or what else people call it.
        toolchain: the toolchain's word; for what is none of a toolchain's, the kind.
        source: path of the source, where there is one.
        size: bytes on disk; what is shared by hard links with something earlier counts there.
        created: when it was made.
        used: the last use that is known of.
        seconds: what making it took.
        current: whether it is what the next import of its module would look at.
        pinned: whether the user wants it kept.
        meta: the head of an artifact's description, see `store.read_head`.
        loaded: access time of an artifact's library; 0 where the file system keeps none.
    """

    kind: str
    root: str
    path: str
    name: str
    toolchain: str
    source: str | None
    size: int
    created: float
    used: float
    seconds: float = 0.0
    current: bool = False
    pinned: bool = False
    meta: dict[str, Any] = field(default_factory=dict)
    loaded: float = 0.0

    @property
    def library(self) -> str | None:
        """Path of an artifact's library; None of what is none."""
        return f"{self.path}/{self.meta['library']}" if self.meta else None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a cache has done.

    Attributes:
        builds: compilations that were published.
        build_seconds: what they took.
        found: look-ups by content that found an artifact: after a touch, a checkout, in another process.
        reused: further artifacts that were loaded again after they had been published, each counted once.
        saved_seconds: what these would have taken to build: at least so much was saved.
        hit_rate: (found + reused) ÷ (found + reused + builds): at least so many imports that could have compiled did
            not. None where nothing has happened.
    """

    builds: int
    build_seconds: float
    found: int
    reused: int
    saved_seconds: float
    hit_rate: float | None


def items(reader: Reader, *, brief: bool = False) -> list[Item]:
    """Everything in a cache that can be removed by itself, in no order.

    Args:
        reader: the cache.
        brief: nobody will ask what is current, only what is pinned: without pins, no manifest is read.
    """
    seen: set[tuple[int, int]] = set()
    wanted = pins(reader)
    named = {known.artifact for known in current(reader).values()} if wanted or not brief else set()
    timed = accesses(reader.bucket)
    found = [_artifact(reader, entry, named, wanted, timed) for entry in reader.entries()]
    found += _cargo(reader, seen)
    found += _folders(reader, "numba", timed, seen)
    found += _folders(reader, "parts", timed, seen)
    found += _versions(reader, timed, seen)
    return found


def size(reader: Reader, found: Iterable[Item]) -> int:
    """Bytes of everything in a cache, of which ``found`` are the items: nothing large is measured twice."""
    measured = sum(one.size for one in found if one.kind in ("artifact", "version"))
    return measured + size_below(reader.bucket, but=("artifacts", "load"))


def _artifact(reader: Reader, entry: Entry, named: set[str], wanted: frozenset[str], timed: bool) -> Item:
    meta = entry.meta
    library = f"{entry.folder}/{meta['library']}"
    loaded = _time(library, access=True) if timed else 0.0
    return Item(
        "artifact",
        reader.root,
        entry.folder,
        str(meta.get("name")),
        str(meta.get("toolchain")),
        str(meta.get("source")),
        entry.size,
        float(meta["created"]),
        max(float(meta["created"]), _time(entry.folder, access=False), loaded),
        float(meta["seconds"]),
        library in named,
        # Of a pinned module that is kept which the next import looks at, not what its source once was.
        str(meta.get("name")) in wanted and library in named,
        meta,
        loaded,
    )


def _cargo(reader: Reader, seen: set[tuple[int, int]]) -> Iterator[Item]:
    top = f"{reader.bucket}/cargo"
    for name in listed(top):
        path = f"{top}/{name}"
        if name.startswith("file-") or not os.path.isdir(path):
            continue  # a single file's manifest: a few hundred bytes, and cheap to have
        local, sources = _builds(path)
        used = max(_time(f"{path}/autoaccel.json", access=False), _time(path, access=False))
        yield Item(
            "cargo",
            reader.root,
            path,
            ", ".join(local) or name[:12],
            "cargo",
            sources[0] if sources else None,
            _tree(path, seen)[0],
            used,
            used,
        )


def _builds(folder: str) -> tuple[list[str], list[str]]:
    """(packages, manifests of crates) of the user's that a build folder of cargo's is for."""
    try:
        with open(f"{folder}/autoaccel.json", encoding="utf-8") as file:
            told = json.load(file)
        return sorted(map(str, told["local"])), sorted(map(str, told["libraries"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [], []


def _folders(reader: Reader, kind: str, timed: bool, seen: set[tuple[int, int]]) -> Iterator[Item]:
    """Folders of which nothing is known but their files."""
    top = f"{reader.bucket}/{kind}"
    for name in listed(top):
        path = f"{top}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            size, made, used = _tree(path, seen, timed)
            functions = sorted({one.partition("-")[0].partition(".")[0] for one in listed(path)})
            label = ", ".join(functions) if kind == "numba" and functions else name[:12]
            kind_of_it = kind.removesuffix("s")
            yield Item(kind_of_it, reader.root, path, label, kind_of_it, None, size, made, used)


def _versions(reader: Reader, timed: bool, seen: set[tuple[int, int]]) -> Iterator[Item]:
    """What other versions of autoaccel have left, or use.

    Whatever their layout is, a build and a look by content write a file, and a hit reads some.
    """
    for path in reader.others():
        size, made, used = _tree(path, seen, timed)
        name = os.path.basename(path)
        pinned = bool(listed(f"{path}/pins"))
        yield Item("version", reader.root, path, name, "version", None, size, made, used, pinned=pinned)


def current(reader: Reader) -> dict[str, manifest.Manifest]:
    """Path of a manifest -> what it says."""
    paths = (f"{reader.bucket}/manifests/{name}" for name in listed(f"{reader.bucket}/manifests"))
    return {path: known for path in paths if (known := manifest.at(path)) is not None}


def pins(reader: Reader) -> frozenset[str]:
    """Full names of the modules that are pinned."""
    found = set()
    for name in listed(f"{reader.bucket}/pins"):
        with contextlib.suppress(OSError, UnicodeDecodeError), open(f"{reader.bucket}/pins/{name}", "rb") as file:
            found.add(file.read().decode())
    return frozenset(found)


def pin_name(name: str) -> str:
    """Where below a cache's bucket it is noted that a module is pinned."""
    return f"pins/{keys.digest(name)}"


def accesses(path: str) -> bool:
    """Whether the file system keeps access times."""
    flag = getattr(os, "ST_NOATIME", 0)
    try:
        return not (hasattr(os, "statvfs") and os.statvfs(path).f_flag & flag)
    except OSError:
        return False


def mapped(bucket: str) -> set[int]:
    """Numbers of the files in a cache that processes of this user have loaded now; Linux tells.

    Not their names: a library has two.
    """
    found: set[int] = set()
    real = os.path.realpath(bucket) + os.sep
    for process in listed("/proc"):
        if process.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{process}/maps", "rb") as file:
                text = file.read()
                if os.fsencode(real) in text:
                    # address, permissions, offset, device, number, path
                    rows = (line.split(None, 5) for line in text.splitlines())
                    found.update(int(row[4]) for row in rows if len(row) == 6 and row[5].startswith(os.fsencode(real)))
    return found


def statistics(found: Iterable[Item], readers: Iterable[Reader]) -> Statistics:
    """What caches have done, from what was noted on misses and from access times."""
    builds, looked, seconds, saved = 0, 0, 0.0, 0.0
    counted: set[str] = set()
    for reader in readers:
        for words in _history(reader):
            if words[1] == "built":
                builds, seconds = builds + 1, seconds + float(words[2])
            elif words[1] == "found":
                looked, saved = looked + 1, saved + float(words[2])
                # The load that followed is the same hit.
                counted.add(words[-1])
    again = [one for one in found if one.meta.get("key") not in counted and _loaded_again(one)]
    saved += sum(one.seconds for one in again)
    hits = looked + len(again)
    rate = hits / (hits + builds) if hits + builds else None
    return Statistics(builds, round(seconds, 3), looked, len(again), round(saved, 3), rate)


def _loaded_again(item: Item) -> bool:
    # Publishing reads the library, and the process that built it loads it: what comes a minute later is another's.
    return item.loaded > item.created + 60.0


def _history(reader: Reader) -> Iterator[list[str]]:
    with contextlib.suppress(OSError), open(f"{reader.bucket}/history", encoding="ascii", errors="replace") as file:
        for line in file:
            words = line.split()
            with contextlib.suppress(ValueError, IndexError):
                float(words[0]), float(words[2])
                yield words


def _tree(folder: str, seen: set[tuple[int, int]], timed: bool = False) -> tuple[int, float, float]:
    """(bytes, when the oldest file was made, when one was last used) of all below a folder."""
    total, made, used = 0, time.time(), 0.0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                status = os.lstat(f"{place}/{name}")
                if stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                    if status.st_nlink > 1:
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
                made = min(made, status.st_mtime)
                used = max(used, status.st_mtime, status.st_atime if timed else 0.0)
    return total, made, used


def _time(path: str, *, access: bool) -> float:
    try:
        status = os.lstat(path)
    except OSError:
        return 0.0
    return status.st_atime if access else status.st_mtime
