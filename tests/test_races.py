"""What another thread does meanwhile: at the one moment at which it matters, where that can be chosen."""

from __future__ import annotations

import os
import sys
import time

import pytest

from autoaccel.numba.harvest import PYTHONS

from .conftest import Project, c_module, need

#: Waits that would never end are told, with where each thread is.
DOG = "import faulthandler; faulthandler.dump_traceback_later(60, exit=True)\n"


@pytest.fixture
def declaring(project: Project) -> Project:
    """A project that declares a module, and leaves another one to CPython; what it declares is remembered."""
    project.write(
        "pyproject.toml",
        "[tool.autoaccel]\nexclude = ['ex']\n[[tool.setuptools.ext-modules]]\nname = 'decl'\nsources = ['src/d.c']\n",
    )
    project.write("src/d.c", c_module("decl", 1))
    project.c("m.c", 2)
    time.sleep(0.1)  # what is younger is read once more
    assert project.ok("import autoaccel, decl, m; print(decl.value(), m.value())") == "1 2"
    return project


class TestTheImportLock:
    """Nothing is imported while it is kept: who imports the same in another thread waits for it."""

    def test_a_project_is_read_again_while_a_thread_imports_what_that_needs(self, declaring: Project) -> None:
        out = declaring.ok(
            DOG
            + """
import autoaccel, builtins, importlib, pathlib, sys, threading
sys.modules.pop("tomllib", None)
begun, needed, usual = threading.Event(), threading.Event(), builtins.__import__
def slowly(name, *rest, **words):
    if name == "_parser" and threading.current_thread() is other:
        begun.set()
        needed.wait(30)
    elif name == "tomllib" and threading.current_thread() is not other:
        needed.set()
    return usual(name, *rest, **words)
builtins.__import__ = slowly
other = threading.Thread(target=importlib.import_module, args=("tomllib",))
other.start()
begun.wait(30)
path = pathlib.Path("pyproject.toml")
path.write_text(path.read_text() + "# changed")
importlib.invalidate_caches()
other.join(30)
import decl
print(decl.value(), needed.is_set())
"""
        )
        assert out == "1 True"

    def test_the_hook_looks_around_while_a_thread_imports_its_rarer_cases(self, declaring: Project) -> None:
        declaring.c("late/l.c", 3)
        declaring.write("late/pyproject.toml", "[tool.autoaccel]\nexclude = ['other']\n")
        out = declaring.ok(
            DOG
            + """
import importlib.machinery, sys
sys.meta_path[:0], kept = [], sys.path_hooks[-1]
import autoaccel, builtins, threading
for name in [name for name in sys.modules if name.startswith("autoaccel.")]: del sys.modules[name]
begun, asked, usual = threading.Event(), threading.Event(), builtins.__import__
def slowly(name, *rest, **words):
    if name == "loader" and threading.current_thread() is other:
        begun.set()
        asked.wait(30)
    elif name == "autoaccel.finder" and threading.current_thread() is not other:
        asked.set()
    return usual(name, *rest, **words)
builtins.__import__ = slowly
other = threading.Thread(target=usual, args=("autoaccel.finder",))
other.start()
begun.wait(30)
# Somebody's finder, and a directory that came up while our hook was not there.
class Finder:
    def find_spec(self, *_): return None
sys.meta_path.append(Finder())
sys.path.insert(0, "late")
sys.path_importer_cache["late"] = importlib.machinery.FileFinder("late", *kept("/")._loaders and [
    (cls, [suffix]) for suffix, cls in kept("/")._loaders])
import l
other.join(30)
print(l.value(), asked.is_set())
"""
        )
        assert out == "3 True"


