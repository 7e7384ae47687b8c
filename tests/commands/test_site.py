"""``autoaccel site``: in, out, and never in the way of an interpreter's start."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project, c_module, need


@dataclass
class Environment:
    """A virtual environment in which autoaccel can be imported, with what it needs."""

    project: Project
    python: Path
    packages: Path

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run its interpreter in the project."""
        told = self.project.environ(**env)
        told.pop("PYTHONPATH")
        told["HOME"] = str(self.project.cache.parent)
        return subprocess.run(
            [str(self.python), *words], cwd=self.project.root, env=told, capture_output=True, text=True
        )

    def accel(self, *words: str, **env: str) -> tuple[int, str]:
        """Run ``autoaccel`` in it; status and output."""
        done = self.run("-m", "autoaccel", *words, **env)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def environment(project: Project) -> Environment:
    need("cc")
    folder = project.cache.parent / "environment"
    venv.create(folder, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # In the place of an installation: autoaccel by a link, its dependencies from here.
    (packages / "autoaccel").symlink_to(ROOT / "autoaccel")
    here = next(path for path in sys.path if os.path.isdir(os.path.join(path, "click")))
    (packages / "zz-dependencies.pth").write_text(here + "\n")
    project.c("sample.c", 5)
    return Environment(project, folder / "bin" / "python", packages)


def test_in_and_out_again(environment: Environment) -> None:
    code = "import sample; print(sample.value())"
    assert "No module named 'sample'" in environment.run("-c", code).stderr
    assert environment.accel("site", "status") == (1, "not installed\n")
    status, told = environment.accel("site", "install")
    path = environment.packages / "autoaccel-site.pth"
    assert (status, told.splitlines()[0]) == (0, f"installed: {path}")
    assert environment.run("-c", code).stdout == "5\n"
    assert environment.accel("site", "install") == (0, f"it is in already: {path}\n")
    assert environment.accel("site", "status") == (0, f"installed: {path}\nworks\n")
    off = environment.run("-c", code, AUTOACCEL="off")
    assert "No module named 'sample'" in off.stderr
    assert environment.run("-X", "importtime", "-c", "", AUTOACCEL="off").stderr.count("autoaccel") == 0
    assert environment.accel("site", "uninstall") == (0, f"removed: {path}\n")
    assert environment.accel("site", "uninstall") == (0, "nothing is installed\n")
    assert "No module named 'sample'" in environment.run("-c", code).stderr
    assert sorted(one.name for one in environment.packages.iterdir()) == ["autoaccel", "zz-dependencies.pth"]


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "import no_such_dependency",
        "raise SystemExit(9)",
        "raise KeyboardInterrupt",
        "def broken(:",
        "import os; os.environ['AUTOACCEL_BROKEN']",
    ],
)
def test_a_broken_or_missing_autoaccel_keeps_no_interpreter_from_starting(
    environment: Environment, broken: str | None
) -> None:
    environment.accel("site", "install")
    (environment.packages / "autoaccel").unlink()
    if broken is not None:
        (environment.packages / "autoaccel").mkdir()
        (environment.packages / "autoaccel" / "__init__.py").write_text(broken)
    done = environment.run("-c", "print('started')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_a_setting_that_means_nothing(environment: Environment) -> None:
    environment.accel("site", "install")
    done = environment.run("-c", "print('started')", AUTOACCEL="nonsense")
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_outside_of_an_environment(project: Project) -> None:
    base = os.path.join(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    if not os.path.exists(base):
        pytest.skip("the interpreter of this environment is not where it should be")
    here = next(path for path in sys.path if os.path.isdir(os.path.join(path, "click")))
    home = project.cache.parent / "home"
    env = project.environ(PYTHONPATH=f"{ROOT}{os.pathsep}{here}", HOME=str(home))
    command = [base, "-m", "autoaccel", "site"]
    run = lambda *words: subprocess.run([*command, *words], env=env, cwd=project.root, capture_output=True, text=True)  # noqa: E731
    refused = run("install")
    assert refused.returncode == 2
    assert "is in no virtual environment: activate one, or say --user" in refused.stderr
    assert run("install", "--user").returncode == 0
    (found,) = home.rglob("*.pth")
    assert found.name == "autoaccel-site.pth"
    project.write("sample.c", c_module("sample", 6))
    assert run("uninstall").stdout == f"removed: {found}\n"
