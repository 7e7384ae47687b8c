"""New code in a running process: ``importlib.reload``, ``autoaccel.watch`` and ``sync``, and who has names of the old."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Project, c_module, need
from tests.rust import PYO3, compiled_bindings, pyo3_crate, rust  # noqa: F401  (fixtures)


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


CYTHON = """
cdef class Box:
    cdef public int n
    def __init__(self):
        self.n = 4711
def value():
    return Box().n
"""


def reloads(project: Project, path: str, text: str, contents: int, count: int) -> str:
    """Reload ``sample`` many times with some contents by turns; what the last one gives."""
    return project.ok(
        f"""
        import importlib, pathlib, sys
        path, text = pathlib.Path({path!r}), {text!r}
        def edit(number):
            path.write_text(text.replace("4711", str(number)))
        edit(-1)
        import autoaccel, sample
        first, old = sample, sample.value
        for number in range({count}):
            edit(number % {contents})
            assert importlib.reload(sample) is first is sys.modules["sample"]
            assert sample.value() == number % {contents}, number
        kept = sample.value
        assert importlib.reload(sample).value is kept, "an unchanged source is left alone"
        path.write_text(text.replace("4711", "4 4"))
        try:
            importlib.reload(sample)
        except autoaccel.BuildError as error:
            assert sample.value is kept and sys.modules["sample"] is first
            print(old(), sample.value(), pathlib.Path(error.path).name)
        """
    )


class TestEveryToolchain:
    """The same module object, new functions, whatever it is written in; an undone edit is a change as well."""

    @pytest.mark.core
    def test_cython(self, project: Project) -> None:
        need("Cython")
        assert reloads(project, "sample.pyx", CYTHON, 3, 200) == "-1 1 sample.pyx"

    def test_cython_in_one_phase(self, project: Project) -> None:
        need("Cython")
        text = "# distutils: define_macros = CYTHON_PEP489_MULTI_PHASE_INIT=0\n" + CYTHON
        assert reloads(project, "sample.pyx", text, 2, 50) == "-1 1 sample.pyx"

    def test_c(self, project: Project) -> None:
        assert reloads(project, "sample.c", c_module("sample", 4711), 4, 200) == "-1 3 sample.c"

    def test_c_in_one_phase(self, project: Project) -> None:
        assert reloads(project, "sample.c", c_module("sample", 4711, single=True), 3, 100) == "-1 0 sample.c"

    def test_cpp(self, project: Project) -> None:
        text = c_module("sample", 4711).replace("(void *)run", "reinterpret_cast<void *>(run)")
        assert reloads(project, "sample.cpp", text, 2, 20) == "-1 1 sample.cpp"

    def test_a_crate(self, rust: Project) -> None:  # noqa: F811
        pyo3_crate(rust)
        text = PYO3.format(stem="sample", factor=4711).replace("add_two(a: i64, b: i64)", "value()")
        text = text.replace("add_two", "value").replace("4711 * (a + b)", "4711")
        assert reloads(rust, "sample/src/lib.rs", text, 2, 6) == "-1 1 Cargo.toml"

    def test_a_single_rust_file(self, rust: Project) -> None:  # noqa: F811
        text = PYO3.format(stem="sample", factor=4711).replace("add_two(a: i64, b: i64)", "value()")
        text = text.replace("add_two", "value").replace("4711 * (a + b)", "4711")
        assert reloads(rust, "sample.rs", text, 2, 6) == "-1 1 sample.rs"

    def test_numba(self, project: Project) -> None:
        need("numba")
        out = project.ok(
            """
            import importlib, pathlib
            path = pathlib.Path("sample.py")
            def edit(number):
                path.write_text(f"from numba import njit\\n@njit\\ndef value():\\n    return {number} + {'0' * (number % 7)}0\\n")
            edit(100)
            import autoaccel, sample
            for number in range(8):
                edit(number)
                assert importlib.reload(sample).value() == number
            print("done")
            """
        )
        assert out == "done"

    @pytest.mark.parametrize("renewed", ["importlib.reload(sample)", "autoaccel.sync(wait=None)"])
    def test_numba_edited_twice_within_one_second(self, project: Project, renewed: str) -> None:
        need("numba")
        out = project.ok(
            f"""
            import importlib, os, pathlib, time
            path, second = pathlib.Path("sample.py"), int(time.time()) + 1000
            def edit(number):
                path.write_text(f"from numba import njit\\n@njit\\ndef value():\\n    return {{number}}\\n")
                os.utime(path, ns=(0, second * 10**9 + number))
            edit(100)
            import autoaccel, sample
            with autoaccel.watch():
                for number in range(101, 105):
                    edit(number)
                    {renewed}
                    print(sample.value())
            """
        )
        assert out.split() == ["101", "102", "103", "104"]


WATCH = """
import importlib, os, pathlib, sys, threading, time
import autoaccel
def edit(name, text):
    # Whole: who watches may look at any moment.
    pathlib.Path("." + name).write_text(text)
    os.replace("." + name, name)