class TestDirectories:
    """A directory is ours for all threads, and follows its project, or it is not known yet."""

    def test_two_threads_ask_a_new_directory_while_its_project_is_read(self, declaring: Project) -> None:
        declaring.c("late/one.c", 1)
        declaring.c("late/two.c", 2)
        declaring.write("late/pyproject.toml", "[tool.autoaccel]\nexclude = ['other']\n")
        out = declaring.ok(
            DOG
            + """
import autoaccel, builtins, importlib, sys, threading, time
reading, usual, told = threading.Event(), builtins.__import__, {}
def slowly(name, *rest, **words):
    if name == "projects" and threading.current_thread() is first:
        reading.set()
        time.sleep(0.5)  # the other one is on its way
    return usual(name, *rest, **words)
builtins.__import__ = slowly
def load(name):
    told[name] = importlib.import_module(name).value()
sys.path.insert(0, "late")
first, second = (threading.Thread(target=load, args=(name,)) for name in ("one", "two"))
first.start()
reading.wait(30)
second.start()
first.join(60)
second.join(60)
print(sorted(told.items()))
"""
        )
        assert out == "[('one', 1), ('two', 2)]"

    def test_the_first_import_from_a_directory_that_is_new_obeys_its_project(self, declaring: Project) -> None:
        declaring.c("late/ex.c", 5)
        declaring.write("late/ex.py", "")
        declaring.write("late/pyproject.toml", "[tool.autoaccel]\nexclude = ['ex']\n")
        out = declaring.ok("import autoaccel, sys; sys.path.insert(0, 'late'); import ex; print(ex.__file__[-5:])")
        assert out == "ex.py"

    def test_reading_imports_what_this_thread_is_at_importing(self, declaring: Project) -> None:
        # `copy` looks for a module of Jython's, in all directories; the reading of a project needs `dataclasses`.
        declaring.c("late/l.c", 3)
        declaring.write("late/pyproject.toml", "[tool.autoaccel]\nexclude = ['other']\n")
        out = declaring.ok(
            DOG
            + """
import autoaccel, importlib, sys
for name in ("copy", "dataclasses", "inspect"): sys.modules.pop(name, None)
from autoaccel import finder
nested, usual = [], finder._read
def read(path, later):
    frame, names = sys._getframe(), []
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load": names.append(frame.f_locals["name"])
        frame = frame.f_back
    nested.extend(names[1:])
    return usual(path, later)
finder._read = read
sys.path.insert(0, "late")
import dataclasses
import l
print(l.value(), nested)
"""
        )
        assert out == "3 []"


class TestTheHook:
    """Putting it in and out, while somebody is on the way through the list."""

    def test_what_is_declared_after_a_handle_was_undone(self, declaring: Project) -> None:
        out = declaring.ok(
            """
            import autoaccel
            with autoaccel.install(): pass
            import decl
            print(decl.value())
            """
        )
        assert out == "1"

    def test_the_one_that_was_replaced_is_asked(self, declaring: Project) -> None:
        out = declaring.ok(
            """
            import autoaccel
            from autoaccel import finder
            # The import system has taken it from the list already when another thread replaces it.
            entry = next(finder.entries())
            handle = autoaccel.install()
            print(entry.find_spec("decl") is not None)
            handle.uninstall()
            autoaccel.uninstall()
            print(entry.find_spec("decl"))
            """
        ).splitlines()
        assert out == ["True", "None"]

    @pytest.mark.parametrize(
        "change", ["importlib.invalidate_caches()", "autoaccel.install(exclude=['no']).uninstall()"]
    )
    def test_threads_import_what_is_declared(self, declaring: Project, change: str) -> None:
        out = declaring.ok(
            DOG
            + f"""
import autoaccel, importlib, sys, threading, time
sys.setswitchinterval(1e-6)
problems, stop = [], time.monotonic() + 2
def look():
    while time.monotonic() < stop:
        for name in ("decl", "m"):
            try:
                importlib.import_module(name).value()
                sys.modules.pop(name, None)
            except BaseException as error:
                problems.append(repr(error))
def change():
    while time.monotonic() < stop:
        try: {change}
        except BaseException as error: problems.append(repr(error))
threads = [threading.Thread(target=one) for one in (look, look, change, change)]
for one in threads: one.start()
for one in threads: one.join()
print(len(problems), problems[:2])
"""
        )
        assert out == "0 []"

    def test_what_is_declared_while_two_threads_look_at_projects_again(self, declaring: Project) -> None:
        out = declaring.ok(
            DOG
            + """
import autoaccel, decl, importlib, sys, threading
from autoaccel import finder
def lines(frame, event, _):
    global at
    if event == "line":
        at += 1
        if at == place:
            other.start()
            reads.wait(20)
    return lines
def told(frame, event, _):
    return lines if frame.f_code is finder._obey.__code__ else None
def paused(frame, event, _):
    if frame.f_code is finder._read.__code__:
        reads.set()
        asked.wait(20)
def look():
    sys.settrace(paused)
    importlib.invalidate_caches()
place, at, values = 0, 1, []
while place < at:
    # Another thread is reading projects from when this one is at that line until `decl` is imported.
    place, at, reads, asked = place + 1, 0, threading.Event(), threading.Event()
    other = threading.Thread(target=look)
    sys.settrace(told)
    importlib.invalidate_caches()
    sys.settrace(None)
    del sys.modules["decl"]
    import decl
    values.append(decl.value())
    asked.set()
    if at >= place:
        other.join(20)
print(len(values) > 4, set(values))
"""
        )
        assert out == "True {1}"


