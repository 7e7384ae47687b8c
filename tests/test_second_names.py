"""The second name of an artifact's library: loaded by it, gone with it, and never a way to another content."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoaccel import location, store, upkeep
from tests.conftest import Project, need

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(sys.platform == "win32", reason="there, a library that is loaded keeps its names"),
]

SHOWN = """
import autoaccel, sample
maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
print(sample.value(), sample.__spec__.cached, sample.__loader__.path)
print(*{line.partition("/")[2] for line in maps.splitlines() if "sample" in line})
"""


@pytest.fixture
def built(project: Project) -> Project:
    """A project whose module another process has built and loaded."""
    need("cc")
    project.c("sample.c", 5)
    assert project.ok("import autoaccel, sample; print(sample.value())") == "5"
    return project


def names(project: Project) -> list[Path]:
    return sorted(project.cache.glob("v2/load/*"))


def test_loaded_by_the_second_name_and_told_the_first(built: Project) -> None:
    (artifact,), (second,) = built.artifacts(), names(built)
    assert second.samefile(artifact)
    told, mapped = built.ok("import sys" + SHOWN).splitlines()
    assert told == f"5 {artifact} {artifact}"
    if sys.platform == "linux":
        assert f"/{mapped}" == os.path.realpath(second)
    assert location.second_name(str(artifact)) == str(second)


def test_one_process_knows_a_library_by_one_name(project: Project) -> None:
    """Modules that are initialised in one phase refuse to be so twice; Python tells them by their paths."""
    need("cc")
    project.c("sample.c", 5, single=True, run='static int before; if (before++) Py_FatalError("twice"); ')
    again = "import autoaccel, sample, sys; del sys.modules['sample']; import sample; print(sample.value())"
    for _ in range(3):
        assert project.ok(again) == "5"
    assert len(names(project)) == 1


def test_a_copy_of_the_cache_in_which_the_names_are_two_files(built: Project) -> None:
    """The second one was looked at by nobody: it is not loaded, whatever has become of it."""
    other = built.cache.with_name("copied")
    shutil.copytree(built.cache, other, copy_function=shutil.copy)
    other.chmod(0o700)
    built.cache = other
    (artifact,), (second,) = built.artifacts(), names(built)
    assert not second.samefile(artifact)
    second.chmod(0o700)
    os.truncate(second, 5000)
    compiler = built.compiler()
    for _ in range(3):
        assert built.ok("import autoaccel, sample; print(sample.value())") == "5"
    assert compiler.compiles <= 1  # another compiler is another key


@pytest.mark.parametrize("what", ["deleted", "truncated", "another file in its place"])
def test_whatever_happens_to_the_second_name(built: Project, what: str) -> None:
    (artifact,), (second,) = built.artifacts(), names(built)
    if what == "deleted":
        second.unlink()
    elif what == "truncated":
        second.chmod(0o700)
        os.truncate(second, 5000)
    else:
        content = second.read_bytes()
        second.unlink()
        second.write_bytes(content[:5000])
        second.chmod(0o500)
    for _ in range(3):
        assert built.run("import autoaccel, sample; print(sample.value())").out == "5\n"
    assert artifact.exists()


def test_a_library_without_its_second_name_is_loaded_by_its_own(built: Project) -> None:
    (artifact,), (second,) = built.artifacts(), names(built)
    second.unlink()
    for _ in range(2):
        told, mapped = built.ok("import sys" + SHOWN).splitlines()
    assert told == f"5 {artifact} {artifact}"
    if sys.platform == "linux":
        assert f"/{mapped}" == os.path.realpath(artifact)


def test_where_files_can_have_one_name_only(project: Project) -> None:
    need("cc")
    project.c("sample.c", 5)
    refuse = "import os\ndef link(*_, **__): raise PermissionError(1, 'not permitted')\nos.link = link\n"
    for _ in range(3):
        assert project.ok(refuse + "import autoaccel, sample; print(sample.value())") == "5"
    assert names(project) == []
    assert len(project.artifacts()) == 1


@pytest.mark.parametrize("words", [["prune", "--max-size", "0"], ["clear", "--yes"]])
def test_gone_with_the_artifact(built: Project, words: list[str]) -> None:
    command = [sys.executable, "-m", "autoaccel", "cache", *words]
    done = subprocess.run(command, env=built.environ(), cwd=built.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (built.artifacts(), names(built)) == ([], [])
    assert built.ok("import autoaccel, sample; print(sample.value())") == "5"


def test_of_an_artifact_that_somebody_has_deleted(built: Project) -> None:
    (artifact,), (second,) = built.artifacts(), names(built)
    shutil.rmtree(artifact.parent)
    assert second.exists()
    opened = store.Store(str(built.cache))
    upkeep.prune(opened, upkeep.Caps(None, None), gentle=False)
    assert second.exists()  # it may be of a build that is about to be published
    usual = time.time
    try:
        time.time = lambda: usual() + 4000.0
        upkeep.prune(opened, upkeep.Caps(None, None), gentle=False)
    finally:
        time.time = usual
    assert not second.exists()
    compiler = built.compiler()
    assert built.ok("import autoaccel, sample; print(sample.value())") == "5"
    assert compiler.compiles == 1
    assert names(built)[0].samefile(built.artifacts()[0])


def test_a_build_that_was_killed_before_it_was_published_left_its_second_name(project: Project) -> None:
    need("cc")
    project.c("sample.c", 5)
    killed = """
        import os
        import autoaccel
        from autoaccel import store
        usual = os.rename
        def rename(before, after, **rest):
            if before.endswith("/publish"):
                os._exit(9)
            usual(before, after, **rest)
        os.rename = rename
        import sample
        """
    assert project.run(killed).status == 9
    assert (project.artifacts(), len(names(project))) == ([], 1)
    for _ in range(3):
        assert project.ok("import autoaccel, sample; print(sample.value())") == "5"
    assert names(project)[0].samefile(project.artifacts()[0])


def test_a_repair_that_was_killed_leaves_nothing_to_load(built: Project) -> None:
    """What is set aside is out of reach first."""
    (built.artifacts()[0].parent / "build.log").unlink()
    built.run(
        """
        import os
        from autoaccel import store, verify
        def rename(*_, **__):
            os._exit(9)
        os.rename = rename
        opened = store.open_store()
        verify.repair(opened, verify.check(opened).problems)
        """
    )
    assert names(built) == []
    assert built.ok("import autoaccel, sample; print(sample.value())") == "5"


def test_others_find_an_artifact_in_the_moment_in_which_it_is_published(project: Project) -> None:
    """They know it by the name that it keeps."""
    need("cc")
    project.c("sample.c", 5, single=True, run='static int before; if (before++) Py_FatalError("twice"); ')
    other = "import autoaccel, sample; print(sample.__spec__.cached, open('/proc/self/maps').read().count('/load/'))"
    out = (
        project.ok(
            f"""
        import os, subprocess, sys
        import autoaccel
        usual = os.rename
        def rename(before, after, **rest):
            usual(before, after, **rest)
            if before.endswith("/publish"):
                print(subprocess.run([sys.executable, "-c", {other!r}], capture_output=True, text=True).stdout)
        os.rename = rename
        import sample
        print(sample.value())
        """,
            AUTOACCEL_LOCK_TIMEOUT="0",
        )
        if sys.platform == "linux"
        else ""
    )
    assert " 0\n" not in out


def test_a_library_that_is_cut_right_after_it_was_looked_at(built: Project) -> None:
    """Its row is from before the look, and says nothing of what is changed at once after it."""
    (artifact,) = built.artifacts()
    artifact.chmod(0o700)  # another change time: looked at by content
    time.sleep(0.1)
    built.ok(
        """
        import os
        import autoaccel
        from autoaccel import store
        usual = store.unchanged
        def unchanged(known, **how):
            found = usual(known, **how)
            os.truncate(known.artifact, 5000)
            return found
        store.unchanged = unchanged
        manifest = store.manifest.read("sample", os.path.abspath("sample.c"))
        store.open_store().revalidate(manifest, system=True)
        """
    )
    assert built.run("import autoaccel, sample; print(sample.value())").out == "5\n"


def test_a_library_is_counted_once(built: Project) -> None:
    whole = sum(path.lstat().st_size for path in built.cache.glob("v2/**/*") if path.is_file())
    twice = names(built)[0].stat().st_size
    assert store.size_below(str(built.cache / "v2")) == whole - twice
