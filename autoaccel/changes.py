"""What has changed since an artifact was built: each input, tool, option and variable, from what to what."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass

from . import manifest
from .store import damage, read_meta, told_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .keys import Contents
    from .plan import Plan
    from .store import Entry, Meta

__all__ = ["Change", "changes", "nearest"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes:
        kind: ``"input"``, ``"tool"``, ``"option"``, ``"environment"``, ``"python"``, ``"autoaccel"`` or ``"artifact"``.
        what: path or name.
        before, after: what it was and is, in words.
    """

    kind: str
    what: str
    before: str
    after: str


def nearest(entries: Iterable[Entry], plan: Plan, known: manifest.Manifest | None) -> Entry | None:
    """The artifact that an import now is to be compared with: the manifest's, else the newest of the same source."""
    best: Entry | None = None
    best_rank: tuple[bool, bool, float] = (False, False, 0.0)
    for entry in entries:
        if entry.meta.get("name") != plan.source.name or entry.meta.get("source") != plan.source.path:
            continue
        named = known is not None and os.path.dirname(known.artifact) == entry.folder
        rank = (named, entry.meta.get("python") == manifest.TAG, float(entry.meta["created"]))
        if best is None or rank > best_rank:
            best, best_rank = entry, rank
    return best


def changes(entry: Entry, plan: Plan, contents: Contents, known: manifest.Manifest | None) -> list[Change]:
    """Every difference between the build of an artifact and what a build now would be made from."""
    meta = read_meta(entry.folder)
    if meta is None:
        return [Change("artifact", entry.folder, "as it was published", "its description is damaged")]
    rows = known.rows if known is not None and os.path.dirname(known.artifact) == entry.folder else ()
    seen = {row[0]: row for row in rows if row[1:] != manifest.FRESH}
    found = [*_versions(meta), *_inputs(meta, plan, contents, seen), *_taken(meta, plan), *_appeared(meta, known)]
    found += _tools(meta, plan)
    found += _options(meta, plan)
    found += _environment(meta, plan)
    problem = damage(entry.folder, meta)
    if problem is not None:
        found.append(Change("artifact", entry.folder, "as it was published", problem))
    return found


def _versions(meta: Meta) -> Iterator[Change]:
    ours = sys.modules["autoaccel"].__version__
    for kind, now in (("python", manifest.TAG), ("autoaccel", ours)):
        if kind in meta and meta[kind] != now:
            yield Change(kind, kind, str(meta[kind]), str(now))


def _inputs(meta: Meta, plan: Plan, contents: Contents, seen: Mapping[str, manifest.Row]) -> Iterator[Change]:
    told = {str(path): str(content) for path, content in meta["inputs"]}
    for path, content in told.items():
        now = contents.digest(path)
        if now != content:
            yield Change("input", path, _was(content, seen.get(path)), _is(path, now))
    for path in plan.inputs:
        now = contents.digest(path)
        if path not in told and now is not None:
            yield Change("input", path, "not read", _is(path, now))


def _taken(meta: Meta, plan: Plan) -> Iterator[Change]:
    """What a project's file says of the module, key by key: its other content does not count."""
    before, after = meta.get("taken", {}), plan.settings.taken
    for path in dict.fromkeys((*before, *after)):
        if path not in after:
            yield Change("input", path, "read", "not read" if os.path.lexists(path) else "gone")
            continue
        if path not in before:
            yield Change("input", path, "not read", "read")
            continue
        was, now = dict(_spelled(before[path])), dict(_spelled(after[path]))
        for key in dict.fromkeys((*was, *now)):
            if was.get(key) != now.get(key):
                yield Change("input", f"{path}: {key}", _words(was.get(key)), _words(now.get(key)))


def _spelled(value: object, *above: str) -> Iterator[tuple[str, object]]:
    """Each value in tables within tables, with its dotted key."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _spelled(inner, *above, str(key))
    else:
        yield ".".join(above), value


def _was(digest: str, row: manifest.Row | None) -> str:
    return f"content {digest[:12]}" + (f", {row[3]} bytes, of {_moment(row[1])}" if row is not None else "")


def _is(path: str, digest: str | None) -> str:
    identity = manifest.identity(path)
    if digest is None or identity is None:
        return "gone"
    return f"content {digest[:12]}, {identity[2]} bytes, of {_moment(identity[0])}"


def _moment(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds / 1e9))


def _appeared(meta: Meta, known: manifest.Manifest | None) -> Iterator[Change]:
    paths = {str(path) for path in meta["absent"]}
    if known is not None:
        paths.update(
            os.path.join(folder, name) for folder, names in known.missing.items() for name in manifest.absent(names)
        )
        paths.update(os.path.join(os.path.dirname(known.source), name) for name in known.beside)
    for path in sorted(paths):
        if os.path.lexists(path):
            yield Change("input", path, "absent", "there, where it may be found first")


def _tools(meta: Meta, plan: Plan) -> Iterator[Change]:
    before = {str(name): (str(version), str(identity)) for name, version, identity in meta.get("tools", ())}
    after = {tool.name: (tool.version, tool.identity) for tool in plan.tools}
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield Change("tool", name, was[0] if was else "not used", now[0] if now else "not used")
        elif was[1] != now[1]:
            same = was[0] == now[0]
            yield Change("tool", name, was[0], f"{now[0]} (another build of it)" if same else now[0])


def _options(meta: Meta, plan: Plan) -> Iterator[Change]:
    if not isinstance(meta.get("options"), dict):
        return
    before, after = meta["options"], told_options(plan)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Change("option", name, _words(before.get(name)), _words(after.get(name)))


def _environment(meta: Meta, plan: Plan) -> Iterator[Change]:
    now = dict(plan.env)
    told = [*meta.get("env", ()), *meta["read_env"]]
    for name, value in told:
        current = now[name] if name in now else os.environ.get(name)
        if current != value:
            yield Change("environment", name, _words(value), _words(current))


def _words(value: object) -> str:
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)
