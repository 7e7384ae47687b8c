"""Eviction: what has not been used for long, and what is too much, least recently used first.

Runs in a process of its own, started at most once an hour by a build (`Store.remember`), or by ``autoaccel cache
prune``. No import waits for it, and none fails by it: whoever loses an artifact between its look and its load builds
again, and a loaded library stays what it is.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import re
import shutil
import time
from dataclasses import dataclass, field

from . import locks, manifest
from .errors import ConfigError
from .inventory import COARSE, Item, accesses, current, items, mapped
from .store import Store, alone, is_left_over, is_worked_in, layout, listed, owner, replace, size_below, size_of, unlink
from .toolchains import builddirs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Caps", "Pruned", "caps", "main", "parse_age", "parse_size", "prune", "remove"]

_DAY = 86_400.0
_HOUR = 3600.0
#: How long the bucket of an older version must have been of no use to anybody before it goes by itself.
_DISUSED = 7 * _DAY
_FOR_EVER = float("inf")
#: Seconds that the run in the background may take; the next one goes on.
_BUDGET = 120.0
#: Lines of the history that are kept.
_HISTORY = 10_000

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|min|m|h|hours?|d|days?|w|weeks?|y|years?|)", re.IGNORECASE)
_UNITS = {"s": 1.0, "m": 60.0, "h": _HOUR, "d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY, "": _DAY}


@dataclass(frozen=True, slots=True)
class Caps:
    """How much a cache may hold; None: without bound.

    Attributes:
        size: bytes.
        age: seconds since the last use.
    """

    size: float | None
    age: float | None


@dataclass(slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        items: in the order of removal.
        rest: bytes of what nobody needs any more: old failures, manifests of what is gone, folders of dead builds.
        before, after: bytes of the cache, as far as they are this version's to remove.
        spared: what would have had to go, but is pinned, loaded by a process, being built in, or was just used.
    """

    items: list[Item] = field(default_factory=list)
    rest: int = 0
    before: int = 0
    after: int = 0
    spared: list[Item] = field(default_factory=list)

    @property
    def freed(self) -> int:
        """Bytes."""
        return self.before - self.after


def caps(root: str) -> Caps:
    """What the user allows: 5 GB, but no more than a tenth of the file system, and 90 days without use.

    Raises:
        ConfigError: a variable makes no sense.
    """
    told, old = os.environ.get("AUTOACCEL_CACHE_MAX_SIZE"), os.environ.get("AUTOACCEL_CACHE_MAX_AGE")
    size: float | None = 5e9
    if told:
        size = None if told == "off" else parse_size(told, "$AUTOACCEL_CACHE_MAX_SIZE")
    elif hasattr(os, "statvfs"):
        with contextlib.suppress(OSError):
            room = os.statvfs(root)
            size = min(5e9, room.f_blocks * room.f_frsize / 10)
    age = None if old == "off" else parse_age(old, "$AUTOACCEL_CACHE_MAX_AGE") if old else 90 * _DAY
    return Caps(size, age)


def parse_size(text: str, where: str) -> float:
    """Bytes, from words like ``500MB``, ``1.5 GiB``, ``0``.

    Raises:
        ConfigError: it is no size.
    """
    match = _matched(_SIZE, text, where, "a size is a number with B, kB, MB or GB, like 500MB")
    step = 1024.0 if match[3] else 1000.0
    return float(match[1]) * float(step ** " kmgt".index(match[2].lower() or " "))


def parse_age(text: str, where: str) -> float:
    """Seconds, from words like ``30d``, ``12h``, ``2 weeks``; a bare number is days.

    Raises:
        ConfigError: it is no age.
    """
    match = _matched(_AGE, text, where, "an age is a number with min, h, d, w or y, like 30d")
    return float(match[1]) * _UNITS[match[2][:1].lower()]


def _matched(pattern: re.Pattern[str], text: str, where: str, wanted: str) -> re.Match[str]:
    match = pattern.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{where}: {wanted}, not {text!r}")
    return match


def prune(store: Store, limits: Caps, *, gentle: bool = True, dry: bool = False, until: float | None = None) -> Pruned:
    """Bring a cache under its caps.

    Args:
        store: the cache.
        limits: what it may hold.
        gentle: spare what was used in the last day as well, which is as well as a last use is known: a process may
            be about to load it. What an older version has used in the last week is none of ours, and does not count:
            that version sees to its size. And leave some room below the cap.
        dry: only tell.
        until: the monotonic clock's time after which no more is begun.
    """
    now = time.time()
    # Where hits leave no trace, only the age tells that nobody uses it.
    patience = 0.0 if not gentle else _DISUSED if accesses(store.bucket) else limits.age or _FOR_EVER
    found = sorted((one for one in items(store) if _is_ours(store, one, now - patience)), key=lambda one: one.used)
    done = Pruned(before=_total(store, found))
    done.rest = sum(_sweep(store, {one.path for one in found}, dry))
    done.after = done.before - done.rest
    loaded = mapped(store.bucket)
    most = limits.size
    if gentle and most is not None:
        # Some room below the cap, that the next build does not go over it at once.
        most = most * 0.9 if done.before > most else None
    for one in found:
        too_old = limits.age is not None and one.used < now - limits.age
        too_much = most is not None and done.after > most
        if not (too_old or too_much) or (until is not None and time.monotonic() > until):
            continue
        if one.pinned or _in_use(one, loaded) or (gentle and _fresh(one, now)):
            done.spared.append(one)
        elif dry or remove(store, one):
            done.items.append(one)
            done.after -= one.size
        else:
            done.spared.append(one)
    if not dry:
        _forget(store)
        done.after = _total(store, found)
    return done


