"""Packages from PyPI, imported from their unpacked sdist without a build step: their own tests end as with their wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, need
from tests.corpus.run_corpus import downloads, fetch

#: A pytest plugin: how each test ended, and which files the package's native modules are from.
PROBE = """
import json, os, sys

ends = {}

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        ends[report.nodeid] = report.outcome

def pytest_collectreport(report):
    if report.failed:
        ends[report.nodeid] = str(report.longrepr)

def pytest_sessionfinish():
    modules = [sys.modules[name] for name in os.environ["PROBE_MODULES"].split() if name in sys.modules]
    with open(os.environ["PROBE_ANSWER"], "w") as file:
        json.dump({"ends": ends, "files": {one.__name__: [one.__file__, one.__spec__.cached] for one in modules}}, file)
"""


@dataclass(frozen=True)
class Package:
    """An sdist, and what only its setup.py knows."""

    requirement: str
    #: Native module -> its source in the sdist.
    modules: dict[str, str]
    #: The folder of the sdist that goes on sys.path.
    root: str
    #: The folder with the tests; empty: they are in the package named in ``tests_in``.
    tests: str = ""
    tests_in: str = ""
    needs: tuple[str, ...] = ()
    pyproject: str = ""
    #: What it is compiled with.
    tools: tuple[str, ...] = ("Cython", "gcc", "g++")
    #: Files of the sdist that the tests want beside them, and tests that need what is not here.
    beside: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


PACKAGES = {
    # Cython that includes .pyx and C headers; nothing to tell.
    "msgpack": Package("msgpack==1.2.4", {"msgpack._cmsgpack": "msgpack/_cmsgpack.pyx"}, ".", tests="test"),
    # Cython in C++ that cimports from two installed packages, one with headers.
    "preshed": Package(
        "preshed==3.0.15",
        {f"preshed.{name}": f"preshed/{name}.pyx" for name in ("maps", "counter", "bloom")},
        ".",
        tests_in="preshed.tests",
        needs=("cymem==2.0.16", "murmurhash==1.0.16"),
        pyproject="".join(
            f'[tool.autoaccel.modules."preshed.{name}"]\nlanguage = "c++"\n' for name in ("maps", "counter", "bloom")
        ),
    ),
    # C on the C API, in a package.
    "lru-dict": Package("lru-dict==1.4.1", {"lru._lru": "src/lru/_lru.c"}, "src", tests="test"),
    # C and C++ sources together, in a folder that has the module's own name, with macros.
    "ujson": Package(
        "ujson==6.1.0",
        {"ujson": "src/ujson/ujson.c"},
        "src",
        tests="tests",
        pyproject="""
            [[tool.setuptools.ext-modules]]
            name = "ujson"
            sources = [
              "src/ujson/ujson.c", "src/ujson/encode.c", "src/ujson/decode.c", "src/ujson/dconv_wrapper.cc",
              "src/ujson/deps/double-conversion/double-conversion/*.cc",
            ]
            include-dirs = ["src/ujson", "src/ujson/deps/double-conversion/double-conversion"]
            define-macros = [["UJSON_VERSION", '"6.1.0"']]
            extra-compile-args = ["-D_GNU_SOURCE"]
            """,
    ),
    # PyO3 in a mixed project of maturin's, with a release profile that is dear to compile.
    "rtoml": Package(
        "rtoml==0.14.0",
        {"rtoml._rtoml": "Cargo.toml"},
        "python",
        tests="tests",
        needs=("dirty-equals==0.11", "hypothesis==6.170.15", "sortedcontainers==2.4.0"),
        tools=("cargo",),
        beside=("example.py",),
        ignored=("tests/test_benchmarks.py",),
    ),
    # PyO3 in a project of maturin's that is nothing but the module; its name is the library's.
    "rpds-py": Package("rpds-py==2026.9.1", {"rpds": "Cargo.toml"}, ".", tests="tests", tools=("cargo",)),
    # The same, with a tree of fifty crates below it, some of which generate code.
    "nh3": Package(
        "nh3==0.3.7", {"nh3": "Cargo.toml"}, ".", tests="tests", tools=("cargo",), ignored=("tests/test_doctests.py",)
    ),
    # PyO3 with setuptools-rust, the crate in a folder of its own.
    "bcrypt": Package(
        "bcrypt==5.0.0", {"bcrypt._bcrypt": "src/_bcrypt/Cargo.toml"}, "src", tests="tests", tools=("cargo",)
    ),
}


def wheels(requirements: tuple[str, ...]) -> Path:
    """A folder with the wheels of these packages, that looks like what it is.

    Raises:
        OSError: pip can't get them.
    """
    python = f"{sys.implementation.cache_tag}{sys.abiflags}"
    folder = downloads() / f"wheels-{python}-{'-'.join(requirements)}"
    if not folder.exists():
        work = folder.with_name(f"{folder.name}-{os.getpid()}")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--target", str(work / "site-packages"), *requirements]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        if result.returncode:
            shutil.rmtree(work, ignore_errors=True)
            raise OSError(f"pip can't download {requirements}: {result.stderr.strip()[-600:]}")
        work.rename(folder)
    return folder / "site-packages"


def import_all(package: Package, source: Path, path: list[Path], cache: Path) -> None:
    """Compile the package's modules as a user does: by importing them, in its folder, without more than the hook."""
    code = f"import autoaccel, {', '.join(package.modules)}"
    environ = {**os.environ, "AUTOACCEL_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(map(str, path))}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    made = subprocess.run(command, cwd=source, env=environ, capture_output=True, text=True, check=False, timeout=280)
    assert made.returncode == 0, made.stderr
    assert made.stdout + made.stderr == ""


def run_tests(package: Package, folder: Path, path: list[Path], tests: Path | None, **env: str) -> dict[str, dict]:
    """How the package's own tests end in a fresh interpreter that has ``path`` on its sys.path."""
    folder.mkdir()
    (folder / "probe.py").write_text(PROBE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    where = ["--pyargs", package.tests_in]
    if tests is not None:
        shutil.copytree(tests, folder / "tests")
        where = ["tests", *(f"--ignore={one}" for one in package.ignored)]
        for name in package.beside:
            shutil.copy(tests.parent / name, folder)
    environ = {
        **os.environ,
        **env,
        "PYTHONPATH": os.pathsep.join(str(one) for one in (folder, *path)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PROBE_ANSWER": str(folder / "answer.json"),
        "PROBE_MODULES": " ".join(package.modules),
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "probe", "-p", "no:cacheprovider", *where]
    made = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=280)
    assert (folder / "answer.json").exists(), made.stdout + made.stderr
    return json.loads((folder / "answer.json").read_text())


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PACKAGES)
def test_an_unpacked_sdist_passes_its_own_tests_as_its_wheel_does(name: str, tmp_path: Path) -> None:
    package = PACKAGES[name]
    need("pip", *package.tools)
    try:
        sdist = fetch(package.requirement, downloads())
        wheel = wheels((package.requirement,))
        needs = [wheels(package.needs)] if package.needs else []
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"PyPI is out of reach: {error}")
    source = tmp_path / "source"
    shutil.copytree(sdist, source)
    with open(source / "pyproject.toml", "a") as file:
        file.write("\n" + package.pyproject)
    before = files_in(source)
    tests = source / package.tests if package.tests else None
    # A sitecustomize puts the hook into the tests and their children; it must not compile anything again.
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import autoaccel\n")

    cache = tmp_path / "cache"
    path = [source / package.root, *needs, ROOT]
    import_all(package, source, path, cache)
    env = {"AUTOACCEL_CACHE_DIR": str(cache), "AUTOACCEL": "load"}
    ours = run_tests(package, tmp_path / "ours", [site, *path], tests, **env)
    theirs = run_tests(package, tmp_path / "theirs", [wheel, *needs], tests)

    ends = Counter(theirs["ends"].values())
    assert set(ends) <= {"passed", "skipped"}
    assert ends["passed"] > 20
    assert ours["ends"] == theirs["ends"]
    assert set(ours["files"]) == set(package.modules)
    for module, (file, cached) in ours["files"].items():
        assert file == str(source / package.modules[module])
        assert Path(cached).is_relative_to(cache)
    assert all(Path(file).is_relative_to(wheel) for file, _ in theirs["files"].values())
    assert files_in(source) == before
