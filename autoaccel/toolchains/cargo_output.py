"""What cargo says and leaves behind: its messages, its notes on files and environment variables."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass

from ..errors import Diagnostic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["Read", "Said", "Script", "Unit", "dep_info", "missing_files", "noted_since", "parse", "read_of"]

_LIBRARIES = (".so", ".dylib", ".dll")
#: What cargo itself sets for the code that it compiles.
_CARGOS = re.compile(
    r"CARGO$|CARGO_(PKG|MANIFEST|CRATE|BIN|PRIMARY|TARGET_TMPDIR)|OUT_DIR$|TARGET$|HOST$|PROFILE$|CARGO_CFG"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that cargo compiled, or found to be fresh.

    Attributes:
        package: the package's name.
        local: whether its source is a folder of the user's.
        manifest: its Cargo.toml.
        kinds: of the target: ``"cdylib"``, ``"lib"``, ``"custom-build"``, …
        files: what came out.
        fresh: whether nothing had to be done.
    """

    package: str
    local: bool
    manifest: str
    kinds: tuple[str, ...]
    files: tuple[str, ...]
    fresh: bool

    @property
    def library(self) -> str | None:
        """The dynamic library among the files."""
        return next((path for path in self.files if path.endswith(_LIBRARIES)), None)


@dataclass(frozen=True, slots=True)
class Script:
    """A build script that has run, now or earlier.

    Attributes:
        package: the package's name.
        local: whether its source is a folder of the user's.
        out: its output folder.
        sets: environment variables that it sets for the compiler.
        links: libraries that it links.
    """

    package: str
    local: bool
    out: str
    sets: tuple[str, ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """All messages of a run."""

    units: tuple[Unit, ...]
    scripts: tuple[Script, ...]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """What a library was made from, beyond the manifests.

    Attributes:
        files: file or folder (for its listing) -> the packages that read it.
        absent: paths that a build script asked for in vain.
        env: environment variables.
    """

    files: dict[str, frozenset[str]]
    absent: tuple[str, ...]
    env: tuple[str, ...]

    def without(self, prefix: str) -> Read:
        """The same with the beginning of all paths taken off, where they have it."""
        files: dict[str, frozenset[str]] = {}
        for path, readers in self.files.items():
            bare = path.removeprefix(prefix)
            files[bare] = files.get(bare, frozenset()) | readers
        return Read(files, tuple(path.removeprefix(prefix) for path in self.absent), self.env)


def parse(output: str, root: str) -> Said:
    """The messages that cargo printed as JSON.

    Args:
        output: its stdout.
        root: the folder that relative paths in rustc's messages are meant from.
    """
    units: list[Unit] = []
    scripts: list[Script] = []
    diagnostics: list[Diagnostic] = []
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        package = str(told.get("package_id", ""))
        name, local = _package_name(package), package.startswith("path+")
        kind = told.get("reason")
        if kind == "compiler-artifact":
            files = tuple(told["filenames"])
            kinds = tuple(told["target"]["kind"])
            units.append(Unit(name, local, told["manifest_path"], kinds, files, bool(told["fresh"])))
        elif kind == "build-script-executed":
            sets = tuple(pair[0] for pair in told.get("env", ()))
            scripts.append(Script(name, local, told["out_dir"], sets, tuple(told.get("linked_libs", ()))))
        elif kind == "compiler-message":
            found = _diagnostic(told["message"], root)
            if found is not None:
                diagnostics.append(found)
    return Said(tuple(units), tuple(scripts), tuple(diagnostics))


def read_of(said: Said, unit: Unit, root: str) -> Read:
    """What the library of ``unit`` was made from, as cargo, rustc and the build scripts noted it down.

    Args:
        said: cargo's messages.
        unit: the library.
        root: the workspace's folder.
    """
    folders = {one.package: os.path.dirname(one.manifest) for one in said.units if one.local}
    readers: dict[str, set[str]] = {}
    absent: list[str] = []
    env: dict[str, None] = {}
    for one in said.units:
        if one.local:
            for note in _inner_notes(one):
                # rustc runs in the workspace's folder for its members, in their own for other packages.
                for base in (root, folders[one.package]):
                    paths, names = dep_info(note, base)
                    env.update(dict.fromkeys(names))
                    for path in paths:
                        readers.setdefault(path, set()).add(one.package)
    for script in said.scripts:
        paths, names, any_rule = _script_rules(script)
        env.update(dict.fromkeys(names))
        if not script.local:
            continue
        folder = folders.get(script.package, "")
        # A script that names nothing depends on its whole package.
        for path in [os.path.normpath(os.path.join(folder, path)) for path in paths] if any_rule else [folder]:
            if not os.path.exists(path):
                absent.append(path)
            for inside in _all_of(path):
                readers.setdefault(inside, set()).add(script.package)
    files = {path: frozenset(names) for path, names in readers.items() if os.path.exists(path)}
    library = unit.library or ""
    for path in dep_info(os.path.splitext(library)[0] + ".d", folders[unit.package])[0]:
        # In cargo's own note alone: of whom it is, nobody says.
        files.setdefault(path, frozenset(folders))
    for script in said.scripts:
        for name in script.sets:
            env.pop(name, None)
    return Read(files, tuple(absent), tuple(name for name in env if not _CARGOS.match(name) and name != "PATH"))


def dep_info(path: str, base: str) -> tuple[list[str], list[str]]:
    """The files and environment variables that a ``.d`` file of rustc or cargo names."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return [], []
    files: dict[str, None] = {}
    env: dict[str, None] = {}
    for line in text.splitlines():
        if line.startswith("# env-dep:"):
            env[line.removeprefix("# env-dep:").partition("=")[0]] = None
            continue
        _, found, rest = line.partition(": ")
        if found and not line.startswith("#"):
            for word in re.findall(r"(?:\\.|[^\\\s])+", rest):
                files[os.path.normpath(os.path.join(base, re.sub(r"\\(.)", r"\1", word)))] = None
    return list(files), list(env)


def noted_since(folder: str, moment: int, bases: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files and environment variables in those of rustc's notes that are not older than a moment.

    Args:
        folder: a build folder.
        moment: in ns.
        bases: the folders that relative paths may be meant from.
    """
    files: dict[str, None] = {}
    env: dict[str, None] = {}
    # File systems' clocks tick less often than ours, some once in two seconds.
    moment, second = moment - 20_000_000, moment - 2_000_000_000
    for inside, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("incremental", ".fingerprint")]
        for note in [os.path.join(inside, name) for name in names if name.endswith(".d")]:
            with suppress(OSError):
                written = os.stat(note).st_mtime_ns
                if written >= (moment if written % 1_000_000_000 else second):
                    for base in bases:
                        paths, variables = dep_info(note, base)
                        files.update(dict.fromkeys(filter(os.path.isfile, paths)))
                        env.update(dict.fromkeys(variables))
    inner = folder + os.sep
    return [path for path in files if not path.startswith(inner)], [name for name in env if not _CARGOS.match(name)]


