"""Why a file of the right name is not the module: told when nothing else is it either."""

from __future__ import annotations

import os
import sys

from . import errors

__all__ = ["Hint", "note"]


class Hint:
    """The last entry of ``sys.meta_path``, once there is something to tell."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        """Raise ``ModuleNotFoundError`` with the reason, where there is one to give, in an import."""
        file = self.files.get(fullname)
        # Who only looks (importlib.util.find_spec) is to get None as the answer.
        if file is None or sys.meta_path[-1] is not self or not os.path.isfile(file):
            return
        if sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":  # noqa: SLF001
            raise errors.unclaimed(fullname, file)


def note(name: str, path: str) -> None:
    """Remember that the file at ``path`` has the name of the module, and is not its source."""
    hint = next((entry for entry in sys.meta_path if isinstance(entry, Hint)), None)
    if hint is None:
        hint = Hint()
        sys.meta_path.append(hint)
    hint.files[name] = path
