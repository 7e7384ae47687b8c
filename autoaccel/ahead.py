"""Build ahead of time: everything below a folder, several at a time, without importing any of it."""

from __future__ import annotations

import os
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

from . import CRATE_SOURCES, SUFFIXES, errors, pipeline, process, projects, settings
from .content import claims
from .csource import is_generated
from .finder import Project
from .loader import ColdRoom
from .logs import log
from .roots import SKIPPED, Roots
from .sources import Source, claimed
from .whereabouts import inits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Outcome", "build", "build_sources", "folders_below", "mistakes", "source_at", "sources_below"]


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
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Build every native source in and below ``paths`` (the current folder when there are none).

    Args:
        paths: files and folders.
        force: build even what the cache has.
        jobs: how many at once; None: one for each core.
        root: the folder on ``sys.path`` that modules are imported from; None: found by packages, ``sys.path`` and what
            the project says.
        progress: called after each source, in the order in which they finish.

    Returns:
        What became of each, in the order of their paths.

    Raises:
        FileNotFoundError: a path does not exist.
        AccelError: a named file is no native source, or not below ``root``.
    """
    with ColdRoom():
        sources = list(sources_below([os.fspath(path) for path in paths], root))
        return build_sources(sources, force, jobs, progress)


def build_sources(
    sources: Sequence[Source], force: bool, jobs: int | None, progress: Callable[[Outcome], None] | None
) -> list[Outcome]:
    """Build sources that are known; see `build`."""
    outcomes: dict[str, Outcome] = {}
    scope = process.Scope()
    with ThreadPoolExecutor(jobs or settings.jobs(), initializer=process.inherited(scope)) as pool:
        try:
            # The first ones may be compiling before the last one is handed over.
            running = {pool.submit(_one, source, force) for source in sources}
            while running:
                done, running = wait(running, process.SLICE, FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    outcomes[outcome.source.path] = outcome
                    if progress is not None:
                        progress(outcome)
        except BaseException:
            # The pool waits for its threads, and they for their compilers.
            pool.shutdown(wait=False, cancel_futures=True)
            scope.cancel()
            raise
    return [outcomes[source.path] for source in sources]


def sources_below(
    paths: Sequence[str], root: str | os.PathLike[str] | None = None, *, silent: bool = False
) -> Iterator[Source]:
    """The native sources in and below paths, each once, each under the name by which the finder would know it.

    Args:
        paths: files and folders; the current folder when there are none.
        root: the folder that all of them are imported from, where it is known.
        silent: don't log what is passed over.

    Raises:
        FileNotFoundError: a path does not exist.
        AccelError: a named file is no native source, or not below ``root``.
    """
    seen: set[str] = set()
    for path in paths or [os.getcwd()]:
        path = os.path.abspath(path)
        folder = path if os.path.isdir(path) else os.path.dirname(path)
        walk = _Walk(folder, os.path.abspath(root) if root is not None else None, silent)
        if folder == path:
            found = walk.below()
        elif os.path.isfile(path):
            source = walk.source_of(path, walk.project(folder))
            if source is None:
                raise errors.not_a_source(path)
            found = iter([source])
        else:
            there = os.path.lexists(path)
            raise FileNotFoundError(f"{path} {'is neither a file nor a folder' if there else 'does not exist'}")
        for source in found:
            if source.path not in seen:
                seen.add(source.path)
                yield source


def folders_below(top: str) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it in which sources are looked for, and the files in each."""
    for folder, folders, files in os.walk(top):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(one for one in folders if one not in SKIPPED and not one.startswith("."))
        yield folder, files


def source_at(path: str, top: str, root: str | None = None) -> Source | None:
    """What `sources_below` gives for one file, were it asked for the folder ``top`` above it; nothing is logged."""
    walk = _Walk(top, os.path.abspath(root) if root is not None else None, silent=True)
    folder = os.path.dirname(path)
    above = folder
    while above.startswith(top):
        if os.path.isfile(os.path.join(above, "pyvenv.cfg")):
            return None
        if above == os.path.dirname(above):
            break  # the root of all, or of a drive
        above = os.path.dirname(above)
    return walk.wanted(path, walk.project(folder))


def mistakes(paths: Sequence[str]) -> list[str]:
    """What is wrong with the pyproject.toml files that govern paths, beside what the builds of their modules tell."""
    found: dict[str, None] = {}
    files = dict.fromkeys(settings.governing(os.path.abspath(path))[0] for path in paths or [os.getcwd()])
    for file in files:
        if file is not None:
            names = (
                [source.name for source in sources_below([os.path.dirname(file)], silent=True)]
                if _names_modules(file)
                else []
            )
            found |= dict.fromkeys(settings.mistakes(file, names))
    return list(found)


def _names_modules(pyproject: str) -> bool:
    """Whether a pyproject.toml has options of single modules."""
    try:
        _, mine = settings.tables(pyproject)
    except errors.ConfigError:
        return False
    return isinstance(mine, dict) and "modules" in mine