def _total(store: Store, found: Iterable[Item]) -> int:
    """Bytes of the bucket, and of what older versions have left, if it is still there."""
    left = (one.size for one in found if one.kind == "version" and os.path.lexists(one.path))
    return store.size() + sum(left)


def _is_ours(store: Store, item: Item, since: float) -> bool:
    """Whether a thing is this version's to remove: of other versions, what an older one has left, unused ``since``."""
    return item.kind != "version" or (layout(item.path) < layout(store.bucket) and item.used <= since)


def _in_use(item: Item, loaded: set[int]) -> bool:
    """Whether a process has it loaded, or builds in it."""
    if item.kind != "version":
        seen = manifest.identity(item.library) if item.library is not None else None
        return seen is not None and seen[3] in loaded
    return is_worked_in(item.path) or bool(mapped(item.path))


def _fresh(item: Item, now: float) -> bool:
    """Whether a process may be about to load it; of what no manifest names, who looked it up by content just now."""
    if item.kind == "artifact" and not item.current:
        return now - item.used < _HOUR
    return now - item.used < COARSE + _HOUR


def remove(store: Store, item: Item) -> bool:
    """Remove a thing from a cache: out of reach in one step, then from the disk; whether it is gone."""
    if item.kind == "cargo":
        with builddirs.exclusive(store.bucket, item.path, 0.0) as held:
            return held and _away(store, item.path)
    return _away(store, item.path)


def _away(store: Store, folder: str) -> bool:
    aside = f"{store.bucket}/builds/{owner()}-gone-{time.monotonic_ns()}"
    unlink(folder, folder)
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _sweep(store: Store, known: set[str], dry: bool) -> Iterator[int]:
    """Remove what is of no use to anybody, and is none of the ``known`` items; the bytes of each."""
    for path in list(_leavings(store, known)):
        size = size_of(path) + size_below(path)
        if not dry:
            if store.artifact_of(path) is not None:
                _away(store, path)
            elif os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                _unlink(path)
        yield size
    if not dry:
        for path in _older(f"{store.bucket}/locks", 30 * _DAY):
            # Under the lock: a second build is the worst that can come of it.
            with locks.held(path.removesuffix(".holder"), 0.0) as held:
                if held:
                    _unlink(path)


def _leavings(store: Store, known: set[str]) -> Iterator[str]:
    bucket = store.bucket
    # Whose description nobody can read: it is found by none, and so never set aside.
    yield from (path for path in store.folders() if path not in known and _is_older(path, _DAY))
    # Of whoever was killed before it was published, of what was deleted by hand; young ones may be about to be.
    yield from (path for path in alone(store) if _is_older(path, _HOUR))
    for name in listed(store.root):
        if name.startswith("cleared-"):
            yield f"{store.root}/{name}"
    for name in listed(f"{bucket}/builds"):
        if is_left_over(f"{bucket}/builds/{name}"):
            yield f"{bucket}/builds/{name}"
    yield from _older(f"{bucket}/failures", _DAY)
    yield from _older(f"{bucket}/quarantine", 7 * _DAY)
    for folder in ("manifests", "contexts", "packs", "failures", "tools", "projects", "locks", "numba"):
        # Of a writer that was killed.
        yield from (path for path in _older(f"{bucket}/{folder}", _HOUR) if os.path.basename(path).startswith(".new-"))
    yield from (path for path in _older(f"{bucket}/cargo", _HOUR) if ".new-" in os.path.basename(path))


def _forget(store: Store) -> None:
    """Remove manifests, packs and contexts that lead nowhere, and shorten the history."""
    bucket = store.bucket
    named = current(store)
    for path, known in named.items():
        if not os.path.lexists(known.artifact):
            _unlink(path)
    # Read again: a build may have written another one meanwhile.
    contexts = {again.context for path in named if (again := manifest.at(path)) is not None}
    for path in _older(f"{bucket}/contexts", _DAY):
        if os.path.basename(path).partition(".")[0] not in contexts:
            _unlink(path)
    alive = {known.artifact for known in named.values()}
    for path in _older(f"{bucket}/packs", _DAY):
        if not alive.intersection(_artifacts(manifest.records_at(path))):
            _unlink(path)
    _shorten(f"{bucket}/history")


def _artifacts(pack: dict[str, bytes]) -> Iterator[str]:
    for data in pack.values():
        with contextlib.suppress(ValueError, EOFError, TypeError, IndexError):
            yield marshal.loads(data)[3]  # noqa: S302  (checked when the pack was read)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _shorten(path: str) -> None:
    with contextlib.suppress(OSError):
        with open(path, "rb") as file:
            lines = file.readlines()
        if len(lines) > 2 * _HISTORY:
            replace(path, b"".join(lines[-_HISTORY:]))


def _older(folder: str, seconds: float) -> Iterator[str]:
    return (path for name in listed(folder) if _is_older(path := f"{folder}/{name}", seconds))


def _is_older(path: str, seconds: float) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > seconds
    except OSError:
        return False


def main(root: str) -> None:
    """The run in the background: gentle, at low priority, and one at a time."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    with contextlib.suppress(OSError, ConfigError):
        store = Store(root)
        with locks.held(f"{store.bucket}/locks/upkeep.lock", 0.0) as held:
            if held:
                prune(store, caps(root), until=time.monotonic() + _BUDGET)
