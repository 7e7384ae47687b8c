"""``autoaccel build``: what it prints, for people and for programs, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import need

pytestmark = pytest.mark.core


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


@pytest.fixture
def three(project):
    """Two modules that build, and one that does not."""
    project.write("pkg/__init__.py", "")
    project.c("pkg/good.c", 3)
    project.c("pkg/bad.c", before="int broken = ;")
    project.c("top.c", 4)
    project.write("helper.c", "int helper(void) { return 1; }")
    return project


def test_one_line_for_each_module_and_its_errors_at_the_end(accel, three):
    ended = accel("build")
    lines = ended.out.splitlines()
    assert ended.status == 1
    assert sorted(re.sub(r"\d+\.\d\d s", "N s", line) for line in lines) == [
        "built pkg.good N s",
        "built top N s",
        "failed pkg.bad",
    ]
    assert ended.err.count("expected expression") == 1
    # The compiler of this Python: gcc, or x86_64-linux-gnu-gcc.
    assert re.search(rf"pkg\.bad: \S*cc failed on {re.escape(str(three.root))}/pkg/bad\.c", ended.err)
    assert re.search(r"\n2 built, 1 failed in \d+\.\d\d s\n\Z", ended.err)
    assert "\x1b" not in ended.out + ended.err


def test_what_was_built_is_loaded_and_not_built_again(accel, three):
    counting = three.compiler()
    (three.root / "pkg" / "bad.c").unlink()
    assert accel("build").status == 0
    compiles = counting.compiles
    assert three.ok("import autoaccel, top, pkg.good; print(top.value(), pkg.good.value())") == "4 3"
    again = accel("build")
    assert (again.status, sorted(again.out.splitlines())) == (0, ["cached pkg.good", "cached top"])
    assert counting.compiles == compiles


def test_modules_that_are_built_side_by_side_have_the_same_compiler(accel, project):
    """What they have in common is kept once, and looked at once by a process that imports them."""
    for number in range(4):
        project.c(f"m{number}.c", number)
    assert accel("build").status == 0
    common = [path.name for path in project.cache.glob("v2/contexts/*") if path.suffix != ".absent"]
    assert len(common) == 1


def test_force_builds_again(accel, project):
    project.c("top.c")
    accel("build")
    assert accel("build", "--force").out.startswith("built top ")


def test_a_file_and_a_folder_as_paths(accel, three):
    assert accel("build", "top.c").out.startswith("built top ")
    ended = accel("build", "pkg", "--jobs", "1")
    assert sorted(line.split()[1] for line in ended.out.splitlines()) == ["pkg.bad", "pkg.good"]


def test_modules_have_the_names_by_which_the_folder_s_programs_import_them(accel, project):
    project.c("plain/inner.c")
    assert accel("build").out.startswith("built plain.inner ")
    assert accel("build", cwd=project.root / "plain").out.startswith("built inner ")


def test_a_folder_s_modules_are_built_for_the_imports_that_are_written(accel, project):
    project.c("ns/x.c")
    project.write("app.py", "import autoaccel, ns.x; print(ns.x.value())")
    assert accel("build", "ns").out.startswith("built ns.x ")
    assert accel.python("app.py", AUTOACCEL="load").out == "1\n"
    ended = accel("build", "ns", "--root", "ns")
    assert ended.out.startswith("built x ")
    assert "imported from ns (--root names another)\n" in ended.err


def test_a_root_that_does_not_hold_the_folder(accel, project):
    project.c("ns/x.c")
    project.write("other/y.py", "")
    ended = accel("build", "ns", "--root", "other")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"autoaccel: {project.root}/ns is not below {project.root}/other, ")


def test_options_for_a_module_that_is_not_there_are_told(accel, project):
    project.c("pkg/one.c")
    project.write("pyproject.toml", '[tool.autoaccel.modules."pkg.oen"]\nlibraries = ["m"]\n')
    ended = accel("build", "pkg", "--root", ".")
    assert ended.status == 0
    assert ended.err.startswith(
        f'autoaccel: {project.root}/pyproject.toml: [tool.autoaccel.modules."pkg.oen"]: '
        "the project has no native module of this name"
    )


def test_a_declaration_with_a_misspelt_word_fails_under_its_name(accel, project):
    project.c("one.c")
    project.write("pyproject.toml", '[[tool.setuptools.ext-modules]]\nname = "pkg.one"\nsource = ["one.c"]\n')
    ended = accel("build")
    assert ended.status == 1
    assert "failed pkg.one\n" in ended.out
    assert ended.err.count("unknown key `source`. Did you mean `sources`?") == 1


def test_a_compiler_s_warnings_are_shown_on_request(accel, project):
    need("Cython")
    project.write("late.pyx", "def f():\n    return 1\n    print(2)\n")
    assert "Unreachable" not in accel("build").err
    ended = accel("build", "-v", "--force")
    assert re.search(r"^autoaccel: late: .*Unreachable code", ended.err, re.MULTILINE)


def test_what_is_not_built_is_told_on_request(accel, project):
    project.c("my-module.c")
    project.write("helper.c", "int x;")
    project.c("left.c")
    project.write("pyproject.toml", "[tool.autoaccel]\nexclude = ['le*']\n[tool.autoaccel.modules.x]\n")
    ended = accel("build", "-v")
    assert ended.status == 2
    assert ended.err.count(f"autoaccel: {project.root}/left.c is not built: `exclude` names left\n") == 1
    assert f"autoaccel: {project.root}/my-module.c is not built: its name can't be imported\n" in ended.err
    assert f"autoaccel: {project.root}/helper.c is not built: it does not define a module of its name\n" in ended.err


def test_a_folder_without_sources(accel, project):
    ended = accel("build")
    assert (ended.status, ended.out, ended.err) == (2, "", f"autoaccel: no native sources in {project.root}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "{root}/nowhere does not exist"),
        (["/dev/null"], "/dev/null is neither a file nor a folder"),
        (["notes.txt"], "{root}/notes.txt is not the source of a native module"),
        (["--jobs", "0"], "Invalid value for '-j' / '--jobs'"),
        (["--what"], "No such option"),
    ],
)
def test_bad_usage(accel, project, words, told):
    project.write("notes.txt", "")
    ended = accel("build", *words)
    assert (ended.status, ended.out) == (2, "")
    assert told.format(root=project.root) in ended.err
    assert "Traceback" not in ended.err


def test_json_holds_what_the_lines_and_the_errors_say(accel, three):
    ended = accel("build", "--json")
    assert (ended.status, ended.err) == (1, "")
    modules = {module["name"]: module for module in ended.json["modules"]}
    assert {name: module["outcome"] for name, module in modules.items()} == {
        "pkg.bad": "failed",
        "pkg.good": "built",
        "top": "built",
    }
    bad = modules["pkg.bad"]
    assert bad["source"] == f"{three.root}/pkg/bad.c"
    assert bad["error"]["kind"] == "BuildError"
    first = bad["error"]["diagnostics"][0]
    assert (first["file"], first["line"], first["level"]) == (bad["source"], 2, "error")


def test_the_same_advice_is_given_once(accel, project):
    for name in "abc":
        project.c(f"{name}.c")
    project.env["CC"] = "no-such-compiler"
    ended = accel("build")
    assert ended.status == 1
    assert ended.err.count("Let $CC name a compiler") == 1
    assert "(the same for b, c)" in ended.err


def test_a_mistake_that_all_modules_share_is_told_once(accel, project):
    for name in "abc":
        project.c(f"{name}.c")
    project.write("pyproject.toml", "[tool.autoaccel]\nexlude = []\n")
    ended = accel("build")
    assert ended.status == 1
    assert ended.err.count("unknown key `exlude`") == 1
    assert "(the same for b, c)" in ended.err


def test_a_path_that_is_no_text(accel, project):
    folder = os.fsdecode(b"d\xe4r")
    project.c(f"{folder}/inn.c")
    module = accel("build", "--json").json["modules"][0]
    assert module["source"] == f"{project.root}/{folder}/inn.c"


def test_names_that_no_import_can_have(accel, project):
    project.c("my-mod.c")
    ended = accel("build", "my-mod.c")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        f"autoaccel: {project.root}/my-mod.c is not the source of a module: no import can name 'my-mod'.\n"
    )


def test_a_link_that_leads_nowhere_is_no_source(accel, project):
    (project.root / "gone.pyx").symlink_to("nowhere.pyx")
    ended = accel("build", "-v")
    assert (ended.status, ended.err) == (2, f"autoaccel: no native sources in {project.root}\n")


def test_a_terminal_shows_a_bar_and_a_summary(accel, three):
    status, shown = accel.in_terminal("build")
    assert status == 1
    assert "━" in shown
    assert "3/3" in shown
    assert re.search(r"failed.* pkg\.bad", shown)
    assert shown.count("expected expression") == 1
    assert re.search(r"2 built, 1 failed in \d+\.\d\d s\r\n\Z", shown)
    assert "autoaccel: building" not in shown


def test_a_file_in_the_folder_is_no_part_of_the_tool(accel, project):
    for name in ("json", "click", "filelock", "rich"):
        project.write(f"{name}.py", "raise SystemExit('the wrong module was imported')")
    project.c("top.c")
    entry = "import sys; sys.argv = ['autoaccel', 'build']; from autoaccel.cli import main; main()"
    project.write("bin/autoaccel", entry)
    ended = accel.python("bin/autoaccel", "build")
    assert (ended.status, ended.out[:10]) == (0, "built top ")


def test_ctrl_c_while_sources_are_still_being_handed_over(project):
    for number in range(3):
        project.c(f"m{number}.c")
    compiler = project.compiler(before='case "$*" in *" -c "*) exec sleep 40;; esac')
    started = time.monotonic()
    out = project.ok(
        f"""
        import os, signal, time
        from concurrent.futures import ThreadPoolExecutor
        submit = ThreadPoolExecutor.submit
        def slow(*args):
            done = submit(*args)
            while " -c " not in open({str(compiler.log)!r}).read(): time.sleep(0.02)
            signal.raise_signal(signal.SIGINT)
            return done
        ThreadPoolExecutor.submit = slow
        open({str(compiler.log)!r}, "a").close()
        import autoaccel
        try:
            autoaccel.build(".")
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert out == "interrupted"
    assert time.monotonic() - started < 40
    assert list(project.cache.glob("v2/builds/*")) == []


def test_ctrl_c_ends_it_with_130_and_leaves_nothing_behind(accel, project):
    project.c("top.c")
    project.compiler(before='case "$*" in *" -c "*) exec sleep 40;; esac')
    child = subprocess.Popen(
        [sys.executable, "-m", "autoaccel", "build"],
        cwd=project.root,
        env=project.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = project.cache.parent / "counting-cc.log"
    end = time.monotonic() + 60
    while not log.exists() or " -c " not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    try:
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    assert child.returncode == 130
    assert "Traceback" not in err
    assert list(project.cache.glob("v2/builds/*")) == []