"""


class TestSync:
    """Builds in the background, swaps at points that the program chooses."""

    @pytest.mark.core
    @pytest.mark.parametrize("poll", [None, True])
    def test_the_old_code_until_sync(self, project: Project, poll: bool | None) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            WATCH
            + f"""
import sample
rounds, done = [], threading.Event()
def told(one):
    rounds.append(one)
    done.set()
with autoaccel.watch(callback=told, poll={poll}):
    assert autoaccel.sync() == ()
    done.clear()
    edit("sample.c", {c_module("sample", 2)!r})
    assert done.wait(60)
    print(sample.value(), [source.name for source, _ in rounds[-1].built], rounds[-1].good)
    print(autoaccel.sync(), sample.value(), autoaccel.sync())
    edit("sample.c", {c_module("sample", "nowhere")!r})
    try:
        autoaccel.sync(wait=None)
    except autoaccel.BuildError as error:
        print(error.name, "nowhere" in error.msg)
    print(autoaccel.sync(wait=None), sample.value())
    edit("sample.c", {c_module("sample", 3)!r})
    print(autoaccel.sync(wait=60), sample.value())
try:
    autoaccel.sync()
except RuntimeError as error:
    print(error)
print([one.name for one in threading.enumerate()])
"""
        ).splitlines()
        assert out == [
            "1 ['sample'] True",
            "('sample',) 2 ()",
            "sample True",
            "() 2",
            "('sample',) 3",
            "nothing is watched: call autoaccel.watch() first",
            "['MainThread']",
        ]

    def test_several_modules_at_once_or_none(self, project: Project) -> None:
        need("Cython")
        pxd = "cdef class Box:\n    cdef public int n\n"
        project.write("box.pxd", pxd)
        project.write("box.pyx", "cdef class Box:\n    def __init__(self): self.n = 1\n")
        project.write("user.pyx", "from box cimport Box\nimport box\ndef value(): return (<Box>box.Box()).n\n")
        out = project.ok(
            WATCH
            + """
import user, box
with autoaccel.watch():
    edit("box.pxd", "cdef class Box:\\n    cdef public long long first\\n    cdef public int n\\n")
    edit("box.pyx", "cdef class Box:\\n    def __init__(self): self.n = 2; self.first = 1 << 40\\n")
    print(autoaccel.sync(wait=None), user.value(), user.box is box, isinstance(box.Box(), user.box.Box))
    edit("box.pyx", "cdef class Box:\\n    def __init__(self): self.n = 3\\n")
    edit("user.pyx", "from box cimport Box\\nimport box\\nraise KeyError('not today')\\ndef value(): return 0\\n")
    try:
        autoaccel.sync(wait=None)
    except KeyError as error:
        print(repr(error), box.Box().n, user.value(), sys.modules["box"] is box, sys.modules["user"] is user)
    assert autoaccel.sync(wait=None) == autoaccel.sync() == ()
    edit("user.pyx", "from box cimport Box\\nimport box\\ndef value(): return 10 * (<Box>box.Box()).n\\n")
    print(sorted(autoaccel.sync(wait=None)), user.value())
"""
        ).splitlines()
        assert out == [
            "('box', 'user') 2 True True",
            "KeyError('not today') 2 2 True True",
            "['box', 'user'] 30",
        ]

    def test_ctrl_c_while_new_code_starts(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "def value(): return 1\n")
        out = project.ok(
            WATCH
            + """
import sample
with autoaccel.watch():
    edit("sample.pyx", "import os, signal\\nif os.environ.pop('FIRST', ''): signal.raise_signal(signal.SIGINT)\\n"
         "def value(): return 2\\n")
    os.environ["FIRST"] = "yes"
    try:
        autoaccel.sync(wait=None)
    except KeyboardInterrupt:
        print("interrupted", sample.value())
    print(autoaccel.sync(), sample.value())
