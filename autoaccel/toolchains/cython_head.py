"""Preprocess the beginning of generated C files, up to `Python.h`, once for all files of a process that begin alike.

Two thirds of what the preprocessor does for a small module it has done for the one before. Once it has been asked for
all macros that there are after `Python.h`, with the places of their definitions, a file made of these and the
module's own text gives the same output for the latter, to the byte.
"""

from __future__ import annotations

import os
import re
import time

from .. import compiler, manifest, process
from ..keys import COARSE_GRAIN_NS
from .cython_split import Unsplittable, read_text, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cython_split import Prefix

__all__ = ["Head", "of"]

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_INCLUDE = '#include "Python.h"\n'
#: Lines of GCC's -dD that count (GCC manual, "Preprocessor Output"): places and macros.
_LINE = re.compile(r'^# \d+ "(?P<file>[^"\n]*)"[ \d]*$|^#(?:define|undef) .*$', re.MULTILINE)
_ITS_OWN = ("<built-in>", "<command-line>")
#: Heads that are remembered; a process has one, or a few where modules have flags of their own.
_MOST = 32


class Head:
    """What generated files begin with, for one compile command.

    Args:
        text: the beginning, with the line that includes `Python.h`.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._uses = 0
        self._macros = ""
        self._prefix: Prefix | None = None
        self._seen: dict[str, manifest.Identity | None] = {}
        #: paths where nothing is, and their folders
        self._absent: list[str] = []
        self._folders: dict[str, manifest.Identity | None] = {}
        self._learned = False

    @property
    def prefix(self) -> Prefix | None:
        """What its declarations are, where the preprocessor need not read it again; None: it must."""
        if self._prefix is None or any(manifest.identity(path) != seen for path, seen in self._seen.items()):
            return None
        if any(manifest.identity(path) != seen for path, seen in self._folders.items()):
            if any(os.path.lexists(path) for path in self._absent):
                return None
            self._folders = _settled(self._folders)
        return self._prefix

    def without(self, text: str, start: int, path: str) -> str:
        """``text``, to be written to ``path``, with macros in the place of its head, which ends at ``start``."""
        line = text.count("\n", 0, start) + 1
        return f'{self._macros.replace(_HERE, path)}# {line} "{path}" 2\n{text[start:]}'

    def complete(self, depfile: str) -> None:
        """Have the compiler's report tell of what the head has read."""
        told = read_text(depfile).rstrip()
        write_text(depfile, " \\\n ".join([told, *map(compiler.escaped, self._seen)]) + "\n")

    def learn(self, job: compiler.Job, prefix: Prefix) -> None:
        """Find out what there is to know, which takes as long as three readings, if more files begin like this one."""
        self._uses += 1
        if self._uses < 2 or self._learned:
            return
        self._learned = True
        prefix.look()
        folders = compiler.include_words(job.flags)
        if any(job.env.get(name) for name in compiler.SEARCHED) or not all(map(os.path.isabs, folders)):
            return  # another folder of work is another place
        started = time.time_ns()
        path = f"{job.output}.head.c"
        write_text(path, self._text)
        flags = [f"{path}.d" if word == job.depfile else word for word in job.flags]
        command = [*job.compiler.command, *flags, "-E", "-dD", path, "-o", f"{path}.i"]
        if process.run(command, cwd=job.cwd, env=job.env).status != 0:
            return
        read = [one for one in compiler.dependencies(f"{path}.d", job.cwd) if one != path]
        probes = compiler.include_probes([path, *read], command, job.compiler)
        seen = _settled(read, started)
        if None not in seen.values():
            self._macros = _macros(read_text(f"{path}.i"), path)
            self._seen = seen
            # Each file has a folder of work of its own.
            self._absent = [probe for probe in probes if not probe.startswith(job.cwd)]
            self._folders = dict.fromkeys(map(_existing, dict.fromkeys(map(os.path.dirname, self._absent))))
            self._prefix = prefix


#: Stands for the file's own name.
_HERE = "\0"


def _existing(folder: str) -> str:
    """The folder, or the nearest one above it that exists."""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


def _settled(paths: Iterable[str], when: int | None = None) -> dict[str, manifest.Identity | None]:
    """Stat identities; None where a file has been written so recently that it may be again, under the same stamps."""
    moment = when or time.time_ns()
    found = {path: manifest.identity(path) for path in paths}
    return {path: seen if seen and moment - seen[1] > COARSE_GRAIN_NS else None for path, seen in found.items()}


def _macros(text: str, path: str) -> str:
    lines = []
    theirs = False
    for match in _LINE.finditer(text):
        if match["file"] is not None:
            theirs = match["file"] in _ITS_OWN
        if not theirs:
            lines.append(match[0].replace(f'"{path}"', f'"{_HERE}"'))
    return "".join(f"{line}\n" for line in lines)


_heads: dict[tuple[object, ...], Head] = {}


def of(job: compiler.Job, text: str) -> tuple[Head, int]:
    """How the file ``text`` begins, which is to be compiled by ``job``, and where that ends.

    Raises:
        Unsplittable: it does not include `Python.h`.
    """
    start = text.find(_INCLUDE) + len(_INCLUDE)
    if start < len(_INCLUDE):
        raise Unsplittable("no Python.h")
    flags = tuple(word for word in job.flags if word != job.depfile)
    env = tuple(job.env.get(name) for name in compiler.ENV)
    head = text[:start]
    key = (job.compiler.identity, flags, env, _COMMENT.sub("", head))
    if len(_heads) > _MOST:
        _heads.clear()
    return _heads.setdefault(key, Head(head)), start
