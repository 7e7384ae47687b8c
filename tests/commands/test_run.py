"""``autoaccel run`` does what ``python`` does: the two are started side by side, and compared."""

from __future__ import annotations

import compileall
import signal
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import asleep

pytestmark = pytest.mark.core

TELLING = """
    '''The docstring.'''
    import sys
    print(sys.argv, sys.path[0], __name__, __doc__, __file__, __package__, __spec__ and __spec__.name, type(__loader__).__name__)
    print(sorted(globals()), sys.modules["__main__"].__dict__ is globals())
"""


def same(accel, *words, **how):
    """Both end alike and say the same; what `python` says of itself names the interpreter."""
    ours, theirs = accel("run", *words, **how), accel.python(*words, **how)
    assert (ours.status, ours.out) == (theirs.status, theirs.out)
    assert ours.err == theirs.err
    return ours


@pytest.mark.parametrize("spelled", ["prog.py", "./prog.py", "sub/../prog.py"])
def test_a_script_sees_what_python_shows_it(accel, project, spelled):
    project.write("prog.py", TELLING)
    project.write("sub/other.py", "")
    ended = same(accel, spelled, "-h", "--version", "-v", "--", "-m", "x y")
    assert ended.status == 0
    assert "'--version', '-v', '--', '-m', 'x y']" in ended.out


def test_a_script_behind_a_link_imports_from_where_it_is(accel, project):
    project.write("real/prog.py", "import near, sys; print(near.__file__, sys.path[0])")
    project.write("real/near.py", "")
    (project.root / "link.py").symlink_to("real/prog.py")
    assert same(accel, "link.py").status == 0


def test_a_module_a_package_and_a_submodule(accel, project):
    project.write("prog.py", TELLING)
    project.write("pkg/__init__.py", "print('package first')")
    project.write("pkg/__main__.py", TELLING)
    project.write("pkg/sub.py", TELLING)
    for name in ("prog", "pkg", "pkg.sub"):
        assert same(accel, "-m", name, "-m", "--x").status == 0
    assert same(accel, "-mpkg.sub", "--x").status == 0


def test_a_folder_a_zip_file_and_bytecode(accel, project):
    main = project.write("folder/__main__.py", TELLING)
    with zipfile.ZipFile(project.root / "program.pyz", "w") as archive:
        archive.write(main, "__main__.py")
    prog = project.write("prog.py", TELLING)
    compileall.compile_file(prog, quiet=1, legacy=True)
    for path in ("folder", "program.pyz", "prog.pyc"):
        assert same(accel, path, "a").status == 0


@pytest.mark.parametrize(
    "end",
    [
        "raise SystemExit",
        "sys.exit(7)",
        "sys.exit('said at the end')",
        "def deep():\n    1 / 0\ndeep()",
        "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError(2) from e",
        "import json; json.loads('{')",
        "sys.excepthook = lambda *a: print('hooked', a[0], a[2].tb_lineno, a[1].__traceback__ is a[2]); 1 / 0",
        "import atexit; atexit.register(print, 'at exit'); [].x",
        "import threading; threading.Thread(target=lambda: 1 / 0).start()",
        "import os; os._exit(5)",
        "raise ExceptionGroup('two', [ValueError(1), KeyError(2)])",
        "class Odd(BaseException): pass\nraise Odd('not an Exception')",
        "import nowhere",
        "import warnings; warnings.warn('careful')",
        "f'{'",
        "print('utf-8: ÄÖ€')",
    ],
)
def test_every_end_of_a_program_looks_as_ever(accel, project, end):
    project.write("prog.py", "import sys\n" + end)
    same(accel, "prog.py", PYTHONIOENCODING="utf-8")


def test_a_failing_module_shows_what_python_m_shows(accel, project):
    project.write("prog.py", "def deep():\n    1 / 0\ndeep()")
    assert "ZeroDivisionError" in same(accel, "-m", "prog").err


def test_the_last_exception_is_kept_without_our_frames(accel, project):
    project.write(
        "prog.py",
        """
        import atexit, sys
        atexit.register(lambda: print(sys.last_traceback.tb_frame.f_code.co_filename, sys.last_value))
        raise ValueError("kept")
        """,
    )
    assert "prog.py kept" in same(accel, "prog.py").out


def test_a_script_that_is_not_there(accel, project):
    ended = accel("run", "nowhere.py")
    path = project.root / "nowhere.py"
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == f"autoaccel: can't open file '{path}': [Errno 2] No such file or directory\n"