"""
        ).splitlines()
        assert out == ["interrupted 1", "('sample',) 2"]

    def test_a_callback_that_swaps(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            WATCH
            + f"""
import sample
with autoaccel.watch(".", callback=lambda one: autoaccel.sync()):
    edit("sample.c", {c_module("sample", 2)!r})
    end = time.monotonic() + 60
    while sample.value() != 2 and time.monotonic() < end:
        time.sleep(0.01)
print(sample.value())
"""
        )
        assert out == "2"

    def test_a_callback_that_fails_tells_why(self, project: Project) -> None:
        project.c("sample.c", 1)
        done = project.run(
            WATCH
            + f"""
import sample
def told(one):
    try:
        autoaccel.sync()
    finally:
        rounds.set()
rounds = threading.Event()
with autoaccel.watch(callback=told):
    autoaccel.sync(wait=None)
    rounds.clear()
    edit("sample.c", {c_module("sample", "nowhere")!r})
    assert rounds.wait(60)
    time.sleep(0.2)
"""
        )
        assert done.status == 0
        assert "autoaccel: the callback of autoaccel.watch() has failed\nTraceback" in done.err
        assert "BuildError: sample: " in done.err
        assert "nowhere" in done.err

    def test_what_somebody_else_has_built_before_it_watches(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            WATCH
            + f"""
import sample
edit("sample.c", {c_module("sample", 2)!r})
autoaccel.build("sample.c")
with autoaccel.watch():
    print(autoaccel.sync(wait=None), sample.value(), autoaccel.sync(wait=None))
"""
        )
        assert out == "('sample',) 2 ()"

    def test_where_nothing_is_to_be_compiled(self, project: Project) -> None:
        before = project.c("sample.c", 1).read_text()
        compiler = project.compiler()
        project.ok("import autoaccel, sample")
        compiled = compiler.compiles
        script = (
            WATCH
            + f"""
import sample
with autoaccel.watch(PATHS):
    print(autoaccel.sync(wait=None))
    edit("sample.c", {c_module("sample", 2)!r})
    try:
        autoaccel.sync(wait=None)
    except autoaccel.LoadError as error:
        print("forbids to compile" in error.msg, sample.value())
    edit("sample.c", {before!r})
    print(autoaccel.sync(wait=None))
"""
        )
        for words in ("", "'.'"):
            out = project.ok(script.replace("PATHS", words), AUTOACCEL="load")
            assert out.splitlines() == ["()", "True 1", "()"]
        assert compiler.compiles == compiled

    def test_a_module_that_is_imported_while_it_watches(self, project: Project) -> None:
        project.c("late.c", 1)
        out = project.ok(
            WATCH
            + f"""
with autoaccel.watch():
    import late
    edit("late.c", {c_module("late", 2)!r})
    print(autoaccel.sync(wait=None), late.value())
"""
        )
        assert out == "('late',) 2"

    def test_another_thread_imports_while_new_code_is_put_in(self, project: Project) -> None:
        project.c("sample.c", 1)
        project.c("other.c", 1)
        out = project.ok(
            WATCH
            + f"""
import other, sample
from autoaccel.live import swap
def meanwhile(frame, event, arg):
    if frame.f_code.co_filename == swap.__file__ and len(autoaccel.loaded) < 9:
        autoaccel.loaded[f"m{{len(autoaccel.loaded)}}"] = ""
        return meanwhile
with autoaccel.watch():
    edit("sample.c", {c_module("sample", 2)!r})
    sys.settrace(meanwhile)
    print(autoaccel.sync(wait=None), sample.value())
"""
        )
        assert out == "('sample',) 2"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_syncs_nothing_and_ends(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            WATCH
            + """
