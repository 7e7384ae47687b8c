"""``autoaccel doctor``: what is here, what is missing, and how to get it."""

from __future__ import annotations

import sysconfig

import pytest

from tests.conftest import need

pytestmark = pytest.mark.core


def checks(ended):
    """The findings by name."""
    return {check["what"]: check for check in ended.json["checks"]}


def test_a_machine_that_can_compile(accel, project):
    need("cc", "c++")
    ended = accel("doctor", "--json")
    assert (ended.status, ended.err, ended.json["can_compile"]) == (0, "", True)
    found = checks(ended)
    assert found["C compiler"]["state"] == found["C++ compiler"]["state"] == found["Python.h"]["state"] == "ok"
    assert found["Python"]["tag"] in sysconfig.get_config_var("EXT_SUFFIX")
    assert found["cache"]["root"] == str(project.cache)
    assert found["cache"]["chosen_by"] == "$AUTOACCEL_CACHE_DIR"


def test_what_is_read_aloud_is_what_the_document_says(accel):
    need("cc")
    document, text = checks(accel("doctor", "--json")), accel("doctor").out
    for what, check in document.items():
        if what != "cache":
            assert what in text
            assert check["is"].splitlines()[0] in text


def test_a_machine_without_a_compiler(accel):
    ended = accel("doctor", PATH="", CC="", CXX="")
    assert ended.status == 1
    assert "! C compiler" in ended.out.replace("!  ", "! ")
    assert "apt-get install gcc g++" in ended.out
    assert "Nothing can be compiled here." in ended.out


def test_a_variable_that_names_no_compiler(accel):
    shown = accel("doctor", CC="no-such-compiler").out
    assert "C compiler      $CC, which is 'no-such-compiler', does not answer as one\n" in shown
    assert "Let $CC name a compiler that is installed, or unset it" in shown
    assert "apt-get" not in shown


def test_mistakes_in_the_project_s_settings(accel, project):
    path = project.write("pyproject.toml", "[tool.autoaccel]\nexlude = []\n")
    check = checks(accel("doctor", "--json"))["pyproject.toml"]
    assert (check["state"], check["is"]) == (
        "problem",
        f"{path}: [tool.autoaccel]: unknown key `exlude`. Did you mean `exclude`?",
    )
    project.write("pyproject.toml", "[")
    assert checks(accel("doctor", "--json"))["pyproject.toml"]["is"].startswith(f"{path}: ")


def test_packages_that_are_missing_come_with_the_command_that_gets_them(accel, project):
    ended = accel.python("-S", "-c", "import sys; sys.path.extend(sys.argv[1:]); sys.argv = ['autoaccel', 'doctor', '--json'];"
        "from autoaccel.cli import main; main()", *_only(project, "click", "rich", "filelock"))  # fmt: skip
    found = checks(ended)
    for package in ("Cython", "numpy", "pybind11", "nanobind"):
        assert found[package]["state"] == "optional"
        assert found[package]["get"] == f"Install it: `pip install {package.lower()}`."


def _only(project, *packages):
    """A folder with nothing but these packages and what they need."""
    import importlib.util
    from pathlib import Path

    folder = project.root / "few"
    folder.mkdir()
    for package in (*packages, "pygments", "markdown_it", "mdurl"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            home = Path(spec.submodule_search_locations[0])
            (folder / home.name).symlink_to(home)
    return [str(folder)]
