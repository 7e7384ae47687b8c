"""What a pyproject.toml declares to the finder: parsed once, remembered by the file's stat identity."""

from __future__ import annotations

import contextlib
import os
import time

from . import SUFFIXES, keys, manifest, rustprojects, settings, staleness
from .content import claims
from .errors import ConfigError
from .finder import Project
from .projects import record_name

__all__ = ["project"]


def project(path: str) -> Project | None:
    """What the finder must know of the pyproject.toml, or the crate's Cargo.toml, at ``path``; None where it is gone.

    A file that can't be understood declares nothing: the build of a module that it governs tells the user.
    """
    started = time.time_ns()
    if manifest.identity(path) is None:
        return None
    if os.path.basename(path) == "Cargo.toml":
        rust = rustprojects.of_crate(path)
        found = Project(rust.modules, (), (), ())
        folders, missing = _searched(settings.Search(()))
    else:
        try:
            tables, mine = settings.tables(path)
        except ConfigError:
            # Once is enough.
            _remember(path, _rows([path], started), (), Project({}, (), (), ()))
            return Project({}, (), (), ())
        try:
            rust = rustprojects.of_project(settings.read_project(path), os.path.dirname(path), setup=True)
        except ConfigError:
            return Project({}, (), (), ())
        mine = mine if isinstance(mine, dict) else {}
        modules: dict[str, tuple[str, str, bool]] = {}
        search = settings.Search((os.path.dirname(path),))
        for table in tables if isinstance(tables, list) else []:
            declared = _extension(table, path, search) if isinstance(table, dict) else None
            if declared is not None:
                modules[str(table["name"])] = declared
        found = Project(
            {**rust.modules, **modules}, *(_words(mine, key) for key in ("include", "exclude", "pure-python"))
        )
        folders, missing = _searched(search)
    _remember(path, (*_rows([path, *rust.read], started), *folders), (*rust.absent, *missing), found)
    return found


def _rows(paths: list[str], started: int) -> tuple[manifest.Row, ...]:
    """What was read since a moment; what may have changed since is looked at again the next time."""
    return tuple((one, *keys.settled(one, started)) for one in paths)


def _searched(search: settings.Search) -> tuple[list[manifest.Row], list[str]]:
    """What the answer to patterns and names depends on: the folders, and the paths that must stay absent."""
    contents = keys.Contents()
    rows: list[manifest.Row] = []
    for folder, names in search.folders.items():
        seen = contents.identity(folder)
        rows.append((folder, *(seen if tuple(sorted(staleness.listed(folder))) == names else manifest.FRESH)))
    missing: dict[str, None] = {}
    for path in search.absent:
        # Of a pattern, only the folder that it begins with can be looked at.
        near, first = keys.nearest(os.path.dirname(path))
        if first and os.path.isfile(os.path.join(near, first)):
            continue  # below a file, nothing can appear
        missing[os.path.join(near, first) if first else path] = None
    return rows, list(missing)


def _remember(path: str, rows: tuple[manifest.Row, ...], absent: tuple[str, ...], found: Project) -> None:
    from .store import open_store, replace

    values = (path, rows, absent, found.modules, found.include, found.exclude, found.pure)
    with contextlib.suppress(OSError):
        replace(f"{open_store().bucket}/{record_name(path)}", manifest.pack(values))


def _extension(table: dict[str, object], pyproject: str, search: settings.Search) -> tuple[str, str, bool] | None:
    """The main source of a declared extension: what Cython compiles, else what defines the module."""
    toolchains = {suffix: toolchain for suffix, toolchain, _ in SUFFIXES}
    sources = table.get("sources")
    if not isinstance(table.get("name"), str):
        return None
    if not isinstance(sources, list):
        # The word that stands for `sources` is the error of the module's import, and not that there is no module.
        return (pyproject, "c", False) if any(map(settings.unknown_option, table)) else None
    ranked: list[tuple[int, str, str]] = []
    for path in (path for source in sources for path in search.expanded(str(source))):
        suffix = os.path.splitext(path)[1]
        if suffix == ".py":
            ranked.append((1, path, "cython"))
        elif suffix == ".pyx":
            ranked.append((0, path, "cython"))
        elif suffix in toolchains and os.path.isfile(path):
            defines = claims(str(table["name"]), path)
            ranked.append((2 if defines else 3, path, toolchains[suffix]))
    if not ranked:
        return None
    _, path, toolchain = min(ranked, key=lambda row: row[0])
    return path, toolchain, os.path.basename(path).startswith("__init__.")


def _words(table: dict[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()
