"""From a source to an artifact: plan, key, lock, build, publish, remember. The steps in order; no toolchain by name."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass, replace

from . import CRATE_SOURCES, SUFFIXES, errors, exports, keys, manifest, processor, progress, settings
from .csource import init_name
from .errors import BuildError
from .logs import log
from .plan import Artifact
from .sources import claimed, named
from .store import Store, keep_privately, open_store, private_store
from .toolchains import TOOLCHAINS
from .toolchains.base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plan import Built, Plan
    from .sources import Source

__all__ = ["obtain", "plan_of", "why"]


def plan_of(source: Source) -> Plan:
    """What a build of ``source`` would depend on, as far as it is known before a compiler runs.

    Raises:
        AccelError: the source can't be read, its settings are wrong, or a tool is missing.
    """
    plan = TOOLCHAINS[source.toolchain].plan(source, settings.load(source))
    rivals, others, missing = _rivals(source)
    if rivals:
        raise errors.ambiguous(source.name, [source.path, *rivals])
    inputs = dict.fromkeys((*plan.inputs, *others))
    return replace(plan, inputs=tuple(inputs), absent=(*plan.absent, *missing))


def _rivals(source: Source) -> tuple[list[str], list[str], list[str]]:
    """What has a name by which it could become the same module: what does, what does not now, what is not there."""
    if source.package or os.path.splitext(os.path.basename(source.path))[0] == "__init__":
        # A folder's; what lies beside that has been found first.
        return [], [], []
    folder, stem = os.path.split(os.path.splitext(source.path)[0])
    crate = os.path.basename(source.path) in dict(CRATE_SOURCES)
    if crate:
        folder, stem = os.path.dirname(folder), source.name.rpartition(".")[2]
    crates = [f"{one}{os.sep}{file}" for one in {stem, stem.replace("_", "-")} for file, _ in CRATE_SOURCES]
    # Files come before crates, so that one beside a crate is the one that is asked.
    names = [*((stem + suffix for suffix, _, _ in SUFFIXES) if not crate else ()), *sorted(crates)]
    paths = [os.path.join(folder, name) for name in names]
    if crate and source.path not in paths:
        return [], [], []  # declared, under another name than its folder's
    others = [one for one, _ in named(source.name, folder, stem) if not crate or one.path in paths]
    claiming = [one.path for one in claimed(source.name, folder, stem) if not one.package]
    rivals = [one.path for one in others if one.path in claiming and one.path != source.path]
    there = [one.path for one in others if one.path not in (source.path, *rivals)]
    return rivals, there, [path for path in paths if not os.path.lexists(path)]


def obtain(source: Source, *, mode: str = "build", force: bool = False, privately: bool = False) -> Artifact:
    """A library that is what a build of ``source`` now gives: from the cache by content, or built.

    Args:
        source: what to build.
        mode: ``"load"`` never compiles; others do.
        force: build even if the cache has it, and forget earlier failures.
        privately: build it where it lasts as long as this process, because the cache is being emptied all the time.

    Raises:
        BuildError: it does not compile.
        ToolchainMissing: a tool is needed and not installed.
        LoadError: it would have to be compiled, and must not.
    """
    store = private_store(OSError("what is built is removed at once")) if privately else open_store()
    known = None if force or privately else manifest.read(source.name, source.path)
    reason = why(known, system=mode != "load")
    # In check mode no time stamp counts, also not those of the system's files.
    if known is not None and mode != "check":
        artifact = store.revalidate(known, system=mode != "load")
        if artifact is not None:
            return artifact
    if mode == "load":
        raise errors.not_built(source.name, source.path, reason)
    if known is None:
        TOOLCHAINS[source.toolchain].prepare()
    try:
        found = _look(store, source, force)
    except errors.ToolchainMissing:
        # A machine without a compiler runs what was built for these sources.
        artifact = store.revalidate(known, system=False) if known is not None else None
        if artifact is None:
            raise
        return artifact
    if isinstance(found, Artifact):
        return found
    with store.lock(source, settings.lock_timeout()):
        try:
            return _made(store, source, force, reason)
        except _Doubtful as problem:
            time.sleep(manifest.COARSE_GRAIN_NS / 1e9)
            return _made(store, source, force, str(problem), last=True)


def _made(store: Store, source: Source, force: bool, reason: str, *, last: bool = False) -> Artifact:
    # Another process may have built it, or failed to, in the meantime; and the sources may have changed.
    found = _look(store, source, force)
    if isinstance(found, Artifact):
        return found
    log.info("%s: building %s (%s)", source.name, source.path, reason)
    found = replace(found, last=last)
    try:
        return _build(store, found, force)
    except _NoRoom as problem:
        return _build(private_store(problem), found, force)


@dataclass(frozen=True, slots=True)
class _Case:
    """A build to be made: the plan, its key, the inputs' contents, and when the first of them was looked at.

    ``last``: what then can't be told for sure is taken for a change.
    """

    plan: Plan
    key: str
    contents: keys.Contents
    started: int
    last: bool = False


class _Doubtful(Exception):
    """A file may have changed under the compiler's hands, and its stamps, in whole seconds, will tell in a moment."""


class _NoRoom(OSError):
    """The cache's file system has no room for a build."""


def _look(store: Store, source: Source, force: bool) -> Artifact | _Case:
    """The artifact that the cache has for the contents of now, or what is to be built."""
    started = time.time_ns()
    plan = plan_of(source)
    contents = keys.Contents(since=started)
    key = keys.plan_key(plan, contents)
    if not force:
        found = store.find(key, contents)
        if found is not None:
            artifact, meta = found
            store.remember(plan, artifact, meta, contents)
            return artifact
        failure = store.recall(key, contents)
        if failure is not None:
            raise errors.remembered(_watching(failure, plan))
    return _Case(plan, key, contents, started)


