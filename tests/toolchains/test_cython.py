"""Cython through the hook: what the language can do, and the options beside and inside a source."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import pytest

from tests.conftest import Project, need


@pytest.fixture(autouse=True)
def tools() -> None:
    need("Cython", "cc")


@pytest.mark.core
def test_classes_and_functions_across_modules(project: Project) -> None:
    project.write("geo/__init__.py", "")
    project.write(
        "geo/point.pxd",
        "cdef class Point:\n    cdef public int x, y\n    cdef int norm(self)\ncdef inline int twice(int n): return 2 * n\n",
    )
    project.write(
        "geo/point.pyx",
        "cdef class Point:\n    def __init__(self, x, y):\n        self.x = x; self.y = y\n    cdef int norm(self):\n        return self.x + self.y\n",
    )
    project.write(
        "geo/use.pyx",
        "from geo.point cimport Point, twice\nfrom .point cimport Point as P\ndef measure(Point p):\n    return twice(p.norm())\n",
    )
    out = project.ok(
        "import autoaccel; from geo.point import Point; from geo.use import measure; print(measure(Point(3, 4)))"
    )
    assert out == "14"
    project.write(
        "geo/point.pxd",
        "cdef class Point:\n    cdef public int x, y\n    cdef int norm(self)\ncdef inline int twice(int n): return 3 * n\n",
    )
    out = project.ok(
        "import autoaccel; from geo.point import Point; from geo.use import measure; print(measure(Point(3, 4)))"
    )
    assert out == "21"


def test_memoryviews_fused_types_generators_and_errors(project: Project) -> None:
    project.write(
        "sample.pyx",
        """
        # cython: boundscheck=False, language_level=3
        ctypedef fused number:
            long
            double
        def total(number[:] values):
            cdef number sum = 0
            for i in range(values.shape[0]):
                sum += values[i]
            return sum
        def count(n):
            for i in range(n):
                yield i
        def fail():
            raise ValueError("here")
        """,
    )
    out = project.run(
        "import array, autoaccel, sample; print(sample.total(array.array('l', [1, 2])), "
        "sample.total(array.array('d', [1.5, 2])), list(sample.count(3)), flush=True); sample.fail()"
    )
    assert out.out == "3 3.5 [0, 1, 2]\n"
    assert out.last == "ValueError: here"
    assert 'sample.pyx", line 14, in sample.fail' in out.err


def test_what_only_cpp_has_is_told_to_need_cpp(project: Project) -> None:
    project.write("sample.pyx", 'cdef extern from "own.h":\n    int number() except +\n')
    run = project.run("import autoaccel, sample")
    assert ": Operation only allowed in c++" in run.err
    assert "This is C++. Write `# distutils: language = c++` (`//` in C) into the first lines of the source" in run.err


def test_names_for_compile_time(project: Project) -> None:
    project.write("sample.pyx", "IF WIDE:\n    def value(): return NUMBER\nELSE:\n    def value(): return -1\n")
    run = project.run("import autoaccel, sample")
    assert "Write `compile-time-env = { WIDE = … }` under `[tool.autoaccel.cython]` in pyproject.toml." in run.err
    for number in (7, 8):
        project.write(
            "pyproject.toml", f"[tool.autoaccel.cython]\ncompile-time-env = {{ WIDE = true, NUMBER = {number} }}\n"
        )
        assert project.ok("import autoaccel, sample; print(sample.value())") == str(number)


def test_numpy_behind_a_header_of_the_projects(project: Project) -> None:
    need("numpy")
    project.write("native/own.h", "#include <Python.h>\n#include <numpy/arrayobject.h>\n#define KIND NPY_DOUBLE\n")
    project.write("sample.pyx", 'cdef extern from "native/own.h":\n    int KIND\ndef value(): return KIND\n')
    assert project.ok("import autoaccel, sample; print(sample.value())") == "12"


def test_cpp_mode_by_a_header_line(project: Project) -> None:
    need("c++")
    project.write(
        "sample.pyx",
        """
        # distutils: language = c++
        from libcpp.vector cimport vector
        def value():
            cdef vector[int] v = [1, 2, 3]
            return v.size()
        """,
    )
    assert project.ok("import autoaccel, sample; print(sample.value())") == "3"


def test_c_sources_and_macros_by_header_lines(project: Project) -> None:
    project.write(
        "pkg/sample.pyx",
        """
        # distutils: sources = pkg/number.c
        # distutils: define_macros = FACTOR=10
        # distutils: include_dirs = pkg/include
        cdef extern from "number.h":
            int number()
        def value():
            return number()
        """,
    )
    project.write("pyproject.toml", "")
    project.write("pkg/include/number.h", "int number(void);\n")
    project.write("pkg/number.c", '#include "number.h"\nint number(void) { return 4 * FACTOR; }\n')
    assert project.ok("import autoaccel, pkg.sample; print(pkg.sample.value())") == "40"


def test_numpy_without_being_told_where_its_headers_are(project: Project) -> None:
    need("numpy")
    project.write(
        "sample.pyx",
        "cimport numpy as np\nimport numpy as np\nnp.import_array()\n"
        "def total(np.ndarray[np.float64_t] a):\n    cdef double s = 0\n    for i in range(a.shape[0]): s += a[i]\n    return s\n",
    )
    assert project.ok("import autoaccel, sample, numpy; print(sample.total(numpy.ones(5)))") == "5.0"


def test_directives_for_all_modules_in_pyproject(project: Project) -> None:
    project.write("sample.pyx", "def value(int a, int b): return a // b\n")
    code = "import autoaccel, sample; print(sample.value(-7, 2))"
    project.write("pyproject.toml", "[tool.autoaccel.cython]\ndirectives = { cdivision = true }\n")
    assert project.ok(code) == "-3"
    project.write("pyproject.toml", "[tool.autoaccel.cython]\ndirectives = { cdivision = false }\n")
    assert project.ok(code) == "-4"


def test_an_unknown_directive_is_an_error_of_the_build(project: Project) -> None:
    project.write("sample.pyx", "x = 1\n")
    project.write("pyproject.toml", "[tool.autoaccel.cython]\ndirectives = { no_such_thing = true }\n")
    run = project.run("import autoaccel, sample")
    assert "no_such_thing" in run.err
    assert run.err.count("autoaccel.errors.") == 1


def test_files_that_a_pyxdep_names(project: Project) -> None:
    project.write(
        "sample.pyx",
        'cdef extern from *:\n    """\n    #include "data/number.inc"\n    """\n    int NUMBER\ndef value(): return NUMBER\n',
    )
    project.write("sample.pyxdep", "data/*.inc\n")
    for value in "1", "2":
        project.write("data/number.inc", f"#define NUMBER {value}\n")
        assert project.ok("import autoaccel, sample; print(sample.value())") == value


