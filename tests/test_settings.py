"""What pyproject.toml and the environment say about a build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autoaccel import settings
from autoaccel.errors import ConfigError
from autoaccel.plan import Options
from autoaccel.sources import Source
from tests.conftest import Project, c_module, need


def load(project: Project, toml: str, name: str = "pkg.sample") -> settings.Settings:
    project.write("pyproject.toml", toml)
    return settings.load(Source(name, str(project.root / "pkg" / "sample.c"), "c"))


def test_without_a_pyproject_everything_is_default(project: Project) -> None:
    (project.root / "pkg").mkdir()
    (project.root / ".git").mkdir()
    told = settings.load(Source("pkg.sample", str(project.root / "pkg" / "sample.c"), "c"))
    assert told == settings.Settings(
        root=str(project.root / "pkg"),
        absent=tuple(
            str(folder / file)
            for file in ("pyproject.toml", "setup.py")
            for folder in (project.root / "pkg", project.root)
        ),
    )


def test_a_pyproject_above_the_top_of_the_project_does_not_count(project: Project) -> None:
    (project.root / "inner" / "pkg").mkdir(parents=True)
    (project.root / "inner" / ".git").mkdir()
    project.write("pyproject.toml", "[tool.autoaccel]\ncflags = ['-DX']\n")
    told = settings.load(Source("pkg.sample", str(project.root / "inner" / "pkg" / "sample.c"), "c"))
    assert told.cflags == ()


def test_everything_at_once(project: Project) -> None:
    told = load(
        project,
        """
        [tool.autoaccel]
        optimize = 3
        debug = true
        cflags = ["-DA"]
        ldflags = ["-s"]
        [tool.autoaccel.cython]
        language-level = 3
        annotate = true
        directives = { boundscheck = false }
        [tool.autoaccel.modules."pkg.sample"]
        libraries = ["m"]
        define-macros = ["ONE", "TWO=2", ["THREE", "3"], ["FOUR"]]
        include_dirs = ["/abs"]
        [[tool.setuptools.ext-modules]]
        name = "pkg.sample"
        sources = ["pkg/sample.c", "more.c"]
        libraries = ["z"]
        py-limited-api = false
        [[tool.setuptools.ext-modules]]
        name = "pkg.other"
        libraries = ["no"]
        """,
    )
    root = str(project.root)
    assert (told.root, told.optimize, told.debug, told.cflags, told.ldflags) == (root, "3", True, ("-DA",), ("-s",))
    assert (told.language_level, told.annotate, dict(told.directives)) == ("3", True, {"boundscheck": False})
    assert replace(told.options, absent=(), folders=()) == Options(
        sources=(f"{root}/pkg/sample.c", f"{root}/more.c"),
        libraries=("z", "m"),
        define_macros=(("ONE", None), ("TWO", "2"), ("THREE", "3"), ("FOUR", None)),
        include_dirs=("/abs",),
    )
    assert told.inputs == (f"{root}/pyproject.toml",)


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[tool.autoaccel]\ncflags = '-O3'", "[tool.autoaccel]: `cflags` must be a list, not '-O3'"),
        ("[tool.autoaccel]\ncflags = [3]", "[tool.autoaccel]: `cflags` must hold strings, not 3"),
        ("[tool]\nautoaccel = 5", "[tool.autoaccel] must be a table"),
        ("[tool.autoaccel]\ncython = 5", "[tool.autoaccel.cython] must be a table"),
        (
            "[tool.autoaccel.cython]\nlanguage_level = 3",
            "[tool.autoaccel.cython]: unknown key `language_level`. Did you mean `language-level`?",
        ),
        (
            '[tool.autoaccel.modules."pkg.sample"]\nlibrary = ["m"]',
            '[tool.autoaccel.modules."pkg.sample"]: unknown key `library`. Did you mean `libraries`?',
        ),
        (
            '[tool.autoaccel.modules."pkg.sample"]\ndefine-macros = [3]',
            '[tool.autoaccel.modules."pkg.sample"]: a macro is "NAME", "NAME=value" or ["NAME", "value"], not 3',
        ),
        (
            '[[tool.setuptools.ext-modules]]\nname = "pkg.sample"\nlibary-dirs = []',
            "[[tool.setuptools.ext-modules]] pkg.sample: unknown key `libary-dirs`. Did you mean `library-dirs`?",
        ),
        (
            '[[tool.setuptools.ext-modules]]\nname = "pkg.sample"\nsource = ["pkg/sample.c"]',
            "[[tool.setuptools.ext-modules]] pkg.sample: unknown key `source`. Did you mean `sources`?",
        ),
        (
            '[tool.autoaccel]\noptimize = "banana"',
            '[tool.autoaccel]: `optimize` must be what follows -O: 0, 1, 2, 3, "s" or "fast", not \'banana\'',
        ),
        (
            '[tool.autoaccel.modules."pkg.sample"]\nlanguage = "c#"',
            '[tool.autoaccel.modules."pkg.sample"]: `language` must be "c" or "c++", not \'c#\'',
        ),
        (
            "[tool.autoaccel.cython]\nlanguage-level = 5",
            '[tool.autoaccel.cython]: `language-level` must be 2, 3 or "3str", not 5',
        ),
        (
            "[tool.autoaccel.cython.directives]\nboundscheck = 5",
            "[tool.autoaccel.cython]: `directives`: `boundscheck` must be true, false or a string, not 5",
        ),
    ],
)
def test_a_mistake_is_named(project: Project, toml: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(project, toml)
    assert str(raised.value) == f"{project.root}/pyproject.toml: {told}"


@pytest.mark.parametrize(
    "toml",
    [
        "[tool.autoaccel]\nmodules = 5",
        "[tool.autoaccel.modules]\n'pkg.sample' = 5",
        "[tool.autoaccel.cython]\ndirectives = 5",
        "[tool.autoaccel.cython]\ncompile-time-env = 5",
        "[tool.autoaccel.cython]\ncompile-time-env = { NAME = [1] }",
        "[tool.setuptools]\next-modules = 5",
        "[tool.autoaccel]\ninclude = 'pkg'",
        "[tool.autoaccel]\nexclude = 'pkg'",
        "[tool.autoaccel]\npure-python = 5",
        "[tool.autoaccel]\ndebug = 'yes'",
        "[tool.autoaccel]\noptimize = ['3']",
    ],
)
def test_a_value_of_the_wrong_type_is_refused(project: Project, toml: str) -> None:
    with pytest.raises(ConfigError, match=r"pyproject\.toml: .* must be "):
        load(project, toml)
    # Whatever it says, it must not break imports that it has nothing to do with.
    project.write("plain.py", "")
    assert project.ok("import autoaccel, plain, colorsys; print('fine')") == "fine"


def test_a_declared_module_without_its_sources_is_told_at_its_import(project: Project) -> None:
    project.write("pkg/__init__.py", "")
    project.c("csrc/mean.c")
    project.write("pyproject.toml", "[[tool.setuptools.ext-modules]]\nname = 'pkg.mean'\nsource = ['csrc/mean.c']\n")
    ended = project.run("import autoaccel, pkg.mean")
    assert ended.last == (
        f"autoaccel.errors.ConfigError: {project.root}/pyproject.toml: [[tool.setuptools.ext-modules]] pkg.mean: "
        "unknown key `source`. Did you mean `sources`?"
    )


def test_all_mistakes_of_a_project(project: Project) -> None:
    path = project.write(
        "pyproject.toml",
        """
        [tool.autoaccel.modules."pkg.sampel"]
        libraries = ["m"]
        [tool.autoaccel.modules."pkg.sample"]
        library = ["m"]
        [[tool.setuptools.ext-modules]]
        sources = ["x.c"]
        [[tool.setuptools.ext-modules]]
        name = "other"
        source = ["x.c"]
        [[tool.setuptools.ext-modules]]
        name = "gone"
        sources = ["csrc/*.c"]
        """,
    )
    assert settings.mistakes(str(path), ["pkg.sample"]) == [
        f"{path}: [[tool.setuptools.ext-modules]]: a table without `name` is no module",
        f"{path}: [[tool.setuptools.ext-modules]] gone: none of its `sources` exists",
        f"{path}: [[tool.setuptools.ext-modules]] other: unknown key `source`. Did you mean `sources`?",
        f'{path}: [tool.autoaccel.modules."pkg.sample"]: unknown key `library`. Did you mean `libraries`?',
        f'{path}: [tool.autoaccel.modules."pkg.sampel"]: the project has no native module of this name; did you mean `pkg.sample`?',
    ]
    project.write(
        "pyproject.toml", "[tool.autoaccel.modules]\n'sample'.libraries = []\n'a.pkg.sample'.libraries = []\n"
    )
    assert settings.mistakes(str(path), ["pkg.sample"]) == []
    project.write("pyproject.toml", "[")
    assert "pyproject.toml: " in settings.mistakes(str(path))[0]


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("cython.directives = { cdivison = true }", "[tool.autoaccel.cython]: `directives`: `cdivison`: "),
        ("cython.directives = { cdivision = 'maybe' }", "[tool.autoaccel.cython]: `directives`: `cdivision`: "),
        ("cflags = ['-DX', '-fbanana']", "[tool.autoaccel]: `cflags`: `-fbanana`: "),
        ("ldflags = ['-lbanana']", "[tool.autoaccel]: `ldflags`: `-lbanana`: "),
    ],
)
def test_a_value_that_a_tool_refuses_is_named(project: Project, toml: str, told: str) -> None:
    need("cc", "Cython")
    if "cython" in toml:
        project.write("sample.pyx", "x = 1\n")
    else:
        project.c("sample.c")
    project.write("pyproject.toml", f"[tool.autoaccel]\n{toml}\n")
    assert project.run("import autoaccel, sample").last.startswith(
        f"autoaccel.errors.ConfigError: {project.root}/pyproject.toml: {told}"
    )


def test_paths_are_looked_for_in_the_project_then_beside_the_source(project: Project) -> None:
    project.write("a.c", "")
    project.write("pkg/a.c", "")
    project.write("pkg/b.c", "")
    (project.root / "pkg" / "include").mkdir()
    table = {"sources": ["a.c", "b.c", "nowhere.c", "/abs/../x.c"], "include-dirs": ["include"]}
    root = str(project.root)
    told = settings.options_from(table, (root, f"{root}/pkg"), "here")
    assert told.sources == (f"{root}/a.c", f"{root}/pkg/b.c", f"{root}/nowhere.c", "/x.c")
    assert told.include_dirs == (f"{root}/pkg/include",)


def test_patterns_among_sources(project: Project) -> None:
    project.write("src/b.c", "")
    project.write("src/a.c", "")
    root = str(project.root)
    told = settings.options_from({"sources": ["src/*.c"]}, (root,), "here")
    assert told.sources == (f"{root}/src/a.c", f"{root}/src/b.c")


def test_a_new_file_that_matches_a_pattern_is_compiled_in(project: Project) -> None:
    need("cc")
    project.write("src/one.c", "int one(void) { return 1; }\n")
    before = "__attribute__((weak)) int two(void); int one(void);"
    text = c_module("sample", "one() + (two ? two() : 0)", before=before)
    project.write("sample.c", "// distutils: sources = src/*.c\n" + text)
    code = "import autoaccel, sample; print(sample.value())"
    assert project.ok(code) == "1"
    project.write("src/two.c", "int two(void) { return 20; }\n")
    assert project.ok(code) == "21"
    (project.root / "src/two.c").unlink()
    assert project.ok(code) == "1"


def test_a_file_that_appears_where_it_is_looked_for_first(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", "")
    project.write("pkg/number.c", "int number(void) { return 1; }\n")
    project.write(
        "pkg/sample.c",
        "// distutils: sources = number.c\n" + c_module("sample", "number()", before="int number(void);"),
    )
    code = "import autoaccel, pkg.sample; print(pkg.sample.value())"
    assert project.ok(code) == "1"
    project.write("number.c", "int number(void) { return 2; }\n")
    assert project.ok(code) == "2"


def test_options_are_merged() -> None:
    one = Options(sources=("a",), extra_compile_args=("-O2", "-O2"), language="c")
    two = Options(sources=("b", "a"), extra_compile_args=("-O3",), language=None)
    assert one.plus(two) == Options(sources=("a", "b"), extra_compile_args=("-O2", "-O2", "-O3"), language="c")
    assert two.plus(one).language == "c"
    assert Options().plus(one) == one.plus(Options())


def test_numbers_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOACCEL_JOBS", "3")
    assert settings.jobs() == 3
    for told, wrong in (("many", "a number"), ("0", "1 or more"), ("nan", "1 or more"), ("inf", "1 or more")):
        monkeypatch.setenv("AUTOACCEL_JOBS", told)
        with pytest.raises(ConfigError, match=rf"^\$AUTOACCEL_JOBS must be {wrong}, not '{told}'$"):
            settings.jobs()
    monkeypatch.delenv("AUTOACCEL_JOBS")
    assert settings.jobs() >= 1
    assert settings.lock_timeout() == 600.0


def test_the_folder_of_a_setup_py_is_the_root(project: Project) -> None:
    project.write("setup.py", "")
    project.write("pkg/__init__.py", "")
    (project.root / ".git").mkdir()
    source = Source("pkg.sample", str(project.root / "pkg" / "sample.c"), "c")
    assert Path(settings.load(source).root) == project.root
