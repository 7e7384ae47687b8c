"""C and C++: by hand, with pybind11, with nanobind, with more files and flags."""

from __future__ import annotations

import pytest

from tests.conftest import Project, c_module, need

CODE = "import autoaccel, sample; print(sample.value())"


@pytest.mark.parametrize("suffix", ["c", "cpp", "cc", "cxx"])
def test_every_suffix(project: Project, suffix: str) -> None:
    need("cc" if suffix == "c" else "c++")
    text = c_module("sample", "number()", before="static int number(void) { return sizeof('a') == 1 ? 1 : 2; }")
    project.write(f"sample.{suffix}", text)
    # A character constant is an int in C, and a char in C++.
    assert project.ok(CODE) == ("2" if suffix == "c" else "1")


def test_pybind11(project: Project) -> None:
    need("pybind11", "c++")
    project.write("own.hpp", "inline int number() { return 7; }\n")
    project.write(
        "sample.cpp",
        """
        #include <pybind11/pybind11.h>
        #include <pybind11/stl.h>
        #include "own.hpp"
        PYBIND11_MODULE(sample, m) {
            m.def("value", [] { return number(); });
            m.def("doubled", [](std::vector<int> v) { for (int &x : v) x *= 2; return v; });
        }
        """,
    )
    assert project.ok("import autoaccel, sample; print(sample.value(), sample.doubled([1, 2]))") == "7 [2, 4]"
    project.write("own.hpp", "inline int number() { return 8; }\n")
    assert project.ok(CODE) == "8"


NUMPY = "static int number(void) { import_array1(0); return NPY_DOUBLE; }"


@pytest.mark.parametrize("named", ["behind a header", "in a further source"])
def test_numpy_that_the_main_source_does_not_name(project: Project, named: str) -> None:
    need("numpy", "cc")
    if named == "behind a header":
        project.write("own/all.h", "#include <Python.h>\n#include <numpy/arrayobject.h>\n")
        project.write("sample.c", c_module("sample", "number()", before=f'#include "own/all.h"\n{NUMPY}'))
    else:
        text = c_module("sample", "number()", before="int number(void);")
        project.write("sample.c", f"// distutils: sources = more.c\n{text}")
        project.write("more.c", f"#include <Python.h>\n#include <numpy/arrayobject.h>\n{NUMPY.removeprefix('static ')}")
    assert project.ok(CODE) == "12"


def test_pybind11_behind_a_header_and_without_its_macro(project: Project) -> None:
    need("pybind11", "c++")
    project.write("own.hpp", "#pragma once\n#include <pybind11/pybind11.h>\n")
    before = '#include "own.hpp"\nstatic long number() { return pybind11::int_(7).cast<long>(); }'
    project.write("sample.cpp", c_module("sample", "number()", before=before))
    assert project.ok(CODE) == "7"


def test_headers_of_a_package_that_is_not_installed(project: Project) -> None:
    need("cc")
    project.write("own.h", "#include <nanobind/nanobind_config.h>\n")
    project.write("sample.c", c_module("sample", "1", before='#include "own.h"'))
    hide = "import sys; from importlib.machinery import PathFinder as P; f = P.find_spec; "
    hide += "P.find_spec = lambda n, *a, **k: None if n == 'nanobind' else f(n, *a, **k); "
    assert project.run(hide + CODE).last == "Install it: `pip install nanobind`."


def test_cpp_in_a_c_file(project: Project) -> None:
    need("cc")
    project.write("own.h", "namespace own { inline int number() { return 1; } }\n")
    project.write("sample.c", c_module("sample", "1", before='#include "own.h"'))
    run = project.run(CODE)
    assert "This is C++. Write `# distutils: language = c++` (`//` in C) into the first lines" in run.err


def test_pybind11_whose_macro_is_behind_one_of_the_projects_own(project: Project) -> None:
    need("pybind11", "c++")
    project.write("own.hpp", "#define OWN_MODULE(m) PYBIND11_MODULE(sample, m)\n")
    project.write(
        "sample.cpp",
        """
        #include <pybind11/functional.h>
        #include "own.hpp"
        OWN_MODULE(m) { m.def("value", [] { return 7; }); }
        """,
    )
    project.write("pyproject.toml", '[[tool.setuptools.ext-modules]]\nname = "sample"\nsources = ["sample.cpp"]\n')
    assert project.ok(CODE) == "7"


CPPIMPORT = """
    setup_pybind11(cfg)
    cfg["sources"] = ["more.cpp"]
    cfg["compiler_args"] += ["-DMORE=3"]
    cfg["dependencies"] = ["told.txt"]
    """


