"""Which modules a project's crates are, as maturin, setuptools-rust and Cargo.toml itself have it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from . import rustextensions
from .content import claims
from .crates import needs, path_crates, read_crate, read_toml, table_of, workspace_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .crates import Crate

__all__ = ["Found", "Layout", "layout", "of_crate", "of_project"]

#: Bindings that cargo alone can't make importable: maturin writes Python around the library.
_MATURIN_S = ("cffi", "uniffi")
#: Packages whose crates are extension modules by themselves.
_BINDINGS = frozenset(("pyo3", "pyo3-ffi", "cpython"))


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
        self.files[crate.expected] = None
        return None


@dataclass(frozen=True, slots=True)
class Layout:
    """What a maturin project makes.

    Attributes:
        name: the module's full name.
        manifest: the crate's Cargo.toml.
        bindings: ``"cffi"`` or ``"uniffi"``; ``""`` where the library is the module.
    """

    name: str
    manifest: str
    bindings: str


def of_project(data: Mapping[str, Any], root: str, *, setup: bool = False) -> Found:
    """The modules that a parsed pyproject.toml in ``root`` declares.

    Args:
        data: what it says.
        root: where it is.
        setup: whether the setup.py beside it counts, where it says that setuptools-rust builds the project.
    """
    found = Found()
    made = layout(data, root, found)
    if made is not None and made.bindings:
        # Of what maturin makes, the project file is the source: it may say more about it than the crate.
        found.modules[made.name] = (os.path.join(root, "pyproject.toml"), "maturin", True)
    elif made is not None:
        found.modules[made.name] = (made.manifest, "cargo", False)
    _extensions(rustextensions.in_pyproject(data), root, found)
    if setup and "setuptools-rust" in _built_with(data):
        beside = os.path.join(root, "setup.py")
        _extensions((rustextensions.in_setup(beside) if found.exists(beside) else None) or (), root, found)
    return found


def _built_with(data: Mapping[str, Any]) -> set[str]:
    """The names of the packages that a project is built with."""
    told = table_of(data, "build-system").get("requires")
    names = (re.match(r"\s*([\w.-]*)", str(one)) for one in (told if isinstance(told, list) else ()))
    return {re.sub(r"[-_.]+", "-", name[1]).lower() for name in names if name is not None}


def _extensions(tables: Iterable[Mapping[str, Any]], root: str, found: Found) -> None:
    """Note down the modules that setuptools-rust makes."""
    for table in tables:
        manifest = os.path.normpath(os.path.join(root, str(table.get("path", "Cargo.toml"))))
        found.files[manifest] = None
        if os.path.isfile(manifest):
            found.modules[str(table["target"])] = (manifest, "cargo", False)


def of_crate(manifest: str) -> Found:
    """The modules of a crate whose folder is on the path: its library, unless the project's files say otherwise."""
    from .settings import read_project

    found = Found()
    folder = os.path.dirname(manifest)
    crate = found.crate(manifest)
    metadata = (
        table_of(table_of(table_of(crate.table, "package"), "metadata"), "autoaccel") if crate is not None else {}
    )
    told = metadata.get("modules", metadata.get("module"))
    names = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    if crate is not None and not names:
        pyproject = os.path.join(folder, "pyproject.toml")
        if found.exists(pyproject):
            try:
                other = of_project(read_project(pyproject), folder)
            except ImportError:  # it can't be understood
                other = Found()
            found.files.update(other.files)
            found.missing.update(other.missing)
            if any(file in (manifest, pyproject) for file, _, _ in other.modules.values()):
                return found
        setup = os.path.join(folder, "setup.py")
        told = rustextensions.in_setup(setup) if found.exists(setup) else None
        if told is not None:
            # There, a crate becomes what is said, and a guess would stand in the way of the package around it.
            _extensions(told, folder, found)
            return found
        if not found.exists(os.path.join(folder, crate.library_name, "__init__.py")):
            names = [crate.library_name]
    found.modules.update((str(name), (manifest, "cargo", False)) for name in names)
    return found


