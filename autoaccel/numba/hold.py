"""A record that does not hold at first sight: whether all contents are what they were."""

from __future__ import annotations

from .. import manifest
from ..loader import read_alone
from ..store import open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["renewed"]


def renewed(record: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The record as it is after a look at all contents; None where one has changed."""
    known = manifest.Manifest(*record)
    found = open_store().revalidate(known, system=True)
    return read_alone(known.name, known.source) or record if found is not None else None
