"""Which modules a project's crates are, as maturin, setuptools-rust and Cargo.toml itself have it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .content import claims
from .crates import read_crate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .crates import Crate

__all__ = ["Found", "of_crate", "of_project"]

#: Bindings of maturin that cargo alone can't make importable.
_OTHER_BINDINGS = ("cffi", "uniffi", "bin")


@dataclass(slots=True)
class Found:
    """What was found out, and what it depends on.

    Attributes:
        modules: full name -> (the crate's Cargo.toml, toolchain, whether a package).
        files: files that were read, beside the project file.
        absent: paths whose appearance would change the answer.
    """

    modules: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)

    @property
    def read(self) -> tuple[str, ...]:
        """The files, without those that are missing."""
        return tuple(path for path in self.files if os.path.exists(path))

    @property
    def absent(self) -> tuple[str, ...]:
        """The paths that must stay absent."""
        return tuple({**self.missing, **{path: None for path in self.files if not os.path.exists(path)}})

    def exists(self, path: str) -> bool:
        """Whether there is such a path, noted down."""
        there = os.path.exists(path)
        (self.files if there else self.missing)[path] = None
        return there

    def crate(self, manifest: str) -> Crate | None:
        """The crate of an extension module, or None where it is none."""
        self.files[manifest] = None
        crate = read_crate(manifest)
        if claims(crate.library_name, manifest):
            return crate
        # It may become one without a change of the manifest.
        self.files[crate.library or os.path.join(crate.folder, "src", "lib.rs")] = None
        return None


def of_project(data: Mapping[str, Any], root: str) -> Found:
    """The modules that a parsed pyproject.toml in ``root`` declares."""
    found = Found()
    tool = _table(data, "tool")
    backend = _table(data, "build-system").get("build-backend")
    if "maturin" in tool or backend == "maturin":
        _maturin(found, data, _table(tool, "maturin"), root)
    modules = _table(tool, "setuptools-rust").get("ext-modules")
    for table in modules if isinstance(modules, list) else ():
        target = table.get("target") if isinstance(table, dict) else None
        if isinstance(target, str):
            manifest = os.path.normpath(os.path.join(root, str(table.get("path", "Cargo.toml"))))
            found.files[manifest] = None
            if os.path.isfile(manifest):
                found.modules[target] = (manifest, "cargo", False)
    return found


def of_crate(manifest: str) -> Found:
    """The modules of a crate whose folder is on the path: its library, unless a pyproject.toml there says otherwise."""
    from .settings import read_project

    found = Found()
    folder = os.path.dirname(manifest)
    crate = found.crate(manifest)
    metadata = _table(_table(_table(crate.table, "package"), "metadata"), "autoaccel") if crate is not None else {}
    told = metadata.get("modules", metadata.get("module"))
    names = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    if crate is not None and not names:
        pyproject = os.path.join(folder, "pyproject.toml")
        if found.exists(pyproject):
            try:
                other = of_project(read_project(pyproject), folder)
            except ImportError:  # it can't be understood
                other = Found()
            if any(file == manifest for file, _, _ in other.modules.values()):
                return found
        names = [crate.library_name]
    found.modules.update((str(name), (manifest, "cargo", False)) for name in names)
    return found


def _maturin(found: Found, data: Mapping[str, Any], table: Mapping[str, Any], root: str) -> None:
    """maturin's rules (its `project_layout.rs`)."""
    if table.get("bindings") in _OTHER_BINDINGS:
        return
    project = str(_table(data, "project").get("name", ""))
    told = table.get("manifest-path")
    source = table.get("python-source")
    manifest = os.path.join(root, told) if isinstance(told, str) else os.path.join(root, "Cargo.toml")
    python = os.path.join(root, source) if isinstance(source, str) else root
    nested = os.path.join(root, "rust", "Cargo.toml")
    if told is None and found.exists(nested):
        package = project.replace("-", "_")
        if found.exists(os.path.join(root, "src", package, "__init__.py")):
            manifest = nested
            python = python if isinstance(source, str) else os.path.join(root, "src")
    manifest = os.path.normpath(manifest)
    crate = found.crate(manifest)
    if crate is None:
        return
    lib = _table(crate.table, "lib").get("name")
    name = str(table.get("module-name") or lib or project or crate.package).replace("-", "_")
    if "." not in name and found.exists(os.path.join(python, name, "__init__.py")):
        name = f"{name}.{name}"
    found.modules[name] = (manifest, "cargo", False)


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
