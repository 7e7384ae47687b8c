"""Every input, one by one: a change makes another key; what does not matter leaves it. Nothing is built for a row.

A row changes something, asks what an import would take from the cache, and takes the change back, after which it must
be the first artifact again.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoaccel import compiler, keys, manifest, pipeline, store
from autoaccel.errors import AccelError
from autoaccel.sources import Source
from tests.conftest import Project, c_module, need

Change = Callable[["Table"], None]


class Table:
    """A module that was built, and the files around it."""

    def __init__(self, project: Project, monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
        self.project = project
        self.patch = monkeypatch
        self.source = source

    def key(self) -> str:
        """The artifact that an import would take from the cache, or what it would build."""
        manifest.forget()
        try:
            found = pipeline._look(store.open_store(), self.source, False)
        except AccelError as error:
            return f"an error: {error.msg}"
        return f"the artifact {found.key}" if isinstance(found, pipeline.Artifact) else f"a build of {found.key}"

    def write(self, name: str, text: str) -> None:
        """Another content of a file, or a new file."""
        self.project.write(name, text)

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a file's text."""
        path = self.project.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def env(self, name: str, value: str) -> None:
        """Set a variable."""
        self.patch.setenv(name, value)


@pytest.fixture
def tables(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Source], Table]]:
    """Builds a module in this process and gives its table."""
    need("cc")
    monkeypatch.setenv("AUTOACCEL_CACHE_DIR", str(project.cache))
    monkeypatch.setattr(store, "_opened", None)
    manifest.forget()

    def made(source: Source) -> Table:
        pipeline.obtain(source)
        table = Table(project, monkeypatch, source)
        assert table.key().startswith("the artifact ")
        return table

    yield made
    manifest.forget()


def try_all(table: Table, rows: dict[str, Change], *, same: bool) -> None:
    """Make each change in a copy of the project's state, and take it back."""
    first = table.key()
    kept = table.project.root.parent / "kept"
    shutil.copytree(table.project.root, kept, symlinks=True)
    wrong = []
    seen: dict[str, str] = {}
    for name, change in rows.items():
        with pytest.MonkeyPatch.context() as patch:
            table.patch = patch
            change(table)
            now = table.key()
        shutil.rmtree(table.project.root)
        shutil.copytree(kept, table.project.root, symlinks=True)
        if (now == first) is not same:
            wrong.append(f"{name}: {now}")
        if table.key() != first:
            wrong.append(f"{name}, taken back: {table.key()}")
        seen[name] = now
    assert not wrong, "\n".join(wrong)
    told = "the same key" if same else "another key"
    print(f"{table.source.toolchain}: {len(rows)} rows, {told} each time")


def _at(path: str) -> Change:
    return lambda table: (table.project.root / path).write_text("")


#: What changes nothing, whatever the toolchain.
IRRELEVANT: dict[str, Change] = {
    "touched": lambda table: os.utime(table.source.path),
    "an old time stamp": lambda table: os.utime(table.source.path, (1, 1)),
    "a time stamp of tomorrow": lambda table: os.utime(table.source.path, (4e9, 4e9)),
    "another current folder": lambda table: table.patch.chdir("/"),
    "another home": lambda table: table.env("HOME", str(table.project.root.parent / "home")),
    "a file that nobody reads": _at("unrelated.h"),
    "a comment in such a file": lambda table: table.write("notes.txt", "# other words"),
    "another language": lambda table: table.env("LANG", "de_DE.UTF-8"),
    "more jobs": lambda table: table.env("AUTOACCEL_JOBS", "7"),
    "more patience": lambda table: table.env("AUTOACCEL_LOCK_TIMEOUT", "7"),
    "a variable that nobody reads": lambda table: table.env("SOME_OTHER_VARIABLE", "7"),
    "a folder at the end of the path": lambda table: table.env("PATH", os.environ["PATH"] + ":/nonexistent"),
    "another mode": lambda table: os.chmod(table.source.path, 0o600),
    "a copy that takes its place": lambda table: _renamed(Path(table.source.path)),
    "no colours": lambda table: table.env("NO_COLOR", "1"),
    "hash randomisation": lambda table: table.env("PYTHONHASHSEED", "5"),
}


