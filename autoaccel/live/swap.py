"""New code in the place of old: several modules at once, all or none; and who else has names of the old one."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
import tokenize
from types import ModuleType

from .. import loaded
from ..bytecode import distrust
from ..loader import forget, is_native
from ..packaged import FolderLoader
from ..reload import Fresh, commit, prepared
from ..staleness import FRESH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import Any

    from ..plan import Artifact
    from ..sources import Source
    from ..staleness import Identity

__all__ = ["jitted_files", "rebind", "reload_dependents", "swap"]


def swap(ready: Mapping[str, tuple[Source, Artifact]], python: Collection[str] = ()) -> tuple[str, ...]:
    """Put new code into loaded modules; their names.

    Args:
        ready: full name -> the module, and the library to load for it.
        python: changed ``.py`` files: modules with numba's functions in them, or made from them, are run again.
    """
    # In the order in which they were imported: what a module needs of another one is there before.
    # A copy: other threads may import meanwhile.
    order = {name: number for number, name in enumerate(list(loaded))}
    fresh: list[Fresh] = []
    replaced: dict[str, ModuleType] = {}
    try:
        for name in sorted(ready, key=lambda name: order.get(name, len(order))):
            module = sys.modules[name]
            loader = getattr(module.__spec__, "loader", None)
            artifact = ready[name][1].path
            if is_native(loader) and not _packaged(module.__spec__) and loaded.get(name) != artifact:
                one = prepared(loader, module, artifact)
                fresh.append(one)
                # Who comes after it takes its new names.
                replaced[name] = module
                sys.modules[name] = one.content
    finally:
        sys.modules.update(replaced)
    for one in fresh:
        names = vars(one.content)
        for other in fresh:
            for name, value in list(names.items()):
                if value is other.content:
                    names[name] = other.module
    packaged = [
        sys.modules[name]
        for name, (_, artifact) in ready.items()
        if _packaged(sys.modules[name].__spec__) and loaded.get(name) != artifact.path
    ]
    jitted = _jitted(python)
    again = [*packaged, *jitted]
    before = [(vars(module), dict(vars(module))) for module in (*(one.module for one in fresh), *again)]
    artifacts = {one.loader.name: loaded[one.loader.name] for one in fresh}
    commit(fresh)
    try:
        if jitted:
            forget()
        for module in again:
            distrust(str(module.__file__))
            importlib.reload(module)
    except BaseException:
        for names, kept in before:
            for name in names.keys() - kept.keys():
                del names[name]
            names.update(kept)
        loaded.update(artifacts)
        for one in fresh:
            one.loader.path = one.module.__spec__.cached = artifacts[one.loader.name]
        raise
    return (*(one.loader.name for one in fresh), *(module.__name__ for module in again))


def _packaged(spec: object) -> bool:
    """Whether a module is a package of Python around a library: that is run again as Python is."""
    return isinstance(getattr(spec, "loader", None), FolderLoader)


# numba


def _jitted(python: Collection[str]) -> list[ModuleType]:
    """The modules with numba's functions that changed files concern, those first from which others take functions."""
    if not python:
        return []
    inputs = _inputs_of_jitted()
    concerned = {name for name, files in inputs.items() if not files.isdisjoint(python)}
    found: list[ModuleType] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        for other in sorted(concerned):
            file = getattr(sys.modules[other], "__file__", None)
            if other != name and file in inputs[name] and other not in above:
                visit(other, (*above, name))
        if sys.modules[name] not in found:
            found.append(sys.modules[name])

    for name in sorted(concerned):
        visit(name, ())
    return found


def jitted_files() -> dict[str, Identity | None]:
    """The files that loaded functions of numba's are made from, and what they were then; None where nobody knows."""
    state = len(sys.modules), len(tier1.dispatchers()) if (tier1 := sys.modules.get("autoaccel.numba.tier1")) else 0
    if _known.get("state") != state:
        files = set[str]().union(*_inputs_of_jitted().values())
        seen: dict[str, Identity | None] = dict(tier1.files) if tier1 else {}
        for loader in _native_loaders().values():
            seen.update((row[0], row[1:]) for row in loader.record[5] if tuple(row[1:]) != FRESH)
        _known.update(state=state, files={path: seen.get(path) for path in files if path.endswith(".py")})
    found: dict[str, Identity | None] = _known["files"]
    return found


#: What `jitted_files` gave, and for what.
_known: dict[str, Any] = {}