def layout(data: Mapping[str, Any], root: str, found: Found) -> Layout | None:
    """What maturin would make in ``root``, by its own rules; None where it is no module, or it is not in use."""
    tool = table_of(data, "tool")
    if "maturin" not in tool and table_of(data, "build-system").get("build-backend") != "maturin":
        return None
    table = table_of(tool, "maturin")
    bindings = table.get("bindings")
    if bindings == "bin":
        return None
    project = str(table_of(data, "project").get("name", ""))
    place = table.get("manifest-path")
    source = table.get("python-source")
    nested = os.path.join(root, "rust", "Cargo.toml")
    apart = found.exists(nested)
    if isinstance(source, str):
        python = os.path.join(root, source)
    else:
        # Beside Rust in `rust`, Python may be in `src` without a word.
        apart = apart and _in_src(table, project, root, found)
        python = os.path.join(root, "src") if apart else root
    if isinstance(place, str):
        manifest = os.path.join(root, place)
    else:
        manifest = nested if apart else os.path.join(root, "Cargo.toml")
    manifest = os.path.normpath(manifest)
    if bindings in _MATURIN_S:
        found.files[manifest] = None
        crate = read_crate(manifest)
        if not found.exists(crate.expected):
            return None
    else:
        told = found.crate(manifest)
        crate = told or read_crate(manifest)
        # An init function that a macro or another crate makes is believed in, where the project gives its name.
        hidden = "" if crate.library is not None and {"module-name", "bindings"} & table.keys() else None
        bindings = "" if told is not None else _detected(found, crate, hidden) if bindings is None else hidden
        if bindings is None:
            return None
    lib = table_of(crate.table, "lib").get("name")
    name = str(table.get("module-name") or lib or project or crate.package).replace("-", "_")
    if "." not in name and _in_package(os.path.join(python, name), found):
        name = f"{name}.{name}"
    return Layout(name, manifest, str(bindings))


def _in_src(table: Mapping[str, Any], project: str, root: str, found: Found) -> bool:
    """Whether one of the project's packages is in ``src``."""
    told = table.get("python-packages")
    names = [project.replace("-", "_"), *(map(str, told) if isinstance(told, list) else ())] if project else []
    return any(found.exists(os.path.join(root, "src", name, "__init__.py")) for name in names)


def _in_package(folder: str, found: Found) -> bool:
    """Whether the folder of a module's name takes it in, as a package or a namespace; a crate's own folder does not."""
    if found.exists(os.path.join(folder, "__init__.py")):
        return True
    return found.exists(folder) and os.path.isdir(folder) and not found.exists(os.path.join(folder, "Cargo.toml"))


def _detected(found: Found, crate: Crate, hidden: str | None) -> str | None:
    """The bindings of a crate whose library has no init function, as maturin finds them out.

    Args:
        found: takes what is looked at.
        crate: the crate.
        hidden: the answer where its library has an init function all the same.
    """
    if crate.library is None:
        return None
    workspace, _ = workspace_of(crate)
    lock = os.path.join(os.path.dirname(workspace), "Cargo.lock")
    found.exists(lock)
    names = _locked(lock, crate.package)
    for one in path_crates(crate, workspace):
        found.files[one.manifest] = None
        names.update(needs(one))
    if names & _BINDINGS:
        return hidden
    if "uniffi" in names:
        return "uniffi"
    return "cffi" if "cdylib" in crate.kinds else None


def _locked(lock: str, package: str) -> set[str]:
    """Names of the packages that one needs, directly or not, as a Cargo.lock has it."""
    graph: dict[str, list[str]] = {}
    for one in read_toml(lock).get("package", ()):
        if isinstance(one, dict):
            graph.setdefault(str(one.get("name")), []).extend(
                str(told).split()[0] for told in one.get("dependencies", ())
            )
    names: set[str] = set()
    waiting = [package]
    while waiting:
        for name in graph.get(waiting.pop(), ()):
            if name not in names:
                names.add(name)
                waiting.append(name)
    return names
