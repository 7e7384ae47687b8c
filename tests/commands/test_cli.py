"""The command line as a whole: words before the verb, help, bad words."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

import autoaccel

pytestmark = pytest.mark.core


def test_version(accel):
    assert accel("--version").out == f"autoaccel {autoaccel.__version__}\n"


@pytest.mark.parametrize("words", [[], ["run"], ["build"], ["explain"], ["doctor"], ["cache"], ["cache", "clear"]])
def test_help_with_both_words(accel, words):
    short, long = accel(*words, "-h"), accel(*words, "--help")
    assert (short.status, short.err) == (0, "")
    assert short.out == long.out
    assert short.out.startswith(" ".join(["Usage: autoaccel", *words]))


def test_help_names_every_verb_without_cutting_its_sentence(accel):
    shown = accel("-h").out
    for verb in ("build", "cache", "doctor", "explain", "run"):
        assert f"\n  {verb} " in shown
    assert "..." not in shown.partition("Commands:")[2]


@pytest.mark.parametrize("words", [["buidl"], ["--what"], ["cache", "what"]])
def test_words_that_mean_nothing(accel, words):
    ended = accel(*words)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: autoaccel" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colours_where_nobody_wants_them(accel, variable, value):
    assert "\x1b[" in accel.in_terminal("explain", "sys")[1]
    assert "\x1b[" not in accel.in_terminal("explain", "sys", **{variable: value})[1]


def test_help_in_a_narrow_terminal_cuts_no_sentence(accel):
    assert "..." not in accel.in_terminal("-h", COLUMNS="40")[1].partition("Commands:")[2]


@pytest.mark.parametrize("words", [["build"], ["doctor"], ["explain", "sample"]])
def test_the_current_folder_is_gone(accel, project, words):
    folder = project.root / "gone"
    folder.mkdir()
    command = shlex.join([sys.executable, "-m", "autoaccel", *words])
    done = subprocess.run(
        ["/bin/sh", "-c", f"rmdir '{folder}'; exec {command}"],
        cwd=folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("autoaccel: the current folder does not exist any more\n")


@pytest.mark.parametrize(("words", "status"), [(["cache", "info"], 0), (["cache", "clear"], 2)])
def test_streams_that_are_closed(accel, project, words, status):
    project.cache.mkdir(mode=0o700)
    command = shlex.join([sys.executable, "-m", "autoaccel", *words])
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {command} <&- >&-"],
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_a_broken_setting_is_one_line(accel, project):
    project.c("top.c")
    ended = accel("build", AUTOACCEL_JOBS="many")
    assert (ended.status, ended.err) == (2, "autoaccel: $AUTOACCEL_JOBS must be a number, not 'many'\n")


@pytest.mark.parametrize("words", [["doctor"], ["--version"], ["run", "app.py"], []])
def test_a_mode_that_means_nothing_is_one_line(accel, project, words):
    ended = accel(*words, AUTOACCEL="nonsense")
    told = "$AUTOACCEL is 'nonsense': known are on, off, build, load and check\n"
    assert (ended.status, ended.out, ended.err) == (2, "", f"autoaccel: {told}")
    script = project.write("bin/autoaccel", "from autoaccel.cli import main; main()")
    ended = accel.python(script, *words, AUTOACCEL="nonsense")
    assert (ended.status, ended.out, ended.err) == (2, "", f"autoaccel: {told}")
    ended = accel.python("-c", "import autoaccel", *words, AUTOACCEL="nonsense")
    assert ended.err.endswith(f"\nautoaccel.errors.ConfigError: {told}")


def test_verbose_tells_why_each_module_is_built(accel, project):
    project.c("top.c")
    ended = accel("-v", "build")
    assert f"autoaccel: top: building {project.root}/top.c" in ended.err
    assert f"autoaccel: top: building {project.root}/top.c" in accel("build", "-v", "--force").err
