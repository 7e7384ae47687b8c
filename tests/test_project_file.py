"""A pyproject.toml is edited all the time: a module is compiled again by what it says of it, and by nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from autoaccel import manifest, pipeline, settings, store
from autoaccel.errors import BuildError
from autoaccel.sources import Source
from tests.conftest import CountingCompiler, Project, c_module, need
from tests.rust import builds, cargo_log, crate, raw
from tests.rust import manifest as cargo_toml

pytestmark = pytest.mark.timeout(600)

#: Prints a module's value, whether a cold room was entered, and what was started.
LOOK = """
import sys
started = []
watched = ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system")
sys.addaudithook(lambda event, _: started.append(event) if event in watched else None)
import autoaccel, sample
value = sample.value
print(value() if callable(value) else value, "autoaccel.pipeline" in sys.modules, *started)
"""

BASE = """
[build-system]
requires = ["setuptools"]

[project]
name = "sample"
version = "1.0"
dependencies = ["numpy"]

[tool.autoaccel]
optimize = 1

[tool.autoaccel.modules.other]
libraries = ["m"]

[tool.maturin]
features = []
"""

#: What people change most often, and what is said of other modules.
UNRELATED = {
    "a version": BASE.replace("1.0", "1.1"),
    "a dependency": BASE.replace('"numpy"', '"numpy>=2", "rich"'),
    "a linter's table": BASE + "[tool.ruff]\nline-length = 120\nwhen = 2024-01-01\n",
    "a comment": "# words\n" + BASE,
    "another order": BASE[BASE.index("[project]") :] + BASE[: BASE.index("[project]")],
    "the build's requirements": BASE.replace('"setuptools"', '"setuptools>=70", "cython"'),
    "which modules there are": BASE.replace("optimize", "exclude = ['legacy.*']\noptimize"),
    "another module's options": BASE.replace('"m"', '"m", "z"'),
    "another extension module": BASE + '[[tool.setuptools.ext-modules]]\nname = "other"\nsources = ["o.c"]\n',
    "another crate": BASE + '[[tool.setuptools-rust.ext-modules]]\ntarget = "other"\nfeatures = ["x"]\n',
    "what goes into the wheel": BASE + 'include = ["LICENSE"]\nstrip = true\n',
}


def write(project: Project, text: str) -> None:
    project.write("pyproject.toml", text)
    # What is younger when it is read is read again the next time.
    time.sleep(0.1)


def look(project: Project, **env: str) -> str:
    return project.ok(LOOK, **env)


def coming(project: Project, **env: str) -> dict[str, object]:
    """What ``autoaccel explain`` tells of the next import."""
    done = project.run("from autoaccel.cli import main; main(['explain', 'sample', '--json'])", **env)
    told: dict[str, object] = json.loads(done.out)
    return told


def next_of(project: Project, **env: str) -> object:
    told = coming(project, **env)["next"]
    assert isinstance(told, dict)
    return told["does"]


@pytest.fixture
def compiler(project: Project) -> CountingCompiler:
    return project.compiler()


def settle(project: Project, value: int) -> None:
    """Build, and import again until nothing is too young to be trusted."""
    write(project, BASE)
    assert look(project).startswith(f"{value} True")
    time.sleep(0.1)
    look(project)
    assert look(project) == f"{value} False"


def nothing_is_compiled(project: Project, value: int) -> None:
    """After each unrelated edit: a look without any process, and then as warm as before."""
    for what, text in UNRELATED.items():
        write(project, text)
        assert (what, next_of(project)) == (what, "look up")
        assert (what, look(project)) == (what, f"{value} True")
        assert (what, look(project)) == (what, f"{value} False")
        assert (what, next_of(project)) == (what, "load")
        # A machine that may not compile needs nothing new either.
        write(project, BASE)
        assert (what, look(project, AUTOACCEL="load")) == (what, f"{value} True")
        assert (what, look(project)) == (what, f"{value} False")


class TestAnEditOfWhatNoBuildReads:
    """No compiler is started, nor anything else; the process after the next one is warm."""

    def test_of_a_c_module(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", 7)
        settle(project, 7)
        nothing_is_compiled(project, 7)
        assert compiler.compiles == 1
        assert len(project.artifacts()) == 1

    def test_of_a_cython_module(self, project: Project, compiler: CountingCompiler) -> None:
        need("Cython")
        project.write("sample.pyx", "def value(): return 7\n")
        settle(project, 7)
        compiled = compiler.compiles
        nothing_is_compiled(project, 7)
        assert compiler.compiles == compiled

    def test_of_a_crate(self, project: Project) -> None:
        log = cargo_log(project)
        crate(project, "sample", 7)
        settle(project, 7)
        nothing_is_compiled(project, 7)
        assert builds(log) == 1

    def test_of_a_single_rust_file(self, project: Project) -> None:
        log = cargo_log(project)
        project.write("sample.rs", raw("sample", 7))
        settle(project, 7)
        write(project, UNRELATED["a version"])
        assert look(project) == "7 True"
        assert look(project) == "7 False"
        assert builds(log) == 1

    def test_in_the_mode_that_compares_contents(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", 7)
        settle(project, 7)
        for text in UNRELATED.values():
            write(project, text)
            assert look(project, AUTOACCEL="check").startswith("7 True")
        assert compiler.compiles == 1

    def test_a_failure_stays_remembered(self, project: Project, compiler: CountingCompiler) -> None:
        project.c("sample.c", "nothing_of_the_name")
        for text in (BASE, *UNRELATED.values()):
            write(project, text)
            assert "nothing_of_the_name" in project.run("import autoaccel, sample").err
        assert compiler.compiles == 1

    def test_of_all_modules_at_once(self, project: Project, compiler: CountingCompiler) -> None:
        names = [f"m{number}" for number in range(5)]
        for name in names:
            project.c(f"{name}.c", 1)
        code = f"import autoaccel, sys, {', '.join(names)}; print('autoaccel.pipeline' in sys.modules)"
        write(project, BASE)
        for _ in range(2):
            project.ok(code)
        write(project, UNRELATED["a version"])
        assert [project.ok(code) for _ in range(2)] == ["True", "False"]
        assert compiler.compiles == 5


#: Edits that a C module is made from.
RELATED = {
    "a flag": BASE.replace("optimize = 1", "optimize = 1\ncflags = ['-DX']"),
    "the optimisation": BASE.replace("optimize = 1", "optimize = 2"),
    "its own options": BASE.replace("modules.other", "modules.sample"),
    "its own extension module": BASE
    + '[[tool.setuptools.ext-modules]]\nname = "sample"\nsources = ["sample.c"]\ndefine-macros = ["X"]\n',
    "directives": BASE + "[tool.autoaccel.cython]\ndirectives = { boundscheck = false }\n",
}


class TestAnEditOfWhatABuildReads:
    """It is compiled, `explain` names the key that has changed, and the former text finds the former library."""

    @pytest.mark.parametrize("what", RELATED)
    def test_of_a_c_module(self, project: Project, compiler: CountingCompiler, what: str) -> None:
        project.c("sample.c", 7)
        settle(project, 7)
        write(project, RELATED[what])
        told = coming(project)
        assert told["next"] == {
            "does": "build", "why": "the cache has no build of these contents", "artifact": None,
        }  # fmt: skip
        changes = told["changes"]
        assert isinstance(changes, list)
        inputs = [one["what"] for one in changes if one["kind"] == "input"]
        assert inputs
        assert all(one.startswith(f"{project.root}/pyproject.toml: tool.") for one in inputs)
        assert "fails" not in str(told)
        assert next_of(project, AUTOACCEL="load") == "fail"
        assert "AUTOACCEL=load forbids" in project.run(LOOK, AUTOACCEL="load").last
        assert look(project).startswith("7 True")
        assert compiler.compiles == 2
        write(project, BASE)
        assert look(project).startswith("7 True")
        assert compiler.compiles == 2

    def test_of_one_module_leaves_the_others(self, project: Project, compiler: CountingCompiler) -> None:
        for name in ("sample", "other"):
            project.c(f"{name}.c", "NUMBER", before="#ifndef NUMBER\n#define NUMBER 0\n#endif")
        code = "import autoaccel, sample, other; print(sample.value(), other.value())"
        write(project, BASE)
        assert project.ok(code) == "0 0"
        write(project, BASE.replace('libraries = ["m"]', 'define-macros = ["NUMBER=1"]'))
        assert project.ok(code) == "0 1"
        assert compiler.compiles == 3

    def test_of_a_cython_module(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "def value(): return -7 // 2\n")
        write(project, BASE)
        assert look(project).startswith("-4 ")
        project.write("sample.pyx", "def value(int x=-7): return x // 2\n")
        assert look(project).startswith("-4 ")
        write(project, BASE + "[tool.autoaccel.cython]\ndirectives = { cdivision = true }\n")
        assert look(project).startswith("-3 ")

    def test_of_a_crate_by_maturin_s_words(self, project: Project) -> None:
        log = cargo_log(project)
        project.write("Cargo.toml", cargo_toml("sample", "[features]\nmore = []\n"))
        project.write("src/lib.rs", raw("sample", 'if cfg!(feature = "more") { 8 } else { 7 }'))
        write(project, BASE)
        assert look(project).startswith("7 True")
        write(project, BASE.replace("features = []", 'features = ["more"]'))
        told = coming(project)
        assert told["changes"] == [
            {
                "kind": "input",
                "what": f"{project.root}/pyproject.toml: tool.maturin.features",
                "before": "[]",
                "after": '["more"]',
            }
        ]
        assert look(project).startswith("8 True")
        assert builds(log) == 2

    def test_of_a_crate_by_setuptools_rust_s_words(self, project: Project) -> None:
        log = cargo_log(project)
        project.write("Cargo.toml", cargo_toml("sample", "[features]\nmore = []\n"))
        project.write("src/lib.rs", raw("sample", 'if cfg!(feature = "more") { 8 } else { 7 }'))
        table = '[[tool.setuptools-rust.ext-modules]]\npath = "Cargo.toml"\n'
        for target, features, value in (
            ('"sample"', "[]", 7),
            ('"sample"', '["more"]', 8),
            ('{ one = "sample" }', "[]", 7),
            ('{ one = "sample" }', '["more"]', 8),
        ):
            project.write("pyproject.toml", f"{table}target = {target}\nfeatures = {features}\n")
            assert look(project).startswith(f"{value} True")
        assert builds(log) == 4


class TestTheFileItselfIsRead:
    """By who is not us: then every byte of it counts."""

    def test_by_a_pyxbld(self, project: Project) -> None:
        need("Cython", "setuptools")
        project.write("sample.pyx", "cdef extern from *:\n    int NUMBER\ndef value(): return NUMBER\n")
        project.write(
            "sample.pyxbld",
            """
            import os, tomllib
            from setuptools import Extension

            def make_ext(modname, pyxfilename):
                with open(os.path.join(os.path.dirname(pyxfilename), "pyproject.toml"), "rb") as file:
                    number = tomllib.load(file)["project"]["version"].partition(".")[0]
                return Extension(modname, sources=[pyxfilename], define_macros=[("NUMBER", number)])
            """,
        )
        for number in (1, 2, 1):
            write(project, BASE.replace("1.0", f"{number}.0"))
            assert look(project).startswith(f"{number} True")

    @pytest.mark.parametrize("how", ["include_str", "build script"])
    def test_by_a_crate(self, project: Project, how: str) -> None:
        need("cargo")
        crate(project, "sample", 7)
        if how == "include_str":
            value = 'include_str!("../../pyproject.toml").len()'
        else:
            value = 'include_str!(concat!(env!("OUT_DIR"), "/length")).len()'
            project.write(
                "sample/build.rs",
                """
                fn main() {
                    println!("cargo:rerun-if-changed=../pyproject.toml");
                    let text = std::fs::read("../pyproject.toml").unwrap();
                    std::fs::write(std::env::var("OUT_DIR").unwrap() + "/length", text).unwrap();
                }
                """,
            )
        project.write("sample/src/lib.rs", raw("sample", value))
        for text in (BASE, BASE + "# words\n", BASE):
            write(project, text)
            length = len((project.root / "pyproject.toml").read_bytes())
            assert look(project).startswith(f"{length} True")
        assert look(project).startswith(f"{length} ")


class TestAnEditInBetween:
    """The file changes while it is being read, or afterwards: no record says of the new text what the old one said."""

    FLAGS = "[tool.autoaccel]\ncflags = ['-DNUMBER={}']\n"

    def test_while_the_compiler_runs(self, project: Project) -> None:
        path = project.root / "pyproject.toml"
        flag = project.root / "edited"
        compiler = project.compiler(
            f"case \"$*\" in *' -c '*) test -e {flag} || {{ sed -i s/NUMBER=1/NUMBER=2/ {path}; touch {flag}; }};; esac"
        )
        project.c("sample.c", "NUMBER")
        write(project, self.FLAGS.format(1))
        # The build is of what was read, as one that began a moment earlier would have been.
        assert look(project).startswith("1 ")
        assert path.read_text() == self.FLAGS.format(2)
        assert look(project).startswith("2 ")
        assert look(project) == "2 False"
        # And what was compiled in the meantime is of use.
        write(project, self.FLAGS.format(1))
        assert look(project).startswith("1 ")
        assert compiler.compiles == 2

    def test_after_it_was_read_for_a_look(self, project: Project) -> None:
        project.c("sample.c", "NUMBER")
        for number in (1, 2, 1):
            write(project, self.FLAGS.format(number))
            look(project)
        # Between the plan and the record, the file becomes another one.
        late = f"""
            import pathlib, time
            from autoaccel import keys
            real = keys.plan_key
            def plan_key(plan, contents):
                pathlib.Path('pyproject.toml').write_text({self.FLAGS.format(2)!r})
                time.sleep(0.2)
                return real(plan, contents)
            keys.plan_key = plan_key
            import autoaccel, sample
            print(sample.value())
        """
        project.write("pyproject.toml", self.FLAGS.format(1) + "# words\n")
        project.ok(late, AUTOACCEL="check")
        assert (project.root / "pyproject.toml").read_text() == self.FLAGS.format(2)
        assert look(project).startswith("2 ")

    def test_with_the_old_size_and_time_stamp(self, project: Project) -> None:
        import os

        project.c("sample.c", "NUMBER")
        for number in (1, 2, 3):
            write(project, self.FLAGS.format(number))
            os.utime(project.root / "pyproject.toml", (1_700_000_000, 1_700_000_000))
            assert look(project).startswith(f"{number} ")


class TestAnEditThatIsWrong:
    """What was refused is refused by the next import, though the module's own words are the same."""

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (BASE.replace("optimize", "optimise"), "unknown key `optimise`"),
            (BASE + "[project\n", "pyproject.toml"),
            (BASE.replace("optimize = 1", "exclude = 'x'"), "`exclude` must be a list"),
            ("[tool]\nautoaccel = 3\n", "must be a table"),
            ("[tool.autoaccel]\nmodules = 3\n", "`modules` must be a table"),
            ("[tool.setuptools]\next-modules = 3\n", "`ext-modules` must be a list"),
        ],
    )
    def test_and_then_mended(self, project: Project, compiler: CountingCompiler, text: str, told: str) -> None:
        project.c("sample.c", 7)
        settle(project, 7)
        write(project, text)
        last = project.run(LOOK).last
        assert "ConfigError" in last
        assert told in last
        assert next_of(project) == "fail"
        write(project, BASE)
        assert look(project) == "7 True"
        assert compiler.compiles == 1


def test_a_failure_names_the_project_s_file_among_what_may_mend_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cc")
    monkeypatch.setenv("AUTOACCEL_CACHE_DIR", str(project.cache))
    monkeypatch.setattr(store, "_opened", None)
    manifest.forget()
    path = project.write("sample.c", c_module("sample", "NUMBER"))
    write(project, BASE)
    # The second time it is remembered.
    for _ in range(2):
        with pytest.raises(BuildError) as caught:
            pipeline.obtain(Source("sample", str(path), "c"))
        assert {str(path), str(project.root / "pyproject.toml")} <= set(caught.value.inputs)


def test_what_counts_of_a_file_has_nothing_else_in_it(project: Project) -> None:
    path = str(project.root / "pyproject.toml")
    for text in UNRELATED.values():
        write(project, text)
        assert settings.taken(path, "sample") == {"tool": {"autoaccel": {"optimize": 1}, "maturin": {"features": []}}}
    write(project, '[project]\nname = "x"\n[tool.autoaccel]\n[tool.maturin]\n[tool.setuptools]\n')
    assert settings.taken(path, "sample") == {}
    assert Path(path).exists()
