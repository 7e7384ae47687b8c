"""The compile server that is started before it is known to be needed."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Project, need


@pytest.fixture(autouse=True)
def tools() -> None:
    need("Cython", "cc")


def test_what_was_started_is_what_translates(project: Project) -> None:
    project.write("sample.pyx", "value = 3\n")
    out = project.ok(
        """
        import subprocess
        started = []
        class Popen(subprocess.Popen):
            def __init__(self, args, **more):
                started.append(str(args))
                super().__init__(args, **more)
        subprocess.Popen = Popen
        import autoaccel, sample
        print(sample.value, sum("cython_server" in args for args in started), "cython_server" in started[0])
        """
    )
    assert out == "3 1 True"


def test_nothing_is_started_where_a_module_must_not_be_built(project: Project) -> None:
    project.write("sample.pyx", "value = 3\n")
    out = project.ok(
        """
        import sys
        import autoaccel
        autoaccel.install(mode="load")
        try:
            import sample
        except autoaccel.LoadError:
            print("autoaccel.early" in sys.modules and bool(sys.modules["autoaccel.early"]._waiting))
        """
    )
    assert out == "False"


def test_a_server_that_nobody_asks_ends_with_the_process(project: Project) -> None:
    out = project.ok(
        """
        from autoaccel import early
        early.start("c")
        early.start("cython")
        early.start("cython")
        print(len(early._waiting), early._waiting[0][1].pid)
        """,
    )
    count, pid = out.split()
    assert count == "1"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_server_that_has_died_is_replaced(project: Project) -> None:
    out = project.ok(
        """
        from autoaccel import early
        early.start("cython")
        first = early._waiting[0][1]
        first.kill()
        first.wait()
        second = early.take()
        print(second is not first, second.poll())
        second.communicate()
        """,
    )
    assert out == "True None"


@pytest.mark.parametrize(("cached", "file", "expected"), [
    (False, "deep/er/sample.pyx", "1"), (True, "deep/er/sample.pyx", "0"), (False, ".hidden/sample.pyx", "0"),
    (False, "sample.c", "0"),
])  # fmt: skip
def test_a_first_build_of_cython_sources_is_foreseen(project: Project, cached: bool, file: str, expected: str) -> None:
    project.write(file, "value = 3\n")
    if cached:
        (project.cache / "v2/artifacts").mkdir(parents=True)
    assert project.ok("from autoaccel import early; early.foresee([]); print(len(early._waiting))") == expected
    started = project.ok(f"from autoaccel import early; early.foresee([{file!r}]); print(len(early._waiting))")
    assert started == str(int(not cached and file.endswith(".pyx")))
