"""What Cargo.toml files say that matters before cargo runs: a crate's library, its workspace, its neighbours."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = [
    "Crate",
    "dependency",
    "locked_version",
    "needs",
    "path_crates",
    "read_crate",
    "read_toml",
    "table_of",
    "to_toml",
    "version_numbers",
    "workspace_of",
]

#: The tables of a manifest that name dependencies; also below `target.*`.
_DEPENDENCIES = ("dependencies", "build-dependencies")


@dataclass(frozen=True, slots=True)
class Crate:
    """A package with its library, as its manifest tells.

    Attributes:
        manifest: absolute path of its Cargo.toml.
        package: the package's name.
        library: absolute path of the library's root file; None where it has no library.
        library_name: the library's name in Rust.
        kinds: the library's crate types.
        build_script: absolute path of its build script, or None.
        table: the whole manifest.
    """

    manifest: str
    package: str
    library: str | None
    library_name: str
    kinds: tuple[str, ...]
    build_script: str | None
    table: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Where the manifest is."""
        return os.path.dirname(self.manifest)

    @property
    def expected(self) -> str:
        """The library's root file; where it has no library, the usual place of one."""
        return self.library or os.path.join(self.folder, "src", "lib.rs")


def read_toml(path: str) -> dict[str, Any]:
    """A parsed TOML file; empty where there is none. What can't be parsed is cargo's to explain."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError):
        return {}


def read_crate(manifest: str) -> Crate:
    """The crate that a Cargo.toml describes."""
    table = read_toml(manifest)
    folder = os.path.dirname(manifest)
    package = table_of(table, "package")
    # What can't be parsed is a crate all the same, and cargo tells what is wrong with it.
    name = str(package.get("name", "")) if table else os.path.basename(folder)
    lib = table_of(table, "lib")
    told = os.path.normpath(os.path.join(folder, str(lib.get("path") or "src/lib.rs")))
    kinds = lib.get("crate-type", lib.get("crate_type", ("lib",)))
    build = package.get("build", "build.rs")
    script = os.path.normpath(os.path.join(folder, build)) if isinstance(build, str) else None
    return Crate(
        manifest,
        name,
        told if name and os.path.isfile(told) else None,
        str(lib.get("name") or name.replace("-", "_")),
        tuple(str(kind) for kind in kinds) if isinstance(kinds, list | tuple) else (str(kinds),),
        script if script is not None and os.path.isfile(script) else None,
        table,
    )


def workspace_of(crate: Crate) -> tuple[str, list[str]]:
    """The Cargo.toml of the crate's workspace (its own, where it is in none), and where one was looked for in vain."""
    if "workspace" in crate.table:
        return crate.manifest, []
    told = table_of(crate.table, "package").get("workspace")
    if isinstance(told, str):
        return os.path.normpath(os.path.join(crate.folder, told, "Cargo.toml")), []
    absent: list[str] = []
    here = os.path.dirname(crate.folder)
    while True:
        path = os.path.join(here, "Cargo.toml")
        if os.path.isfile(path):
            workspace = read_toml(path).get("workspace")
            if isinstance(workspace, dict):
                excluded = workspace.get("exclude", ())
                places = [os.path.normpath(os.path.join(here, str(one))) for one in excluded]
                if any((crate.folder + os.sep).startswith(place + os.sep) for place in places):
                    return crate.manifest, absent
                return path, absent
        else:
            absent.append(path)
        above = os.path.dirname(here)
        if above == here:
            return crate.manifest, absent
        here = above


def path_crates(crate: Crate, workspace: str) -> list[Crate]:
    """The crate and those that it depends on by path, directly or not."""
    shared = table_of(table_of(read_toml(workspace), "workspace"), "dependencies") if workspace else {}
    found: dict[str, Crate] = {}
    waiting = [crate]
    while waiting:
        one = waiting.pop()
        if one.manifest in found:
            continue
        found[one.manifest] = one
        for name, told in _dependencies(one.table):
            base, spec = one.folder, told
            if told.get("workspace") is True and isinstance(shared.get(name), dict):
                base, spec = os.path.dirname(workspace), shared[name]
            if isinstance(spec.get("path"), str):
                path = os.path.normpath(os.path.join(base, spec["path"], "Cargo.toml"))
                if os.path.isfile(path):
                    waiting.append(read_crate(path))
    return list(found.values())


def dependency(crate: Crate, package: str, workspace: str) -> dict[str, Any] | None:
    """What the crate says of its own dependency on a package: ``version``, ``features``, … ; None where it has none.

    The key ``name`` is what the manifest calls it.
    """
    shared = table_of(table_of(read_toml(workspace), "workspace"), "dependencies")
    for name, told in _dependencies(crate.table):
        spec = dict(told)
        if spec.get("workspace") is True and name in shared:
            inherited = shared[name]
            inherited = inherited if isinstance(inherited, dict) else {"version": inherited}
            features = [*inherited.get("features", ()), *spec.get("features", ())]
            spec = {**inherited, **spec, "features": features}
        if spec.get("package", name) == package:
            return {**spec, "name": name}
    return None


def needs(crate: Crate) -> list[str]:
    """Names of the packages that the crate depends on."""
    return [str(told.get("package", name)) for name, told in _dependencies(crate.table)]


def locked_version(lock: str, package: str) -> tuple[int, ...] | None:
    """The version of a package in a Cargo.lock, as numbers; None where it is not there."""
    for one in read_toml(lock).get("package", ()):
        if isinstance(one, dict) and one.get("name") == package:
            return version_numbers(str(one.get("version", "")))
    return None


def version_numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version or a requirement: ``^0.25.1-rc`` gives (0, 25, 1)."""
    numbers = []
    for part in text.strip().lstrip("^~=>< ").split("-")[0].split(",")[0].split("."):
        if not part.strip().isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _dependencies(table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    targets = [one for one in table_of(table, "target").values() if isinstance(one, dict)]
    for place in (table, *targets):
        for kind in _DEPENDENCIES:
            for name, told in table_of(place, kind).items():
                yield name, told if isinstance(told, dict) else {"version": str(told)}


def table_of(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A table inside of another one; empty where there is none."""
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML of a parsed manifest: a table for each key, all below it inline."""
    plain = [f"{json.dumps(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            plain += [
                "",
                f"[{json.dumps(key)}]",
                *(f"{json.dumps(one)} = {_value(told)}" for one, told in value.items()),
            ]
    return "\n".join(plain) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
