"""``autoaccel watch``: which modules a change rebuilds, when a program is restarted, and what is left of it all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.conftest import Project, c_module, need
from tests.live.watching import Watching, names
from tests.rust import crate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc", "watchdog")


def edit(path: Path, text: str | bytes) -> None:
    """As most editors save: another file takes the place of the old one, and is never seen half written."""
    other = path.with_name(f".{path.name}.swp")
    other.write_bytes(text.encode() if isinstance(text, str) else text)
    os.replace(other, path)


class Saved(Project):
    """A project whose files come whole: on a busy machine, a watcher builds what is half written, and then again."""

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        edit(path, textwrap.dedent(text).lstrip("\n") if isinstance(text, str) else text)
        return path


@pytest.fixture
def project(project: Project) -> Project:
    """An empty project, for a watcher."""
    return Saved(project.root, project.cache)


class TestRounds:
    """What is built after a change."""

    @pytest.mark.core
    def test_first_what_is_stale_then_what_a_change_concerns(self, project: Project) -> None:
        header = project.write("both.h", "#define BOTH 1\n")
        project.c("one.c", "BOTH", before='#include "both.h"')
        project.c("two.c", "BOTH", before='#include "both.h"')
        other = project.c("other.c", 3)
        with Watching(project) as watching:
            assert names(watching.round(), "built") == ["one", "other", "two"]
            edit(header, "#define BOTH 2\n")
            assert names(watching.round(), "built") == ["one", "two"]
            edit(other, c_module("other", 4))
            assert names(watching.round(), "built") == ["other"]
            assert watching.settled() == []
            assert watching.end() == 0
        assert (
            project.ok("import autoaccel, one, two, other; print(one.value(), two.value(), other.value())") == "2 2 4"
        )

    def test_a_failure_is_told_once_and_a_mended_source_is_built(self, project: Project) -> None:
        source = project.c("sample.c", 1)
        with Watching(project) as watching:
            watching.round()
            edit(source, c_module("sample", "nowhere"))
            failed = watching.round()[-2]
            assert failed["event"] == "failed"
            assert failed["news"]
            assert "nowhere" in failed["error"]["message"]
            assert failed["error"]["diagnostics"][0]["file"] == str(source)
            os.utime(source)
            assert not any(event.get("news") for event in watching.settled())
            edit(source, c_module("sample", 1))
            assert watching.round()[-1]["failed"] == []
            edit(source, c_module("sample", "nowhere"))
            watching.round()
            assert watching.end() == 1

    def test_a_project_s_file_builds_what_it_says_something_of(self, project: Project) -> None:
        table = "[tool.autoaccel.modules.{}]\ndefine-macros = ['N={}']\n"
        file = project.write("pyproject.toml", table.format("one", 1) + table.format("two", 2))
        for name in ("one", "two"):
            project.c(f"{name}.c", "N")
        with Watching(project) as watching:
            assert names(watching.round(), "built") == ["one", "two"]
            edit(file, file.read_text() + "[project]\nname = 'x'\n")
            assert names(watching.settled(), "built") == []
            edit(file, file.read_text().replace("N=2", "M=2"))
            assert names(watching.until(lambda event: event["event"] == "failed"), "failed") == ["two"]
            watching.round()
            # The failure is remembered now, and so is what may mend it.
            edit(file, "# words\n" + file.read_text())
            assert names(watching.settled(), "built") == []
            edit(file, file.read_text().replace("M=2", "N=3"))
            assert names(watching.until(lambda event: event["event"] == "built"), "built") == ["two"]
        assert project.ok("import autoaccel, one, two; print(one.value(), two.value())") == "1 3"

    def test_a_header_that_goes_is_named(self, project: Project) -> None:
        header = project.write("part.h", "#define N 1\n")
        project.c("sample.c", "N", before='#include "part.h"')
        with Watching(project) as watching:
            watching.round()
            header.unlink()
            events = watching.round()
            assert events[0] == {"event": "changed", "paths": [str(header)], "time": events[0]["time"]}
            assert names(events, "failed") == ["sample"]

    def test_a_header_that_was_missing_appears(self, project: Project) -> None:
        project.c("sample.c", "LATE", before='#include "late.h"')
        with Watching(project) as watching:
            assert names(watching.round(), "failed") == ["sample"]
            project.write("late.h", "#define LATE 7\n")
            assert names(watching.round(), "built") == ["sample"]

    def test_a_file_that_is_seen_half_written(self, project: Project) -> None:
        source = project.c("sample.c", 1)
        text = c_module("sample", 2)
        with Watching(project) as watching:
            watching.round()
            source.write_text(text[: len(text) // 2])
            watching.round()
            source.write_text(text)
            while watching.round()[-1]["failed"]:
                pass
        assert project.ok("import autoaccel, sample; print(sample.value())") == "2"

    def test_sources_come_and_go(self, project: Project) -> None:
        project.c("one.c", 1)
        with Watching(project) as watching:
            watching.round()
            project.c("two.c", 2)
            assert names(watching.round(), "built") == ["two"]
            project.c("deep/er/three.c", 3)
            assert names(watching.round(), "built") == ["deep.er.three"]
            (project.root / "two.c").unlink()
            assert watching.until("gone")[-1]["name"] == "two"

    def test_a_new_file_is_the_module_that_it_would_be_from_the_start(self, project: Project) -> None:
        project.write("pyproject.toml", '[tool.autoaccel]\nexclude = ["legacy.*"]\n')
        project.c("deep/er/one.c", 1)
        (project.root / "legacy").mkdir()
        with Watching(project) as watching:
            watching.round()
            project.c("legacy/left.c", 1)
            project.c("deep/er/two.c", 2)
            assert names(watching.round(), "built") == ["deep.er.two"]
            assert watching.settled() == []

    def test_one_of_two_folders_is_away(self, project: Project) -> None:
        project.c("first/one.c", 1)
        project.c("second/two.c", 1)
        with Watching(project, "first", "second") as watching:
            watching.round()
            (project.root / "first").rename(project.root / "away")
            assert names(watching.round(), "failed") == ["one"]
            project.c("second/three.c", 1)
            assert names(watching.round(), "built") == ["three"]
            (project.root / "second" / "two.c").unlink()
            assert watching.until("gone")[-1]["name"] == "two"
            (project.root / "away").rename(project.root / "first")
            while watching.round()[-1]["failed"]:
                pass

    def test_what_does_not_build_is_removed(self, project: Project) -> None:
        project.c("good.c", 1)
        bad = project.c("bad.c", "nowhere")
        with Watching(project, "--", sys.executable, "-c", "raise SystemExit(3)") as watching:
            assert watching.until("command")[-1]["state"] == "waiting"
            bad.unlink()
            assert watching.round()[-1]["failed"] == []
            assert watching.until("command")[-1]["state"] == "started"

    def test_many_files_at_once_are_one_round(self, project: Project) -> None:
        # However slow the saves and fast the compiler, none is built before all are saved.
        saving = project.root / "saving"
        project.compiler(before=f"while [ -e '{saving}' ]; do sleep 0.02; done")
        for number in range(12):
            project.c(f"m{number}.c", 1)
        with Watching(project) as watching:
            watching.round()
            saving.touch()
            for number in range(12):
                project.c(f"m{number}.c", 2)
                time.sleep(0.02)
            saving.unlink()
            assert len(names(watching.round(), "built")) == 12
            assert "round" not in [event["event"] for event in watching.settled()]

    def test_a_build_that_is_superseded_is_cancelled(self, project: Project) -> None:
        compiler = project.compiler(
            before='case "$*" in *sample.c*) grep -q 4711 sample.c 2>/dev/null && sleep 60;; esac'
        )
        # The compiler runs in a folder of its own.
        compiler.path.write_text(compiler.path.read_text().replace("sample.c 2>", f"{project.root}/sample.c 2>"))
        source = project.c("sample.c", 1)
        with Watching(project) as watching:
            watching.round()
            edit(source, c_module("sample", 4711))
            watching.until("building")
            time.sleep(1)
            edit(source, c_module("sample", 2))
            events = watching.round()
            assert names(events, "cancelled") == ["sample"]
            assert names(events, "built") == ["sample"]
        assert project.ok("import autoaccel, sample; print(sample.value())") == "2"

    def test_where_no_events_come_the_files_are_looked_at(self, project: Project) -> None:
        header = project.write("one.h", "#define ONE 1\n")
        project.c("one.c", "ONE", before='#include "one.h"')
        with Watching(project, "--poll") as watching:
            assert watching.until("watching")[-1]["polling"] == "it was asked for"
            watching.round()
            edit(header, "#define ONE 2\n")
            assert names(watching.round(), "built") == ["one"]
            project.c("two.c", 2)
            assert names(watching.round(), "built") == ["two"]

    def test_new_folders_where_no_events_come(self, project: Project) -> None:
        project.c("sample.c", 1)
        (project.root / "empty" / "yet").mkdir(parents=True)
        with Watching(project, "--poll") as watching:
            watching.round()
            project.c("empty/yet/one.c", 1)
            assert names(watching.round(), "built") == ["empty.yet.one"]
            (project.root / "new" / "er").mkdir(parents=True)
            watching.settled()
            project.c("new/er/two.c", 2)
            assert names(watching.round(), "built") == ["new.er.two"]
            (project.root / "new").rename(project.root / "other")
            assert names(watching.round(), "built") == ["other.er.two"]

    @pytest.mark.parametrize("limit", ["max_inotify_watches", "max_inotify_instances"])
    def test_the_system_has_no_more_events_to_give(self, project: Project, limit: str) -> None:
        project.c("deep/sample.c", 1)
        # In a namespace of its own, which has its own limits.
        shell = f"echo 0 > /proc/sys/user/{limit} && exec "
        words = ["unshare", "-Ur", "sh", "-c", f'{shell} "$@"', "sh"]
        if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
            pytest.skip("needs user namespaces")
        with Watching(project, before=words) as watching:
            told = watching.until("watching")[-1]
            assert f"sysctl fs.inotify.{limit.replace('inotify', 'user')} sets how many" in told["polling"]
            watching.round()
            project.c("deep/sample.c", 2)
            assert names(watching.round(), "built") == ["deep.sample"]
            assert watching.end() == 0

    def test_a_header_outside_of_the_watched_folder(self, project: Project) -> None:
        header = project.write("include/far.h", "#define FAR 1\n")
        project.c("src/sample.c", "FAR", before='#include "../include/far.h"')
        with Watching(project, "src") as watching:
            watching.round()
            edit(header, "#define FAR 2\n")
            assert names(watching.round(), "built") == ["sample"]

    def test_a_path_that_does_not_exist(self, project: Project) -> None:
        with Watching(project, "nowhere") as watching:
            assert watching.process.wait(timeout=60) == 2
        assert watching.said == [f"autoaccel: {project.root}/nowhere does not exist\n"]

    def test_a_shared_pxd(self, project: Project) -> None:
        need("Cython")
        pxd = project.write("shared.pxd", "cdef inline int number(): return 1\n")
        for name in ("one", "two"):
            project.write(f"{name}.pyx", "from shared cimport number\ndef f(): return number()\n")
        project.write("other.pyx", "def f(): return 0\n")
        with Watching(project) as watching:
            watching.round()
            edit(pxd, "cdef inline int number(): return 2\n")
            assert names(watching.round(), "built") == ["one", "two"]
        assert project.ok("import autoaccel, one, two; print(one.f(), two.f())") == "2 2"

    def test_a_shared_path_crate(self, project: Project) -> None:
        need("cargo")
        project.write("common/Cargo.toml", '[package]\nname = "common"\nversion = "0.1.0"\nedition = "2021"\n')
        common = project.write("common/src/lib.rs", "pub const NUMBER: i64 = 1;\n")
        for name in ("one", "two"):
            crate(project, name, "common::NUMBER", more='[dependencies]\ncommon = { path = "../common" }\n')
        crate(project, "other", 3)
        with Watching(project) as watching:
            assert names(watching.round(), "built") == ["one", "other", "two"]
            edit(common, "pub const NUMBER: i64 = 2;\n")
            assert names(watching.round(), "built") == ["one", "two"]
        assert project.ok("import autoaccel, one, two; print(one.value, two.value)") == "2 2"


PROGRAM = """
import os, signal, sys, time
import autoaccel, sample
def ended(number, frame):
    with open("ran", "a") as file:
        file.write("asked\\n")
    sys.exit(5)
