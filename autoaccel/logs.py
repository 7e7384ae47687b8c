"""What is told by the way: one logger, whose warnings a program that configures no logging sees on stderr.

A program that has handlers of its own gets the records as they are. ``show_log`` is for the command line.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["log", "show_log"]

log = logging.getLogger("autoaccel")


class _Handler(logging.Handler):
    """Writes to what stderr is at that moment: a progress bar puts itself there."""

    def emit(self, record: logging.LogRecord) -> None:
        # Like logging's own last resort, which would not say who speaks.
        heard = log.propagate and (len(log.handlers) > 1 or logging.getLogger().handlers)
        if not heard and sys.stderr is not None:
            trace = f"\n{_formatter.formatException(record.exc_info)}" if record.exc_info else ""
            sys.stderr.write(f"autoaccel: {record.getMessage()}{trace}\n")


_formatter = logging.Formatter()
_handler = _Handler(logging.WARNING)
log.addHandler(_handler)


def show_log() -> None:
    """Write what happens to stderr, each message at once: other threads and programs write there too."""
    _handler.setLevel(logging.DEBUG)
    log.setLevel(logging.DEBUG)
    # A program that configures logging for itself would show every line twice.
    log.propagate = False
