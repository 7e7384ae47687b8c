"""``pytest --autoaccel``: the hook for a test session, which ends at once where a source does not build."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.conftest import Project, c_module, need


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


def session(project: Project, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project, with the plugin as its entry point would load it."""
    project.write("pytest.ini", "[pytest]\naddopts = -p no:cacheprovider\n" + env.pop("INI", ""))
    # Where autoaccel is installed, pytest has it from there, and would not take it twice.
    installed = any(one.value == "pytest_autoaccel" for one in entry_points(group="pytest11"))
    command = [sys.executable, "-m", "pytest", *([] if installed else ["-p", "pytest_autoaccel"]), *words]
    return subprocess.run(
        command, cwd=project.root, env=project.environ(**env), capture_output=True, text=True, timeout=200
    )


TEST = "def test_value():\n    import sample\n    assert sample.value() == 5\n"


def test_who_does_not_ask_does_not_get_it(project: Project) -> None:
    project.c("sample.c", 5)
    project.write("test_it.py", "import sys\ndef test_it(): assert 'autoaccel' not in sys.modules\n")
    assert session(project).returncode == 0
    assert session(project, "--no-autoaccel", INI="autoaccel = true\n").returncode == 0
    assert not project.cache.exists()


def test_imported_before_pytest_where_warnings_are_errors(project: Project) -> None:
    """pytest rewrites the asserts of its plugins, all packages of their distribution, and warns where it comes late."""
    project.c("sample.c", 5)
    project.write("test_it.py", TEST)
    project.write("conftest.py", "import pytest\npytest.register_assert_rewrite('autoaccel')\n")
    words = ["-p", "no:cacheprovider", "-W", "error"]
    done = project.run(f"import sys, autoaccel, pytest; sys.exit(pytest.main({words}))")
    assert done.status == 0, done.out + done.err
    assert "1 passed" in done.out


@pytest.mark.parametrize(("words", "ini"), [(["--autoaccel"], ""), ([], "autoaccel = true\n")])
def test_everything_is_built_before_the_first_test(project: Project, words: list[str], ini: str) -> None:
    project.c("sample.c", 5)
    project.c("other.c", 6)
    project.write("test_it.py", TEST)
    done = session(project, *words, INI=ini)
    assert done.returncode == 0, done.stdout
    assert "autoaccel: 2 native modules, 2 of them compiled now" in done.stdout
    assert len(project.artifacts()) == 2
    assert "2 native modules, 0 of them compiled now" in session(project, *words, INI=ini).stdout


def test_only_some_paths(project: Project) -> None:
    project.c("src/sample.c", 5)
    project.c("other.c", 6)
    project.write("test_it.py", TEST)
    done = session(project, "--autoaccel", INI="pythonpath = src\nautoaccel_paths = src\n")
    assert done.returncode == 0, done.stdout
    assert "autoaccel: 1 native modules, 1 of them compiled now" in done.stdout


def test_a_failed_build_fails_the_session_with_the_compilers_text(project: Project) -> None:
    source = project.c("sample.c", 5)
    project.write("test_it.py", TEST)
    assert session(project, "--autoaccel").returncode == 0
    source.write_text(c_module("sample", "nowhere"))
    for words in ([], ["-n", "2"]):
        done = session(project, "--autoaccel", *words)
        assert done.returncode == 1
        said = done.stdout + done.stderr
        assert "the native module could not be built" in said
        assert "nowhere" in said
        assert "sample.c:" in said
        assert "passed" not in said


def test_workers_find_one_build(project: Project) -> None:
    compiler = project.compiler()
    project.c("sample.c", 5)
    for number in range(4):
        project.write(f"test_{number}.py", TEST)
    done = session(project, "--autoaccel", "-n", "3")
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    assert compiler.compiles == 1


def test_a_path_that_does_not_exist(project: Project) -> None:
    project.write("test_it.py", TEST)
    done = session(project, "--autoaccel", INI="autoaccel_paths = nowhere\n")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "nowhere does not exist" in done.stderr
