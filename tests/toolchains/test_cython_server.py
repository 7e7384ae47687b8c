from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoaccel.toolchains import cython_server
from autoaccel.toolchains.cython_server import parse_distutils, parse_list

pytest.importorskip("Cython", reason="Cython is not installed: pip install Cython")

SCRIPT = cython_server.__file__
PATIENCE = 120
SLOW = "cdef int x = 0\n" + "\n".join(f"def f{i}(a, b=1, *c, **d): return [a + b for _ in c]" for i in range(3000))


class Client:
    """A server under test; the project that it works for can be changed."""

    def __init__(self, *options: str) -> None:
        self.count = 0
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.process = subprocess.Popen([sys.executable, SCRIPT, "--idle", "300", *options], stdin=-1, stdout=-1)
        self.reader = threading.Thread(target=self.pump, daemon=True)
        self.reader.start()

    def enter(self, project: Path) -> Client:
        """Put `project` first on the sys.path that the server is told."""
        self.project = project
        self.work = project / "work"
        self.work.mkdir()
        self.send(sys_path=[str(project), *filter(None, sys.path)])
        return self

    def pump(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.answers.put(line)

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def request(self, source: str, module: str, **more: Any) -> int:
        self.count += 1
        suffix = ".cpp" if more.get("language") == "c++" else ".c"
        message = {"id": self.count, "source": str(self.project / source), "module": module,
                   "output": str(self.work / (module + suffix)), "cwd": str(self.project)}  # fmt: skip
        self.send(**{**message, **more})
        return self.count

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.answers.get(timeout=PATIENCE))
        return answer

    def translate(self, source: str, module: str, **more: Any) -> dict[str, Any]:
        ident = self.request(source, module, **more)
        answer = self.answer()
        assert answer["id"] == ident
        return answer

    def close(self) -> int:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.reader.join(PATIENCE)
        return self.process.wait(PATIENCE)


def started(how: str) -> Client:
    if how == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    return Client(*([how] if how != "fork" else []))


@pytest.fixture(scope="module", params=["fork", "--no-fork"])
def server(request: pytest.FixtureRequest) -> Iterator[Client]:
    with contextlib.closing(started(request.param)) as client:
        yield client


@pytest.fixture
def client(server: Client, tmp_path: Path) -> Client:
    return server.enter(tmp_path)


