"""Rows of results, and the table that they become."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

PEERS = ("pyximport", "cppimport", "numba")


@dataclass
class Row:
    """One comparison.

    Attributes:
        case: what is compared.
        ours, floor: medians, in ``unit``.
        peers: name -> median; a peer that is not installed is missing.
        value: the number that the goal is about; mostly a ratio of medians.
        robust: the same of the lower quartiles.
        goal: its limit; ``at_least`` tells on which side.
        noise: what comparing the floor with itself in the same rounds gave.
        note: words for the reader.
    """

    case: str
    ours: float | None = None
    floor: float | None = None
    peers: dict[str, float] = field(default_factory=dict)
    unit: str = "ms"
    value: float | None = None
    robust: float | None = None
    goal: float | None = None
    at_least: bool = False
    noise: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is no goal or nothing to compare with."""
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def verdict(self) -> str:
        if self.met is None:
            return "" if self.goal is None else "missing"
        if self.robust is not None and self.noise is not None:
            robust = self.robust >= self.goal if self.at_least else self.robust <= self.goal
            if robust != self.met:
                return "in the noise"
        return "yes" if self.met else "no"


def show(rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table(title="autoaccel beside its peers (medians)")
    for heading in ("case", "floor", "ours", *PEERS, "ratio", "of quartiles", "noise", "goal", "met"):
        table.add_column(heading, justify="left" if heading in ("case", "goal", "met") else "right", no_wrap=False)
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.case}: {row.note}", highlight=False)


def cells(row: Row) -> list[str]:
    """What a row shows."""
    return [
        row.case,
        _number(row.floor, row.unit),
        _number(row.ours, row.unit),
        *(_number(row.peers.get(peer), row.unit) for peer in PEERS),
        "" if row.value is None else f"{row.value:.2f} ×" if row.unit != "modules" else f"{row.value:.0f}",
        "" if row.robust is None else f"{row.robust:.2f} ×",
        "" if row.noise is None else f"{row.noise:.2f} ×",
        "" if row.goal is None else f"{'≥' if row.at_least else '≤'} {row.goal:g}",
        row.verdict,
    ]


def markdown(rows: list[Row]) -> str:
    """The table for docs/benchmarks.md."""
    headings = ("case", "floor", "ours", *PEERS, "ratio", "of quartiles", "noise", "goal", "met")
    lines = ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *map(cells, rows))]
    notes = [f"- {row.case}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, "", *notes])


def save(rows: list[Row], file: Path, about: dict[str, object]) -> None:
    """All numbers, for other programs."""
    content = {**about, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows]}
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit in ("calls", "modules"):
        return f"{value:.0f} {unit}"
    if unit == "M instructions":
        return f"{value:.2f} M"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
