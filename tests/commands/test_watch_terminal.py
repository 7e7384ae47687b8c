"""``autoaccel watch`` as somebody at a terminal sees it."""

from __future__ import annotations

import sys

import pytest

from tests.commands.conftest import Commands
from tests.conftest import Project, need

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc", "watchdog")


def test_a_table_until_ctrl_c(accel: Commands, project: Project) -> None:
    project.c("sample.c", 1)
    project.c("wrong.c", "nowhere")
    status, shown = accel.in_terminal("watch", answer=("1 failed, 1 built", "\x03"))
    assert status == 1
    assert "Ctrl-C ends" in shown
    assert "PyLong_FromLong(nowhere)" in shown
    assert "Traceback" not in shown


def test_a_program_that_gets_the_terminal_and_its_ctrl_c(accel: Commands, project: Project) -> None:
    project.c("sample.c", 1)
    words = ["watch", "-i", "--", sys.executable, "-c", "print(repr(input('well? ')))"]
    status, shown = accel.in_terminal(*words, answer=("well? ", "\x03"))
    assert status == 130
    assert "KeyboardInterrupt" in shown
    assert "autoaccel: started" in shown