@pytest.fixture
def forking(tmp_path: Path) -> Iterator[Client]:
    """A server of the test's own, with Cython loaded."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    with contextlib.closing(Client().enter(tmp_path)) as client:
        write_at(tmp_path / "first.pyx", "x = 1\n")
        assert client.translate("first.pyx", "first", language_level=3)["ok"]
        yield client


def write_at(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def build_and_import(answer: dict[str, Any], project: Path, module: str, expression: str) -> str:
    """Compile the C file in place under `project` and evaluate `expression` there in a fresh interpreter."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = project / (module.replace(".", "/") + suffix)
    include = sysconfig.get_paths()["include"]
    command = ["cc", "-shared", "-fPIC", "-O0", "-I", include, answer["c_file"], "-o", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    code = f"import {module.removesuffix('.__init__')} as m; print(({expression}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- translating


def test_module_is_translated_and_works(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "add.pyx", "def add(int a, int b): return a + b\n")
    answer = client.translate("add.pyx", "add", language_level=3)
    assert answer["ok"], answer["text"]
    assert (answer["kind"], answer["errors"], answer["headers"]) == (None, [], [])
    assert answer["inputs"] == [str((tmp_path / "add.pyx").resolve())]
    assert answer["cython_version"] == __import__("Cython").__version__
    assert build_and_import(answer, tmp_path, "add", "m.add(1, 2)") == "3"


def test_second_request_knows_nothing_of_the_first(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "cimport b\ncdef b.T x = 1\n")
    write_at(tmp_path / "b.pxd", "ctypedef int T\n")
    assert client.translate("a.pyx", "a", language_level=3)["ok"]
    (tmp_path / "b.pxd").unlink()
    answer = client.translate("a.pyx", "a", language_level=3)
    assert not answer["ok"]
    assert str(tmp_path / "b.pxd") in answer["absent"]
    write_at(tmp_path / "b.pxd", "ctypedef int T\n")
    assert client.translate("a.pyx", "a", language_level=3)["ok"]


def test_cpp_source_with_cpp_output(client: Client, tmp_path: Path) -> None:
    text = "# distutils: language = c++\nfrom libcpp.vector cimport vector\ncdef vector[int] v\n"
    write_at(tmp_path / "v.pyx", text)
    answer = client.translate("v.pyx", "v", language="c++", language_level=3)
    assert answer["ok"], answer["text"]
    assert answer["c_file"].endswith("v.cpp")
    assert answer["distutils"] == {"language": "c++"}
    assert answer["distutils_origins"] == {"language": [str(tmp_path / "v.pyx")]}


def test_pure_python_mode_with_its_pxd(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "pure.py", "def double(x):\n    return x * 2\n")
    write_at(tmp_path / "pure.pxd", "cpdef int double(int x)\n")
    answer = client.translate("pure.py", "pure")
    assert answer["ok"], answer["text"]
    assert str(tmp_path / "pure.pxd") in answer["inputs"]
    assert build_and_import(answer, tmp_path, "pure", "m.double(21), m.__file__.endswith('.py')") == "(42, False)"


def test_package_module_exports_the_package_name(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "pkg/__init__.pyx", "from . cimport inner\ncdef inner.T t = 4\ndef get(): return t\n")
    write_at(tmp_path / "pkg/inner.pxd", "ctypedef int T\n")
    answer = client.translate("pkg/__init__.pyx", "pkg", language_level=3)
    assert answer["ok"], answer["text"]
    assert "PyInit_pkg(void)" in Path(answer["c_file"]).read_text()
    shown = build_and_import(answer, tmp_path, "pkg.__init__", "m.get(), m.__name__, m.get.__module__, len(m.__path__)")
    assert shown == "(4, 'pkg', 'pkg', 1)"


def test_header_files_are_reported(client: Client, tmp_path: Path) -> None:
    write_at(
        tmp_path / "api.pyx", "cdef public int twice(int x): return 2 * x\ncdef api int thrice(int x): return 3 * x\n"
    )
    answer = client.translate("api.pyx", "api", language_level=3)
    assert sorted(os.path.basename(path) for path in answer["headers"]) == ["api.h", "api_api.h"]
    assert all(os.path.exists(path) for path in answer["headers"])


def test_annotation_is_written_beside_the_output(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "x = 1\n")
    answer = client.translate("a.pyx", "a", language_level=3, options={"annotate": True, "emit_linenums": True})
    assert answer["annotation"] == str(client.work / "a.html")
    assert os.path.exists(answer["annotation"])


def test_directive_of_the_request_counts_even_as_text(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "def f(): 'doc'\n")
    answer = client.translate("a.pyx", "a", directives={"embedsignature": "True", "language_level": 3})
    assert build_and_import(answer, tmp_path, "a", "m.f.__doc__.splitlines()[0]") == "f()"


LETTERS = {
    "source": {"sample.pyx": "cdef int größe(int 数): return 数 + 1\ndef value(): return größe(41)\n"},
    "declarations": {
        "sample.pyx": "from other cimport *\ndef value(): return Zähler()\n",
        "other.pxd": "cdef inline int Zähler(): return 42\n",
    },
    "included": {"sample.pyx": "include 'part.pxi'\ndef value(): return 42\n", "part.pxi": "cdef int naïve = 1\n"},
    "included by a pxd": {
        "sample.pyx": "from other cimport N\ndef value(): return N\n",
        "other.pxd": "include 'part.pxi'\ncdef enum:\n    N = 42\n",
        "part.pxi": "ctypedef int größe\n",
    },
    "encoding": {"sample.pyx": "# coding: utf-7\ndef value(): gr+APYA3w-e = 42; return gr+APYA3w-e\n"},
    "formatted": {"sample.pyx": "ä = 42\ndef value(): return int(f'{ä}')\n"},
    "strings": {"sample.pyx": "x = 42\ndef value(): return int(f'{x}' if '€' > 'e' else 'ß')\n"},
}


@pytest.mark.parametrize("where", LETTERS)
@pytest.mark.parametrize("how", ["fork", "--no-fork"])
def test_names_beyond_ascii(tmp_path: Path, where: str, how: str) -> None:
    # The server's scanner knows ASCII only, until a file is read that needs more: so each has a server of its own.
    with contextlib.closing(started(how).enter(tmp_path)) as client:
        write_at(tmp_path / "plain.pyx", "def value(): return 1\n")
        assert client.translate("plain.pyx", "plain")["ok"]
        for name, text in LETTERS[where].items():
            write_at(tmp_path / name, text)
        answer = client.translate("sample.pyx", "sample")
        assert answer["ok"], answer["text"]
        assert build_and_import(answer, tmp_path, "sample", "m.value()") == "42"
        write_at(tmp_path / "again.pyx", "def value(): return 1\n")
        assert client.translate("again.pyx", "again")["ok"]


@pytest.mark.parametrize("options", [(), ("--no-fork",)])
def test_a_file_in_ascii_goes_on_after_an_included_one_that_is_not(tmp_path: Path, options: tuple[str, ...]) -> None:
    if not options and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    # A server of its own: of another one, an earlier test may have asked for all letters.
    with contextlib.closing(Client(*options).enter(tmp_path)) as client:
        write_at(tmp_path / "sample.pyx", "include 'part.pxi'\ninclude 'rest.pxi'\ndef value(): return x\n")
        write_at(tmp_path / "part.pxi", "cdef int naïve = 1\n")
        write_at(tmp_path / "rest.pxi", "x = 42\n")
        answer = client.translate("sample.pyx", "sample")
        assert answer["ok"], answer["text"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x = 'ä' # ö\n", False),
        ("'''\nä # ' \\''' ö'''\n", False),
        ('"\\"ä" # "\n', False),
        ("\ufeffx = 1\n", False),
        ("# coding: utf-8\nx = 'ä'\n", False),
        ("x = 1\nä = 1\n", True),
        ("'''#''' + ä\n", True),
        ("x = '#', ä\n", True),
        ("# it's\rä = 1\r", True),
        ("x = f'{ä}'\n", True),
        ("# coding: utf-16\n", True),
    ],
)
def test_where_names_beyond_ascii_may_be(tmp_path: Path, text: str, names: bool) -> None:
    path = tmp_path / "sample.pyx"
    path.write_bytes(text.encode())
    assert cython_server.may_name_more(str(path)) is names


