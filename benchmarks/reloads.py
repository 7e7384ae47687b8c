"""Many reloads of one module in one process: new code each time, and how much memory each costs.

``python benchmarks/reloads.py [TOOLCHAIN...] [--count N]``; a toolchain that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

C = """
#include <Python.h>
static PyObject *value(PyObject *self, PyObject *unused) { return PyLong_FromLong(NUMBER); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "sample", NULL, 0, methods, slots};
PyMODINIT_FUNC PyInit_sample(void) { return PyModuleDef_Init(&definition); }
"""
SINGLE = (
    C.replace("0, methods, slots", "-1, methods")
    .replace("PyModuleDef_Init", "PyModule_Create")
    .replace("static PyModuleDef_Slot slots[] = {{0, NULL}};\n", "")
)
CYTHON = """
cdef class Box:
    cdef public int n
    def __init__(self):
        self.n = NUMBER
def value():
    return Box().n
"""
PYBIND = '#include <pybind11/pybind11.h>\nPYBIND11_MODULE(sample, m) { m.def("value", [] { return NUMBER; }); }\n'
PYO3 = """use pyo3::prelude::*;
#[pyfunction]
fn value() -> i64 { NUMBER }
#[pymodule]
fn sample(module: &Bound<'_, PyModule>) -> PyResult<()> { module.add_function(wrap_pyfunction!(value, module)?) }
"""
MANIFEST = """[package]
name = "sample"
version = "0.1.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[dependencies]
pyo3 = "0.30"
"""
NUMBA = "from numba import njit\n@njit\ndef value():\n    return NUMBER\n"

#: Name -> (file that is edited, its text, further files).
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "cython": ("sample.pyx", CYTHON, {}),
    # As Cython made modules before PEP 489, and does on request.
    "cython-single-phase": (
        "sample.pyx",
        "# distutils: define_macros = CYTHON_PEP489_MULTI_PHASE_INIT=0\n" + CYTHON,
        {},
    ),
    "c": ("sample.c", C, {}),
    "c-single-phase": ("sample.c", SINGLE, {}),
    "c++": ("sample.cpp", C.replace("#include", 'extern "C" {\n#include', 1) + "}\n", {}),
    "pybind11": ("sample.cpp", PYBIND, {}),
    "rust-crate": ("sample/src/lib.rs", PYO3, {"sample/Cargo.toml": MANIFEST}),
    "rust-file": ("sample.rs", PYO3, {}),
    "numba": ("sample.py", NUMBA, {}),
}

DRIVER = """
import importlib, os, pathlib, sys, time
import autoaccel
path, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
text = path.read_text()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def edit(number):
    # Python takes a .py of the same size and second for unchanged: no two contents are of one size.
    path.write_text(text.replace("NUMBER", str(number)) + "\\n" * (number % 9))
edit(-1)
import sample
assert sample.value() == -1
first, started, memory = sample, time.perf_counter(), []
for number in range(count):
    edit(number)
    importlib.reload(sample)
    assert sample is first and sys.modules["sample"] is first and sample.value() == number, (number, sample.value())
    memory.append(resident())
seconds = (time.perf_counter() - started) / count
early = min(10, count // 2)
growth = (memory[-1] - memory[early]) / max(1, count - 1 - early)
first, last = memory[early] / 1e6, memory[-1] / 1e6
print(f"{count} reloads, {seconds:.2f} s each, {first:.0f} MB then {last:.0f} MB: {growth / 1e3:.0f} kB each")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("toolchains", nargs="*", metavar="TOOLCHAIN")
    parser.add_argument("--count", type=int, default=200)
    args = parser.parse_args()
    failed = 0
    for name in args.toolchains or CASES:
        file, text, more = CASES[name]
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder, "project")
            for path, content in {**more, file: text}.items():
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_text(content)
            env = {**os.environ, "AUTOACCEL_CACHE_DIR": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
            env.pop("PYTHONDONTWRITEBYTECODE", None)
            words = [sys.executable, "-c", DRIVER, file, str(args.count)]
            done = subprocess.run(words, cwd=top, env=env, capture_output=True, text=True)
        failed += done.returncode != 0
        print(f"{name}: {done.stdout.strip() or done.stderr.strip()[-600:]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