def test_a_native_source_in_the_place_of_a_script(accel, project):
    project.write("sample.pyx", "cdef int x = 1\n")
    ended = accel("run", "sample.pyx")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "autoaccel: sample.pyx is the source of a module, not a program: run a script that imports it\n"
    )


def test_a_module_that_is_not_there(accel):
    ended = accel("run", "-m", "nowhere")
    assert (ended.status, ended.err) == (1, f"{sys.executable}: No module named nowhere\n")


@pytest.mark.parametrize("words", [[], ["-m"], ["-x", "prog.py"], ["--verbose", "prog.py"]])
def test_a_command_line_without_a_program(accel, words):
    ended = accel("run", *words)
    assert (ended.status, ended.out) == (2, "")
    assert "Usage: autoaccel run" in ended.err


def test_ctrl_c_ends_the_program_as_it_would_have(accel, project):
    project.write("prog.py", "import time; print('up', flush=True); time.sleep(60)")
    ends = []
    for words in (["-m", "autoaccel", "run", "prog.py"], ["prog.py"]):
        child = subprocess.Popen(
            [sys.executable, *words],
            cwd=project.root,
            env=project.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        asleep(child)
        child.send_signal(signal.SIGINT)
        ends.append((*child.communicate(timeout=30), child.returncode))
    assert ends[0] == ends[1]
    assert ends[0][2] == -signal.SIGINT


def test_safe_path_keeps_the_script_s_folder_out(accel, project):
    project.write("prog.py", "import sys; print(sys.path)")
    assert same(accel, "prog.py", PYTHONSAFEPATH="1").status == 0


def test_functions_of_the_program_can_be_pickled(accel, project):
    project.write(
        "prog.py",
        """
        import multiprocessing, pickle
        def double(x): return 2 * x
        if __name__ == "__main__":
            assert pickle.loads(pickle.dumps(double)) is double
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(double, [1, 2]))
        """,
    )
    assert same(accel, "prog.py").out == "[2, 4]\n"


def test_a_program_imports_native_sources_without_a_word_about_them(accel, project):
    project.c("lib/native.c", 42)
    project.write("lib/prog.py", "import native; print(native.value(), native.__file__)")
    ended = accel("run", "lib/prog.py")
    assert (ended.status, ended.out, ended.err) == (0, f"42 {project.root}/lib/native.c\n", "")
    ended = accel("run", "-m", "prog", cwd=project.root / "lib")
    assert (ended.status, ended.out, ended.err) == (0, f"42 {project.root}/lib/native.c\n", "")


def test_verbose_tells_what_is_built_and_why(accel, project):
    project.c("native.c")
    project.write("prog.py", "import native")
    first, second = accel("-v", "run", "prog.py"), accel("-v", "run", "prog.py")
    assert f"autoaccel: native: building {project.root}/native.c (never built here)\n" in first.err
    assert (second.status, second.err) == (0, "")


def test_a_build_error_ends_with_the_compiler_s_words_not_with_our_frames(accel, project):
    project.c("native.c", before="int broken = ;")
    project.write("prog.py", "import native")
    ended = accel("run", "prog.py")
    assert ended.status == 1
    head, _, tail = ended.err.partition("autoaccel.errors.BuildError: ")
    file = project.root / "prog.py"
    assert head == f'Traceback (most recent call last):\n  File "{file}", line 1, in <module>\n    import native\n'
    assert f"{project.root}/native.c:2:" in tail
    assert "expected expression" in tail


def test_a_warm_run_loads_neither_the_parser_nor_the_cold_room(accel, project):
    project.c("native.c")
    project.write("prog.py", "import native, sys; print(*sorted(sys.modules))")
    accel("run", "prog.py")
    loaded = accel("run", "prog.py").out.split()
    heavy = {
        "click",
        "rich",
        "logging",
        "subprocess",
        "tomllib",
        "json",
        "hashlib",
        "autoaccel.pipeline",
        "autoaccel.errors",
    }
    assert heavy.isdisjoint(loaded)
    ours = {name for name in loaded if name.startswith("autoaccel")}
    warm = {"__main__", "cli", "commands", "commands.run", "directories", "finder", "loader", "manifest", "projects"}
    assert ours <= {f"autoaccel.{name}" for name in warm} | {"autoaccel"}