def test_letters_beyond_ascii_that_are_no_names(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "sample.pyx", "def value(): return €\n")
    answer = client.translate("sample.pyx", "sample")
    assert (answer["ok"], answer["kind"]) == (False, "compile")
    assert [error["line"] for error in answer["errors"]] == [1]


def test_empty_source_is_a_valid_module(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "empty.pyx", "")
    answer = client.translate("empty.pyx", "empty", language_level=3)
    assert answer["ok"], answer["text"]


# ---------------------------------------------------------------- packages


def test_pxd_of_namespace_package_is_found(client: Client, tmp_path: Path) -> None:
    text = "from . cimport y\nfrom .sub cimport z\nfrom ns.sub.z cimport Z\ncdef y.Y a = 1\ncdef z.Z b = a\n"
    write_at(tmp_path / "src/ns/x.pyx", text + "def get(): return b\n")
    write_at(tmp_path / "src/ns/y.pxd", "from .sub.z cimport Z\nctypedef Z Y\n")
    write_at(tmp_path / "src/ns/sub/z.pxd", "from . cimport deep\nctypedef deep.D Z\n")
    write_at(tmp_path / "src/ns/sub/deep.pxd", "ctypedef int D\n")
    answer = client.translate("src/ns/x.pyx", "ns.x", language_level=3)
    assert answer["ok"], answer["text"]
    names = {os.path.relpath(path, (tmp_path / "src").resolve()) for path in answer["inputs"]}
    assert names == {"ns/x.pyx", "ns/y.pxd", "ns/sub/z.pxd", "ns/sub/deep.pxd"}
    assert str(tmp_path / "src/ns/__init__.py") in answer["absent"]


def test_own_pxd_of_namespace_package_module(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "ns/x.pyx", "cdef T value = 3\ndef get(): return value\n")
    write_at(tmp_path / "ns/x.pxd", "ctypedef int T\n")
    answer = client.translate("ns/x.pyx", "ns.x", language_level=3)
    assert answer["ok"], answer["text"]
    assert str((tmp_path / "ns/x.pxd").resolve()) in answer["inputs"]
    assert build_and_import(answer, tmp_path, "ns.x", "m.get(), m.__name__") == "(3, 'ns.x')"


