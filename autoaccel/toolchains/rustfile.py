"""Single Rust files: a ``.rs`` that is a module by itself, with its manifest in its first lines, or none.

cargo compiles packages only, so a manifest is written into the cache for each file; its Cargo.lock stays there as well.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass

from .. import crates, errors, keys
from ..plan import Built, Plan
from . import cargo, requests, rustimport
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..settings import Settings
    from ..sources import Source

__all__ = ["Block", "build", "manifest_block", "plan", "prepare"]

#: Used in the source -> the dependency that it means, where the manifest has none of the name.
_BINDINGS: tuple[tuple[str, str, object], ...] = (
    (r"\bpyo3::|#\[pymodule|#\[pyfunction", "pyo3", rustimport.PYO3),
    (r"\bpyo3_ffi::", "pyo3-ffi", "0.30"),
    (r"\bcpython::|py_module_initializer!", "cpython", {"version": "0.7", "features": ["extension-module"]}),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A manifest inside of a Rust file.

    Attributes:
        text: TOML.
        first: number of its first line in the file, from 0.
        fences: numbers of the lines that Rust does not understand; those of a front matter.
        kind: what wrote it so: ``"front matter"`` (RFC 3503), ``"rust-script"`` or ``"rustimport"``.
    """

    text: str
    first: int
    fences: tuple[int, ...]
    kind: str


class _Refused(Exception):
    """A manifest that can't be understood: line number from 1, and why."""


def manifest_block(text: str) -> Block | None:
    """The manifest that a Rust file carries.

    Raises:
        ValueError: it has more than one, or one that does not end.
    """
    lines = text.splitlines()
    found = [block for block in (_front_matter(lines), _rust_script(lines), _rustimport(lines)) if block is not None]
    if len(found) > 1:
        raise ValueError(f"it has two manifests: {found[0].kind}'s and {found[1].kind}'s")
    return found[0] if found else None


def _front_matter(lines: list[str]) -> Block | None:
    """``---cargo`` … ``---`` before anything but a shebang and blank lines."""
    at = 1 if lines and lines[0].startswith("#!") and not lines[0].startswith("#![") else 0
    while at < len(lines) and not lines[at].strip():
        at += 1
    opener = re.match(r"(-{3,})[ \t]*([^\s]*)[ \t]*$", lines[at]) if at < len(lines) else None
    if opener is None:
        return None
    if opener[2] not in ("", "cargo"):
        raise ValueError(f"line {at + 1}: the front matter is for {opener[2]}, not for cargo")
    for end in range(at + 1, len(lines)):
        if lines[end].rstrip() == opener[1]:
            return Block("\n".join(lines[at + 1 : end]), at + 1, tuple(range(at, end + 1)), "front matter")
    raise ValueError(f"line {at + 1}: the front matter does not end")


def _rust_script(lines: list[str]) -> Block | None:
    """A code block of ``cargo`` in the file's documentation."""
    start = next((at for at, line in enumerate(lines) if re.match(r"(//!|/\*!)?\s*\*?\s*```cargo\s*$", line)), None)
    if start is None or not any(line.startswith(("//!", "/*!")) for line in lines[: start + 1]):
        return None
    content: list[str] = []
    for line in lines[start + 1 :]:
        bare = re.sub(r"^\s*(//!|\*(?!/))? ?", "", line)
        if bare.strip() == "```":
            return Block("\n".join(content), start + 1, (), "rust-script")
        content.append(bare)
    raise ValueError(f"line {start + 1}: the ```cargo block does not end")


def _rustimport(lines: list[str]) -> Block | None:
    """Lines that begin with ``//:``."""
    numbers = [at for at, line in enumerate(lines) if line.startswith("//:")]
    if not numbers:
        return None
    # Between them, nothing: so that the parser counts lines as the file does.
    content = [lines[at][3:].removeprefix(" ") if at in numbers else "" for at in range(numbers[0], numbers[-1] + 1)]
    return Block("\n".join(content), numbers[0], (), "rustimport")


# the toolchain


def prepare() -> None:
    """Cargo starts as fast as it is asked."""


def plan(source: Source, how: Settings) -> Plan:
    """What is known of a single file before it is compiled."""
    from ..store import open_store

    try:
        job, _, _ = _prepared(source, how, open_store().bucket)
    except _Refused as refusal:
        raise errors.bad_manifest(source.name, source.path, *refusal.args) from None
    return cargo.plan_of(source, how, job)


