"""What setuptools-rust is told of a project: in its pyproject.toml, or in a setup.py, which is read and never run."""

from __future__ import annotations

import ast
import warnings

from .crates import table_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

__all__ = ["in_pyproject", "in_setup"]

#: The arguments of a ``RustExtension`` in their order, as far as they are given without a name.
_ORDER = ("target", "path", "args", "cargo_manifest_args", "features", "rustc_flags")
#: Those that decide what is compiled: unless all can be read, none is of use.
_MATTER = (*_ORDER, "native", "binding")
#: How text turns out to be none that can be read, or a literal none that there can be.
_UNREADABLE = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


def in_pyproject(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The modules in a parsed pyproject.toml, each with the keys that ``RustExtension`` has."""
    told = table_of(table_of(data, "tool"), "setuptools-rust").get("ext-modules")
    found: list[dict[str, Any]] = []
    for table in told if isinstance(told, list) else ():
        if isinstance(table, dict):
            found += _named({str(key).replace("-", "_"): value for key, value in table.items()})
    return found


def in_setup(path: str) -> list[dict[str, Any]] | None:
    """The modules that a setup.py makes, as `in_pyproject`; None where it makes none with setuptools-rust.

    What is not written down (but computed, or behind a condition that changes arguments) can't be known without running
    the file, so it is left out.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return None
    if b"RustExtension" not in text:
        return None
    try:
        with warnings.catch_warnings():
            # It is not the file that runs; where warnings are errors, it would be no Python.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except _UNREADABLE:
        return []
    values = _constants(tree)
    found: list[dict[str, Any]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) == "RustExtension":
            table = _arguments(node, values)
            found += _named(table) if table is not None else []
    return found


def _named(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A table for each module: several may come from one crate."""
    target = table.get("target")
    for name in target.values() if isinstance(target, dict) else [target]:
        if isinstance(name, str):
            yield {**table, "target": name}


def _arguments(call: ast.Call, values: Mapping[str, ast.expr]) -> dict[str, Any] | None:
    given: list[tuple[str | None, ast.expr]] = [*zip(_ORDER, call.args, strict=False)]
    given += [(keyword.arg, keyword.value) for keyword in call.keywords]
    if any(name is None for name, _ in given) or any(isinstance(one, ast.Starred) for one in call.args):
        return None
    table: dict[str, Any] = {}
    for name, node in given:
        if name == "binding":
            if _last(node) == "Exec":
                return None
        elif name in _MATTER:
            try:
                table[name] = ast.literal_eval(values.get(node.id, node) if isinstance(node, ast.Name) else node)
            except _UNREADABLE:
                return None
    return table


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are given a value exactly once, at the top of the file."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    changed = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return {name: value for name, value in found.items() if changed.count(name) == 1}


def _last(node: ast.expr) -> str:
    """``RustExtension`` of that and of ``setuptools_rust.RustExtension``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