def test_directory_beside_a_pxd_of_its_name_is_no_package(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "from ns.lib cimport T\ncdef T value = 1\n")
    write_at(tmp_path / "ns/lib.pxd", "from .base cimport B\nctypedef B T\n")
    write_at(tmp_path / "ns/lib/lib.c", "")
    write_at(tmp_path / "ns/base.pxd", "ctypedef int B\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert answer["ok"], answer["text"]


def test_neighbour_in_namespace_package_is_found_as_by_cythonize(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "ns/x.pyx", "cimport y\ncdef y.Y value = 3\n")
    write_at(tmp_path / "ns/y.pxd", "ctypedef int Y\n")
    assert client.translate("ns/x.pyx", "ns.x", language_level=3)["ok"]


def test_package_of_the_same_name_elsewhere_does_not_make_a_module_a_package(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "pkg/x/__init__.py", "")
    write_at(tmp_path / "src/pkg/__init__.py", "")
    write_at(tmp_path / "src/pkg/x.pyx", "from . cimport y\ncdef y.Y value = 1\n")
    write_at(tmp_path / "src/pkg/y.pxd", "ctypedef int Y\n")
    answer = client.translate("src/pkg/x.pyx", "pkg.x", language_level=3)
    assert answer["ok"], answer["text"]


def test_user_file_named_like_a_standard_module_is_harmless(tmp_path: Path) -> None:
    for name in ("re", "json", "html", "textwrap", "types", "xml"):
        write_at(tmp_path / f"{name}.py", "raise SystemError('shadowed')\n")
    write_at(tmp_path / "a.pyx", "x = 1\n")
    with contextlib.closing(Client().enter(tmp_path)) as client:
        answer = client.translate("a.pyx", "a", language_level=3, options={"annotate": True})
    assert answer["ok"], answer["text"]


# ---------------------------------------------------------------- what a result depends on


def test_new_pxd_earlier_on_path_is_listed_as_absent(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "first/here.txt", "")
    write_at(tmp_path / "second/shared.pxd", "ctypedef int T\n")
    write_at(tmp_path / "second/part.pxi", "cdef int part = 1\n")
    write_at(tmp_path / "a.pyx", "cimport shared\ninclude 'part.pxi'\ncdef shared.T x = part\n")
    path = [str(tmp_path / "first"), str(tmp_path / "second")]
    answer = client.translate("a.pyx", "a", include_path=path, language_level=3)
    assert answer["ok"], answer["text"]
    names = {os.path.relpath(path, tmp_path.resolve()) for path in answer["inputs"]}
    assert names == {"a.pyx", "second/shared.pxd", "second/part.pxi"}
    for missing in ("a.pxd", "shared.pxd", "first/shared.pxd", "part.pxi", "first/part.pxi"):
        assert str(tmp_path / missing) in answer["absent"]
    assert str(tmp_path / "second/part.pxi") not in answer["absent"]
    assert len(set(answer["absent"])) == len(answer["absent"])

    write_at(tmp_path / "first/shared.pxd", "ctypedef long T\n")
    answer = client.translate("a.pyx", "a", include_path=path, language_level=3)
    assert str((tmp_path / "first/shared.pxd").resolve()) in answer["inputs"]


def test_missing_directory_stands_for_all_files_below_it(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "from libc.math cimport sin\nx = sin(0)\n")
    absent = client.translate("a.pyx", "a", language_level=3)["absent"]
    assert str(tmp_path / "libc") in absent
    assert not [path for path in absent if path.startswith(str(tmp_path / "libc") + os.sep)]


def test_cython_and_the_standard_library_are_no_inputs(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "from libc.math cimport sin\nfrom cpython.object cimport PyObject\nx = sin(0)\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert answer["ok"], answer["text"]
    assert answer["inputs"] == [str((tmp_path / "a.pyx").resolve())]
    assert answer["externs"] == []
    home = os.path.dirname(str(__import__("Cython").__file__))
    library = os.path.dirname(os.__file__)
    for path in answer["absent"]:
        assert not path.startswith(home + os.sep)
        assert not path.startswith(library + os.sep) or "site-packages" in path


def test_files_included_by_included_files_and_pxds(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "include 'parts/one.pxi'\n")
    write_at(tmp_path / "parts/one.pxi", "cimport decl\ninclude 'two.pxi'\n")
    write_at(tmp_path / "parts/two.pxi", "cdef decl.T x = 1\n")
    write_at(tmp_path / "decl.pxd", "include 'types.pxi'\n")
    write_at(tmp_path / "types.pxi", "ctypedef int T\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert answer["ok"], answer["text"]
    names = {os.path.relpath(path, tmp_path.resolve()) for path in answer["inputs"]}
    assert names == {"a.pyx", "parts/one.pxi", "parts/two.pxi", "decl.pxd", "types.pxi"}


def test_numpy_declarations_are_inputs(client: Client, tmp_path: Path) -> None:
    pytest.importorskip("numpy", reason="numpy is not installed: pip install numpy")
    write_at(tmp_path / "middle.pxd", "cimport numpy\nctypedef numpy.float64_t real\n")
    write_at(tmp_path / "a.pyx", "from middle cimport real\ncdef real x = 1\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert answer["ok"], answer["text"]
    assert answer["numpy"]
    assert [path for path in answer["inputs"] if os.path.basename(path).startswith("__init__")]
    assert "numpy/arrayobject.h" in answer["externs"]


# ---------------------------------------------------------------- settings in comments


def test_settings_of_cimported_declarations_are_merged(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "# distutils: libraries = m\n# distutils: sources = a_impl.c\ncimport inc.b\n")
    header = "#distutils: libraries=[m, z]\n# distutils: sources = never.c\n# distutils: language = c++\n"
    write_at(tmp_path / "inc/b.pxd", header + "cimport inc.c\n")
    write_at(tmp_path / "inc/c.pxd", "# distutils: include_dirs = deep\ncdef extern from 'c.h':\n    int c()\n")
    write_at(tmp_path / "inc/c.h", "int c();\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert answer["ok"], answer["text"]
    assert answer["externs"] == ["c.h"]
    assert answer["distutils"] == {
        "libraries": ["m", "z"],
        "sources": ["a_impl.c"],
        "language": "c++",
        "include_dirs": ["deep", str(tmp_path / "inc")],
        "depends": [str(tmp_path / "inc/c.h")],
    }
    a, b, c = (str(tmp_path / name) for name in ("a.pyx", "inc/b.pxd", "inc/c.pxd"))
    assert answer["distutils_origins"] == {
        "libraries": [a, b], "sources": [a], "language": [b], "include_dirs": [c, c], "depends": [c],
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", ["", "a", "a b c", "[a, b, c]", 'a " " b', '[a, ",a", "a,", ",", ]', "'x y' z", "-O3  -Wall", "[a b, c]"]
)
def test_lists_are_split_as_cython_splits_them(value: str) -> None:
    pytest.importorskip("distutils", reason="Cython.Build needs distutils or setuptools")
    dependencies: Any = pytest.importorskip("Cython.Build.Dependencies")
    assert parse_list(value) == dependencies.parse_list(value)


def test_quote_inside_a_word_and_comment_after_it() -> None:
    assert parse_list('-DA="b c" d # e f') == ['-DA="b c"', "d"]
    assert parse_list("[a, 'b, c'] # d") == ["a", "b, c"]


def test_header_lines_end_at_the_first_code() -> None:
    text = "\ufeff\n# a comment\n#distutils:language=c++\n  #  distutils: define_macros = A B=1 C=x=y\n"
    text += "# cython: boundscheck=False\n# cython: libraries = m\n# distutils: colour = red\nx = 1\n# distutils: sources = b.c"
    assert parse_distutils(text) == {
        "language": "c++",
        "define_macros": [["A", None], ["B", "1"], ["C", "x=y"]],
        "libraries": ["m"],
        "colour": "red",
    }


def test_importing_the_module_does_not_import_cython() -> None:
    root = Path(SCRIPT).parents[2]
    code = "import sys, autoaccel.toolchains.cython_server; print('Cython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------- failures


def test_error_names_file_line_and_column(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "cimport b\ncdef int f():\n    return undefined_name\n")
    write_at(tmp_path / "b.pxd", "cdef int g()\ncdef broken broken broken\n")
    answer = client.translate("a.pyx", "a", language_level=3)
    assert (answer["ok"], answer["kind"], answer["c_file"]) == (False, "compile", None)
    places = {(os.path.basename(error["file"]), error["line"], error["column"]) for error in answer["errors"]}
    assert ("b.pxd", 2, 19) in places
    assert "cdef broken broken broken\n" + " " * 19 + "^" in answer["text"]
    assert "b.pxd:2:19: " in answer["text"]
    assert {str(tmp_path / "a.pyx"), str(tmp_path / "b.pxd")} <= set(answer["inputs"])


def test_warning_is_not_an_error_and_stays_off_the_protocol(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "def f():\n    cdef int x\n    return x\n")
    answer = client.translate("a.pyx", "a", language_level=3, directives={"warn.maybe_uninitialized": True})
    assert answer["ok"], answer["text"]
    assert [(item["line"], item["message"]) for item in answer["warnings"]] == [(3, "local variable 'x' referenced before assignment")]  # fmt: skip
    assert "warning: a.pyx:3:" in answer["text"]


def test_missing_cimport_lists_where_it_may_appear(client: Client, tmp_path: Path) -> None:
    for text, names in (("cimport nowhere\n", {"nowhere.pxd", "nowhere"}), ("include 'gone.pxi'\n", {"gone.pxi"})):
        write_at(tmp_path / "a.pyx", text)
        answer = client.translate("a.pyx", "a", language_level=3)
        assert not answer["ok"]
        assert {str(tmp_path / name) for name in names} <= set(answer["absent"])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("latin.pyx", b"x = '\xe9\xff'\n", "Decoding error"),
        ("odd.pyx", b"# coding: no-such-encoding\nx = 1\n", "unknown encoding"),
        ("missing.pyx", None, "does not exist"),
        ("work", None, "is a directory"),
        ("zero.pyx", b"x = 1\n\x00\n", "Unrecognized character"),
    ],
)
def test_unreadable_source_is_explained(client: Client, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    answer = client.translate(name, "a", language_level=3)
    assert (answer["ok"], answer["kind"]) == (False, "compile")
    assert words in answer["text"]
    assert words in answer["errors"][0]["message"]
    assert "Traceback" not in answer["text"]
    assert answer["errors"][0]["file"] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"options": {"colour": 1}}, "colour"),
        ({"options": {"cplus": 1}}, "cplus"),
        ({"directives": {"colour": 1}}, "colour"),
        ({"directives": {"boundscheck": "maybe"}}, "boundscheck"),
        ({"language": "rust"}, "rust"),
        ({"flavour": "sweet"}, "flavour"),
    ],
)
def test_unknown_settings_are_refused(client: Client, tmp_path: Path, more: dict[str, Any], words: str) -> None:
    write_at(tmp_path / "a.pyx", "x = 1\n")
    answer = client.translate("a.pyx", "a", **more)
    assert (answer["ok"], answer["kind"]) == (False, "request")
    assert words in answer["text"]
    assert "Traceback" not in answer["text"]


