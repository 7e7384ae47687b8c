"""Which init functions a library exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoaccel.exports import init_functions, undefined
from tests.conftest import need

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="builds ELF files")


def library(folder: Path, text: str, *flags: str) -> str:
    need("cc")
    source = folder / "text.c"
    source.write_text(text)
    path = folder / "text.so"
    subprocess.run(["cc", "-shared", "-fPIC", *flags, str(source), "-o", str(path)], check=True, timeout=60)
    return str(path)


def test_what_is_defined_and_visible_counts(tmp_path: Path) -> None:
    text = """
    void *PyInit_one(void) { return 0; }
    void *PyInitU_gre_6ka8i(void) { return 0; }
    void *PyModExport_two(void) { return 0; }
    static void *PyInit_static_one(void) { return 0; }
    __attribute__((visibility("hidden"))) void *PyInit_hidden(void) { return PyInit_static_one(); }
    __attribute__((weak)) void *PyInit_weak(void) { return 0; }
    extern void *PyInit_elsewhere(void);
    void *use(void) { return PyInit_elsewhere(); }
    const char *text = "PyInit_in_a_string";
    void *MyPyInit_x(void) { return 0; }
    """
    wanted = ["PyInitU_gre_6ka8i", "PyInit_one", "PyInit_weak", "PyModExport_two"]
    assert init_functions(library(tmp_path, text)) == wanted
    assert init_functions(library(tmp_path, text, "-s")) == wanted


def test_nothing_is_exported(tmp_path: Path) -> None:
    assert init_functions(library(tmp_path, "int x;")) == []
    assert init_functions(library(tmp_path, "void *PyInit_x(void) { return 0; }", "-fvisibility=hidden")) == []


def test_other_formats_by_the_names_in_them(tmp_path: Path) -> None:
    path = tmp_path / "x.pyd"
    path.write_bytes(b"MZ\0\0PyInit_x\0_PyInit_y\0text PyInit_no\0")
    assert init_functions(str(path)) == ["PyInit_x", "PyInit_y"]


def test_an_extension_module_of_this_python() -> None:
    import _json

    if getattr(_json, "__file__", None) is None:
        pytest.skip("_json is built in here")
    assert init_functions(_json.__file__) == ["PyInit__json"]


def test_a_torn_library_says_nothing(tmp_path: Path) -> None:
    whole = Path(library(tmp_path, "extern int there(void); void *PyInit_one(void) { return there() + (void *)0; }"))
    torn = tmp_path / "torn.so"
    data = whole.read_bytes()
    assert undefined(str(whole)) == ["there"]
    for length in (*range(4, 70), *range(70, len(data), 97)):
        torn.write_bytes(data[:length])
        assert init_functions(str(torn)) == []
        assert undefined(str(torn)) == []
