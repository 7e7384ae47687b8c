"""Every example runs and gives the baseline's result; what the documentation shows does what it says.

In README.md and docs/usage.md, each section has a project folder of its own. A block whose first line is a comment with a
file's name is that file; every other ``python`` block is run there, and what it prints must be what the comments behind its
``print`` calls tell; the commands of a ``console`` block are run, with ``…`` for output that differs from run to run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.conftest import ROOT, Project, need
from tests.rust import compiled_bindings, rust  # noqa: F401

DOCUMENTS = ("README.md", "docs/usage.md")

_NAMED = re.compile(r"(?:#|//) ([\w./-]+\.\w+)$")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOLD = re.compile(r"^(?: *print\(.*\)  )?# (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block; `file` is the name in its first line."""

    language: str
    text: str
    file: str | None

    @property
    def runs(self) -> bool:
        return self.file is None and self.language in ("python", "console")


def _sections() -> list[object]:
    """(document, title, blocks) of each section that has something to run."""
    found = []
    for document in DOCUMENTS:
        # A line that starts with `## ` inside of a block is none of ours: comments there have one sign.
        for part in re.split(r"^##+ ", (ROOT / document).read_text("utf-8"), flags=re.MULTILINE):
            blocks = [_block(match[1], match[2]) for match in _FENCE.finditer(part)]
            title = part.partition("\n")[0].strip("# ")
            if any(block.runs for block in blocks):
                found.append(pytest.param(blocks, id=f"{document}: {title}"))
    return found


def _block(language: str, text: str) -> Block:
    named = _NAMED.match(text.partition("\n")[0])
    return Block(language, text, named[1] if named else None)


@pytest.mark.parametrize("blocks", _sections())
def test_the_documentation_does_what_it_says(
    project: Project, blocks: list[Block], request: pytest.FixtureRequest
) -> None:
    need("cython", "cc", "c++")
    if any("import numba" in one.text or "from numba" in one.text for one in blocks):
        need("numba")
    if any(block.language == "rust" for block in blocks):
        request.getfixturevalue("rust")
    for block in blocks:
        if block.file is not None:
            project.write(block.file, block.text)
    for block in blocks:
        if block.runs and block.language == "python":
            assert project.ok(block.text).splitlines() == _TOLD.findall(block.text)
        elif block.runs:
            _converse(project, block.text)