def test_output_directory_must_exist(client: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "a.pyx", "x = 1\n")
    answer = client.translate("a.pyx", "a", output=str(tmp_path / "nowhere/a.c"))
    assert (answer["ok"], answer["text"]) == (False, f"the directory {tmp_path / 'nowhere'} does not exist")


def test_noise_on_stdin_is_answered(client: Client, tmp_path: Path) -> None:
    assert client.process.stdin is not None
    client.process.stdin.write(b"{nonsense\n[1]\n")
    client.process.stdin.flush()
    assert [client.answer()["kind"] for _ in range(2)] == ["request", "request"]
    write_at(tmp_path / "a.pyx", "x = 1\n")
    assert client.translate("a.pyx", "a", language_level=3)["ok"]


def test_python_without_cython_is_told(tmp_path: Path) -> None:
    request = {"id": 1, "source": str(tmp_path / "a.pyx"), "module": "a", "output": str(tmp_path / "a.c")}
    with subprocess.Popen([sys.executable, "-I", "-S", SCRIPT], stdin=-1, stdout=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"sys_path": []}\n' + json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
    assert (answer["id"], answer["kind"]) == (1, "cython")
    assert "No module named 'Cython'" in answer["text"]
    assert process.returncode == 0


# ---------------------------------------------------------------- the process


