"""A fixed slice of Cython's own test modules, through the hook; what fails must fail with pyximport too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import need

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
