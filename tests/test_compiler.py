"""The C compiler: how it is found and asked, what it is told, what it tells."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from autoaccel import compiler
from autoaccel.errors import Diagnostic
from tests.conftest import Project, c_module, need

CODE = "import autoaccel, sample; print(sample.value())"


def log_of(project: Project) -> str:
    (artifact,) = project.artifacts()
    return (artifact.parent / "build.log").read_text()


def compile_of(project: Project) -> str:
    """The commands of the compiler alone."""
    return "".join(line for line in log_of(project).splitlines(keepends=True) if " -c " in line)


class TestFinding:
    """What setuptools would use, else another, asked once."""

    def test_it_is_asked_once_and_remembered(self, project: Project) -> None:
        counting = project.compiler()
        project.c("sample.c", 1)
        project.c("other.c", 2)
        assert project.ok(CODE) == "1"
        asked = counting.log.read_text().count("-E -v")
        assert asked == 1
        assert project.ok("import autoaccel, other; print(other.value())") == "2"
        assert counting.log.read_text().count("-E -v") == asked

    def test_arguments_in_cc(self, project: Project) -> None:
        need("cc")
        project.c("sample.c", "NUMBER")
        assert project.ok(CODE, CC="cc -DNUMBER=3") == "3"
        assert project.ok(CODE, CC="cc -DNUMBER=4") == "4"

    def test_a_compiler_that_does_not_answer_like_one(self, project: Project) -> None:
        project.c("sample.c")
        for name, text in (
            ("silent", "#!/bin/sh\nexit 0\n"),
            ("failing", "#!/bin/sh\nexit 3\n"),
            ("garbage", "\0\0\0"),
        ):
            path = project.write(f"bin/{name}", text)
            path.chmod(0o755)
            assert f"$CC, which is '{path}', does not answer as one." in project.run(CODE, CC=str(path)).err

    def test_clang_serves_as_well(self, project: Project) -> None:
        need("clang")
        project.c("sample.c", 5)
        assert project.ok(CODE, CC="clang") == "5"

    def test_another_one_is_found_where_pythons_own_is_missing(self, project: Project) -> None:
        need("gcc")
        tools = project.root / "bin"
        tools.mkdir()
        # Only one of the usual names is on the path.
        (tools / "cc").symlink_to(Path(shutil.which("gcc") or "").resolve())
        for name in ("as", "ld"):
            (tools / name).symlink_to(shutil.which(name) or "")
        project.c("sample.c", 5)
        assert project.ok(CODE, PATH=str(tools)) == "5"


class TestFlags:
    """Python's own flags that change meaning, then the user's; optimised, quiet."""

    def test_the_users_flags_come_last_and_whole(self, project: Project) -> None:
        need("cc")
        project.c("sample.c", "NUMBER")
        assert project.ok(CODE, CFLAGS="-DNUMBER=1 -O1 -g", LDFLAGS="-Wl,-s") == "1"
        log = log_of(project)
        assert "-DNUMBER=1 -O1 -g" in log
        # Python's own link command may have a level (Debian's has); the user's comes after it.
        assert "-O2" not in compile_of(project)
        assert "-O3" not in log
        assert "-Wl,-s" in log

    def test_without_a_word_it_optimises(self, project: Project) -> None:
        need("gcc")
        project.c("sample.c", 1)
        assert project.ok(CODE, CC="gcc") == "1"
        words = log_of(project).split()
        assert {"-O3", "-fPIC", "-fwrapv", "-DNDEBUG"} <= set(words)
        assert "-g" not in words
        assert not [word for word in words if word.startswith("-flto")]

    def test_optimize_and_debug_in_pyproject(self, project: Project) -> None:
        need("cc")
        project.write("pyproject.toml", "[tool.autoaccel]\noptimize = 0\ndebug = true\n")
        project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        words = log_of(project).split()
        assert {"-O0", "-g"} <= set(words)
        assert "-O2" not in compile_of(project).split()

    def test_a_macro_with_quotes_and_blanks(self, project: Project) -> None:
        need("cc")
        project.write(
            "sample.c",
            '// distutils: define_macros = VERSION="1.0"\n'
            + c_module("sample", "(int)sizeof(TEXT)", before="#define TEXT VERSION"),
        )
        project.write(
            "pyproject.toml", "[tool.autoaccel.modules.sample]\ndefine-macros = [['NAME', '\"a b\"'], 'FLAG']\n"
        )
        project.write(
            "sample.c", c_module("sample", "(int)sizeof(NAME)", before="#ifndef FLAG\n#error no flag\n#endif")
        )
        assert project.ok(CODE) == "4"

    @pytest.mark.parametrize("variable", ["CFLAGS", "LDFLAGS", "CC", "CPPFLAGS", "LDSHARED"])
    def test_unbalanced_quotes_in_cflags(self, project: Project, variable: str) -> None:
        need("cc")
        project.c("sample.c", 1)
        run = project.run(CODE, **{variable: "cc -shared '" if variable in ("CC", "LDSHARED") else "-DX='a"})
        assert run.last.startswith("autoaccel.errors.ConfigError: "), run.err
        assert f"${variable}" in run.last

    def test_runtime_library_dirs(self, project: Project) -> None:
        need("cc")
        import subprocess

        folder = project.root / "lib"
        project.write("lib/number.c", "int number(void) { return 6; }\n")
        subprocess.run(["cc", "-shared", "-fPIC", "number.c", "-o", "libnumber.so"], cwd=folder, check=True, timeout=60)
        lines = (
            "// distutils: libraries = number\n// distutils: library_dirs = lib\n// distutils: runtime_library_dirs = "
            + str(folder)
        )
        project.write("sample.c", lines + "\n" + c_module("sample", "number()", before="int number(void);"))
        assert project.ok(CODE) == "6"


class TestDiagnostics:
    """What the compiler says, as data."""

    GCC = (
        "In file included from x.c:1:\n"
        "/a/own.h:2:5: error: unknown type name 'foo'\n"
        "    2 |     foo bar;\n"
        "      |     ^~~\n"
        "/a/x.c: In function 'f':\n"
        "/a/x.c:7:12: warning: unused variable [-Wunused]\n"
        "    7 | int y;\n"
        "/a/x.c:9:1: note: declared here\n"
        "/a/x.c:10: fatal error: too bad\n"
    )

    def test_messages_of_gcc_and_clang(self) -> None:
        found = compiler.diagnostics(self.GCC)
        assert [(one.file, one.line, one.column, one.level, one.message) for one in found] == [
            ("/a/own.h", 2, 5, "error", "unknown type name 'foo'"),
            ("/a/x.c", 7, 12, "warning", "unused variable [-Wunused]"),
            ("/a/x.c", 9, 1, "note", "declared here"),
            ("/a/x.c", 10, 0, "error", "too bad"),
        ]
        assert "foo bar;\n      |     ^~~" in found[0].rendered
        assert isinstance(found[0], Diagnostic)

    def test_other_output_is_none(self) -> None:
        assert compiler.diagnostics("") == ()
        assert compiler.diagnostics("all is well: 3 files\nhttp://x:80: hello\n") == ()


def test_the_memory_of_a_compiler_holds_only_for_the_same_program(project: Project) -> None:
    counting = project.compiler()
    project.c("sample.c", 1)
    project.ok(CODE)
    (path,) = project.cache.glob("v2/tools/*.json")
    told = json.loads(path.read_text())
    assert told["compiler"]["command"] == [str(counting.path)]
    os.utime(counting.path)
    project.ok("import autoaccel; from autoaccel import compiler; compiler.find('c', name='x', path='/x.c')")
    assert counting.log.read_text().count("-E -v") == 2


@pytest.mark.parametrize(
    ("flags", "linked"),
    [
        ("-fsanitize=undefined -DX=1 -Wall -Iinclude", "-fsanitize=undefined"),
        ("--coverage -O0 -g", "--coverage -O0 -g"),
        ("-march=native -pthread -pipe -pedantic", "-march=native -pthread"),
        ("-arch arm64 -isysroot /sdk", "-arch arm64 -isysroot /sdk"),
        ("-Xpreprocessor -fopenmp -Xclang -fno-pch-timestamp -lomp", "-lomp"),
        ("-mllvm -inline-threshold=9 -Xlinker -dead_strip", "-mllvm -inline-threshold=9 -Xlinker -dead_strip"),
        ("-framework Accelerate -Xarch_arm64 -mcpu=native", "-framework Accelerate -Xarch_arm64 -mcpu=native"),
        ("-L /lib -l m --sysroot /sdk -L", "-L /lib -l m --sysroot /sdk -L"),
        ("-x c++ -MD -MF x.d -E -fsyntax-only -save-temps", ""),
        ("-flto -Wl,--no-undefined -L/lib -lm", "-flto -Wl,--no-undefined -L/lib -lm"),
    ],
)
def test_flags_that_the_linker_gets_as_from_setuptools(
    monkeypatch: pytest.MonkeyPatch, flags: str, linked: str
) -> None:
    for name in ("CPPFLAGS", "CXXFLAGS", "ARCHFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CFLAGS", flags)
    assert compiler._linked_words("c") == linked.split()
    monkeypatch.setenv("CFLAGS", "")
    monkeypatch.setenv("CXXFLAGS", flags)
    assert compiler._linked_words("c") == []
    assert compiler._linked_words("c++") == linked.split()


@pytest.mark.parametrize("flags", ["-fsanitize=undefined", "--coverage", "-fopenmp"])
def test_flags_that_need_a_library_of_the_compilers(project: Project, flags: str) -> None:
    need("gcc")
    project.c("sample.c", "total(9)", before=TOTAL)
    # The library of coverage writes a file where the object was.
    environ = {"CFLAGS": flags, "CC": "gcc", "GCOV_PREFIX": str(project.cache)}
    assert project.run("import autoaccel, sample; print(sample.value())", **environ).out == "36\n"


TOTAL = """
static int total(int n) {
    int sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < n; i++)
        sum += i;
    return sum;
}
"""


class TestProducts:
    """Headers that only come and go together are checked through one folder."""

    def test_of_a_system_of_debians_shape(self, tmp_path: Path) -> None:
        names = "c++/12/cstddef c++/12/bits/move.h x86/c++/12/bits/c++config.h x86/bits/types.h x86/asm/errno.h x86/sys/io.h"
        names += " lib/gcc/x86/12/include/stddef.h"
        for name in (*names.split(), "features.h", "linux/limits.h", "asm-generic/errno.h"):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        search = [
            os.path.normpath(tmp_path / one) for one in ["c++/12", "x86/c++/12", "lib/gcc/x86/12/include", "x86", "."]
        ]

        def told(gcc: str | None) -> dict[str, str]:
            program = os.path.join(tmp_path, gcc) if gcc else None
            return {
                os.path.relpath(part, tmp_path): os.path.relpath(whole, tmp_path)
                for part, whole in compiler._products(search, program)
                if os.path.isdir(part) and part.startswith(str(tmp_path))
            }

        usual = {"x86/bits": ".", "x86/asm": "linux", "asm-generic": "linux"}  # not x86/sys, where others put theirs
        cxx = dict.fromkeys(("c++/12", "x86/c++/12"), "c++/12")
        assert told(None) == usual | cxx
        for program in "lib/gcc/x86/12/cc1plus", "libexec/gcc/x86/12/cc1plus":
            assert told(program) == usual | dict.fromkeys((*cxx, "lib/gcc/x86/12/include"), program)
        assert told("libexec/gcc/x86/13/cc1plus") == usual | cxx

    @pytest.mark.parametrize(
        ("programs", "left"),
        [
            ("bin/x86-as bin/x86-ld.bfd", "bin/x86-as"),
            ("bin/as bin/ld", "bin/as"),
            ("bin/as opt/ld", "bin/as opt/ld"),
            ("bin/as bin/mold", "bin/as bin/mold"),
            ("bin/x86-as bin/x86-ld.gold", "bin/x86-as bin/x86-ld.gold"),
            ("bin/ld.lld bin/clang", "bin/ld.lld bin/clang"),
        ],
    )
    def test_of_binutils(self, programs: str, left: str) -> None:
        known = programs.split()
        assert [one for one in known if not compiler._comes_with(one, known)] == left.split()

    def test_a_module_has_no_row_for_a_part(self, project: Project) -> None:
        project.c("sample.c", 1, before="#include <sys/types.h>\n#include <linux/limits.h>")
        code = """
            import autoaccel, sample
            from autoaccel import compiler, manifest
            known = manifest.read("sample", sample.__file__)
            rows = {row[0] for row in manifest.unmarshalled(f"contexts/{known.context}")[0]}
            parts = compiler.find("c", name="", path="").tool().parts
            whole = {whole for _, whole in parts}
            print(len(parts) > 2, sorted(rows & {part for part, _ in parts} - whole), whole <= rows)
        """
        assert project.ok(code) == "True [] True"


class TestProbes:
    """Where the compiler has looked for a header in vain, a new one is noticed."""

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('#include "own.h"', ({"own.h"}, set(), set(), False)),
            ("#include <own.h>", (set(), {"own.h"}, set(), False)),
            ('/* a\n b */ # /**/ include /* c */ "own.h"', ({"own.h"}, set(), set(), False)),
            ('#inc\\\nlude "ow\\\r\nn.h"', ({"own.h"}, set(), set(), False)),
            ("\ufeff#include OWN", (set(), set(), set(), True)),
            ("/* a */ #include OWN", (set(), set(), set(), True)),
            ("int zz;\r#include OWN\r", (set(), set(), set(), True)),
            ('#include "\u00fc.h"', ({"\u00fc.h"}, set(), set(), True)),
            ("// Without #include OWN it is shorter.", (set(), set(), set(), False)),
            ('#if __has_include /* a */ ( \\\n "own.h")', ({"own.h"}, set(), {"own.h"}, False)),
            ('# /* a */ pragma once /* b */ include "own.h"', (set(), set(), set(), False)),
            (
                '#if __has_include("own.h") || __has_include(<other.h>)',
                ({"own.h"}, {"other.h"}, {"own.h", "other.h"}, False),
            ),
            ("# " + "/**/" * 60 + " define OWN", (set(), set(), set(), False)),
            ("# /* a */ define OWN\n" * 4000, (set(), set(), set(), False)),
        ],
    )
    def test_what_a_file_includes(self, text: str, told: object, tmp_path: Path) -> None:
        (tmp_path / "own.c").write_text(text, newline="")
        assert compiler._includes(f"{tmp_path}/own.c") == told
        assert compiler._includes(f"{tmp_path}/none.c") == (set(), set(), set(), True)

    @pytest.mark.parametrize(
        ("said", "noticed"),
        [
            ("", {"lib.h", "own.h", "x86/own.h"}),
            ("#include <py3/lib.h>", {"lib.h", "own.h", "x86/own.h", "py3/lib.h"}),
            ("#define OWN <own.h>\n#include OWN", {"lib.h", "own.h", "x86/own.h", "py3/lib.h"}),
        ],
    )
    def test_python_in_a_system_folder_as_debian_has_it(self, said: str, noticed: set[str], tmp_path: Path) -> None:
        for folder in "first", "system/x86", "system/py3":
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "sample.c").write_text(f"#include <lib.h>\n{said}\n")
        (tmp_path / "system/py3/lib.h").write_text("#include <x86/own.h>\n")
        (tmp_path / "system/x86/own.h").touch()
        system = (f"{tmp_path}/system/x86", f"{tmp_path}/system")
        cc = dataclasses.replace(compiler.find("c", name="sample", path=""), search=system)
        read = [f"{tmp_path}/{one}" for one in ("sample.c", "system/py3/lib.h", "system/x86/own.h")]
        probes = compiler.include_probes(read, [f"-I{tmp_path}/first", f"-I{tmp_path}/system/py3"], cc)
        first = f"{tmp_path}/first/"
        assert {one.removeprefix(first) for one in probes if one.startswith(first)} == noticed

    @pytest.mark.parametrize(
        ("package", "folder", "includes"),
        [
            ("pybind11", "include", "pybind11/pybind11.h pybind11/numpy.h pybind11/stl.h pybind11/functional.h"),
            ("nanobind", "include", "nanobind/nanobind.h nanobind/ndarray.h nanobind/stl/vector.h"),
            ("numpy", "_core/include", "numpy/arrayobject.h numpy/ufuncobject.h"),
        ],
    )
    def test_every_look_in_vain_is_known(self, package: str, folder: str, includes: str, tmp_path: Path) -> None:
        need("c++", "strace")
        found = importlib.util.find_spec(package)
        assert found is not None, f"{package} is not installed"
        own = os.path.join((found.submodule_search_locations or [""])[0], folder)
        (tmp_path / "first").mkdir()
        source = tmp_path / "sample.cpp"
        source.write_text("#include <Python.h>\n" + "".join(f"#include <{one}>\n" for one in includes.split()))
        cxx = compiler.find("c++", name="sample", path=str(source))
        folders = (f"{tmp_path}/first", own, sysconfig.get_paths()["include"])
        flags = ["-std=c++17", *(f"-I{one}" for one in folders), "-MD", "-MF", "o.d"]
        command = [*cxx.command, *flags, "-fsyntax-only", str(source)]
        traced = ["strace", "-f", "-e", "trace=file", "-o", "log", *command]
        done = subprocess.run(traced, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        if not (tmp_path / "log").exists():
            pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        log = (tmp_path / "log").read_text(errors="replace")
        looks = {os.path.join(tmp_path, one) for one in re.findall(r'"([^"]+)"[^"]*ENOENT', log)}
        near = {one for one in looks if one.startswith((f"{tmp_path}/first/", f"{own}/")) and not one.endswith(".gch")}
        # What the C++ library asks for without needing it.
        near = {one for one in near if "/tbb" not in one}
        assert len(near) > 50
        read = compiler.dependencies(f"{tmp_path}/o.d", str(tmp_path))
        probes = compiler.include_probes([str(source), *read], command, cxx)
        assert near <= set(probes)
        # A dependency file does not tell how a header was spelled.
        own_or_first = [one for one in probes if one.startswith((f"{tmp_path}/first/", f"{own}/"))]
        assert len(own_or_first) < 2 * len(near)