def _converse(project: Project, text: str) -> None:
    """Run each command of a console block, and compare."""
    commands = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    assert commands
    for part in commands:
        command, _, told = part.partition("\n")
        words = shlex.split(command)
        settings = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        program, *args = words[len(settings) :]
        starts = {"python": [sys.executable], "autoaccel": [sys.executable, "-m", "autoaccel"]}
        result = subprocess.run(
            [*starts[program], *args],
            cwd=project.root,
            env=project.environ(**settings),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stderr
        wanted = ".*?".join(re.escape(piece) for piece in told.rstrip("\n").split("…"))
        assert re.fullmatch(wanted, result.stdout.rstrip("\n"), re.DOTALL), f"{command}\n{result.stdout}"


EXAMPLES = sorted(path.parent.name for path in ROOT.glob("examples/*/run.py"))
NEEDS = {
    "cython": ("cython", "cc"), "edit": ("cython", "cc"), "c": ("cc",), "cpp": ("c++",), "numba": ("numba", "cc", "c++")
}  # fmt: skip
RESULTS = {
    "edit_distance": "distance = 105",
    "numba_kernels": "(100, 150), heat, cells = 1.985712, 1000.000, [89303, 348, 204, 145]",
}


CRATES = sorted(path.parent.name for path in ROOT.glob("rust_crates/*/run.py"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", CRATES)
def test_a_rust_crate_prints_its_result_and_a_time(rust: Project, folder: str) -> None:  # noqa: F811
    # A copy: cargo writes its lock file beside the manifest.
    shutil.copytree(
        ROOT / "rust_crates" / folder, rust.root / folder, ignore=shutil.ignore_patterns("target", "*.lock")
    )
    result = subprocess.run(
        [sys.executable, "run.py"],
        cwd=rust.root / folder,
        env=rust.environ(),
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert result.returncode == 0, result.stderr
    wanted = "energy = -0.169071606870" if folder == "single_file" else "add_two(2, 3) = 5000"
    assert wanted in result.stdout.splitlines()
    assert re.search(r"^\d+ ns per call$", result.stdout, re.MULTILINE)
    assert len(rust.artifacts()) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("folder", [folder for folder in CRATES if folder != "single_file"])
def test_a_rust_crate_is_one_for_plain_cargo_too(rust: Project, folder: str) -> None:  # noqa: F811
    shutil.copytree(
        ROOT / "rust_crates" / folder, rust.root / folder, ignore=shutil.ignore_patterns("target", "*.lock")
    )
    (manifest,) = (rust.root / folder).rglob("Cargo.toml")
    command = ["cargo", "build", "--release", "--quiet", "--target-dir", str(rust.root / "target")]
    done = subprocess.run(command, cwd=manifest.parent, capture_output=True, text=True, timeout=480, check=False)
    assert done.returncode == 0, done.stderr
    assert list((rust.root / "target" / "release").glob("*sample*"))


@pytest.mark.parametrize("folder", EXAMPLES)
def test_an_example_prints_its_result_and_a_time(project: Project, folder: str) -> None:
    need(*NEEDS.get(folder.partition("_")[0], ()), *(one for one in ("pybind11", "nanobind") if folder.endswith(one)))
    result = subprocess.run(
        [sys.executable, "run.py"],
        cwd=ROOT / "examples" / folder,
        env=project.environ(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    wanted = RESULTS.get(folder, "add_two(2, 3) = 5000")
    assert wanted in result.stdout.splitlines()
    assert re.search(r"^\d+ ns per call$", result.stdout, re.MULTILINE)
    if not folder.startswith("numba"):  # published in the background
        assert len(project.artifacts()) == (0 if folder == "python_plain" else 1)


def test_the_c_extension_refuses_what_are_no_integers(project: Project) -> None:
    need("cc")
    told = project.ok(
        """
        import autoaccel, sample
        for arguments in ((), (1,), (1, "2"), (1, 2, 3), (1 << 40, 0)):
            try:
                print(sample.add_two(*arguments))
            except ValueError as error:
                print(error)
        """,
        cwd=ROOT / "examples" / "c_extension",
    )
    assert told.splitlines() == ["add_two() takes two integers of 32 bits"] * 5


@pytest.mark.parametrize("folder", ["c_extension", "cython_typed", "cython_wraps_c"])
def test_the_largest_arguments_give_what_python_gives(project: Project, folder: str) -> None:
    need("cc", "cython")
    code = "import autoaccel, sample; print(sample.add_two(2**31 - 1, 2**31 - 1), sample.add_two(-(2**31), -(2**31)))"
    assert project.ok(code, cwd=ROOT / "examples" / folder) == f"{1000 * (2**32 - 2)} {-1000 * 2**32}"


def test_the_edit_distance_is_the_baseline_s(project: Project) -> None:
    need("cython", "cc")
    told = project.ok(
        """
        from random import Random
        import autoaccel, levenshtein, plain

        random = Random(3)
        pairs = [[bytes(random.choices(b"abc", k=random.randrange(9))) for _ in "ab"] for _ in range(500)]
        print([pair for pair in pairs if levenshtein.distance(*pair) != plain.distance(*pair)])
        """,
        cwd=ROOT / "examples" / "edit_distance",
    )
    assert told == "[]"


def test_the_demo_shows_what_is_missing_and_how_to_get_it(project: Project) -> None:
    environment = project.environ(CC="no-such-cc", CXX="no-such-cxx", COLUMNS="100")
    environment.pop("CI", None)
    result = subprocess.run(
        [sys.executable, os.fspath(ROOT / "examples" / "demo.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^│ C extension +│ +missing", result.stdout, re.MULTILINE), result.stdout
    assert "a C compiler is needed" in result.stdout
    assert "Let $CC name a compiler that is installed" in result.stdout
