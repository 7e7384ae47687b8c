"""A fixed slice of Cython's own test modules, through the hook; what fails must fail with pyximport too."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.corpus.run_corpus import downloads, fetch

RUNNER = Path(__file__).with_name("run_corpus.py")

#: Every N-th of the chosen modules.
SLICE = "1/16"
AT_LEAST = 40

#: Modules of the slice that do not pass, and why. Nothing else may fail, and what passes must go from here.
EXPECTED: dict[str, str] = {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_modules_of_cythons_own_suite_pass_as_they_do_with_the_peer(tmp_path: Path) -> None:
    need("Cython", "pip", "setuptools", "gcc", "g++")
    results = tmp_path / "results.json"
    # The runner has the installed package or this tree under test, as this process has.
    command = [sys.executable, str(RUNNER), "--shard", SLICE, "--work", str(tmp_path / "work"), "--json", str(results)]
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if not results.exists() and "can't download" in made.stderr and not os.environ.get("CI"):
        pytest.skip(f"PyPI is out of reach: {made.stderr.strip().splitlines()[-1]}")
    assert results.exists(), made.stdout + made.stderr
    outcomes = json.loads(results.read_text())
    failed = {name: one["kind"] for name, one in outcomes["ours"].items() if one["kind"] != "passed"}
    behind = [name for name in failed if outcomes["peer"][name]["kind"] == "passed"]
    assert not behind, made.stdout
    assert made.returncode == 0, made.stdout + made.stderr
    assert set(failed) == set(EXPECTED), made.stdout
    assert len(outcomes["ours"]) - len(failed) >= AT_LEAST, made.stdout


#: Of pyximport's own tests, one that wants what the front does on purpose otherwise: what a module raises when it is
#: imported stays what it is, and is no ImportError.
ANOTHER_WAY = {"pyximport_errors"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pyximports_own_tests_pass_with_the_front_in_its_place(tmp_path: Path) -> None:
    need("Cython", "pip", "setuptools", "gcc")
    try:
        sdist = fetch(f"cython=={version('cython')}", downloads())
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PyPI is out of reach: {error}")
    trees = sorted((sdist / "tests" / "pyximport").glob("*.srctree"))
    ends = {tree.stem: _end(tree, tmp_path / tree.stem) for tree in trees}
    assert len(ends) > 5
    assert {name for name, told in ends.items() if told} == ANOTHER_WAY, ends


def _end(tree: Path, folder: Path) -> str:
    """What a test that is a tree of files and commands says when it fails; empty where it passes."""
    commands, *parts = re.split(r"^#{8,} *(\S+) *#{8,}$", tree.read_text(), flags=re.MULTILINE)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            re.sub(r"^( *)import pyximport$", r"\1from autoaccel import pyximport", text, flags=re.MULTILINE)
        )
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    for line in filter(None, commands.strip().strip('"\n').splitlines()):
        words = shlex.split(line if line.count('"') % 2 == 0 else f'{line}"')
        assert words.pop(0) == "PYTHON", line
        made = subprocess.run(
            [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        if made.returncode:
            return made.stdout + made.stderr
    return ""
