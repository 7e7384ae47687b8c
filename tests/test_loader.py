"""From a spec to a module: CPython's own loading, reload, modes, modules that fail in their init."""

from __future__ import annotations

import shutil
import time

import pytest

from tests.conftest import Project, c_module, need


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


class TestReload:
    """``importlib.reload`` runs ``exec_module`` only: a build may be needed in there."""

    @pytest.mark.core
    def test_a_changed_source_gives_new_functions_in_the_same_module(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sys, sample
            old = sample.value
            sample.mine = "kept"
            pathlib.Path("sample.c").write_text({c_module("sample", 2)!r})
            again = importlib.reload(sample)
            print(again is sample, sys.modules["sample"] is sample, sample.value(), old(), sample.mine)
            print(sample.__cached__ == sample.__spec__.cached == sample.__loader__.path, sample.__file__)
            """
        ).splitlines()
        assert out == ["True True 2 1 kept", f"True {project.root}/sample.c"]
        assert len(project.artifacts()) == 2

    def test_an_unchanged_source_is_left_alone(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 1)
        out = project.ok(
            "import autoaccel, importlib, os, sample; old = sample.value; importlib.reload(sample); "
            "os.utime('sample.c'); print(importlib.reload(sample) is sample, sample.value is old)"
        )
        assert out == "True True"
        assert compiler.compiles == 1

    def test_a_failed_build_leaves_the_old_code(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sys, sample
            pathlib.Path("sample.c").write_text({c_module("sample", "2 +")!r})
            try:
                importlib.reload(sample)
            except autoaccel.BuildError as error:
                print(error.name, error.path == sample.__file__, len(error.diagnostics) > 0)
            print(sys.modules["sample"] is sample, sample.value())
            pathlib.Path("sample.c").write_text({c_module("sample", 3)!r})
            importlib.reload(sample)
            print(sample.value())
            """
        ).splitlines()
        assert out == ["sample True True", "True 1", "3"]

    def test_twenty_reloads(self, project: Project) -> None:
        project.c("sample.c", -1)
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sample
            for number in range(20):
                pathlib.Path("sample.c").write_text({c_module("sample", 4711)!r}.replace("4711", str(number)))
                assert importlib.reload(sample).value() == number, number
            print(sample.value())
            """
        )
        assert out == "19"

    def test_reload_of_a_single_phase_module(self, project: Project) -> None:
        project.c("sample.c", 1, single=True)
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sys, sample
            spec = sample.__spec__
            pathlib.Path("sample.c").write_text({c_module("sample", 2, single=True)!r})
            print(importlib.reload(sample) is sample, sys.modules["sample"] is sample, sample.value())
            print(sample.__file__, importlib.reload(sample) is sample, sample.value())
            """
        ).splitlines()
        assert out == ["True True 2", f"{project.root}/sample.c True 2"]

    def test_going_back_to_an_older_content(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 1)
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sample
            first, second = pathlib.Path("sample.c").read_text(), {c_module("sample", 2)!r}
            for text in (second, first, second, first):
                pathlib.Path("sample.c").write_text(text)
                print(importlib.reload(sample).value(), end=" ")
            """
        )
        assert out == "2 1 2 1"
        assert compiler.compiles == 2

    def test_a_cython_module_with_state_and_classes(self, project: Project) -> None:
        need("Cython")
        text = "state = []\ncdef class Box:\n    cdef public int n\n    def __init__(self):\n        self.n = NUMBER\ndef f(): return Box().n\n"
        project.write("sample.pyx", text.replace("NUMBER", "1"))
        out = project.ok(
            f"""
            import autoaccel, importlib, pathlib, sample
            box = sample.Box()
            pathlib.Path("sample.pyx").write_text({text.replace("NUMBER", "2")!r})
            importlib.reload(sample)
            print(box.n, sample.Box().n, sample.f(), sample.f.__globals__ is sample.__dict__ or sample.f.__module__)
            """
        )
        assert out in ("1 2 2 True", "1 2 2 sample")


class TestInit:
    """The module's own code runs as CPython runs it."""

    @pytest.mark.core
    def test_single_phase_init(self, project: Project) -> None:
        project.c("sample.c", 9, single=True)
        out = project.ok(
            "import autoaccel, sys, sample; first = sample; del sys.modules['sample']; import sample; "
            "print(sample.value(), sample.__file__, sample.__cached__ == sample.__loader__.path, sample.__spec__.origin)"
        )
        assert out == f"9 {project.root}/sample.c True {project.root}/sample.c"

    @pytest.mark.core
    def test_an_error_in_the_init_is_the_users_own(self, project: Project) -> None:
        run = 'PyErr_SetString(PyExc_KeyError, "not today"); return -1'
        project.c("sample.c", 1, run=run)
        out = project.ok(
            """
            import autoaccel, sys
            for _ in range(2):
                try:
                    import sample
                except KeyError as error:
                    print(repr(error), "sample" in sys.modules)
            """
        )
        assert out == "KeyError('not today') False\nKeyError('not today') False"
        assert len(project.artifacts()) == 1

    def test_an_init_that_succeeds_at_the_second_try(self, project: Project) -> None:
        before = "static int tried = 0;"
        run = 'if (!tried++) { PyErr_SetString(PyExc_OSError, "first"); return -1; }'
        project.c("sample.c", 5, before=before, run=run)
        out = project.ok(
            "import autoaccel\ntry:\n    import sample\nexcept OSError as error:\n    print(error)\nimport sample\nprint(sample.value())"
        )
        assert out == "first\n5"

    def test_an_import_error_in_the_init_is_the_users_own(self, project: Project) -> None:
        run = 'PyErr_SetString(PyExc_ImportError, "install foo first"); return -1'
        project.c("sample.c", 1, run=run)
        assert project.run("import autoaccel, sample").last == "ImportError: install foo first"

    def test_an_import_error_in_single_phase_init_stays(self, project: Project) -> None:
        run = 'if (1) { PyErr_SetString(PyExc_ImportError, "install foo first"); return NULL; }'
        project.c("sample.c", 1, run=run, single=True)
        assert project.run("import autoaccel, sample").last == "ImportError: install foo first"

    def test_a_missing_import_inside_a_cython_module_is_told_as_such(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "import not_there_at_all\n")
        run = project.run("import autoaccel, sample")
        assert run.last == "ModuleNotFoundError: No module named 'not_there_at_all'"
        assert f'File "{project.root}/sample.pyx", line 1, in init sample' in run.err or "sample.pyx" in run.err

    def test_a_library_that_lacks_a_symbol(self, project: Project) -> None:
        path = project.c("sample.c", "missing_one()", before="extern int missing_one(void);")
        run = project.run("import autoaccel, sample")
        (artifact,) = project.artifacts()
        assert (
            f"autoaccel.errors.LoadError: sample: the library built from {path} can't be loaded: {artifact}: "
            "undefined symbol: missing_one\n"
            "`missing_one` is declared and used, and no compiled source or library has it. Name the source or the library "
            "(`libraries = …`). Write `# distutils: sources = …` (`//` in C) into the first lines of the source, "
            'or the same under `[tool.autoaccel.modules."sample"]` in pyproject.toml.'
        ) in run.err


