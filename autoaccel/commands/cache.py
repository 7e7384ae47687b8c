"""``autoaccel cache``: where the cache is and what is in it; `.upkeep` has the verbs that change it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase

import click

from .. import inventory, manifest
from ..errors import ConfigError
from ..inventory import Item
from ..store import Reader, Store, listed, read_meta, readers
from ..upkeep import caps, parse_age
from .common import age, columns, complain, counted, duration, fact, is_terminal, print_json, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

__all__ = [
    "Place", "cache", "chosen", "complete_names", "json_option", "measure", "place", "stores", "unknown", "warn",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where artifacts go.

    Attributes:
        root: the folder; it need not exist.
        chosen_by: which step of the ladder gave it.
        problem: why the place that the environment names is not used; None where it is.
    """

    root: str
    chosen_by: str
    problem: str | None = None


def place() -> Place:
    """The place that the next build will use; looks, makes nothing."""
    wanted = manifest.preferred()
    problem = _obstacle(wanted)
    if problem is None:
        return Place(wanted, _step(wanted))
    if wanted not in problem:
        problem = f"{wanted}: {problem}"
    return Place(manifest.fallback(), "the private folder for users whose own can't be used", problem)


def stores() -> list[Store]:
    """The caches that exist and can be written, best first; `place` tells why one can't."""
    found = []
    # Builds go to the user's own cache also where it is named as a layer.
    layers = [one for one in manifest.layers() if one != manifest.preferred()]
    for root in manifest.cache_roots():
        if root not in layers:
            with contextlib.suppress(OSError):
                found.append(Store(root))
    return found


def _obstacle(root: str) -> str | None:
    here = root
    while not os.path.lexists(here) and os.path.dirname(here) != here:
        here = os.path.dirname(here)
    if not os.path.isdir(here):
        return f"{here} is not a folder"
    if here == root and not manifest.trusted(root):
        return "it belongs to, or can be written by, somebody else"
    if here == root:
        return None if os.access(here, os.W_OK | os.X_OK) else f"{here} can't be written"
    try:
        # What may be made in a folder only making tells (file systems of the kernel's, root's own rights).
        os.rmdir(tempfile.mkdtemp(dir=here))
    except OSError as error:
        return f"{here} can't be written ({error.strerror})"
    return None


def _step(root: str) -> str:
    if os.environ.get("AUTOACCEL_CACHE_DIR"):
        return "$AUTOACCEL_CACHE_DIR"
    xdg = os.environ.get("XDG_CACHE_HOME")
    if xdg and root.startswith(xdg):
        return "$XDG_CACHE_HOME"
    return "the user's cache folder"


def complete_names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """For shells: the names of compiled modules."""
    names = {str(entry.meta.get("name")) for one in readers() for entry in one.entries()}
    return sorted(name for name in names if name.startswith(begun))


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group()
def cache() -> None:
    """The cache of compiled modules.

    Exit status of all verbs: 0 when it is done, or there was nothing to do; 1 when it can't be done, or `verify` has
    found damage that is still there, or nothing has the name; 2 for words that make no sense; 130 when interrupted.
    """


@cache.command("dir")
@json_option
def print_dir(as_json: bool) -> int:
    """Print where compiled modules are kept."""
    if as_json:
        where = place()
        told = {"root": where.root, "chosen_by": where.chosen_by, "problem": where.problem}
        readonly, also = _further(where, readers())
        print_json({**told, "readonly": readonly, "also": also})
        return 0
    # Bytes: a path need not be text.
    click.echo(os.fsencode(place().root))
    return 0


