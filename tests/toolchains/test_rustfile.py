"""Single Rust files: their manifests, and what is no module."""

from __future__ import annotations

import pytest

from autoaccel.crates import to_toml
from autoaccel.toolchains.rustfile import manifest_block
from tests.conftest import Project, need
from tests.rust import PYO3, compiled_bindings, manifest, raw, rust, value  # noqa: F401

pytestmark = pytest.mark.timeout(600)

#: A dependency without a download, that each spelling of a manifest can name.
HELPER = 'helper = { path = "helper" }'


@pytest.fixture
def helped(project: Project) -> Project:
    """A project with a crate to depend on."""
    need("cargo")
    project.write("helper/Cargo.toml", manifest("helper").replace('crate-type = ["cdylib"]', ""))
    project.write("helper/src/lib.rs", "pub const N: i64 = 42;\n")
    return project


class TestManifests:
    """The three spellings."""

    @pytest.mark.core
    def test_none_at_all(self, project: Project) -> None:
        need("cargo")
        project.write("single.rs", raw("single", 7))
        before = project.files()
        out = project.ok("import autoaccel, single; print(single.value, single.__file__)")
        assert out == f"7 {project.root}/single.rs"
        assert project.files() == before

    def test_a_front_matter(self, helped: Project) -> None:
        text = f"#!/usr/bin/env cargo\n\n---cargo\n[dependencies]\n{HELPER}\n---\n" + raw("single", "helper::N")
        helped.write("single.rs", text)
        assert value(helped, "single") == "42"

    def test_a_front_matter_behind_a_byte_order_mark(self, project: Project) -> None:
        need("cargo")
        text = "---cargo\r\n[features]\r\ndefault = ['more']\r\nmore = []\r\n---\r\n"
        text += raw("single", 'cfg!(feature = "more")').replace("\n", "\r\n")
        project.write("single.rs", b"\xef\xbb\xbf" + text.encode())
        assert value(project, "single") == "1"

    def test_a_block_in_the_documentation(self, helped: Project) -> None:
        text = f"//! What it does.\n//!\n//! ```cargo\n//! [dependencies]\n//! {HELPER}\n//! ```\n" + raw(
            "single", "helper::N"
        )
        helped.write("single.rs", text)
        assert value(helped, "single") == "42"

    def test_lines_of_rustimport(self, helped: Project) -> None:
        text = f"// rustimport\n//: [dependencies]\n//: {HELPER}\n" + raw("single", "helper::N")
        helped.write("single.rs", text)
        assert value(helped, "single") == "42"

    def test_a_changed_dependency_and_an_edit(self, helped: Project) -> None:
        text = f"//: [dependencies]\n//: {HELPER}\n" + raw("single", "helper::N")
        helped.write("single.rs", text)
        assert value(helped, "single") == "42"
        helped.write("helper/src/lib.rs", "pub const N: i64 = 43;\n")
        assert value(helped, "single") == "43"
        helped.write("single.rs", text.replace("helper::N)", "helper::N + 1)"))
        assert value(helped, "single") == "44"

    def test_modules_and_files_beside_it(self, project: Project) -> None:
        need("cargo")
        project.write("single.rs", raw("single", 'beside::N + include_str!("data.txt").len() as i64', "mod beside;"))
        project.write("beside.rs", "pub const N: i64 = 10;\n")
        project.write("data.txt", "four")
        assert value(project, "single") == "14"
        project.write("data.txt", "seven..")
        assert value(project, "single") == "17"

    def test_pyo3_is_what_the_file_uses(self, rust: Project) -> None:  # noqa: F811
        rust.write("single.rs", PYO3.format(stem="single", factor=1000))
        assert (
            rust.ok("import autoaccel, single; print(single.add_two(2, 3), single.__doc__)")
            == "5000 What the module is for."
        )

    def test_rustimport_writes_the_module(self, rust: Project) -> None:  # noqa: F811
        rust.write(
            "single.rs",
            """
            // rustimport:pyo3
            use pyo3::prelude::*;

            #[pyfunction]
            #[pyo3(signature = (a, b = 3))]
            fn add_two(a: i64, b: i64) -> i64 {
                1000 * (a + b)
            }

            #[pyclass]
            #[derive(Clone)]
            pub struct Thing {}
            """,
        )
        assert rust.ok("import autoaccel, single; print(single.add_two(2), single.Thing.__name__)") == "5000 Thing"

    def test_rustimport_writes_the_module_of_a_file_that_talks_of_modules(self, rust: Project) -> None:  # noqa: F811
        rust.write(
            "single.rs",
            """
            //  rustimport:pyo3

            // No #[pymodule] here: /* it is written.
            use pyo3::prelude::*;

            /* #[pyfunction] fn nothing() {} */
            #[pyo3::pyfunction]
            #[pyo3(signature = (a, b = [3, 4]))] // a list
            pub(crate) fn add_two(a: i64, b: [i64; 2]) -> i64 {
                let _text = "#[pyfunction] fn nothing() {} /*";
                1000 * (a + b[0])
            }

            #[pyclass(eq)] // comparable
            #[derive(PartialEq)]
            /* #[derive(Debug)] */
            pub enum Thing { A, B }
            """,
        )
        assert rust.ok("import autoaccel, single; print(single.add_two(2), single.Thing.__name__)") == "5000 Thing"

    def test_rustimport_writes_the_module_of_a_crate(self, rust: Project) -> None:  # noqa: F811
        rust.write("Cargo.toml", '[workspace]\nmembers = ["crates/*"]\nresolver = "2"\n')
        rust.write("crates/one/Cargo.toml", '[package]\nname = "one"\nversion = "0.1.0"\nedition = "2021"\n')
        text = (
            "// rustimport:pyo3\nuse pyo3::prelude::*;\nmod other;\n\n"
            "#[pyfunction]\nfn seen() -> i64 {\n    other::N\n}\n"
        )
        source = rust.write("crates/one/src/lib.rs", text)
        rust.write("crates/one/src/other.rs", "pub const N: i64 = 5;\n")
        call = "import sys; sys.path.insert(0, 'crates'); import autoaccel, one; print(one.seen())"
        assert rust.ok(call) == "5"
        logs = [one.read_text() for one in rust.cache.glob("v2/artifacts/*/build.log")]
        assert len(logs) == 1
        assert "Compiling one v" in logs[0]
        assert "Compiling pyo3 v" not in logs[0], "it is compiled already"
        rust.write("crates/one/src/other.rs", "pub const N: i64 = 6;\n")
        assert rust.ok(call) == "6"
        source.write_text(text.replace("other::N", "other::N + 1"))
        assert rust.ok(call) == "7"
        assert source.read_text() == text.replace("other::N", "other::N + 1")
        assert sorted(one.name for one in rust.root.rglob("*") if one.is_file() and one.suffix != ".pyc") == [
            "Cargo.toml", "Cargo.toml", "lib.rs", "other.rs",
        ]  # fmt: skip
        source.write_text(text.replace("other::N", "other::M"))
        result = rust.run(call)
        assert f"{source}:7:12: E0425: cannot find value `M` in module `other`" in result.err, result.err
        # With a module of its own it is a crate like all others.
        source.write_text(
            text.replace("// rustimport:pyo3", "").replace("other::N", "8")
            + "\n#[pymodule]\nmod one {\n    #[pymodule_export]\n    use super::seen;\n}\n"
        )
        manifest = rust.root / "crates/one/Cargo.toml"
        manifest.write_text(manifest.read_text() + '[lib]\ncrate-type = ["cdylib"]\n[dependencies]\npyo3 = "0.30"\n')
        assert rust.ok(call) == "8"


