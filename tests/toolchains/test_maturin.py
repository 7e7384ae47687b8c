"""Crates whose bindings cargo alone can't make importable: maturin's package, out of the cache. Real maturin, real cffi."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from autoaccel import errors
from tests.conftest import Project, need
from tests.rust import builds, cargo_log, manifest

pytestmark = pytest.mark.timeout(600)

PYPROJECT = """
[build-system]
requires = ["maturin>=1"]
build-backend = "maturin"

[project]
name = "sample"
version = "0.1.0"
dependencies = ["cffi"]
"""
LIBRARY = """
#[repr(C)]
pub struct Pair {{ pub a: i64, pub b: i64 }}
#[no_mangle]
pub extern "C" fn add_two(pair: Pair) -> i64 {{ {factor} * (pair.a + pair.b) }}
"""
USE = "print(sample.lib.add_two([2, 3]))"
IMPORT = f"import autoaccel, sample; {USE}"

#: What a program named uniffi-bindgen does, as far as maturin sees it.
BINDGEN = """
fn main() {
    let told: Vec<String> = std::env::args().collect();
    let of = |key: &str| told[told.iter().position(|one| one == key).unwrap() + 1].clone();
    let library = std::path::PathBuf::from(of("--library")).file_name().unwrap().to_str().unwrap().to_string();
    let text = format!(
        "import ctypes, os\\n_library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), '{}'))\\n\\
         def add_two(a, b): return _library.add_two(a, b)\\n", library);
    std::fs::write(std::path::Path::new(&of("--out-dir")).join(NAME), text).unwrap();
}
"""


def cffi_project(project: Project, factor: int = 1000, more: str = "", library: str = "", config: str = "") -> None:
    """Write a maturin project with a C library and no Python."""
    need("cargo", "maturin", "cffi")
    project.write("pyproject.toml", PYPROJECT + config)
    project.write("Cargo.toml", manifest("sample", more))
    project.write("src/lib.rs", LIBRARY.format(factor=factor) + library)


#: Makes changes one by one, and undoes each; prints the names of those after which the next import would not build.
CHANGES = """
import os, pathlib, sys
from autoaccel import keys, loader, manifest, store
source = os.path.abspath("pyproject.toml")
def built_next():
    loader.forget()
    return store.open_store().revalidate(manifest.read("sample", source), system=True) is None
for name, text in CHANGES.items():
    path = pathlib.Path(name)
    kept = path.read_text() if path.exists() else None
    there = path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    if not built_next():
        print(name)
    path.write_text(kept) if kept is not None else path.unlink()
    if not there:
        path.parent.rmdir()
    assert not built_next(), name
"""


class TestCffi:
    """A C library, declared to Python by maturin with cffi."""

    def test_the_import_gives_what_the_wheel_gives(self, project: Project) -> None:
        cffi_project(project)
        look = (
            "import os; names = sorted(n for n in vars(sample) if n[:2] != '__')\n"
            "files = sorted(n for n in os.listdir(os.path.dirname(sample.__file__)) if n.endswith(('.py', '.so')))\n"
            "print(names, files, sample.__all__, sample.__name__, sample.__package__)\n"
            "print([(n, f.offset) for n, f in sample.ffi.typeof('Pair').fields])\n"
            f"print(os.path.basename(sample.__file__), sample.ffi.list_types(), dir(sample.lib)); {USE}"
        )
        before = project.files()
        ours = project.ok("import autoaccel, sample\n" + look)
        # cargo's own lock file, and nothing else.
        assert project.files() - before == {"Cargo.lock"}
        program = shutil.which("maturin") or str(Path(sys.executable).with_name("maturin"))
        source, installed = project.cache.parent / "source", project.cache.parent / "installed"
        shutil.copytree(project.root, source)
        command = [program, "build", "--interpreter", sys.executable, "--out", str(installed / "wheels")]
        made = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=500, check=False)
        assert made.returncode == 0, made.stderr
        (wheel,) = (installed / "wheels").glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(installed)
        assert ours == project.ok("import sample\n" + look, cwd=installed)
        assert "5000" in ours
        self.check_the_cache(project)

    def check_the_cache(self, project: Project) -> None:
        """What people are told of it, and that no file of the package can be damaged unnoticed."""

        def told(*words: str) -> str:
            return project.run(f"from autoaccel.cli import main; main({list(words)!r})").out

        library = str(next(project.cache.glob("v2/artifacts/*/libsample.so")))
        assert "maturin (a package)" in told("explain", "sample")
        assert library in told("explain", "sample")
        assert "maturin" in told("cache", "list")
        assert "1 artifact," in told("cache", "export", str(project.cache.parent / "archive.tgz"))
        (declarations,) = project.cache.rglob("ffi.py")
        declarations.write_text("import what_is_not_there\n")
        assert "its ffi.py" in told("cache", "verify")

    def test_a_hit_runs_nothing_and_an_edit_gives_the_new_code(self, project: Project) -> None:
        more = '[dependencies]\ninner = { path = "inner" }\n'
        cffi_project(project, more=more, library='#[no_mangle] pub extern "C" fn other() -> i32 { inner::other() }\n')
        project.write("inner/Cargo.toml", '[package]\nname = "inner"\nversion = "0.1.0"\nedition = "2021"\n')
        project.write("inner/src/lib.rs", "pub fn other() -> i32 { 1 }\n")
        log = cargo_log(project)
        code = f"{IMPORT}; print(sample.lib.other(), sample.__cached__)"
        first = project.ok(code).split()
        assert first[:2] == ["5000", "1"]
        assert builds(log) == 2  # ours, and maturin's, which finds it done
        noted = log.read_text()
        # On a hit, nothing is there to be run.
        assert project.ok(code, PATH="/nowhere").split() == first
        assert log.read_text() == noted
        project.write("inner/src/lib.rs", "pub fn other() -> i32 { 2 }\n")
        assert project.ok(code).split()[:2] == ["5000", "2"]
        # The same again is found by content.
        project.write("inner/src/lib.rs", "pub fn other() -> i32 { 1 }\n")
        assert project.ok(code).split() == first
        changes = {
            "README.md": "not read by anybody\n",
            "src/lib.rs": LIBRARY.format(factor=7),
            "pyproject.toml": PYPROJECT + "[tool.maturin]\nprofile = 'dev'\n",
            "Cargo.toml": manifest("sample", more + "[features]\nnew = []\n"),
            "Cargo.lock": "version = 3\n",
            ".cargo/config.toml": "[build]\nrustflags = []\n",
            "cbindgen.toml": "[export]\nprefix = 'x_'\n",
            "target/header.h": "int other(void);\n",
        }
        assert project.ok(f"CHANGES = {changes!r}\n{CHANGES}") == "README.md"
        # maturin itself reads all of it.
        for text in (PYPROJECT.replace("0.1.0", "0.2.0"), PYPROJECT + "# words\n"):
            changes = {"pyproject.toml": text}
            assert project.ok(f"CHANGES = {changes!r}\n{CHANGES}") == ""

    def test_a_part_of_a_package_is_reloaded_from_its_new_folder(self, project: Project) -> None:
        cffi_project(project, config='[tool.maturin]\nmodule-name = "pkg._native"\npython-source = "python"\n')
        project.write("python/pkg/__init__.py", "from ._native import lib\n")
        code = """
            import autoaccel, importlib, importlib.resources, pathlib, pkg._native as native
            print(native.lib.add_two([2, 3]), native.__name__, native.ffi is native.ffi)
            print(sorted(one.name for one in importlib.resources.files(native).iterdir() if one.name.endswith('.so')))
            source = pathlib.Path('../src/lib.rs')
            source.write_text(source.read_text().replace('1000', '10'))
            old = native.lib
            importlib.reload(native)
            print(native.lib.add_two([2, 3]), old.add_two([2, 3]), native.__path__[0] in native.__file__)
        """
        out = project.ok(code, cwd=project.root / "python").splitlines()
        assert out == ["5000 pkg._native True", "['lib_native.so']", "50 5000 True"]

    def test_a_crate_s_folder_seen_from_above(self, project: Project) -> None:
        cffi_project(Project(project.root / "sample", project.cache))
        out = project.ok("import autoaccel, importlib.util as u; print(u.find_spec('sample').origin)")
        assert out == str(project.root / "sample" / "pyproject.toml")

    def test_rustc_s_messages_are_in_the_error(self, project: Project) -> None:
        cffi_project(project, library='fn wrong() -> i32 { "text" }\n')
        result = project.run(
            "import autoaccel\ntry: import sample\n"
            "except autoaccel.BuildError as error: print([(d.line, d.code) for d in error.diagnostics], error.path)"
        )
        assert "(5, 'E0308')" in result.out
        assert str(project.root / "pyproject.toml") in result.out

    def test_what_maturin_develop_has_left_behind_is_named(self) -> None:
        said = "Failed to add the files to the wheel\n  Caused by: File pkg/_native/__init__.py overwrote an existing tracked file\n"
        error = errors.maturin_failed("pkg._native", "/somewhere/pyproject.toml", said)
        assert "pkg/_native is left over from `maturin develop`" in str(error)

    @pytest.mark.parametrize("missing", ["maturin", "cffi"])
    def test_a_missing_tool_is_named_with_the_next_step(self, project: Project, missing: str) -> None:
        cffi_project(project)
        out = project.ok(f"""
            import autoaccel, importlib.util, shutil
            find_spec, which = importlib.util.find_spec, shutil.which
            importlib.util.find_spec = lambda name, *more: None if name == "{missing}" else find_spec(name, *more)
            shutil.which = lambda name, *more: None if name.endswith("{missing}") else which(name, *more)
            try: import sample
            except autoaccel.ToolchainMissing as error: print(error)
        """)
        assert f"{missing} is needed to compile" in out
        assert f"`pip install {missing}`" in out


class TestUniffi:
    """Bindings that a program of the crate's writes."""

    def test_only_what_the_program_writes_now_is_in_the_package(self, project: Project) -> None:
        need("cargo", "maturin")
        project.write("pyproject.toml", PYPROJECT + '[tool.maturin]\nbindings = "uniffi"\n')
        more = '[dependencies]\nuniffi = { path = "uniffi" }\n[[bin]]\nname = "uniffi-bindgen"\npath = "bindgen.rs"\n'
        project.write("Cargo.toml", manifest("sample", more))
        project.write("uniffi/Cargo.toml", '[package]\nname = "uniffi"\nversion = "0.29.0"\nedition = "2021"\n')
        project.write("uniffi/src/lib.rs", "")
        project.write(
            "src/lib.rs", '#[no_mangle] pub extern "C" fn add_two(a: i32, b: i32) -> i32 { 1000 * (a + b) }\n'
        )
        for name in ("sample", "renamed"):
            project.write("bindgen.rs", BINDGEN.replace("NAME", f'"{name}.py"'))
            out = project.ok(
                "import autoaccel, sample, os; print(sample.add_two(2, 3)); print(os.listdir(sample.__path__[0]))"
            )
            assert out.startswith("5000\n")
            assert f"'{name}.py'" in out
        assert "'sample.py'" not in out


def test_where_nothing_can_be_kept_the_package_serves_its_process(project: Project) -> None:
    cffi_project(project)
    out = project.run(
        "import autoaccel, os\nfrom autoaccel import store\n"
        "def full(*values, **more): raise OSError(28, 'No space left on device')\n"
        f"store.Store._publish = full\nimport sample; {USE}; print(os.path.exists(sample.__file__), sample.__path__[0])"
    ).out.split()
    assert out[:2] == ["5000", "True"]
    assert not Path(out[2]).exists()