signal.signal(signal.SIGTERM, ended)
signal.signal(signal.SIGINT, ended)
with open("pid", "w") as file:
    file.write(str(os.getpid()))
with open("ran", "a") as file:
    file.write(f"{sample.value()}\\n")
time.sleep(300)
"""


def ran(project: Project, *wanted: str) -> None:
    """Wait until the program has written these lines."""
    path = project.root / "ran"
    end = time.monotonic() + 60
    while (path.read_text().split() if path.exists() else []) != list(wanted):
        assert time.monotonic() < end, path.read_text() if path.exists() else "it did not run"
        time.sleep(0.02)


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(number: int) -> None:
    end = time.monotonic() + 30
    while is_alive(number):
        assert time.monotonic() < end, f"{number} still runs"
        time.sleep(0.02)


def children(number: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == number:
            found += [int(folder.name), *children(int(folder.name))]
    return found


def found(watching: Watching, *wanted: str) -> list[int]:
    """The processes that a watcher has started and whose command lines have all of these words, once there are some."""

    def fits(number: int) -> bool:
        try:
            told = Path(f"/proc/{number}/cmdline").read_text()
        except OSError:
            return False
        return all(one in told for one in wanted)

    end = time.monotonic() + 60
    while not (numbers := list(filter(fits, children(watching.process.pid)))):
        assert time.monotonic() < end, f"no {' '.join(wanted)} was started"
        time.sleep(0.02)
    return numbers


class TestProgram:
    """``-- COMMAND``."""

    def test_restarted_after_good_builds_and_never_on_a_bad_one(self, project: Project) -> None:
        source = project.c("sample.c", "broken")
        project.write("app.py", PROGRAM)
        with Watching(project, "--", sys.executable, "app.py") as watching:
            command = watching.until("command")[-1]
            assert command["state"] == "waiting"
            edit(source, c_module("sample", 1))
            assert watching.until("command")[-1]["state"] == "started"
            ran(project, "1")
            edit(source, c_module("sample", "broken"))
            assert watching.until("command")[-1]["state"] == "kept"
            edit(source, c_module("sample", 2))
            assert watching.until("command")[-1]["state"] == "restarted"
            ran(project, "1", "asked", "2")
            project.write("app.py", PROGRAM + "\n")
            assert watching.until("command")[-1]["state"] == "restarted"
            ran(project, "1", "asked", "2", "asked", "2")
            pid = int((project.root / "pid").read_text())
            assert watching.end() == 5
            gone(pid)

    def test_a_python_file_that_is_saved_twice_within_one_second(self, project: Project) -> None:
        project.c("sample.c", 1)
        project.write("app.py", "import time, helper\nopen('ran', 'a').write(f'{helper.X}\\n')\ntime.sleep(300)\n")
        second = int(time.time()) + 1000

        def save(number: int) -> None:
            path = project.write("helper.py", f"X = {number}\n")
            os.utime(path, ns=(0, second * 10**9 + number))

        save(100)
        with Watching(project, "--", sys.executable, "app.py") as watching:
            ran(project, "100")
            save(101)
            ran(project, "100", "101")
            save(102)
            ran(project, "100", "101", "102")
            assert watching.end() == 130

    def test_one_that_does_not_listen_is_killed_with_all_that_it_started(self, project: Project) -> None:
        source = project.c("sample.c", 1)
        project.write(
            "app.py",
            "import signal, subprocess, sys, time, os\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)'])\n"
            "open('pids', 'a').write(f'{os.getpid()} {child.pid} ')\ntime.sleep(300)\n",
        )
        pids = project.root / "pids"
        with Watching(project, "--grace", "0.5", "--", sys.executable, "app.py") as watching:
            watching.until("command")
            while not pids.exists() or len(pids.read_text().split()) < 2:
                time.sleep(0.02)
            edit(source, c_module("sample", 2))
            assert watching.until("command")[-1]["state"] == "restarted"
            for number in pids.read_text().split()[:2]:
                gone(int(number))

    def test_the_exit_code_of_one_that_ends(self, project: Project) -> None:
        project.c("sample.c", 1)
        with Watching(project, "--", sys.executable, "-c", "raise SystemExit(3)") as watching:
            watching.until("command")
            ended = watching.until("command")[-1]
            assert (ended["state"], ended["status"]) == ("ended", 3)
            assert watching.end() == 3

    @pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
    @pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
    def test_asked_to_end_while_it_is_being_started(self, project: Project, name: str) -> None:
        code = """
            import os, signal, subprocess, sys, threading
            from autoaccel.live import command
            def ended(number, frame):
                raise SystemExit(number)
            signal.signal(signal.NAME, ended)
            keeper = command.Keeper(1.0)
            program = command.Program(["sleep", "100"], 1.0, keeper, print, print)
            real, children = subprocess.Popen, []
            def popen(*args, **how):
                children.append(real(*args, **how))
                os.kill(os.getpid(), signal.NAME)
                return children[-1]
            subprocess.Popen = popen
            try:
                program.start()
            except SystemExit as asked:
                print(asked.code == signal.NAME, end=" ")
            program.stop()
            keeper.close()
            print(len(children), children[0].poll(), signal.getsignal(signal.NAME) is ended)
        """
        assert project.ok(textwrap.dedent(code).replace("NAME", name)) == "True 1 -15 True"

    @pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no nohup")
    def test_a_terminal_that_is_closed(self, project: Project) -> None:
        source = project.c("sample.c", 1)
        project.write("app.py", PROGRAM)
        with Watching(project, "--", sys.executable, "app.py") as watching:
            ran(project, "1")
            assert watching.end(signal.SIGHUP) == 129
        (project.root / "ran").unlink()
        need("nohup")
        with Watching(project, "--", sys.executable, "app.py", before=["nohup"]) as watching:
            ran(project, "1")
            watching.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            edit(source, c_module("sample", 2))
            ran(project, "1", "asked", "2")
            assert watching.end(signal.SIGTERM) == 5

    def test_one_that_takes_its_time_to_end_while_the_watcher_is_asked_again(self, project: Project) -> None:
        project.c("sample.c", 1)
        program = """
            import signal, sys, time
            def end(*_):
                print("asked", file=sys.stderr, flush=True)
                time.sleep(1)
                sys.exit(6)
            signal.signal(signal.SIGTERM, end)
            open("ran", "w").write("1\\n")
            time.sleep(300)
        """
        project.write("app.py", program)
        with Watching(project, "--", sys.executable, "app.py") as watching:
            ran(project, "1")
            watching.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            watching.process.send_signal(signal.SIGHUP)
            assert watching.end(signal.SIGTERM) == 6
        assert "".join(watching.said) == "asked\n"

    def test_a_command_that_does_not_exist(self, project: Project) -> None:
        project.c("sample.c", 1)
        with Watching(project, "--", "no-such-program") as watching:
            assert watching.process.wait(timeout=60) == 1
        assert "no-such-program can't be started: No such file or directory" in watching.said[-1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked up in /proc")
class TestKilled:
    """Whoever is killed, nothing is left behind, and the next start works."""

    def test_the_watcher(self, project: Project) -> None:
        need("Cython")
        project.compiler(before='case "$*" in *slow.c*) sleep 300;; esac')
        project.c("sample.c", 1)
        project.write("warm.pyx", "def f(): return 1\n")
        project.write("app.py", PROGRAM)
        with Watching(project, "-j", "2", "--", sys.executable, "app.py") as watching:
            watching.until("command")
            ran(project, "1")
            project.c("slow.c", 1)
            watching.until("building")
            for what in ("app.py", "keeper.py", "cython_server.py", "slow.c"):
                found(watching, what)
            started = children(watching.process.pid)
            assert len(started) >= 4, "the program, the keeper, the compile server, a compiler"
            assert watching.end(signal.SIGKILL) == -signal.SIGKILL
            for number in started:
                gone(number)
        (project.root / "slow.c").unlink()
        with Watching(project) as watching:
            events = watching.round()
            assert names(events, "cached") == ["sample", "warm"]

    def test_the_command(self, project: Project) -> None:
        source = project.c("sample.c", 1)
        project.write("app.py", PROGRAM)
        with Watching(project, "--", sys.executable, "app.py") as watching:
            watching.until("command")
            ran(project, "1")
            os.kill(int((project.root / "pid").read_text()), signal.SIGKILL)
            assert watching.until("command")[-1]["status"] == 137
            edit(source, c_module("sample", 2))
            assert watching.until("command")[-1]["state"] == "started"
            ran(project, "1", "2")

    @pytest.mark.parametrize("what", ["cython_server.py", "keeper.py"])
    def test_a_helper(self, project: Project, what: str) -> None:
        need("Cython")
        source = project.write("sample.pyx", "def value(): return 1\n")
        with Watching(project) as watching:
            watching.round()
            for number in found(watching, what):
                os.kill(number, signal.SIGKILL)
            edit(source, "def value(): return 2\n")
            assert names(watching.round(), "built") == ["sample"]
            assert watching.end() == 0

    def test_a_compiler(self, project: Project) -> None:
        compiler = project.compiler(before='case "$*" in *sample.c*) [ -e now ] || sleep 300;; esac')
        compiler.path.write_text(compiler.path.read_text().replace("-e now", f"-e {project.root}/now"))
        source = project.c("sample.c", 1)
        with Watching(project) as watching:
            watching.until("building")
            # One that compiles: others tell what the compiler is.
            for number in found(watching, "counting-cc", "\0-c\0"):
                os.killpg(number, signal.SIGKILL)
            assert names(watching.round(), "failed") == ["sample"]
            (project.root / "now").touch()
            edit(source, c_module("sample", 2))
            assert names(watching.round(), "built") == ["sample"]