class TestModes:
    """``AUTOACCEL`` and ``install(mode=…)``."""

    CODE = "import autoaccel, sample; print(sample.value())"

    @pytest.mark.parametrize("word", ["off", "0"])
    def test_off_is_as_if_the_hook_were_not_there(self, project: Project, word: str) -> None:
        project.c("sample.c")
        out = project.ok(
            "import autoaccel, sys; print([f for f in sys.meta_path if 'autoaccel' in repr(f)])", AUTOACCEL=word
        )
        assert out == "[]"
        assert project.run(self.CODE, AUTOACCEL=word).last == "ModuleNotFoundError: No module named 'sample'"

    def test_an_unknown_word_is_refused(self, project: Project) -> None:
        assert project.run("import autoaccel", AUTOACCEL="of").last == (
            "autoaccel.errors.ConfigError: $AUTOACCEL is 'of': known are on, off, build, load and check"
        )

    @pytest.mark.core
    def test_load_never_compiles(self, project: Project) -> None:
        compiler = project.compiler()
        path = project.c("sample.c", 1)
        run = project.run(self.CODE, AUTOACCEL="load")
        assert run.last == (
            f"autoaccel.errors.LoadError: sample: AUTOACCEL=load forbids to compile {path}, and the cache has no build of "
            f"it that holds (never built here). Build it first: "
            f"`autoaccel build --root {project.root} {path}`."
        )
        assert not compiler.log.exists()
        assert project.ok(self.CODE) == "1"
        assert project.ok(self.CODE, AUTOACCEL="load") == "1"
        project.c("sample.c", 2)
        run = project.run(self.CODE, AUTOACCEL="load")
        assert f"LoadError: sample: AUTOACCEL=load forbids to compile {path}, and the cache has no build" in run.last
        assert compiler.compiles == 1

    def test_load_mode_takes_what_has_the_same_content(self, project: Project) -> None:
        compiler = project.compiler()
        path = project.c("sample.c", 1)
        assert project.ok(self.CODE) == "1"
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        assert project.ok(self.CODE, AUTOACCEL="load") == "1"
        assert compiler.compiles == 1

    def test_load_mode_takes_what_a_pattern_names_as_before(self, project: Project) -> None:
        compiler = project.compiler()
        project.write(
            "sample.c", "// distutils: sources = lib/*.c\n" + c_module("sample", "one()", before="int one(void);")
        )
        project.write("lib/one.c", "int one(void) { return 1; }\n")
        assert project.ok(self.CODE) == "1"
        # As a checkout or an image's layer has it: the same files, in another folder.
        (project.root / "lib").rename(project.root / "old")
        shutil.copytree(project.root / "old", project.root / "lib")
        (project.root / "lib" / "__pycache__").mkdir()
        time.sleep(0.1)  # what is younger may have changed, too
        assert project.ok(self.CODE, AUTOACCEL="load") == "1"
        assert compiler.compiles == 2
        two = project.write("lib/two.c", "int two;\n")
        assert "lib has changed" in project.run(self.CODE, AUTOACCEL="load").last
        assert project.ok(self.CODE) == "1"
        assert compiler.compiles == 5
        two.unlink()
        assert project.run(self.CODE, AUTOACCEL="load").status == 1
        assert project.ok(self.CODE) == "1"
        assert project.ok(self.CODE, AUTOACCEL="load") == "1"
        assert compiler.compiles == 5

    def test_load_mode_refuses_a_damaged_library(self, project: Project) -> None:
        project.c("sample.c", 1)
        assert project.ok(self.CODE) == "1"
        (artifact,) = project.artifacts()
        artifact.chmod(0o700)
        artifact.write_bytes(artifact.read_bytes()[:1000])
        run = project.run(self.CODE, AUTOACCEL="load")
        assert run.last.startswith("autoaccel.errors.LoadError: sample: AUTOACCEL=load forbids to compile")

    def test_check_compares_contents(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 1)
        assert project.ok(self.CODE, AUTOACCEL="check") == "1"
        assert project.ok(self.CODE, AUTOACCEL="check") == "1"
        project.c("sample.c", 2)
        assert project.ok(self.CODE, AUTOACCEL="check") == "2"
        assert compiler.compiles == 2

    def test_the_argument_comes_before_the_environment(self, project: Project) -> None:
        project.c("sample.c", 1)
        run = project.run("import autoaccel; autoaccel.install(mode='load'); import sample", AUTOACCEL="build")
        assert "LoadError" in run.last


