"""Caches that are only read: layers of an image, of a shared machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Project, need
from tests.test_store import run_with_permissions

CODE = "import autoaccel, sample; print(sample.value())"


@pytest.fixture
def layered(project: Project) -> tuple[Project, Path]:
    """A project whose module is in a layer, and an empty cache of its own."""
    need("cc")
    compiler = project.compiler()
    project.c("sample.c", 7)
    assert project.ok(CODE) == "7"
    assert compiler.compiles == 1
    layer = project.cache.parent / "layer"
    project.cache.rename(layer)
    for path in (layer, *layer.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    project.env["AUTOACCEL_READONLY_CACHES"] = str(layer)
    return project, layer


def compiles(project: Project) -> int:
    return (project.cache.parent / "counting-cc.log").read_text().count(" -c ")


@pytest.mark.core
def test_a_layer_serves_what_it_has(layered: tuple[Project, Path]) -> None:
    project, layer = layered
    assert project.ok(CODE + "; print(sample.__cached__)").split()[1].startswith(str(layer))
    # Its path is another now; from here on, the manifest in the user's own cache tells of it.
    assert project.ok("import sys; " + CODE + "; print('autoaccel.pipeline' in sys.modules)") == "7\nFalse"
    assert compiles(project) == 1
    project.c("sample.c", 8)
    assert project.ok(CODE) == "8"
    assert compiles(project) == 2
    project.c("sample.c", 7)
    assert project.ok(CODE) == "7"
    assert compiles(project) == 2
    assert len(list(layer.glob("v2/artifacts/*/*.so"))) == 1


def test_a_layer_that_stays_where_it_was_built_is_hit_without_a_cache_of_ones_own(project: Project) -> None:
    need("cc")
    compiler = project.compiler()
    project.c("sample.c", 7)
    for _ in range(2):
        assert project.ok(CODE) == "7"
        time.sleep(0.1)
    layer = project.cache
    project.env["AUTOACCEL_READONLY_CACHES"] = str(layer)
    project.env["AUTOACCEL_CACHE_DIR"] = str(project.cache.parent / "own")
    code = "import sys; " + CODE + "; print('autoaccel.pipeline' in sys.modules)"
    assert project.ok(code) == "7\nFalse"
    assert compiler.compiles == 1
    assert not (project.cache.parent / "own").exists()


def test_nothing_is_written_into_a_layer(layered: tuple[Project, Path]) -> None:
    project, layer = layered
    before = {path: path.stat().st_mtime_ns for path in layer.rglob("*")}
    for value in (7, 8):
        project.c("sample.c", value)
        run = run_with_permissions(project, CODE)
        assert (run.status, run.out) == (0, f"{value}\n"), run.err
    assert {path: path.stat().st_mtime_ns for path in layer.rglob("*")} == before


def test_a_damaged_library_in_a_layer_is_passed_over(layered: tuple[Project, Path]) -> None:
    project, layer = layered
    (library,) = layer.glob("v2/artifacts/*/*.so")
    library.chmod(0o700)
    library.write_bytes(library.read_bytes()[:-9])
    assert project.ok(CODE) == "7"
    assert compiles(project) == 2
    assert library.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o775])
def test_a_layer_that_others_can_write_is_not_used(layered: tuple[Project, Path], mode: int) -> None:
    project, layer = layered
    layer.chmod(mode)
    assert not project.ok(CODE + "; print(sample.__cached__)").split()[1].startswith(str(layer))
    assert compiles(project) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_layer_may_be_root_s_and_nobody_else_s(layered: tuple[Project, Path]) -> None:
    project, layer = layered
    need("setpriv")
    for folder in (layer, *layer.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c"]
    code = "from autoaccel.store import readers; print([one.root for one in readers()])"

    def used() -> str:
        env = project.environ(HOME="/nonexistent")
        done = subprocess.run([*command, code], cwd="/", env=env, capture_output=True, text=True, timeout=120)
        if "Permission denied" in done.stderr:
            pytest.skip(f"another user can't run this Python: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert used() == repr([str(layer)])
    os.chown(layer, 65533, 65533)
    assert used() == "[]"


def test_several_layers_the_first_one_wins(layered: tuple[Project, Path]) -> None:
    project, layer = layered
    second = layer.parent / "second"
    shutil.copytree(layer, second)
    project.env["AUTOACCEL_READONLY_CACHES"] = os.pathsep.join(["/nowhere", "relative", str(second), str(layer)])
    assert project.ok(CODE + "; print(sample.__cached__)").split()[1].startswith(str(second))
    assert compiles(project) == 1


def test_without_a_compiler_and_with_load(layered: tuple[Project, Path]) -> None:
    project, _ = layered
    # The manifest in the layer names a library that is not there any more; the artifact is found by content.
    project.ok(CODE)
    assert project.ok(CODE, AUTOACCEL="load") == "7"
