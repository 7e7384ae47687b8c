"""Build ahead of time: everything below a folder, several at a time, without importing any of it."""

from __future__ import annotations

import fnmatch
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from . import CRATE_SOURCES, PACKAGE_SOURCES, SUFFIXES, errors, pipeline, process, projects, settings
from .content import claims
from .finder import Project
from .sources import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Outcome", "build", "import_root", "sources_below"]

#: Folders that hold no sources of the user's.
_SKIPPED = frozenset(
    {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist", "target", "venv"}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source.

    Attributes:
        source: the module.
        error: why it did not build, or None.
        built: whether a compiler ran; False: the cache had it.
        seconds: how long it took.
    """

    source: Source
    error: errors.AccelError | None
    built: bool
    seconds: float


def build(
    *paths: str | os.PathLike[str],
    force: bool = False,
    jobs: int | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Build every native source in and below ``paths`` (the current folder when there are none).

    Args:
        paths: files and folders.
        force: build even what the cache has.
        jobs: how many at once; None: one for each core.
        progress: called after each source, in the order in which they finish.

    Returns:
        What became of each, in the order of their paths.

    Raises:
        FileNotFoundError: a path does not exist.
        AccelError: a named file is no native source.
    """
    sources = list(sources_below([os.fspath(path) for path in paths] or [os.getcwd()]))
    outcomes: dict[str, Outcome] = {}
    try:
        with ThreadPoolExecutor(jobs or settings.jobs()) as pool:
            running = [pool.submit(_one, source, force) for source in sources]
            try:
                for future in as_completed(running):
                    outcome = future.result()
                    outcomes[outcome.source.path] = outcome
                    if progress is not None:
                        progress(outcome)
            except BaseException:
                # The pool waits for its threads, and they for their compilers.
                for future in running:
                    future.cancel()
                process.interrupt()
                raise
    finally:
        process.resume()
    return [outcomes[source.path] for source in sources]


def sources_below(paths: Sequence[str]) -> Iterator[Source]:
    """The native sources in and below paths, each once, each under the name by which the finder would know it.

    Raises:
        FileNotFoundError: a path does not exist.
        AccelError: a named file is no native source.
    """
    seen: set[str] = set()
    for path in paths:
        path = os.path.abspath(path)
        if os.path.isdir(path):
            found = _below(path)
        elif os.path.isfile(path):
            folder = os.path.dirname(path)
            governing, _ = settings.governing(folder)
            project = projects.declared(governing) if governing is not None else None
            source = _declared(project, path) or _source_of(
                path, folder, pure=project.pure if project is not None else ()
            )
            if source is None:
                raise errors.not_a_source(path)
            found = iter([source])
        else:
            raise FileNotFoundError(f"{path} does not exist")
        for source in found:
            if source.path not in seen:
                seen.add(source.path)
                yield source


def import_root(directory: str, top: str) -> str:
    """The folder from which modules in ``directory``, which was found below ``top``, are imported.

    That is the first folder upwards that is no package. A folder below ``top`` without ``__init__`` is taken for a
    namespace package, for whose root a ``sys.path`` entry above it serves, else ``top``.
    """
    here = directory
    while any(os.path.isfile(os.path.join(here, f"__init__{suffix}")) for suffix in (".py", ".pyx")):
        if here == os.path.dirname(here):
            break
        here = os.path.dirname(here)
    if here != directory or here == top:
        return here
    entries = [os.path.abspath(entry) for entry in sys.path if entry]
    between = [one for one in entries if (here + os.sep).startswith(one + os.sep) and one.startswith(top + os.sep)]
    return max(between, key=len, default=top)


def _declared(project: Project | None, path: str) -> Source | None:
    """The first module that a project declares to be made from a file."""
    modules = project.modules.items() if project is not None else ()
    return next((Source(name, *told) for name, told in sorted(modules) if told[0] == path), None)


def _below(top: str) -> Iterator[Source]:
    governed: dict[str, Project | None] = {}
    # What the finder would take from a crate's own folder on sys.path.
    bare = projects.declared(os.path.join(top, "Cargo.toml"))
    for name, told in sorted(bare.modules.items()) if bare is not None else ():
        yield Source(name, *told)
    for folder, folders, files in os.walk(top):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if one not in _SKIPPED and not one.startswith("."))
        path, _ = settings.governing(folder)
        if path is not None and path not in governed:
            governed[path] = projects.declared(path)
        project = governed[path] if path is not None else None
        if project is not None and os.path.join(folder, "pyproject.toml") == path:
            for name, (file, toolchain, package) in sorted(project.modules.items()):
                if os.path.isfile(file):
                    yield Source(name, file, toolchain, package)
        for file in sorted(files):
            if any(file == one for one, _ in CRATE_SOURCES) and (
                folder == top or _declared(project, os.path.join(folder, file)) is not None
            ):
                continue
            source = _source_of(os.path.join(folder, file), top, files, project.pure if project is not None else ())
            if source is not None and not (project is not None and _matches(source.name, project.exclude)):
                yield source


def _source_of(path: str, top: str, names: Sequence[str] | None = None, pure: Sequence[str] = ()) -> Source | None:
    """The module that a file is the source of; None where the finder would not claim it."""
    folder, file = os.path.split(path)
    stem, suffix = os.path.splitext(file)
    for crate_file, toolchain in CRATE_SOURCES:
        if file == crate_file:
            return _crate(path, toolchain, top)
    if not stem.isidentifier():
        return None
    root = import_root(folder, top)
    inside = os.path.relpath(folder, root)
    parts = [] if inside == os.curdir else inside.split(os.sep)
    if not all(part.isidentifier() for part in parts):
        parts = []
    for package_file, toolchain in PACKAGE_SOURCES:
        if file == package_file:
            return Source(".".join(parts), path, toolchain, True) if parts else None
    name = ".".join([*parts, stem])
    for known, toolchain, ask in SUFFIXES:
        if suffix == known:
            return Source(name, path, toolchain) if not ask or claims(name, path) else None
        # A source that comes earlier in the table is the module.
        if os.path.exists(os.path.join(folder, stem + known)) if names is None else stem + known in names:
            return None
    if suffix == ".py":
        whole = ".".join(parts) if stem == "__init__" else name
        return Source(whole, path, "cython", stem == "__init__") if _matches(whole, pure) else None
    return None


def _crate(path: str, toolchain: str, top: str) -> Source | None:
    """The module that a crate's folder is."""
    folder = os.path.dirname(path)
    if any(os.path.isfile(os.path.join(folder, f"__init__{suffix}")) for suffix in (".py", ".pyx")):
        return None
    above = os.path.dirname(folder)
    root = import_root(above, top if folder != top else above)
    name = os.path.relpath(folder, root).replace(os.sep, ".").replace("-", "_")
    return Source(name, path, toolchain) if all(map(str.isidentifier, name.split("."))) and claims(name, path) else None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _one(source: Source, force: bool) -> Outcome:
    started = time.monotonic()
    try:
        artifact = pipeline.obtain(source, force=force)
    except errors.AccelError as error:
        return Outcome(source, error, built=True, seconds=time.monotonic() - started)
    return Outcome(source, None, artifact.built, time.monotonic() - started)
