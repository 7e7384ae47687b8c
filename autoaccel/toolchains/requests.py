"""What a project asks of cargo for a module: in Cargo.toml, as maturin or as setuptools-rust has it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from .. import crates, rustextensions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..crates import Crate
    from ..settings import Settings
    from ..sources import Source

__all__ = ["Request", "of_crate"]


#: Arguments of cargo that are keys in the tables.
_SWITCHES = ("no-default-features", "all-features", "locked", "frozen", "offline")


@dataclass(frozen=True, slots=True)
class Request:
    """How cargo is to be called.

    Attributes:
        profile: cargo's profile; None for ours.
        features: to switch on.
        flags: further arguments of cargo.
        arguments: further arguments of rustc for the crate itself.
        files: where that stands or may stand, beside the manifest and pyproject.toml; some may not be there.
    """

    profile: str | None = None
    features: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def of_crate(source: Source, crate: Crate, how: Settings) -> Request:
    """What the manifest, the pyproject.toml and the setup.py that govern a module say."""
    package = crate.table.get("package")
    metadata = package.get("metadata") if isinstance(package, dict) else None
    tables = [metadata.get("autoaccel")] if isinstance(metadata, dict) else []
    # A key that `settings.taken` does not know of is not there.
    for data in how.taken.values():
        tables += _maturin(crates.table_of(data, "tool").get("maturin"), crate, how.root)
        tables += _setuptools(rustextensions.in_pyproject(data), source.name)
    files = tuple(dict.fromkeys(os.path.join(folder, "setup.py") for folder in (how.root, crate.folder)))
    for path in files:
        tables += _setuptools(rustextensions.in_setup(path) or [], source.name)
    merged = Request(files=files)
    for table in tables:
        if isinstance(table, dict):
            merged = _plus(merged, table)
    return merged


def _maturin(table: object, crate: Crate, root: str) -> list[Mapping[str, Any]]:
    """maturin's table, where it is about this crate."""
    if not isinstance(table, dict):
        return []
    told = table.get("manifest-path")
    paths = [told] if isinstance(told, str) else ["Cargo.toml", "rust/Cargo.toml"]
    if crate.manifest not in [os.path.normpath(os.path.join(root, path)) for path in paths]:
        return []
    features = table.get("features")
    if isinstance(features, list):
        table = {**table, "features": [name for one in features for name in _feature(one)]}
    return [table]


def _feature(told: object) -> list[str]:
    """A feature, where it is for this Python: maturin takes a table in the place of its name."""
    if not isinstance(told, dict):
        return [str(told)]
    implementation = told.get("python-implementation", sys.implementation.name)
    wanted = str(implementation).lower() == sys.implementation.name and _fits(str(told.get("python-version", "")))
    return [str(told["feature"])] if wanted and "feature" in told else []


def _fits(specifiers: str) -> bool:
    """Whether this Python, as major and minor version, is what version specifiers (PEP 440) ask for."""
    for clause in filter(None, map(str.strip, specifiers.split(","))):
        match = re.fullmatch(r"(~=|==|!=|<=|>=|<|>)\s*(\d+(?:\.\d+)*)(\.\*)?", clause)
        if match is None:
            return False
        numbers = tuple(map(int, match[2].split(".")))
        here = (*sys.version_info[:2], *(0,) * (len(numbers) - 2))
        asked = (*numbers, *(0,) * (2 - len(numbers)))
        equal = here[: len(numbers)] == numbers if match[3] else here == asked
        compatible = here >= asked and here[: len(numbers) - 1] == numbers[:-1]
        answers = {
            "==": equal,
            "!=": not equal,
            "~=": compatible,
            "<=": here <= asked,
            ">=": here >= asked,
            "<": here < asked,
            ">": here > asked,
        }
        if not answers[match[1]]:
            return False
    return True


def _setuptools(modules: list[dict[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The tables of setuptools-rust that have this module as their target, in maturin's words."""
    found: list[Mapping[str, Any]] = []
    for one in modules:
        if one["target"] == name:
            arguments = [*_words(one, "rustc_flags"), *(["-Ctarget-cpu=native"] if one.get("native") is True else [])]
            flags = [*_words(one, "cargo_manifest_args"), *_words(one, "args")]
            found.append({"features": one.get("features"), "args": flags, "rustc-args": arguments})
    return found


def _plus(merged: Request, table: Mapping[str, Any]) -> Request:
    flags = [f"--{key}" for key in _SWITCHES if table.get(key) is True]
    if table.get("default-features") is False:
        flags.append("--no-default-features")
    told, flags = _profile([*flags, *_words(table, "args"), *_words(table, "cargo-extra-args")])
    # cargo takes these once only.
    once = {f"--{key}" for key in _SWITCHES}
    flags = [*merged.flags, *flags]
    flags = [word for place, word in enumerate(flags) if word not in once or word not in flags[:place]]
    for value in _words(table, "config"):
        flags += ["--config", value]
    for value in _words(table, "unstable-flags"):
        flags += ["-Z", value]
    profile = table.get("profile", told)
    return Request(
        profile if isinstance(profile, str) else merged.profile,
        tuple(dict.fromkeys((*merged.features, *_words(table, "features")))),
        tuple(flags),
        (*merged.arguments, *_words(table, "rustc-args")),
        merged.files,
    )


def _profile(flags: list[str]) -> tuple[str | None, list[str]]:
    """The profile that arguments of cargo name, and the other arguments: it can be named once only."""
    profile: str | None = None
    others: list[str] = []
    words = iter(flags)
    for word in words:
        if word == "--profile":
            profile = next(words, None)
        elif word.startswith("--profile="):
            profile = word.removeprefix("--profile=")
        elif word in ("--release", "-r"):
            profile = "release"
        else:
            others.append(word)
    return profile, others


def _words(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key)
    if isinstance(value, str):
        return value.split()
    return [str(word) for word in value] if isinstance(value, list) else []
