"""What we load from a maturin project's source tree is what maturin's wheel has."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT, Project, need
from tests.rust import compiled_bindings, rust  # noqa: F401

LOOK = """
import IMPORTS
from sample import _native
# Of the cache, and only of ours.
print(sorted(set(vars(_native)) - {"__cached__"}), _native.__doc__, _native.add_two.__doc__, _native.add_two.__text_signature__)
print(sample.add_two(2, 3), getattr(_native, "__version__", None), _native.__name__, _native.__package__)
try:
    sample.add_two("a", 1)
except TypeError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_names_documentation_and_behaviour_are_the_wheel_s(rust: Project) -> None:  # noqa: F811
    need("maturin", "cargo")
    source = rust.root / "source"
    shutil.copytree(ROOT / "rust_crates" / "mixed_maturin", source, ignore=shutil.ignore_patterns("target", "*.lock"))
    ours = rust.ok(LOOK.replace("IMPORTS", "autoaccel, sample"), cwd=source)

    program = shutil.which("maturin")
    command = [program] if program else [sys.executable, "-m", "maturin"]
    command += ["build", "--interpreter", sys.executable, "--out", str(rust.root / "wheels")]
    made = subprocess.run(
        command, cwd=source, env=rust.environ(), capture_output=True, text=True, timeout=500, check=False
    )
    assert made.returncode == 0, made.stderr
    (wheel,) = (rust.root / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(rust.root / "installed")
    theirs = rust.ok(LOOK.replace("IMPORTS", "sample"), cwd=rust.root / "installed")
    assert ours == theirs
    assert "5000" in ours