def _native_loaders() -> dict[str, Any]:
    """Name of each loaded module whose functions of numba's are from a library -> its loader."""
    loaders = {
        name: getattr(getattr(module, "__spec__", None), "loader", None) for name, module in list(sys.modules.items())
    }
    return {
        name: loader
        for name, loader in loaders.items()
        if type(loader).__name__ == "JitLoader" and getattr(loader, "artifact", None)
    }


def _inputs_of_jitted() -> dict[str, set[str]]:
    """Name of each loaded module with functions of numba's -> the files that they are made from."""
    inputs = {name: {row[0] for row in loader.record[5]} for name, loader in _native_loaders().items()}
    if "autoaccel.numba.tier1" in sys.modules:
        from ..numba import stamp, tier1

        for dispatcher in tier1.dispatchers():
            function = dispatcher.py_func
            if function.__module__ in sys.modules and function.__module__ != "__main__":
                home = sys.modules[function.__module__]
                files = inputs.setdefault(function.__module__, {str(getattr(home, "__file__", ""))})
                try:
                    files.update(os.path.abspath(one.__code__.co_filename) for one in stamp.functions(function))
                except stamp.Opaque:
                    files.add(os.path.abspath(function.__code__.co_filename))
    return inputs


# names that others have taken


def rebind(names: dict[str, Any], modules: Iterable[str]) -> None:
    """Replace the values of a namespace that come from some modules by what these have now under the same names."""
    wanted = frozenset(modules)
    for name, value in list(names.items()):
        home = _home(value)
        if home in wanted and not isinstance(value, ModuleType):
            now = getattr(sys.modules.get(home), getattr(value, "__name__", name), value)
            if now is not value:
                names[name] = now


def reload_dependents(module: ModuleType) -> tuple[str, ...]:
    """Import the modules again that have taken names from a module, and those that have taken names from them.

    Args:
        module: a module that was reloaded.

    Returns:
        The names of the modules that were run again, in that order.

    Raises:
        TypeError: it is no module.
    """
    if not isinstance(module, ModuleType):
        raise TypeError(f"reload_dependents() takes a module, not {type(module).__name__}")
    users: dict[str, list[str]] = {}
    for name, other in list(sys.modules.items()):
        if name != "__main__" and _is_users(other):
            for taken in _taken_from(other):
                users.setdefault(taken, []).append(name)
    seen, order = set[str](), list[str]()

    def visit(name: str) -> None:
        seen.add(name)
        for user in users.get(name, ()):
            if user not in seen:
                visit(user)
        order.append(name)

    visit(module.__name__)
    # Who is left last comes first: those that it has names from have been run by then, but for circles.
    order.reverse()
    order = [name for name in order if name != module.__name__]
    for name in order:
        _run_again(sys.modules[name])
    return tuple(order)


def _run_again(module: ModuleType) -> None:
    loader = getattr(module.__spec__, "loader", None)
    artifact = loaded.get(module.__name__)
    if is_native(loader) and artifact is not None and not _packaged(module.__spec__):
        # Its source may have changed as well; else the same code is run again.
        importlib.reload(module)
        if loaded.get(module.__name__) == artifact:
            commit([prepared(loader, module, artifact)])
    else:
        importlib.reload(module)


def _is_users(module: ModuleType) -> bool:
    """Whether a module is one of the user's own."""
    file = getattr(module, "__file__", None)
    if not file or getattr(module, "__spec__", None) is None:
        return False
    top = module.__name__.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    return not {"site-packages", "dist-packages"}.intersection(str(file).split(os.sep))


def _taken_from(module: ModuleType) -> set[str]:
    """Full names of the modules from which a module has taken names."""
    found = {
        home for value in list(vars(module).values()) if (home := _home(value)) and not isinstance(value, ModuleType)
    }
    if str(module.__file__).endswith(".py"):
        # What is no function and no class does not tell where it is from; the source does.
        found.update(_imported_from(module))
    found.discard(module.__name__)
    return found


def _home(value: object) -> str | None:
    """The module that a value was defined in, if it tells."""
    home = getattr(value, "__module__", None)
    if home is None:
        owner = getattr(value, "__self__", None)
        home = owner.__name__ if isinstance(owner, ModuleType) else None
    return home if isinstance(home, str) else None


def _imported_from(module: ModuleType) -> Iterator[str]:
    try:
        with tokenize.open(str(module.__file__)) as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, UnicodeDecodeError):
        return
    package = getattr(module, "__package__", None) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            try:
                yield importlib.util.resolve_name(name, package) if node.level else name
            except ImportError:
                continue