def test_a_build_file_that_fails_says_why(project: Project) -> None:
    need("setuptools")
    project.write("sample.pyx", "x = 1\n")
    project.write("sample.pyxbld", "def make_ext(modname, pyxfilename):\n    raise RuntimeError('no luck')\n")
    run = project.run("import autoaccel, sample")
    assert "RuntimeError: no luck" in run.err
    assert "autoaccel.errors.BuildError: sample: " in run.err


def test_an_annotated_page_is_kept_beside_the_library(project: Project) -> None:
    project.write("sample.pyx", "def value(): return 1\n")
    project.write("pyproject.toml", "[tool.autoaccel.cython]\nannotate = true\n")
    project.ok("import autoaccel, sample")
    (artifact,) = project.artifacts()
    assert "<html" in (artifact.parent / "sample.html").read_text().lower()
    assert project.files() == {"sample.pyx", "pyproject.toml"}


def test_a_source_named_like_a_module_that_cython_needs(project: Project) -> None:
    for name in ("ast", "difflib", "colorsys"):
        project.write(f"{name}.pyx", "who = 'mine'\n")
    project.write("sample.pyx", "def value(): return 1\n")
    assert project.ok("import autoaccel, sample; print(sample.value())") == "1"


def test_a_relative_cimport_in_a_package_without_init(project: Project) -> None:
    project.write("space/types.pxd", "ctypedef int number\ncdef enum:\n    BASE = 40\n")
    project.write(
        "space/use.pyx", "from .types cimport number, BASE\ndef value():\n    cdef number n = BASE\n    return n + 2\n"
    )
    assert project.ok("import autoaccel, space.use; print(space.use.value())") == "42"


def test_several_cold_modules_in_one_process_share_the_compile_server(project: Project) -> None:
    for name in ("one", "two", "three"):
        project.write(f"{name}.pyx", f"def value(): return '{name}'\n")
    out = project.ok(
        "import autoaccel, one; from autoaccel.toolchains import cython; pid = cython._server._process.pid; "
        "import two, three; print(one.value(), two.value(), three.value(), cython._server._process.pid == pid)"
    )
    assert out == "one two three True"


