"""pyximport's own call, without its Cython: what it takes, and what it leaves behind."""

from __future__ import annotations

import pytest

from tests.conftest import Project


@pytest.mark.parametrize(
    ("setup_args", "told"),
    [
        (
            {"script_args": ["--verbose"]},
            "setup_args['script_args']) has no meaning for autoaccel: it is about setuptools",
        ),
        ({"script_args": ["--force"]}, "has no meaning for autoaccel: `autoaccel build --force` builds again"),
        ({"options": {"build_ext": {"parallel": 2}}}, "setup_args['options']['build_ext']['parallel']) has no meaning"),
    ],
)
def test_arguments_that_have_no_meaning_say_so(project: Project, setup_args: dict[str, object], told: str) -> None:
    ended = project.run(f"from autoaccel import pyximport; pyximport.install(setup_args={setup_args!r})")
    assert ended.status == 0
    assert told in ended.err
    assert ended.err.startswith("<string>:1: UserWarning: pyximport.install(")


def test_a_language_level_that_cython_does_not_know(project: Project) -> None:
    project.write("sample.pyx", "x = 1\n")
    ended = project.run("from autoaccel import pyximport; pyximport.install(language_level=5); import sample")
    assert ended.last == (
        "autoaccel.errors.ConfigError: $AUTOACCEL_CYTHON_OPTIONS: `language_level` must be 2, 3 or \"3str\", not '5'"
    )


def test_after_uninstall_the_hook_of_the_import_is_there_again(project: Project) -> None:
    code = """
        import sys, autoaccel
        first = [one for one in sys.meta_path if getattr(one, "__name__", "") == "AccelFinder"]
        from autoaccel import pyximport
        old = pyximport.install()
        pyximport.uninstall(*old)
        print([one for one in sys.meta_path if getattr(one, "__name__", "") == "AccelFinder"] == first)
        """
    assert project.ok(code) == "True"
