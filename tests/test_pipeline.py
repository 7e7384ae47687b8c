"""What makes a module be built again, and what does not: every input, one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CountingCompiler, Project, asleep, c_module, need

CODE = "import autoaccel, sample; print(sample.value())"
WITH_HEADER = {"value": "NUMBER", "before": '#include "own.h"'}


@pytest.fixture
def compiler(project: Project) -> CountingCompiler:
    return project.compiler()


class TestEveryInput:
    """A change of anything that decides the result is seen; nothing else compiles."""

    @pytest.mark.core
    def test_the_source(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        project.c("sample.c", 2)
        assert project.ok(CODE) == "2"
        assert compiler.compiles == 2

    @pytest.mark.core
    def test_an_edit_of_the_same_size_with_the_old_time_stamp(self, project: Project) -> None:
        path = project.c("sample.c", 1)
        for value in "1", "2", "3":
            project.c("sample.c", value)
            os.utime(path, (1_700_000_000, 1_700_000_000))
            assert project.ok(CODE) == value

    def test_an_older_file_moved_into_place(self, project: Project) -> None:
        other = project.c("other/sample.c", 2)
        os.utime(other, (1_000_000_000, 1_000_000_000))
        path = project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        other.replace(path)
        assert project.ok(CODE) == "2"

    def test_a_touched_source_is_not_compiled(self, project: Project, compiler: CountingCompiler) -> None:
        path = project.c("sample.c", 1)
        for _ in range(3):
            assert project.ok(CODE) == "1"
            path.touch()
        assert compiler.compiles == 1

    def test_an_older_content_is_not_compiled(self, project: Project, compiler: CountingCompiler) -> None:
        for value in "1", "2", "1", "2":
            project.c("sample.c", value)
            assert project.ok(CODE) == value
        assert compiler.compiles == 2

    @pytest.mark.core
    def test_a_header(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", **WITH_HEADER)
        for value in "1", "2", "1":
            project.write("own.h", f"#define NUMBER {value}\n")
            assert project.ok(CODE) == value
        assert compiler.compiles == 2

    def test_a_header_of_a_header_in_another_folder(self, project: Project) -> None:
        project.c("sample.c", value="NUMBER", before='// distutils: include_dirs = include\n#include "outer.h"')
        path = project.root / "sample.c"
        path.write_text("// distutils: include_dirs = include\n" + path.read_text())
        project.write("include/outer.h", '#include "deep/inner.h"\n')
        for value in "1", "2":
            project.write("include/deep/inner.h", f"#define NUMBER {value}\n")
            assert project.ok(CODE) == value

    def test_a_further_source(self, project: Project, compiler: CountingCompiler) -> None:
        text = "// distutils: sources = more.c\n" + c_module("sample", "number()", before="int number(void);")
        project.write("sample.c", text)
        for value in "1", "2":
            project.write("more.c", f'#include "own.h"\nint number(void) {{ return {value} * FACTOR; }}\n')
            project.write("own.h", "#define FACTOR 1\n")
            assert project.ok(CODE) == value
        project.write("own.h", "#define FACTOR 10\n")
        assert project.ok(CODE) == "20"
        assert compiler.compiles == 6

    def test_flags_in_pyproject(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", "NUMBER")
        for value in "1", "2", "1":
            project.write("pyproject.toml", f"[tool.autoaccel]\ncflags = ['-DNUMBER={value}']\n")
            assert project.ok(CODE) == value
        assert compiler.compiles == 2

    def test_a_pyproject_that_appears(self, project: Project) -> None:
        project.c("pkg/sample.c", "NUMBER", before="#ifndef NUMBER\n#define NUMBER 0\n#endif")
        code = "import autoaccel, pkg.sample; print(pkg.sample.value())"
        assert project.ok(code) == "0"
        path = project.write("pyproject.toml", "[tool.autoaccel]\ncflags = ['-DNUMBER=1']\n")
        assert project.ok(code) == "1"
        project.write("pkg/pyproject.toml", "[tool.autoaccel]\ncflags = ['-DNUMBER=2']\n")
        assert project.ok(code) == "2"
        (project.root / "pkg/pyproject.toml").unlink()
        path.unlink()
        assert project.ok(code) == "0"

    def test_flags_in_the_environment(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", "NUMBER")
        for name, value in (("CFLAGS", "1"), ("CFLAGS", "2"), ("CPPFLAGS", "3"), ("CFLAGS", "1")):
            assert project.ok(CODE, **{name: f"-DNUMBER={value}"}) == value
        assert compiler.compiles == 3

    @pytest.mark.core
    def test_a_new_file_that_shadows_a_header(self, project: Project) -> None:
        text = "// distutils: include_dirs = first second\n"
        project.write("sample.c", text + c_module("sample", "NUMBER", before="#include <own.h>"))
        (project.root / "first").mkdir()
        project.write("second/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        project.write("first/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"
        (project.root / "first/own.h").unlink()
        assert project.ok(CODE) == "2"

    def test_a_new_file_beside_the_source_that_shadows_a_header(self, project: Project) -> None:
        text = "// distutils: include_dirs = include\n"
        project.write("sample.c", text + c_module("sample", **WITH_HEADER))
        project.write("include/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        project.write("own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    @pytest.mark.parametrize(
        "line",
        [
            '#include "own.h"',
            '/* a\n   b */ # /**/ include /* c */ "own.h" // d',
            '#\\\ninclude\\\n"own.h"',
            '%:include "own.h"',
            '#define OWN "own.h"\n#include OWN',
            '#define OWN "own.h"\n/* by a macro */ # include OWN',
        ],
    )
    def test_a_new_file_beside_a_header_that_names_it_in_quotes(self, project: Project, line: str) -> None:
        text = "// distutils: include_dirs = include\n"
        project.write("sample.c", text + c_module("sample", "NUMBER", before='#include "deep/outer.h"'))
        project.write("deep/outer.h", f"{line}\n")
        project.write("include/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        project.write("deep/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_new_file_beside_a_header_that_looks_for_it_elsewhere(self, project: Project) -> None:
        compiler = project.compiler()
        text = "// distutils: include_dirs = include\n"
        project.write("sample.c", text + c_module("sample", "NUMBER", before='#include "deep/outer.h"'))
        project.write("deep/outer.h", "// What #include OWN would be.\n#include <own.h>\n")
        project.write("include/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        compiles = compiler.compiles
        project.write("deep/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "2"
        assert compiler.compiles == compiles

    @pytest.mark.parametrize(
        "flags",
        [
            "-I{0}/include -iquote {0}/first",
            "-isystem {0}/include -I{0}/first",
            "-I{0}/include -iquote{0}/first",
            "--include-directory={0}/first --include-directory {0}/include",
            "-idirafter {0}/include -isystem {0}/first",
            "-I{0}/link/../first -I{0}/include",
        ],
    )
    def test_a_header_in_a_folder_that_is_searched_first(self, project: Project, flags: str) -> None:
        words = flags.format(project.root)
        text = f"// distutils: extra_compile_args = {words}\n"
        project.write("sample.c", text + c_module("sample", **WITH_HEADER))
        project.write("include/own.h", "#define NUMBER 2\n")
        for name in ("first", "deep/er", "deep/first"):
            (project.root / name).mkdir(parents=True, exist_ok=True)
        (project.root / "link").symlink_to("deep/er")
        assert project.ok(CODE) == "2"
        place = "deep/first" if "link" in flags else "first"
        project.write(f"{place}/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    @pytest.mark.skipif(sys.platform == "win32", reason="$CPATH is GCC's and Clang's")
    def test_a_new_file_beside_a_header_in_a_folder_that_cpath_names(self, project: Project) -> None:
        project.env["CPATH"] = str(project.root / "named")
        text = "// distutils: include_dirs = include\n"
        project.write("sample.c", text + c_module("sample", "NUMBER", before="#include <outer.h>"))
        project.write("named/outer.h", '#include "own.h"\n')
        project.write("include/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        project.write("named/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_an_include_folder_that_appears(self, project: Project) -> None:
        text = "// distutils: include_dirs = late/inner second\n"
        project.write("sample.c", text + c_module("sample", "NUMBER", before="#include <own.h>"))
        project.write("second/own.h", "#define NUMBER 2\n")
        assert project.ok(CODE) == "2"
        project.write("late/inner/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_header_that_is_looked_for_and_not_there(self, project: Project) -> None:
        before = '#if __has_include("config.h")\n#include "config.h"\n#else\n#define NUMBER 0\n#endif'
        project.c("sample.c", "NUMBER", before=before)
        assert project.ok(CODE) == "0"
        project.write("config.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_link_that_leads_elsewhere(self, project: Project) -> None:
        project.write("v1/own.h", "#define NUMBER 1\n")
        project.write("v2/own.h", "#define NUMBER 2\n")
        current = project.root / "current"
        current.symlink_to("v1")
        project.c("sample.c", "NUMBER", before='#include "current/own.h"')
        assert project.ok(CODE) == "1"
        current.unlink()
        current.symlink_to("v2")
        assert project.ok(CODE) == "2"

    def test_a_source_that_is_a_link(self, project: Project) -> None:
        project.c("one/sample.c", 1)
        project.c("two/sample.c", 2)
        link = project.root / "sample.c"
        link.symlink_to("one/sample.c")
        assert project.ok(CODE) == "1"
        link.unlink()
        link.symlink_to("two/sample.c")
        assert project.ok(CODE) == "2"
        project.c("two/sample.c", 3)
        assert project.ok(CODE) == "3"

    @pytest.mark.parametrize("variable", ["CPATH", "C_INCLUDE_PATH"])
    def test_a_header_in_cpath_is_an_input(self, project: Project, variable: str) -> None:
        project.c("sample.c", "NUMBER", before="#include <own.h>")
        path = project.write("include/own.h", "#define NUMBER 1\n")
        there = {variable: str(path.parent)}
        assert project.ok(CODE, **there) == "1"
        path.write_text("#define NUMBER 2\n")
        assert project.ok(CODE, **there) == "2"

    def test_a_library_that_is_linked_in(self, project: Project) -> None:
        text = "// distutils: extra_objects = number.o\n" + c_module("sample", "number()", before="int number(void);")
        project.write("sample.c", text)
        for value in "1", "2":
            path = project.write("number.c", f"int number(void) {{ return {value}; }}\n")
            subprocess.run(["cc", "-fPIC", "-c", path, "-o", path.with_suffix(".o")], check=True, timeout=60)
            assert project.ok(CODE) == value

    def test_a_static_library_found_by_name(self, project: Project) -> None:
        header = "// distutils: libraries = number\n// distutils: library_dirs = .\n"
        project.write("sample.c", header + c_module("sample", "number()", before="int number(void);"))
        for value in "1", "2":
            path = project.write("number.c", f"int number(void) {{ return {value}; }}\n")
            subprocess.run(["cc", "-fPIC", "-c", path, "-o", path.with_suffix(".o")], check=True, timeout=60)
            archive = project.root / "libnumber.a"
            archive.unlink(missing_ok=True)
            subprocess.run(["ar", "rc", archive, path.with_suffix(".o")], check=True, timeout=60)
            assert project.ok(CODE) == value

    def test_the_compiler(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", "NUMBER")
        text = compiler.path.read_text()
        for value in "1", "2":
            compiler.path.write_text(text.replace('"$@"', f'-DNUMBER={value} "$@"'))
            assert project.ok(CODE) == value

    def test_a_shadowing_header_that_appears_in_a_running_process(self, project: Project) -> None:
        text = "// distutils: include_dirs = first second\n"
        for name in ("one", "two"):
            project.write(f"{name}.c", text + c_module(name, "NUMBER", before="#include <own.h>"))
        (project.root / "first").mkdir()
        project.write("second/own.h", "#define NUMBER 2\n")
        assert project.ok("import autoaccel, one, two; print(one.value(), two.value())") == "2 2"
        time.sleep(2.5)
        assert project.ok("import autoaccel, one, two; print(one.value(), two.value())") == "2 2"
        out = project.ok(
            "import autoaccel, one, pathlib; pathlib.Path('first/own.h').write_text('#define NUMBER 1\\n'); import two; "
            "print(one.value(), two.value())"
        )
        assert out == "2 1"

    def test_a_header_that_changes_between_two_imports_of_a_process(self, project: Project) -> None:
        for name in ("one", "two"):
            project.write(f"{name}.c", c_module(name, **WITH_HEADER))
        project.write("own.h", "#define NUMBER 1\n")
        assert project.ok("import autoaccel, one, two; print(one.value(), two.value())") == "1 1"
        out = project.ok(
            "import autoaccel, one, pathlib; pathlib.Path('own.h').write_text('#define NUMBER 2\\n'); import two; "
            "print(one.value(), two.value())"
        )
        assert out == "1 2"

    def test_a_folder_that_was_moved(self, project: Project) -> None:
        project.c("one/sample.c", **WITH_HEADER)
        project.write("one/own.h", "#define NUMBER 1\n")
        assert project.ok(CODE, cwd=project.root / "one") == "1"
        (project.root / "one").rename(project.root / "two")
        project.c("one/sample.c", 3)
        assert project.ok(CODE, cwd=project.root / "one") == "3"
        assert project.ok(CODE, cwd=project.root / "two") == "1"


class TestCython:
    """What Cython reads beside the source."""

    CODE = "import autoaccel, sample; print(sample.value())"

    @pytest.fixture(autouse=True)
    def cython(self) -> None:
        need("Cython", "cc")

    def test_a_cimported_pxd(self, project: Project) -> None:
        project.write("sample.pyx", "from numbers_ cimport NUMBER\ndef value(): return NUMBER\n")
        for value in "1", "2":
            project.write("numbers_.pxd", f"cdef enum:\n    NUMBER = {value}\n")
            assert project.ok(self.CODE) == value

    def test_an_included_pxi_and_a_header_behind_a_cdef_extern(self, project: Project) -> None:
        project.write(
            "sample.pyx",
            'cdef extern from "own.h":\n    int NUMBER\ninclude "part.pxi"\ndef value(): return (PART, NUMBER)\n',
        )
        project.write("own.h", "#define NUMBER 1\n")
        project.write("part.pxi", "PART = 'a'\n")
        assert project.ok(self.CODE) == "('a', 1)"
        project.write("part.pxi", "PART = 'b'\n")
        assert project.ok(self.CODE) == "('b', 1)"
        project.write("own.h", "#define NUMBER 2\n")
        assert project.ok(self.CODE) == "('b', 2)"

    def test_a_pxd_of_its_own_that_appears(self, project: Project) -> None:
        project.write("sample.pyx", "cdef class Box:\n    pass\ndef value(): return hasattr(Box, 'n')\n")
        assert project.ok(self.CODE) == "False"
        project.write("sample.pxd", "cdef class Box:\n    cdef public int n\n")
        assert project.ok(self.CODE) == "True"

    def test_a_build_file_that_appears_and_changes(self, project: Project) -> None:
        need("setuptools")
        project.write(
            "sample.pyx",
            'cdef extern from *:\n    """\n    #ifndef N\n    #define N 0\n    #endif\n    """\n    int N\ndef value(): return N\n',
        )
        assert project.ok(self.CODE) == "0"
        for value in "1", "2":
            project.write(
                "sample.pyxbld",
                f"""
                from setuptools import Extension
                def make_ext(modname, pyxfilename):
                    return Extension(modname, [pyxfilename], define_macros=[("N", "{value}")])
                """,
            )
            # As if both edits were made within one second.
            os.utime(project.root / "sample.pyxbld", (1_700_000_000, 1_700_000_000))
            assert project.ok(self.CODE) == value

    def test_a_module_that_the_build_file_imports(self, project: Project) -> None:
        need("setuptools")
        project.write(
            "sample.pyx",
            'cdef extern from *:\n    """\n    #ifndef N\n    #define N 0\n    #endif\n    """\n    int N\ndef value(): return N\n',
        )
        project.write(
            "sample.pyxbld",
            """
            from distutils.extension import Extension
            from helper import N
            def make_ext(modname, pyxfilename):
                return Extension(modname, [pyxfilename], define_macros=[("N", N)])
            """,
        )
        for value in "1", "2":
            project.write("helper.py", f"N = '{value}'\n")
            os.utime(project.root / "helper.py", (1_700_000_000, 1_700_000_000))
            assert project.ok(self.CODE) == value


