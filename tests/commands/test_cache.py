"""``autoaccel cache``: where it is, what is in it, emptying it."""

from __future__ import annotations

import os
import re

import pytest

from tests.conftest import make, need

pytestmark = pytest.mark.core


@pytest.fixture
def filled(project):
    """A cache with two modules and one failure."""
    return fill(project)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """The same, for all who only look."""
    return fill(make(tmp_path_factory.mktemp("filled")))


def fill(project):
    need("cc")
    project.c("one.c", 1)
    project.c("two.c", 2)
    project.c("bad.c", before="int broken = ;")
    project.run("import autoaccel, one, two, bad")
    assert len(project.artifacts()) == 2
    return project


@pytest.mark.parametrize("words", [["dir"], ["info"], ["list"], ["clear", "--yes"]])
def test_a_cache_that_does_not_exist_is_no_error_and_is_not_made(accel, project, words):
    ended = accel("cache", *words)
    assert (ended.status, ended.err) == (0, "")
    assert not project.cache.exists()


def test_dir_is_the_path_and_nothing_else(accel, project):
    assert accel("cache", "dir").out == f"{project.cache}\n"


def test_dir_is_what_is_used_when_the_wanted_place_can_t_be(accel, project):
    file = project.write("file", "")
    ended = accel("cache", "dir", AUTOACCEL_CACHE_DIR=str(file / "cache"))
    assert ended.status == 0
    assert ended.out != f"{file}/cache\n"


def test_a_place_in_which_no_folder_can_be_made_is_not_used(accel):
    if not os.path.isdir("/proc/self"):
        pytest.skip("no file system of the kernel's")
    told = accel("cache", "info", "--json", AUTOACCEL_CACHE_DIR="/proc/nowhere").json
    assert told["root"] != "/proc/nowhere"
    shown = accel("cache", "info", AUTOACCEL_CACHE_DIR="/proc/nowhere").out
    assert "/proc/nowhere: /proc can't be written (" in shown


def test_a_folder_that_others_can_write_is_not_used(accel, project):
    project.cache.mkdir()
    project.cache.chmod(0o777)
    assert accel("cache", "dir").out != f"{project.cache}\n"


def test_a_cache_that_can_only_be_read_is_told_and_no_error(accel, filled):
    # A file in the way of a folder stands for a file system that can't be written: root may write anywhere.
    builds = filled.cache / "v2" / "builds"
    builds.rmdir()
    builds.touch()
    for words in (["info"], ["list"]):
        ended = accel("cache", *words)
        assert ended.status == 0
        assert "Traceback" not in ended.err
    assert "can't be used" in accel("doctor").out


class TestLooking:
    """What changes nothing, in one cache."""

    @pytest.fixture
    def project(self, looked_at):
        return looked_at

    @pytest.fixture
    def filled(self, looked_at):
        return looked_at

    def test_info_adds_up(self, accel, filled):
        answer = accel("cache", "info", "--json").json
        assert answer["root"] == str(filled.cache)
        assert answer["toolchains"]["c"]["artifacts"] == 2
        assert answer["toolchains"]["c"]["build_seconds"] > 0
        assert answer["failures"] == 1
        assert (
            answer["bytes"]
            >= answer["toolchains"]["c"]["bytes"]
            > sum(path.stat().st_size for path in filled.artifacts())
        )
        shown = accel("cache", "info").out
        assert str(filled.cache) in shown
        assert "1 remembered" in shown

    def test_list_is_in_columns_when_piped(self, accel, filled):
        head, *lines = accel("cache", "list").out.splitlines()
        assert head.split() == ["module", "toolchain", "age", "used", "size", "python", "source"]
        assert [line.split()[0] for line in lines] == ["one", "two"]
        assert [line.split()[-1] for line in lines] == [f"{filled.root}/one.c", f"{filled.root}/two.c"]
        assert "\t" not in "".join(lines)

    def test_list_as_json(self, accel, filled):
        entries = accel("cache", "list", "--json").json
        assert [(entry["name"], entry["source"]) for entry in entries] == [
            ("one", f"{filled.root}/one.c"),
            ("two", f"{filled.root}/two.c"),
        ]
        assert sorted(entry["artifact"] for entry in entries) == sorted(map(str, filled.artifacts()))

    def test_list_in_a_terminal_is_a_table(self, accel, filled):
        status, shown = accel.in_terminal("cache", "list")
        assert status == 0
        assert "─" in shown
        assert "one" in shown

    def test_list_in_a_narrow_terminal_cuts_nothing(self, accel, filled):
        _, shown = accel.in_terminal("cache", "list", COLUMNS="40")
        assert re.search(r"one\r\n  c, \d+ (s|min), \d+ (s|min), ", shown)
        assert f"\r\n  {filled.root}/one.c\r\n" in shown

    def test_clear_asks_for_yes_when_nobody_can_be_asked(self, accel, filled):
        ended = accel("cache", "clear")
        assert (ended.status, ended.out) == (2, "")
        assert "pass --yes" in ended.err
        assert len(filled.artifacts()) == 2

    def test_a_reader_that_goes_away_is_no_error(self, accel, filled):
        ended = accel.python("-c", "import subprocess, sys\n"
            "one = subprocess.Popen([sys.executable, '-m', 'autoaccel', 'cache', 'list'], stdout=subprocess.PIPE)\n"
            "one.stdout.close(); sys.exit(one.wait())")  # fmt: skip
        assert (ended.status, ended.err) == (1, "")


def test_clear_removes_everything_and_the_next_import_builds(accel, filled):
    ended = accel("cache", "clear", "--yes")
    assert ended.status == 0
    assert ended.out.startswith("removed ")
    assert ended.out.endswith(f" from {filled.cache}\n")
    assert filled.artifacts() == []
    assert filled.ok("import autoaccel, one; print(one.value())") == "1"


@pytest.mark.parametrize(("answer", "status", "left"), [("y\n", 0, 0), ("n\n", 130, 2), ("\x03", 130, 2)])
def test_clear_asks_in_a_terminal(accel, filled, answer, status, left):
    ended, shown = accel.in_terminal("cache", "clear", answer=("]: ", answer))
    assert "Remove 2 compiled modules (" in shown
    assert (ended, len(filled.artifacts())) == (status, left)
