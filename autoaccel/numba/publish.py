"""Objects and libraries from what `harvest` has written down, published through the store.

Runs in a process of its own, at low priority. Killed at any point, it leaves what was there before; the next process
that numba compiles in starts another.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import pickle
import shutil
import sys
import time
from typing import Any

from .. import keys, manifest, process
from ..plan import Built, Options, Plan, Tool
from ..settings import Settings
from ..sources import Source
from ..store import Store, open_store, replace
from ..toolchains.numba import package_tool
from . import CPU, FORMAT, link, runtime
from .emit import NotNative
from .harvest import SECONDS, Function, report, report_path

__all__ = ["main"]


def main(folder: str) -> None:
    """Publish what `harvest.at_exit` has written into a folder."""
    import signal

    signal.alarm(SECONDS)
    with contextlib.suppress(OSError):
        os.nice(5)
    try:
        with open(f"{folder}/jobs", "rb") as file:
            jobs = pickle.load(file)
        store = open_store()
        library = runtime.obtain()
        problem = _tested(store, library)
        for job in jobs:
            if problem is not None:
                job["whole"] = problem
            try:
                _publish(store, job, library)
            except Exception as error:
                # Not tried again before something changes; `autoaccel explain` tells.
                job["whole"] = f"its code could not be published: {type(error).__name__}: {error}"
                _report(store, job, 0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tested(store: Store, library: str) -> str | None:
    """Why the runtime is not to be used: it was tried once after it was built."""
    path = f"{store.bucket}/tools/numba-{keys.digest(library)}.json"
    with contextlib.suppress(OSError, ValueError):
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
        return str(told["problem"]) if told["problem"] else None
    code = f"import sys; sys.path[:] = {sys.path!r}; from autoaccel.numba.selftest import main; main({library!r})"
    done = process.run([sys.executable, "-c", code], cwd=os.getcwd(), env=process.environment(), timeout=300)
    problem = None if done.status == 0 else f"the runtime's self-test failed: {done.output.strip()[-500:]}"
    replace(path, json.dumps({"problem": problem}).encode())
    return problem


def _publish(store: Store, job: dict[str, Any], library: str) -> None:
    unit = Source(job["name"], job["path"], "numba", job["package"])
    with store.lock(unit, 600.0):
        counts = 0
        if job["whole"] is None:
            counts = _build(store, unit, job, library)
        _report(store, job, counts)


def _build(store: Store, unit: Source, job: dict[str, Any], library: str) -> int:
    started = time.monotonic()
    contents = keys.Contents()
    inputs = (unit.path, *(path for path in job["files"] if path != unit.path), library)
    told = {path: digest for path in inputs if (digest := contents.digest(path)) is not None}
    if any(manifest.identity(path) != seen for path, seen in job["files"].items()):
        job["marks"] = []
        return 0
    plan = Plan(
        source=unit,
        toolchain="numba",
        options=Options(),
        tools=(*(package_tool(name, unit) for name in ("numba", "llvmlite", "numpy")), _processor(job["cpu"])),
        env=job["environment"],
        inputs=inputs,
        settings=Settings(root=os.path.dirname(unit.path)),
    )
    key = keys.plan_key(plan, contents)
    with store.workdir() as work:
        functions = _objects(job, library, work)
        functions = _merged(functions, _before(unit, key))
        objects = []
        for *_, overloads in functions:
            for one, data in overloads:
                objects.append(f"{work}/{one.symbol}.o")
                with open(objects[-1], "wb") as file:
                    file.write(data)
        rows = [(name, line, row, [one for one, _ in overloads]) for name, line, row, _, overloads in functions]
        stem = unit.name.rpartition(".")[2]
        made, log = link.library(stem, rows, marshal.dumps(_note(job, functions)), objects, library, work)
        with open(f"{work}/functions.pickle", "wb") as file:
            pickle.dump(functions, file)
        _loads(stem, made, library)
        built = Built(made, log=log, extra={"functions.pickle": f"{work}/functions.pickle"})
        artifact, meta = store.publish(plan, key, built, told, work, time.monotonic() - started, again=True)
        store.remember(plan, artifact, meta, contents)
    job["published"] = {name: [one.signature for one, _ in overloads] for name, _, _, _, overloads in functions}
    return sum(len(row[4]) for row in functions)


def _processor(told: str) -> Tool:
    return Tool("processor", told.partition(":feature")[0], keys.digest(told), (CPU,) if not told else ())


def _objects(job: dict[str, Any], library: str, work: str) -> list[Function]:
    target = link.machine(*job["machine"])
    functions: list[Function] = []
    for name, line, row, needed, overloads in job["functions"]:
        made = []
        for one in overloads:
            try:
                made.append(link.native(one, target, library))
            except NotNative as problem:
                job["refused"].setdefault(name, {})[one.signature] = str(problem)
        functions.append((name, line, row, needed, made))
    return functions


def _before(unit: Source, key: str) -> list[Function]:
    """What the current library of a module holds, if it was made from the same."""
    known = manifest.read(unit.name, unit.path)
    if known is None:
        return []
    folder = os.path.dirname(known.artifact)
    try:
        with open(f"{folder}/meta.json", encoding="utf-8") as file:
            if json.load(file)["plan"] != key:
                return []
        with open(f"{folder}/functions.pickle", "rb") as data:
            return pickle.load(data)  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, EOFError, pickle.UnpicklingError):
        return []


def _merged(new: list[Function], old: list[Function]) -> list[Function]:
    """New overloads and those of before that were made under the same conditions."""
    found = {row[:2]: row for row in old}
    for name, line, row, needed, overloads in new:
        before = found.get((name, line))
        if before is not None and before[2:4] == (row, needed):
            types = {one.types for one, _ in overloads}
            overloads = [*overloads, *(pair for pair in before[4] if pair[0].types not in types)]
        elif before is not None and not overloads:
            continue
        found[name, line] = (name, line, row, needed, overloads[:64])
    return [row for row in found.values() if row[4]]


def _note(job: dict[str, Any], functions: list[Function]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "cpu": job["cpu"],
        "optimize": sys.flags.optimize,
        "code": marshal.loads(job["code"]),
        "functions": {
            (name, line): {"explicit": row["explicit"], "options": row["options"], "deps": tuple(needed)}
            for name, line, row, needed, _ in functions
        },
        "overloads": [one.pickled for *_, overloads in functions for one, _ in overloads],
        "layer": job["layer"],
        "numba": job["numba"],
    }


def _loads(stem: str, path: str, library: str) -> None:
    """Load what was made, here where a crash harms nobody.

    Raises:
        ImportError: it can't be loaded.
    """
    from . import _library

    made = _library(stem, path, library)
    if made.note["format"] != FORMAT:
        raise ImportError(f"{path} tells nothing")


def _report(store: Store, job: dict[str, Any], native: int) -> None:
    before = report(job["name"], job["path"])
    marks = set(job["marks"])
    published = job.get("published", {})
    refused = {name: reasons for name, reasons in job["refused"].items() if reasons}
    if before is not None and before["surroundings"] == job["surroundings"] and job["marks"]:
        marks |= set(before["marks"])
        if before["text"] == job["text"]:
            # What another process has compiled, and this one has not.
            for name, reasons in before["refused"].items():
                gone = {*published.get(name, ()), *([""] if name in job["refused"] else [])}
                theirs = {one: why for one, why in reasons.items() if one not in gone}
                if theirs:
                    refused[name] = {**theirs, **refused.get(name, {})}
    told = {
        "name": job["name"],
        "path": job["path"],
        "surroundings": job["surroundings"],
        "marks": sorted(marks),
        "native": native,
        "whole": job["whole"],
        "text": job["text"],
        "functions": published,
        "refused": refused,
    }
    os.makedirs(f"{store.bucket}/numba", mode=0o700, exist_ok=True)
    replace(report_path(store, job["name"], job["path"]), json.dumps(told, indent=1).encode())