def missing_files(said: Diagnostic) -> list[str]:
    """The files that rustc wants and does not find, by one of its messages."""
    unread = re.match(r"couldn't read `(.*?)`", said.message)
    if unread is not None:
        return [unread[1]]
    if said.code != "E0583":
        return []
    advised = re.search(r'create file "(.*?)"(?: or "(.*?)")?', said.rendered)
    return [path for path in advised.groups() if path] if advised is not None else []


def _inner_notes(unit: Unit) -> Iterator[str]:
    """Where rustc's own notes on a unit may be; they alone name environment variables."""
    for path in unit.files:
        folder, file = os.path.split(path)
        stem = os.path.splitext(file)[0]
        for name in (stem, stem.removeprefix("lib")):
            for place in (folder, os.path.join(folder, "deps")):
                if name != stem or place != folder:
                    yield os.path.join(place, name + ".d")


def _script_rules(script: Script) -> tuple[list[str], list[str], bool]:
    """The paths and variables that a build script asks to be run again for, and whether it asks for anything."""
    text = ""
    for name in ("output", "stdout"):
        try:
            with open(os.path.join(os.path.dirname(script.out), name), encoding="utf-8", errors="replace") as file:
                text = file.read()
            break
        except OSError:
            continue
    paths: list[str] = []
    names: list[str] = []
    for line in text.splitlines():
        match = re.match(r"cargo::?rerun-if-(changed|env-changed)=(.*)", line.strip())
        if match is not None:
            (paths if match[1] == "changed" else names).append(match[2])
    return paths, names, bool(paths or names)


def _all_of(path: str) -> Iterator[str]:
    """A file, or a folder with all that is in it."""
    if not os.path.isdir(path):
        if os.path.isfile(path):
            yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(one for one in folders if one not in ("target", ".git", "__pycache__"))
        yield folder
        yield from (os.path.join(folder, name) for name in sorted(files) if name != "Cargo.lock")


def _package_name(identity: str) -> str:
    """The name in a package id: ``…#name@1.0``, ``…/name#1.0`` or, before cargo 1.77, ``name 1.0 (…)``."""
    if " " in identity and "#" not in identity:
        return identity.partition(" ")[0]
    place, _, rest = identity.rpartition("#")
    if "@" in rest:
        return rest.partition("@")[0]
    return rest if rest and not rest[0].isdigit() else place.rstrip("/").rpartition("/")[2].partition("?")[0]


def _diagnostic(message: dict[str, Any], root: str) -> Diagnostic | None:
    level = str(message.get("level", ""))
    if level == "failure-note":
        return None
    spans: Iterable[dict[str, Any]] = message.get("spans") or ()
    span = next((one for one in spans if one.get("is_primary")), None)
    rendered = str(message.get("rendered") or message.get("message", ""))
    code = message.get("code") or {}
    file = os.path.normpath(os.path.join(root, span["file_name"])) if span is not None else ""
    return Diagnostic(
        file,
        span["line_start"] if span is not None else 0,
        span["column_start"] if span is not None else 0,
        str(message.get("message", "")),
        level="error" if level.startswith("error") else level,
        code=str(code.get("code", "")),
        rendered=rendered,
    )
