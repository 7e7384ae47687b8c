"""``autoaccel doctor``: what is needed to compile, what of it is here, and how to get the rest."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import sysconfig
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version

import click

from .. import __version__, compiler, errors, manifest
from ..ahead import mistakes
from ..numba.watch import TESTED, steps_aside
from ..sources import Source
from ..toolchains import rustc
from .cache import place, stores
from .common import counted, print_json, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["doctor"]

_MARKS = {"ok": ("ok", "green"), "optional": ("-", "yellow"), "problem": ("!", "red")}

#: Package, what it is for, and folders inside it of which one must be there.
_HEADERS = (
    ("numpy", "`cimport numpy`", ("_core/include", "core/include")),
    ("pybind11", "PYBIND11_MODULE sources", ("include/pybind11",)),
    ("nanobind", "NB_MODULE sources", ("include/nanobind",)),
)


@click.command(short_help="Tell what can be compiled here, and how to get what is missing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def doctor(as_json: bool) -> int:
    """Tell what can be compiled here, and how to get what is missing.

    Exit status: 1 when nothing at all can be compiled.
    """
    with _log_kept() as said:
        rows = [
            _python(),
            _own(),
            *_cache(),
            *_compilers(),
            _python_headers(),
            _cython(),
            _rust(),
            _numba(),
            *_packages(),
            _ziglang(),
        ]
        rows += [_row("pyproject.toml", "problem", line) for line in mistakes(())]
    rows += [{"what": "note", "state": "problem", "is": line} for line in said]
    here = {row["what"] for row in rows if row["state"] == "ok"}
    able = "Python.h" in here and not here.isdisjoint({"C compiler", "C++ compiler"})
    if as_json:
        print_json({"can_compile": able, "checks": rows})
    else:
        for row in rows:
            _show(row)
        if not able:
            click.echo(click.style("\nNothing can be compiled here.", fg="red"))
    return 0 if able else 1


def _row(what: str, state: str, is_: str, **more: object) -> dict[str, Any]:
    return {"what": what, "state": state, "is": is_, **more}


def _show(row: dict[str, Any]) -> None:
    sign, colour = _MARKS[row["state"]]
    mark = click.style(f"{sign:<2}", fg=colour)
    first, *rest = [*str(row["is"]).splitlines(), *str(row.get("get", "")).splitlines()]
    click.echo(f"{mark} {row['what']:<15} {first}")
    for line in rest:
        click.echo(f"{'':<18} {line}")


def _python() -> dict[str, Any]:
    kinds = []
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        kinds.append("free-threaded")
    if sysconfig.get_config_var("Py_DEBUG"):
        kinds.append("debug build")
    told = f"{platform.python_implementation()} {platform.python_version()}{''.join(f', {kind}' for kind in kinds)}"
    is_ = f"{told}, {manifest.TAG}\n{sys.executable}"
    return _row("Python", "ok", is_, tag=manifest.TAG, executable=sys.executable)


def _own() -> dict[str, Any]:
    mode = os.environ.get("AUTOACCEL")
    told = f" (AUTOACCEL={mode})" if mode else ""
    return _row("autoaccel", "ok", f"{__version__}{told}\n{os.path.dirname(os.path.dirname(__file__))}")


def _cache() -> Iterator[dict[str, Any]]:
    where = place()
    more: dict[str, Any] = {"root": where.root, "chosen_by": where.chosen_by}
    if where.problem:
        yield _row("cache", "problem", f"{where.problem}", get="Set AUTOACCEL_CACHE_DIR to a folder of your own.")
    if not os.path.isdir(where.root):
        yield _row("cache", "ok", f"{where.root} (by {where.chosen_by})\nnot made yet", **more)
        return
    found = [store for store in stores() if store.root == where.root]
    if not found:
        yield _row("cache", "problem", f"{where.root} can't be used", **more)
        return
    count = sum(1 for store in found for _ in store.entries())
    total = sum(store.size() for store in found)
    told = (
        f"{where.root} (by {where.chosen_by})\nwritable, this user's alone, {counted(count, 'artifact')}, {size(total)}"
    )
    yield _row("cache", "ok", told, artifacts=count, bytes=total, **more)
    if hasattr(os, "statvfs") and os.statvfs(where.root).f_flag & getattr(os, "ST_NOEXEC", 0):
        yield _row(
            "cache", "problem", f"{where.root} is on a file system mounted noexec: what is built there can't be loaded",
            get="Set AUTOACCEL_CACHE_DIR to a folder elsewhere.",
        )  # fmt: skip


def _compilers() -> Iterator[dict[str, Any]]:
    for language, label in (("c", "C compiler"), ("c++", "C++ compiler")):
        try:
            found = compiler.find(language, name="", path="")
        except errors.ToolchainMissing as error:
            reason, _, get = error.msg.partition("\n")
            yield _row(label, "problem", reason.partition(", and ")[2].rstrip("."), get=get)
        else:
            command = " ".join(found.command)
            yield _row(label, "ok", f"{found.version}\n{command}", kind=found.kind, command=list(found.command))


def _python_headers() -> dict[str, Any]:
    folder = sysconfig.get_paths()["include"]
    if os.path.isfile(os.path.join(folder, "Python.h")):
        return _row("Python.h", "ok", folder)
    get = errors.no_python_headers("", "", folder).msg.partition("\n")[2]
    return _row("Python.h", "problem", f"{folder} has none", get=get)


def _cython() -> dict[str, Any]:
    if _home("Cython") is None:
        return _row("Cython", "optional", "not installed; needed for .pyx", get="Install it: `pip install cython`.")
    return _row("Cython", "ok", _version("cython"))


def _rust() -> dict[str, Any]:
    try:
        found = rustc.find(os.getcwd(), Source("it", "Rust", "cargo"))
    except errors.ToolchainMissing as error:
        reason, _, get = error.msg.removeprefix("it: ").partition("\n")
        missing = "not installed" if reason.startswith("cargo is needed") else reason
        return _row("Rust", "optional", f"{missing}; needed for crates and .rs", get=get.strip())
    return _row("Rust", "ok", f"{found.version}\n{found.cargo}", host=found.host)


def _numba() -> dict[str, Any]:
    if _home("numba") is None:
        return _row(
            "numba", "optional", "not installed; jitted functions are loaded without it once it has compiled them"
        )
    told = _version("numba")
    if ".".join(told.split(".")[:2]) not in TESTED:
        return _row("numba", "optional", f"{told} is left alone: autoaccel was tested with {', '.join(TESTED)}")
    aside = steps_aside()
    return _row(
        "numba", "ok", f"{told}, its functions are published" if aside is None else f"{told}, left alone: {aside}"
    )


def _packages() -> Iterator[dict[str, Any]]:
    for package, use, inside in _HEADERS:
        home = _home(package)
        get = f"Install it: `pip install {package}`."
        if home is None:
            yield _row(package, "optional", f"not installed; needed for {use}", get=get)
        elif not any(os.path.isdir(os.path.join(home, folder)) for folder in inside):
            yield _row(package, "problem", f"{home} has no headers; needed for {use}", get=get)
        else:
            yield _row(package, "ok", f"{_version(package)}, for {use}")


def _ziglang() -> dict[str, Any]:
    if _home("ziglang") is None:
        return _row("ziglang", "optional", "not installed; compiles C and C++ where there is no other compiler")
    return _row("ziglang", "ok", f"{_version('ziglang')}, used where there is no other compiler")


def _home(package: str) -> str | None:
    """The folder of an installed package, which is not imported for it."""
    spec = PathFinder.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec is not None and spec.origin else []
    return places[0] if places else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


@contextlib.contextmanager
def _log_kept() -> Iterator[list[str]]:
    """What autoaccel warns of meanwhile is part of the findings."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Handler(logging.WARNING)
    log = logging.getLogger("autoaccel")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)