@cache.command()
@json_option
def info(as_json: bool) -> int:
    """How much is in the cache, and what it saves.

    A hit writes nothing, so hits can't be counted. What is told of them is a lower bound: look-ups by content, and
    compiled modules that were loaded again since they were built, each once.
    """
    found = readers()
    where = place()
    inside = [(one, inventory.items(one, brief=True)) for one in found]
    everything = [item for _, items in inside for item in items]
    done = inventory.statistics(everything, found)
    limits = caps(where.root if os.path.isdir(where.root) else os.path.dirname(where.root))
    readonly, also = _further(where, found)
    data: dict[str, Any] = {
        "root": where.root,
        "chosen_by": where.chosen_by,
        "exists": os.path.isdir(where.root),
        "readonly": readonly,
        "also": also,
        "bytes": sum(inventory.size(one, items) for one, items in inside),
        "max_bytes": limits.size,
        "max_age_seconds": limits.age,
        "toolchains": _sums([one for one in everything if one.kind == "artifact"]),
        "others": _sums([one for one in everything if one.kind != "artifact"]),
        "failures": sum(_failures(one) for one in found),
        "pinned": sorted({name for one in found for name in inventory.pins(one)}),
        "builds": done.builds,
        "build_seconds": done.build_seconds,
        "hits_at_least": done.found + done.reused,
        "hit_rate_at_least": done.hit_rate,
        "seconds_saved_at_least": done.saved_seconds,
    }
    if as_json:
        print_json(data)
    else:
        _show_info(where, data)
    return 0


def _further(where: Place, found: Sequence[Reader]) -> tuple[list[str], list[str]]:
    """(layers, others): the caches besides the one that builds go to, as the last resort that was used before."""
    roots, layers = [one.root for one in found if one.root != where.root], manifest.layers()
    return [one for one in roots if one in layers], [one for one in roots if one not in layers]


def _sums(items: Sequence[Item]) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {}
    for item in items:
        kind = kinds.setdefault(item.toolchain, {"artifacts": 0, "bytes": 0, "build_seconds": 0.0})
        kind["artifacts"] += 1
        kind["bytes"] += item.size
        kind["build_seconds"] = round(kind["build_seconds"] + item.seconds, 3)
    return dict(sorted(kinds.items()))


#: What takes room besides artifacts.
_OTHERS = {
    "cargo": "cargo's build folders",
    "numba": "numba's functions",
    "part": "shared parts",
    "version": "other versions'",
}


def _show_info(where: Place, data: dict[str, Any]) -> None:
    lines = [where.root if data["exists"] else f"{where.root} (not made yet)", f"by {where.chosen_by}"]
    fact("place", *lines, *([where.problem] if where.problem else []))
    if data["readonly"]:
        fact("read only", *data["readonly"])
    if data["also"]:
        fact("also read", *data["also"])
    most = f"at most {size(data['max_bytes'])}" if data["max_bytes"] is not None else "without a cap"
    old = f", {age(data['max_age_seconds'])} without use" if data["max_age_seconds"] is not None else ""
    fact("size", f"{size(data['bytes'])} ({most}{old})")
    kinds = [*data["toolchains"].items(), *((_OTHERS.get(name, name), kind) for name, kind in data["others"].items())]
    rows = [
        (name, str(kind["artifacts"]), size(kind["bytes"]), duration(kind["build_seconds"])) for name, kind in kinds
    ]
    fact("artifacts", *(_headed(("toolchain", "count", "size", "build time"), rows, right=(1, 2, 3)) or ["none"]))
    if data["builds"] or data["hits_at_least"]:
        rate = data["hit_rate_at_least"]
        fact(
            "use",
            f"{counted(data['builds'], 'build')} in {duration(data['build_seconds'])}",
            f"at least {counted(data['hits_at_least'], 'hit')} ({rate:.0%}), "
            f"{duration(data['seconds_saved_at_least'])} saved; hits write nothing, so not all are known",
        )
    if data["pinned"]:
        fact("pinned", ", ".join(data["pinned"]))
    fact("failures", f"{data['failures']} remembered")


_SORTS = {
    "name": lambda one: (one.name, -one.created),
    "age": lambda one: (-one.created, one.name),
    "size": lambda one: (-one.size, one.name),
    "used": lambda one: (-one.used, one.name),
    "time": lambda one: (-one.seconds, one.name),
}


