"""Errors say what to write: what a build or an import misses is looked for in the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoaccel import whereabouts
from tests.conftest import Project, Run, c_module, need

MAIN = {"before": "extern int total(int);\nextern int LIMIT;", "value": "total(LIMIT)"}


def declare(project: Project, *sources: str, more: str = "") -> None:
    told = ", ".join(f'"{one}"' for one in sources)
    text = f'[[tool.setuptools.ext-modules]]\nname = "pkg.sample"\nsources = [{told}]\n{more}'
    project.write("pyproject.toml", text)


def command(project: Project, *words: str) -> Run:
    """A run of the command line."""
    return project.run(f"import sys\nfrom autoaccel.cli import main\nsys.argv[1:] = {list(words)}\nmain()")


@pytest.fixture
def scattered(project: Project) -> Project:
    """A project as setup.py files build it: the module's sources and headers in several folders."""
    project.write("pkg/__init__.py", "")
    project.write("src/_sample.c", c_module("sample", **MAIN))
    project.write("vendor/total/src/total.c", "#include <total/total.h>\nint total(int n) {\n    return 2 * n;\n}\n")
    project.write("vendor/total/src/limit.c", "/* int LIMIT = 1; */\nint\nLIMIT = 21;\n")
    project.write("vendor/total/include/total/total.h", "int total(int);\n")
    return project


def test_a_project_is_made_to_build_by_doing_what_its_errors_say(scattered: Project) -> None:
    need("gcc")
    code = "import autoaccel, pkg.sample\nprint(pkg.sample.value())"

    declare(scattered, "src/_sample.c")
    run = scattered.run(code)
    assert (
        "`LIMIT`, `total`: defined in vendor/total/src/limit.c and vendor/total/src/total.c, and not compiled in. "
        "Write `# distutils: sources = vendor/total/src/limit.c vendor/total/src/total.c` (`//` in C) into the first "
        'lines of the source, or the same under `[tool.autoaccel.modules."pkg.sample"]` in pyproject.toml.'
    ) in run.err

    declare(scattered, "src/_sample.c", "vendor/total/src/*.c")
    run = scattered.run(code)
    assert (
        f"`total/total.h` was looked for beside the source, then in: {scattered.root}/src, {scattered.root}. "
        "The project has it in vendor/total/include. Write `# distutils: include_dirs = vendor/total/include`"
    ) in run.err

    declare(scattered, "src/_sample.c", "vendor/total/src/*.c", more='include-dirs = ["vendor/total/include"]\n')
    assert scattered.ok(code) == "42"


@pytest.mark.parametrize("how", ["hidden", "refused"])
def test_a_linker_that_misses_something_is_answered_like_a_loader_that_does(scattered: Project, how: str) -> None:
    need("gcc")
    more = ""
    names, files = "`LIMIT`, `total`", ["vendor/total/src/limit.c", "vendor/total/src/total.c"]
    if how == "hidden":
        # GNU's linker goes no further.
        names, files = "`LIMIT`", files[:1]
        before = f"#pragma GCC visibility push(hidden)\n{MAIN['before']}\n#pragma GCC visibility pop"
        scattered.write("src/_sample.c", c_module("sample", MAIN["value"], before=before))
    else:
        more = 'extra-link-args = ["-Wl,-z,defs"]\n'
    declare(scattered, "src/_sample.c", more=more)
    run = scattered.run("import autoaccel, pkg.sample")
    assert "the linker failed on" in run.err
    told = f"{names}: defined in {' and '.join(files)}, and not compiled in. Write `# distutils: sources = {' '.join(files)}`"
    assert told in run.err


def test_of_two_sources_that_define_the_same_one_is_told_to_be_written(scattered: Project) -> None:
    need("gcc")
    declare(scattered, "src/_sample.c")
    # By name it would come first; it is for another system.
    scattered.write("vendor/total/aix/total.c", "int total(int n) { return n; }\n")
    run = scattered.run("import autoaccel, pkg.sample")
    assert (
        "Write `# distutils: sources = vendor/total/src/limit.c vendor/total/src/total.c` (`//` in C) into the first "
        'lines of the source, or the same under `[tool.autoaccel.modules."pkg.sample"]` in pyproject.toml. '
        "(vendor/total/aix/total.c would define some of it instead.)"
    ) in run.err


