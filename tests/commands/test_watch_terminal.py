"""``autoaccel watch`` as somebody at a terminal sees it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pexpect
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


class TestInAShell:
    """A shell at a terminal, with job control: what somebody types, and what is on the screen then."""

    @pytest.fixture
    def shell(self, project: Project) -> Iterator[pexpect.spawn[str]]:
        need("bash")
        project.c("sample.c", 1)
        # The terminal says nothing of its own about what is typed while the program is a line editor.
        talker = """
            import sys, termios
            modes = termios.tcgetattr(0)
            termios.tcsetattr(0, termios.TCSADRAIN, [*modes[:3], modes[3] & ~termios.ECHO & ~termios.ICANON, *modes[4:]])
            print("talking", flush=True)
            while (text := sys.stdin.read(1)) != "q":
                print(f"<{text}>", flush=True)
            sys.exit(7)
        """
        project.write("talker.py", talker)
        env = project.environ(PS1="$ ", TERM="dumb")
        words = [str(shutil.which("bash")), "--norc", "--noediting", "-i"]
        shell = pexpect.spawn(words[0], words[1:], cwd=str(project.root), env=env, timeout=40, encoding="utf-8")
        shell.delaybeforesend = 0.2
        shell.expect_exact("$ ")
        yield shell
        shell.close(force=True)

    def start(self, shell: pexpect.spawn[str], words: str) -> None:
        shell.sendline(f"{sys.executable} -m autoaccel watch {words}")

    def echoes(self, shell: pexpect.spawn[str]) -> bool:
        shell.sendline("stty -a")
        shell.expect(r"-?\bicanon\b[^\n]*?(-?\becho\b)")
        assert shell.match is not None
        told = str(shell.match.group(1))
        shell.expect_exact("$ ")
        return told == "echo"

    def end_with_the_program_s_status(self, shell: pexpect.spawn[str], status: int) -> None:
        """End the watcher after its program, and see that the status is the program's and the terminal as it was."""
        shell.expect_exact(f"has ended with status {status}")
        shell.sendintr()
        shell.expect_exact("$ ")
        shell.sendline("echo status=$?")
        shell.expect_exact(f"status={status}")
        shell.expect_exact("$ ")
        assert self.echoes(shell)

    def test_a_line_editor_that_is_restarted_leaves_the_terminal_as_it_was(
        self, shell: pexpect.spawn[str], project: Project
    ) -> None:
        self.start(shell, f"-i -- {sys.executable} talker.py")
        shell.expect_exact("talking")
        project.c("sample.c", 2)
        shell.expect_exact("restarted")
        shell.expect_exact("talking")
        shell.send("q")
        self.end_with_the_program_s_status(shell, 7)

    def test_a_program_that_has_given_the_terminal_to_a_job_of_its_own_is_restarted(
        self, shell: pexpect.spawn[str], project: Project
    ) -> None:
        self.start(shell, "-i --grace 0.2 -- bash --norc --noediting -i")
        shell.expect_exact("autoaccel: started")
        shell.sendline(f"{sys.executable} talker.py")
        shell.expect_exact("talking")
        project.c("sample.c", 2)
        shell.expect_exact("restarted")
        assert self.echoes(shell)
        shell.sendline("exit 7")
        self.end_with_the_program_s_status(shell, 7)

    def test_fg_after_a_stop_that_can_not_be_noticed_gives_the_program_the_terminal(
        self, shell: pexpect.spawn[str], project: Project
    ) -> None:
        # A read that has begun takes what is typed, whoever is in the foreground then; and one that begins before `fg` stops.
        stopper = """
            import os, signal, time
            def wait_until(ours):
                while (os.tcgetpgrp(0) == os.getpgrp()) is not ours:
                    time.sleep(0.01)
            os.kill(os.getppid(), signal.SIGSTOP)
            wait_until(False)
            wait_until(True)
            print(input("well? "))
        """
        project.write("stopper.py", stopper)
        self.start(shell, f"-i -- {sys.executable} stopper.py")
        shell.expect_exact("Stopped")
        shell.expect_exact("$ ")
        shell.sendline("fg")
        shell.expect_exact("stopper.py")
        shell.expect_exact("well? ")
        shell.sendline("so so")
        shell.expect_exact("so so\r\nso so")
        shell.expect_exact("has ended with status 0")

    def test_ctrl_z_gives_the_shell_back_and_fg_the_program(self, shell: pexpect.spawn[str]) -> None:
        self.start(shell, f"-i -- {sys.executable} talker.py")
        shell.expect_exact("talking")
        shell.sendcontrol("z")
        shell.expect_exact("Stopped")
        shell.expect_exact("$ ")
        assert self.echoes(shell)
        shell.sendline("fg")
        shell.expect_exact("talker.py")
        shell.send("x")
        shell.expect_exact("<x>")  # in its own mode: without a line's end
        shell.send("q")
        shell.expect_exact("has ended with status 7")

    def test_ctrl_z_stops_a_program_without_the_terminal_too(self, shell: pexpect.spawn[str], project: Project) -> None:
        project.write("ticks.py", "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.1)\n")
        self.start(shell, f"-- {sys.executable} ticks.py")
        shell.expect_exact("tick\r\n")
        shell.sendcontrol("z")
        shell.expect_exact("Stopped")
        shell.expect_exact("$ ")
        assert shell.expect_exact(["tick\r\n", pexpect.TIMEOUT], timeout=1) == 1
        shell.sendline("fg")
        shell.expect_exact("tick\r\n")
        shell.sendintr()
        shell.expect_exact("KeyboardInterrupt")
        shell.expect_exact("$ ")

    def test_a_program_that_waits_for_a_terminal_which_it_was_not_given(self, shell: pexpect.spawn[str]) -> None:
        self.start(shell, f"""-- {sys.executable} -c 'open("/dev/tty").read()'""")
        shell.expect_exact("waits for the terminal; --interactive gives it that")
        shell.sendintr()
        shell.expect_exact("$ ")

    def test_a_signal_suspends_once(self, shell: pexpect.spawn[str], project: Project) -> None:
        talker = (project.root / "talker.py").read_text()
        suspender = "import os, signal, threading\nkill = os.kill, (os.getppid(), signal.SIGTSTP)\n"
        project.write("suspender.py", f"{suspender}threading.Timer(1, *kill).start()\n{talker}")
        self.start(shell, f"-i -- {sys.executable} suspender.py")
        shell.expect_exact("Stopped")
        shell.expect_exact("$ ")
        shell.sendline("fg")
        shell.expect_exact("suspender.py")
        assert shell.expect_exact(["Stopped", pexpect.TIMEOUT], timeout=1.5) == 1
        shell.send("q")
        shell.expect_exact("has ended with status 7")

    def test_from_the_background_no_terminal_is_taken_from_the_shell(self, shell: pexpect.spawn[str]) -> None:
        self.start(shell, f"-i -- {sys.executable} talker.py &")
        shell.expect_exact("autoaccel: started")
        shell.sendline("echo still $((40 + 2))")
        shell.expect_exact("still 42")
        shell.sendline("fg")
        shell.expect_exact("talking")
        shell.send("q")
        shell.expect_exact("has ended with status 7")