def build(plan: Plan, workdir: str) -> Built:
    """Write the manifest, and have cargo compile the file."""
    from ..store import replace

    bucket = os.path.dirname(os.path.dirname(workdir))
    try:
        job, manifest, copy = _prepared(plan.source, plan.settings, bucket)
    except _Refused as refusal:
        error = errors.bad_manifest(plan.source.name, plan.source.path, *refusal.args)
        raise Failed(error, log=str(error)) from None
    os.makedirs(job.crate.folder, mode=0o700, exist_ok=True)
    wanted = {job.crate.manifest: manifest}
    if copy is not None:
        assert job.crate.library is not None
        os.makedirs(os.path.dirname(job.crate.library), mode=0o700, exist_ok=True)
        wanted[job.crate.library] = copy
    for path, text in wanted.items():
        data = text.encode("utf-8", "surrogateescape")
        # What has not changed keeps its time stamp, by which cargo judges.
        if keys.file_digest(path) != keys.bytes_digest(data):
            replace(path, data)
    return cargo.compile_crate(plan, job, workdir)


def _prepared(source: Source, how: Settings, bucket: str) -> tuple[cargo.Job, str, str | None]:
    """The job, its manifest's text, and the text of the copy to compile, where the file itself is no Rust."""
    try:
        with open(source.path, encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise errors.unreadable(source.name, source.path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise errors.undecodable(source.name, source.path, str(error)) from None
    folder = f"{bucket}/cargo/file-{keys.digest(source.path)}"
    stem = re.sub(r"\W", "_", source.name.rpartition(".")[2], flags=re.ASCII)
    module = rustimport.module_for(stem, text) if rustimport.asked(text) else ""
    try:
        block = manifest_block(text)
    except ValueError as error:
        raise _Refused(0, str(error)) from None
    own = _parsed(block)
    copied = bool(module) or (block is not None and bool(block.fences))
    library = f"{folder}/src/lib.rs" if copied else source.path
    # What has no edition is of the newest; these are written for the one before.
    old = (block is not None and block.kind == "rustimport") or re.search(r"\A\s*//\s*rustimport|#\[no_mangle\]", text)
    table: dict[str, Any] = {
        **own,
        "package": {
            "name": stem,
            "version": "0.0.0",
            "edition": "2021" if old else "2024",
            **own.get("package", {}),
        },
        "lib": {**own.get("lib", {}), "path": library, "crate-type": ["cdylib"]},
        "dependencies": {**_implied(text, own), **own.get("dependencies", {})},
        "workspace": {},
    }
    table = _absolute(table, os.path.dirname(source.path))
    manifest = f"{folder}/Cargo.toml"
    name = str(table["package"]["name"])
    crate = crates.Crate(
        manifest,
        name,
        library,
        str(table["lib"].get("name") or name.replace("-", "_")),
        ("cdylib",),
        None,
        table,
    )
    job = cargo.Job(
        crate,
        manifest,
        os.path.dirname(source.path),
        cargo.python_for(crate, manifest),
        requests.of_crate(source, crate, how),
        shown=((library, source.path), (manifest, source.path)),
        arguments=(f"--remap-path-prefix=src/lib.rs={source.path}",) if copied else (),
    )
    copy = _without(text, block) + module if copied else None
    return job, crates.to_toml(table), copy


def _parsed(block: Block | None) -> dict[str, Any]:
    if block is None:
        return {}
    try:
        return tomllib.loads(block.text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        count = block.text.count("\n") + 1
        raise _Refused(block.first + (int(line[1]) if line else count), str(error).partition(" (at")[0]) from None


def _without(text: str, block: Block | None) -> str:
    """The file with the lines of its front matter empty, so that all others keep their numbers."""
    lines = text.splitlines(keepends=True)
    for at in block.fences if block is not None else ():
        lines[at] = "\n"
    if lines and lines[0].startswith("#!") and not lines[0].startswith("#!["):
        lines[0] = "\n"
    return "".join(lines)


def _implied(text: str, own: Mapping[str, Any]) -> dict[str, object]:
    """The bindings that the source uses and its manifest does not name."""
    named = {*own.get("dependencies", {})}
    named |= {
        str(told["package"])
        for told in own.get("dependencies", {}).values()
        if isinstance(told, dict) and "package" in told
    }
    return {package: told for pattern, package, told in _BINDINGS if package not in named and re.search(pattern, text)}


def _absolute(table: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The manifest with the paths of its dependencies from the file's folder."""
    changed: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            value = _absolute(value, base)
        elif key == "path" and isinstance(value, str):
            value = os.path.normpath(os.path.join(base, value))
        changed[key] = value
    return changed
