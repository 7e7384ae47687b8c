"""The processor, where code is asked for that only it need run (``-march=native``): then it is an input, like a file.

So a machine that shares a cache with others, or has got an archive, never loads what it may not be able to run.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FILE", "inputs"]

#: What Linux tells of it: maker, family, model, and all that it can do. Its time stamps are those of the first look.
FILE = "/sys/devices/system/cpu/modalias"

#: GCC's and Clang's -march, -mcpu and -mtune, rustc's target-cpu, and Intel's word; no folder or crate of that name.
_ASKED = re.compile(r"(?<![\w/.\\-])native(?![\w/.\\=-])|(?:^|\s)[-/]Q?xHost\b")


def inputs(words: Iterable[str]) -> tuple[str, ...]:
    """The file that tells of the processor if flags ask for code for it; none where the system has no such file."""
    return (FILE,) if any(_ASKED.search(word) for word in words) and os.path.exists(FILE) else ()
