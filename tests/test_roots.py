"""Under which name a file below a folder is built: from where its module is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoaccel.ahead import sources_below
from autoaccel.errors import AccelError
from tests.conftest import Project


@pytest.fixture
def names(project: Project, monkeypatch: pytest.MonkeyPatch):
    """The modules below paths, as the command line finds them in the project's folder."""
    monkeypatch.chdir(project.root)

    def names(*paths: str, **how: str) -> list[str]:
        return sorted(source.name for source in sources_below(list(paths), **how))

    return names


def test_a_folder_that_nobody_imports_from_is_a_root(project, names):
    project.c("tools/x.c")
    assert names("tools") == ["x"]
    assert names() == ["tools.x"]


@pytest.mark.parametrize(
    "line",
    ["import ns.x", "from ns.x import value", "from ns import x", "from a.ns cimport x", "  cimport a, ns.x as x"],
)
def test_a_namespace_package_that_the_project_imports_from(project, names, line):
    project.c("ns/x.c")
    project.write("app.py", f"import os\n{line}\n")
    assert names("ns") == names("ns/x.c") == ["ns.x"]


def test_a_namespace_package_inside_another(project, names):
    project.c("outer/inner/x.c")
    project.write("outer/inner/y.py", "from . import x\n")
    project.write("app.py", "import outer.inner\n")
    assert names("outer/inner") == ["outer.inner.x"]


@pytest.mark.parametrize("line", ["from . import y", "from .y cimport z", "from ..other import z"])
def test_a_folder_with_relative_imports_is_a_package(project, names, line):
    project.write("ns/x.pyx", f"{line}\n")
    project.write("ns/y.pxd", "")
    assert names("ns") == ["ns.x"]


@pytest.mark.parametrize(
    "line", ["import nsx.x", "import ns", "import ns.other", "# import ns.x", "from .sub import x"]
)
def test_words_that_do_not_mean_the_folder(project, names, line):
    project.c("ns/x.c")
    project.write("app.py", f"{line}\n")
    assert names("ns") == ["x"]


def test_a_folder_inside_a_regular_package(project, names):
    project.write("pkg/__init__.py", "")
    project.c("pkg/data/x.c")
    assert names("pkg/data") == names("pkg") == names() == ["pkg.data.x"]


def test_packages_below_the_project_s_src(project, names):
    project.write("setup.py", "")
    project.c("src/ns/x.c")
    project.c("src/top.c")
    project.write("src/ns/pkg/__init__.pyx", "")
    assert names() == names("src") == ["ns.pkg", "ns.x", "top"]
    assert names("src/ns") == ["ns.pkg", "ns.x"]
    assert names("src/ns/pkg") == ["ns.pkg"]


@pytest.mark.parametrize("line", ["package-dir = {'' = 'lib'}", "packages.find.where = ['lib']"])
def test_a_folder_that_setuptools_is_told_of(project, names, line):
    project.write("pyproject.toml", f"[tool.setuptools]\n{line}\n")
    project.c("lib/ns/x.c")
    assert names() == names("lib") == names("lib/ns") == ["ns.x"]


def test_a_layout_that_is_the_project_itself_says_nothing(project, names):
    project.write("pyproject.toml", "[tool.setuptools]\npackages.find.where = ['.', '../..']\n")
    project.c("tools/x.c")
    assert names("tools") == ["x"]


def test_an_entry_of_the_path_is_a_root(project, names, monkeypatch):
    project.c("python/ns/x.c")
    project.write("app.py", "import python.ns\n")
    assert names("python/ns") == ["x"]
    monkeypatch.syspath_prepend(str(project.root / "python"))
    assert names() == names("python") == ["ns.x"]


def test_a_root_that_is_named(project, names):
    project.c("a/b/x.c")
    project.write("a/__init__.py", "")
    assert names("a/b", root=".") == ["a.b.x"]
    assert names("a", root="a") == ["b.x"]
    assert names("a/b/x.c", root="a/b") == ["x"]
    with pytest.raises(AccelError, match=r"project is not below .*project/a, which is to be the folder"):
        names(".", root="a")


def test_a_declared_module_has_its_declared_name(project, names):
    project.c("csrc/impl.c", init="PyInit_fast")
    project.write("pyproject.toml", "[[tool.setuptools.ext-modules]]\nname = 'pkg.fast'\nsources = ['csrc/impl.c']\n")
    assert names() == names("csrc") == names("csrc/impl.c") == ["pkg.fast"]


def test_a_regular_package_comes_before_a_source_of_its_name(project, names):
    project.c("x.c")
    project.write("x/__init__.py", "")
    assert names() == []


def test_a_link_to_a_folder_keeps_its_name(project, names):
    project.c("real/x.c")
    os.symlink("real", Path(project.root) / "link")
    assert names("link") == ["x"]
