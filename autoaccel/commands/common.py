"""What the verbs share: sizes, ages and columns for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

import click

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "age",
    "columns",
    "complain",
    "counted",
    "duration",
    "enter_folder",
    "fact",
    "is_terminal",
    "near",
    "print_json",
    "size",
]

_STEPS = ((86_400 * 365, "years"), (86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))


def complain(message: str) -> None:
    """An error that ends the command."""
    click.echo(f"autoaccel: {message}", err=True)


def enter_folder(*needed: str) -> None:
    """Have modules found in the current folder first, as by ``python -c``.

    Args:
        needed: what autoaccel itself is going to import: never a file that happens to lie in that folder.
    """
    for name in needed:
        import_module(name)
    if not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())


def is_terminal() -> bool:
    """Whether someone looks at stdout, on something that can draw."""
    from rich.console import Console

    console = Console()
    return console.is_terminal and not console.is_dumb_terminal


def near(path: str) -> str:
    """A path as the user would type it."""
    inside = os.path.relpath(path)
    return path if inside.startswith(os.pardir + os.sep + os.pardir) else inside


def print_json(value: object) -> None:
    """A document on stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        # Also for paths that are no text, on a stdout that would pass their bytes on.
        text = json.dumps(value, indent=2)
    click.echo(text)


def size(count: float) -> str:
    """Bytes, as people say them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def age(seconds: float) -> str:
    """A time span in its largest unit."""
    for step, unit in _STEPS:
        if seconds >= step:
            count = int(seconds // step)
            return f"{count} {unit.rstrip('s') if count == 1 and len(unit) > 1 and unit != 'min' else unit}"
    return "0 s"


def duration(seconds: float) -> str:
    """How long something took."""
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"


def columns(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Rows as lines of aligned columns, two blanks apart.

    Args:
        rows: of one length.
        right: numbers of the columns that are aligned to the right.
    """
    if not rows:
        return []
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    to_right = set(right)
    return [
        "  ".join(
            cell.rjust(width) if index in to_right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def fact(label: str, *lines: str) -> None:
    """A labelled fact; further lines stand below its first."""
    for index, line in enumerate(lines):
        head = label if index == 0 else ""
        click.echo(f"  {click.style(f'{head:<11}', dim=True)} {line}")
