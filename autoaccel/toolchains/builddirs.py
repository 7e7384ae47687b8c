"""Where cargo builds: one folder for each workspace and Python, started from an earlier one's compiled dependencies.

Cargo names what it compiles relative to the workspace and judges it by time stamps, so one folder for several projects
silently gives one the other's code; and within one folder, a changed file with an older time stamp is not seen. So each
workspace has its own, dependencies from registries are carried over by hard links, and the contents of the user's own
files are remembered here: what cargo can't be trusted with is forgotten before it looks.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field

from .. import keys, locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

__all__ = ["BuildDir", "copy", "exclusive", "folder_of", "forget_packages", "open_dir", "seed"]

_SCHEMA = 1
#: What is replaced, never rewritten in place, by cargo and rustc.
_LINKED = (".rlib", ".rmeta", ".so", ".dylib", ".dll", ".lib", ".a", ".exe")


@dataclass(slots=True)
class BuildDir:
    """A build folder and what is remembered of it.

    Attributes:
        folder: cargo's target directory.
        python: the interpreter that bindings are compiled for.
        packages: names of packages from registries that were compiled here.
        local: names of the user's own packages that were compiled here.
        libraries: file name of a library -> the manifest of the crate that it was last linked for.
        builds: variant (flags, features, compiler) -> package -> (when it was compiled last in ns, file -> digest of
            the content that was compiled).
    """

    folder: str
    python: str
    packages: set[str] = field(default_factory=set)
    local: set[str] = field(default_factory=set)
    libraries: dict[str, str] = field(default_factory=dict)
    builds: dict[str, dict[str, tuple[int, dict[str, str]]]] = field(default_factory=dict)

    def outdated(self, variant: str, contents: keys.Contents) -> set[str]:
        """The user's packages whose files have changed in a way that cargo does not see, for their time stamps."""
        found = set()
        for package, (ended, files) in self.builds.get(variant, {}).items():
            for path, digest in files.items():
                if contents.digest(path) != digest:
                    with contextlib.suppress(OSError):
                        if os.stat(path).st_mtime_ns <= ended:
                            found.add(package)
        return found

    def vouched(self, variant: str, contents: keys.Contents) -> set[str]:
        """The user's packages all of whose files are what was compiled last."""
        return {
            package
            for package, (_, files) in self.builds.get(variant, {}).items()
            if all(contents.digest(path) == digest for path, digest in files.items())
        }

    def keep(self) -> None:
        """Write down what is remembered."""
        from ..store import replace

        data = {
            "python": self.python,
            "packages": sorted(self.packages),
            "local": sorted(self.local),
            "libraries": self.libraries,
            "builds": self.builds,
        }
        with contextlib.suppress(OSError):
            replace(f"{self.folder}/autoaccel.json", json.dumps(data).encode())


def folder_of(bucket: str, root: str, python: str) -> str:
    """The build folder of a workspace for a Python."""
    return f"{bucket}/cargo/{keys.digest(_SCHEMA, os.path.realpath(root), python)}"


def open_dir(folder: str, python: str) -> BuildDir:
    """What is remembered of a build folder; nothing of a new one."""
    found = BuildDir(folder, python)
    told = _told(folder)
    if told is not None and told.get("python") == python:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            found.packages = set(told["packages"])
            found.local = set(told["local"])
            found.libraries = dict(told["libraries"])
            found.builds = {
                variant: {package: (int(ended), dict(files)) for package, (ended, files) in packages.items()}
                for variant, packages in told["builds"].items()
            }
    return found


def seed(bucket: str, folder: str, python: str, wanted: set[str], patience: float) -> bool:
    """Start a new build folder from the earlier one that has most of the ``wanted`` packages; whether there is one.

    Args:
        bucket: the cache.
        folder: the new one.
        python: the interpreter that bindings are compiled for.
        wanted: names of packages.
        patience: seconds to wait for the best one, if all that have something are being built in.
    """
    top = f"{bucket}/cargo"
    ranked: list[tuple[int, float, str]] = []
    for name in _listed(top):
        told = _told(f"{top}/{name}")
        if told is None or told.get("python") != python or f"{top}/{name}" == folder:
            continue
        common = len(wanted.intersection(told.get("packages", ())))
        with contextlib.suppress(OSError):
            if common:
                ranked.append((common, os.stat(f"{top}/{name}/autoaccel.json").st_mtime, f"{top}/{name}"))
    ranked.sort(reverse=True)
    tries = [(place, 0.0) for _, _, place in ranked] + [(place, patience) for _, _, place in ranked[:1]]
    for place, timeout in tries:
        with exclusive(bucket, place, timeout) as held:
            told = _told(place) if held else None
            if told is not None and _seeded(place, folder, python, told):
                return True
    return False


def _seeded(source: str, folder: str, python: str, told: dict[str, Any]) -> bool:
    new = f"{folder}.new-{os.getpid()}-{time.monotonic_ns()}"
    try:
        copy(source, new)
        forget_packages(new, told.get("local", ()))
        BuildDir(new, python, packages=set(told.get("packages", ()))).keep()
        os.rename(new, folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        return False
    return True


def forget_packages(folder: str, packages: Iterable[str]) -> None:
    """Have cargo compile these packages again: without its notes on them, nothing of theirs is fresh."""
    names = tuple(packages)
    if not names:
        return
    for profile in _profiles(folder):
        notes = f"{profile}/.fingerprint"
        for entry in _listed(notes):
            if entry.rpartition("-")[0] in names:
                shutil.rmtree(f"{notes}/{entry}", ignore_errors=True)
        # The layout of cargo 1.100 and newer.
        for name in names:
            shutil.rmtree(f"{profile}/build/{name}", ignore_errors=True)


def exclusive(bucket: str, what: str, timeout: float) -> AbstractContextManager[bool]:
    """Hold the lock of a build folder (or another name); False where it can't be had."""
    return locks.held(f"{bucket}/locks/cargo-{keys.digest(what)}.lock", timeout)


def _profiles(folder: str) -> Iterator[str]:
    """The folders that cargo makes for each profile, below one for each target where that is asked for."""
    for name in _listed(folder):
        for inside in (name, *(f"{name}/{one}" for one in _listed(f"{folder}/{name}"))):
            if os.path.isdir(f"{folder}/{inside}/.fingerprint") or os.path.isdir(f"{folder}/{inside}/build"):
                yield f"{folder}/{inside}"


def copy(source: str, target: str) -> None:
    """Copy a build folder: libraries and programs by hard links, without incremental state."""
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            new = f"{target}/{entry.name}"
            if entry.is_symlink() or entry.name in ("incremental", "autoaccel.json", ".cargo-lock", "examples"):
                continue
            if entry.is_dir():
                copy(entry.path, new)
                shutil.copystat(entry.path, new)
            elif entry.name.endswith(_LINKED) or entry.stat().st_mode & 0o100:
                try:
                    os.link(entry.path, new)
                except OSError:
                    shutil.copy2(entry.path, new)
            else:
                shutil.copy2(entry.path, new)


def _told(folder: str) -> dict[str, Any] | None:
    try:
        with open(f"{folder}/autoaccel.json", encoding="utf-8") as file:
            told = json.load(file)
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
