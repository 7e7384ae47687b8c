"""From which folder the modules below a folder are imported, as far as that can be known without running anything."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from itertools import pairwise

from . import settings
from .errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SKIPPED", "Roots"]

#: Folders that hold no sources of the user's.
SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "target", "venv"}
)

_MARKS = ("pyproject.toml", "setup.py", ".git")
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+c?import[ \t]+\(?\s*([^\n#;)]+)|c?import[ \t]+([^\n#;]+))", re.MULTILINE
)


class Roots:
    """The import roots in and around a folder that was named.

    Args:
        top: the folder.
    """

    def __init__(self, top: str) -> None:
        self._top = top
        self._base = _base(top)
        entries = {os.path.abspath(entry) for entry in sys.path if entry} - {os.getcwd()}
        self._fixed = {one for one in entries | _layout(self._base) if _inside(one, self._base)} - {self._base}
        self._known: dict[str, str] = {}
        self._written: dict[str, list[tuple[str, str]]] = {}

    def root(self, directory: str) -> str:
        """The folder from which modules in ``directory``, which is in or below the named folder, are imported.

        An entry of ``sys.path`` inside the project is the root of all below it, and so is a folder in which the project
        says that its packages are (a `src` layout). Elsewhere, regular packages are climbed out of. A folder without
        ``__init__`` is a namespace package if it is inside a regular package, or something written in the project
        imports from it as from one. Of the others, those below the named folder are namespace packages, and the named
        folder is the root.
        """
        if directory not in self._known:
            self._known[directory] = self._search(directory)
        return self._known[directory]

    def _search(self, directory: str) -> str:
        here = _outside(directory)
        fixed = [one for one in self._fixed if _inside(here, one)]
        if fixed:
            return max(fixed, key=len)
        if here == directory:
            here = _outside(self._top)
        while here not in (self._base, os.path.dirname(here)):
            above = os.path.dirname(here)
            if _outside(above) == above and not self._imported_from(here):
                break
            here = _outside(above)
        return here

    def _imported_from(self, folder: str) -> bool:
        """Whether something that is written imports from a folder as from a package."""
        name = os.path.basename(folder)
        stems = {one.partition(".")[0] for one in os.listdir(folder)}
        for where, module in self._imports(folder):
            parts = module.lstrip(".").split(".")
            if module.startswith("."):
                if where == folder and (module.startswith("..") or parts[0] in stems):
                    return True
            elif any(one == name and inner in stems for one, inner in pairwise(parts)):
                return True
        return False

    def _imports(self, folder: str) -> list[tuple[str, str]]:
        """(folder, module) for each import that is written in the project, or around ``folder`` if there is none."""
        if folder not in self._written:
            found = self._written[folder] = []
            paths = [*_texts(self._base, deep=_marked(self._base)), *_texts(folder, deep=True)]
            for path in dict.fromkeys(paths):
                with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
                    for module, inside, plain in _IMPORT.findall(file.read()):
                        start = f"{module}{'' if module.endswith('.') else '.'}" if module else ""
                        words = [one.split()[0] for one in (inside or plain).split(",") if one.strip()]
                        found += [(os.path.dirname(path), start + word) for word in words]
        return self._written[folder]


def _inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it."""
    return (path + os.sep).startswith(folder.rstrip(os.sep) + os.sep)


def _outside(folder: str) -> str:
    """The first folder upwards that is no regular package."""
    while any(os.path.isfile(os.path.join(folder, f"__init__{suffix}")) for suffix in (".py", ".pyx")):
        if folder == os.path.dirname(folder):
            break
        folder = os.path.dirname(folder)
    return folder


def _marked(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, mark)) for mark in _MARKS)


def _base(top: str) -> str:
    """The project's folder: the nearest upwards that looks like one, else the current folder, else ``top``."""
    here = top
    while here != os.path.dirname(here):
        if _marked(here):
            return here
        here = os.path.dirname(here)
    current = os.getcwd()
    return current if _inside(top, current) else top


def _layout(base: str) -> set[str]:
    """Folders in which the project says that its packages are."""
    path = os.path.join(base, "pyproject.toml")
    told: object = {}
    with contextlib.suppress(AccelError):  # the builds tell
        told = settings.read_project(path) if os.path.isfile(path) else {}
    # As setuptools, hatch, poetry and others have it when nothing is said.
    folders = ["src"] if _marked(base) else []
    for keys in (("package-dir", ""), ("packages", "find", "where")):
        value = told
        for key in ("tool", "setuptools", *keys):
            value = value.get(key) if isinstance(value, dict) else None
        folders += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return {os.path.normpath(os.path.join(base, one)) for one in folders}


def _texts(top: str, *, deep: bool) -> Iterator[str]:
    for folder, folders, files in os.walk(top):
        folders[:] = [one for one in folders if deep and one not in SKIPPED and not one.startswith(".")]
        yield from (os.path.join(folder, one) for one in files if one.endswith((".py", ".pyx", ".pxd", ".pxi")))