class TestFailures:
    """A failed build is remembered for as long as nothing changes, and no longer."""

    FAILS = "import autoaccel\ntry:\n    import sample\nexcept autoaccel.BuildError as error:\n    print(error)\n"

    def test_ten_workers_do_not_compile_the_same_broken_file(
        self, project: Project, compiler: CountingCompiler
    ) -> None:
        project.c("sample.c", "broken here")
        first = project.ok(self.FAILS)
        again = [project.ok(self.FAILS) for _ in range(2)]
        assert compiler.compiles == 1
        remembered = (
            "\n\n(remembered: nothing has changed since this build failed; `autoaccel build --force` tries again)"
        )
        assert again == [first + remembered] * 2

    def test_a_repaired_source_is_tried_at_once(self, project: Project) -> None:
        project.c("sample.c", "broken here")
        assert "broken" in project.ok(self.FAILS)
        project.c("sample.c", 4)
        assert project.ok(CODE) == "4"

    def test_a_fixed_header_is_tried_at_once(self, project: Project) -> None:
        project.c("sample.c", **WITH_HEADER)
        project.write("own.h", '#include "missing.h"\n#define NUMBER 1\n')
        assert "missing.h" in project.ok(self.FAILS)
        project.write("own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_header_with_an_error_is_tried_at_once_when_mended(self, project: Project) -> None:
        project.c("sample.c", **WITH_HEADER)
        project.write("own.h", "int broken(;\n#define NUMBER 1\n")
        assert "own.h:1" in project.ok(self.FAILS)
        project.write("own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_header_mended_while_the_compiler_fails(self, project: Project) -> None:
        project.c("sample.c", **WITH_HEADER)
        header = project.write("own.h", "broken here;\n#define NUMBER 1\n")
        once = project.write("once", "")
        project.compiler(
            f"""case "$*" in *" -c "*) if [ -f '{once}' ]; then rm '{once}'; cc "$@"; s=$?; """
            f"""echo '#define NUMBER 2' > '{header}'; exit $s; fi;; esac"""
        )
        assert "own.h:1" in project.ok(self.FAILS)
        assert project.ok(CODE) == "2"

    def test_a_missing_header_that_appears(self, project: Project) -> None:
        project.c("sample.c", **WITH_HEADER)
        assert "own.h" in project.ok(self.FAILS)
        project.write("own.h", "#define NUMBER 1\n")
        assert project.ok(CODE) == "1"

    def test_a_missing_library_that_appears(self, project: Project) -> None:
        header = "// distutils: libraries = number\n// distutils: library_dirs = .\n"
        project.write("sample.c", header + c_module("sample", "number()", before="int number(void);"))
        assert "number" in project.ok(self.FAILS)
        path = project.write("number.c", "int number(void) { return 5; }\n")
        subprocess.run(["cc", "-shared", "-fPIC", path, "-o", project.root / "libnumber.so"], check=True, timeout=60)
        assert project.ok(CODE, LD_LIBRARY_PATH=str(project.root)) == "5"

    def test_an_error_after_a_good_build_does_not_load_the_old_one(self, project: Project) -> None:
        project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        project.c("sample.c", "broken here")
        assert "BuildError" in project.run(CODE).err
        assert "BuildError" in project.run(CODE).err


class TestWithoutACompiler:
    """A machine without one runs what was built for these sources."""

    def test_what_was_built_is_loaded(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        compiler.path.unlink()
        assert project.ok(CODE) == "1"

    def test_without_a_compiler_a_touched_source_still_loads(
        self, project: Project, compiler: CountingCompiler
    ) -> None:
        path = project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        compiler.path.unlink()
        path.touch()
        assert project.ok(CODE) == "1"

    def test_a_changed_source_says_how_to_get_one(self, project: Project, compiler: CountingCompiler) -> None:
        path = project.c("sample.c", 1)
        assert project.ok(CODE) == "1"
        compiler.path.unlink()
        project.c("sample.c", 2)
        assert (
            f"autoaccel.errors.ToolchainMissing: a C compiler is needed for {path}, and $CC, which is "
            f"'{compiler.path}', does not answer as one."
        ) in project.run(CODE).err


class TestEditedMeanwhile:
    """What changes under the compiler's hands is used once, and not kept."""

    def test_a_source_edited_during_the_build(self, project: Project) -> None:
        path = project.c("sample.c", 1)
        second = project.write("second.txt", c_module("sample", 2))
        edit = (
            f"""case "$*" in *" -c "*) if [ -f '{second}' ]; then cat '{second}' > '{path}'; rm '{second}'; fi;; esac"""
        )
        project.compiler(edit)
        assert project.ok(CODE) == "2"
        assert project.artifacts() == []
        assert project.ok(CODE) == "2"
        assert len(project.artifacts()) == 1

    def test_a_header_edited_and_restored_during_the_build(self, project: Project) -> None:
        header = project.write("own.h", "#define NUMBER 1\n")
        project.c("sample.c", **WITH_HEADER)
        once = project.write("once", "")
        # The compiler sees another content than the one before and after.
        wrapped = f"""case "$*" in *" -c "*) if [ -f '{once}' ]; then rm '{once}'; echo '#define NUMBER 2' > '{header}'; cc "$@"; s=$?; echo '#define NUMBER 1' > '{header}'; exit $s; fi;; esac"""
        project.compiler(wrapped)
        assert project.ok(CODE) == "2"
        assert project.ok(CODE) == "1"

    def test_a_header_edited_and_restored_where_stamps_are_whole_seconds(
        self, project: Project, compiler: CountingCompiler
    ) -> None:
        header = project.write("own.h", "#define NUMBER 1\n")
        project.c("sample.c", **WITH_HEADER)
        once = project.write("once", "")
        project.compiler(
            f"""case "$*" in *" -c "*) if [ -f '{once}' ]; then rm '{once}'; echo '#define NUMBER 2' > '{header}'; cc "$@"; s=$?; echo '#define NUMBER 1' > '{header}'; exit $s; fi;; esac"""
        )
        coarse = """
            import autoaccel
            from autoaccel import manifest, staleness
            def identity(path):
                seen = staleness.identity(path)
                return seen and (seen[0] // 10**9 * 10**9, seen[1] // 10**9 * 10**9, *seen[2:])
            manifest.identity = identity
            import sample
            print(sample.value())
            """
        # In the second of the look, it is built once more; later, it can be told, and the result is not kept.
        assert project.ok(coarse) in ("1", "2")
        assert project.ok(coarse) == "1"
        assert project.ok(CODE) == "1"
        assert len(project.artifacts()) == 1


def alive(pattern: str) -> list[str]:
    """Processes whose command line has ``pattern``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if pattern in command and state != "Z" and int(entry.name) != os.getpid():
                found.append(f"{entry.name} {command}")
    return found


def wait_for(condition: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
class TestInterrupted:
    """Nothing is left behind but what the next import cleans up or ignores."""

    SLOW = """case "$*" in *" -c "*) if [ -f '{flag}' ]; then touch '{flag}.started'; sleep 4711{mark}; fi;; esac"""

    def started(self, project: Project) -> tuple[subprocess.Popen[str], str]:
        flag = project.write("flag", "")
        # Of one length: no other sleeper's command line begins with it.
        mark = f".{os.getpid():08}"
        project.compiler(self.SLOW.format(flag=flag, mark=mark))
        project.c("sample.c", 3)
        child = project.start(
            "import autoaccel\ntry:\n    import sample\nexcept BaseException as error:\n    print(repr(error)); raise\n"
        )
        wait_for(Path(f"{flag}.started").exists, "the compiler")
        flag.unlink()
        return child, f"sleep 4711{mark}"

    @pytest.mark.core
    def test_ctrl_c_during_a_build(self, project: Project) -> None:
        child, sleeper = self.started(project)
        wait_for(lambda: alive(sleeper), "the slow compiler")
        # Within the very call that starts it, an interrupt leaves it without anybody who knows it.
        asleep(child)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        assert out == "KeyboardInterrupt()\n"
        assert child.returncode == -signal.SIGINT
        assert err.strip().endswith("KeyboardInterrupt")
        assert alive(sleeper) == []
        assert list(project.cache.glob("v2/builds/*")) == []
        assert project.ok(CODE) == "3"

    def test_ctrl_c_while_several_sources_of_a_module_are_compiled(self, project: Project) -> None:
        mark = f".{os.getpid():08}"
        project.compiler(f"""case "$*" in *" -c "*) sleep 47{mark};; esac""")
        project.write("sample.c", "// distutils: sources = more.c\n" + c_module("sample", 3))
        project.write("more.c", "int more;\n")
        child = project.start("import autoaccel, sample", AUTOACCEL_JOBS="2")
        wait_for(lambda: len(alive(f"sleep 47{mark}")) == 2, "the compilers")
        asleep(child)
        before = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        assert time.monotonic() - before < 40
        assert err.strip().endswith("KeyboardInterrupt")
        assert alive(f"sleep 47{mark}") == []
        assert list(project.cache.glob("v2/builds/*")) == []

    @pytest.mark.parametrize(
        "work",
        [
            "process.run(words, cwd='.', env=os.environ)",
            "process.run(words, cwd='.', env=os.environ, apart=True, heard=print)",
            "with workers.Pool(2) as pool: pool.map(lambda _: process.run(words, cwd='.', env=os.environ), range(2))",
            "with workers.Pool(2) as pool: pool.submit(lambda: process.run(words, cwd='.', env=os.environ))",
            "autoaccel.build('.')",
        ],
        ids=["a program", "a program that is listened to", "a pool", "a pool's end", "a build"],
    )
    def test_ctrl_c_in_the_moment_before_a_wait(self, project: Project, work: str) -> None:
        project.c("sample.c", 1)
        started = project.root / "started"
        project.compiler(f"""case "$*" in *" -c "*) touch '{started}'; exec sleep 40;; esac""")
        # What another thread is told of wakes no wait of the first one's: as if it came right before.
        out = project.ok(
            f"""
            import os, signal, threading, time
            import autoaccel
            from autoaccel import ahead, process, workers
            words = ["sh", "-c", "touch '{started}'; exec sleep 40"]
            def interrupt():
                while not os.path.exists({str(started)!r}): time.sleep(0.02)
                time.sleep(0.3)
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            before = time.monotonic()
            try:
                {work}
            except KeyboardInterrupt:
                print("interrupted", time.monotonic() - before < 40)
            """
        )
        assert out == "interrupted True"

    def test_what_a_compiler_would_leave_lies_in_the_work_folder(self, project: Project) -> None:
        seen = project.root / "seen"
        project.compiler(f'echo "$TMPDIR" >> {seen}')
        project.c("sample.c", 3)
        assert project.ok(CODE) == "3"
        folders = set(seen.read_text().split())
        assert any(folder.startswith(f"{project.cache}/v2/builds/") for folder in folders)
        assert not [folder for folder in folders if os.path.exists(folder) and folder.startswith(str(project.cache))]

    def test_a_killed_build(self, project: Project) -> None:
        child, sleeper = self.started(project)
        wait_for(lambda: alive(sleeper), "the slow compiler")
        child.kill()
        child.communicate(timeout=60)
        assert project.ok(CODE) == "3"
        for line in alive(sleeper):
            os.kill(int(line.split()[0]), signal.SIGKILL)

    def test_ctrl_c_while_cython_translates(self, project: Project) -> None:
        need("Cython")
        text = "cdef int x = 0\n" + "\n".join(
            f"def f{i}(a, b=1, *c, **d): return [a + b for _ in c]" for i in range(1500)
        )
        project.write("slow_one.pyx", text)
        child = project.start(
            "import autoaccel\ntry:\n    import slow_one\nexcept BaseException as error:\n    print(repr(error)); raise\n"
        )
        wait_for(lambda: list(project.cache.glob("v2/builds/*")), "the build")
        time.sleep(0.7)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
        assert out == "KeyboardInterrupt()\n"
        assert list(project.cache.glob("v2/builds/*")) == []
        wait_for(lambda: not alive(str(project.cache)), "the tools to end")

    def test_no_server_is_left_when_the_process_ends(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "def value(): return 1\n")
        out = project.ok(
            "import autoaccel, sample; from autoaccel.toolchains import cython; print(cython._server._process.pid)"
        )
        wait_for(lambda: not Path(f"/proc/{out}").exists(), "the compile server to end")
