"""``autoaccel build``: everything below some folders, ahead of time."""

from __future__ import annotations

import os
import time

import click

from ..ahead import build_sources, mistakes, sources_below
from ..errors import AccelError, BuildError
from ..logs import show_log
from ..progress import quiet
from ..sources import root_of
from .common import complain, duration, enter_folder, is_terminal, near, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..ahead import Outcome
    from ..sources import Source

__all__ = ["build", "error_data"]

#: So many folders are named one by one.
_FEW = 3
_WORDS = {"built": "green", "cached": "cyan", "failed": "red"}


@click.command(short_help="Compile every native source in and below some folders.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--force", is_flag=True, help="Compile even what the cache has, and what failed before.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="How many at once (default: one for each core).")
@click.option("--root", metavar="DIR", help="The folder on sys.path from which the modules are imported.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr what is built, what is not, and the warnings.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout instead of lines.")
def build(paths: tuple[str, ...], force: bool, jobs: int | None, root: str | None, verbose: bool, as_json: bool) -> int:
    """Compile every native source in and below PATH (default: the current folder), several at a time.

    A module is built under the name by which it is imported; --root tells from where, if that is not found out.

    Exit status: 0 when everything is built, 1 when something failed, 2 when there is no such path or no source in it.
    """
    if verbose:
        show_log()
    quiet()
    enter_folder("filelock", "importlib.metadata", "rich.progress", "shlex")
    started = time.monotonic()
    told: Callable[[Outcome], None] | None = None if as_json else lambda outcome: click.echo(_line(outcome))
    try:
        sources = list(sources_below(paths, root))
        if is_terminal() and not as_json:
            outcomes = _with_bar(sources, force, jobs)
        else:
            outcomes = build_sources(sources, force, jobs, told)
        wrong = mistakes(paths)
    except (FileNotFoundError, AccelError) as error:
        complain(str(error))
        return 2
    seconds = time.monotonic() - started
    shown = "".join(outcome.error.msg for outcome in outcomes if outcome.error)
    for line in wrong:
        if line not in shown:
            complain(line)
    if as_json:
        print_json({"modules": [_as_data(outcome) for outcome in outcomes], "seconds": round(seconds, 3)})
    else:
        _show_errors(outcomes)
    if not outcomes:
        complain(f"no native sources in {', '.join(paths) or os.getcwd()}")
        return 2
    if not as_json:
        click.echo(_summary(outcomes, seconds), err=not is_terminal())
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _with_bar(sources: Sequence[Source], force: bool, jobs: int | None) -> list[Outcome]:
    """Build under a progress bar; the line of each module scrolls by above it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("building"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=len(sources))

        def advance(outcome: Outcome) -> None:
            bar.console.print(_styled_line(outcome), markup=True, highlight=False, soft_wrap=True)
            bar.advance(task)

        return build_sources(sources, force, jobs, advance)


def _word(outcome: Outcome) -> str:
    return "failed" if outcome.error else "built" if outcome.built else "cached"


def _line(outcome: Outcome) -> str:
    line = f"{_word(outcome)} {outcome.source.name}"
    return f"{line} {duration(outcome.seconds)}" if _word(outcome) == "built" else line


def _styled_line(outcome: Outcome) -> str:
    word, _, rest = _line(outcome).partition(" ")
    return f"[{_WORDS[word]}]{word:<6}[/] {rest}"


def _summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    words = [_word(outcome) for outcome in outcomes]
    counts = [f"{words.count(word)} {word}" for word in _WORDS if word in words]
    text = f"{', '.join(counts)} in {duration(seconds)}"
    roots = {root for outcome in outcomes if (root := root_of(outcome.source)) is not None} - {os.getcwd()}
    if roots:
        shown = ", ".join(map(near, sorted(roots))) if len(roots) <= _FEW else f"{len(roots)} folders"
        text += f", imported from {shown} (--root names another)"
    return text


def _show_errors(outcomes: Iterable[Outcome]) -> None:
    """Every error in its own words, on stderr; what is wrong with all modules alike is told once."""
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            own = isinstance(outcome.error, BuildError)
            text = outcome.source.name if own else outcome.error.msg.removeprefix(f"{outcome.source.name}: ")
            alike.setdefault(text.replace(outcome.source.path, ""), []).append(outcome)
    for first, *others in alike.values():
        assert first.error is not None
        text = first.error.msg.strip()
        if others:
            text += f"\n(the same for {', '.join(other.source.name for other in others)})"
        click.echo(f"\n{text}", err=True)
    if alike:
        click.echo(err=True)


def _as_data(outcome: Outcome) -> dict[str, object]:
    source, error = outcome.source, outcome.error
    data: dict[str, object] = {
        "name": source.name,
        "source": source.path,
        "toolchain": source.toolchain,
        "outcome": _word(outcome),
        "seconds": round(outcome.seconds, 3),
    }
    if error is not None:
        data["error"] = error_data(error)
    return data


def error_data(error: AccelError) -> dict[str, object]:
    """An error for programs."""
    data: dict[str, object] = {"kind": type(error).__name__, "message": error.msg}
    if isinstance(error, BuildError):
        fields = ("file", "line", "column", "level", "message", "code")
        data["log"] = error.log
        data["diagnostics"] = [{field: getattr(one, field) for field in fields} for one in error.diagnostics]
    return data
