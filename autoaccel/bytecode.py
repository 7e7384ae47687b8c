"""Python's own bytecode cache, where its time stamps can't be believed."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import cache_from_source

__all__ = ["distrust"]


def distrust(path: str) -> None:
    """Remove the bytecode of a ``.py`` file that may be of an earlier content, and that Python would take all the same.

    Python compares sizes, and times in whole seconds: of two edits within one second and of one size it sees one.
    Bytecode that was written later than in that second, and the next one, can't be concerned.
    """
    # No such file, a folder that can't be written, an interpreter that keeps no bytecode.
    with suppress(OSError, NotImplementedError):
        changed = int(os.stat(path).st_mtime)
        folder, _, name = cache_from_source(path).rpartition(os.sep)
        stem = name.partition(".")[0] + "."
        for one in os.listdir(folder):
            if one.startswith(stem) and one.endswith(".pyc"):
                bytecode = os.path.join(folder, one)
                if int(os.stat(bytecode).st_mtime) <= changed + 1:
                    os.unlink(bytecode)
