"""``autoaccel cache``: the verbs that change it or look at all of it: clear, verify, prune, pin, export, import."""

from __future__ import annotations

import os
import sys
import time
from fnmatch import fnmatchcase

import click

from .. import archive, inventory, verify
from ..store import Store, readers, replace
from ..upkeep import Caps, Pruned, caps, parse_age, parse_size, prune
from .cache import cache, chosen, complete_names, json_option, measure, place, stores, unknown, unnamed, warn
from .common import age, complain, counted, print_json, size

__all__: list[str] = []


def _nothing(as_json: bool, empty: object) -> int:
    """There is no cache to work on, or none that can be written."""
    if warn():
        return 1
    if any(readers()):
        complain(f"{place().root} can be read, not written")
        return 1
    if as_json:
        print_json(empty)
    else:
        click.echo(f"nothing to do: {place().root} does not exist")
    return 0


@cache.command()
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@json_option
def clear(yes: bool, as_json: bool) -> int:
    """Remove every compiled module, pinned ones and those of other versions as well.

    Programs that run keep what they have loaded.
    """
    found = stores()
    if warn() and not found:
        return 1
    if not found:
        if as_json:
            print_json({"removed_bytes": 0, "roots": []})
        else:
            click.echo(f"nothing to remove: {place().root} does not exist")
        return 0
    total = sum(store.whole_size() for store in found)
    roots = ", ".join(store.root for store in found)
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise click.UsageError("there is nobody to ask: pass --yes to remove everything")
        count = sum(1 for store in found for _ in store.entries())
        pinned = len({name for store in found for name in inventory.pins(store)})
        told = f", {pinned} of them pinned" if pinned else ""
        click.confirm(
            f"Remove {counted(count, 'compiled module')} ({size(total)}{told}) from {roots}?", abort=True, err=True
        )
    removed = sum(store.clear() for store in found)
    if as_json:
        print_json({"removed_bytes": removed, "roots": [store.root for store in found]})
    else:
        click.echo(f"removed {size(removed)} from {roots}")
    return 0


@cache.command("verify")
@click.option("--repair", is_flag=True, help="Set aside what is damaged; it is built again when it is imported.")
@json_option
def check(repair: bool, as_json: bool) -> int:
    """Look at every file: artifacts by content, manifests and other notes by checksum, all of them by owner and mode.

    Exit status: 1 when something is damaged, and still is after --repair.
    """
    warn()
    rows = []
    left = artifacts = notes = 0
    writable = {store.root: store for store in stores()} if repair else {}
    for reader in readers():
        found = verify.check(reader)
        artifacts, notes = artifacts + found.artifacts, notes + found.notes
        store = writable.get(reader.root)
        remaining = verify.repair(store, found.problems) if store is not None else found.problems
        if repair and store is None and remaining:
            complain(f"{reader.root} is only read here: nothing in it is set aside")
        left += len(remaining)
        rows += [{"path": one.path, "problem": one.what, "repaired": one not in remaining} for one in found.problems]
    if as_json:
        print_json({"artifacts": artifacts, "notes": notes, "problems": rows})
        return 1 if left else 0
    for row in rows:
        click.echo(f"{'set aside' if row['repaired'] else 'damaged'}: {row['path']}: {row['problem']}")
    looked = f"{counted(artifacts, 'artifact')} and {counted(notes, 'note')}"
    if not rows:
        click.echo(f"{looked}: all as they were written")
    elif left and not repair:
        click.echo(f"{looked}: {counted(left, 'problem')}; `autoaccel cache verify --repair` sets them aside")
    else:
        click.echo(f"{looked}: {len(rows) - left} set aside, {left} left")
    return 1 if left else 0


