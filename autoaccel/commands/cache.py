"""``autoaccel cache``: where the cache is, what is in it, and emptying it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass

import click

from .. import manifest
from ..store import Store
from .common import age, columns, complain, counted, duration, fact, is_terminal, print_json, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..store import Entry

__all__ = ["Place", "cache", "place", "stores"]


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
    for root in manifest.cache_roots():
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


@click.group()
def cache() -> None:
    """The cache of compiled modules."""


@cache.command("dir")
def print_dir() -> int:
    """Print where compiled modules are kept."""
    # Bytes: a path need not be text.
    click.echo(os.fsencode(place().root))
    return 0


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def info(as_json: bool) -> int:
    """How much is in the cache, and what it saves."""
    found = stores()
    where = place()
    kinds: dict[str, dict[str, Any]] = {}
    for entry in _entries(found):
        toolchain = str(entry.meta.get("toolchain"))
        kind = kinds.setdefault(toolchain, {"artifacts": 0, "bytes": 0, "build_seconds": 0.0})
        kind["artifacts"] += 1
        kind["bytes"] += entry.size
        kind["build_seconds"] = round(kind["build_seconds"] + _number(entry, "seconds"), 3)
    data = {
        "root": where.root,
        "chosen_by": where.chosen_by,
        "exists": os.path.isdir(where.root),
        "bytes": sum(store.size() for store in found),
        "toolchains": dict(sorted(kinds.items())),
        "failures": sum(_failures(store) for store in found),
    }
    if as_json:
        print_json(data)
        return 0
    lines = [where.root if data["exists"] else f"{where.root} (not made yet)", f"by {where.chosen_by}"]
    fact("place", *lines, *([where.problem] if where.problem else []))
    fact("size", size(sum(store.size() for store in found)))
    rows = [
        (name, str(kind["artifacts"]), size(kind["bytes"]), duration(kind["build_seconds"]))
        for name, kind in sorted(kinds.items())
    ]
    fact("artifacts", *(_headed(("toolchain", "count", "size", "build time"), rows, right=(1, 2, 3)) or ["none"]))
    fact("failures", f"{data['failures']} remembered")
    return 0


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def print_list(as_json: bool) -> int:
    """Every compiled module in the cache."""
    _warn()
    entries = sorted(_entries(stores()), key=lambda entry: (str(entry.meta.get("name")), -_number(entry, "created")))
    if as_json:
        print_json([_as_data(entry) for entry in entries])
    elif is_terminal():
        _show_table(entries)
    else:
        for line in _headed(_HEADS, [_row(entry) for entry in entries], right=(2, 3)):
            click.echo(line)
    return 0


@cache.command()
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def clear(yes: bool) -> int:
    """Remove every compiled module. Programs that run keep what they have loaded."""
    found = stores()
    if _warn() and not found:
        return 1
    if not found:
        click.echo(f"nothing to remove: {place().root} does not exist")
        return 0
    total = sum(store.size() for store in found)
    roots = ", ".join(store.root for store in found)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: pass --yes to remove everything")
        count = sum(1 for _ in _entries(found))
        click.confirm(f"Remove {counted(count, 'compiled module')} ({size(total)}) from {roots}?", abort=True, err=True)
    removed = sum(store.clear() for store in found)
    click.echo(f"removed {size(removed)} from {roots}")
    return 0


#: Columns of a terminal that has no room for a table.
_NARROW = 80

_HEADS = ("module", "toolchain", "age", "size", "python", "source")


def _row(entry: Entry) -> tuple[str, ...]:
    meta = entry.meta
    old = age(time.time() - _number(entry, "created"))
    return (
        str(meta.get("name")),
        str(meta.get("toolchain")),
        old,
        size(entry.size),
        str(meta.get("python")),
        str(meta.get("source")),
    )


def _as_data(entry: Entry) -> dict[str, object]:
    keys = ("name", "toolchain", "source", "python", "created", "seconds", "key", "sha256")
    return {
        **{key: entry.meta.get(key) for key in keys},
        "artifact": f"{entry.folder}/{entry.meta['library']}",
        "bytes": entry.size,
    }


def _show_table(entries: Sequence[Entry]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not entries:
        click.echo("the cache is empty")
        return
    console = Console()
    if console.width < _NARROW:
        for name, *rest, source in map(_row, entries):
            click.echo(f"{name}\n  {', '.join(rest)}\n  {source}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, padding=(0, 1, 0, 0))
    for head in _HEADS:
        table.add_column(
            head, justify="right" if head in ("age", "size") else "left", no_wrap=head != "source", overflow="fold"
        )
    for entry in entries:
        cells = _row(entry)
        # The machine is this one, and the screen is narrow.
        python = "-".join(cells[4].split("-")[:2])
        table.add_row(*(Text(cell) for cell in (*cells[:4], python, cells[5])))
    console.print(table)


def _headed(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, right: Sequence[int]) -> list[str]:
    return columns([heads, *rows], right=right) if rows else []


def _warn() -> bool:
    """Say that the place that the environment names is passed over, if it is."""
    problem = place().problem
    if problem is not None:
        complain(problem)
    return problem is not None


def _entries(found: Sequence[Store]) -> list[Entry]:
    return [entry for store in found for entry in store.entries()]


def _failures(store: Store) -> int:
    return sum(name.endswith(".json") for name in os.listdir(f"{store.bucket}/failures"))


def _number(entry: Entry, key: str) -> float:
    value = entry.meta.get(key)
    return float(value) if isinstance(value, int | float) else 0.0
