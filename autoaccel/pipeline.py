"""From a source to an artifact: plan, key, lock, build, publish, remember. The steps in order; no toolchain by name."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace

from . import errors, exports, keys, manifest, progress, settings
from .csource import claims, init_name
from .errors import BuildError
from .finder import SUFFIXES
from .plan import Artifact
from .store import Store, keep_privately, open_store, private_store
from .toolchains import TOOLCHAINS
from .toolchains.base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Built, Plan
    from .sources import Source

__all__ = ["obtain", "plan_of", "why"]

log = logging.getLogger("autoaccel")


def plan_of(source: Source) -> Plan:
    """What a build of ``source`` would depend on, as far as it is known before a compiler runs.

    Raises:
        AccelError: the source can't be read, its settings are wrong, or a tool is missing.
    """
    plan = TOOLCHAINS[source.toolchain].plan(source, settings.load(source))
    rivals, missing = _rivals(source)
    if rivals:
        raise errors.ambiguous(source.name, [source.path, *rivals])
    return replace(plan, absent=(*plan.absent, *missing))


def _rivals(source: Source) -> tuple[list[str], list[str]]:
    """Other files beside a source that would become the same module, and the names of such that are not there."""
    stem, own = os.path.splitext(source.path)
    there, missing = [], []
    for suffix, _, ask in SUFFIXES:
        path = stem + suffix
        if suffix == own or os.path.basename(stem) == "__init__":
            continue
        if not os.path.lexists(path):
            missing.append(path)
        elif os.path.isfile(path) and (not ask or claims(source.name, path)):
            there.append(path)
    return there, missing


def obtain(source: Source, *, mode: str = "build", force: bool = False) -> Artifact:
    """A library that is what a build of ``source`` now gives: from the cache by content, or built.

    Args:
        source: what to build.
        mode: ``"load"`` never compiles; others do.
        force: build even if the cache has it, and forget earlier failures.

    Raises:
        BuildError: it does not compile.
        ToolchainMissing: a tool is needed and not installed.
        LoadError: it would have to be compiled, and must not.
    """
    store = open_store()
    known = None if force else manifest.read(source.name, source.path)
    reason = why(known, system=mode != "load")
    log.debug("%s: looking for a build of %s (%s)", source.name, source.path, reason)
    artifact = store.revalidate(known, system=mode != "load") if known is not None else None
    if artifact is not None:
        return artifact
    if mode == "load":
        raise errors.not_built(source.name, source.path, reason)
    try:
        plan = plan_of(source)
    except errors.ToolchainMissing:
        # A machine without a compiler runs what was built for these sources.
        artifact = store.revalidate(known, system=False) if known is not None else None
        if artifact is None:
            raise
        return artifact
    contents = keys.Contents()
    key = keys.plan_key(plan, contents)
    artifact = None if force else _known(store, plan, key, contents)
    if artifact is not None:
        return artifact
    with store.lock(source, settings.lock_timeout()):
        # Another process may have built it, or failed to, in the meantime.
        contents = keys.Contents()
        key = keys.plan_key(plan, contents)
        artifact = None if force else _known(store, plan, key, contents)
        if artifact is not None:
            return artifact
        log.info("%s: building %s (%s)", source.name, source.path, reason)
        return _build(store, plan, key, contents)


def why(known: manifest.Manifest | None, *, system: bool = True) -> str:
    """Why a manifest does not serve an import, in words."""
    if known is None:
        return "never built here"
    reason = manifest.stale_reason(known, system=system) or manifest.artifact_reason(known)
    return reason or "contents are compared"


def _known(store: Store, plan: Plan, key: str, contents: keys.Contents) -> Artifact | None:
    found = store.find(key, contents)
    if found is not None:
        artifact, meta = found
        store.remember(plan, artifact, meta, contents)
        return artifact
    failure = store.recall(key, contents)
    if failure is not None:
        raise errors.remembered(failure)
    return None


def _build(store: Store, plan: Plan, key: str, before: keys.Contents) -> Artifact:
    toolchain = TOOLCHAINS[plan.toolchain]
    started = (time.monotonic(), time.time_ns())
    try:
        with store.workdir() as work, progress.line(plan.source.name):
            try:
                built = toolchain.build(plan, work)
                _check_export(plan, built)
            except Failed as failure:
                raise _failed(store, plan, key, failure, started[1]) from None
            return _keep(store, plan, key, built, work, before, started)
    except OSError as problem:
        if store.private:
            raise
        # The disk is full, or the folder went away: the user's import must not care.
        log.debug("%s: %s", store.root, problem)
        return _build(private_store(problem), plan, key, before)


def _keep(
    store: Store, plan: Plan, key: str, built: Built, work: str, before: keys.Contents, started: tuple[float, int]
) -> Artifact:
    """Publish what was built, unless an input changed under the compiler's hands: then it serves this process only."""
    seconds = time.monotonic() - started[0]
    after = keys.Contents()
    contents = {
        path: content
        for path in dict.fromkeys((*plan.inputs, *built.inputs))
        if (content := after.digest(path)) is not None
    }
    changed = next((path for path in plan.inputs if after.digest(path) != before.digest(path)), None)
    # What was not known before can only be judged by its change time, which no one can set back.
    changed = changed or next((path for path in built.inputs if after.changed_since(path, started[1])), None)
    if changed:
        log.info("%s: %s changed during the build; the result is used, not kept", plan.source.name, changed)
        return Artifact(keep_privately(built.library), "", built=True, seconds=seconds)
    artifact, meta = store.publish(plan, key, built, contents, work, seconds)
    store.remember(plan, artifact, meta, after)
    return artifact


def _check_export(plan: Plan, built: Built) -> None:
    """The init function must be there before anybody loads the library."""
    stem = plan.source.name.rpartition(".")[2]
    wanted = init_name(stem)
    found = exports.init_functions(built.library)
    # PEP 793: from 3.15 on, PyModExport_x serves as well.
    if wanted not in found and wanted.replace("PyInit", "PyModExport", 1) not in found:
        error = errors.wrong_export(plan.source.name, plan.source.path, wanted, found)
        raise Failed(error, log=built.log, inputs=built.inputs, absent=built.absent)


def _failed(store: Store, plan: Plan, key: str, failure: Failed, started: int) -> BuildError:
    """The error for the user, with its log kept, and remembered for those who try the same next."""
    error = failure.error
    kept = store.failure_log(key, failure.log)
    if kept is not None:
        error = errors.with_log(error, kept)
    contents = keys.Contents()
    inputs = {
        path: content
        for path in dict.fromkeys((*plan.inputs, *failure.inputs))
        if (content := contents.digest(path)) is not None
    }
    absent = (*plan.absent, *failure.absent)
    # What was mended in the meantime is not what failed.
    if not any(contents.changed_since(path, started) for path in inputs):
        store.remember_failure(key, error, inputs, absent, complete=failure.complete)
    return error
