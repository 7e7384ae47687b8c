"""What can go wrong, and every sentence that the user reads about it.

All of them are ``ImportError``, so that ``try: import fast / except ImportError: import slow`` works.
"""

from __future__ import annotations

import os
import re
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AccelError", "BuildError", "ConfigError", "Diagnostic", "LoadError", "ToolchainMissing"]

#: Lines of compiler output that an exception's text holds; the whole is in the build log.
EXCERPT_LINES = 60


class Diagnostic:
    """One message of a compiler about the user's source.

    Attributes:
        file: absolute path as the compiler names it, or ``""``.
        line: 1-based, 0 where the compiler gives none.
        column: 1-based, 0 where the compiler gives none.
        level: ``"error"``, ``"warning"`` or ``"note"``.
        message: the compiler's sentence.
        code: the compiler's own code of the message (rustc's ``E0308``), or ``""``.
        rendered: the text as the compiler shows it, with source excerpt and caret.
    """

    __slots__ = ("code", "column", "file", "level", "line", "message", "rendered")

    def __init__(
        self,
        file: str,
        line: int,
        column: int,
        message: str,
        *,
        level: str = "error",
        code: str = "",
        rendered: str = "",
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.message = message
        self.level = level
        self.code = code
        self.rendered = rendered

    def __repr__(self) -> str:
        return f"Diagnostic({self.file}:{self.line}:{self.column}: {self.level}: {self.message})"


class AccelError(ImportError):
    """The root of autoaccel's errors; ``name`` is the module, ``path`` its source file."""


class ConfigError(AccelError):
    """The project's configuration can't be understood; the text names the file and the key."""


class ToolchainMissing(AccelError):
    """A compiler is needed and not there; the text says how to get it."""


class LoadError(AccelError):
    """There is no library that can be loaded, and none may be built; the text says why and what to do."""


class BuildError(AccelError):
    """A source did not become a module.

    Attributes:
        diagnostics: what the compiler said, in its order.
        log: path of the complete build log, or None.
        inputs: the files that the build has read, if nothing else decides that it fails.
        absent: missing files that may be the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str | None = None,
        path: str | None = None,
        diagnostics: Sequence[Diagnostic] = (),
        log: str | None = None,
    ) -> None:
        super().__init__(message, name=name, path=path)
        self.diagnostics = tuple(diagnostics)
        self.log = log
        self.inputs: tuple[str, ...] = ()
        self.absent: tuple[str, ...] = ()


#: How many of a library's missing symbols are told by name.
_NAMED = 8
#: Symbols that no source of a user's defines -> whose they are, and what has them linked.
_RUNTIMES = (
    (r"GOMP_|omp_|__kmpc_", ("OpenMP's library", "extra_link_args = -fopenmp")),
    (r"__(a|hwa|t|m|l)san_", ("the sanitizer's library", "extra_link_args = -fsanitize=…")),
    (r"__ubsan_", ("the sanitizer's library", "extra_link_args = -fsanitize=undefined")),
    (r"__gcov_|__llvm_prof", ("the coverage library", "extra_link_args = --coverage")),
    (r"_ZT[VI]N10__cxxabiv1|__gxx_|__cxa_|_ZN?K?S[taosd]|_Z(nw|na|dl|da)", ("C++'s library", "language = c++")),
    (r"a?(sin|cos|tan)h?f?$|(sqrt|pow|exp|log|log2|log10|floor|ceil|fmod|round|atan2|hypot|cbrt|lgamma|tgamma|erfc?)f?$",
        ("the C library's mathematics", "libraries = m")),
    (r"(de|in)flate|adler32$|crc32$|compress2?$|uncompress$|gz(open|read|write|close)", ("zlib", "libraries = z")),
    (r"cblas_|[sdcz](gemm|gemv|axpy|dot|scal|nrm2)_$", ("a BLAS", "libraries = openblas")),
)  # fmt: skip


def declaration(name: str, path: str) -> str:
    """What to write for a module whose source does not look like one, or is somewhere else."""
    from .settings import governing

    pyproject, _ = governing(os.path.dirname(path))
    root = os.path.dirname(pyproject) if pyproject is not None else os.path.dirname(path)
    source = os.path.relpath(path, root).replace(os.sep, "/")
    return (
        f"declare it in {pyproject or os.path.join(root, 'pyproject.toml')}: `[[tool.setuptools.ext-modules]]`, "
        f'`name = "{name}"`, `sources = ["{source}"]`'
    )


def advice(name: str, setting: str) -> str:
    """Where to write a build setting."""
    return (
        f"Write `# distutils: {setting}` (`//` in C) into the first lines of the source, or the same under "
        f'`[tool.autoaccel.modules."{name}"]` in pyproject.toml.'
    )


def compile_failed(
    name: str, path: str, tool: str, output: str, diagnostics: Sequence[Diagnostic] = (), *, hint: str = ""
) -> BuildError:
    """The compiler refused the source: its own text, trimmed to `EXCERPT_LINES`."""
    lines = output.strip().splitlines()
    cut = len(lines) - EXCERPT_LINES
    if cut > 0:
        lines = [*lines[:EXCERPT_LINES], f"… {cut} more lines in the build log"]
    text = f"{name}: {tool} failed on {path}\n\n" + "\n".join(lines)
    if hint:
        text += f"\n\n{hint}"
    return BuildError(text, name=name, path=path, diagnostics=diagnostics)


def with_log(error: BuildError, log: str) -> BuildError:
    """The same error, with the place of its whole build log."""
    return BuildError(
        f"{error.msg}\n\nbuild log: {log}",
        name=error.name,
        path=error.path,
        diagnostics=error.diagnostics,
        log=log,
    )


def no_compiler(name: str | None, path: str | None, language: str, tried: Sequence[str]) -> ToolchainMissing:
    """No C or C++ compiler answers."""
    need = f"a {language} compiler is needed for {path or name or 'this module'}, and "
    variable = "CC" if language == "C" else "CXX"
    told = os.environ.get(variable)
    if told:
        return ToolchainMissing(
            f"{need}${variable}, which is {told!r}, does not answer as one.\n"
            f"Let ${variable} name a compiler that is installed, or unset it to have one looked for.",
            name=name,
            path=path,
        )
    return ToolchainMissing(
        f"{need}none was found (tried: {', '.join(dict.fromkeys(tried))}).\n"
        "Install one: `apt-get install gcc g++` (Debian, Ubuntu), `dnf install gcc gcc-c++` (Fedora), "
        "`xcode-select --install` (macOS), the Visual Studio Build Tools (Windows), "
        "or `pip install ziglang` on any of them. $CC and $CXX name another one.",
        name=name,
        path=path,
    )


def no_python_headers(name: str, path: str, directory: str) -> ToolchainMissing:
    """``Python.h`` is missing."""
    return ToolchainMissing(
        f"{name}: Python.h is needed to compile {path}, and {directory} has none.\n"
        "Install the headers of this Python: `apt-get install python3-dev` (Debian, Ubuntu), "
        "`dnf install python3-devel` (Fedora).",
        name=name,
        path=path,
    )


def no_package(name: str, path: str, package: str, extra: str) -> ToolchainMissing:
    """A compiler that comes as a Python package is not installed."""
    return ToolchainMissing(
        f"{name}: {package} is needed to compile {path}, and it is not installed.\nInstall it: `pip install {extra}`.",
        name=name,
        path=path,
    )


def broke_off(name: str, path: str, reason: str) -> BuildError:
    """A build ended by something that is neither the source's fault nor ours."""
    return BuildError(
        f"{name}: the build of {path} broke off: {reason}. Import it again; `autoaccel doctor` checks the tools.",
        name=name,
        path=path,
    )


def no_such_source(name: str, path: str, missing: str) -> BuildError:
    """An extra source that does not exist."""
    return BuildError(
        f"{name}: {missing} does not exist; it is named among the sources of {path}, in its first lines "
        "(`distutils: sources`) or in pyproject.toml. Relative names are looked for in the project's folder, "
        "then beside the file.",
        name=name,
        path=path,
    )


def wrong_export(name: str, path: str, wanted: str, found: Sequence[str]) -> BuildError:
    """The library has no init function of the module's name."""
    if found:
        told = f"it exports {', '.join(found)}: rename the function, or the file and the import"
    else:
        told = "it exports no init function: let the function or macro that defines the module be compiled in"
    return BuildError(
        f"{name}: the library built from {path} does not define {wanted}, which `import {name}` calls; {told}.",
        name=name,
        path=path,
    )


def empty_source(name: str, path: str) -> BuildError:
    """The source has no content."""
    return BuildError(
        f"{name}: {path} is empty, so there is nothing to compile. Write the module into it, or delete the file.",
        name=name,
        path=path,
    )


def undecodable(name: str, path: str, reason: str) -> BuildError:
    """The source is no text in its declared encoding."""
    return BuildError(
        f"{name}: {path} can't be decoded: {reason}. "
        "Save it as UTF-8, or declare its encoding in the first line (`# -*- coding: latin-1 -*-`).",
        name=name,
        path=path,
    )


def unreadable(name: str, path: str, reason: str) -> BuildError:
    """The source can't be read."""
    return BuildError(f"{name}: {path} can't be read: {reason}.", name=name, path=path)


def ambiguous(name: str, paths: Sequence[str]) -> BuildError:
    """Several sources beside each other would become the same module."""
    return BuildError(
        f"{name}: more than one source defines this module: {' and '.join(paths)}. Rename or delete all but one.",
        name=name,
        path=paths[0],
    )


def unclaimed(name: str, path: str) -> ModuleNotFoundError:
    """A C file of the right name that does not define the module, and nothing else does."""
    from .csource import init_name, is_generated
    from .whereabouts import includes, inits

    stem = name.rpartition(".")[2]
    if path.endswith(".rs"):
        from .rustsource import package_around

        owner = package_around(path)
        reason = f"it belongs to the package of {owner}" if owner else "it has no #[pymodule], PyInit_… or manifest"
        return ModuleNotFoundError(
            f"No module named {name!r} ({path} is there, but {reason}, so it is not the source of this module)",
            name=name,
        )
    if is_generated(path):
        return ModuleNotFoundError(
            f"No module named {name!r} ({path} is there, but Cython has generated it, and what it is from is not "
            f"beside it. If there is nothing else: {declaration(name, path)})",
            name=name,
        )
    told = (
        f"No module named {name!r} ({path} is there, but it defines neither {init_name(stem)} nor "
        f"PYBIND11_MODULE({stem}, …) nor NB_MODULE({stem}, …), so it is not the source of this module"
    )
    others = inits(path)
    if others:
        told += f"; it defines {' and '.join(others)}"
    elif includes(path):
        told += f". If a macro or an included file defines the module: {declaration(name, path)}"
    return ModuleNotFoundError(f"{told})", name=name)


def not_built(name: str, path: str, reason: str) -> LoadError:
    """``AUTOACCEL=load`` and no fresh artifact."""
    from shlex import quote

    from .sources import Source, root_of

    root = root_of(Source(name, path, "", os.path.basename(path).startswith("__init__.")))
    # A module that pyproject.toml declares is found with its project.
    words = ["--root", root, path] if root is not None else [os.path.dirname(path)]
    return LoadError(
        f"{name}: AUTOACCEL=load forbids to compile {path}, and the cache has no build of it that holds "
        f"({reason}). Build it first: `autoaccel build {' '.join(map(quote, words))}`.",
        name=name,
        path=path,
    )


def not_loadable(
    name: str, path: str, artifact: str, reason: str, definers: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> LoadError:
    """The dynamic loader refuses a library that is intact.

    Args:
        name, path, artifact: the module, its source and the library.
        reason: what the loader said.
        definers: sources that define what the library lacks, and what of it.
    """
    hint = ""
    missing = re.search(r"undefined symbol: (\S+)|symbol not found[^']*'(\S+?)'", reason)
    rust = path.endswith((".rs", "Cargo.toml"))
    symbol = (missing[1] or missing[2]) if missing is not None else ""
    if symbol and rust:
        hint = (
            f"\n`{symbol}` is declared and used, and nothing that was linked has it. Name the library: "
            '`#[link(name = "…")]` at the `extern` block, or `cargo::rustc-link-lib=…` in build.rs.'
        )
    elif symbol:
        hint = f"\n{undefined(name, symbol, definers)}"
    elif "cannot open shared object file" in reason or "image not found" in reason:
        told = "Write `cargo::rustc-link-arg=-Wl,-rpath,…` in build.rs." if rust else ""
        hint = (
            "\nA library that it was linked with is not on the loader's path: install it, or name its folder. "
            f"{told or advice(name, 'runtime_library_dirs = …')}"
        )
    elif "does not support loading in subinterpreters" in reason:
        hint = (
            "\nThe module does not support sub-interpreters: import it in the main interpreter, or declare "
            "Py_mod_multiple_interpreters (in Cython: `# cython: subinterpreters_compatible = own_gil`)."
        )
    return LoadError(f"{name}: the library built from {path} can't be loaded: {reason}{hint}", name=name, path=artifact)


def undefined(name: str, symbol: str, definers: Mapping[str, Sequence[str]]) -> str:
    """What to write where something is declared and used, and nothing that was linked has it.

    Args:
        name: the module.
        symbol: the first that is missing, as the linker spells it.
        definers: sources that define what is missing, and what of it.
    """
    if definers:
        from .whereabouts import cover

        enough, rest = cover(definers)
        names = [f"`{one}`" for one in dict.fromkeys(one for found in enough.values() for one in found)]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        instead = f" ({' and '.join(rest)} would define some of it instead.)" if rest else ""
        return (
            f"{', '.join(names[:_NAMED])}{more}: defined in {' and '.join(enough)}, and not compiled in. "
            f"{advice(name, 'sources = ' + ' '.join(enough))}{instead}"
        )
    known = next((setting for pattern, setting in _RUNTIMES if re.match(pattern, symbol)), None)
    if known is not None:
        return f"`{symbol}` is of {known[0]}. {advice(name, known[1])}"
    return (
        f"`{symbol}` is declared and used, and no compiled source or library has it. Name the source "
        f"or the library (`libraries = …`). {advice(name, 'sources = …')}"
    )


def remembered(error: BuildError) -> BuildError:
    """A failure of an earlier attempt at the very same inputs."""
    again = BuildError(
        f"{error.msg}\n\n(remembered: nothing has changed since this build failed; "
        "`autoaccel build --force` tries again)",
        name=error.name,
        path=error.path,
        diagnostics=error.diagnostics,
        log=error.log,
    )
    again.inputs, again.absent = error.inputs, error.absent
    return again


def unknown_key(where: str, key: str, known: Sequence[str]) -> ConfigError:
    """A setting that does not exist."""
    from difflib import get_close_matches

    close = get_close_matches(key, known, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else f" Known are: {', '.join(sorted(known))}."
    return ConfigError(f"{where}: unknown key `{key}`.{hint}", path=where)


def no_such_module(path: str, name: str, known: Sequence[str]) -> str:
    """Options for a module that does not exist: no error, they are of no use."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f'{path}: [tool.autoaccel.modules."{name}"]: the project has no native module of this name{hint}'


def not_below(path: str, root: str) -> AccelError:
    """A folder to build that can't be imported from the root that was named."""
    return AccelError(f"{path} is not below {root}, which is to be the folder that its modules are imported from.")


def not_a_source(path: str) -> AccelError:
    """A file that was named on a command line and is no extension module's source."""
    stem = os.path.splitext(os.path.basename(path))[0]
    if not stem.isidentifier():
        return AccelError(f"{path} is not the source of a module: no import can name {stem!r}.", path=path)
    return AccelError(
        f"{path} is not the source of a native module: known are .pyx, and .c, .cpp, .cc and .cxx files that define "
        "PyInit_<name>, PYBIND11_MODULE(<name>, …) or NB_MODULE(<name>, …), <name> being the file's own; .rs files and "
        "Cargo.toml of crates that have #[pymodule], py_module_initializer! or PyInit_<name>.",
        path=path,
    )


# Rust

_INSTALL_RUST = (
    "Install Rust: https://rustup.rs (`curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh`), "
    "`apt-get install cargo` (Debian, Ubuntu), `dnf install cargo` (Fedora) or `brew install rust` (macOS)."
)

#: Cargo's words when it can't reach a registry.
UNREACHABLE = (
    r"spurious network error|[Cc]ould not resolve host|failed to download|download of .* failed|network failure|"
    r"Could not connect|Connection refused|failed to query replaced source|timed out"
)

#: What cargo or rustc says -> what to do about it; the first that fits.
_RUST_HINTS = (
    (
        r"you're using offline mode|offline was specified|--offline",
        (
            "A crate is needed that was not downloaded yet, and cargo is offline. Import once with a network, or run "
            "`cargo fetch` (or `cargo vendor`) in the crate's folder while there is one."
        ),
    ),
    (
        r"location searched: directory source|is not vendored",
        "The crates are vendored (`[source]` in .cargo/config.toml), and one is missing: run `cargo vendor` again.",
    ),
    (
        UNREACHABLE,
        "Cargo needs the network once, to download the crates that this one needs. `cargo vendor` makes do without.",
    ),
    (
        r"linker `?[^`\n]*`? not found",
        (
            "Rust links with a C compiler. Install one: `apt-get install gcc` (Debian, Ubuntu), `dnf install gcc` "
            "(Fedora), `xcode-select --install` (macOS), the Visual Studio Build Tools (Windows)."
        ),
    ),
    (
        r"unable to find library -l|cannot find -l|library not found for -l",
        (
            "Install the development package of that library, or name its folder: `cargo::rustc-link-search=…` in "
            "build.rs."
        ),
    ),
    (
        r"is not supported by the following package|requires rustc|cannot be built because it requires rustc",
        "A crate needs a newer Rust than {release}: `rustup update`, or depend on an older version of it.",
    ),
    (
        r"this version of Cargo is older than the|lock file version .* (was found|requires)|feature `edition\d+` is",
        "The crate is written for a newer Rust than {release}: `rustup update`.",
    ),
    (r"can't find crate for `(std|core)`", "Its target is not installed: `rustup target add <target>`."),
    (
        r"Python interpreter version \(.*\) is (newer|lower) than PyO3's",
        "This PyO3 does not know Python {python}: ask for a version of pyo3 in Cargo.toml that does.",
    ),
    (
        r"believes it's in a workspace when it's not",
        "Add the crate to `members` of that workspace, or an empty `[workspace]` table to its own Cargo.toml.",
    ),
)


def no_cargo(name: str, path: str) -> ToolchainMissing:
    """There is no Rust."""
    return ToolchainMissing(
        f"{name}: cargo is needed to compile {path}, and it is neither on $PATH nor in ~/.cargo/bin.\n{_INSTALL_RUST}",
        name=name,
        path=path,
    )


def no_rust_toolchain(name: str, path: str, told: str, pins: Sequence[str]) -> ToolchainMissing:
    """rustup is there, and no toolchain for it; or rustc does not start."""
    told = told.strip()
    if "is not installed" in told and pins:
        hint = f"{pins[0]} asks for it: `rustup toolchain install` in that folder gets it."
    elif "no default" in told or "could not choose" in told:
        hint = "rustup has no toolchain to start: `rustup default stable` gets one."
    else:
        hint = _INSTALL_RUST
    return ToolchainMissing(f"{name}: Rust can't be started to compile {path}:\n{told}\n\n{hint}", name=name, path=path)


def cargo_failed(
    name: str, path: str, diagnostics: Sequence[Diagnostic], said: str, release: str = "", *, copied: bool = False
) -> BuildError:
    """cargo refused the crate: rustc's messages, or cargo's own words where it did not come to them.

    Args:
        name, path: the module, and its source.
        diagnostics: rustc's messages.
        said: what cargo said on stderr.
        release: rustc's version.
        copied: whether the source is a single file that was compiled from a copy.
    """
    import platform

    found = [one for one in diagnostics if one.level == "error" and one.file]
    text = "".join(one.rendered for one in diagnostics if one.level == "error")
    own = _without_noise(said)
    if not text or not any(one.file for one in diagnostics if one.level == "error"):
        text = f"{text}\n{own}".strip()
    hint = ""
    for pattern, advice_ in _RUST_HINTS:
        if re.search(pattern, f"{text}\n{own}"):
            hint = advice_.format(release=release or "this one", python=platform.python_version())
            break
    if copied and re.search(r"file not found for module|couldn't read `", text):
        hint = (
            "A file with a front matter (`---cargo`) is compiled from a copy, which has no files beside it: write the "
            "manifest as ```` //! ```cargo ```` for `mod …;` and relative `include_str!`."
        )
    error = compile_failed(name, path, "cargo", text, diagnostics, hint=hint)
    if not found:
        return error
    first = found[0]
    code = f" {first.code}:" if first.code else ""
    count = f"{len(found)} errors; " if len(found) > 1 else ""
    head = f"{name}: cargo failed on {path}: {count}{first.file}:{first.line}:{first.column}:{code} {first.message}"
    return BuildError(f"{head}\n\n{error.msg.partition(chr(10) * 2)[2]}", name=name, path=path, diagnostics=diagnostics)


def _without_noise(said: str) -> str:
    """What cargo says without its progress, and of a failed build script only what it said itself."""
    lines = [
        line for line in said.splitlines() if not re.match(r"\s+(Compiling|Fresh|Finished|Down|Updating|Lock)", line)
    ]
    kept: list[str] = []
    skipping = False
    for line in lines:
        if line.strip() == "--- stdout":
            skipping = True
        elif line.strip() == "--- stderr":
            skipping = False
        elif not skipping:
            kept.append(line)
    return "\n".join(kept)


def bad_manifest(name: str, path: str, line: int, reason: str) -> BuildError:
    """The manifest inside of a single Rust file."""
    where = f"{path}:{line}" if line else path
    return BuildError(
        f"{name}: the manifest in {where} can't be understood: {reason}.",
        name=name,
        path=path,
        diagnostics=[Diagnostic(path, line, 1 if line else 0, reason)],
    )


def no_library(name: str, path: str) -> BuildError:
    """cargo made no dynamic library."""
    return BuildError(
        f"{name}: cargo compiled {path} to no library that can be loaded: the crate needs a `[lib]` target "
        "(src/lib.rs), not only binaries or a procedural macro.",
        name=name,
        path=path,
    )


def maturin_failed(name: str, path: str, said: str) -> BuildError:
    """The crate compiles, and maturin made no package of it."""
    hint = ""
    if "uniffi-bindgen" in said:
        hint = (
            "UniFFI's bindings are written by `uniffi-bindgen`: give the crate a binary of this name that calls "
            "`uniffi::uniffi_bindgen_main()`, with the `cli` feature of `uniffi`, or `pip install uniffi-bindgen` of "
            "the crate's version."
        )
    elif match := re.search(r"File (\S+)/[^/\s]+ overwrote an existing tracked file", said):
        hint = f"{match[1]} is left over from `maturin develop`: remove it from the source tree, which needs none now."
    return compile_failed(name, path, "maturin", _without_noise(said), [], hint=hint)


def no_package_in_wheel(name: str, path: str, held: Sequence[str]) -> BuildError:
    """maturin made something else than was expected."""
    there = ", ".join(sorted(held)) or "nothing"
    return BuildError(
        f"{name}: maturin's wheel for {path} has no package {name} with a library in it, but {there}.\n"
        "Say in [tool.maturin] what it is to be: `bindings` and `module-name`.",
        name=name,
        path=path,
    )


def no_rust_cpython(name: str, path: str) -> BuildError:
    """rust-cpython ended with Python 3.12."""
    import platform

    return BuildError(
        f"{name}: {path} is written with rust-cpython, which is no longer developed and does not know Python "
        f"{platform.python_version()}. Import it with Python 3.13 or older, or move the crate to PyO3 "
        "(`cpython` and `pyo3` differ in little: https://pyo3.rs).",
        name=name,
        path=path,
    )
