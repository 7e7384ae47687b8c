"""Finding cargo and what it compiles with."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass

from .. import errors, keys, manifest, process
from ..plan import Tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sources import Source

__all__ = ["Rust", "cargo_home", "find", "toolchain_files"]


@dataclass(frozen=True, slots=True)
class Rust:
    """A Rust toolchain.

    Attributes:
        cargo: the program to start.
        version: rustc's version in one line.
        release: rustc's version.
        host: the target triple that it compiles for by itself.
        identity: digest of all that ``rustc -vV`` says.
        files: programs whose stat identity tells that they have been replaced, and rustup's settings.
        pinned: the name that rustup knows it by, if cargo is started past rustup; else ``""``.
    """

    cargo: str
    version: str
    release: str
    host: str
    identity: str
    files: tuple[str, ...]
    pinned: str

    def tool(self) -> Tool:
        """As a plan has it."""
        return Tool("rustc", self.version, self.identity, self.files)

    def environment(self) -> dict[str, str]:
        """What must be set where cargo is started past rustup."""
        return {"RUSTUP_TOOLCHAIN": self.pinned} if self.pinned else {}


#: What was asked for -> the answer, and the stat identities of its files then.
_known: dict[tuple[object, ...], tuple[Rust, list[object]]] = {}


def find(folder: str, source: Source) -> Rust:
    """The Rust toolchain that cargo would use in ``folder``.

    Raises:
        ToolchainMissing: there is no cargo, or rustup has no toolchain for it.
    """
    cargo, rustc = _program("cargo"), os.environ.get("RUSTC") or _program("rustc")
    if cargo is None or rustc is None:
        raise errors.no_cargo(source.name, source.path)
    pins, _ = toolchain_files(folder)
    seen = {path: manifest.identity(path) for path in (cargo, rustc, *pins, _settings())}
    asked = (cargo, rustc, pins, os.environ.get("RUSTUP_TOOLCHAIN"), tuple(seen.items()), _overridden(folder))
    if asked in _known:
        found, files = _known[asked]
        if files == list(map(manifest.identity, found.files)):
            return found
    found = _remembered(asked) or _ask(cargo, rustc, folder, source, pins, asked)
    _known[asked] = found, list(map(manifest.identity, found.files))
    return found


def cargo_home() -> str:
    """Where cargo keeps its configuration and what it downloads."""
    return os.environ.get("CARGO_HOME") or os.path.join(os.path.expanduser("~"), ".cargo")


def toolchain_files(folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The file that pins the toolchain for a folder, if there is one, and where one was looked for in vain."""
    absent: list[str] = []
    here = folder
    while True:
        for name in ("rust-toolchain", "rust-toolchain.toml"):
            path = os.path.join(here, name)
            if os.path.isfile(path):
                return (path,), tuple(absent)
            absent.append(path)
        above = os.path.dirname(here)
        if above == here:
            return (), tuple(absent)
        here = above


def _program(name: str) -> str | None:
    return process.find_program(name) or process.find_program(os.path.join(cargo_home(), "bin", name))


def _settings() -> str:
    home = os.environ.get("RUSTUP_HOME") or os.path.join(os.path.expanduser("~"), ".rustup")
    return os.path.join(home, "settings.toml")


def _overridden(folder: str) -> str:
    """The folder, where rustup has an override for some folder: it may be meant."""
    with contextlib.suppress(OSError), open(_settings(), encoding="utf-8", errors="replace") as file:
        overrides = file.read().partition("[overrides]")[2]
        if "=" in overrides.partition("\n[")[0]:
            return folder
    return ""


def _ask(cargo: str, rustc: str, folder: str, source: Source, pins: tuple[str, ...], asked: tuple[object, ...]) -> Rust:
    env = process.environment()
    env.pop("RUST_BACKTRACE", None)
    started = time.time_ns()

    def said(*words: str) -> list[str]:
        try:
            told = process.run([rustc, *words], cwd=folder, env=env, apart=True)
        except OSError as error:
            raise errors.no_rust_toolchain(source.name, source.path, str(error), pins) from None
        if told.status != 0:
            raise errors.no_rust_toolchain(source.name, source.path, told.errors or told.output, pins)
        return told.output.splitlines()

    # Not in one call: with -V, rustc prints nothing else.
    lines = said("-vV")
    facts = dict(line.split(": ", 1) for line in lines if ": " in line)
    sysroot = next(iter(said("--print", "sysroot")), "")
    own = os.path.join(sysroot, "bin", os.path.basename(cargo))
    compiler = os.path.join(sysroot, "bin", os.path.basename(rustc))
    pinned = ""
    if os.path.basename(os.path.dirname(sysroot)) == "toolchains" and os.path.isfile(own):
        # rustup's stand-in takes longer to start than cargo needs for a look at a small crate.
        pinned = os.path.basename(sysroot)
    files = [path for path in (own if pinned else cargo, compiler, rustc, _settings()) if os.path.isfile(path)]
    found = Rust(
        own if pinned else cargo,
        lines[0] if lines else "rustc",
        facts.get("release", ""),
        facts.get("host", ""),
        keys.digest(lines),
        tuple(dict.fromkeys(os.path.realpath(path) for path in files)),
        pinned,
    )
    _remember(asked, found, started)
    return found


# Rust starts slowly through rustup: the answer is kept for as long as the programs are the same files.


def _place(asked: tuple[object, ...]) -> str:
    from ..store import open_store

    return f"{open_store().bucket}/tools/rust-{keys.digest(repr(asked))}.json"


def _remembered(asked: tuple[object, ...]) -> Rust | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with open(_place(asked), encoding="utf-8") as file:
            told = json.load(file)
        if all(list(manifest.identity(path) or ()) == seen for path, seen in told["seen"]):
            return Rust(**{**told["rust"], "files": tuple(told["rust"]["files"])})
    return None


def _remember(asked: tuple[object, ...], found: Rust, started: int) -> None:
    from ..store import replace

    data = {slot: getattr(found, slot) for slot in Rust.__slots__}
    seen = [[path, keys.settled(path, started)] for path in found.files]
    with contextlib.suppress(OSError):
        replace(_place(asked), json.dumps({"seen": seen, "rust": data}).encode())
