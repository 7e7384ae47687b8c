"""Crates to test with: small, because a suite compiles many, and most of them without a dependency."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from tests.conftest import Project, need

RAW = """
#![allow(non_snake_case, unsafe_op_in_unsafe_fn, unexpected_cfgs, unused)]
use std::ffi::{{c_char, c_int, c_long, c_void}};
use std::ptr::null_mut;
{before}
#[repr(C)]
pub struct Def {{ base: [usize; 5], name: *const c_char, doc: *const c_char, size: isize, rest: [*mut c_void; 5] }}
unsafe extern "C" {{
    fn PyModule_Create2(def: *mut Def, version: c_int) -> *mut c_void;
    fn PyModule_AddIntConstant(module: *mut c_void, name: *const c_char, value: c_long) -> c_int;
}}
"""

INIT = """
static mut DEF_{stem}: Def = Def {{
    base: [1, 0, 0, 0, 0], name: c"{stem}".as_ptr(), doc: std::ptr::null(), size: -1, rest: [null_mut(); 5],
}};
#[unsafe(no_mangle)]
pub unsafe extern "C" fn PyInit_{stem}() -> *mut c_void {{
    let module = PyModule_Create2(&raw mut DEF_{stem}, 1013);
    PyModule_AddIntConstant(module, c"value".as_ptr(), ({value}) as c_long);
    module
}}
"""

PYO3 = """
use pyo3::prelude::*;

/// A thousand times the sum.
#[pyfunction]
fn add_two(a: i64, b: i64) -> i64 {{
    {factor} * (a + b)
}}

/// What the module is for.
#[pymodule]
fn {stem}(module: &Bound<'_, PyModule>) -> PyResult<()> {{
    module.add_function(wrap_pyfunction!(add_two, module)?)
}}
"""


def raw(stem: str = "sample", value: object = 1, before: str = "", more: tuple[str, ...] = ()) -> str:
    """Rust on the C API: the module ``stem`` with ``value``, an expression of Rust's; ``more`` modules are like it."""
    text = RAW.format(before=before)
    return text.lstrip() + "".join(INIT.format(stem=one, value=value) for one in (stem, *more))


def manifest(name: str = "sample", more: str = "", lib: str = "") -> str:
    """A Cargo.toml."""
    return (
        f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n\n'
        f'[lib]\ncrate-type = ["cdylib"]\n{lib}\n{more}\n'
    )


def crate(project: Project, folder: str = "sample", value: object = 1, *, more: str = "", before: str = "") -> Path:
    """Write a crate on the C API into the project; its library."""
    stem = Path(folder).name.replace("-", "_")
    project.write(f"{folder}/Cargo.toml", manifest(Path(folder).name, more))
    return project.write(f"{folder}/src/lib.rs", raw(stem, value, before))


def pyo3_crate(project: Project, folder: str = "sample", factor: int = 1000) -> Path:
    """Write a PyO3 crate into the project; its library."""
    stem = Path(folder).name.replace("-", "_")
    project.write(f"{folder}/Cargo.toml", manifest(Path(folder).name, '[dependencies]\npyo3 = "0.30"'))
    return project.write(f"{folder}/src/lib.rs", PYO3.format(stem=stem, factor=factor))


def value(project: Project, module: str = "sample", **env: str) -> str:
    """What a fresh interpreter finds in a module of `raw`."""
    return project.ok(f"import autoaccel, {module}; print({module}.value)", **env)


def cargo_log(project: Project) -> Path:
    """Have every start of cargo noted down; the file with the notes. Starts past rustup are noted as well."""
    need("cargo")
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    folder = project.cache.parent / "bin"
    folder.mkdir()
    log = project.cache.parent / "cargo.log"
    for program in ("cargo", "rustc"):
        real = Path(sysroot, "bin", program)
        note = f'echo "$*" >> "{log}"\n' if program == "cargo" else ""
        # In a folder that looks like no toolchain of rustup's, so that it is started itself.
        script = folder / program
        answer = (
            f'case "$*" in *"-vV --print sysroot"*) "{real}" -vV; echo "{folder.parent}"; exit;; esac\n'
            if program == "rustc"
            else ""
        )
        script.write_text(f'#!/bin/sh\n{note}{answer}exec "{real}" "$@"\n')
        script.chmod(0o755)
    project.env["PATH"] = f"{folder}:{project.environ()['PATH']}"
    return log


def builds(log: Path) -> int:
    """How often cargo was to compile something."""
    return sum(line.startswith("rustc ") for line in log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture(scope="session")
def compiled_bindings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build folder in which PyO3 is compiled: once for all processes of a test run."""
    need("cargo")
    base = tmp_path_factory.getbasetemp()
    top = base.parent if base.name.startswith("popen-") else base
    shared = top / "rust-seed"
    with filelock.FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            (shared / "project").mkdir(parents=True)
            project = Project(shared / "project", shared / "cache")
            pyo3_crate(project, "seeding")
            result = project.run("import autoaccel, seeding; print(seeding.add_two(2, 3))")
            if "needs the network" in result.err and not os.environ.get("CI"):
                told = "crates.io is out of reach"
                pytest.skip(told)
            assert result.out == "5000\n", result.err
            (shared / "done").touch()
    (folder,) = [path.parent for path in shared.glob("cache/v2/cargo/*/autoaccel.json")]
    return folder


@pytest.fixture
def rust(project: Project, compiled_bindings: Path) -> Project:
    """A project whose empty cache has PyO3 compiled."""
    target = project.cache / "v2" / "cargo" / "seed"
    target.parent.mkdir(parents=True)
    for folder in (project.cache, target.parent.parent):
        folder.chmod(0o700)
    # Hard links, as the toolchain itself makes them; `cp` where there are none.
    command = [sys.executable, "-c", "import sys; from autoaccel.toolchains.builddirs import copy; copy(*sys.argv[1:])"]
    subprocess.run([*command, str(compiled_bindings), str(target)], env=project.environ(), check=True)
    shutil.copy2(compiled_bindings / "autoaccel.json", target)
    return project
