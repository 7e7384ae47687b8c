"""What every test needs: a cache of its own, a project folder, a fresh interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# A shell that starts the suite in its background has it ignore Ctrl-C, nohup a closed terminal; and so would the
# programs that it tests.
for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    _number = getattr(signal, _name, None)
    if (
        _number is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(_number) is signal.SIG_IGN
    ):
        signal.signal(_number, _usual)

ROOT = Path(__file__).resolve().parent.parent

# No test may see or touch the user's cache: without a fixture, there is none to be had.
os.environ["AUTOACCEL_CACHE_DIR"] = os.path.join(os.devnull, "you-forgot-to-choose-a-cache")
os.environ.pop("AUTOACCEL", None)


def need(*what: str) -> None:
    """Skip loudly where a toolchain is missing; in CI that is a failure."""
    missing = [one for one in what if shutil.which(one) is None and find_spec(one) is None]
    if missing:
        told = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)


C_MODULE = """
#include <Python.h>
{before}
static PyObject *value(PyObject *self, PyObject *unused) {{ return PyLong_FromLong({value}); }}
static PyMethodDef methods[] = {{{{"value", value, METH_NOARGS, NULL}}, {{NULL, NULL, 0, NULL}}}};
static int run(PyObject *module) {{ {run}; return 0; }}
static PyModuleDef_Slot slots[] = {{{{Py_mod_exec, (void *)run}}, {{0, NULL}}}};
static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, "{name}", NULL, 0, methods, slots}};
PyMODINIT_FUNC {init}(void) {{ return PyModuleDef_Init(&definition); }}
"""


def c_module(
    name: str, value: object = 1, *, before: str = "", run: str = "", init: str | None = None, single: bool = False
) -> str:
    """C source of the module ``name`` with a function ``value()``: small, because a suite compiles many."""
    stem = name.rpartition(".")[2]
    text = C_MODULE.format(name=name, value=value, before=before, run=run, init=init or f"PyInit_{stem}")
    if single:
        text = text.replace("0, methods, slots", "-1, methods").replace("PyModuleDef_Init", "PyModule_Create")
        text = text.replace("static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)run}, {0, NULL}};", "")
        text = text.replace("{ return PyModule_Create", "{ (void)run; " + run + " return PyModule_Create")
    return text


def asleep(child: subprocess.Popen[str]) -> None:
    """Wait until a process waits for something; on a busy machine, what it has printed says little of where it is."""
    end = time.monotonic() + 60
    while os.path.exists("/proc/self/stat"):
        with open(f"/proc/{child.pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "S":
                break
        assert child.poll() is None, "it has ended"
        assert time.monotonic() < end, "it goes on and on"
        time.sleep(0.01)


@dataclass
class CountingCompiler:
    """A C compiler that notes every start; the tests count its compiles."""

    path: Path
    log: Path

    @property
    def compiles(self) -> int:
        """How many files it has compiled so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return sum(" -c " in line for line in lines)


@dataclass
class Run:
    """How an interpreter ended."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr: the exception's."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@dataclass
class Project:
    """A folder of sources, and interpreters that import from it."""

    root: Path
    cache: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    def environ(self, **changes: str) -> dict[str, str]:
        """The environment of an interpreter here."""
        env = {**os.environ, "AUTOACCEL_CACHE_DIR": str(self.cache), "PYTHONPATH": str(ROOT), **self.env, **changes}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return env

    def start(
        self, code: str, *, python: str = sys.executable, cwd: Path | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """A fresh interpreter that runs ``code`` in the project's folder, in the background."""
        return subprocess.Popen(
            [python, "-c", textwrap.dedent(code)],
            cwd=cwd or self.root,
            env=self.environ(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, code: str, *, python: str = sys.executable, cwd: Path | None = None, patience: float = 240, **env: str
    ) -> Run:
        """A fresh interpreter that runs ``code`` in the project's folder, to its end."""
        child = self.start(code, python=python, cwd=cwd, **env)
        out, err = child.communicate(timeout=patience)
        return Run(child.returncode, out, err)

    def ok(self, code: str, **kwargs: object) -> str:
        """What a run prints, which must succeed and say nothing on stderr."""
        result = self.run(code, **kwargs)  # type: ignore[arg-type]
        assert result.status == 0, result.err
        assert result.err == "", result.err
        return result.out.strip()

    def c(self, file: str, value: object = 1, **how: Any) -> Path:
        """Write a C file that is the module of its name; see `c_module`."""
        return self.write(file, c_module(Path(file).name.partition(".")[0], value, **how))

    def compiler(self, before: str = "") -> CountingCompiler:
        """Use a compiler that notes its starts, and runs a line of shell before each."""
        need("cc")
        made = CountingCompiler(self.cache.parent / "counting-cc", self.cache.parent / "counting-cc.log")
        made.path.write_text(f'#!/bin/sh\necho "cc $*" >> \'{made.log}\'\n{before}\nexec {shutil.which("cc")} "$@"\n')
        made.path.chmod(0o755)
        self.env["CC"] = str(made.path)
        # A program that is younger when it is used is looked at again at the next import.
        time.sleep(0.06)
        return made

    def files(self) -> set[str]:
        """Every file and folder below the root: what must stay as the user left it."""
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if "__pycache__" not in path.parts}

    def artifacts(self) -> list[Path]:
        """The libraries in the cache."""
        return sorted(self.cache.glob("v2/artifacts/*/*.so"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with an empty cache."""
    return make(tmp_path)


def make(folder: Path) -> Project:
    """The same in a folder that may last longer."""
    root = folder / "project"
    root.mkdir()
    # The top of all projects here: what lies above the tests' folder is not theirs.
    (folder / ".git").mkdir()
    return Project(root, folder / "cache")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many faults were injected, by the tests that count them."""
    rows: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, count in getattr(report, "user_properties", ()):
                if name == "injections" and getattr(report, "when", "") == "teardown":
                    row = report.nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")[:3].upper()
                    rows[row] = rows.get(row, 0) + count
    if rows:
        told = ", ".join(f"{row} {count}" for row, count in sorted(rows.items()))
        terminalreporter.write_line(f"faults: {len(rows)} rows, {sum(rows.values())} injections ({told})")