@cache.command("prune")
@click.option("--older-than", metavar="AGE", help="Remove what was not used for so long: 12h, 30d, 8w.")
@click.option("--max-size", metavar="SIZE", help="Remove what was used least recently, down to so much: 500MB, 2GB.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@json_option
def evict(older_than: str | None, max_size: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove what is old or too much; without options, what $AUTOACCEL_CACHE_MAX_SIZE and _MAX_AGE say.

    What an older autoaccel has left is one thing among others, as old as what it has used last.
    Kept in any case: pinned modules, libraries that a process has loaded, and build folders that are in use.
    """
    found = stores()
    if not found:
        return _nothing(as_json, {"removed": [], "freed_bytes": 0, "bytes": 0, "kept": [], "dry_run": dry_run})
    warn()
    done = []
    for store in found:
        limits = caps(store.root)
        if older_than is not None or max_size is not None:
            limits = Caps(measure(parse_size, max_size, "--max-size"), measure(parse_age, older_than, "--older-than"))
        done.append(prune(store, limits, gentle=False, dry=dry_run))
    if as_json:
        print_json(_pruned(done, dry_run))
        return 0
    word = "would remove" if dry_run else "removed"
    for one in done:
        for item in one.items:
            unused = age(time.time() - item.used)
            click.echo(f"{word} {item.name}: {item.toolchain}, {size(item.size)}, unused for {unused}")
        for item in one.spared:
            click.echo(f"kept {item.name}: {'it is pinned' if item.pinned else 'it is in use'}")
    freed, after = sum(one.freed for one in done), sum(one.after for one in done)
    click.echo(
        f"{'would free' if dry_run else 'freed'} {size(freed)}; {size(after)} {'would be' if dry_run else 'are'} left"
    )
    return 0


def _pruned(done: list[Pruned], dry_run: bool) -> dict[str, object]:
    def told(items: list[inventory.Item]) -> list[dict[str, object]]:
        return [
            {"name": one.name, "kind": one.kind, "path": one.path, "bytes": one.size, "used": one.used} for one in items
        ]

    return {
        "removed": told([item for one in done for item in one.items]),
        "kept": told([item for one in done for item in one.spared]),
        "freed_bytes": sum(one.freed for one in done),
        "bytes": sum(one.after for one in done),
        "dry_run": dry_run,
    }


@cache.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_names)
@json_option
def pin(names: tuple[str, ...], as_json: bool) -> int:
    """Keep what modules are compiled to now, whatever its age. NAME may be a pattern: `'pkg.*'`.

    A pin is the module's: after a change of its source, the new artifact is kept instead. `cache clear` removes pins.
    """
    found = stores()
    if not found:
        return _nothing(as_json, {"pinned": []}) or 1
    warn()
    known = {item.name for item in chosen(names, found) if item.kind == "artifact"}
    for store in found:
        here = {str(entry.meta.get("name")) for entry in store.entries()}
        for name in known & here:
            replace(f"{store.bucket}/{inventory.pin_name(name)}", name.encode())
    return _told("pinned", names, known, as_json)


def _complete_pins(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return sorted(name for store in stores() for name in inventory.pins(store) if name.startswith(begun))


@cache.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_pins)
@json_option
def unpin(names: tuple[str, ...], as_json: bool) -> int:
    """Let modules go again when they are old. NAME may be a pattern: `'pkg.*'`."""
    found = stores()
    if not found:
        return _nothing(as_json, {"unpinned": []}) or 1
    warn()
    gone: set[str] = set()
    for store in found:
        for name in inventory.pins(store):
            if any(fnmatchcase(name, one) for one in names):
                os.unlink(f"{store.bucket}/{inventory.pin_name(name)}")
                gone.add(name)
    return _told("unpinned", names, gone, as_json)


def _told(word: str, wanted: tuple[str, ...], done: set[str], as_json: bool) -> int:
    if as_json:
        print_json({word: sorted(done), "missing": unnamed(wanted, done)})
    else:
        for name in sorted(done):
            click.echo(f"{word} {name}")
    return unknown(wanted, done, "pin" if word == "unpinned" else "compiled module")


@cache.command("export")
@click.argument("file", type=click.Path(dir_okay=False, writable=True))
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--everything", is_flag=True, help="What sources were before, too, not only what they are now.")
@json_option
def export_archive(file: str, names: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Write compiled modules into FILE (.tar.gz), which `cache import` takes in elsewhere.

    They serve where the sources have the same paths and contents, and the Python is of the same version; with
    AUTOACCEL=load, no compiler is needed there. The SHA-256 that is printed proves the file to `import --sha256`.
    """
    warn()
    found = readers()
    items = [one for one in chosen(names, found) if one.kind == "artifact" and (one.current or everything)]
    if unknown(names, {one.name for one in items}):
        return 1
    if not items:
        complain("there is nothing to export")
        return 1
    made = archive.write(file, items, found)
    if as_json:
        print_json({"file": file, "artifacts": made.artifacts, "bytes": made.size, "sha256": made.sha256})
    else:
        click.echo(f"{counted(made.artifacts, 'artifact')}, {size(made.size)}, SHA-256 {made.sha256}")
    return 0


@cache.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--sha256", metavar="DIGEST", help="What the file's SHA-256 must be.")
@json_option
def import_archive(file: str, sha256: str | None, as_json: bool) -> int:
    """Add the compiled modules in FILE, which `cache export` wrote, to the cache.

    Everything is checked before anything is added. It is code that programs will run: import what you trust.
    """
    warn()
    # The cache that builds go to; made if need be.
    done = archive.read(file, Store(place().root), sha256)
    if as_json:
        print_json({"added": done.new, "known": done.known, "of_another_python": done.elsewhere})
        return 0
    click.echo(f"added {counted(len(done.new), 'artifact')}, {len(done.known)} were there")
    if done.elsewhere:
        complain(f"{len(done.elsewhere)} of them are for another Python or platform than this one")
    return 0
