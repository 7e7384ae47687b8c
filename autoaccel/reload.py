"""What the loader does rarely: renew loaded modules, and explain a library that does not load."""

from __future__ import annotations

import _imp
import itertools
import os
import sys
from copy import copy
from importlib.machinery import ModuleSpec

from . import errors, loaded
from .loader import open_library
from .location import second_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._typing import NativeLoader
    from .sources import Source

__all__ = ["Fresh", "commit", "explained", "prepared", "renew"]

_numbers = itertools.count(1)

#: Libraries that were initialised in this process, and what for.
_used: dict[str, object] = {}

#: What a module is to others; its new content has the same.
_ATTRIBUTES = ("__name__", "__spec__", "__loader__", "__package__", "__path__")


class Fresh:
    """The new content of a loaded module, initialised, and not in its place yet.

    Attributes:
        loader: the module's.
        module: the one that everybody has.
        content: another module, which holds what is to be put into it. Its functions keep it alive and see its globals.
        artifact: what it was loaded from.
    """

    __slots__ = ("artifact", "content", "loader", "module")

    def __init__(self, loader: NativeLoader, module: Any, content: Any, artifact: str) -> None:
        self.loader = loader
        self.module = module
        self.content = content
        self.artifact = artifact


def renew(loader: NativeLoader, module: Any, artifact: str) -> None:
    """Put the content of the library at ``artifact`` into ``module``, in place; nothing where it is there already."""
    if loaded.get(loader.name) == artifact:
        loader.path = module.__spec__.cached = module.__cached__ = artifact
        return
    commit([prepared(loader, module, artifact)])


def prepared(loader: NativeLoader, module: Any, artifact: str) -> Fresh:
    """Load and initialise a library; the module stays what it is."""
    library = artifact
    mine = object()
    _used.setdefault(loaded.get(loader.name, ""))
    # In one step: two threads may be at it, a reload and a swap.
    if _used.setdefault(artifact, mine) is not mine:
        # A library is initialised once; a copy of it is another one.
        from .store import keep_privately

        library = keep_privately(artifact)
    # A copy: others look at the module's own meanwhile.
    spec: ModuleSpec = copy(module.__spec__)
    before = loader.path
    real = {name: module.__dict__[name] for name in _ATTRIBUTES if name in module.__dict__}
    there = sys.modules.get(loader.name)
    try:
        content: Any = open_library(loader, spec, library)
        content.__dict__.update(real)
        if content is module:
            # pybind11 keeps its modules by the name in their spec: the new one needs another, for as long as it starts.
            alias = ModuleSpec(f"renewed {next(_numbers)}.{loader.name.rpartition('.')[2]}", loader, origin=spec.origin)
            content = open_library(loader, alias, library)
            content.__dict__.update(real, __spec__=alias)
        _imp.exec_dynamic(content)
        content.__dict__.update(real)
    finally:
        loader.path = loaded.get(loader.name, before)
        # Single-phase initialisation puts the new module there by itself.
        if there is not None:
            sys.modules[loader.name] = there
        else:
            sys.modules.pop(loader.name, None)
    return Fresh(loader, module, content, artifact)


def commit(all_fresh: Iterable[Fresh]) -> None:
    """Put prepared contents into their modules; no other thread sees some without the others."""
    done = list(all_fresh)
    contents = [
        {**one.content.__dict__, "__autoaccel_renewed__": one.content, "__cached__": one.artifact} for one in done
    ]
    # What is replaced must not end in between: its end may run anything.
    kept = [dict(one.module.__dict__) for one in done]
    # One call into C, in which the interpreter does not change threads.
    list(map(dict.update, [one.module.__dict__ for one in done], contents))
    for one in done:
        one.loader.path = one.module.__spec__.cached = loaded[one.loader.name] = one.artifact
    kept.clear()


def explained(error: ImportError, source: Source, artifact: str) -> ImportError:
    """The error of the dynamic loader with advice; the module's own errors as they are."""
    names = artifact, second_name(artifact)
    ours = error.path in names or "does not support loading in subinterpreters" in str(error)
    if not ours or isinstance(error, ModuleNotFoundError):
        return error
    reason = error.msg.replace(names[1], artifact) if names[1] else error.msg
    return errors.not_loadable(source.name, source.path, artifact, reason, _definers(source, artifact))


def _definers(source: Source, artifact: str) -> dict[str, list[str]]:
    """Which sources of the project have what a library lacks: relative to the project's folder."""
    from . import exports, settings, store, whereabouts

    try:
        lacking = whereabouts.missing_names(exports.undefined(artifact))
        root = settings.load(source).root
    except (OSError, ImportError, ValueError):
        return {}
    meta = store.read_meta(os.path.dirname(artifact)) or {}
    told = meta.get("options", {}).get("sources", ())
    known = [source.path, *told, *(path for path, _ in meta.get("inputs", ()))]
    found = whereabouts.definers(root, lacking, known) if lacking else {}
    return {os.path.relpath(path, root): names for path, names in found.items()}
