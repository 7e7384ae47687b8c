"""What an import costs when nothing has to be done: a fresh interpreter shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, Project, c_module, need

#: None of these may be loaded by a hit.
FORBIDDEN = {
    "hashlib", "json", "tomllib", "subprocess", "threading", "logging", "shutil", "tempfile", "filelock", "rich", "click",
    "sysconfig", "re", "typing", "dataclasses", "pathlib", "contextlib", "collections", "functools", "importlib.metadata",
    "autoaccel.pipeline", "autoaccel.store", "autoaccel.settings", "autoaccel.keys", "autoaccel.manifest", "autoaccel.errors",
    "autoaccel.compiler", "autoaccel.process", "autoaccel.toolchains", "autoaccel.declare", "autoaccel.location",
    "autoaccel.finder", "autoaccel.loader", "autoaccel.staleness", "autoaccel.hook", "autoaccel.listing", "autoaccel.unclaimed", "autoaccel.csource", "autoaccel.reload",
}  # fmt: skip

LOADED = """
import sys
sys.path[:0] = PATH
before = set(sys.modules)
import IMPORTS
print(*sorted(set(sys.modules) - before))
"""


def library(project: Project) -> str:
    """A folder with nothing but autoaccel in it: this repository has a pyproject.toml, which would be looked at."""
    folder = project.cache.parent / "library"
    if not folder.exists():
        folder.mkdir()
        (folder / "autoaccel").symlink_to(ROOT / "autoaccel")
    return str(folder)


def loaded(project: Project, imports: str, *flags: str) -> set[str]:
    """The modules that an import adds in a fresh interpreter."""
    code = LOADED.replace("PATH", repr([str(project.root), library(project)])).replace("IMPORTS", imports)
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd="/",
        env=project.environ(PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.fixture
def warm(project: Project) -> Project:
    """A project whose modules are in the cache, with settled time stamps."""
    need("cc")
    project.write("own.h", "#define NUMBER 7\n")
    project.c("sample.c", "NUMBER", before='#include "own.h"')
    project.write("pkg/__init__.py", "")
    project.c("pkg/inner.c", 8)
    # Whatever was too fresh to trust is old enough now.
    for _ in range(2):
        assert project.ok("import autoaccel, sample, pkg.inner; print(sample.value(), pkg.inner.value())") == "7 8"
        time.sleep(0.1)
    return project


@pytest.mark.core
@pytest.mark.parametrize("flags", [("-I", "-S"), ("-I",), ()], ids=["bare", "isolated", "usual"])
def test_importing_autoaccel_loads_nothing_of_the_standard_library(project: Project, flags: tuple[str, ...]) -> None:
    added = loaded(project, "autoaccel", *flags)
    assert {name for name in added if not name.startswith("autoaccel")} == set()
    assert added <= {"autoaccel"}


@pytest.mark.core
@pytest.mark.parametrize("flags", [("-I", "-S"), ()], ids=["bare", "usual"])
def test_a_hit_loads_nothing_of_the_standard_library(warm: Project, flags: tuple[str, ...]) -> None:
    added = loaded(warm, "autoaccel, sample, pkg.inner", *flags)
    assert not added & FORBIDDEN
    assert added == {"autoaccel", "autoaccel.directories", "sample", "pkg", "pkg.inner"}


@pytest.mark.core
def test_a_hit_in_the_first_directory_needs_no_path_hook(warm: Project) -> None:
    assert loaded(warm, "autoaccel, sample") == {"autoaccel", "sample"}


def test_a_hit_of_a_cython_module(project: Project) -> None:
    need("Cython", "cc")
    project.write("sample.pyx", "def value(): return 7\n")
    for _ in range(2):
        assert project.ok("import autoaccel, sample; print(sample.value())") == "7"
        time.sleep(0.1)
    assert not loaded(project, "autoaccel, sample") & (FORBIDDEN - {"re", "functools", "collections", "typing"})


def test_unrelated_imports_do_not_even_load_the_loader(warm: Project) -> None:
    warm.write("plain.py", "")
    added = loaded(warm, "autoaccel, plain, colorsys, email.message")
    assert {name for name in added if name.startswith("autoaccel")} == {"autoaccel", "autoaccel.directories"}


def test_a_source_from_the_future_is_no_reason_to_look_at_contents(warm: Project) -> None:
    later = time.time() + 86_400
    os.utime(warm.root / "sample.c", (later, later))
    for _ in range(2):
        assert warm.ok("import autoaccel, sample; print(sample.value())") == "7"
        time.sleep(0.1)
    assert "autoaccel.pipeline" not in loaded(warm, "autoaccel, sample")


def test_a_folder_from_the_future_is_no_reason_either(warm: Project) -> None:
    later = time.time() + 86_400
    os.utime(warm.root, (later, later))
    warm.ok("import autoaccel, sample")
    assert "autoaccel.pipeline" not in loaded(warm, "autoaccel, sample")


@pytest.fixture
def traced(warm: Project) -> list[str]:
    """The system calls of a process with two hits, from its start on."""
    need("strace")
    log = warm.cache.parent / "strace"
    code = LOADED.replace("PATH", repr([str(warm.root), library(warm)])).replace(
        "IMPORTS", "autoaccel, sample, pkg.inner"
    )
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", str(log), "-s", "400", sys.executable, "-c", code],
        cwd="/", env=warm.environ(PYTHONPATH=""), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0 and "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return log.read_text(errors="replace").splitlines()


@pytest.mark.core
def test_a_hit_starts_nothing_writes_nothing_locks_nothing(traced: list[str], project: Project) -> None:
    ours = (str(project.root), str(project.cache))
    calls = [line.partition(" ")[2].lstrip() for line in traced]
    assert sum(call.startswith("execve(") for call in calls) == 1
    assert not [call for call in calls if re.match(r"(clone3?|v?fork|flock)\(", call)]
    changing = re.compile(r"(creat|mkdir|mkdirat|rename|renameat2?|unlink|unlinkat|rmdir|link|linkat|symlink|symlinkat|chmod|fchmod|fchmodat|chown|utimensat|truncate|ftruncate|fsync|fdatasync)\(")  # fmt: skip
    writing = re.compile(r"open(at)?\(.*(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND)")
    found = [call for call in calls if any(place in call for place in ours)]
    assert [call for call in found if call.startswith("openat(")]
    assert not [call for call in found if changing.match(call) or writing.match(call)]
    assert not [call for call in found if re.match(r"p?writev?(64)?\(", call)]


def test_a_hit_opens_each_file_at_most_once(traced: list[str], project: Project) -> None:
    opened: dict[str, int] = {}
    for line in traced:
        match = re.search(r'openat\([^"]*"([^"]+)"[^)]*\) = \d', line)
        if match and match[1].startswith(str(project.cache)):
            opened[match[1]] = opened.get(match[1], 0) + 1
    assert opened
    assert max(opened.values()) <= 1
    assert not [path for path in opened if path.endswith(("meta.json", "build.log", ".lock"))]


def test_a_hit_reads_no_source(traced: list[str], project: Project) -> None:
    opened = [line for line in traced if re.search(r'openat\([^"]*"[^"]*\.(c|h)"', line) and str(project.root) in line]
    assert opened == []


def test_many_hits_share_what_they_have_in_common(project: Project) -> None:
    need("cc", "strace")
    for number in range(6):
        project.write(f"m{number}.c", c_module(f"m{number}", number))
    names = ", ".join(f"m{number}" for number in range(6))
    for _ in range(2):
        project.ok(f"import autoaccel, {names}")
        time.sleep(0.1)
    log = project.cache.parent / "strace"
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=openat", "-o", str(log), sys.executable, "-c", f"import autoaccel, {names}"],
        cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0 and "ptrace" in done.stderr.lower():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    opened = [line for line in log.read_text().splitlines() if f'"{project.cache}/' in line and ".so" not in line]
    assert len(opened) <= 6 + 2