def test_a_compile_server_that_is_killed_is_replaced(project: Project) -> None:
    project.write("one.pyx", "def value(): return 1\n")
    project.write("two.pyx", "def value(): return 2\n")
    out = project.ok(
        "import autoaccel, one, os, signal; from autoaccel.toolchains import cython; server = cython._server._process; "
        "server.kill(); server.wait(); import two; print(two.value(), cython._server._process.pid != server.pid)"
    )
    assert out == "2 True"


def test_a_file_that_is_named_as_an_include_folder(project: Project) -> None:
    project.write("own.pxd", "")
    project.write("sample.pyx", "# distutils: include_dirs = own.pxd\ndef value():\n    return 3\n")
    assert project.ok("import autoaccel, sample; print(sample.value())") == "3"
    code = "import autoaccel, sample, sys; print(sample.value(), 'autoaccel.pipeline' in sys.modules)"
    assert project.ok(code) == "3 False"
    assert project.ok(code, AUTOACCEL="load") == "3 False"


@pytest.mark.parametrize("beside", ["sample.pxd", "sample.pyxbld"])
def test_a_file_that_appears_beside_the_source_while_it_is_compiled(project: Project, beside: str) -> None:
    text = {"sample.pxd": "cdef int number(int x)\n", "sample.pyxbld": "def make_ext(*_): raise SystemError('read')\n"}
    project.write("later", text[beside])
    project.write("sample.pyx", "cdef number(x): return x + 1\ndef value(): return number(2.5)\n")
    copy = f"cp -n '{project.root}/later' '{project.root}/{beside}'"
    project.compiler(before=f'case "$*" in *sample*) {copy};; esac')
    assert project.ok("import autoaccel, sample; print(sample.value())") == "3.5"
    assert (project.root / beside).exists()
    # What was built without it is not loaded.
    told = {"sample.pxd": "Function signature does not match", "sample.pyxbld": "SystemError: read"}[beside]
    assert told in project.run("import autoaccel, sample").err


def test_a_cython_that_is_installed_while_a_process_lives(project: Project) -> None:
    place = project.root.parent / "installed"
    found = find_spec("Cython")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = found.submodule_search_locations[0]
    shutil.copytree(folder, place / "Cython", ignore=shutil.ignore_patterns("__pycache__", "Tests"))
    for name in ("one", "two", "three"):
        project.write(f"{name}.pyx", f"def value(): return '{name}'\n")
    out = project.ok(
        f"""
        import sys
        sys.path.insert(0, {str(place)!r})
        import autoaccel, one
        from autoaccel.toolchains import cython
        first = cython._server._process.pid
        path = {str(place / "Cython" / "Shadow.py")!r}
        text = open(path).read().replace('__version__ = "', '__version__ = "9.', 1)
        open(path, "w").write(text)
        import two
        second = cython._server._process.pid
        import three
        print(first != second, second == cython._server._process.pid)
        """
    )
    assert out == "True True"
    for path in project.cache.glob("v2/artifacts/*/meta.json"):
        told = json.loads(path.read_text())
        assert told["tools"][0][1].startswith("9.") == (told["name"] != "one")


@pytest.mark.parametrize("before", ["threading", "concurrent.futures.thread"])
@pytest.mark.parametrize("sources", ["", "# distutils: sources = more.c\n"])
def test_a_module_that_is_first_imported_at_the_interpreters_exit(project: Project, before: str, sources: str) -> None:
    project.write("more.c", "int more;\n")
    project.write("sample.pyx", f"{sources}def value(*args): return [x for x in range(3) if x > 1][0]\n")
    code = f"""
        import {before}
        import autoaccel, atexit
        def at_exit():
            import sample
            print(sample.value())
        atexit.register(at_exit)
    """
    assert project.ok(code) == "2"


def test_a_fork_while_another_thread_foresees_what_cython_will_write(project: Project) -> None:
    project.write("sample.pyx", "def value(*args): return [x for x in range(3) if x > 1][0]\n")
    code = """
        import autoaccel, os, threading
        from autoaccel.toolchains import cython_head
        held, over = threading.Event(), threading.Event()
        def hold():
            with cython_head._foreseeing:
                held.set()
                over.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            import signal
            signal.alarm(20)
            import sample
            os._exit(sample.value())
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        over.set()
        thread.join()
    """
    assert project.run(code).out == "2\n"
