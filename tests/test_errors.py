"""What the user reads when something is wrong: every message, exactly."""

from __future__ import annotations

import pickle
import re

import pytest

from autoaccel import errors
from autoaccel.errors import BuildError, Diagnostic
from tests.conftest import Project, need

IMPORT = "import autoaccel, sample"


def where(key: str, name: str = "sample") -> str:
    """The advice where to write an option."""
    return (
        f"Write `# distutils: {key} = …` (`//` in C) into the first lines of the source, "
        f'or the same under `[tool.autoaccel.modules."{name}"]` in pyproject.toml.'
    )


def message(project: Project, code: str = IMPORT, **env: str) -> str:
    """The text of the exception that ends ``code``, less the place of the build log, which is checked."""
    run = project.run(
        f"import traceback, sys\ntry:\n    {code}\nexcept BaseException as error:\n"
        "    print(f'{type(error).__module__}.{type(error).__name__}: {error}')",
        **env,
    )
    assert run.err == ""
    assert run.status == 0
    text, found, log = run.out.strip().partition("\n\nbuild log: ")
    if found:
        assert re.fullmatch(rf"{re.escape(str(project.cache))}/v2/failures/[0-9a-f]+\.log", log)
        with open(log, encoding="utf-8") as file:
            assert file.read().strip()
    return text