def _renamed(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.rename(path)


#: What changes every toolchain's key.
COMMON: dict[str, Change] = {
    "another Python": lambda table: table.patch.setattr(manifest, "TAG", "cpython-399-x86_64-linux-gnu"),
    "a debug build of Python": lambda table: table.patch.setattr(
        keys, "config_var", lambda name: 1 if name == "Py_DEBUG" else None
    ),
    "another implementation": lambda table: table.patch.setattr(keys.sys.implementation, "name", "other"),
    "another platform": lambda table: table.patch.setattr(keys.sysconfig, "get_platform", lambda: "other-1.0"),
    "another autoaccel": lambda table: table.patch.setattr(sys.modules["autoaccel"], "__version__", "99"),
    "another name": lambda table: setattr(table, "source", _other(table, name="pkg." + table.source.name)),
}


def _other(table: Table, **changes: str) -> Source:
    kept = table.source
    # Given back when the row is over: the table's own source.
    table.patch.setattr(table, "source", kept)
    parts = {"name": kept.name, "path": kept.path, "toolchain": kept.toolchain, "package": kept.package, **changes}
    return Source(**parts)  # type: ignore[arg-type]


HEAD = """\
// distutils: include_dirs = inc1 inc2
// distutils: sources = second.c
// distutils: define_macros = FACTOR=2
// distutils: depends = data.txt
// distutils: extra_objects = third.o
"""


def test_every_input_of_a_c_module(tables: Callable[[Source], Table], project: Project) -> None:
    import subprocess

    other = project.compiler("true 1")
    project.env.pop("CC")
    body = c_module(
        "sample",
        "H + second() + FACTOR + third()",
        before='#include "h.h"\n#include "own.h"\nint second(void);\nint third(void);',
    )
    project.write("sample.c", HEAD + body)
    project.write("second.c", "int second(void) { return 1; }\n")
    project.write("third.c", "int third(void) { return 1; }\n")
    project.write("third2.c", "int third(void) { return 2; }\n")
    for name in ("third", "third2"):
        subprocess.run(["cc", "-fPIC", "-c", f"{name}.c", "-o", f"{name}.o"], cwd=project.root, check=True, timeout=60)
    (project.root / "inc1").mkdir()
    project.write("inc2/h.h", '#define H 2\n#if __has_include("more.h")\n#include "more.h"\n#endif\n')
    project.write("own.h", "#define OWN 1\n")
    project.write("data.txt", "1")
    project.write("pyproject.toml", "")
    table = tables(Source("sample", str(project.root / "sample.c"), "c"))
    rows: dict[str, Change] = {
        **COMMON,
        "the source": lambda table: table.replace("sample.c", "H +", "H -"),
        "a comment in the source": lambda table: table.replace("sample.c", "#include", "/* words */\n#include"),
        "a second source": lambda table: table.replace("second.c", "1", "2"),
        "a header": lambda table: table.replace("inc2/h.h", "H 2", "H 3"),
        "a header beside the source": lambda table: table.replace("own.h", "1", "2"),
        "a header that appears earlier on the path": lambda table: table.write("inc1/h.h", "#define H 1\n"),
        "a header that appears beside the source": lambda table: table.write("h.h", "#define H 1\n"),
        "a header that __has_include asks for": lambda table: table.write("inc2/more.h", ""),
        "a header that is gone": lambda table: (table.project.root / "own.h").unlink(),
        "a file that it depends on": lambda table: table.write("data.txt", "2"),
        "an object that is linked": lambda table: _renamed_to(table, "third2.o", "third.o"),
        "a macro": lambda table: table.replace("sample.c", "FACTOR=2", "FACTOR=3"),
        "the order of folders": lambda table: table.replace("sample.c", "inc1 inc2", "inc2 inc1"),
        "CFLAGS": lambda table: table.env("CFLAGS", "-DX=1"),
        "CFLAGS, empty": lambda table: table.env("CFLAGS", ""),
        "CPPFLAGS": lambda table: table.env("CPPFLAGS", "-DX=1"),
        "LDFLAGS": lambda table: table.env("LDFLAGS", "-Wl,-O1"),
        "LDSHARED": lambda table: table.env("LDSHARED", "cc -shared -Wl,-O1"),
        "CPATH": lambda table: table.env("CPATH", "/nonexistent"),
        "C_INCLUDE_PATH": lambda table: table.env("C_INCLUDE_PATH", "/nonexistent"),
        "LIBRARY_PATH": lambda table: table.env("LIBRARY_PATH", "/nonexistent"),
        "SOURCE_DATE_EPOCH": lambda table: table.env("SOURCE_DATE_EPOCH", "1"),
        "CC": lambda table: table.env("CC", str(other.path)),
        "GCC_EXEC_PREFIX": lambda table: table.env("GCC_EXEC_PREFIX", "/nonexistent/"),
        "optimize": lambda table: table.write("pyproject.toml", "[tool.autoaccel]\noptimize = 1\n"),
        "debug": lambda table: table.write("pyproject.toml", "[tool.autoaccel]\ndebug = true\n"),
        "cflags": lambda table: table.write("pyproject.toml", "[tool.autoaccel]\ncflags = ['-DX']\n"),
        "ldflags": lambda table: table.write("pyproject.toml", "[tool.autoaccel]\nldflags = ['-Wl,-O1']\n"),
        "an option of the module": lambda table: table.write(
            "pyproject.toml", "[tool.autoaccel.modules.sample]\nlibraries = ['m']\n"
        ),
        "an ext-module": lambda table: table.write(
            "pyproject.toml",
            "[[tool.setuptools.ext-modules]]\nname = 'sample'\nsources = ['sample.c']\nlibraries = ['m']\n",
        ),
        "another source of the name": lambda table: table.write("sample.pyx", ""),
    }
    assert len(rows) >= 15
    try_all(table, rows, same=False)


def _renamed_to(table: Table, old: str, new: str) -> None:
    (table.project.root / old).rename(table.project.root / new)


def test_a_compiler_with_other_contents_is_another(
    tables: Callable[[Source], Table], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project.compiler("true 1").path
    monkeypatch.setenv("CC", str(program))
    project.c("sample.c", 7)
    table = tables(Source("sample", str(project.root / "sample.c"), "c"))
    first, text = table.key(), program.read_text()

    def key(content: str) -> str:
        program.write_text(content)
        # As in another process: within one, a compiler is asked once.
        monkeypatch.setattr(compiler, "_found", {})
        return table.key()

    assert key(text.replace("true 1", "true 2")) != first
    assert key(text) == first


def test_what_does_not_matter_to_a_c_module(tables: Callable[[Source], Table], project: Project) -> None:
    project.write("own.h", "#define OWN 7\n")
    project.c("sample.c", "OWN", before='#include "own.h"')
    project.write("pyproject.toml", "")
    table = tables(Source("sample", str(project.root / "sample.c"), "c"))
    rows: dict[str, Change] = {
        **IRRELEVANT,
        "a touched header": lambda table: os.utime(table.project.root / "own.h"),
        "an empty table": lambda table: table.write("pyproject.toml", ""),
        "a source of another module": lambda table: table.write("other.c", "int x;"),
        "a header in a folder that is not searched": lambda table: table.write("deep/own.h", "#define OWN 8\n"),
        "Cython's own options": lambda table: table.write("other.pyx", "# cython: boundscheck=False\n"),
    }
    try_all(table, rows, same=True)


def test_every_input_of_a_cython_module(tables: Callable[[Source], Table], project: Project) -> None:
    need("Cython")
    project.write(
        "pkg/sample.pyx",
        """
        # distutils: include_dirs = inc0 inc
        # distutils: sources = pkg/extra.c
        # cython: boundscheck=False
        from pkg.types cimport number
        include "more.pxi"
        cdef extern from "h.h":
            int H
        cdef extern int extra()
        cdef number x = 1
        def value(): return H + MORE + extra() + x
        """,
    )
    project.write("pkg/__init__.py", "")
    project.write("pkg/sample.pxd", "# the module's own\n")
    project.write("pkg/types.pxd", "from pkg.deeper cimport base\nctypedef base number\n")
    project.write("pkg/deeper.pxd", "ctypedef int base\n")
    project.write("pkg/more.pxi", "MORE = 3\n")
    project.write("pkg/extra.c", "int extra(void) { return 4; }\n")
    project.write("inc/h.h", '#include "inner.h"\n')
    project.write("inc/inner.h", "#define H 2\n")
    (project.root / "inc0").mkdir()
    project.write("pyproject.toml", "")
    table = tables(Source("pkg.sample", str(project.root / "pkg" / "sample.pyx"), "cython"))

    def tool(table: Table) -> None:
        plan_of = pipeline.plan_of

        def other(source: Source) -> pipeline.Plan:
            from dataclasses import replace

            plan = plan_of(source)
            tools = tuple(replace(one, identity="other") if one.name == "Cython" else one for one in plan.tools)
            assert tools != plan.tools
            return replace(plan, tools=tools)

        table.patch.setattr(pipeline, "plan_of", other)

    rows: dict[str, Change] = {
        **COMMON,
        "the source": lambda table: table.replace("pkg/sample.pyx", "H + MORE", "H - MORE"),
        "a directive": lambda table: table.replace("pkg/sample.pyx", "boundscheck=False", "boundscheck=True"),
        "an include folder": lambda table: table.replace(
            "pkg/sample.pyx", "include_dirs = inc0 inc", "include_dirs = inc0 inc pkg"
        ),
        "its own .pxd": lambda table: table.write("pkg/sample.pxd", "# other words\n"),
        "its own .pxd is gone": lambda table: (table.project.root / "pkg/sample.pxd").unlink(),
        "a cimported .pxd": lambda table: table.replace("pkg/types.pxd", "base number", "base number # words"),
        "a .pxd that this one cimports": lambda table: table.replace("pkg/deeper.pxd", "int", "long"),
        "an included file": lambda table: table.replace("pkg/more.pxi", "3", "4"),
        "a C source": lambda table: table.replace("pkg/extra.c", "4", "5"),
        "a header": lambda table: table.write("inc/h.h", '#include "inner.h"\n\n'),
        "a header of a header": lambda table: table.replace("inc/inner.h", "2", "3"),
        "a header that appears earlier on the path": lambda table: table.write("inc0/h.h", "#define H 9\n"),
        "a .pyxbld": lambda table: table.write("pkg/sample.pyxbld", "def make_setup_args(): return {}\n"),
        "a .pyxdep": lambda table: table.write("pkg/sample.pyxdep", "more.pxi\n"),
        "directives of the project": lambda table: table.write(
            "pyproject.toml", "[tool.autoaccel.cython]\ndirectives = { wraparound = false }\n"
        ),
        "the language level of the project": lambda table: table.write(
            "pyproject.toml", "[tool.autoaccel.cython]\nlanguage-level = 2\n"
        ),
        "annotate": lambda table: table.write("pyproject.toml", "[tool.autoaccel.cython]\nannotate = true\n"),
        "optimize": lambda table: table.write("pyproject.toml", "[tool.autoaccel]\noptimize = 3\n"),
        "CFLAGS": lambda table: table.env("CFLAGS", "-DX=1"),
        "LDFLAGS": lambda table: table.env("LDFLAGS", "-Wl,-O1"),
        "pyximport's options": lambda table: table.env("AUTOACCEL_CYTHON_OPTIONS", '{"language_level": 2}'),
        "another Cython": tool,
    }
    assert len(rows) >= 15
    try_all(table, rows, same=False)


def test_what_does_not_matter_to_a_cython_module(tables: Callable[[Source], Table], project: Project) -> None:
    need("Cython")
    project.write("sample.pyx", "from types_ cimport number\ncdef number x = 1\ndef value(): return x\n")
    project.write("types_.pxd", "ctypedef int number\n")
    project.write("pyproject.toml", "")
    table = tables(Source("sample", str(project.root / "sample.pyx"), "cython"))
    rows: dict[str, Change] = {
        **IRRELEVANT,
        "a touched .pxd": lambda table: os.utime(table.project.root / "types_.pxd"),
        "a .pxd that nobody cimports": lambda table: table.write("other.pxd", "cdef int y\n"),
        "another module": lambda table: table.write("other.pyx", "y = 1\n"),
        "a C file of another module": lambda table: table.write("other.c", "int y;\n"),
    }
    try_all(table, rows, same=True)


def _crate(project: Project) -> Source:
    root = Path(__file__).resolve().parent.parent / "rust_crates" / "raw_ffi" / "sample"
    shutil.copytree(root, project.root / "sample", ignore=shutil.ignore_patterns("target"))
    library = project.root / "sample" / "src" / "lib.rs"
    library.write_text(
        library.read_text()
        + textwrap.dedent(
            """
            mod extra;
            #[unsafe(no_mangle)]
            pub extern "C" fn told() -> usize {
                extra::NUMBER + include_str!("data.txt").len() + helper::NUMBER
                    + option_env!("FLAVOUR").unwrap_or("").len()
            }
            """
        )
    )
    project.write("sample/src/extra.rs", "pub const NUMBER: usize = 1;\n")
    project.write("sample/src/data.txt", "data")
    project.write(
        "sample/build.rs",
        'fn main() { println!("cargo::rerun-if-changed=conf.txt"); println!("cargo::rerun-if-env-changed=KNOB"); }\n',
    )
    project.write("sample/conf.txt", "1")
    project.write("helper/Cargo.toml", '[package]\nname = "helper"\nversion = "0.1.0"\nedition = "2021"\n')
    project.write("helper/src/lib.rs", "pub const NUMBER: usize = 1;\n")
    with (project.root / "sample" / "Cargo.toml").open("a") as file:
        file.write('\n[dependencies]\nhelper = { path = "../helper" }\n\n[features]\nfast = []\n')
    return Source("sample", str(project.root / "sample" / "Cargo.toml"), "cargo")


@pytest.mark.timeout(300)
def test_every_input_of_a_crate(
    tables: Callable[[Source], Table], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cargo")
    # Where rustup keeps its things does not move with the home of a row.
    for name, folder in (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")):
        if name not in os.environ and (Path.home() / folder).is_dir():
            monkeypatch.setenv(name, str(Path.home() / folder))
    table = tables(_crate(project))
    profile = "CARGO_PROFILE_AUTOACCEL_OPT_LEVEL"
    rows: dict[str, Change] = {
        **COMMON,
        "the library": lambda table: table.replace("sample/src/lib.rs", "1000", "2000"),
        "a module": lambda table: table.replace("sample/src/extra.rs", "1;", "2;"),
        "an included file": lambda table: table.write("sample/src/data.txt", "other data"),
        "a dependency by path": lambda table: table.replace("helper/src/lib.rs", "1;", "2;"),
        "the manifest of a dependency": lambda table: table.replace("helper/Cargo.toml", "0.1.0", "0.1.1"),
        "the manifest": lambda table: table.replace("sample/Cargo.toml", "0.1.0", "0.1.1"),
        "the lock file": lambda table: table.replace("sample/Cargo.lock", "version = ", "version =  "),
        "the lock file is gone": lambda table: (table.project.root / "sample/Cargo.lock").unlink(),
        "the build script": lambda table: table.replace("sample/build.rs", "KNOB", "KNOB2"),
        "what the build script asks for": lambda table: table.write("sample/conf.txt", "2"),
        "a variable that the build script asks for": lambda table: table.env("KNOB", "1"),
        "a variable that the source reads": lambda table: table.env("FLAVOUR", "sweet"),
        "RUSTFLAGS": lambda table: table.env("RUSTFLAGS", "-Copt-level=1"),
        "a profile": lambda table: table.env(profile, "1"),
        "a configuration that appears": lambda table: table.write(
            "sample/.cargo/config.toml", "[build]\nrustflags = []\n"
        ),
        "a configuration above": lambda table: table.write(".cargo/config.toml", "[build]\nincremental = false\n"),
        "features": lambda table: table.write("sample/pyproject.toml", "[tool.maturin]\nfeatures = ['fast']\n"),
        "a profile in the manifest": lambda table: table.replace(
            "sample/Cargo.toml", "[features]", "[profile.release]\nopt-level = 1\n\n[features]"
        ),
        "a workspace above": lambda table: table.write("Cargo.toml", '[workspace]\nmembers = ["sample", "helper"]\n'),
        "optimize": lambda table: table.write("sample/pyproject.toml", "[tool.autoaccel]\noptimize = 1\n"),
    }
    assert len(rows) >= 15
    try_all(table, rows, same=False)
    same: dict[str, Change] = {
        **IRRELEVANT,
        "a touched module": lambda table: os.utime(table.project.root / "sample/src/extra.rs"),
        "notes": lambda table: table.write("sample/NOTES.md", "words"),
        "a file that no module names": lambda table: table.write("sample/src/unused.rs", "pub fn x() {}\n"),
        "CFLAGS of the environment, which no C compiler sees": lambda table: table.env("PYTHONPATH", "/nonexistent"),
    }
    shutil.rmtree(project.root.parent / "kept")
    try_all(table, same, same=True)