def wait_for_child(client: Client) -> int:
    tasks = Path(f"/proc/{client.process.pid}/task/{client.process.pid}/children")
    if not tasks.exists():
        pytest.skip("needs /proc/<pid>/task/<pid>/children to see child processes")
    while not (children := tasks.read_text().split()):
        assert client.process.poll() is None
    return int(children[0])


def test_several_requests_are_under_way_at_once(forking: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "slow.pyx", SLOW)
    write_at(tmp_path / "quick.pyx", "x = 1\n")
    slow = forking.request("slow.pyx", "slow", language_level=3)
    quick = forking.request("quick.pyx", "quick", language_level=3)
    if (os.cpu_count() or 1) > 1:
        assert forking.answer()["id"] == quick
    forking.send(cancel=slow)
    answer = forking.answer()
    assert (answer["id"], answer["ok"], answer["kind"]) == (slow, False, "cancelled")


def test_one_job_at_a_time_answers_in_order(tmp_path: Path) -> None:
    with contextlib.closing(Client("--jobs", "1").enter(tmp_path)) as client:
        for name in "abc":
            write_at(tmp_path / f"{name}.pyx", "x = 1\n")
            client.request(f"{name}.pyx", name, language_level=3)
        assert [client.answer()["id"] for _ in range(3)] == [1, 2, 3]