class TestSources:
    """Files that are wrong."""

    @pytest.mark.core
    def test_a_syntax_error_in_cython(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", "def good():\n    return 1\n\ndef bad(:\n    pass\n")
        told = message(project)
        before, _, last = told.rpartition("\n")
        assert before == (
            f"autoaccel.errors.BuildError: sample: Cython failed on {path}\n\n"
            "Error compiling Cython file:\n"
            "------------------------------------------------------------\n"
            "...\n"
            "def good():\n"
            "    return 1\n"
            "\n"
            "def bad(:\n"
            "        ^\n"
            "------------------------------------------------------------"
        )
        # Cython's own sentence, which differs from release to release.
        assert re.fullmatch(r"\S*sample\.pyx:4:8: Expected .*, found ':'", last)

    def test_a_syntax_error_in_c(self, project: Project) -> None:
        need("gcc")
        path = project.c("sample.c", "1 +")
        text = path.read_text()
        number = next(index for index, line in enumerate(text.splitlines(), 1) if "1 +" in line)
        told = message(project, CC="gcc")
        assert told.startswith(
            f"autoaccel.errors.BuildError: sample: gcc failed on {path}\n\n{path}: In function ‘value’:\n{path}:{number}:"
        )
        lines = told.splitlines()
        error = next(line for line in lines if " error: " in line)
        column = int(error.split(":")[2 + error.count(":", 0, error.index(path.name))])
        assert error == f"{path}:{number}:{column}: error: expected expression before ‘)’ token"
        caret = lines[lines.index(error) + 2]
        assert caret == "      |" + " " * column + "^"

    def test_a_missing_header(self, project: Project) -> None:
        need("gcc")
        path = project.c("sample.c", before='#include "own.h"')
        assert message(project, CC="gcc") == (
            f"autoaccel.errors.BuildError: sample: gcc failed on {path}\n\n"
            f"{path}:2:10: fatal error: own.h: No such file or directory\n"
            '    2 | #include "own.h"\n'
            "      |          ^~~~~~~\n"
            "compilation terminated.\n\n"
            f"`own.h` was looked for beside the source, then in: {project.root}. "
            f"If it is elsewhere, name its folder. {where('include_dirs')}"
        )

    def test_a_missing_library(self, project: Project) -> None:
        need("gcc")
        path = project.c("sample.c")
        path.write_text("// distutils: libraries = nowhere_to_be_found\n" + path.read_text())
        told = message(project, CC="gcc")
        assert told.startswith(f"autoaccel.errors.BuildError: sample: the linker failed on {path}\n\n")
        assert told.endswith(
            "\n\nThe library `nowhere_to_be_found` is not where the linker looks: install its development files, "
            f"or name its folder. {where('library_dirs')}"
        )

    @pytest.mark.core
    def test_no_compiler(self, project: Project) -> None:
        path = project.c("sample.c")
        told = message(project, PATH="", CC="", CXX="")
        tried = told.partition("(tried: ")[2].partition(")")[0].split(", ")
        assert {"cc", "gcc", "clang"} <= set(tried)
        assert tried[-1] == "ziglang from PyPI"
        assert len(tried) == len(set(tried))
        assert told == (
            f"autoaccel.errors.ToolchainMissing: a C compiler is needed for {path}, and none was found "
            f"(tried: {', '.join(tried)}).\n"
            "Install one: `apt-get install gcc g++` (Debian, Ubuntu), `dnf install gcc gcc-c++` (Fedora), "
            "`xcode-select --install` (macOS), the Visual Studio Build Tools (Windows), "
            "or `pip install ziglang` on any of them. $CC and $CXX name another one."
        )

    def test_a_compiler_that_is_told_and_not_there(self, project: Project) -> None:
        path = project.c("sample.c")
        told = message(project, CC="no-such-compiler -m64")
        assert told.startswith(
            f"autoaccel.errors.ToolchainMissing: a C compiler is needed for {path}, and $CC, which is "
            "'no-such-compiler -m64', does not answer as one.\n"
            "Let $CC name a compiler that is installed, or unset it to have one looked for."
        )

    def test_no_cython(self, project: Project) -> None:
        path = project.write("sample.pyx", "x = 1\n")
        # An interpreter that finds the hook's own needs, and no Cython.
        code = (
            "import sys; sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(lambda *a: None)})); "
            "from importlib.machinery import PathFinder as P; find = P.find_spec; "
            "P.find_spec = lambda name, *more: None if name == 'Cython' else find(name, *more); import autoaccel, sample"
        )
        assert message(project, code) == (
            f"autoaccel.errors.ToolchainMissing: sample: Cython is needed to compile {path}, and it is not installed.\n"
            "Install it: `pip install cython`."
        )

    def test_another_module_in_the_file_that_only_the_library_shows(self, project: Project) -> None:
        need("cc")
        path = project.c("sample.c", before="#define PyInit_sample PyInit_other")
        assert message(project) == (
            f"autoaccel.errors.BuildError: sample: the library built from {path} does not define PyInit_sample, which "
            "`import sample` calls; it exports PyInit_other: rename the function, or the file and the import."
        )

    def test_an_init_function_that_is_not_compiled_in(self, project: Project) -> None:
        need("cc")
        path = project.write("sample.c", "#if 0\nPyMODINIT_FUNC PyInit_sample(void) {\n}\n#endif\nint x;\n")
        assert message(project) == (
            f"autoaccel.errors.BuildError: sample: the library built from {path} does not define PyInit_sample, which "
            "`import sample` calls; it exports no init function: is the macro or function that defines the module compiled in?."
        )

    def test_an_empty_file(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", "\n \n")
        assert message(project) == (
            f"autoaccel.errors.BuildError: sample: {path} is empty, so there is nothing to compile. "
            "Write the module into it, or delete the file."
        )

    def test_an_empty_c_file_is_no_module(self, project: Project) -> None:
        path = project.write("sample.c", "")
        assert message(project) == (
            f"builtins.ModuleNotFoundError: No module named 'sample' ({path} is there, but it defines neither PyInit_sample "
            "nor PYBIND11_MODULE(sample, …) nor NB_MODULE(sample, …), so it is not the source of this module)"
        )

    def test_a_file_that_is_no_text(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", b"name = '\xe4'\n")
        assert message(project) == (
            f"autoaccel.errors.BuildError: sample: {path} can't be decoded: 'utf-8' codec can't decode byte 0xe4 in "
            "position 8: invalid continuation byte. Save it as UTF-8, or declare its encoding in the first line "
            "(`# -*- coding: latin-1 -*-`)."
        )

    def test_an_encoding_that_does_not_exist(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", b"# -*- coding: klingon -*-\nx = 1\n")
        assert message(project).startswith(
            f"autoaccel.errors.BuildError: sample: {path} can't be decoded: unknown encoding: klingon. Save it as UTF-8"
        )

    def test_a_declared_encoding_is_understood(self, project: Project) -> None:
        need("Cython", "cc")
        project.write("sample.pyx", b"# -*- coding: latin-1 -*-\nname = '\xe4'\n")
        assert project.ok("import autoaccel, sample; print(ascii(sample.name))") == "'\\xe4'"

    def test_an_unknown_distutils_key(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", "# distutils: langage = c++\nx = 1\n")
        assert message(project) == (
            f"autoaccel.errors.ConfigError: {path}: distutils: unknown key `langage`. Did you mean `language`?"
        )
        path.unlink()
        path = project.c("sample.c")
        path.write_text("// distutils: sorces = a.c\n" + path.read_text())
        assert message(project) == (
            f"autoaccel.errors.ConfigError: {path}: distutils: unknown key `sorces`. Did you mean `sources`?"
        )

    def test_an_unknown_key_in_pyproject(self, project: Project) -> None:
        project.c("sample.c")
        path = project.write("pyproject.toml", "[tool.autoaccel]\ncflag = ['-O3']\n")
        assert message(project) == (
            f"autoaccel.errors.ConfigError: {path}: [tool.autoaccel]: unknown key `cflag`. Did you mean `cflags`?"
        )

    def test_a_pyproject_that_is_no_toml(self, project: Project) -> None:
        project.c("sample.c")
        path = project.write("pyproject.toml", "[tool.autoaccel\n")
        told = message(project)
        assert told.startswith(f"autoaccel.errors.ConfigError: {path}: Expected ']' at the end of a table declaration")

    def test_a_further_source_that_is_missing(self, project: Project) -> None:
        need("gcc")
        path = project.c("sample.c")
        path.write_text("// distutils: sources = nowhere.c\n" + path.read_text())
        told = message(project, CC="gcc")
        assert told == (
            f"autoaccel.errors.BuildError: sample: {path.parent / 'nowhere.c'} does not exist; it is named among the sources "
            f"of {path}, in its first lines (`distutils: sources`) or in pyproject.toml. Relative names are looked for in "
            "the project's folder, then beside the file."
        )


def test_long_output_is_trimmed(project: Project) -> None:
    need("cc")
    project.c("sample.c", before="\n".join(f"int f{i}(void) {{ return broken{i}; }}" for i in range(100)))
    told = message(project)
    lines = told.splitlines()
    assert len(lines) == 2 + errors.EXCERPT_LINES + 1
    assert re.fullmatch(r"… \d+ more lines in the build log", lines[-1])


def test_an_error_has_what_tools_need(project: Project) -> None:
    need("cc")
    path = project.c("pkg/sample.c", "broken", before="")
    out = project.ok(
        """
        import autoaccel
        try:
            import pkg.sample
        except autoaccel.BuildError as error:
            first = error.diagnostics[0]
            print(error.name, error.path, first.file, first.line, first.level, first.message)
            print(isinstance(error, ImportError), open(error.log).read().count("broken") > 0, error.__cause__, error.__suppress_context__)
        """
    ).splitlines()
    assert out[0].startswith(f"pkg.sample {path} {path} 3 error ‘broken’ undeclared") or "undeclared" in out[0]
    assert out[1] == "True True None True"


def test_errors_travel_between_processes() -> None:
    diagnostic = Diagnostic("/a/x.c", 3, 5, "no", level="warning", code="E1", rendered="3 | no")
    error = BuildError("it failed", name="x", path="/a/x.c", diagnostics=[diagnostic], log="/the/log")
    same = pickle.loads(pickle.dumps(error))
    assert (str(same), same.name, same.path, same.log) == ("it failed", "x", "/a/x.c", "/the/log")
    assert repr(same.diagnostics[0]) == "Diagnostic(/a/x.c:3:5: warning: no)"
    assert isinstance(pickle.loads(pickle.dumps(errors.ConfigError("x", path="/p"))), ImportError)


def test_hints_for_libraries_that_do_not_load() -> None:
    told = errors.not_loadable("x", "/x.c", "/x.so", "/x.so: undefined symbol: foo")
    assert str(told) == (
        "x: the library built from /x.c can't be loaded: /x.so: undefined symbol: foo\n"
        "`foo` is declared and used, and no compiled source or library has it. Name the source or the library "
        f"(`libraries = …`). {where('sources', 'x')}"
    )
    told = errors.not_loadable(
        "x", "/x.c", "/x.so", "libfoo.so.1: cannot open shared object file: No such file or directory"
    )
    assert str(told).endswith(
        "\nA library that it was linked with is not on the loader's path: install it, "
        f"or name its folder. {where('runtime_library_dirs', 'x')}"
    )
    assert (told.name, told.path) == ("x", "/x.so")


def test_keys_far_from_any_other_are_listed() -> None:
    told = errors.unknown_key("pyproject.toml", "zzz", ["one", "two"])
    assert str(told) == "pyproject.toml: unknown key `zzz`. Known are: one, two."
