"""The import system around the hook: whoever else takes part in it finds what an in-place build would give."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project, c_module, need


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


class TestInstalling:
    """``install()`` and what it gives back."""

    OURS = "[f.__name__ for f in sys.meta_path if getattr(f, '__name__', '') == 'AccelFinder']"

    @pytest.mark.core
    def test_uninstalled_it_leaves_no_trace(self, project: Project) -> None:
        project.c("sample.c", 1)
        project.c("other.c", 2)
        out = project.ok(
            f"""
            import sys
            before = list(sys.meta_path), list(sys.path_hooks)
            import autoaccel, sample
            kinds = {self.OURS}
            autoaccel.uninstall()
            print(len(kinds) > 0, (list(sys.meta_path), list(sys.path_hooks)) == before, {self.OURS})
            print({{type(f).__module__ for f in sys.path_importer_cache.values() if "autoaccel" in type(f).__module__}})
            try:
                import other
            except ModuleNotFoundError as error:
                print(error, sample.value())
            autoaccel.uninstall()
            autoaccel.install()
            import other
            print(other.value())
            """
        ).splitlines()
        assert out == ["True True []", "set()", "No module named 'other' 1", "2"]

    def test_a_handle_in_a_with_block(self, project: Project) -> None:
        project.c("one.c", 1)
        project.c("two.c", 2)
        out = project.ok(
            """
            import autoaccel
            autoaccel.uninstall()
            with autoaccel.install() as handle:
                import one
            handle.uninstall()
            try:
                import two
            except ModuleNotFoundError as error:
                print(one.value(), error)
            """
        )
        assert out == "1 No module named 'two'"

    def test_the_handle_before_comes_back(self, project: Project) -> None:
        project.c("one.c", 1)
        out = project.ok(
            f"""
            import autoaccel, sys
            with autoaccel.install(exclude=["one"]):
                print({self.OURS})
                try:
                    import one
                except ModuleNotFoundError as error:
                    print(error)
            import one
            print(one.value(), {self.OURS})
            """
        ).splitlines()
        assert out == ["['AccelFinder']", "No module named 'one'", "1 ['AccelFinder']"]

    def test_handles_undone_in_the_wrong_order(self, project: Project) -> None:
        out = project.ok(
            f"""
            import autoaccel, sys
            autoaccel.uninstall()
            first = autoaccel.install()
            second = autoaccel.install()
            first.uninstall()
            print({self.OURS})
            second.uninstall()
            print({self.OURS})
            """
        ).splitlines()
        assert out == ["['AccelFinder']", "[]"]

    def test_installed_many_times_it_is_there_once(self, project: Project) -> None:
        out = project.ok(f"import autoaccel, sys\nfor _ in range(5): autoaccel.install()\nprint({self.OURS})")
        assert out == "['AccelFinder']"

    def test_reloading_autoaccel_does_not_double_it(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            f"import autoaccel, importlib, sys; importlib.reload(autoaccel); print({self.OURS}); import sample; print(sample.value())"
        ).splitlines()
        assert out == ["['AccelFinder']", "1"]

    def test_public_names(self, project: Project) -> None:
        out = project.ok(
            "import autoaccel\nfor name in autoaccel.__all__: assert name in dir(autoaccel) and getattr(autoaccel, name)\n"
            "print(issubclass(autoaccel.BuildError, ImportError), hasattr(autoaccel, 'nonsense'), autoaccel.BuildError.__module__)"
        )
        assert out == "True False autoaccel.errors"


class TestOtherFinders:
    """Others put their own finders in, or clear what is cached."""

    def test_the_importer_cache_is_cleared(self, project: Project) -> None:
        project.c("pkg/one.c", 1)
        project.c("pkg/two.c", 2)
        project.c("three.c", 3)
        out = project.ok(
            """
            import autoaccel, importlib, sys, pkg.one
            sys.path_importer_cache.clear()
            import pkg.two
            importlib.invalidate_caches()
            import three
            print(pkg.one.value(), pkg.two.value(), three.value())
            """
        )
        assert out == "1 2 3"

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_path_hook_in_front(self, project: Project, when: str) -> None:
        """As beartype.claw does it: a FileFinder with its own loader for .py, in front of CPython's."""
        project.c("sample.c", 1)
        project.c("pkg/inner.c", 2)
        project.write("pkg/__init__.py", "")
        project.write("plain.py", "")
        hook = """
            import sys
            from importlib.machinery import FileFinder, SourceFileLoader, ExtensionFileLoader, EXTENSION_SUFFIXES
            class Loader(SourceFileLoader):
                def exec_module(self, module):
                    super().exec_module(module)
                    module.claw = True
            sys.path_hooks.insert(0, FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (Loader, [".py"])))
            sys.path_importer_cache.clear()
        """
        lines = [textwrap.dedent(hook), "import autoaccel"]
        if when == "after":
            lines.reverse()
        out = project.ok(
            "\n".join(
                [
                    *lines,
                    "import sample, pkg.inner, plain",
                    "print(sample.value(), pkg.inner.value(), plain.claw, pkg.claw)",
                ]
            )
        )
        assert out == "1 2 True True"

    def test_a_finder_of_its_own_class(self, project: Project) -> None:
        project.c("sample.c", 1)
        project.write("plain.py", "")
        out = project.ok(
            """
            import sys
            from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
            class Finder(FileFinder):
                asked = []
                def find_spec(self, fullname, target=None):
                    self.asked.append(fullname)
                    return super().find_spec(fullname, target)
            sys.path_hooks.insert(0, Finder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (SourceFileLoader, [".py"])))
            sys.path_importer_cache.clear()
            import autoaccel, sample, plain
            try:
                import nowhere
            except ImportError:
                pass
            finder = sys.path_importer_cache[__import__("os").getcwd()]
            print(sample.value(), sorted({"plain", "nowhere"} & set(Finder.asked)), isinstance(finder, Finder))
            """
        )
        assert out == "1 ['nowhere', 'plain'] True"

    def test_a_finder_that_ends_the_search_first(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            """
            import sys, autoaccel
            from importlib.machinery import ModuleSpec
            class Loader:
                def create_module(self, spec): return None
                def exec_module(self, module): module.value = lambda: "first"
            class Finder:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    return ModuleSpec(name, Loader()) if name == "sample" else None
            sys.meta_path.insert(0, Finder)
            import sample
            print(sample.value())
            """
        )
        assert out == "first"

    def test_an_editable_install_by_a_path_file_and_by_a_mapping(self, project: Project) -> None:
        project.c("src/flat/inner.c", 1)
        project.write("src/flat/__init__.py", "")
        project.c("elsewhere/mapped/inner.c", 2)
        project.write("elsewhere/mapped/__init__.py", "")
        site = project.root / "env" / "lib" / "site-packages"
        project.write("env/lib/site-packages/__editable__.flat.pth", f"{project.root}/src\n")
        # What setuptools writes, in short: a finder behind all others that knows folders by name.
        project.write(
            "env/lib/site-packages/__editable___mapped_finder.py",
            f"""
            import sys
            from importlib.util import spec_from_file_location
            MAPPING = {{"mapped": {str(project.root / "elsewhere" / "mapped")!r}}}
            class Finder:
                @classmethod
                def find_spec(cls, fullname, path=None, target=None):
                    if fullname in MAPPING:
                        return spec_from_file_location(fullname, MAPPING[fullname] + "/__init__.py")
            def install():
                sys.meta_path.append(Finder)
            """,
        )
        project.write(
            "env/lib/site-packages/__editable__.mapped.pth",
            "import __editable___mapped_finder; __editable___mapped_finder.install()\n",
        )
        out = project.ok(
            f"import site; site.addsitedir({str(site)!r}); import autoaccel, flat.inner, mapped.inner; "
            "print(flat.inner.value(), mapped.inner.value())"
        )
        assert out == "1 2"

    def test_pytest_rewrites_asserts_and_the_hook_compiles(self, project: Project) -> None:
        project.c("sample.c", 3)
        project.write("conftest.py", "import autoaccel\n")
        project.write("helper.py", "def check(x):\n    assert x == 3\n")
        project.write(
            "test_it.py",
            "import sample, helper\n\ndef test_it():\n    helper.check(sample.value())\n    left = sample.value()\n    assert left == 4\n",
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", "/dev/null"],
            cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert "assert 3 == 4" in done.stdout, done.stdout + done.stderr
        assert "1 failed" in done.stdout


class TestUnclaimed:
    """The word about a C file that is not the module is said only where it is true, and last of all."""

    def test_a_file_that_is_gone_is_not_named(self, project: Project) -> None:
        project.c("sample.c", init="PyInit_other")
        out = project.ok(
            """
            import autoaccel, os
            for _ in range(2):
                try:
                    import sample
                except ModuleNotFoundError as error:
                    print("is there" in str(error))
                if os.path.exists("sample.c"):
                    os.unlink("sample.c")
            """
        )
        assert out == "True\nFalse"

    def test_a_finder_behind_it_is_asked_first(self, project: Project) -> None:
        project.c("sample.c", init="PyInit_other")
        project.write("late/sample.py", "who = 'late'\n")
        out = project.ok(
            """
            import autoaccel, sys
            from importlib.machinery import PathFinder
            try:
                import sample
            except ModuleNotFoundError:
                pass
            class Late:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    return PathFinder.find_spec(name, ["late"])
            sys.meta_path.append(Late)
            import sample
            print(sample.who)
            """
        )
        assert out == "late"

    def test_uninstalled_it_says_nothing(self, project: Project) -> None:
        project.c("sample.c", init="PyInit_other")
        out = project.ok(
            """
            import sys
            before = list(sys.meta_path)
            import autoaccel
            for _ in range(2):
                try:
                    import sample
                except ModuleNotFoundError as error:
                    print("is there" in str(error))
                autoaccel.uninstall()
            print(sys.meta_path == before)
            """
        )
        assert out == "True\nFalse\nTrue"


class TestLookingAtModules:
    """What tools ask of a module."""

    @pytest.mark.core
    def test_resources_of_a_native_package(self, project: Project) -> None:
        need("Cython")
        project.write("pkg/__init__.pyx", "x = 1\n")
        project.write("pkg/data.txt", "hello\n")
        project.write("pkg/sub/more.txt", "more\n")
        out = project.ok(
            """
            import autoaccel, pkg
            from importlib import resources
            files = resources.files(pkg)
            print(files.joinpath("data.txt").read_text().strip(), files.joinpath("sub", "more.txt").read_text().strip())
            print(sorted(one.name for one in files.iterdir() if one.name != "__pycache__"))
            with resources.as_file(resources.files("pkg") / "data.txt") as path:
                print(path)
            """
        ).splitlines()
        assert out == ["hello more", "['__init__.pyx', 'data.txt', 'sub']", f"{project.root}/pkg/data.txt"]

    def test_inspect(self, project: Project) -> None:
        need("Cython")
        text = "def value(a, b=1):\n    'Says one.'\n    return 1\n"
        project.write("sample.pyx", text)
        project.c("plain.c", 1)
        out = project.ok(
            """
            import autoaccel, inspect, sample, plain
            print(inspect.getsourcefile(sample), inspect.getsourcefile(plain))
            print(repr(inspect.getsource(sample)))
            print(inspect.getdoc(sample.value), inspect.getmodule(sample.value) is sample, inspect.ismodule(plain))
            """
        ).splitlines()
        assert out[0] == f"{project.root}/sample.pyx {project.root}/plain.c"
        assert out[1] == repr(text)
        assert out[2] == "Says one. True True"

    def test_pickle(self, project: Project) -> None:
        need("Cython")
        project.write("pkg/__init__.py", "")
        project.write(
            "pkg/shapes.pyx",
            "cdef class Box:\n    cdef public int n\n    def __init__(self, n=0):\n        self.n = n\ndef grow(n): return n + 1\n",
        )
        dumped = project.ok(
            "import autoaccel, pickle; from pkg.shapes import Box, grow; print(pickle.dumps((Box(5), grow, Box)).hex())"
        )
        out = project.ok(
            f"import autoaccel, pickle; box, grow, Box = pickle.loads(bytes.fromhex({dumped!r})); print(box.n, grow(1), type(box) is Box)"
        )
        assert out == "5 2 True"

    @pytest.mark.parametrize("order", ["autoaccel, pkgutil", "pkgutil, autoaccel"])
    def test_pkgutil_lists_what_an_in_place_build_would(self, project: Project, order: str) -> None:
        project.c("pkg/inner.c", 1)
        project.write("pkg/__init__.py", "")
        project.write("pkg/plain.py", "")
        project.write("pkg/helper.c", "int helper(void) { return 1; }\n")
        out = project.ok(
            f"import {order}, pkg; print(sorted((m.name, m.ispkg) for m in pkgutil.iter_modules(pkg.__path__, 'pkg.')))"
        )
        assert out == "[('pkg.inner', False), ('pkg.plain', False)]"

    def test_python_m_runs_a_native_package(self, project: Project) -> None:
        need("Cython")
        project.write("pkg/__init__.pyx", "x = 20\n")
        project.write("pkg/inner.pyx", "def twice(n): return 2 * n\n")
        project.write(
            "pkg/__main__.py",
            "import sys\nfrom . import x\nfrom .inner import twice\nprint(__name__, twice(x) + 2, sys.argv[1:])\n",
        )
        project.write("start/sitecustomize.py", "import autoaccel\n")
        done = subprocess.run(
            [sys.executable, "-m", "pkg", "a"], cwd=project.root, capture_output=True, text=True, timeout=120,
            env=project.environ(PYTHONPATH=f"{project.root}/start:{ROOT}"),
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("__main__ 42 ['a']\n", "")

    def test_python_m_of_a_native_module_says_what_cpython_says(self, project: Project) -> None:
        project.c("sample.c", 1)
        run = project.run("import autoaccel, runpy; runpy.run_module('sample', run_name='__main__')")
        assert run.last == "ImportError: No code object available for sample"

    def test_a_warning_about_the_module_names_a_line(self, project: Project) -> None:
        project.c("sample.c", 1)
        out = project.ok(
            "import autoaccel, linecache, sample; print(linecache.getlines(sample.__file__, vars(sample))[0].strip())"
        )
        assert out == "#include <Python.h>"

    def test_nothing_is_said_on_stdout_or_stderr(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "cdef int unused_one\ndef value(unused): return 1\n")
        run = project.run("import autoaccel, sample")
        assert (run.status, run.out, run.err) == (0, "", "")
        assert project.files() == {"sample.pyx"}


class TestThreads:
    """Import locks are CPython's; the hook adds no state of its own."""

    @pytest.mark.core
    def test_eight_threads_import_the_same_cold_module(self, project: Project) -> None:
        compiler = project.compiler("sleep 0.1")
        project.c("sample.c", 7)
        out = project.ok(
            """
            import autoaccel, threading
            start, told = threading.Barrier(8), []
            def work():
                start.wait()
                import sample
                told.append(sample.value())
            threads = [threading.Thread(target=work) for _ in range(8)]
            [t.start() for t in threads]; [t.join() for t in threads]
            print(told)
            """
        )
        assert out == "[7, 7, 7, 7, 7, 7, 7, 7]"
        assert compiler.compiles == 1

    def test_eight_threads_import_eight_cold_modules(self, project: Project) -> None:
        for number in range(8):
            project.c(f"pkg/m{number}.c", number)
        out = project.ok(
            """
            import autoaccel, importlib, threading
            start, told = threading.Barrier(8), {}
            def work(number):
                start.wait()
                told[number] = importlib.import_module(f"pkg.m{number}").value()
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            [t.start() for t in threads]; [t.join() for t in threads]
            print(all(told[n] == n for n in range(8)))
            """
        )
        assert out == "True"

    def test_a_module_that_imports_another_cold_one(self, project: Project) -> None:
        need("Cython")
        project.write(
            "outer.pyx", "import inner\nfrom later import value as later\ndef value(): return inner.value() + later()\n"
        )
        project.c("inner.c", 1)
        project.c("later.c", 10)
        assert project.ok("import autoaccel, outer; print(outer.value())") == "11"

    def test_a_thread_that_imports_the_standard_library_during_a_build(self, project: Project) -> None:
        project.compiler("sleep 0.3")
        project.c("sample.c", 7)
        project.write("colorsys.py", "who = 'mine'\n")
        out = project.ok(
            """
            import autoaccel, threading
            thread = threading.Thread(target=__import__, args=("sample",))
            thread.start()
            import colorsys
            thread.join()
            import sample
            print(colorsys.who, sample.value())
            """
        )
        assert out == "mine 7"


class TestInterpreters:
    """More than one interpreter in the process."""

    @pytest.mark.core
    def test_a_second_interpreter_imports_too(self, project: Project) -> None:
        pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
        slots = "{Py_mod_exec, (void *)run}"
        several = (
            "{Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, "
            if sys.version_info >= (3, 12)
            else ""
        )
        project.write("sample.c", c_module("sample", 7).replace(slots, several + slots))
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        inner = "import sys; sys.path[:] = PATH; import autoaccel, sample; print(sample.value(), flush=True)"
        out = project.ok(
            f"""
            import {name} as interpreters, sys, autoaccel, sample
            print(sample.value(), flush=True)
            one = interpreters.create()
            failed = interpreters.run_string(one, {inner!r}.replace("PATH", repr(sys.path)))
            print(failed)
            interpreters.destroy(one)
            """,
            PYTHONWARNINGS="ignore",
        ).splitlines()
        assert out == ["7", "7", "None"]

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="earlier interpreters share everything and check nothing")
    def test_a_module_for_one_interpreter_only_is_refused_with_a_clear_word(self, project: Project) -> None:
        name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
        pytest.importorskip(name)
        project.c("sample.c", 7, single=True)
        inner = (
            "import sys; sys.path[:] = PATH; import autoaccel\n"
            "try:\n    import sample\nexcept ImportError as error:\n    print(type(error).__name__, error, flush=True)\n"
        )
        out = project.ok(
            f"""
            import {name} as interpreters, sys
            one = interpreters.create()
            interpreters.run_string(one, {inner!r}.replace("PATH", repr(sys.path)))
            interpreters.destroy(one)
            """,
            PYTHONWARNINGS="ignore",
        )
        assert out == (
            f"LoadError sample: the library built from {project.root}/sample.c can't be loaded: module sample does not "
            "support loading in subinterpreters\nThe module does not support sub-interpreters: import it in the main "
            "interpreter, or declare Py_mod_multiple_interpreters (in Cython: `# cython: subinterpreters_compatible = own_gil`)."
        )


def test_processes_started_by_multiprocessing(project: Project) -> None:
    project.c("sample.c", 7)
    script = project.write(
        "main.py",
        """
        import multiprocessing
        import autoaccel
        import sample

        def work(_):
            return sample.value()

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                print(pool.map(work, range(4)))
        """,
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=project.root,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("[7, 7, 7, 7]\n", "")


def test_an_except_import_error_around_the_import(project: Project) -> None:
    project.c("sample.c", "broken")
    project.write("slow.py", "def value(): return 'slow'\n")
    code = "import autoaccel\ntry:\n    import sample\nexcept ImportError:\n    import slow as sample\nprint(sample.value())"
    assert project.ok(code) == "slow"


def test_a_script_in_another_folder(project: Project) -> None:
    project.c("tools/sample.c", 7)
    script = project.write("tools/script.py", "import autoaccel, sample\nprint(sample.value())\n")
    done = subprocess.run(
        [sys.executable, str(script)], cwd="/", env=project.environ(), capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert Path(script).exists()


def test_an_environ_that_is_a_plain_dict(project: Project) -> None:
    project.c("sample.c", 7)
    code = "import os; os.environ = dict(os.environ); import autoaccel, sample; print(sample.value())"
    assert [project.ok(code) for _ in range(2)] == ["7", "7"]
