"""Preprocess the beginning of generated C files, up to `Python.h`, once for all files of a process that begin alike.

Two thirds of what the preprocessor does for a small module it has done for the one before. Once it has been asked for
all macros that there are after `Python.h`, with the places of their definitions, a file made of these and the
module's own text gives the same output for the latter, to the byte.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time

from .. import compiler, keys, manifest, process
from .cython_split import Unsplittable, prefix_of, read_text, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cython_split import Prefix

__all__ = ["Head", "foresee", "known", "of"]

#: Cython's own files have the second kind too.
_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_INCLUDE = '#include "Python.h"\n'
#: Lines of GCC's -dD that count (GCC manual, "Preprocessor Output"): places and macros.
_LINE = re.compile(r'^# \d+ "(?P<file>[^"\n]*)"[ \d]*$|^#(?:define|undef) .*$', re.MULTILINE)
_ITS_OWN = ("<built-in>", "<command-line>")
#: Heads that are remembered; a process has one, or a few where modules have flags of their own.
_MOST = 32


class Head:
    """What generated files begin with, for one compile command.

    Attributes:
        text: the beginning, with the line that includes `Python.h`.
        learned: whether it has been looked at, whatever came of that.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._uses = 0
        self._macros = ""
        self._prefix: Prefix | None = None
        self._seen: dict[str, manifest.Identity] = {}
        #: paths where nothing is, and their folders
        self._absent: list[str] = []
        self._folders: tuple[manifest.Folder, ...] = ()
        self.learned = False

    @property
    def prefix(self) -> Prefix | None:
        """What its declarations are, where the preprocessor need not read it again; None: it must."""
        if self._prefix is None or any(manifest.identity(path) != seen for path, seen in self._seen.items()):
            return None
        folders = tuple(keys.folder_row(folder) for folder, _, _ in self._folders)
        if folders != self._folders or not all(changed for _, changed, _ in folders):
            if any(os.path.lexists(path) for path in self._absent):
                return None
            self._folders = folders
        return self._prefix

    def without(self, text: str, start: int, path: str) -> str:
        """``text``, to be written to ``path``, with macros in the place of its head, which ends at ``start``."""
        line = text.count("\n", 0, start) + 1
        return f'{self._macros.replace(_HERE, path)}# {line} "{path}" 2\n{text[start:]}'

    def complete(self, depfile: str) -> None:
        """Have the compiler's report tell of what the head has read."""
        told = read_text(depfile).rstrip()
        write_text(depfile, " \\\n ".join([told, *map(compiler.escaped, self._seen)]) + "\n")

    def learn(self, job: compiler.Job, prefix: Prefix, started: int) -> None:
        """Find out what there is to know, which takes as long as three readings, if more files begin like this one.

        Args:
            job: how such a file is compiled.
            prefix: what the head's declarations were.
            started: before they were read, in nanoseconds; macros of later headers would not fit them.
        """
        self._uses += 1
        if self._uses < 2 or self.learned:
            return
        self.look(job, prefix, started)

    def look(self, job: compiler.Job, prefix: Prefix, started: int) -> None:
        """As `learn`, now."""
        self.learned = True
        try:
            self._look(job, prefix, started)
        except BaseException:
            # It was broken off; the next may try.
            self.learned = False
            raise

    def _look(self, job: compiler.Job, prefix: Prefix, started: int) -> None:
        prefix.look()
        folders = compiler.include_words(job.flags)
        if any(job.env.get(name) for name in compiler.SEARCHED) or not all(map(os.path.isabs, folders)):
            return  # another folder of work is another place
        path = f"{job.output}.head.c"
        write_text(path, self.text)
        flags = [f"{path}.d" if word == job.depfile else word for word in job.flags]
        command = [*job.compiler.command, *flags, "-E", "-dD", path, "-o", f"{path}.i"]
        if process.run(command, cwd=job.cwd, env=job.env).status != 0:
            return
        read = [one for one in compiler.dependencies(f"{path}.d", job.cwd) if one != path]
        probes = compiler.include_probes([path, *read], command, job.compiler)
        contents = keys.Contents()
        # What has just been written may be written again under the same stamps.
        if not any(contents.changed_since(one, started - manifest.COARSE_GRAIN_NS) for one in read):
            self._macros = _macros(read_text(f"{path}.i"), path)
            self._seen = {one: contents.identity(one) for one in read}
            # Each file has a folder of work of its own.
            self._absent = [probe for probe in probes if not probe.startswith(job.cwd)]
            near = dict.fromkeys(keys.nearest(os.path.dirname(probe))[0] for probe in self._absent)
            self._folders = tuple((folder, 0, 0) for folder in near)
            self._prefix = prefix


#: Stands for the file's own name.
_HERE = "\0"


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
#: Held while a head is looked at that files will have which Cython has yet to write.
_foreseeing = threading.RLock()


def _forked() -> None:
    """A child has not the thread that may hold it."""
    global _foreseeing
    _foreseeing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def known() -> bool:
    """Whether one has been looked at."""
    return any(head.learned for head in list(_heads.values()))


def foresee(job: compiler.Job, utilities: str) -> None:
    """Learn what files will begin with as long as Cython has not written one, which it needs time to be loaded for.

    Args:
        job: how such a file will be compiled; nothing is there yet.
        utilities: Cython's folder of that name, which has what it writes.
    """
    with _foreseeing, contextlib.suppress(Unsplittable, UnicodeError, OSError):
        head, _ = of(job, _usual(utilities))
        if head.learned:
            return
        started = time.time_ns()
        path = f"{job.output}.foreseen.c"
        write_text(path, head.text)
        flags = [f"{path}.d" if word == job.depfile else word for word in job.flags]
        command = [*job.compiler.command, *flags, "-E", path, "-o", f"{path}.i"]
        if process.run(command, cwd=job.cwd, env=job.env).status == 0:
            head.look(job, prefix_of(read_text(f"{path}.i"), path)[0], started)


def _usual(utilities: str) -> str:
    """What generated files begin with, as Cython.Compiler.ModuleNode writes it since 3.1."""
    text = read_text(os.path.join(utilities, "ModuleSetupCode.c"))
    found = _SETUP.search(text)
    if found is None:
        raise Unsplittable("another Cython")
    return f"#ifndef PY_SSIZE_T_CLEAN\n#define PY_SSIZE_T_CLEAN\n#endif\n{_bare(found[1])}\n{_INCLUDE}"


def _bare(text: str) -> str:
    """Without what says nothing to the preprocessor."""
    return "\n".join(line.rstrip() for line in _COMMENT.sub("", text).splitlines() if line.strip())


_SETUP = re.compile(r"^/{3,} InitLimitedAPI /+\n(.*?)^/{5,}", re.DOTALL | re.MULTILINE)


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
    key = (job.compiler.identity, flags, env, _bare(head))
    if len(_heads) > _MOST:
        _heads.clear()
    with _foreseeing:
        return _heads.setdefault(key, Head(head)), start