#: A child of a process in which another thread is at something; how it has ended.
FORK = """
import os, signal
signal.alarm(100)  # a child could not end a watchdog's thread
def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        work()
        # The usual end, with all that runs then.
        raise SystemExit
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
class TestForks:
    """A child has one thread: what the others were at is over, what they held is free, and what is theirs is left alone."""

    @pytest.mark.parametrize(
        ("room", "function"),
        [("autoaccel.store", "replace"), ("autoaccel.early", "take"), ("autoaccel.declare", "project")],
    )
    def test_another_thread_is_at_a_build(self, project: Project, room: str, function: str) -> None:
        need("Cython")
        project.write("late/pyproject.toml", "[tool.autoaccel]\nexclude = ['ex']\n")
        project.write("late/first.pyx", "def value():\n    return 1\n")
        project.write("second.pyx", "def value():\n    return 2\n")
        out = project.ok(
            FORK
            + f"""
import autoaccel, importlib, sys, threading, time, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of forks beside threads
import {room} as room
usual, there, over = room.{function}, threading.Event(), threading.Event()
def slowly(*given, **words):
    if threading.current_thread() is other and "/contexts/" not in str(given):
        there.set()
        over.wait(60)
    return usual(*given, **words)
room.{function} = slowly
if {room!r} == "autoaccel.store":
    # Where its lock is held.
    usual_pack = room.manifest.read_pack
    room.{function}, room.manifest.read_pack = usual, slowly
    usual = usual_pack
sys.path.insert(0, "late")
other = threading.Thread(target=importlib.import_module, args=("first",))
other.start()
there.wait(60)
def work():
    started = time.monotonic()
    import second
    assert second.value() == 2
    assert time.monotonic() - started < 9, "it has waited for somebody who is not there"
print(there.is_set(), forked(work))
over.set()
other.join()
import first
print(first.value())
"""
        ).splitlines()
        assert out == ["True 0", "1"]

    def test_another_thread_is_at_building_the_same_module(self, project: Project) -> None:
        project.compiler("sleep 1")
        project.c("sample.c", 7)
        out = project.ok(
            FORK
            + """
import autoaccel, importlib, sys, threading, time, warnings
warnings.simplefilter("ignore")
other = threading.Thread(target=importlib.import_module, args=("sample",))
other.start()
while not [one for one in os.listdir("/proc/self/task") if one != str(os.getpid())]: time.sleep(0.01)
time.sleep(0.7)  # at the compiler's
assert "sample" not in sys.modules
def work():
    import sample
    assert sample.value() == 7