def test_a_module_whose_source_is_elsewhere_is_told_by_explain(scattered: Project) -> None:
    need("gcc")
    scattered.write("pyproject.toml", "")
    told = command(scattered, "explain", "pkg.sample")
    assert told.status == 1
    assert (
        f"No module named 'pkg.sample'; {scattered.root}/src/_sample.c defines PyInit_sample: declare it in "
        f'{scattered.root}/pyproject.toml: `[[tool.setuptools.ext-modules]]`, `name = "pkg.sample"`, '
        '`sources = ["src/_sample.c"]`'
    ) in told.out
    built = command(scattered, "build", "-v")
    assert (
        f"{scattered.root}/src/_sample.c is not built: it defines PyInit_sample, not a module of its name; "
        "`autoaccel explain` tells how to declare it"
    ) in built.err


def test_a_declared_pattern_names_the_source_that_defines_the_module(project: Project) -> None:
    need("gcc")
    project.write("pkg/__init__.py", "")
    project.write("[native]/core/help.c", "int total(int n) { return n; }\nint LIMIT = 3;\n")
    project.write("[native]/core/main.c", c_module("sample", **MAIN))
    project.root = project.root / "[native]"
    project.write("pkg/__init__.py", "")
    declare(project, "core/*.c")
    code = "import autoaccel, pkg.sample\nprint(pkg.sample.value(), pkg.sample.__file__)"
    assert project.ok(code) == f"3 {project.root}/core/main.c"


def test_a_macro_stands_for_the_init_function(project: Project) -> None:
    need("gcc")
    template = (
        c_module("sample", 7).replace("PyInit_sample", "INITMODULE").replace("PyMODINIT_FUNC", "PyMODINIT_FUNC\n")
    )
    project.write("pkg/template.h", template)
    project.write("pkg/__init__.py", "")
    project.write("pkg/sample.c", '# define  INITMODULE PyInit_sample\n#include "template.h"\n')
    assert project.ok("import autoaccel, pkg.sample\nprint(pkg.sample.value())") == "7"


def test_an_init_function_in_an_included_file_has_to_be_declared(project: Project) -> None:
    need("gcc")
    project.write("template.h", c_module("sample", 7))
    path = project.write("sample.c", '#include "template.h"\n')
    run = project.run("import autoaccel, sample")
    declared = '`[[tool.setuptools.ext-modules]]`, `name = "sample"`, `sources = ["sample.c"]`'
    assert run.last == (
        f"ModuleNotFoundError: No module named 'sample' ({path} is there, but it defines neither PyInit_sample nor "
        "PYBIND11_MODULE(sample, …) nor NB_MODULE(sample, …), so it is not the source of this module. If a macro or an "
        f"included file defines the module: declare it in {project.root}/pyproject.toml: {declared})"
    )
    project.write("pyproject.toml", '[[tool.setuptools.ext-modules]]\nname = "sample"\nsources = ["sample.c"]\n')
    assert project.ok("import autoaccel, sample\nprint(sample.value())") == "7"


def test_generated_c_without_its_cython_source_has_to_be_declared(project: Project) -> None:
    need("gcc")
    path = project.write("sample.c", "/* Generated by Cython 3.1.0 */\n" + c_module("sample", 5))
    run = project.run("import autoaccel, sample")
    assert run.last == (
        f"ModuleNotFoundError: No module named 'sample' ({path} is there, but Cython has generated it, and what it is "
        f"from is not beside it. If there is nothing else: declare it in {project.root}/pyproject.toml: "
        '`[[tool.setuptools.ext-modules]]`, `name = "sample"`, `sources = ["sample.c"]`)'
    )
    project.write("pyproject.toml", '[[tool.setuptools.ext-modules]]\nname = "sample"\nsources = ["sample.c"]\n')
    assert project.ok("import autoaccel, sample\nprint(sample.value())") == "5"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("plain", "plain"),
        ("versioned@GLIBC_2.2", "versioned"),
        ("_Z3runi", "run"),
        ("_ZN4core6detail3runEPKc", "run"),
        ("_ZNK4core5Shape4areaEv", "area"),
        ("_ZTV4Base", ""),
        ("core::detail::run(char const*)", "run"),
        ("std::vector<core::Shape>::grow(int)", "grow"),
        ("vtable for Base", "Base"),
    ],
)
def test_symbols_are_read_as_sources_spell_them(symbol: str, name: str) -> None:
    assert whereabouts.spelled(symbol) == name