class TestClaims:
    """What is a module, and what is left alone."""

    def test_a_file_of_a_cargo_package(self, project: Project) -> None:
        project.write("Cargo.toml", manifest("other"))
        project.write("src/lib.rs", "mod single;\n")
        project.write("src/single.rs", raw("single"))
        result = project.run("import sys; sys.path.insert(0, 'src'); import autoaccel, single")
        assert result.last.startswith("ModuleNotFoundError: No module named 'single'")
        assert "it belongs to the package of" in result.last

    def test_a_file_that_defines_no_module(self, project: Project) -> None:
        project.write("single.rs", "// #[pymodule] is only talked about\nfn main() {}\n")
        project.write("single.py", "value = 'python'\n")
        assert value(project, "single") == "python"

    def test_below_a_workspace_without_a_package(self, project: Project) -> None:
        need("cargo")
        project.write("Cargo.toml", '[workspace]\nmembers = []\nresolver = "2"\n')
        project.write("single.rs", raw("single", 5))
        assert value(project, "single") == "5"

    def test_two_sources_of_one_module(self, project: Project) -> None:
        need("cargo", "cc")
        project.write("single.rs", raw("single"))
        project.c("single.c")
        assert "more than one source defines this module" in project.run("import autoaccel, single").last


class TestBlocks:
    """Reading manifests, without cargo."""

    @pytest.mark.parametrize(
        ("text", "block", "first"),
        [
            ("---\nx = 1\n---\nfn f() {}", "x = 1", 1),
            ("#!/bin/x\n\n----cargo\nx = 1\n---\ny = 2\n----\n", "x = 1\n---\ny = 2", 3),
            ("//! ```cargo\n//! x = 1\n//!\n//! y = 2\n//! ```\n", "x = 1\n\ny = 2", 1),
            ("/*! Text\n```cargo\nx = 1\n```\n*/", "x = 1", 2),
            ("// rustimport\n//: x = 1\n//:y = 2\n", "x = 1\ny = 2", 1),
        ],
    )
    def test_what_is_found(self, text: str, block: str, first: int) -> None:
        found = manifest_block(text)
        assert found is not None
        assert (found.text, found.first) == (block, first)

    @pytest.mark.parametrize(
        "text", ["", "fn f() {}", "#![allow(x)]\n// ---\n", "/// ```cargo\nfn f() {}", "// x\n---\n---"]
    )
    def test_what_is_none(self, text: str) -> None:
        assert manifest_block(text) is None

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("---cargo\nx = 1\n", "does not end"),
            ("---python\n---\n", "is for python"),
            ("//! ```cargo\n//! x = 1\n", "does not end"),
            ("//: x = 1\n//! ```cargo\n//! ```\n", "two manifests"),
        ],
    )
    def test_what_is_refused(self, text: str, why: str) -> None:
        with pytest.raises(ValueError, match=why):
            manifest_block(text)

    def test_tables_are_written_as_they_were_read(self) -> None:
        import tomllib

        table = {
            "package": {"name": 'a"b\\c', "metadata": {"x": {"y": [1, 2.5, True, "ü"]}}},
            "target": {'cfg(target_os = "linux")': {"dependencies": {"a": "1"}}},
            "workspace": {},
        }
        assert tomllib.loads(to_toml(table)) == table
