"""Crates: what is claimed, what makes them stale, what is compiled how often. Real cargo throughout."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoaccel import processor
from autoaccel.content import claims
from tests.conftest import ROOT, Project, Run, need
from tests.rust import (  # noqa: F401
    PYO3,
    builds,
    cargo_log,
    compiled_bindings,
    crate,
    manifest,
    pyo3_crate,
    raw,
    rust,
    value,
)

pytestmark = pytest.mark.timeout(600)


def older(path: Path) -> None:
    """Give a file a time stamp from before anything here was compiled."""
    os.utime(path, (1_600_000_000, 1_600_000_000))


class TestClaims:
    """Which folder is a module, and under which name."""

    @pytest.mark.core
    def test_a_crate_folder_is_the_module_of_its_name(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 7)
        before = project.files()
        out = project.ok(
            "import autoaccel, sample; print(sample.value, sample.__file__, sample.__spec__.origin, sample.__cached__)"
        ).split()
        source = str(project.root / "sample" / "Cargo.toml")
        (artifact,) = map(str, project.artifacts())
        assert out == ["7", source, source, artifact]
        # cargo's own lock file, and nothing else.
        assert project.files() - before == {"sample/Cargo.lock"}

    def test_a_folder_with_hyphens_is_the_module_with_underscores(self, project: Project) -> None:
        need("cargo")
        crate(project, "my-own-crate", 8)
        assert value(project, "my_own_crate") == "8"

    def test_a_regular_package_with_a_manifest_inside_stays_a_package(self, project: Project) -> None:
        crate(project, "sample")
        project.write("sample/__init__.py", "value = 'python'\n")
        assert value(project) == "python"

    def test_a_crate_wins_over_a_python_file_beside_it(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 3)
        project.write("sample.py", "value = 'python'\n")
        assert value(project) == "3"

    def test_a_crate_that_is_no_extension_module_is_left_alone(self, project: Project) -> None:
        project.write("sample/Cargo.toml", manifest())
        project.write("sample/src/lib.rs", "// PyInit_sample is not here\npub fn f() {}\n")
        project.write("sample/inner.py", "value = 'namespace'\n")
        assert project.ok("import autoaccel, sample.inner; print(sample.inner.value)") == "namespace"
        project.write("sample.py", "value = 'python'\n")
        assert value(project) == "python"

    def test_a_crate_inside_of_a_package(self, project: Project) -> None:
        need("cargo")
        project.write("pkg/__init__.py", "")
        crate(project, "pkg/inner", 4)
        assert project.ok("from autoaccel import install; from pkg.inner import value; print(value)") == "4"

    def test_a_marker_in_another_file_of_the_library_counts(self, project: Project) -> None:
        need("cargo")
        project.write("sample/Cargo.toml", manifest())
        project.write("sample/src/lib.rs", "mod python;\n")
        project.write("sample/src/python.rs", raw("sample", 5))
        assert value(project) == "5"

    def test_a_marker_behind_a_condition_counts(self, tmp_path: Path) -> None:
        path = tmp_path / "src" / "lib.rs"
        path.parent.mkdir()
        path.write_text('#[cfg_attr(feature = "python", pyo3::pymodule)]\nfn sample() {}\n')
        (tmp_path / "Cargo.toml").write_text(manifest())
        assert claims("sample", str(tmp_path / "Cargo.toml"))

    def test_two_folders_that_are_the_module_of_one_name(self, project: Project) -> None:
        need("cargo")
        first = crate(project, "sam_ple", 1).parent.parent / "Cargo.toml"
        assert value(project, "sam_ple") == "1"
        second = crate(project, "sam-ple", 2).parent.parent / "Cargo.toml"
        for _ in range(2):
            last = project.run("import autoaccel, sam_ple").last
            assert f"more than one source defines this module: {first} and {second}." in last

    def test_a_crate_s_own_folder_on_the_path(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 6)
        assert project.ok("import autoaccel, sample; print(sample.value)", cwd=project.root / "sample") == "6"

    def test_several_modules_from_one_crate(self, project: Project) -> None:
        need("cargo")
        more = '[package.metadata.autoaccel]\nmodules = ["one", "pkg.two"]\n'
        project.write("Cargo.toml", manifest("many", more))
        project.write("src/lib.rs", raw("one", 2, more=("two",)))
        project.write("pkg/__init__.py", "")
        assert project.ok("import autoaccel, one, pkg.two; print(one.value, pkg.two.value)") == "2 2"

    def test_pkgutil_lists_crates_and_files(self, project: Project) -> None:
        crate(project, "sample")
        project.write("single.rs", raw("single"))
        project.write("other/Cargo.toml", manifest("other"))
        out = project.ok("import autoaccel, pkgutil; print(sorted(m.name for m in pkgutil.iter_modules(['.'])))")
        assert out == "['sample', 'single']"


class TestKinds:
    """The binding styles of the talk and its successors."""

    @pytest.mark.core
    @pytest.mark.parametrize("kind", ["raw_ffi", "no_std", "pyo3"])
    def test_the_talk_s_function(self, rust: Project, kind: str) -> None:  # noqa: F811
        self.check(rust, kind)

    @pytest.mark.slow
    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="rust-cpython ends before this Python")
    def test_the_talk_s_function_with_rust_cpython(self, rust: Project) -> None:  # noqa: F811
        self.check(rust, "rust_cpython")

    def check(self, project: Project, kind: str) -> None:
        import shutil

        shutil.copytree(ROOT / "rust_crates" / kind / "sample", project.root / "sample")
        code = """
            import autoaccel, sample
            print(sample.add_two(2, 3), sample.add_two(2**31 - 1, 2**31 - 1), bool(sample.__doc__))
            for arguments in ((2**40, 0), ("a", 1), (1,)):
                try:
                    sample.add_two(*arguments)
                except (TypeError, OverflowError) as error:
                    print(type(error).__name__)
            """
        told = ["5000", str(1000 * (2**32 - 2)), "True", "OverflowError", "TypeError", "TypeError"]
        assert project.ok(code).split() == told
        assert project.ok(code).split() == told

    def test_abi3_and_an_rlib_beside_the_cdylib(self, rust: Project) -> None:  # noqa: F811
        pyo3_crate(rust)
        text = manifest("sample", '[dependencies]\npyo3 = "0.30"').replace('["cdylib"]', '["cdylib", "rlib"]')
        rust.write("sample/Cargo.toml", text)
        assert rust.ok("import autoaccel, sample; print(sample.add_two(1, 1))") == "2000"

    def test_reload_takes_new_code(self, rust: Project) -> None:  # noqa: F811
        library = pyo3_crate(rust)
        out = rust.ok(
            f"""
            import autoaccel, importlib, sample, pathlib
            path = pathlib.Path({str(library)!r})
            print(sample.add_two(1, 1))
            path.write_text(path.read_text().replace("1000 *", "2000 *"))
            print(importlib.reload(sample).add_two(1, 1))
            """
        )
        assert out.split() == ["2000", "4000"]


class TestStale:
    """What is compiled again, and what is not."""

    def test_an_edit_is_seen_and_its_undoing_is_found_in_the_cache(self, project: Project) -> None:
        log = cargo_log(project)
        library = crate(project, "sample", 1)
        assert value(project) == "1"
        library.write_text(raw("sample", 2))
        assert value(project) == "2"
        library.write_text(raw("sample", 1))
        assert value(project) == "1"
        assert builds(log) == 2

    def test_new_content_with_an_older_time_stamp(self, project: Project) -> None:
        need("cargo")
        library = crate(project, "sample", 1)
        assert value(project) == "1"
        library.write_text(raw("sample", 2))
        older(library)
        assert value(project) == "2"

    def test_a_path_dependency_with_an_older_time_stamp(self, project: Project) -> None:
        need("cargo")
        project.write("common/Cargo.toml", manifest("common").replace('crate-type = ["cdylib"]', ""))
        common = project.write("common/src/lib.rs", "pub const N: i64 = 1;\n")
        crate(project, "sample", "common::N", more='[dependencies]\ncommon = { path = "../common" }\n')
        assert value(project) == "1"
        common.write_text("pub const N: i64 = 2;\n")
        assert value(project) == "2"
        common.write_text("pub const N: i64 = 3;\n")
        older(common)
        assert value(project) == "3"

    def test_a_file_elsewhere_that_a_path_dependency_includes(self, project: Project) -> None:
        need("cargo")
        project.write("common/Cargo.toml", manifest("common").replace('crate-type = ["cdylib"]', ""))
        project.write("common/src/lib.rs", 'pub const N: i64 = include_str!("../../sample/data.txt").len() as i64;\n')
        data = project.write("sample/data.txt", "four")
        crate(project, "sample", "common::N", more='[dependencies]\ncommon = { path = "../common" }\n')
        assert value(project) == "4"
        data.write_text("seven..")
        older(data)
        assert value(project) == "7"

    def test_an_included_file(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'include_str!("../data.txt").trim().len()')
        data = project.write("sample/data.txt", "four")
        assert value(project) == "4"
        data.write_text("seven..")
        assert value(project) == "7"
        data.write_text("two")
        older(data)
        assert value(project) == "3"

    def test_a_feature(self, project: Project) -> None:
        need("cargo")
        features = "[features]\nmore = []\n"
        crate(project, "sample", 'if cfg!(feature = "more") { 2 } else { 1 }', more=features)
        assert value(project) == "1"
        project.write("sample/Cargo.toml", manifest("sample", features + 'default = ["more"]\n'))
        assert value(project) == "2"

    def test_cargo_s_configuration_that_appears(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", "if cfg!(wanted) { 2 } else { 1 }")
        assert value(project) == "1"
        config = project.write(".cargo/config.toml", '[build]\nrustflags = ["--cfg", "wanted"]\n')
        assert value(project) == "2"
        config.write_text('[build]\nrustflags = ["--cfg", "unwanted"]\n')
        assert value(project) == "1"

    def test_flags_in_the_environment_and_back(self, project: Project) -> None:
        log = cargo_log(project)
        library = crate(project, "sample", "if cfg!(wanted) { 2 } else { 1 }")
        assert value(project) == "1"
        assert value(project, RUSTFLAGS="--cfg wanted") == "2"
        assert value(project) == "1"
        assert builds(log) == 2
        # What cargo keeps of the other flags is not fresh, whatever it says.
        library.write_text(raw("sample", "if cfg!(wanted) { 4 } else { 3 }"))
        older(library)
        assert value(project, RUSTFLAGS="--cfg wanted") == "4"
        assert value(project) == "3"

    def test_a_variable_that_the_source_asks_for(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'option_env!("SAMPLE_WORD").map_or(0, |word| word.len())')
        assert value(project) == "0"
        assert value(project, SAMPLE_WORD="four") == "4"
        assert value(project) == "0"

    def test_inputs_of_a_build_script(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'include!(concat!(env!("OUT_DIR"), "/number.rs"))')
        data = project.write("sample/number.txt", "1")
        project.write(
            "sample/build.rs",
            """
            fn main() {
                println!("cargo:rerun-if-changed=number.txt");
                println!("cargo:rerun-if-env-changed=SAMPLE_PLUS");
                let number: i64 = std::fs::read_to_string("number.txt").unwrap().trim().parse().unwrap();
                let plus: i64 = std::env::var("SAMPLE_PLUS").map_or(0, |word| word.parse().unwrap());
                let out = std::env::var("OUT_DIR").unwrap();
                std::fs::write(format!("{out}/number.rs"), format!("{}", number + plus)).unwrap();
            }
            """,
        )
        assert value(project) == "1"
        data.write_text("2")
        assert value(project) == "2"
        assert value(project, SAMPLE_PLUS="10") == "12"
        data.write_text("3")
        older(data)
        assert value(project) == "3"

    def test_a_build_script_that_wants_python_gets_the_environment_s(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'env!("LENGTH_OF_PYTHON").parse::<i64>().unwrap()')
        project.write(
            "sample/build.rs",
            'fn main() { println!("cargo:rustc-env=LENGTH_OF_PYTHON={}", std::env::var("PYO3_PYTHON").unwrap().len()); }\n',
        )
        assert value(project) == str(len(sys.executable))

    def test_cargo_compiles_as_much_at_once_as_the_others_may(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 'env!("JOBS").parse::<i64>().unwrap()')
        project.write(
            "sample/build.rs",
            'fn main() { println!("cargo:rustc-env=JOBS={}", std::env::var("NUM_JOBS").unwrap()); }\n',
        )
        assert value(project, AUTOACCEL_JOBS="7") == "7"

    @pytest.mark.skipif(not os.path.exists(processor.FILE), reason="the system does not tell what its processor can do")
    def test_a_build_script_of_another_name_that_asks_for_this_processor(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 1)
        path = project.root / "sample/Cargo.toml"
        path.write_text(path.read_text().replace("[package]\n", '[package]\nbuild = "build/main.rs"\n'))
        script = project.write("sample/build/main.rs", "")
        main = 'fn main() { println!("cargo:rerun-if-changed=build/main.rs"); }\n'
        for text, asked in (("", False), ('const _FLAG: &str = "-march=native";\n', True)):
            script.write_text(text + main)
            assert value(project) == "1"
            metas = [json.loads(one.read_text()) for one in project.cache.glob("v2/artifacts/*/meta.json")]
            last = max(metas, key=lambda meta: float(meta["created"]))
            assert (processor.FILE in dict(last["inputs"])) == asked

    def test_a_table_that_says_the_same_twice(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", 1)
        assert value(project) == "1"  # and cargo has written its lock
        project.write("sample/pyproject.toml", '[tool.maturin]\nlocked = true\ncargo-extra-args = "--locked"\n')
        project.write("sample/src/lib.rs", raw("sample", 2))
        assert value(project) == "2"

    def test_a_build_script_that_appears(self, project: Project) -> None:
        need("cargo")
        crate(project, "sample", "if cfg!(wanted) { 2 } else { 1 }")
        assert value(project) == "1"
        project.write("sample/build.rs", 'fn main() { println!("cargo:rustc-cfg=wanted"); }\n')
        assert value(project) == "2"

    def test_a_toolchain_that_is_updated_in_its_place(self, project: Project) -> None:
        log = cargo_log(project)
        crate(project, "sample", 1)
        assert value(project) == "1"
        assert value(project) == "1"
        assert builds(log) == 1
        compiler = project.cache.parent / "toolchains" / "chosen" / "bin" / "rustc"
        text = compiler.read_text()
        newer = text.replace('exec "', 'case "$*" in -vV) set -- -V -v; echo "newer: yes";; esac\nexec "', 1)
        compiler.write_text(newer)
        assert value(project) == "1"
        assert builds(log) > 1

    def test_cargo_is_started_past_its_stand_in(self, project: Project) -> None:
        cargo_log(project)
        stand_in = project.cache.parent / "bin" / "cargo"
        stand_in.write_text('#!/bin/sh\necho "the stand-in was started" >&2\nexit 1\n')
        crate(project, "sample", 1)
        assert value(project) == "1"

    def test_a_file_that_does_not_matter(self, project: Project) -> None:
        log = cargo_log(project)
        library = crate(project, "sample", 1)
        assert value(project) == "1"
        project.write("sample/README.md", "text")
        project.write("sample/tests/it.rs", "fn main() {}")
        project.write("sample/src/unused.rs", "no rust at all")
        os.utime(library)
        assert value(project) == "1"
        assert builds(log) == 1

    def test_the_lock_file_that_cargo_wrote_is_no_change(self, project: Project) -> None:
        log = cargo_log(project)
        crate(project, "sample", 1)
        for _ in range(3):
            assert value(project) == "1"
        assert builds(log) == 1
        assert len(project.artifacts()) == 1


class TestReadOnly:
    """Sources in a folder in which cargo can't write its Cargo.lock."""

    def run(self, project: Project, code: str) -> Run:
        """An interpreter for which the project's folder can't be written; nor can root write it."""
        root = shlex.quote(str(project.root))
        words = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && cd {root}"
        if subprocess.run(["unshare", "-m", "sh", "-c", words], capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        command = ["unshare", "-m", "sh", "-c", f'{words} && exec "$@"', "sh", sys.executable, "-c", code]
        done = subprocess.run(command, env=project.environ(), capture_output=True, text=True, check=False)
        return Run(done.returncode, done.stdout, done.stderr)

    @pytest.mark.parametrize("lock", ["none", "of another version"])
    def test_it_is_compiled_all_the_same(self, project: Project, lock: str) -> None:
        need("cargo", "unshare")
        library = crate(project, "sample", 5)
        if lock != "none":
            text = '[[package]]\nname = "sample"\nversion = "0.0.9"\n'
            project.write("sample/Cargo.lock", f"version = 4\n\n{text}")
        before = project.files()
        code = "import autoaccel, sample; print(sample.value)"
        assert self.run(project, code).out == "5\n"
        library.write_text(raw("sample", 6))
        assert self.run(project, code).out == "6\n"
        assert project.files() == before

    def test_what_it_depends_on_is_found_and_named_by_its_path(self, project: Project) -> None:
        need("cargo", "unshare")
        around = project.write("Cargo.toml", manifest("around").replace('crate-type = ["cdylib"]', ""))
        library = project.write("src/lib.rs", "pub const N: i64 = 1;\n")
        project.write("other/Cargo.toml", around.read_text().replace("around", "other"))
        other = project.write("other/src/lib.rs", "pub const N: i64 = 10;\n")
        needs = '[dependencies]\naround = { path = ".." }\nother = { path = "../other" }\n[workspace]\n'
        data = project.write("sample/data.txt", "12")
        crate(project, "sample", 'around::N + other::N + include_str!("../data.txt").len() as i64', more=needs)
        code = "import autoaccel, sample; print(sample.value)"
        assert self.run(project, code).out == "13\n"
        for path, text, wanted in (
            (library, "pub const N: i64 = 2;\n", "14"),
            (other, "pub const N: i64 = 20;\n", "24"),
            (data, "1234", "26"),
        ):
            path.write_text(text)
            older(path)
            assert self.run(project, code).out == f"{wanted}\n"
        library.write_text("pub const N: i64 = nowhere;\n")
        err = self.run(project, code).err
        assert f"{library}:1:20: E0425" in err
        assert str(project.cache) not in err.partition("build log")[0]


class TestApart:
    """Projects, packages and processes that must not take each other's code."""

    def test_two_projects_with_the_same_crate_in_one_process(self, project: Project) -> None:
        need("cargo")
        for name, number in (("one", 1), ("two", 2)):
            crate(project, f"{name}/sample", "common::N", more='[dependencies]\ncommon = { path = "../common" }\n')
            project.write(f"{name}/common/Cargo.toml", manifest("common").replace('crate-type = ["cdylib"]', ""))
            project.write(f"{name}/common/src/lib.rs", f"pub const N: i64 = {number};\n")
        out = project.ok(
            """
            import sys, autoaccel
            for name in ("one", "two"):
                sys.path.insert(0, name)
                import sample
                print(sample.value)
                del sys.modules["sample"], sample
            """
        )
        assert out.split() == ["1", "2"]

    def test_members_of_a_workspace_whose_libraries_have_one_name(self, project: Project) -> None:
        need("cargo")
        project.write("Cargo.toml", '[workspace]\nmembers = ["one", "two"]\nresolver = "2"\n')
        for name, number in (("one", 1), ("two", 2)):
            project.write(f"{name}/Cargo.toml", manifest(name, lib='name = "core"'))
            project.write(f"{name}/src/lib.rs", raw(name, number))
        assert project.ok("import autoaccel, one, two; print(one.value, two.value)") == "1 2"
        project.write("one/src/lib.rs", raw("one", 3))
        assert project.ok("import autoaccel, one, two; print(one.value, two.value)") == "3 2"
        project.write("two/src/lib.rs", raw("two", 4))
        assert project.ok("import autoaccel, one, two; print(one.value, two.value)") == "3 4"

    def test_inheritance_from_the_workspace(self, project: Project) -> None:
        need("cargo")
        workspace = project.write(
            "Cargo.toml",
            """
            [workspace]
            members = ["sample", "common"]
            resolver = "2"
            [workspace.package]
            version = "1.2.3"
            edition = "2021"
            [workspace.dependencies]
            common = { path = "common" }
            """,
        )
        project.write(
            "common/Cargo.toml", '[package]\nname = "common"\nversion.workspace = true\nedition.workspace = true\n'
        )
        project.write("common/src/lib.rs", "pub const N: i64 = 5;\n")
        project.write(
            "sample/Cargo.toml",
            """
            [package]
            name = "sample"
            version.workspace = true
            edition.workspace = true
            [lib]
            crate-type = ["cdylib"]
            [dependencies]
            common.workspace = true
            """,
        )
        patch = 'common::N * 100 + env!("CARGO_PKG_VERSION_PATCH").parse::<i64>().unwrap()'
        project.write("sample/src/lib.rs", raw("sample", patch))
        assert value(project) == "503"
        workspace.write_text(workspace.read_text().replace("1.2.3", "1.2.4"))
        assert value(project) == "504"
        assert (project.root / "Cargo.lock").exists()
        assert not (project.root / "sample" / "Cargo.lock").exists()

    @pytest.mark.core
    def test_eight_processes_make_one_build(self, project: Project) -> None:
        log = cargo_log(project)
        crate(project, "sample", 7)
        children = [project.start("import autoaccel, sample; print(sample.value)") for _ in range(8)]
        assert [child.communicate(timeout=240)[0] for child in children] == ["7\n"] * 8
        assert builds(log) == 1

    @pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
    def test_an_interrupted_build_leaves_nothing_broken(self, project: Project, sign: signal.Signals) -> None:
        need("cargo")
        crate(project, "sample", 7)
        marker = project.cache.parent / "started"
        project.write(
            "sample/build.rs",
            f'fn main() {{ std::fs::write("{marker}", "").unwrap(); std::thread::sleep(std::time::Duration::from_secs(4)); }}\n',
        )
        child = project.start("import autoaccel, sample")
        deadline = time.monotonic() + 120
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(sign)
        child.communicate(timeout=60)
        assert child.returncode != 0
        assert value(project) == "7"

    def test_bindings_are_compiled_once_for_all_projects(self, rust: Project) -> None:  # noqa: F811
        pyo3_crate(rust, "first", 1)
        pyo3_crate(rust, "second", 2)
        out = rust.ok("import autoaccel, first, second; print(first.add_two(1, 1), second.add_two(1, 1))")
        assert out == "2 4"
        logs = [path.read_text() for path in rust.cache.glob("v2/artifacts/*/build.log")]
        assert len(logs) == 2
        assert not [log for log in logs if "Compiling pyo3" in log]

    def test_the_seed_is_not_changed_by_who_starts_from_it(self, rust: Project) -> None:  # noqa: F811
        seed = rust.cache / "v2" / "cargo" / "seed"
        before = {path: path.read_bytes() for path in seed.rglob("*.rlib")}
        pyo3_crate(rust, "first", 1)
        rust.write(
            "first/Cargo.toml",
            manifest("first", '[dependencies]\npyo3 = { version = "0.30", features = ["abi3-py311"] }'),
        )
        assert rust.ok("import autoaccel, first; print(first.add_two(1, 1))") == "2"
        assert before
        assert {path: path.read_bytes() for path in before} == before

    def test_other_pythons(self, rust: Project) -> None:  # noqa: F811
        """On the suite's own Python, the newest that the machine has is another one."""
        found = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3"))
        if not found:
            pytest.skip("no other Python here")
        crate(rust, "sample", 9)
        code = "import sys; sys.path[:0] = PATHS; import autoaccel, sample; print(sample.value)"
        import filelock

        paths = [str(ROOT), str(Path(filelock.__file__).parent.parent)]
        assert rust.ok(code.replace("PATHS", repr(paths)), python=str(found[-1])) == "9"
        assert value(rust) == "9"
        assert len(rust.artifacts()) == 2


def test_rust_that_is_not_on_the_path(project: Project) -> None:
    need("cargo")
    home = project.cache.parent / "home"
    (home / "bin").mkdir(parents=True)
    for program in ("cargo", "rustc"):
        (home / "bin" / program).symlink_to(str(shutil.which(program)))
    crate(project, "sample", 1)
    code = "import autoaccel, sample; print(sample.value)"
    assert project.ok(code, CARGO_HOME=str(home), PATH="/usr/bin:/bin") == "1"


def test_a_hit_starts_no_cargo_and_loads_one_file(project: Project) -> None:
    log = cargo_log(project)
    crate(project, "sample", 1)
    value(project)
    time.sleep(0.1)
    before = log.read_text()
    code = "import sys, autoaccel, sample; print(*sorted(name for name in sys.modules if name.startswith('autoaccel')))"
    assert project.ok(code) == "autoaccel"
    assert log.read_text() == before


def test_a_hit_of_a_declared_module_loads_two_files(project: Project) -> None:
    need("cargo")
    project.write(
        "pyproject.toml", '[build-system]\nbuild-backend = "maturin"\n[tool.maturin]\nmodule-name = "pkg.core"\n'
    )
    project.write("pkg/__init__.py", "from .core import value\n")
    project.write("Cargo.toml", manifest("pkg"))
    project.write("src/lib.rs", raw("core", 3))
    time.sleep(0.1)  # what is younger is read once more
    assert value(project, "pkg") == "3"
    time.sleep(0.1)
    code = "import sys, autoaccel, pkg; print(*sorted(name for name in sys.modules if name.startswith('autoaccel')))"
    assert project.ok(code) == "autoaccel autoaccel.directories"


def test_everything_below_a_folder_is_built_ahead(project: Project) -> None:
    need("cargo")
    crate(project, "sample", 1)
    project.write("single.rs", raw("single", 2))
    command = [sys.executable, "-m", "autoaccel", "build"]
    done = subprocess.run(command, cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    out = project.ok("import autoaccel, sample, single; print(sample.value, single.value)", AUTOACCEL="load")
    assert out == "1 2"
