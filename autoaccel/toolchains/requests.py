"""What a project asks of cargo for a module: in Cargo.toml, as maturin or as setuptools-rust has it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .. import crates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..crates import Crate
    from ..settings import Settings
    from ..sources import Source

__all__ = ["Request", "of_crate"]


@dataclass(frozen=True, slots=True)
class Request:
    """How cargo is to be called.

    Attributes:
        profile: cargo's profile; None for ours.
        features: to switch on.
        flags: further arguments of cargo.
        arguments: further arguments of rustc for the crate itself.
    """

    profile: str | None = None
    features: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def of_crate(source: Source, crate: Crate, how: Settings) -> Request:
    """What the manifest and the pyproject.toml that govern a module say."""
    package = crate.table.get("package")
    metadata = package.get("metadata") if isinstance(package, dict) else None
    tables = [metadata.get("autoaccel")] if isinstance(metadata, dict) else []
    for path in how.inputs:
        tool = crates.read_toml(path).get("tool")
        if isinstance(tool, dict):
            tables += _maturin(tool.get("maturin"), crate, how.root)
            tables += _setuptools(tool.get("setuptools-rust"), source.name)
    merged = Request()
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
    return [table] if crate.manifest in [os.path.normpath(os.path.join(root, path)) for path in paths] else []


def _setuptools(table: object, name: str) -> list[Mapping[str, Any]]:
    """The table of setuptools-rust that has this module as its target."""
    modules = table.get("ext-modules") if isinstance(table, dict) else None
    return [one for one in modules or () if isinstance(one, dict) and one.get("target") == name]


def _plus(merged: Request, table: Mapping[str, Any]) -> Request:
    switches = ("no-default-features", "all-features", "locked", "frozen", "offline")
    flags = [*merged.flags, *(f"--{key}" for key in switches if table.get(key) is True)]
    if table.get("default-features") is False:
        flags.append("--no-default-features")
    flags += _words(table, "args") + _words(table, "cargo-extra-args")
    for value in _words(table, "config"):
        flags += ["--config", value]
    for value in _words(table, "unstable-flags"):
        flags += ["-Z", value]
    profile = table.get("profile")
    return Request(
        profile if isinstance(profile, str) else merged.profile,
        tuple(dict.fromkeys((*merged.features, *_words(table, "features")))),
        tuple(flags),
        (*merged.arguments, *_words(table, "rustc-args"), *_words(table, "rust-args")),
    )


def _words(table: Mapping[str, Any], key: str) -> list[str]:
    value = table.get(key)
    if isinstance(value, str):
        return value.split()
    return [str(word) for word in value] if isinstance(value, list) else []