def why(known: manifest.Manifest | None, *, system: bool = True) -> str:
    """Why a manifest does not serve an import, in words."""
    if known is None:
        return "never built here"
    return manifest.stale_reason(known, system=system) or "contents are compared"


def _build(store: Store, case: _Case, force: bool) -> Artifact:
    name, toolchain = case.plan.source.name, TOOLCHAINS[case.plan.toolchain]
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            work = stack.enter_context(store.workdir())
        except OSError as problem:
            raise _NoRoom(str(problem)) from None
        stack.enter_context(progress.line(name))
        try:
            with _standing(store, work):
                built = toolchain.build(case.plan, work)
                _check_export(case.plan, built)
        except Failed as failure:
            if any(words in failure.log for words in _FULL) and not store.private:
                raise _NoRoom("there is no space left") from None
            raise settings.blamed(case.plan.settings, failure.log) or _failed(store, case, failure) from None
        except _NoRoom:
            raise
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT) and not store.private:
                raise _NoRoom(str(problem)) from None
            raise errors.broke_off(name, case.plan.source.path, str(problem)) from None
        for one in built.warnings:
            log.info("%s: %s", name, one.rendered.strip() or f"{one.file}:{one.line}:{one.column}: {one.message}")
        with _standing(store, work):
            return _keep(store, case, built, work, time.monotonic() - started, force)


@contextlib.contextmanager
def _standing(store: Store, work: str) -> Iterator[None]:
    """What goes wrong because somebody has deleted the cache meanwhile is nobody's fault: it is done elsewhere."""
    try:
        yield
    except (Failed, BuildError, OSError):
        if os.path.isdir(work) or store.private:
            raise
        raise _NoRoom("it was removed meanwhile") from None


#: What compilers say of a full file system.
_FULL = ("No space left on device", "Disk quota exceeded")


#: What earlier builds of this process have read, under stat identities that still tell.
_read: dict[str, tuple[manifest.Identity, str]] = {}


def _keep(store: Store, case: _Case, built: Built, work: str, seconds: float, force: bool) -> Artifact:
    """Publish what was built, unless an input changed under the compiler's hands: then it serves this process only."""
    plan = case.plan
    after = keys.Contents(_read, case.started)
    paths = list(dict.fromkeys((*plan.inputs, *built.inputs)))
    contents = {path: content for path in paths if (content := after.digest(path)) is not None}
    # What was not known before can only be judged by its change time, which no one can set back.
    changed = next(
        (
            path
            for path in paths
            if (_changed(after, path, case) and path not in built.written)
            or (path in plan.inputs and after.digest(path) != case.contents.digest(path))
        ),
        None,
    )
    if changed is not None and not case.last and not _changed_surely(after, changed, case):
        raise _Doubtful(f"{changed} may have changed meanwhile")
    if changed is None:
        try:
            artifact, meta = store.publish(plan, case.key, built, contents, work, seconds, again=force)
        except OSError as problem:
            log.warning(
                "%s can't be kept in the cache (%s); it is built again by the next process", plan.source.name, problem
            )
        else:
            store.remember(plan, artifact, meta, after)
            return artifact
    else:
        log.info("%s: %s changed during the build; the result is used, not kept", plan.source.name, changed)
    try:
        private = keep_privately(built.library, *built.package.values())
    except OSError as problem:
        raise errors.broke_off(plan.source.name, plan.source.path, str(problem)) from None
    return Artifact(private, "", built=True, seconds=seconds)


def _changed(contents: keys.Contents, path: str, case: _Case) -> bool:
    # The kernel makes this one anew when it is first looked at.
    return path != processor.FILE and contents.changed_since(path, case.started, case.contents)


def _changed_surely(contents: keys.Contents, path: str, case: _Case) -> bool:
    # By its stamps alone, however often they tick.
    return case.contents.has_read(path) or contents.changed_since(path, case.started, contents)


def _check_export(plan: Plan, built: Built) -> None:
    """The init function must be there before anybody loads the library."""
    if built.package:
        return  # its __init__ is Python
    stem = plan.source.name.rpartition(".")[2]
    wanted = init_name(stem)
    found = exports.init_functions(built.library)
    if not exports.makes(found, wanted):
        error = errors.wrong_export(plan.source.name, plan.source.path, wanted, found)
        raise Failed(error, log=built.log, inputs=built.inputs, absent=built.absent, env=built.env)


def _failed(store: Store, case: _Case, failure: Failed) -> BuildError:
    """The error for the user, with its log kept, and remembered for those who try the same next."""
    error = failure.error
    kept = store.failure_log(case.key, failure.log)
    if kept is not None:
        error = errors.with_log(error, kept)
    contents = keys.Contents()
    paths = dict.fromkeys((*case.plan.inputs, *failure.inputs))
    inputs = {path: content for path in paths if (content := contents.digest(path)) is not None}
    # What was mended in the meantime is not what failed.
    if not any(_changed(contents, path, case) for path in inputs):
        store.remember_failure(case.key, error, inputs, failure.absent, env=failure.env, complete=failure.complete)
    if failure.complete:
        error.inputs, error.absent = tuple(inputs), tuple(failure.absent)
    return _watching(error, case.plan)


def _watching(error: BuildError, plan: Plan) -> BuildError:
    """With the project's files among those that may mend it: what counts of them is in the key, not in the failure."""
    if error.inputs:
        error.inputs = tuple(dict.fromkeys((*error.inputs, *plan.settings.inputs)))
    return error
