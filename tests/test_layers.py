"""Who may import whom, read from the source: imports point one way, and the warm room carries nothing heavy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "autoaccel"

#: What a warm file may load of the standard library: what every interpreter has loaded already.
WARM_STDLIB = {
    "sys", "marshal", "time", "posix", "nt", "_imp", "_thread", "_frozen_importlib", "_frozen_importlib_external",
}  # fmt: skip
WARM = {
    "__init__",
    "directories",
    "finder",
    "loader",
    "packaged",
    "staleness",
    "projects",
    "csource",
    "content",
    "rustsource",
    "numba",
    "numba.find",
}

#: Module -> what it may import of ours at its top. Fronts are not here: they may import anything, and nobody them.
TABLE = {
    "__init__": set(),
    "errors": set(),
    "csource": set(),
    "watched": set(),
    "bytecode": set(),
    "content": set(),
    "crates": set(),
    "rustsource": set(),
    "location": set(),
    "plan": set(),
    "public": {"loader"},
    "process": set(),
    "workers": {"process"},
    "processor": set(),
    "progress": set(),
    "logs": set(),
    "early": {"location", "process"},
    "exports": set(),
    "whereabouts": {"csource"},
    "sources": {"content"},
    "loader": set(),
    "directories": set(),
    "finder": {"directories", "loader"},
    "staleness": {"loader"},
    "projects": {"directories", "finder"},
    "packaged": {"__init__", "loader"},
    "rustextensions": {"crates"},
    "rustprojects": {"content", "crates", "rustextensions"},
    "hook": {"directories", "finder"},
    "unclaimed": {"errors"},
    "listing": {"finder", "sources", "watched"},
    "reload": {"errors", "loader", "location"},
    "manifest": {"loader", "location", "staleness"},
    "settings": {"errors", "keys", "plan", "sources", "staleness"},
    "keys": {"manifest", "plan"},
    "locks": set(),
    "store": {"errors", "keys", "location", "locks", "logs", "manifest", "plan", "process", "settings"},
    "inventory": {"keys", "manifest", "store"},
    "upkeep": {"errors", "inventory", "locks", "manifest", "store", "toolchains.builddirs"},
    "verify": {"exports", "csource", "inventory", "manifest", "store"},
    "archive": {"errors", "inventory", "keys", "manifest", "store"},
    "changes": {"manifest", "store"},
    "declare": {
        "content", "errors", "finder", "keys", "manifest", "projects", "rustprojects", "settings", "staleness",
    },
    "toolchains.base": {"errors", "plan"},
    "toolchains.cython_cold": set(),
    "toolchains.cython_split": set(),
    "toolchains.cython_head": {"compiler", "keys", "manifest", "process", "toolchains.cython_split"},
    "toolchains.cython_parts": {"toolchains.cython_head", "compiler", "keys", "process", "settings", "toolchains.builddirs", "toolchains.cython_split", "workers"},
    "toolchains.cython_server": set(),
    "compiler": {"errors", "keys", "manifest", "plan", "process", "processor", "settings", "toolchains.base", "whereabouts", "workers"},
    "toolchains.headers": {"errors", "plan", "process", "settings", "toolchains.base", "toolchains.cython_server"},
    "toolchains.cc": {"compiler", "csource", "errors", "keys", "plan", "process", "settings", "toolchains.base", "toolchains.headers"},
    "toolchains.cython": {
        "compiler", "early", "errors", "keys", "plan", "process", "settings", "workers",
        "toolchains.base", "toolchains.cython_cold", "toolchains.cython_head", "toolchains.cython_parts", "toolchains.cython_server",
        "toolchains.cython_split", "toolchains.headers", "whereabouts",
    },
    "toolchains.rustc": {"errors", "keys", "manifest", "plan", "process"},
    "toolchains.builddirs": {"keys", "locks"},
    "toolchains.cargo_output": {"errors"},
    "toolchains.readonly": {"crates", "keys"},
    "toolchains.rustimport": {"rustsource"},
    "toolchains.requests": {"crates", "rustextensions"},
    "toolchains.cargo": {
        "crates", "errors", "keys", "plan", "process", "processor", "progress", "settings", "toolchains.base",
        "toolchains.builddirs",
        "toolchains.cargo_output", "toolchains.readonly", "toolchains.requests", "toolchains.rustc",
        "toolchains.rustimport",
    },
    "toolchains.rustfile": {
        "crates", "errors", "keys", "plan", "toolchains.base", "toolchains.cargo", "toolchains.requests",
        "toolchains.rustimport",
    },
    "toolchains.maturin": {
        "crates", "errors", "keys", "manifest", "plan", "process", "rustprojects", "settings",
        "toolchains.base", "toolchains.cargo",
    },
    "toolchains": {
        "toolchains.base", "toolchains.cargo", "toolchains.cc", "toolchains.cython", "toolchains.maturin",
        "toolchains.numba", "toolchains.rustfile",
    },
    "pipeline": {
        "content", "csource", "errors", "exports", "keys", "logs", "manifest", "plan", "processor", "progress", "settings", "sources", "store",
        "toolchains", "toolchains.base",
    },
    "numba": set(),
    "numba.find": {"numba"},
    "numba.hold": {"loader", "manifest", "store"},
    "numba.threads": set(),
    "numba.later": {"numba"},
    "numba.callwrapper": set(),
    "numba.source": set(),
    "numba.stamp": set(),
    "numba.tier1": {"bytecode", "finder", "numba.stamp", "staleness", "store"},
    "numba.watch": {"logs", "numba", "watched"},
    "numba.emit": {"numba", "numba.callwrapper", "numba.source", "numba.stamp"},
    "numba.harvest": {
        "keys", "manifest", "process", "store",
        "numba", "numba.emit", "numba.source", "numba.stamp", "numba.tier1",
    },
    "numba.runtime": {"pipeline", "sources"},
    "numba.link": {"compiler", "keys", "process", "numba.emit"},
    "numba.publish": {
        "keys", "manifest", "plan", "process", "settings", "sources", "store", "toolchains.numba",
        "numba", "numba.emit", "numba.harvest", "numba.link", "numba.runtime",
    },
    "numba.tell": {"manifest", "numba", "numba.harvest", "numba.source", "numba.watch"},
    "numba.selftest": {"numba", "numba.emit", "numba.link"},
    "toolchains.numba": {"compiler", "errors", "keys", "manifest", "plan", "settings", "sources", "toolchains.headers"},
    #: Read by type checkers only.
    "_typing": {"ahead", "errors", "finder", "hook", "live"},
}  # fmt: skip

#: The edges against the current, each inside a function: a rare case of a room that is usually not entered.
UPWARD = {
    ("__init__", "directories"),
    ("__init__", "hook"),
    ("__init__", "loader"),
    ("__init__", "location"),
    ("__init__", "public"),
    ("directories", "finder"),
    ("directories", "listing"),
    ("directories", "numba.find"),
    ("directories", "numba.watch"),
    ("finder", "listing"),
    ("finder", "numba.watch"),
    ("finder", "packaged"),
    ("numba", "loader"),
    ("numba", "numba.hold"),
    ("numba", "numba.later"),
    ("numba", "numba.threads"),
    ("numba", "numba.watch"),
    ("numba.link", "csource"),
    ("numba.watch", "numba.harvest"),
    ("numba.watch", "numba.tier1"),
    ("finder", "projects"),
    ("finder", "unclaimed"),
    ("content", "csource"),
    ("content", "rustsource"),
    ("loader", "content"),
    ("loader", "early"),
    ("rustsource", "crates"),
    ("rustsource", "toolchains.rustfile"),
    ("rustprojects", "settings"),
    ("toolchains.rustc", "store"),
    ("store", "projects"),
    ("store", "toolchains.builddirs"),
    ("toolchains.builddirs", "store"),
    ("toolchains.cython", "store"),
    ("toolchains.cython_parts", "store"),
    ("toolchains.readonly", "store"),
    ("toolchains.rustfile", "store"),
    ("loader", "errors"),
    ("loader", "location"),
    ("loader", "pipeline"),
    ("loader", "reload"),
    ("reload", "store"),
    ("loader", "sources"),
    ("loader", "staleness"),
    ("loader", "store"),
    ("projects", "declare"),
    ("declare", "store"),
    ("compiler", "store"),
    ("errors", "csource"),
    ("errors", "settings"),
    ("errors", "whereabouts"),
    ("reload", "exports"),
    ("reload", "settings"),
    ("reload", "whereabouts"),
    ("hook", "errors"),
    ("errors", "rustsource"),
    ("errors", "sources"),
}

FRONTS = {"__main__", "ahead", "cells", "cli", "notebook", "pyximport", "roots"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__") if name != "__init__" else name] = path
    return found


MODULES = modules()


def is_front(name: str) -> bool:
    return name in FRONTS or name.split(".")[0] in ("commands", "live")


def imports(name: str) -> Iterator[tuple[str, bool]]:
    """(what, whether inside a function) for each import: ours as ``.name``, others by their full name.

    ``cold("name", …)`` is one too, at its first call.
    """
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    package = [] if name == "__init__" else package
    yield from _imports(tree, package, inside=False)


def _imports(node: ast.AST, package: list[str], *, inside: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == "cold":
            yield from ((f".{arg.value}", True) for arg in child.args[:1] if isinstance(arg, ast.Constant))
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield str(child.module), inside
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1]
            parts = [*base, *(child.module or "").split(".")] if child.module else base
            if ".".join(parts) in MODULES and child.module:
                inner = {".".join([*parts, alias.name]) for alias in child.names}
                for target in inner & set(MODULES) or {".".join(parts)}:
                    yield "." + target, inside
            else:
                for alias in child.names:
                    full = ".".join([*parts, alias.name])
                    yield "." + (full if full in MODULES else "__init__"), inside
        deeper = inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, package, inside=deeper)


@pytest.mark.parametrize("name", [name for name in MODULES if not is_front(name)])
def test_a_room_imports_what_the_table_allows(name: str) -> None:
    assert name in TABLE, f"say in the table what {name} may import"
    for what, inside in imports(name):
        if what.startswith("."):
            target = what[1:]
            allowed = target in TABLE[name] or (name, target) in UPWARD
            if target != "__init__":
                assert allowed, f"{name} imports {target}"
                if (name, target) in UPWARD and name != "__init__":
                    assert inside, f"{name} imports {target} outside of a function"
            assert not is_front(target) or name == "_typing", f"{name} imports the front {target}"


def test_the_table_names_what_exists() -> None:
    named = set(TABLE) | set().union(*TABLE.values()) | {name for edge in UPWARD for name in edge}
    assert named <= set(MODULES)
    there = {(name, what[1:]) for name in TABLE for what, _ in imports(name)}
    assert there >= UPWARD, UPWARD - there


def test_imports_at_the_top_make_no_circle() -> None:
    done: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for target in sorted(TABLE.get(name, ())):
                visit(target, (*above, name))
            done.append(name)

    for name in TABLE:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(WARM))
def test_the_warm_room_loads_nothing_that_is_not_loaded(name: str) -> None:
    top = {what for what, inside in imports(name) if not inside and not what.startswith(".")}
    assert top <= WARM_STDLIB


def test_there_is_one_door_to_subprocess() -> None:
    doors = {name for name in MODULES for what, _ in imports(name) if what.partition(".")[0] == "subprocess"}
    # The compile server and the keeper talk over pipes for as long as their processes live; a program is the user's.
    assert doors <= {"process", "early", "live.command"}


def test_the_compile_server_needs_nothing_of_ours() -> None:
    assert not [what for what, _ in imports("toolchains.cython_server") if what.startswith((".", "autoaccel"))]


@pytest.mark.parametrize("name", ["finder", "loader", "keys", "store", "pipeline", "manifest"])
def test_nobody_asks_which_toolchain_it_is(name: str) -> None:
    from autoaccel.toolchains import TOOLCHAINS

    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            words = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
            assert not set(TOOLCHAINS) & {word for word in words if isinstance(word, str)}, ast.unparse(node)


def test_only_what_is_declared_is_imported_from_outside() -> None:
    declared = {"click", "rich", "filelock"}
    found = {what.partition(".")[0] for name in MODULES for what, _ in imports(name) if not what.startswith(".")}
    extras = {"pyximport", "Cython", "IPython", "watchdog", "numba", "numpy", "llvmlite"}
    assert found - set(sys.stdlib_module_names) - {"nt", "posix", "autoaccel"} <= declared | extras