print(forked(work))
other.join()
import sample
print(sample.value())
"""
        ).split()
        assert out == ["0", "7"]

    def test_another_thread_is_at_a_module_of_python(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.write("slow.py", "import builtins, time\nif builtins.parent:\n    time.sleep(4)\nimport sample\n")
        out = project.ok(
            FORK
            + """
import autoaccel, builtins, importlib, sample, sys, threading, time, warnings
from autoaccel import loader
warnings.simplefilter("ignore")
builtins.parent = True
other = threading.Thread(target=importlib.import_module, args=("slow",))
other.start()
while "slow" not in sys.modules: time.sleep(0.01)
def work():
    builtins.parent = False
    import slow
    assert slow.sample.value() == 7
print(forked(work))
other.join()
print(sys.modules["slow"].sample.value())
"""
        ).split()
        assert out == ["0", "7"]

    def test_the_compile_server_ends_with_its_own_process(self, project: Project) -> None:
        need("Cython")
        project.write("first.pyx", "def value():\n    return 1\n")
        project.write("second.pyx", "def value():\n    return 2\n")
        out = project.run(
            FORK
            + """
import sys, time, warnings
warnings.simplefilter("ignore")
import autoaccel, first
from autoaccel.toolchains import cython
server = cython._server._process.pid
def work():
    import second
    assert cython._server._process.pid != server
print(forked(work), cython._server.alive, server, flush=True)
if os.fork() == 0:
    sys.stdout = open(os.devnull, "w")
    for number in (0, 1, 2): os.close(number)
    time.sleep(15)