@cache.command("list")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--toolchain", metavar="WORD", help="Only of this toolchain: cython, c, c++, cargo, rust, numba.")
@click.option("--source", metavar="PATH", help="Only of this source, or of sources below this folder.")
@click.option("--older-than", metavar="AGE", help="Only what was not used for so long: 12h, 30d, 8w.")
@click.option("--pinned", is_flag=True, help="Only what is pinned.")
@click.option("--all", "everything", is_flag=True, help="Cargo's, numba's and other versions' folders too.")
@click.option("--sort", type=click.Choice(list(_SORTS)), default="name", help="By what; newest or largest first.")
@click.option("--reverse", is_flag=True, help="The other way round.")
@json_option
def print_list(
    names: tuple[str, ...],
    toolchain: str | None,
    source: str | None,
    older_than: str | None,
    pinned: bool,
    everything: bool,
    sort: str,
    reverse: bool,
    as_json: bool,
) -> int:
    """Every compiled module in the cache, or those whose full names match NAME (`'pkg.*'`, in quotes).

    The last use is right to a day: it is the access time that the system keeps. Exit status: 1 when nothing has one of
    the names.
    """
    warn()
    below = os.path.abspath(source) if source is not None else None
    old = measure(parse_age, older_than, "--older-than")
    oldest = time.time() - old if old is not None else None
    found = chosen(names, readers(), brief=not as_json)
    items = [
        one
        for one in found
        if (everything or one.kind == "artifact")
        and toolchain in (None, one.toolchain)
        and (below is None or (one.source or "") == below or (one.source or "").startswith(below + os.sep))
        and (oldest is None or one.used < oldest)
        and (one.pinned or not pinned)
    ]
    items.sort(key=_SORTS[sort], reverse=reverse)
    if as_json:
        print_json([_as_data(one) for one in items])
    elif is_terminal() and items:
        _show_table(items)
    elif is_terminal() and not names:
        click.echo("nothing of that kind is in the cache" if found else "the cache is empty")
    else:
        for line in _headed(_HEADS, [_row(one) for one in items], right=(2, 3, 4)):
            click.echo(line)
    return unknown(names, {one.name for one in found})


def measure(parse: Callable[[str, str], float], text: str | None, option: str) -> float | None:
    """What an option says in words.

    Raises:
        click.UsageError: they make no sense.
    """
    try:
        return parse(text, option) if text is not None else None
    except ConfigError as error:
        raise click.UsageError(error.msg) from None


def unnamed(names: Sequence[str], known: Collection[str]) -> list[str]:
    """The names, or patterns, that are none of the known."""
    return [name for name in names if not any(fnmatchcase(one, name) for one in known)]


def unknown(names: Sequence[str], known: Collection[str], what: str = "compiled module") -> int:
    """Complain of names, or patterns, that are none of the known; the exit status."""
    missing = unnamed(names, known)
    for name in missing:
        complain(f"no {what} is named {name!r}{_hint(name)}")
    return 1 if missing else 0


def _hint(name: str) -> str:
    # As a shell makes it of a pattern.
    return ", which is a file here (names are of modules, and patterns want quotes)" if os.path.exists(name) else ""


@cache.command()
@click.argument("name", shell_complete=complete_names)
@click.option("--log", is_flag=True, help="Print what the compilers said instead.")
@json_option
def show(name: str, log: bool, as_json: bool) -> int:
    """Everything that is known of the compiled versions of module NAME, the newest first.

    Exit status: 1 when there is none.
    """
    warn()
    items = sorted((one for one in chosen((name,), readers()) if one.kind == "artifact"), key=lambda one: -one.created)
    if not items:
        complain(f"the cache has nothing of {name!r}{_hint(name)}; `autoaccel cache list` tells what it has")
        return 1
    if as_json:
        print_json([{**_as_data(one), "meta": read_meta(one.path) or one.meta} for one in items])
        return 0
    for item in items:
        if log:
            with contextlib.suppress(OSError), open(f"{item.path}/build.log", encoding="utf-8") as file:
                click.echo(file.read().rstrip())
        else:
            _show_one(item)
    return 0


