"""What GCC is told of the functions that Cython writes beside a user's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from autoaccel.toolchains.cython_cold import mark
from tests.conftest import Project, need

SEEN = "optimize("

WRAPPING = """
    # cython: language_level=3
    import gc
    cdef int top = 2147483647
    cdef class Point:
        cdef public int x
        def __init__(self, x): self.x = x
    print(top + 1 < top)
    def lowest(double[:] values, *, int more=1):
        return int(min(values)) + more
    def broken():
        raise ValueError("x")
"""


def generated(folder: Path, text: str, suffix: str = ".c") -> str:
    """What Cython makes of a module."""
    from Cython.Compiler import Main

    (folder / "sample.pyx").write_text(text, encoding="utf-8")
    out = folder / f"sample{suffix}"
    options = Main.CompilationOptions(output_file=str(out), cplus=suffix == ".cpp", language_level=3)
    assert Main.compile(str(folder / "sample.pyx"), options).num_errors == 0
    return out.read_text(encoding="utf-8")


def heads(text: str) -> list[str]:
    """The marked lines."""
    return [line for line in text.splitlines() if SEEN in line]


class TestTheText:
    def test_the_users_functions_stay_as_they_are_and_lines_where_they_are(self, tmp_path: Path) -> None:
        need("Cython")
        text = generated(
            tmp_path,
            "def raise_Error(double[:] view): return view[0]\n"
            "def _Raise_it(): yield 1\n"
            "cdef class Import_: \n    def get_(self): return 1\n",
        )
        marked = mark(text)
        assert len(marked.splitlines()) == len(text.splitlines())
        told = heads(marked)
        assert any("__pyx_pymod_exec_sample(" in line for line in told)
        assert any("__Pyx_copy_spec_to_module(" in line for line in told)
        assert not [line for line in told if re.search(r"__pyx_(f|pf|pw|gb)_6sample", line)]
        assert not [line for line in told if "CYTHON_INLINE" in line or "Vectorcall_O" in line]

    def test_a_module_with_a_loop_among_its_statements(self, tmp_path: Path) -> None:
        need("Cython")
        marked = mark(generated(tmp_path, "total = 0\nfor number in range(3): total += number\n"))
        assert heads(marked)
        assert not [line for line in heads(marked) if "__pyx_pymod_exec_" in line]

    def test_c_that_has_its_own_mind_about_optimisation(self) -> None:
        text = '#pragma GCC optimize ("Ofast")\nstatic int __Pyx_InitConstants(void) {\n}\n'
        assert mark(text) == text

    @pytest.mark.parametrize(
        "text", ["", "int main(void) { return 0; }\n", "static int fine(int a) {\n  return a;\n}\n"]
    )
    def test_a_file_without_anything_known_is_left_alone(self, text: str) -> None:
        assert mark(text) == text


@pytest.mark.parametrize("suffix", [".c", ".cpp"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_take_it_without_a_warning(compiler: str, suffix: str, tmp_path: Path) -> None:
    """Clang is not given it, and ignores it if a wrapper made it look like GCC."""
    need("Cython", compiler)
    import sysconfig

    text = mark(generated(tmp_path, WRAPPING.replace("\n    ", "\n"), suffix))
    assert heads(text)
    source = tmp_path / f"marked{suffix}"
    source.write_text(text, encoding="utf-8")
    command = [str(shutil.which(compiler)), "-fsyntax-only", "-w", f"-I{sysconfig.get_paths()['include']}", str(source)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


class TestABuild:
    @pytest.fixture(autouse=True)
    def tools(self) -> None:
        need("Cython", "gcc")

    def test_statements_of_a_module_keep_wrapping_arithmetic(self, project: Project) -> None:
        project.env["CC"] = "gcc"
        project.write("sample.pyx", WRAPPING)
        out = project.ok(
            """
            import autoaccel, array, pickle, sample, traceback
            print(sample.lowest(array.array("d", [3, 2]), more=2), pickle.loads(pickle.dumps(sample.Point(7))).x)
            print(sample.lowest.__name__)
            try:
                sample.broken()
            except ValueError as error:
                print(traceback.extract_tb(error.__traceback__)[-1].lineno)
            """
        )
        assert out.split() == ["True", "4", "7", "lowest", "11"]

    @pytest.mark.parametrize(
        ("flags", "told"), [("", True), ("-O1", False), ("-g", True)], ids=["nothing said", "a level", "something else"]
    )
    def test_a_level_of_the_users_own_leaves_the_text_alone(self, project: Project, flags: str, told: bool) -> None:
        wrapper = project.write("bin/gcc", f"#!/bin/sh\nfor one; do case $one in *.c) cp $one {project.root}/seen;; esac; done\nexec gcc \"$@\"\n")  # fmt: skip
        wrapper.chmod(0o755)
        project.env.update(CC=str(wrapper), CFLAGS=flags)
        project.write("sample.pyx", "def f(): return 1\n")
        assert project.ok("import autoaccel, sample; print(sample.f())") == "1"
        assert (SEEN in (project.root / "seen").read_text(encoding="utf-8")) is told
