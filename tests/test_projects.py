"""Modules that only a pyproject.toml tells of, and what it says to the finder."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Project, c_module, need


def declare(name: str, *sources: str) -> str:
    listed = ", ".join(repr(source) for source in sources)
    return f"[[tool.setuptools.ext-modules]]\nname = '{name}'\nsources = [{listed}]\n"


def test_an_extension_whose_source_is_elsewhere(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", declare("pkg.fast", "csrc/impl.c", "csrc/more.c"))
    project.write("pkg/__init__.py", "")
    project.write("csrc/impl.c", c_module("pkg.fast", "number()", before="int number(void);"))
    project.write("csrc/more.c", "int number(void) { return 4; }\n")
    code = "import autoaccel, pkg.fast; print(pkg.fast.value(), pkg.fast.__name__, pkg.fast.__file__)"
    assert [project.ok(code) for _ in range(2)] == [f"4 pkg.fast {project.root}/csrc/impl.c"] * 2


def test_from_a_src_folder_and_from_a_subfolder(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", declare("fast", "csrc/impl.c"))
    project.write("csrc/impl.c", c_module("fast", 4))
    (project.root / "src").mkdir()
    assert project.ok("import autoaccel, fast; print(fast.value())", cwd=project.root / "src") == "4"


def test_a_declaration_does_not_leak_into_a_sibling(project: Project) -> None:
    need("cc")
    project.write("proj/pyproject.toml", declare("pkg.fast", "csrc/impl.c"))
    project.write("proj/csrc/impl.c", c_module("fast", 1))
    project.write("proj2/pkg/__init__.py", "")
    project.write("proj2/pkg/fast.py", "def value(): return 'own'\n")
    out = project.ok(
        f"import sys; sys.path[:0] = ['{project.root}/proj2', '{project.root}/proj']; "
        "import autoaccel, pkg.fast; print(pkg.fast.value())"
    )
    assert out == "own"


def test_a_declared_source_that_is_gone(project: Project) -> None:
    project.write("pyproject.toml", declare("fast", "csrc/impl.pyx"))
    project.write("fast.py", "def value(): return 'python'\n")
    assert project.ok("import autoaccel, fast; print(fast.value())") == "python"


def test_a_declaration_that_changes(project: Project) -> None:
    need("cc")
    project.write("one.c", c_module("fast", 1))
    project.write("two.c", c_module("fast", 2))
    code = "import autoaccel, fast; print(fast.value())"
    for name, value in (("one", "1"), ("two", "2"), ("one", "1")):
        project.write("pyproject.toml", declare("fast", f"{name}.c"))
        assert project.ok(code) == value
    project.write("pyproject.toml", "")
    assert project.run(code).last == "ModuleNotFoundError: No module named 'fast'"


def test_find_spec_of_a_declared_module(project: Project) -> None:
    project.write("pyproject.toml", declare("fast", "csrc/impl.c"))
    path = project.write("csrc/impl.c", c_module("fast", 4))
    out = project.ok("import autoaccel, importlib.util as u; print(u.find_spec('fast').origin, u.find_spec('pkg'))")
    assert out == f"{path} None"


def test_python_files_that_are_compiled_when_asked_for(project: Project) -> None:
    need("Cython", "cc")
    project.write("pyproject.toml", "[tool.autoaccel]\npure-python = ['pkg.hot*']\n")
    project.write("pkg/__init__.py", "")
    project.write("pkg/hot.py", "import cython\ndef value():\n    return cython.compiled\n")
    project.write("pkg/cold.py", "import cython\ndef value():\n    return cython.compiled\n")
    out = project.ok("import autoaccel; from pkg import hot, cold; print(hot.value(), cold.value(), hot.__file__)")
    assert out == f"True False {project.root}/pkg/hot.py"


def test_names_that_are_excluded_and_included(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", "[tool.autoaccel]\nexclude = ['left']\ninclude = ['installed']\n")
    project.c("left.c", 1)
    project.c("site-packages/installed/fast.c", 2)
    project.write("site-packages/installed/__init__.py", "")
    project.c("site-packages/other.c", 3)
    out = project.ok(
        """
        import sys, autoaccel
        sys.path.append("site-packages")
        import installed.fast
        print(installed.fast.value())
        for name in "left", "other":
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                print(error)
        """
    ).splitlines()
    assert out == ["2", "No module named 'left'", "No module named 'other'"]


def test_a_damaged_record_is_made_again(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", declare("fast", "impl.c"))
    project.write("impl.c", c_module("fast", 4))
    code = "import autoaccel, fast; print(fast.value())"
    assert project.ok(code) == "4"
    for damage in (lambda _: b"", lambda _: b"garbage", lambda data: data[:-1], lambda _: bytes(100)):
        for record in project.cache.glob("v2/projects/*"):
            record.write_bytes(damage(record.read_bytes()))
        assert project.ok(code) == "4"


def test_no_toml_is_parsed_on_a_hit(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", declare("fast", "impl.c"))
    project.write("impl.c", c_module("fast", 4))
    code = (
        "import sys, autoaccel, fast; print(fast.value(), 'tomllib' in sys.modules, 'autoaccel.declare' in sys.modules)"
    )
    for _ in range(2):
        project.ok(code)
        time.sleep(0.1)  # what is younger is read once more
    assert project.ok(code) == "4 False False"


def test_a_pyproject_that_is_broken_does_not_break_other_imports(project: Project) -> None:
    project.write("pyproject.toml", "[tool.autoaccel\n")
    project.write("plain.py", "")
    assert project.ok("import autoaccel, plain, colorsys; print('fine')") == "fine"


def test_a_module_whose_finding_has_a_project_read_is_whole(project: Project) -> None:
    project.write("pyproject.toml", "[tool.autoaccel]\nexclude = ['x']\n")
    code = f"""
        import sys, autoaccel
        assert "json" not in sys.modules
        sys.path.insert(0, {str(project.root)!r})
        import json, json.decoder
        print(json.decoder is sys.modules["json.decoder"], json.loads("[1]"))
        """
    elsewhere = project.cache.parent / "elsewhere"
    elsewhere.mkdir()
    assert project.ok(code, cwd=elsewhere) == "True [1]"


def test_a_pyproject_that_is_broken_is_read_once(project: Project) -> None:
    project.write("pyproject.toml", "[tool.autoaccel\n")
    project.write("plain.py", "")
    time.sleep(0.1)  # what is younger is read once more
    project.ok("import autoaccel, plain, time; time.sleep(0.1)")
    code = "import sys, autoaccel, plain; print('autoaccel.settings' in sys.modules, 'tomllib' in sys.modules)"
    assert project.ok(code) == "False False"
    project.write("pyproject.toml", "[tool.autoaccel]\ninclude = ['x']\n")
    assert project.ok("import sys, autoaccel, plain; print('autoaccel.settings' in sys.modules)") == "True"


@pytest.mark.parametrize("work", ["import sample", "autoaccel.build('.')", "autoaccel.BuildError"])
def test_what_the_work_imports_is_not_the_users(project: Project, work: str) -> None:
    need("cc")
    project.write("pyproject.toml", "[tool.autoaccel]\n")
    project.c("sample.c", 3)
    for name in ("json", "tomllib", "re", "logging"):
        project.c(f"{name}.c", 4)
    assert project.ok(f"import autoaccel; {work}; import sample; print(sample.value())") == "3"


@pytest.mark.parametrize("where", ["pyproject.toml", "Cargo.toml"])
def test_declared_modules_after_the_caches_of_importlib_were_invalidated(project: Project, where: str) -> None:
    if where == "Cargo.toml":
        project.write("Cargo.toml", '[package]\nname = "fast"\nversion = "0.1.0"\n[lib]\ncrate-type = ["cdylib"]\n')
        project.write("src/lib.rs", "use pyo3::prelude::*;\n#[pymodule]\nfn fast(m: &Bound<'_, PyModule>) {}\n")
    else:
        project.write("pyproject.toml", declare("fast", "csrc/impl.c"))
        project.write("csrc/impl.c", c_module("fast", 4))
    code = """
        import autoaccel, importlib, importlib.util, os
        def found(): return importlib.util.find_spec("fast") is not None
        told = [found()]
        for _ in range(2):
            importlib.invalidate_caches()
            told.append(found())
        os.rename(WHERE, "elsewhere")
        importlib.invalidate_caches()
        print(*told, found())
    """.replace("WHERE", repr(where))
    # The second process has what the first one remembers.
    assert project.ok(code) == "True True True False"
    (project.root / "elsewhere").rename(project.root / where)
    assert project.ok(code) == "True True True False"


def test_a_source_that_a_pattern_finds_is_renamed(project: Project) -> None:
    need("cc")
    project.write("pyproject.toml", declare("fast", "src/*.c"))
    old = project.write("src/old.c", c_module("fast", 4))
    code = "import autoaccel, fast; print(fast.value(), fast.__file__)"
    assert project.ok(code) == f"4 {old}"
    new = old.rename(old.with_name("new.c"))
    assert [project.ok(code) for _ in range(2)] == [f"4 {new}"] * 2


@pytest.mark.parametrize("sources", ["src/*.c", "src/late.c", "src/**/late.c"])
@pytest.mark.parametrize("folder", [True, False])
def test_a_declared_source_that_appears_later(project: Project, sources: str, folder: bool) -> None:
    need("cc")
    project.write("pyproject.toml", declare("fast", sources))
    if folder:
        project.write("src/other.h", "")
    code = "import autoaccel, fast; print(fast.value())"
    assert [project.run(code).last for _ in range(2)] == ["ModuleNotFoundError: No module named 'fast'"] * 2
    project.write("src/late.c", c_module("fast", 4))
    assert project.ok(code) == "4"
