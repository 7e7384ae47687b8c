"""What the user reads when a crate does not become a module, and that it helps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autoaccel.toolchains.cargo_output import noted_since
from tests.conftest import Project, Run, need
from tests.rust import crate, manifest, raw, value

pytestmark = pytest.mark.timeout(600)


def failure(project: Project, module: str = "sample", **env: str) -> Run:
    """An import that fails, with the error's name and diagnostics as output."""
    result = project.run(
        f"""
        import sys, autoaccel
        try:
            import {module}
        except autoaccel.AccelError as error:
            print(type(error).__name__, [(d.file, d.line, d.column, d.level, d.code) for d in getattr(error, "diagnostics", ())])
            print(error)
        """,
        **env,
    )
    assert result.status == 0, result.err
    return result


@pytest.mark.parametrize(("written", "counts"), [(11.5, True), (10.5, False), (10, True), (9, False)])
def test_notes_of_a_build_where_stamps_are_whole_seconds(tmp_path: Path, written: float, counts: bool) -> None:
    (tmp_path / "a.rs").write_text("")
    (tmp_path / "deps").mkdir()
    note = tmp_path / "deps" / "a.d"
    note.write_text("a.o: a.rs\n")
    os.utime(note, ns=(0, int(written * 1e9)))
    found, _ = noted_since(str(tmp_path / "deps"), 11_500_000_000, [str(tmp_path)])
    assert found == ([str(tmp_path / "a.rs")] if counts else [])


def only(tmp_path: Path, *programs: str) -> str:
    """A PATH on which there is nothing but these."""
    import shutil

    folder = tmp_path / "only"
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (folder / program).symlink_to(found)
    return str(folder)