@pytest.mark.parametrize("around", ["/*\n<%{}%>\n*/\n", "<%{}%>\n"], ids=["in a comment", "as it is"])
def test_the_block_of_python_that_cppimport_has(project: Project, around: str) -> None:
    need("pybind11", "c++")
    project.write("lib/__init__.py", "")
    project.write("lib/more.cpp", "int more() { return MORE; }\n")
    project.write("more.cpp", "#error another one\n")
    text = "#include <pybind11/pybind11.h>\nint more();\nPYBIND11_MODULE(sample, m) {\n"
    text += 'm.def("value", [] { return more() + 4; });\nm.def("line", [] { return __LINE__; });\n'
    text += 'm.def("file", [] { return __FILE__; });\n}\n'
    path = project.write("lib/sample.cpp", "// cppimport\n" + around.format(CPPIMPORT) + text)
    lines = path.read_text().splitlines()
    line = next(number for number, one in enumerate(lines, 1) if "__LINE__" in one)
    code = "import autoaccel, lib.sample as m; print(m.value(), m.line(), m.file(), m.__cached__)"
    *values, artifact = project.ok(code).split()
    assert values == ["7", str(line), str(path)]
    project.write("lib/told.txt", "")
    assert project.ok(code).split()[-1] != artifact


def test_a_block_of_python_for_cppimport_that_raises(project: Project) -> None:
    need("c++")
    project.write("sample.cpp", f"/*\n<%\ncfg['sources'] = no_such_name\n%>\n*/\n{c_module('sample')}")
    run = project.run(CODE)
    assert f"BuildError: sample: cppimport's block failed on {project.root}/sample.cpp" in run.err
    assert f'File "{project.root}/sample.cpp", line 3, in <module>' in run.err
    assert "NameError: name 'no_such_name' is not defined" in run.err


@pytest.mark.slow
def test_nanobind(project: Project) -> None:
    need("nanobind", "c++")
    project.write(
        "sample.cpp",
        """
        #include <nanobind/nanobind.h>
        NB_MODULE(sample, m) {
            m.def("value", [] { return 7; });
        }
        """,
    )
    assert project.ok(CODE) == "7"


def test_a_binding_that_is_not_installed(project: Project) -> None:
    path = project.write("sample.cpp", "#include <pybind11/pybind11.h>\nPYBIND11_MODULE(sample, m) { }\n")
    code = (
        "from importlib.machinery import PathFinder as P; find = P.find_spec; "
        "P.find_spec = lambda name, *more: None if name == 'pybind11' else find(name, *more); import autoaccel, sample"
    )
    run = project.run(code)
    assert run.err.rstrip().endswith(
        f"autoaccel.errors.ToolchainMissing: sample: pybind11 is needed to compile {path}, and it is not installed.\n"
        "Install it: `pip install pybind11`."
    )


def test_sources_of_both_languages(project: Project) -> None:
    need("cc", "c++")
    project.write("one.cpp", "extern \"C\" int one() { return sizeof('a') == 1 ? 10 : 20; }\n")
    project.write("two.c", "int two(void) { return sizeof('a') == 1 ? 1 : 2; }\n")
    text = c_module("sample", "one() + two()", before="int one(void); int two(void);")
    project.write("sample.c", "// distutils: sources = one.cpp two.c\n" + text)
    assert project.ok(CODE) == "12"


def test_lines_that_set_options(project: Project) -> None:
    need("cc")
    lines = (
        "// A module.\n// distutils: define_macros = ONE=1 TWO\n// distutils: extra_compile_args = -DTHREE=3 -O1\n"
        "// distutils: libraries = m\n// distutils: include_dirs = include\n\n"
    )
    before = "#include <math.h>\n#include <own.h>\n#ifndef TWO\n#error TWO\n#endif"
    project.write("include/own.h", "#define FOUR 4\n")
    project.write("sample.c", lines + c_module("sample", "ONE + THREE + FOUR + (int)pow(2, ONE)", before=before))
    assert project.ok(CODE) == "10"


def test_lines_after_the_first_code_are_comments(project: Project) -> None:
    need("cc")
    text = "int first;\n// distutils: nonsense = 1\n" + c_module("sample", 5)
    project.write("sample.c", text)
    assert project.ok(CODE) == "5"


def test_the_same_object_names_do_not_collide(project: Project) -> None:
    need("cc")
    project.write("a/part.c", "int a(void) { return 1; }\n")
    project.write("b/part.c", "int b(void) { return 20; }\n")
    project.write("c/sample.c", "int c(void) { return 300; }\n")
    text = c_module("sample", "a() + b() + c()", before="int a(void); int b(void); int c(void);")
    project.write("sample.c", "// distutils: sources = a/part.c b/part.c c/sample.c\n" + text)
    assert project.ok(CODE) == "321"


def test_symbols_of_two_modules_do_not_mix(project: Project) -> None:
    need("cc")
    for name, value in (("sample", 1), ("other", 2)):
        project.write(
            f"{name}.c", c_module(name, "shared_name()", before=f"int shared_name(void) {{ return {value}; }}")
        )
    assert project.ok("import autoaccel, sample, other; print(sample.value(), other.value())") == "1 2"


def test_a_warning_is_no_error_and_is_not_said(project: Project) -> None:
    need("cc")
    project.c("sample.c", 5, before="#warning careful\nstatic int unused;")
    assert project.ok(CODE) == "5"


def test_text_in_another_encoding(project: Project) -> None:
    need("cc")
    project.write("sample.c", b"// \xe4\xf6 distutils\n" + c_module("sample", 5).encode())
    assert project.ok(CODE) == "5"
    project.write(
        "sample.c", b"\xef\xbb\xbf// distutils: define_macros = NUMBER=6\n" + c_module("sample", "NUMBER").encode()
    )
    assert project.ok(CODE) == "6"