import sample
watching = autoaccel.watch()
child = os.fork()
if child == 0:
    assert autoaccel.sync(wait=5) == ()
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
        )
        assert out == "7"

    @pytest.mark.parametrize("native", [False, True])
    def test_numba_functions_that_are_edited_before_it_watches(self, project: Project, native: bool) -> None:
        need("numba")
        project.write("sample.py", "from numba import njit\n@njit\ndef value():\n    return 1\n")
        if native:
            project.ok("import autoaccel, sample; sample.value()", AUTOACCEL_NUMBA="wait")
        out = project.ok(
            WATCH
            + """
import sample
print(sample.value())
edit("sample.py", "from numba import njit\\n@njit\\ndef value():\\n    return 21  # changed\\n")
with autoaccel.watch():
    print(autoaccel.sync(wait=None), sample.value(), autoaccel.sync(wait=None))
"""
        ).splitlines()
        assert out == ["1", "('sample',) 21 ()"]

    def test_numba_functions_that_are_made_from_another_file(self, project: Project) -> None:
        need("numba")
        project.write("inner.py", "from numba import njit\n@njit\ndef one():\n    return 1\n")
        project.write(
            "outer.py", "from numba import njit\nfrom inner import one\n@njit\ndef two():\n    return 2 * one()\n"
        )
        out = project.ok(
            WATCH
            + """
import outer
print(outer.two())
with autoaccel.watch("."):
    edit("inner.py", "from numba import njit\\n@njit\\ndef one():\\n    return 21  # changed\\n")
    print(autoaccel.sync(wait=None), outer.two())
"""
        ).splitlines()
        assert out == ["2", "('inner', 'outer') 42"]


def test_dependents_are_imported_again(project: Project) -> None:
    project.c("native.c", 1)
    project.write("user.py", "from native import value\ndef twice(): return 2 * value()\n")
    project.write("user_of_user.py", "from user import twice\nLIMIT = twice()\n")
    project.write("stranger.py", "import native\nRUNS = []\n")
    out = project.ok(
        f"""
        import importlib, pathlib, autoaccel, native, user, user_of_user, stranger
        stranger.RUNS.append(1)
        pathlib.Path("native.c").write_text({c_module("native", 5)!r})
        importlib.reload(native)
        print(native.value(), user.twice(), user_of_user.LIMIT)
        print(autoaccel.reload_dependents(native), user.twice(), user_of_user.LIMIT, stranger.RUNS)
        """
    ).splitlines()
    assert out == ["5 2 2", "('user', 'user_of_user') 10 10 [1]"]


def test_dependents_that_take_names_from_each_other_run_in_that_order(project: Project) -> None:
    project.c("native.c", 1)
    project.write("middle.py", "from native import value\nimport last\n")
    project.write("last.py", "import middle\nfrom native import value as first\n")
    # Its value is of the native module too, but it has it from another one.
    project.write("a_user.py", "from middle import value\n")
    out = project.ok(
        f"""
        import importlib, pathlib, autoaccel, native, middle, a_user
        pathlib.Path("native.c").write_text({c_module("native", 5)!r})
        importlib.reload(native)
        print(sorted(autoaccel.reload_dependents(native)), middle.value(), a_user.value())
        """
    )
    assert out == "['a_user', 'last', 'middle'] 5 5"


def test_a_native_dependent_is_run_again(project: Project) -> None:
    need("Cython")
    project.write("helper.py", "def number(): return 1\n")
    project.write("sample.pyx", "from helper import number\ndef value(): return number()\n")
    out = project.ok(
        """
        import importlib, pathlib, autoaccel, helper, sample
        pathlib.Path("helper.py").write_text("def number(): return 2  # now\\n")
        importlib.reload(helper)
        print(sample.value(), autoaccel.reload_dependents(helper), sample.value())
        """
    )
    assert out == "1 ('sample',) 2"


def test_what_is_no_module(project: Project) -> None:
    result = project.run("import autoaccel; autoaccel.reload_dependents('json')")
    assert result.last == "TypeError: reload_dependents() takes a module, not str"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_mounts_that_give_no_events(tmp_path: Path) -> None:
    from autoaccel.live.events import silent_mount

    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:41 / /mnt/c rw,noatime - 9p drvfs rw\n"
        "41 22 0:42 / /srv/my\\040files rw - fuse.sshfs host: rw\n"
        "42 22 0:43 / /home rw - nfs4 host:/home rw\n"
    )
    told = {
        path: silent_mount(path, str(table)) for path in ("/usr/x", "/mnt/c/x", "/mnt/cc", "/srv/my files/x", "/home")
    }
    assert told == {"/usr/x": None, "/mnt/c/x": "9p", "/mnt/cc": None, "/srv/my files/x": "fuse.sshfs", "/home": "nfs4"}
    assert silent_mount("/usr", str(tmp_path / "nowhere")) is None
