"""Whether everything in a cache is what was put there; and setting aside what is not."""

from __future__ import annotations

import contextlib
import json
import os
import pickletools
import stat
import sys
from dataclasses import dataclass

from . import exports, manifest
from .csource import init_name
from .store import Store, damage, listed, read_meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .store import Reader

__all__ = ["Checked", "Problem", "check", "repair"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a cache that is not what was put there.

    Attributes:
        path: the file or folder.
        what: what is wrong with it.
        unit: what is set aside to repair it: the path itself, or the folder of the artifact that it is in.
    """

    path: str
    what: str
    unit: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of a look at a whole cache.

    Attributes:
        artifacts, notes: how many were looked at; notes are manifests, packs, contexts and other small files.
        problems: what was found.
    """

    artifacts: int
    notes: int
    problems: tuple[Problem, ...]


def check(reader: Reader) -> Checked:
    """Look at every file of a cache but what cargo has made, which cargo itself checks."""
    artifacts = list(_artifacts(reader))
    notes = list(_notes(reader))
    problems = [*_foreign(reader), *(one for one in (*artifacts, *notes) if one is not None)]
    unique = {problem.path: problem for problem in reversed(problems)}
    return Checked(len(artifacts), len(notes), tuple(unique[path] for path in sorted(unique)))


def repair(store: Store, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Set aside what is damaged, which is built or written anew when it is needed; what is left."""
    left = [one for one in problems if os.path.lexists(one.unit) and not _repaired(store, one)]
    manifest.forget()
    return tuple(left)


def _repaired(store: Store, problem: Problem) -> bool:
    if problem.unit == store.root:
        return False
    if store.artifact_of(problem.unit) is not None:
        return store.quarantine(problem.unit)
    with contextlib.suppress(OSError):
        if os.path.isdir(problem.unit) and not os.path.islink(problem.unit):
            return store.quarantine(problem.unit)
        os.unlink(problem.unit)
    return not os.path.lexists(problem.unit)


def _artifacts(reader: Reader) -> Iterator[Problem | None]:
    """The artifacts, each None if it is whole."""
    for folder in reader.folders():
        yield _looked(folder, _artifact)


def _looked(path: str, look: Callable[[str], str | None]) -> Problem | None:
    """What is wrong with a path, seen twice: others build and clear meanwhile, and what goes is no damage."""
    what = look(path)
    if what is not None:
        what = look(path) if os.path.lexists(path) else None
    return Problem(path, what, path) if what is not None and os.path.lexists(path) else None


def _artifact(folder: str) -> str | None:
    meta = read_meta(folder)
    if meta is None:
        return "its meta.json is missing or damaged"
    what = damage(folder, meta)
    if what is not None:
        return what
    if not os.path.isfile(f"{folder}/build.log"):
        return "its build.log is missing"
    if meta.get("package"):
        return None
    name = str(meta.get("name")).rpartition(".")[2]
    found = exports.init_functions(f"{folder}/{meta['library']}")
    wanted = init_name(name)
    # What can't be read here (another machine's format) says nothing.
    if found and not exports.makes(found, wanted):
        return f"the library is not of {meta.get('name')}: it defines {', '.join(sorted(found))}"
    return None


def _notes(reader: Reader) -> Iterator[Problem | None]:
    """The small files, each None if it is whole."""
    for folder in ("manifests", "packs", "contexts", "projects"):
        for path in _files(f"{reader.bucket}/{folder}"):
            yield _looked(path, _manifest if folder == "manifests" else _marshalled)
    for folder in ("failures", "tools", "numba"):
        for path in _files(f"{reader.bucket}/{folder}"):
            if path.endswith(".json"):
                yield _looked(path, _json)
    for folder in listed(f"{reader.bucket}/numba"):
        for path in _files(f"{reader.bucket}/numba/{folder}"):
            if path.endswith((".nbi", ".nbc")):
                yield _looked(path, _pickle)


def _marshalled(path: str) -> str | None:
    return "its content is not what was written" if not _plain(path) or manifest.load(path) is None else None


def _manifest(path: str) -> str | None:
    return _marshalled(path) or ("it is no manifest" if manifest.at(path) is None else None)


def _json(path: str) -> str | None:
    return None if _plain(path) and _is_json(path) else "it is no JSON any more"


def _pickle(path: str) -> str | None:
    return None if _plain(path) and _is_pickle(path) else "numba can't read it"


def _files(folder: str) -> Iterator[str]:
    for name in listed(folder):
        path = f"{folder}/{name}"
        if not name.startswith(".new-") and not (os.path.isdir(path) and not os.path.islink(path)):
            yield path


def _plain(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_json(path: str) -> bool:
    try:
        with open(path, encoding="utf-8") as file:
            json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _is_pickle(path: str) -> bool:
    """Whether a file is whole pickles, of which nothing is executed."""
    try:
        with open(path, "rb") as file:
            while file.peek(1):
                for _ in pickletools.genops(file):
                    pass
    except (OSError, ValueError, IndexError):
        return False
    return True


def _foreign(reader: Reader) -> Iterator[Problem]:
    """What somebody else owns or could write, and what is neither a file nor a folder."""
    top = reader.bucket
    if not manifest.trusted(reader.root, True):
        yield Problem(reader.root, "somebody else owns it, or can write it", reader.root)
    for folder, folders, files in os.walk(top):
        if folder == f"{top}/cargo":
            folders[:] = []
        if folder == top:
            folders[:] = [name for name in folders if name not in ("quarantine", "builds")]
        for name in (*folders, *files):
            path = f"{folder}/{name}"
            with contextlib.suppress(OSError):
                what = _odd(os.lstat(path))
                if what is not None:
                    yield Problem(path, what, reader.artifact_of(path) or path)


def _odd(status: os.stat_result) -> str | None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "it is neither a file nor a folder"
    if sys.platform != "win32" and status.st_uid not in (os.geteuid(), 0):
        return "it is somebody else's"
    if sys.platform != "win32" and status.st_mode & 0o022:
        return "others can write it"
    return None
