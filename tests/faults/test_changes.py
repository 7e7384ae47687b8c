"""Changes that are easy to overlook: during a build, within a clock's tick, with old time stamps, under moved clocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import c_module, need
from tests.faults.conftest import CODE, FULL, Faults, some
from tests.faults.test_processes import compiling, slow


@pytest.mark.parametrize("which", ["source", "header"])
def test_f30_an_edit_during_the_build(faults: Faults, which: str) -> None:
    header = faults.project.write("own.h", "#define NUMBER 7\n")
    source = faults.project.c("sample.c", "NUMBER", before='#include "own.h"')
    gate = slow(faults)
    child = faults.start()
    compiling(faults, gate)
    if which == "header":
        header.write_text("#define NUMBER 8\n")
    else:
        source.write_text(source.read_text().replace("FromLong(NUMBER)", "FromLong(NUMBER + 1)"))
    faults.injected()
    gate.touch()
    out, err = child.communicate(timeout=60)
    # What was compiled may be the old or the new text; it serves this process alone.
    assert (child.returncode, err) == (0, "")
    assert out in ("7\n", "8\n")
    assert faults.project.artifacts() == []
    faults.fine(8)


ROUNDS = 10_000 if FULL else 60


def test_f31_edits_of_the_same_size_within_a_tick(faults: Faults) -> None:
    """The look at an input, again and again right after an edit: by its stamps alone, it must never be the same."""
    from autoaccel.keys import Contents
    from autoaccel.staleness import FRESH, identity

    path = faults.project.root / "input"
    for number in range(ROUNDS * 20):
        path.write_text(f"{number % 10}")
        seen = Contents().identity(str(path))
        path.write_text(f"{(number + 1) % 10}")
        assert seen == FRESH or seen != identity(str(path))
        faults.injected()


WAYS = ("write", "restored time stamp", "renamed over", "copied with its time stamp", "mapped")


@pytest.mark.parametrize("how", some([*WAYS], 3))
def test_f31_edits_that_hide(faults: Faults, how: str) -> None:
    source = faults.project.root / "sample.c"
    first = source.read_text()
    assert faults.project.ok(CODE) == "7"
    for value in (8, 9, 7):
        text = first.replace("FromLong(7)", f"FromLong({value})")
        stamps = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
        if how in ("write", "restored time stamp"):
            source.write_text(text)
        elif how == "mapped":
            import mmap

            with source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
                view[:] = text.encode()
        else:
            other = faults.project.root.parent / "other.c"
            other.write_text(text)
            os.utime(other, ns=stamps)
            if how == "renamed over":
                other.rename(source)
            else:
                shutil.copy2(other, source)
        if how != "write":
            os.utime(source, ns=stamps)
        faults.injected()
        assert faults.project.ok(CODE) == str(value)


CLOCK = """
import time
wall, ns = time.time, time.time_ns
time.time = lambda: wall() + {shift}
time.time_ns = lambda: ns() + {shift} * 10**9
"""


@pytest.mark.parametrize("shift", some([86_400, -86_400, 86_400 * 365, -86_400 * 365 * 20], 2))
def test_f32_the_clock_is_wrong(faults: Faults, shift: int) -> None:
    compiler = faults.project.compiler()
    for number, code in enumerate((CLOCK.format(shift=shift) + CODE, CODE, CLOCK.format(shift=shift) + CODE)):
        faults.project.c("sample.c", 10 + number)
        faults.injected()
        for _ in range(2):
            assert faults.project.ok(code) == str(10 + number)
    # No build but for an edit, where what was built could be kept: a clock that is behind sees all inputs as just changed.
    assert compiler.compiles <= (3 if shift > 0 else 6)
    faults.fine(12)


@pytest.mark.parametrize("days", some([1, 365, -365, -20_000], 2))
def test_f32_inputs_from_other_times(faults: Faults, days: int) -> None:
    compiler = faults.project.compiler()
    header = faults.project.write("own.h", "#define NUMBER 7\n")
    source = faults.project.c("sample.c", "NUMBER", before='#include "own.h"')
    for value in (7, 8):
        header.write_text(f"#define NUMBER {value}\n")
        for path in (header, source, faults.project.root):
            os.utime(path, (time.time() + days * 86_400,) * 2)
        faults.injected()
        for _ in range(3):
            assert faults.project.ok(CODE) == str(value)
    assert compiler.compiles == 2


SHADOWED = """
#include <Python.h>
#include "h.h"
#if __has_include("extra.h")
#include "extra.h"
#endif
#ifndef EXTRA
#define EXTRA 0
#endif
"""


@pytest.fixture
def searched(faults: Faults) -> Faults:
    """A module whose header is in the second of two folders."""
    (faults.project.root / "inc1").mkdir()
    faults.project.write("inc2/h.h", "#define H 2\n")
    faults.project.write("setup.py", "")
    text = "// distutils: include_dirs = inc1 inc2\n" + c_module("sample", "H + EXTRA", before=SHADOWED)
    faults.project.write("sample.c", text)
    assert faults.project.ok(CODE) == "2"
    return faults


def test_f33_a_header_appears_earlier_on_the_path_and_goes_again(searched: Faults) -> None:
    compiler = searched.project.compiler()
    searched.project.env.pop("CC")
    header = searched.project.write("inc1/h.h", "#define H 1\n")
    searched.injected()
    assert searched.project.ok(CODE) == "1"
    header.unlink()
    searched.injected()
    assert searched.project.ok(CODE) == "2"
    assert compiler.compiles == 0
    searched.fine(2)


def test_f33_what_has_include_asks_for_appears(searched: Faults) -> None:
    searched.project.write("inc2/extra.h", "#define EXTRA 10\n")
    searched.injected()
    assert searched.project.ok(CODE) == "12"
    searched.project.write("extra.h", "#define EXTRA 20\n")
    searched.injected()
    assert searched.project.ok(CODE) == "22"


def test_f33_a_folder_is_replaced_by_a_link(searched: Faults) -> None:
    searched.project.write("inc3/h.h", "#define H 3\n")
    (searched.project.root / "inc1").rmdir()
    (searched.project.root / "inc1").symlink_to("inc3")
    searched.injected()
    assert searched.project.ok(CODE) == "3"
    (searched.project.root / "inc1").unlink()
    searched.injected()
    assert searched.project.ok(CODE) == "2"


def test_f33_a_pxd_appears(faults: Faults) -> None:
    need("Cython")
    faults.project.write("mod.pyx", "def f(int x): return x\ndef value(): return 1\n")
    assert faults.project.ok("import autoaccel, mod; print(mod.value())") == "1"
    # A declaration that its source contradicts: whoever reads it fails.
    faults.project.write("mod.pxd", "cdef int nowhere()\n")
    faults.injected()
    assert "BuildError" in faults.project.run("import autoaccel, mod").err
    (faults.project.root / "mod.pxd").unlink()
    faults.injected()
    assert faults.project.ok("import autoaccel, mod; print(mod.value())") == "1"


def test_f35_a_compiler_is_replaced_by_one_of_equal_size_and_time(faults: Faults) -> None:
    compiler = faults.project.compiler("true 1")
    assert faults.project.ok(CODE) == "7"
    before = compiler.path.stat()
    for number in (2, 3):
        text = compiler.path.read_text()
        compiler.path.write_text(text.replace(f"true {number - 1}", f"true {number}"))
        os.utime(compiler.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert compiler.path.stat().st_size == before.st_size
        faults.injected()
        assert faults.project.ok(CODE) == "7"
        assert compiler.compiles == number


def test_f36_cargo_does_not_see_an_older_file(faults: Faults) -> None:
    need("cargo")
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "rust_crates" / "raw_ffi" / "sample", faults.project.root / "crate")
    source = faults.project.root / "crate" / "src" / "lib.rs"
    text = source.read_text()
    code = "import sys; sys.path.insert(0, 'crate'); import autoaccel, sample; print(sample.add_two(1, 2))"
    (faults.project.root / "sample.c").unlink()
    assert faults.project.ok(code) == "3000"
    for old, new, when, want in (("1000", "2000", 1_000_000_000, "6000"), ("2000", "1000", 900_000_000, "3000")):
        assert old in text
        text = text.replace(old, new)
        source.write_text(text)
        os.utime(source, (when, when))
        faults.injected()
        assert faults.project.ok(code) == want


@pytest.mark.skipif(sys.platform != "linux", reason="libraries of ELF")
def test_f39_a_library_that_it_needs_is_gone(faults: Faults) -> None:
    folder = faults.project.root / "lib"
    folder.mkdir()
    faults.project.write("dep.c", "int dep(void) { return 7; }\n")
    link = ["cc", "-shared", "-fPIC", "-o", str(folder / "libdep.so"), str(faults.project.root / "dep.c")]
    subprocess.run(link, check=True, timeout=60)
    (faults.project.root / "dep.c").unlink()
    head = "// distutils: libraries = dep\n// distutils: library_dirs = lib\n// distutils: runtime_library_dirs = lib\n"
    faults.project.write("setup.py", "")
    faults.project.write(
        "sample.c",
        head.replace("runtime_library_dirs = lib", f"runtime_library_dirs = {folder}")
        + c_module("sample", "dep()", before="int dep(void);"),
    )
    assert faults.project.ok(CODE) == "7"
    (folder / "libdep.so").rename(folder / "aside")
    faults.injected()
    run = faults.project.run(CODE)
    assert run.status == 1
    assert "dep" in run.last or "-ldep" in run.err
    assert "\nautoaccel.errors." in run.err
    (folder / "aside").rename(folder / "libdep.so")
    faults.fine()