def test_waiting_request_can_be_cancelled(tmp_path: Path) -> None:
    with contextlib.closing(Client("--jobs", "1").enter(tmp_path)) as client:
        write_at(tmp_path / "slow.pyx", SLOW)
        first = client.request("slow.pyx", "slow", language_level=3)
        second = client.request("slow.pyx", "slow2", language_level=3)
        for ident in (second, first):
            client.send(cancel=ident)
            answer = client.answer()
            assert (answer["id"], answer["kind"]) == (ident, "cancelled")


def test_child_killed_is_reported(forking: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "slow.pyx", SLOW)
    forking.request("slow.pyx", "slow", language_level=3)
    os.kill(wait_for_child(forking), signal.SIGKILL)
    answer = forking.answer()
    assert (answer["ok"], answer["kind"]) == (False, "crash")
    assert "signal 9" in answer["text"]
    write_at(tmp_path / "a.pyx", "x = 1\n")
    assert forking.translate("a.pyx", "a", language_level=3)["ok"]


def test_source_that_crashes_cython_is_reported(forking: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "deep.pyx", "x = " + "-" * 200_000 + "1\n")
    answer = forking.translate("deep.pyx", "deep", language_level=3)
    assert (answer["ok"], answer["kind"]) == (False, "crash")
    assert forking.translate("first.pyx", "first", language_level=3)["ok"]


def test_id_in_use_is_refused(forking: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "slow.pyx", SLOW)
    slow = forking.request("slow.pyx", "slow", language_level=3)
    forking.request("first.pyx", "first", id=slow)
    answer = forking.answer()
    assert (answer["id"], answer["kind"], "in use" in answer["text"]) == (slow, "request", True)
    forking.send(cancel=slow)
    assert forking.answer()["kind"] == "cancelled"


def test_eof_ends_server_and_children(forking: Client, tmp_path: Path) -> None:
    write_at(tmp_path / "slow.pyx", SLOW)
    forking.request("slow.pyx", "slow", language_level=3)
    child = wait_for_child(forking)
    assert forking.close() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize("options", [[], ["--no-fork"]])
def test_idle_server_ends_by_itself(options: list[str]) -> None:
    client = Client("--idle", "0.2", *options)
    assert client.process.wait(PATIENCE) == 0
    client.close()


def test_interrupt_from_the_keyboard_is_left_to_the_client(forking: Client) -> None:
    forking.process.send_signal(signal.SIGINT)
    assert forking.translate("first.pyx", "first", language_level=3)["ok"]


def test_the_first_translation_is_the_same_as_the_later_ones(tmp_path: Path) -> None:
    """Only the later ones profit from a warm-up."""
    with contextlib.closing(Client("--jobs", "1").enter(tmp_path)) as client:
        write_at(tmp_path / "same.pyx", "def twice(double[:] x):\n    return [2 * one for one in x]\n")
        texts = set()
        for _ in range(3):
            answer = client.translate("same.pyx", "same", language_level=3)
            texts.add(Path(answer["c_file"]).read_text(encoding="utf-8"))
        assert len(texts) == 1


def test_a_module_that_was_stood_in_for_is_there_again() -> None:
    with cython_server.stand_in("sndhdr_of_nobody"), cython_server.stand_in("json"):
        assert importlib.import_module("sndhdr_of_nobody").__spec__ is None
        assert sys.modules["json"] is json
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sndhdr_of_nobody")
    assert importlib.import_module("json") is json