@pytest.mark.parametrize(
    ("text", "defines"),
    [
        ("int run(int (*callback)(void), char *text)\n{\n", True),
        ("double core::run(int n) const noexcept {", True),
        ("run::run(int n)\n    : Base(n), _size{n}\n{}\n", True),
        ("PyTypeObject\nrun = {\n", True),
        ("int run[2][3] = {", True),
        ("int run;\n", True),
        ("int run(int n);\n", False),
        ("extern int run;\n", False),
        ("static int run;\n", False),
        ("static int run(int n)\n{\n}\n", False),
        ("static int other(void) { return 0; }\nint run(int n) {\n}\n", True),
        ("    return run(1);\n", False),
        ("    x = y ? run(1) : z;\n    while (z) {\n", False),
        ("    run::other(1);\n    {\n", False),
        ("    if (run(1)) {\n", False),
        ("x.run(1) {", False),
        ("// int run(int n) {\n", False),
        ('"int run(int n) {"\n', False),
        ("#define run(n) {\n", False),
        ("#define other \\\n  int run(n) {\n", False),
    ],
)
def test_which_text_defines_a_name(tmp_path: Path, text: str, defines: bool) -> None:
    path = tmp_path / "one.c"
    path.write_text(text)
    assert whereabouts.definers(str(tmp_path), ["run"]) == ({str(path): ["run"]} if defines else {})
    assert whereabouts.definers(str(tmp_path), ["run"], [str(path)]) == {}


def test_what_is_not_the_projects_is_not_looked_at(tmp_path: Path) -> None:
    for folder in (".hidden", "venv", "node_modules/x", "lib/site-packages/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "own.h").write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    assert whereabouts.folders_with(str(tmp_path), "own.h") == []
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "own.h").write_text("")
    assert whereabouts.folders_with(str(tmp_path), "own.h") == [f"{tmp_path}/a/b"]
    assert whereabouts.folders_with(str(tmp_path), "b/own.h") == [f"{tmp_path}/a"]
    assert whereabouts.folders_with(str(tmp_path), "c/own.h") == []
    assert whereabouts.folders_with(str(tmp_path), "../own.h") == []


class TestCython:
    """Files that Cython includes and cimports."""

    @pytest.fixture
    def halves(self, project: Project) -> Project:
        need("Cython", "gcc")
        project.write("pyproject.toml", "")
        project.write("shared/lib/__init__.pxd", "")
        project.write("shared/lib/units.pxd", "cdef enum:\n    UNIT = 5\n")
        project.write("shared/values.pxi", "VALUE = 7\n")
        return project

    @pytest.mark.parametrize(
        "text", ["from lib.units cimport UNIT\n", "from lib cimport units\n", 'include "values.pxi"\n']
    )
    def test_a_folder_of_the_project_that_is_not_searched(self, halves: Project, text: str) -> None:
        halves.write("sample.pyx", text)
        run = halves.run("import autoaccel, sample")
        assert "in shared. Write `# distutils: include_dirs = shared` (`//` in C)" in run.err
        halves.write("sample.pyx", f"# distutils: include_dirs = shared\n{text}")
        halves.ok("import autoaccel, sample")

    def test_what_is_neither_in_the_project_nor_installed(self, halves: Project) -> None:
        halves.write("sample.pyx", "from not_there.deep cimport thing\n")
        run = halves.run("import autoaccel, sample")
        assert "`not_there` is neither in the project nor installed: install it, or name the folder" in run.err
        halves.write("sample.pyx", 'include "not_there.pxi"\n')
        assert "The project has it nowhere." in halves.run("import autoaccel, sample").err

    def test_the_projects_folder_is_searched_as_by_cythonize(self, halves: Project) -> None:
        halves.write("src/pkg/__init__.py", "")
        halves.write("src/pkg/sample.pyx", 'include "shared/values.pxi"\ndef value():\n    return VALUE\n')
        code = "import autoaccel, sys\nsys.path.insert(0, 'src')\nimport pkg.sample\nprint(pkg.sample.value())"
        assert halves.ok(code) == "7"
        # What is nearer comes first, also when it appears later.
        halves.write("src/shared/values.pxi", "VALUE = 8\n")
        assert halves.ok(code) == "8"


def test_the_name_that_is_missing_is_called_and_followed_by_a_chain_of_pointers(project: Project) -> None:
    path = project.write("list.cpp", "int use() { return first(1)" + "->next" * 4000 + "->value; }\n")
    project.write("call.cpp", "auto second(int) const noexcept -> int const *override { return 0; }\n")
    # An expression that tries all ways to cut the chain would not end in this universe.
    assert whereabouts.definers(str(path.parent), ["first", "second"]) == {f"{project.root}/call.cpp": ["second"]}


def test_no_symbols_are_asked_for_on_a_system_without_a_handle_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: object) -> None:
        raise TypeError("bad argument type for built-in operation")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    assert whereabouts.missing_names([]) == []
