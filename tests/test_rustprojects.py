"""Which modules a project's crates are: maturin's rules, setuptools-rust's tables, Cargo.toml's own words."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from autoaccel import crates, rustextensions, rustprojects, settings
from autoaccel.sources import Source
from autoaccel.toolchains import requests
from tests.conftest import Project, need
from tests.rust import manifest, raw, value

MATURIN = '[build-system]\nbuild-backend = "maturin"\n'
MARKED = "#[pymodule]\nfn x() {}\n"


def lay_out(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def declared(root: Path, pyproject: str, files: dict[str, str]) -> dict[str, str]:
    """Module -> its manifest, relative to the root."""
    lay_out(root, files)
    found = rustprojects.of_project(tomllib.loads(pyproject), str(root))
    return {name: str(Path(path).relative_to(root)) for name, (path, _, _) in found.modules.items()}


CRATE = {"Cargo.toml": manifest("some-crate"), "src/lib.rs": MARKED}
PLAIN = {**CRATE, "src/lib.rs": "pub fn f() {}\n"}


@pytest.mark.parametrize(
    ("pyproject", "files", "modules"),
    [
        pytest.param(MATURIN, CRATE, {"some_crate": "Cargo.toml"}, id="the package's name"),
        pytest.param(MATURIN + '[project]\nname = "a-b"\n', CRATE, {"a_b": "Cargo.toml"}, id="the project's name"),
        pytest.param(
            MATURIN + '[project]\nname = "other"\n',
            {**CRATE, "Cargo.toml": manifest("x", lib='name = "lib_name"')},
            {"lib_name": "Cargo.toml"},
            id="the library's name",
        ),
        pytest.param('[tool.maturin]\nmodule-name = "a.b"\n', CRATE, {"a.b": "Cargo.toml"}, id="module-name"),
        pytest.param(
            MATURIN,
            {**CRATE, "some_crate/__init__.py": ""},
            {"some_crate.some_crate": "Cargo.toml"},
            id="a mixed project",
        ),
        pytest.param(
            MATURIN + '[tool.maturin]\npython-source = "python"\n',
            {**CRATE, "python/some_crate/__init__.py": ""},
            {"some_crate.some_crate": "Cargo.toml"},
            id="python-source",
        ),
        pytest.param(
            MATURIN + '[tool.maturin]\nmanifest-path = "native/Cargo.toml"\nmodule-name = "a._b"\n',
            {"native/Cargo.toml": manifest("x"), "native/src/lib.rs": MARKED},
            {"a._b": "native/Cargo.toml"},
            id="manifest-path",
        ),
        pytest.param(
            MATURIN + '[project]\nname = "pkg"\n',
            {"rust/Cargo.toml": manifest("pkg"), "rust/src/lib.rs": MARKED, "src/pkg/__init__.py": ""},
            {"pkg.pkg": "rust/Cargo.toml"},
            id="the src and rust layout",
        ),
        pytest.param(
            MATURIN + '[project]\nname = "pkg"\n[tool.maturin]\npython-source = "python"\n',
            {"rust/Cargo.toml": manifest("pkg"), "rust/src/lib.rs": MARKED, "python/pkg/__init__.py": ""},
            {"pkg.pkg": "rust/Cargo.toml"},
            id="python-source beside rust",
        ),
        pytest.param(
            MATURIN + '[project]\nname = "dist"\n[tool.maturin]\npython-packages = ["pkg"]\n',
            {
                "rust/Cargo.toml": manifest("x", lib='name = "pkg"'),
                "rust/src/lib.rs": MARKED,
                "src/pkg/__init__.py": "",
            },
            {"pkg.pkg": "rust/Cargo.toml"},
            id="another package in src than the project",
        ),
        pytest.param(
            MATURIN + '[project]\nname = "pkg"\n[tool.maturin]\nmanifest-path = "rust/py/Cargo.toml"\n',
            {
                "rust/Cargo.toml": '[workspace]\nmembers = ["py"]\n',
                "rust/py/Cargo.toml": manifest("pkg"),
                "rust/py/src/lib.rs": MARKED,
                "src/pkg/__init__.py": "",
            },
            {"pkg.pkg": "rust/py/Cargo.toml"},
            id="a member of the workspace in rust",
        ),
        pytest.param(
            MATURIN, {**CRATE, "some_crate/__init__.pyi": ""}, {"some_crate.some_crate": "Cargo.toml"}, id="a namespace"
        ),
        pytest.param(
            MATURIN + '[tool.maturin]\nmanifest-path = "x/Cargo.toml"\n',
            {"x/Cargo.toml": manifest("x"), "x/src/lib.rs": MARKED},
            {"x": "x/Cargo.toml"},
            id="a crate's folder is no namespace",
        ),
        pytest.param(MATURIN + '[tool.maturin]\nbindings = "bin"\n', CRATE, {}, id="a program"),
        pytest.param(
            MATURIN,
            {"Cargo.toml": manifest("x").replace("cdylib", "rlib"), "src/lib.rs": "pub fn f() {}\n"},
            {},
            id="no extension module",
        ),
        pytest.param(MATURIN, PLAIN, {"some_crate": "pyproject.toml"}, id="a C library, for cffi"),
        pytest.param(
            MATURIN + '[tool.maturin]\nmodule-name = "pkg._native"\nbindings = "cffi"\n',
            {**CRATE, "pkg/__init__.py": ""},
            {"pkg._native": "pyproject.toml"},
            id="bindings that are told beat what the library has",
        ),
        pytest.param(
            MATURIN,
            {**PLAIN, "some_crate/__init__.py": ""},
            {"some_crate.some_crate": "pyproject.toml"},
            id="mixed cffi",
        ),
        pytest.param(
            MATURIN,
            {**PLAIN, "Cargo.toml": manifest("x", '[dependencies]\nuniffi = "0.29"').replace("cdylib", "rlib")},
            {"x": "pyproject.toml"},
            id="UniFFI",
        ),
        pytest.param(
            MATURIN,
            {**PLAIN, "Cargo.toml": manifest("x", '[dependencies]\npyo3 = "0.30"')},
            {},
            id="an init function that a macro hides",
        ),
        pytest.param(
            MATURIN + '[tool.maturin]\nmodule-name = "pkg._core"\n',
            {**PLAIN, "Cargo.toml": manifest("x", '[dependencies]\npyo3 = "0.30"')},
            {"pkg._core": "Cargo.toml"},
            id="and whose name the project tells",
        ),
        pytest.param(
            MATURIN + '[tool.maturin]\nbindings = "pyo3"\n',
            PLAIN,
            {"some_crate": "Cargo.toml"},
            id="or that it is there",
        ),
        pytest.param(
            MATURIN,
            {
                **PLAIN,
                "Cargo.lock": '[[package]]\nname = "some-crate"\nversion = "1.0.0"\ndependencies = ["between 1.0.0"]\n'
                '[[package]]\nname = "between"\nversion = "1.0.0"\ndependencies = ["pyo3"]\n',
            },
            {},
            id="and whose bindings come with another crate",
        ),
        pytest.param(
            '[[tool.setuptools-rust.ext-modules]]\ntarget = "a._one"\n'
            '[[tool.setuptools-rust.ext-modules]]\ntarget = "a._two"\npath = "two/Cargo.toml"\n',
            {**CRATE, "two/Cargo.toml": manifest("two"), "two/src/lib.rs": "pub fn f() {}\n"},
            {"a._one": "Cargo.toml", "a._two": "two/Cargo.toml"},
            id="setuptools-rust",
        ),
        pytest.param(
            '[[tool.setuptools-rust.ext-modules]]\ntarget = { "" = "a._one", two = "a._two" }\n',
            CRATE,
            {"a._one": "Cargo.toml", "a._two": "Cargo.toml"},
            id="several targets in one table",
        ),
        pytest.param('[project]\nname = "a"\n', CRATE, {}, id="a project that says nothing of Rust"),
    ],
)
def test_names(tmp_path: Path, pyproject: str, files: dict[str, str], modules: dict[str, str]) -> None:
    assert declared(tmp_path, pyproject, files) == modules


def test_a_declaration_beats_the_guess_from_the_library_s_name(project: Project) -> None:
    lay_out(project.root, {**CRATE, "pyproject.toml": MATURIN + '[tool.maturin]\nmodule-name = "a._core"\n'})
    assert rustprojects.of_crate(str(project.root / "Cargo.toml")).modules == {}


@pytest.mark.parametrize(
    ("condition", "there"),
    [
        ("", True),
        ('python-version = ">={0}.{1}"', True),
        ('python-version = ">{0}.{1}"', False),
        ('python-version = ">=3.8, <{0}.{1}"', False),
        ('python-version = "=={0}.{1}"', True),
        ('python-version = "=={0}.*"', True),
        ('python-version = "!={0}.{1}.*"', False),
        ('python-version = "~=3.8"', True),
        ('python-version = ">={0}.{1}.1"', False),
        ('python-version = "<={0}.{1}", python-implementation = "CPython"', True),
        ('python-implementation = "pypy"', False),
    ],
)
def test_a_feature_of_maturin_s_for_some_pythons(tmp_path: Path, condition: str, there: bool) -> None:
    told = condition.format(*sys.version_info[:2])
    (tmp_path / "Cargo.toml").write_text(manifest("sample"))
    pyproject = tmp_path / "pyproject.toml"
    table = f'{{ feature = "some"{", " + told if told else ""} }}'
    pyproject.write_text(f'[tool.maturin]\nfeatures = ["always", {table}]\n')
    crate = crates.read_crate(str(tmp_path / "Cargo.toml"))
    source = Source("sample", crate.manifest, "cargo")
    request = requests.of_crate(source, crate, settings.load(source))
    assert request.features == (("always", "some") if there else ("always",))


@pytest.mark.parametrize("setup", ["", 'RustExtension("sample._native")\n', "RustExtension(computed())\n"])
def test_the_guess_from_the_library_s_name_does_not_hide_the_package_around_it(project: Project, setup: str) -> None:
    project.write("Cargo.toml", manifest("sample"))
    project.write("src/lib.rs", raw("_native"))
    project.write("sample/__init__.py", "value = 'python'\n")
    if setup:
        project.write("setup.py", setup)
    assert value(project) == "python"


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("setup()", None),
        ('RustExtension("a.b")', [{"target": "a.b"}]),
        (
            'N = "a.b"\nFEATURES = ["x"]\nsr.RustExtension(N, "rust/Cargo.toml", features=FEATURES, debug=maybe())',
            [{"target": "a.b", "path": "rust/Cargo.toml", "features": ["x"]}],
        ),
        ('RustExtension("a.b", binding=Binding.NoBinding, args=["-q"])', [{"target": "a.b", "args": ["-q"]}]),
        ('RustExtension({"": "a.b", "c": "a.c"})', [{"target": "a.b"}, {"target": "a.c"}]),
        ('RustExtension("a.b", binding=Binding.Exec)', []),
        ('RustExtension("a.b", features=["x"] if debug else [])', []),
        ('N = "a"\nN = "b"\nRustExtension(N)', []),
        ('if unix:\n    N = "a"\nRustExtension(N)', []),
        ("RustExtension(*told, **more)", []),
        ("RustExtension(", []),
        ('RustExtension("a.b")\nre.match("\\d", x)', [{"target": "a.b"}]),
        ('RustExtension("a.b", features={[]: 1})', []),
        (f'RustExtension("a.b", features={"[" * 5000}{"]" * 5000})', []),
        (f'RustExtension("a.b", features={"-" * 5000}1)', []),
    ],
)
def test_a_setup_is_read_and_not_run(tmp_path: Path, text: str, tables: list[dict[str, object]] | None) -> None:
    (tmp_path / "setup.py").write_text(text)
    assert rustextensions.in_setup(str(tmp_path / "setup.py")) == tables


@pytest.mark.parametrize("backend", ["", '[build-system]\nrequires = ["setuptools", "setuptools-rust"]\n'])
def test_a_module_that_a_setup_makes_and_what_it_asks_for(project: Project, backend: str) -> None:
    need("cargo")
    if backend:
        project.write("pyproject.toml", backend)
    arguments = 'features=["more"], args=["--no-default-features", "--profile", "dev"], rustc_flags=["--cfg", "wanted"]'
    setup = project.write("setup.py", f'RustExtension("sample._native", {arguments})\n')
    features = '[features]\ndefault = ["other"]\nother = []\nmore = []\n'
    project.write("Cargo.toml", manifest("sample", features))
    text = (
        'cfg!(feature = "more") as i64 + 10 * cfg!(feature = "other") as i64 + 100 * cfg!(debug_assertions) as i64 '
        "+ 1000 * cfg!(wanted) as i64"
    )
    project.write("src/lib.rs", raw("_native", text))
    project.write("sample/__init__.py", "from ._native import value\n")
    assert value(project) == "1101"
    setup.write_text('RustExtension("sample._native")\n')
    assert value(project) == "10"


def test_a_backend_in_other_quotes(project: Project) -> None:
    need("cargo")
    project.write("pyproject.toml", "[build-system]\nbuild-backend = 'maturin'\n[project]\nname = 'sample'\n")
    lay_out(project.root, {"rust/Cargo.toml": manifest("sample"), "rust/src/lib.rs": raw("sample", 7)})
    project.write("src/sample/__init__.py", "from .sample import value\n")
    assert project.ok("import sys; sys.path[0] = 'src'; import autoaccel, sample; print(sample.value)") == "7"


@pytest.mark.parametrize("before", [None, "setup()\n"])
def test_a_setup_that_asks_for_something_only_later(project: Project, before: str | None) -> None:
    need("cargo")
    project.write("sample/Cargo.toml", manifest("sample", "[features]\nmore = []\n"))
    project.write("sample/src/lib.rs", raw("sample", 'cfg!(feature = "more") as i64'))
    if before is not None:
        project.write("sample/setup.py", before)
    code = "import autoaccel, sample; print(sample.value)"
    assert project.ok(code) == "0"
    project.write("sample/setup.py", 'RustExtension("sample", features=["more"])\n')
    assert project.ok(code) == "1"


def test_flags_of_setuptools_rust(project: Project) -> None:
    need("cargo")
    project.write(
        "pyproject.toml",
        """
        [[tool.setuptools-rust.ext-modules]]
        target = "sample"
        args = ["--profile=dev"]
        rustc-flags = ["--cfg", "wanted"]
        cargo-manifest-args = ["--offline"]
        """,
    )
    project.write("Cargo.toml", manifest("some"))
    project.write("src/lib.rs", raw("sample", "cfg!(wanted) as i64 + 10 * cfg!(debug_assertions) as i64"))
    assert value(project) == "11"


def test_features_and_profile_of_maturin(project: Project) -> None:
    need("cargo")
    project.write(
        "pyproject.toml",
        MATURIN
        + '[tool.maturin]\nmodule-name = "sample"\nfeatures = ["more"]\nprofile = "dev"\nno-default-features = true\n',
    )
    features = '[features]\ndefault = ["other"]\nother = []\nmore = []\n'
    project.write("Cargo.toml", manifest("some", features))
    text = 'cfg!(feature = "more") as i64 + 10 * cfg!(feature = "other") as i64 + 100 * cfg!(debug_assertions) as i64'
    project.write("src/lib.rs", raw("sample", text))
    assert value(project) == "101"
    (project.root / "pyproject.toml").write_text(MATURIN + '[tool.maturin]\nmodule-name = "sample"\n')
    assert value(project) == "10"


def test_two_modules_of_setuptools_rust_from_one_crate(project: Project) -> None:
    need("cargo")
    tables = "".join(
        f'[[tool.setuptools-rust.ext-modules]]\ntarget = "pkg.{name}"\npath = "native/Cargo.toml"\nfeatures = ["{name}"]\n'
        for name in ("one", "two")
    )
    project.write("pyproject.toml", tables)
    project.write("pkg/__init__.py", "")
    project.write("native/Cargo.toml", manifest("native", "[features]\none = []\ntwo = []\n"))
    text = 'cfg!(feature = "one") as i64 + 10 * cfg!(feature = "two") as i64'
    project.write("native/src/lib.rs", raw("one", text, more=("two",)))
    assert project.ok("import autoaccel, pkg.one, pkg.two; print(pkg.one.value, pkg.two.value)") == "1 10"


def test_an_editable_install_is_its_source(project: Project) -> None:
    need("cargo")
    project.write("pyproject.toml", MATURIN + '[tool.maturin]\nmodule-name = "pkg._core"\npython-source = "python"\n')
    project.write("python/pkg/__init__.py", "from ._core import value\n")
    project.write("Cargo.toml", manifest("pkg"))
    project.write("src/lib.rs", raw("_core", 3))
    # What `maturin develop` leaves: a library beside the Python files, and a path in site-packages.
    project.write("python/pkg/_core.abi3.so", b"not the newest")
    site = project.cache.parent / "site"
    site.mkdir()
    (site / "pkg.pth").write_text(f"{project.root}/python\n")
    code = f"import site; site.addsitedir({str(site)!r}); import autoaccel, pkg; print(pkg.value)"
    assert project.ok(code, cwd=Path("/")) == "3"
    project.write("src/lib.rs", raw("_core", 4))
    assert project.ok(code, cwd=Path("/")) == "4"


def test_an_editable_install_that_is_a_finder_is_its_source(project: Project) -> None:
    need("cargo", "setuptools")
    editable = pytest.importorskip("setuptools.command.editable_wheel")
    project.write(
        "pyproject.toml", '[[tool.setuptools-rust.ext-modules]]\ntarget = "pkg._core"\npath = "native/Cargo.toml"\n'
    )
    project.write("pkg/__init__.py", "from ._core import value\n")
    project.write("native/Cargo.toml", manifest("native"))
    project.write("native/src/lib.rs", raw("_core", 3))
    # What `pip install -e` leaves: a library beside the Python files, and a finder at the end of sys.meta_path.
    project.write("pkg/_core.abi3.so", b"not the newest")
    site = project.cache.parent / "site"
    site.mkdir()
    found = editable._finder_template("__editable___pkg_finder", {"pkg": str(project.root / "pkg")}, {})
    (site / "__editable___pkg_finder.py").write_text(found)
    (site / "__editable__.pkg.pth").write_text("import __editable___pkg_finder as one; one.install()\n")
    for hook in ("import autoaccel", ""):
        code = f"{hook}\nimport site; site.addsitedir({str(site)!r})\nimport autoaccel, pkg; print(pkg.value)"
        assert project.ok(code, cwd=Path("/")) == "3"


def test_the_first_import_from_a_folder_that_has_just_come_on_the_path(project: Project) -> None:
    lay_out(project.root / "later", {**CRATE, "pyproject.toml": MATURIN + '[tool.maturin]\nmodule-name = "other"\n'})
    out = project.ok(
        "import autoaccel, sys, importlib.util; sys.path.append('later')\n"
        "print(importlib.util.find_spec('other').origin, importlib.util.find_spec('nothing'))"
    )
    assert out == f"{project.root}/later/Cargo.toml None"


SETUP = """
from setuptools import setup
from setuptools_rust import RustExtension
setup(name="sample", package_dir={"": "python"}, rust_extensions=[RustExtension("sample._lib", debug=False)])
"""


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"pyproject.toml": MATURIN + '[tool.maturin]\nmodule-name = "sample._lib"\n'}, id="maturin"),
        pytest.param(
            {"pyproject.toml": '[[tool.setuptools-rust.ext-modules]]\ntarget = "sample._lib"\n'}, id="setuptools-rust"
        ),
        pytest.param(
            {"setup.py": SETUP, "pyproject.toml": "[build-system]\nrequires = ['setuptools', 'setuptools-rust>=1']\n"},
            id="setup.py",
        ),
    ],
)
def test_a_project_s_folder_in_the_current_one_has_the_name_of_its_package(
    project: Project, told: dict[str, str]
) -> None:
    need("cargo")
    files = {"Cargo.toml": manifest("sample", lib='name = "_lib"'), "src/lib.rs": raw("_lib", 5), **told}
    lay_out(project.root / "sample", {**files, "python/sample/__init__.py": "from ._lib import value\n"})
    # As an editable install has it: the folder of the project comes first, and is no package.
    code = (
        "import sys; sys.path.append('sample/python'); import autoaccel, sample; print(sample.value, sample.__file__)"
    )
    for _ in range(2):
        assert project.ok(code) == f"5 {project.root / 'sample/python/sample/__init__.py'}"
