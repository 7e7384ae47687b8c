"""Files that appear beside a source after it was built, and are none of its business."""

from __future__ import annotations

import time

import pytest

from tests.conftest import Project, need


@pytest.mark.parametrize("file", ["setup.py", "sample.cpp", "sample.cxx", "unrelated.h"])
def test_a_file_that_means_nothing_appears(project: Project, file: str) -> None:
    need("cc")
    compiler = project.compiler()
    project.c("sample.c", 4)
    code = "import sys, autoaccel, sample; print(sample.value(), 'autoaccel.pipeline' in sys.modules)"
    assert project.ok(code) == "4 True"
    project.write(file, "")
    time.sleep(0.1)  # what is younger is read once more
    project.ok(code)
    assert project.ok(code, AUTOACCEL="load") == "4 False"
    assert project.ok(code) == "4 False"
    # What could define the same module is an input from now on.
    assert compiler.compiles == (2 if file in ("sample.cpp", "sample.cxx") else 1)


def test_reload_of_a_changed_pybind11_module(project: Project) -> None:
    need("c++", "pybind11")
    text = '#include <pybind11/pybind11.h>\nPYBIND11_MODULE(bound, m) {{ m.def("f", [] {{ return {0}; }}); m.attr("V") = {0}; }}\n'
    project.write("bound.cpp", text.format(1))
    out = project.ok(
        f"""
        import importlib, pathlib, autoaccel, bound
        before = bound
        print(bound.f(), bound.V)
        pathlib.Path("bound.cpp").write_text({text.format(2)!r})
        importlib.reload(bound)
        print(bound.f(), bound.V, bound is before, bound.__name__, bound.__spec__.name)
        """
    )
    assert out.splitlines() == ["1 1", "2 2 True bound bound"]


def test_numpys_headers_need_no_folder(project: Project) -> None:
    need("cc", "numpy")
    project.write(
        "sample.c",
        """
        #include <Python.h>
        #include <numpy/ndarraytypes.h>
        static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "sample", 0, 0, 0};
        PyMODINIT_FUNC PyInit_sample(void) { return PyModule_Create(&definition); }
        """,
    )
    assert project.ok("import autoaccel, sample; print(sample.__name__)") == "sample"