class TestRustc:
    """Errors in the user's code."""

    @pytest.mark.core
    def test_a_type_error_names_file_line_and_code(self, project: Project) -> None:
        need("cargo")
        library = crate(project, "sample", '"text"')
        line = next(at for at, text in enumerate(library.read_text().splitlines(), 1) if '"text"' in text)
        out = failure(project).out
        assert out.startswith(f"BuildError [('{library}', {line}, ")
        assert "'error', 'E0606')" in out
        assert f"{library}:{line}:" in out.splitlines()[1]
        assert "build log: " in out

    def test_an_error_in_a_member_of_a_workspace(self, project: Project) -> None:
        need("cargo")
        project.write("Cargo.toml", '[workspace]\nmembers = ["sample"]\nresolver = "2"\n')
        library = crate(project, "sample", "nowhere")
        assert failure(project).out.startswith(f"BuildError [('{library}', ")

    def test_an_error_in_a_file_with_a_front_matter(self, project: Project) -> None:
        need("cargo")
        text = "---cargo\n---\n" + raw("single", "nowhere")
        source = project.write("single.rs", text)
        line = next(at for at, one in enumerate(text.splitlines(), 1) if "nowhere" in one)
        out = failure(project, "single").out
        assert out.startswith(f"BuildError [('{source}', {line}, ")
        assert f"--> {source}:{line}:" in out

    def test_a_warning_is_no_error_and_not_shown(self, project: Project) -> None:
        need("cargo")
        library = crate(project, "sample", 1)
        library.write_text(library.read_text().replace("unused)]", "unused_macros)]\nfn unused_function() {}"))
        assert value(project) == "1"

    def test_the_same_failure_is_not_compiled_twice_and_mended_at_once(self, project: Project) -> None:
        need("cargo")
        library = crate(project, "sample", "nowhere")
        failure(project)
        assert "(remembered: " in failure(project).out
        library.write_text(raw("sample", 3))
        assert value(project) == "3"

    @pytest.mark.parametrize("file", ["src/other.rs", "src/other/mod.rs"])
    def test_a_module_s_file_that_appears_is_no_reason_to_remember_the_failure(
        self, project: Project, file: str
    ) -> None:
        need("cargo")
        crate(project, "sample", "other::N", before="mod other;")
        out = failure(project).out
        assert "E0583" in out
        assert "front matter" not in out
        assert "(remembered: " in failure(project).out
        project.write(f"sample/{file}", "pub const N: i64 = 4;\n")
        assert value(project) == "4"

    def test_a_file_that_was_missing_appears(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'include_str!("data.txt").len()')
        assert "data.txt" in failure(project).out
        project.write("sample/src/data.txt", "four")
        assert value(project) == "4"

    def test_a_file_that_did_not_fit_is_changed(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", '{ const DATA: &[u8; 3] = include_bytes!("data.bin"); DATA.len() }')
        data = project.write("sample/src/data.bin", b"four")
        assert "E0308" in failure(project).out
        assert "(remembered: " in failure(project).out
        data.write_bytes(b"two")
        assert value(project) == "3"

    def test_a_variable_that_was_missing_is_set(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'env!("SAMPLE_WORD").len()')
        assert "SAMPLE_WORD" in failure(project).out
        assert value(project, SAMPLE_WORD="four") == "4"

    def test_a_failure_with_a_build_script_in_a_path_dependency_is_soon_forgotten(self, project: Project) -> None:
        need("cargo")
        project.write("common/Cargo.toml", manifest("common").replace('crate-type = ["cdylib"]', ""))
        project.write("common/src/lib.rs", "pub const N: i64 = { #[cfg(wanted)] { 1 } };\n")
        project.write(
            "common/build.rs",
            'fn main() { if std::env::var("HELP").is_ok() { println!("cargo:rustc-cfg=wanted"); } }\n',
        )
        crate(project, "sample", "common::N", more='[dependencies]\ncommon = { path = "../common" }\n')
        assert "E0308" in failure(project).out
        (record,) = project.cache.glob("v2/failures/*.json")
        assert not json.loads(record.read_text())["complete"]

    def test_a_target_that_is_not_installed_is_soon_forgotten(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample")
        project.write("sample/.cargo/config.toml", '[build]\ntarget = "riscv64gc-unknown-linux-gnu"\n')
        assert "E0463" in failure(project).out
        (record,) = project.cache.glob("v2/failures/*.json")
        assert not json.loads(record.read_text())["complete"]

    def test_a_function_that_nothing_has(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", "nowhere()", before='unsafe extern "C" { fn nowhere() -> i32; }')
        out = failure(project).out
        assert "`nowhere` is declared and used, and nothing that was linked has it" in out
        assert "distutils" not in out

    def test_a_library_that_is_not_installed(self, project: Project) -> None:
        need("cargo")
        before = '#[link(name = "not_installed")] unsafe extern "C" { fn nowhere() -> i32; }'
        crate(project, "sample", "nowhere()", before=before)
        assert "Install the development package of that library" in failure(project).out

    def test_a_name_that_is_not_the_import_s(self, project: Project) -> None:
        need("cargo")
        project.write("sample/Cargo.toml", manifest())
        project.write("sample/src/lib.rs", raw("other"))
        out = failure(project).out
        assert "does not define PyInit_sample" in out
        assert "it exports PyInit_other" in out

    def test_a_build_script_that_fails_is_quoted_without_its_instructions(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample")
        project.write("sample/build.rs", 'fn main() { println!("cargo:rustc-cfg=noise"); panic!("the reason"); }\n')
        out = failure(project).out
        assert "the reason" in out
        assert "noise" not in out.partition("build log")[0]


class TestCargo:
    """Manifests and the machine."""

    def test_a_manifest_that_is_no_toml(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 1)
        assert value(project) == "1"
        project.write("sample/Cargo.toml", "[package\n")
        out = failure(project).out
        assert "unclosed table" in out
        assert "Cargo.toml:1:9" in out

    def test_a_manifest_in_a_file_that_is_no_toml(self, project: Project) -> None:
        source = project.write("single.rs", "//! ```cargo\n//! [dependencies]\n//! a = \n//! ```\n" + raw("single"))
        out = failure(project, "single").out
        assert f"the manifest in {source}:3 can't be understood" in out
        assert f"[('{source}', 3, 1, 'error', '')]" in out

    @pytest.mark.parametrize(
        ("line", "says", "advice"),
        [
            ('rust-version = "1.999"', "requires rustc 1.999", "`rustup update`, or depend on an older version"),
            ('edition = "2099"', "2099", "`rustup update`"),
        ],
    )
    def test_a_crate_for_a_newer_rust(self, project: Project, line: str, says: str, advice: str) -> None:
        need("cargo")
        crate(project)
        text = manifest().replace('edition = "2021"\n', "") if "edition" in line else manifest()
        project.write("sample/Cargo.toml", text.replace("[package]\n", f"[package]\n{line}\n"))
        out = failure(project).out
        assert says in out
        if "2099" not in line:
            assert advice in out

    def test_a_crate_that_was_never_downloaded_and_no_network(self, project: Project) -> None:
        need("cargo")
        crate(project, more='[dependencies]\nno-such-crate-was-ever-here = "1"\n')
        out = failure(project, CARGO_NET_OFFLINE="true").out
        assert "cargo is offline" in out
        assert "cargo fetch" in out

    def test_a_single_file_is_named_where_cargo_names_its_package(self, project: Project) -> None:
        need("cargo")
        for line in ('missing = { path = "missing" }', "number = 1"):
            source = project.write("single.rs", f"---cargo\n[dependencies]\n{line}\n---\n{raw('single')}")
            out = failure(project, "single").out.partition("build log")[0]
            assert str(source) in out
            assert str(project.cache) not in out
            assert "file-" not in out

    def test_a_crate_outside_of_its_workspace(self, project: Project) -> None:
        need("cargo")
        project.write("Cargo.toml", '[workspace]\nmembers = []\nresolver = "2"\n')
        crate(project)
        assert "Add the crate to `members` of that workspace" in failure(project).out

    def test_a_machine_without_cargo(self, project: Project, tmp_path: Path) -> None:
        crate(project)
        env = {"PATH": only(tmp_path), "HOME": str(tmp_path), "CARGO_HOME": str(tmp_path / "none")}
        out = failure(project, **env).out
        assert out.startswith("ToolchainMissing")
        assert "cargo is needed to compile" in out
        assert "https://rustup.rs" in out

    def test_what_was_built_runs_on_a_machine_without_cargo(self, project: Project, tmp_path: Path) -> None:
        need("cargo")
        crate(project, "sample", 4)
        assert value(project) == "4"
        env = {"PATH": only(tmp_path), "HOME": str(tmp_path), "CARGO_HOME": os.environ.get("CARGO_HOME", "")}
        os.utime(project.root / "sample" / "src" / "lib.rs")
        assert value(project, **env) == "4"

    def test_a_machine_without_a_linker(self, project: Project, tmp_path: Path) -> None:
        need("cargo", "rustc")
        crate(project)
        out = failure(project, PATH=only(tmp_path, "cargo", "rustc")).out
        assert "linker `cc` not found" in out
        assert "apt-get install gcc" in out

    def test_a_pinned_toolchain_that_is_not_installed(self, project: Project) -> None:
        need("rustup")
        crate(project)
        pin = project.write("sample/rust-toolchain.toml", '[toolchain]\nchannel = "1.11.0"\n')
        out = failure(project, RUSTUP_AUTO_INSTALL="0").out
        assert out.startswith("ToolchainMissing")
        assert f"{pin} asks for it" in out

    def test_rustup_without_a_toolchain(self, project: Project, tmp_path: Path) -> None:
        need("rustup")
        crate(project)
        home = tmp_path / "rustup"
        home.mkdir()
        out = failure(project, RUSTUP_HOME=str(home), RUSTUP_AUTO_INSTALL="0").out
        assert out.startswith("ToolchainMissing")
        assert "rustup default stable" in out

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="rust-cpython serves this Python")
    def test_rust_cpython_on_a_python_that_it_does_not_know(self, project: Project) -> None:
        need("cargo")
        project.write("sample/Cargo.toml", manifest("sample", '[dependencies]\ncpython = "0.7"'))
        project.write("sample/src/lib.rs", "cpython::py_module_initializer!(sample, |py, m| Ok(()));\n")
        assert "move the crate to PyO3" in failure(project).out