@pytest.mark.parametrize("stem", ["signal", "tempfile", "queue", "hashlib", "shlex"])
def test_a_source_named_like_a_module_that_the_build_needs(project: Project, stem: str) -> None:
    project.c(f"{stem}.c", 5)
    project.c("sample.c", 6)
    code = "import sys; sys.modules.pop(STEM, None); import autoaccel, sample; print(sample.value())"
    assert project.ok(code.replace("STEM", repr(stem))) == "6"


def test_a_users_source_of_such_a_name_is_still_theirs(project: Project) -> None:
    project.c("shlex.c", 5)
    assert project.ok("import autoaccel, shlex; print(shlex.value())") == "5"


def test_a_warm_import_after_a_build_loads_the_same_artifact(project: Project) -> None:
    compiler = project.compiler()
    project.c("sample.c", 3)
    code = "import autoaccel, sample; print(sample.value(), sample.__cached__)"
    first = project.ok(code)
    assert [project.ok(code) for _ in range(2)] == [first, first]
    assert compiler.compiles == 1


def test_a_traceback_has_at_most_two_of_our_frames(project: Project) -> None:
    project.c("sample.c", "nonsense here")
    run = project.run("import autoaccel, sample")
    assert sum("File" in line and "/autoaccel/" in line for line in run.err.splitlines()) <= 2
    assert "During handling" not in run.err
    assert "direct cause" not in run.err