class _Walk:
    """A folder in which sources are looked for.

    Args:
        top: the folder.
        root: from where its modules are imported; None: to be found.
        silent: don't log what is passed over.
    """

    def __init__(self, top: str, root: str | None, silent: bool) -> None:
        if root is not None and not (top + os.sep).startswith(root.rstrip(os.sep) + os.sep):
            raise errors.not_below(top, root)
        self._top = top
        self._root = root
        self._silent = silent
        self._roots = Roots(top)
        self._projects: dict[str, Project | None] = {}

    def below(self) -> Iterator[Source]:
        """Every source in the folder."""
        # What the finder would take from a crate's own folder on sys.path.
        bare = projects.declared(os.path.join(self._top, "Cargo.toml"))
        for name, told in sorted(bare.modules.items()) if bare is not None else ():
            yield Source(name, *told)
        for folder, files in folders_below(self._top):
            project = self.project(folder)
            if project is not None and "pyproject.toml" in files:
                for name, (file, toolchain, package) in sorted(project.modules.items()):
                    if os.path.isfile(file):
                        yield Source(name, file, toolchain, package)
            for file in sorted(files):
                source = self.wanted(os.path.join(folder, file), project)
                if source is not None:
                    yield source

    def wanted(self, path: str, project: Project | None) -> Source | None:
        """The module that a file in or below the folder is the source of; None where nobody imports it from there."""
        folder, file = os.path.split(path)
        if file in _CRATE_FILES and folder == self._top:
            return None
        source = self.source_of(path, project)
        if source is not None and project is not None and project.excludes(source.name):
            self._pass_over(source.path, f"`exclude` names {source.name}")
            return None
        return source

    def project(self, folder: str) -> Project | None:
        """What the pyproject.toml that governs a folder declares."""
        path, _ = settings.governing(folder)
        if path is None:
            return None
        if path not in self._projects:
            self._projects[path] = projects.declared(path)
        return self._projects[path]

    def source_of(self, path: str, project: Project | None) -> Source | None:
        """The module that a file is the source of; None where the finder would not claim it."""
        folder, file = os.path.split(path)
        stem, suffix = os.path.splitext(file)
        if not (suffix in _SUFFIXES or file in _CRATE_FILES) or not os.path.isfile(path):
            return None
        for name, (declared, toolchain, package) in project.modules.items() if project is not None else ():
            if declared == path:
                return Source(name, path, toolchain, package)
        if file in _CRATE_FILES:
            return self._crate(path)
        if not stem.isidentifier():
            self._pass_over(path, "its name can't be imported")
            return None
        inside = os.path.relpath(folder, self._root or self._roots.root(folder))
        parts = [] if inside == os.curdir else inside.split(os.sep)
        if not all(part.isidentifier() for part in parts):
            # No import leads through such a folder; it must be on the path itself.
            parts = []
        if stem == "__init__":
            name, folder = ".".join(parts), os.path.dirname(folder)
        else:
            name = ".".join([*parts, stem])
        first = next(claimed(name, folder), None) if name else None
        if first is not None and first.path == path:
            return first
        if suffix == ".py":
            pure = project is not None and first is None and name and project.compiles(name)
            return Source(name, path, "cython", stem == "__init__") if pure else None
        reason = f"{first.path} comes first" if first is not None else self._unlike(path)
        self._pass_over(path, reason)
        return None

    def _crate(self, path: str) -> Source | None:
        """The module that a crate's folder is."""
        folder = os.path.dirname(path)
        if any(os.path.isfile(os.path.join(folder, f"__init__{suffix}")) for suffix in (".py", ".pyx")):
            return None
        root = self._root or self._roots.root(os.path.dirname(folder))
        name = os.path.relpath(folder, root).replace(os.sep, ".").replace("-", "_")
        importable = all(map(str.isidentifier, name.split(".")))
        return Source(name, path, _CRATE_FILES[os.path.basename(path)]) if importable and claims(name, path) else None

    def _unlike(self, path: str) -> str:
        """Why a file of a module's suffix is not the module of its name."""
        found = [] if self._silent or is_generated(path) else inits(path)
        if not found:
            return "it does not define a module of its name"
        return (
            f"it defines {' and '.join(found)}, not a module of its name; `autoaccel explain` tells how to declare it"
        )

    def _pass_over(self, path: str, reason: str) -> None:
        if not self._silent:
            log.info("%s is not built: %s", path, reason)


_CRATE_FILES = dict(CRATE_SOURCES)
_SUFFIXES = {".py", *(suffix for suffix, _, _ in SUFFIXES)}


def _one(source: Source, force: bool) -> Outcome:
    started = time.monotonic()
    try:
        with ColdRoom():
            artifact = pipeline.obtain(source, force=force)
    except errors.AccelError as error:
        return Outcome(source, error, built=True, seconds=time.monotonic() - started)
    return Outcome(source, None, artifact.built, time.monotonic() - started)
