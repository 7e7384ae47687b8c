"""What cargo alone can't make importable: maturin writes a package around the library of a cffi or UniFFI crate.

cargo is driven first, as for every crate: its messages, and what was read, come from there. maturin then finds all of
it compiled, and adds the Python.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import zipfile
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from .. import errors, keys, manifest, process, rustprojects, settings
from ..plan import Tool
from . import cargo
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..plan import Built, Plan
    from ..rustprojects import Layout
    from ..settings import Settings
    from ..sources import Source
    from .cargo import Job, Run

__all__ = ["build", "plan", "prepare"]

_LIBRARIES = (".so", ".dylib", ".dll")

#: Program, by its stat identity -> what it says of its version.
_versions: dict[tuple[str, object], str] = {}


def prepare() -> None:
    """Nothing takes long to start."""


def plan(source: Source, how: Settings) -> Plan:
    """What is known of the package before its crate is compiled."""
    layout = _layout(source)
    job = cargo.job_of(source, layout.manifest, how)
    program = _program(source)
    tools = [Tool("maturin", _version(program), keys.digest(_version(program)), (os.path.realpath(program),))]
    if layout.bindings == "cffi":
        tools.append(_cffi(source))
    elif (bindgen := process.find_program("uniffi-bindgen")) is not None:
        tools.append(Tool("uniffi-bindgen", bindgen, keys.file_digest(bindgen) or "", (os.path.realpath(bindgen),)))
    base = cargo.plan_of(source, how, job)
    read = _read_by_maturin(job)
    return replace(
        base,
        tools=(*base.tools, *tools),
        inputs=tuple(dict.fromkeys((*base.inputs, *filter(os.path.isfile, read)))),
        probes=tuple(dict.fromkeys((*base.probes, *(path for path in read if not os.path.isfile(path))))),
    )


def build(plan: Plan, workdir: str) -> Built:
    """Compile the crate, then have maturin make its package."""
    layout = _layout(plan.source)
    job = cargo.job_of(plan.source, layout.manifest, plan.settings)
    header = _header(job)
    before = keys.file_digest(header)
    with cargo.running(plan, job, workdir) as run:
        built = run.result()
        wheel = _wheel(plan, run, built, workdir)
    package = _unpacked(wheel, layout, f"{workdir}/package")
    libraries = [name for name in package if name.endswith(_LIBRARIES)]
    if len(libraries) != 1 or "__init__.py" not in package:
        with zipfile.ZipFile(wheel) as file:
            held = [name for name in file.namelist() if ".dist-info/" not in name]
        error = errors.no_package_in_wheel(plan.source.name, plan.source.path, held)
        raise Failed(error, log="\n".join(run.log), inputs=built.inputs, absent=built.absent)
    library = f"{workdir}/{libraries[0]}"
    os.rename(package.pop(libraries[0]), library)
    made = (header,) if keys.file_digest(header) != before else ()
    return replace(
        built, library=library, package=package, log="\n".join(run.log), written=(*built.written, *made),
        inputs=(*built.inputs, *filter(os.path.isfile, made)),
    )  # fmt: skip


def _layout(source: Source) -> Layout:
    found = rustprojects.Found()
    told = rustprojects.layout(settings.read_project(source.path), os.path.dirname(source.path), found)
    if told is None or told.name != source.name or not told.bindings:
        raise errors.unreadable(source.name, source.path, "maturin does not make it of the project any more")
    return told


def _read_by_maturin(job: Job) -> list[str]:
    """Files beside the crate's sources that decide what maturin and its helpers write; they may be missing."""
    folder = job.crate.folder
    found = [os.path.join(folder, name) for name in ("cbindgen.toml", "uniffi.toml", "src/bin/uniffi-bindgen.rs")]
    tables = job.crate.table.get("bin")
    binaries = [one for one in tables if isinstance(one, dict)] if isinstance(tables, list) else []
    told = [one.get("path") for one in binaries if one.get("name") == "uniffi-bindgen"]
    found += [os.path.normpath(os.path.join(folder, path)) for path in told if isinstance(path, str)]
    return [*found, _header(job)]


def _header(job: Job) -> str:
    """The header that maturin takes in place of cbindgen's, where the user or a build script puts one."""
    return os.path.join(os.path.dirname(job.workspace), "target", "header.h")


# maturin


def _wheel(plan: Plan, run: Run, built: Built, workdir: str) -> str:
    """Have maturin make the wheel; its path."""
    name, path = plan.source.name, plan.source.path
    folder, place = run.known.folder, f"{workdir}/wheels"
    # It takes all bindings that it finds there for those of now.
    shutil.rmtree(f"{folder}/maturin", ignore_errors=True)
    header = _header(run.job)
    taken = f"{folder}/header.h" if os.path.isfile(header) else None
    words = ("--interpreter", sys.executable, "--out", place, "--auditwheel", "skip", "--target-dir", folder)
    env = run.env()
    env["PATH"] = os.path.dirname(run.rust.cargo) + os.pathsep + env.get("PATH", os.defpath)
    try:
        if taken is not None:
            shutil.copyfile(header, taken)
        result = run.run(run.command(_program(plan.source), "build", *words), env)
    finally:
        if taken is not None:
            with suppress(OSError):
                os.unlink(taken)
    wheels = [one for one in os.listdir(place) if one.endswith(".whl")] if os.path.isdir(place) else []
    if result.status != 0 or len(wheels) != 1:
        error = errors.maturin_failed(name, path, result.errors)
        raise Failed(error, log="\n".join(run.log), inputs=built.inputs, absent=built.absent, complete=False)
    return f"{place}/{wheels[0]}"


def _unpacked(wheel: str, layout: Layout, place: str) -> dict[str, str]:
    """The files of the module's own folder in a wheel: name -> path."""
    inside = layout.name.replace(".", "/")
    os.mkdir(place, 0o700)
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as file:
        for member in file.namelist():
            folder, _, name = member.rpartition("/")
            if folder == inside and name.endswith((".py", *_LIBRARIES)):
                found[name] = f"{place}/{name}"
                with file.open(member) as packed, open(found[name], "xb") as copy:
                    shutil.copyfileobj(packed, copy)
    return found


# tools


def _program(source: Source) -> str:
    """maturin: of this Python's environment, else on ``$PATH``."""
    own = os.path.join(sysconfig.get_path("scripts"), "maturin")
    program = process.find_program(own) or process.find_program("maturin")
    if program is None:
        raise errors.no_package(source.name, source.path, "maturin", "maturin")
    return program


def _version(program: str) -> str:
    seen = program, manifest.identity(os.path.realpath(program))
    if seen not in _versions:
        told = process.run([program, "--version"], cwd=os.path.dirname(program), env=process.environment(), apart=True)
        _versions[seen] = told.output.strip() or "maturin"
    return _versions[seen]


def _cffi(source: Source) -> Tool:
    """cffi, with which maturin writes the declarations. Where it is missing, maturin would install it by itself."""
    spec = find_spec("cffi")
    if spec is None or spec.origin is None:
        raise errors.no_package(source.name, source.path, "cffi", "cffi")
    try:
        told = version("cffi")
    except PackageNotFoundError:
        told = ""
    return Tool("cffi", f"cffi {told}".strip(), keys.digest("cffi", told), (spec.origin,))