os.kill(os.getpid(), signal.SIGKILL)
"""
        ).out.split()
        assert out[:2] == ["0", "True"]
        ended = time.monotonic() + 8
        while os.path.exists(f"/proc/{out[2]}") and time.monotonic() < ended:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{out[2]}")


def test_a_server_that_another_thread_has_replaced_is_asked(project: Project) -> None:
    need("Cython")
    project.write("first.pyx", "def value():\n    return 1\n")
    out = project.ok(
        """
        import autoaccel, first
        from autoaccel.toolchains import cython
        server = cython._server
        server.close()
        print(server.ask({"source": "x.pyx", "module": "x", "output": "x.c"}))
        """
    )
    assert out == "None"


class TestWhatChangesWhileItIsRead:
    """An identity is taken before the content, or is none: what changes in between is looked at again."""

    def test_a_compiler_that_is_replaced_in_a_running_process(self, project: Project) -> None:
        project.compiler("# first")
        project.c("one.c", 1)
        project.c("two.c", 2)
        out = project.ok(
            """
            import os, pathlib
            import autoaccel, one
            from autoaccel import compiler
            first = compiler.find("c", name="", path="").identity
            program = pathlib.Path(os.environ["CC"])
            program.write_text(program.read_text().replace("# first", "# other"))
            print(compiler.find("c", name="", path="").identity != first)
            """
        )
        assert out == "True"

    def test_a_compiler_that_is_replaced_while_it_is_asked(self, project: Project) -> None:
        project.compiler("# first")
        out = project.ok(
            """
            import os, pathlib
            import autoaccel
            from autoaccel import compiler
            usual = compiler._ask
            def meanwhile(*given):
                found = usual(*given)
                program = pathlib.Path(os.environ["CC"])
                program.write_text(program.read_text().replace("# first", "# other"))
                return found
            compiler._ask = meanwhile
            first = compiler.find("c", name="", path="").identity
            compiler._ask = usual
            compiler._found.clear()
            print(compiler.find("c", name="", path="").identity != first)
            """
        )
        assert out == "True"

    def test_what_a_project_declares_changes_while_it_is_read(self, project: Project) -> None:
        project.write("src/one.c", c_module("decl", 1))
        project.write(
            "pyproject.toml",
            "[tool.maturin]\n[[tool.setuptools.ext-modules]]\nname = 'decl'\nsources = ['src/one.c']\n",
        )
        project.write("Cargo.toml", "[package]\nname = 'one'\n[lib]\ncrate-type = ['cdylib']\n")
        out = project.ok(
            """
            import pathlib
            import autoaccel
            from autoaccel import declare, rustprojects
            from autoaccel.directories import told
            usual = rustprojects.of_project
            def meanwhile(*given, **words):
                found = usual(*given, **words)
                path = pathlib.Path("Cargo.toml")
                path.write_text(path.read_text().replace("one", "two"))
                return found
            rustprojects.of_project = meanwhile
            path = str(pathlib.Path("pyproject.toml").resolve())
            declare.project(path)
            print(told(path))
            """
        )
        assert out == "None"

    def test_a_header_changes_during_a_build_where_files_have_whole_seconds(self, project: Project) -> None:
        project.write("known.h", "#define VALUE 1\n")
        project.write("sample.c", c_module("sample", "VALUE", before='#include "known.h"'))
        code = """
            import pathlib, time
            import autoaccel
            from autoaccel import manifest, pipeline
            usual, check = manifest.identity, pipeline._check_export
            def coarse(path):  # as FAT has it
                seen = usual(path)
                return seen and tuple(one // 2_000_000_000 * 2_000_000_000 for one in seen[:2]) + seen[2:]
            manifest.identity = coarse
            def meanwhile(*given):
                pathlib.Path("known.h").write_text("#define VALUE 2\\n")
                check(*given)
            if CHANGE:
                pipeline._check_export = meanwhile
                time.sleep(2.02 - time.time() % 2)
            import sample
            print(sample.value())
            """
        # What may have changed meanwhile is built once more.
        assert project.ok(code.replace("CHANGE", "True")) == "2"
        assert project.ok(code.replace("CHANGE", "False")) == "2"

    def test_a_library_is_evicted_while_it_is_loaded_and_built_again_at_once(self, project: Project) -> None:
        project.c("sample.c", 3)
        code = """
            import _imp, os
            import autoaccel
            usual, gone = _imp.create_dynamic, []
            def meanwhile(spec, *rest):
                path = spec.origin
                if not gone and path.endswith(".so") and "/load/" in path:
                    gone.append(path)
                    os.rename(path, "away.so")
                    try:
                        return usual(spec, *rest)
                    finally:
                        os.rename("away.so", path)
                return usual(spec, *rest)
            _imp.create_dynamic = meanwhile
            import sample
            print(sample.value(), len(gone))
            """
        for _ in range(3):
            assert project.ok(code) == "3 1"

    def test_whatever_is_built_is_evicted_before_it_can_be_loaded(self, project: Project) -> None:
        """In the end it is built where only this process knows it."""
        project.c("sample.c", 3)
        run = project.run(
            """
            import _imp, os, shutil
            import autoaccel
            usual, gone, cache = _imp.create_dynamic, [], os.environ["AUTOACCEL_CACHE_DIR"]
            def meanwhile(spec, *rest):
                folder, _, _ = spec.origin.partition("/load/")
                if folder.startswith(cache):
                    gone.append(spec.origin)
                    os.unlink(spec.origin)
                    shutil.rmtree(folder + "/artifacts")
                    os.mkdir(folder + "/artifacts", 0o700)
                return usual(spec, *rest)
            _imp.create_dynamic = meanwhile
            import sample
            print(sample.value(), len(gone), sample.__spec__.cached.startswith(cache))
            """
        )
        assert (run.status, run.out) == (0, "3 5 False\n"), run.err
        assert "removed at once" in run.err
        assert project.ok("import autoaccel, sample; print(sample.value())") == "3"

    def test_a_package_manager_is_at_work_while_a_build_is_published(self, project: Project) -> None:
        # The folder of a compiler's own headers stands for all that is in it.
        project.compiler()
        folder = project.root.parent / "system"
        folder.mkdir()
        (folder / "known.h").write_text("#define VALUE 1\n")
        project.env["CPATH"] = ""
        project.write("sample.c", c_module("sample", "VALUE", before="#include <known.h>"))
        project.env["CFLAGS"] = f"-I{folder}"
        code = f"""
            import dataclasses, pathlib
            import autoaccel
            from autoaccel import compiler, store
            usual, tool = store.Store.publish, compiler.Compiler.tool
            def theirs(self):
                return dataclasses.replace(tool(self), directories=(*tool(self).directories, {str(folder)!r}))
            compiler.Compiler.tool = theirs
            def publish(*given, **words):
                pathlib.Path({str(folder)!r}, "new.h").write_text("")
                pathlib.Path({str(folder)!r}, "new.h").rename({str(folder / "known.h")!r})
                pathlib.Path({str(folder / "known.h")!r}).write_text("#define VALUE 2\\n")
                return usual(*given, **words)
            if CHANGE: store.Store.publish = publish
            import sample
            print(sample.value())
            """
        assert project.ok(code.replace("CHANGE", "True")) == "1"
        assert project.ok(code.replace("CHANGE", "False")) == "2"


def test_a_reload_and_a_swap_of_one_module_at_once(project: Project) -> None:
    need("Cython")
    project.write("sample.pyx", "def value():\n    return 1\n")
    out = project.ok(
        """
        import pathlib, threading
        import autoaccel, sample
        import _imp, types
        from autoaccel import loader as rooms, pipeline, reload
        from autoaccel.loader import source_of
        pathlib.Path("sample.pyx").write_text("def value():\\n    return 2\\n")
        loader = sample.__spec__.loader
        artifact = pipeline.obtain(source_of(loader)).path
        both, told = threading.Barrier(2), []
        def create_dynamic(spec):
            both.wait(30)
            return _imp.create_dynamic(spec)
        rooms._imp = types.SimpleNamespace(create_dynamic=create_dynamic)
        def prepare():
            try: told.append(reload.prepared(loader, sample, artifact).content.value())
            except BaseException as error: told.append(repr(error))
        threads = [threading.Thread(target=prepare) for _ in range(2)]
        for one in threads: one.start()
        for one in threads: one.join()
        print(told, loader.path == sample.__spec__.cached == sample.__cached__ != artifact)
        """
    )
    assert out == "[2, 2] True"


@pytest.mark.skipif(sys.version_info[:2] not in PYTHONS, reason="functions are cached only, with this Python")
class TestNumba:
    """Threads that go on while others look at what there is."""

    def test_a_thread_compiles_while_what_there_is_is_written_down(self, project: Project) -> None:
        need("numba")
        project.write("kernels.py", "from numba import njit\n@njit\ndef add(a, b):\n    return a + b\n")
        project.env["AUTOACCEL_NUMBA"] = "wait"
        time.sleep(0.05)  # the file is older than the process
        out = project.ok(
            """
            import autoaccel, kernels
            kernels.add(1, 2)
            from autoaccel.numba import emit
            usual = emit.dump
            def meanwhile(*given):
                kernels.add(1.5, 2.0)
                return usual(*given)
            emit.dump = meanwhile
            """
        )
        code = "import sys, autoaccel, kernels; print(kernels.add(1, 2), 'numba' in sys.modules)"
        assert (out, project.ok(code)) == ("", "3 False")
        # What came too late is news for the next one.
        code = "import sys, autoaccel, kernels; print(kernels.add(1.5, 2.0), 'numba' in sys.modules)"
        assert [project.ok(code) for _ in range(2)] == ["3.5 True", "3.5 False"]

    def test_a_thread_imports_a_module_while_another_one_reaches_for_settings(self, project: Project) -> None:
        need("numba")
        out = project.ok(
            """
            import types
            import autoaccel.numba as native
            class Proxies(list):
                def __iter__(self):
                    native.states[f"other{len(native.states)}"] = types.SimpleNamespace(proxies=[])
                    return super().__iter__()
            native.states["first"] = types.SimpleNamespace(proxies=Proxies([types.SimpleNamespace(_off=0)]))
            print(native.Lazy("numba.config").DISABLE_JIT)
            """
        )
        assert out == "0"