def _show_one(item: Item) -> None:
    # All of it, where that can be read.
    meta, now = {"inputs": (), "read_env": (), **item.meta, **(read_meta(item.path) or {})}, time.time()
    state = [word for word, is_so in (("current", item.current), ("pinned", item.pinned)) if is_so]
    click.echo(click.style(item.name, bold=True) + (f" ({', '.join(state)})" if state else ""))
    fact("source", str(item.source))
    fact("artifact", str(item.library), f"key {meta['key']}", f"for {meta.get('python')}")
    fact("built", f"{age(now - item.created)} ago in {duration(item.seconds)} by {item.toolchain}")
    fact("last use", f"{age(now - item.used)} ago, as far as is known (right to a day)")
    fact("size", f"{size(item.size)}, the library {size(meta['size'])}")
    fact("tools", *(f"{tool[0]}: {tool[1]}" for tool in meta.get("tools", ())))
    options = [f"{key} = {value}" for key, value in dict(meta.get("options") or {}).items()]
    environment = [f"${key} = {value}" for key, value in (*meta.get("env", ()), *meta["read_env"]) if value is not None]
    if options or environment:
        fact("options", *options, *environment)
    root = os.path.dirname(str(item.source)) + os.sep
    read = dict.fromkeys((*(path for path, _ in meta["inputs"]), *meta.get("taken", ())))
    own = [path for path in read if path.startswith(root)]
    fact("made from", *own, f"and {counted(len(read) - len(own), 'other file')}")
    fact("log", f"{item.path}/build.log")


def chosen(names: Sequence[str], places: Sequence[Reader], *, brief: bool = False) -> list[Item]:
    """What is in caches, of which the names match one of the patterns; without patterns, all. ``brief``: of `items`."""
    everything = [item for one in places for item in inventory.items(one, brief=brief)]
    return [one for one in everything if not names or any(fnmatchcase(one.name, name) for name in names)]


#: Columns of a terminal that has no room for a table.
_NARROW = 80

_HEADS = ("module", "toolchain", "age", "used", "size", "python", "source")


def _row(item: Item) -> tuple[str, ...]:
    now = time.time()
    return (
        item.name + (" *" if item.pinned else ""),
        item.toolchain,
        age(now - item.created),
        age(now - item.used),
        size(item.size),
        str(item.meta.get("python", "")),
        item.source or item.path,
    )


def _as_data(item: Item) -> dict[str, object]:
    return {
        "name": item.name,
        "kind": item.kind,
        "toolchain": item.toolchain,
        "source": item.source,
        "python": item.meta.get("python"),
        "created": item.created,
        "used": item.used,
        "seconds": item.seconds,
        "key": item.meta.get("key"),
        "sha256": item.meta.get("sha256"),
        "artifact": item.library or item.path,
        "bytes": item.size,
        "current": item.current,
        "pinned": item.pinned,
        "root": item.root,
    }


def _show_table(items: Sequence[Item]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.width < _NARROW:
        for name, *rest, source in map(_row, items):
            click.echo(f"{name}\n  {', '.join(one for one in rest if one)}\n  {source}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1, 0, 0))
    for head in _HEADS:
        side = "right" if head in ("age", "used", "size") else "left"
        table.add_column(head, justify=side, no_wrap=head != "source", overflow="fold")  # type: ignore[arg-type]
    for item in items:
        cells = _row(item)
        # The machine is this one, and the screen is narrow.
        python = "-".join(cells[5].split("-")[:2])
        table.add_row(*(Text(cell) for cell in (*cells[:5], python, cells[6])))
    console.print(table)


def _headed(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: Sequence[int]) -> list[str]:
    return columns([heads, *rows], right=right) if rows else []


def warn() -> bool:
    """Say that the place that the environment names is passed over, if it is."""
    problem = place().problem
    if problem is not None:
        complain(problem)
    return problem is not None


def _failures(reader: Reader) -> int:
    return sum(name.endswith(".json") for name in listed(f"{reader.bucket}/failures"))
