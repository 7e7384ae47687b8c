"""``autoaccel explain``: who gets an import, why, what it would do. Compiles nothing, runs no code of the user."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from types import ModuleType

import click

from .. import (
    CRATE_SOURCES,
    crates,
    csource,
    install,
    keys,
    manifest,
    pipeline,
    projects,
    rustextensions,
    rustprojects,
    rustsource,
    settings,
    store,
)
from ..ahead import mistakes, sources_below
from ..changes import changes, nearest
from ..content import claims
from ..csource import init_name
from ..errors import AccelError, ToolchainMissing, declaration
from ..finder import excludes, is_adopted
from ..loader import is_native, source_of
from ..numba.tell import facts
from ..settings import project_folder
from ..sources import named, root_of
from ..whereabouts import initialisers
from .common import age, duration, enter_folder, fact, print_json, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any

    from .._typing import AccelFinder
    from ..plan import Plan
    from ..sources import Source

__all__ = ["explain"]


@dataclass(frozen=True, slots=True)
class Found:
    """Who gets an import.

    Attributes:
        spec: what the import system found; None: nobody gets it.
        path: the folders that were searched.
        places: the folders of its own, where it is a package.
        hint: why there is no spec.
        finder: autoaccel's; None where it is off.
    """

    spec: ModuleSpec | None
    path: tuple[str, ...]
    places: tuple[str, ...] | None
    hint: str | None
    finder: AccelFinder | None


@dataclass(frozen=True, slots=True)
class Next:
    """What the next import would do: ``"load"``, ``"look up"``, ``"build"`` or ``"fail"``, and why."""

    does: str
    why: str
    artifact: str | None = None


@click.command(short_help="Tell who gets an import, why, and what it would do.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def explain(name: str, as_json: bool) -> int:
    """Tell who gets `import NAME` in the current folder, why, and what that import would do.

    NAME may also be the path of a source: then it is told of the module that it is built as.

    Nothing is compiled or run, parent packages neither. Exit status: 0 when somebody gets it, 1 when nobody does, or
    when the import would fail.
    """
    if os.path.isfile(name):
        name = _of_file(name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise click.BadParameter(f"{name!r} is not the name of a module", param_hint="NAME")
    found = _find(name)
    told = _told(name, found)
    if as_json:
        print_json(told)
    else:
        _show(told)
    return 1 if found.spec is None or told.get("next", {}).get("does") == "fail" else 0  # type: ignore[attr-defined]


# who


def _of_file(path: str) -> str:
    """The module that a file is built as; the folder that it is imported from is searched."""
    (source,) = sources_below([path])
    root = root_of(source)
    if root is not None and root != os.getcwd() and root not in sys.path:
        sys.path.append(root)
    return source.name


def _find(name: str) -> Found:
    """What an import would find, parents by their specs alone."""
    enter_folder("autoaccel.declare", "fnmatch", "importlib.metadata", "shlex")
    finder = None
    if os.environ.get("AUTOACCEL") not in ("off", "0"):
        finder = install().finder
    stand_ins: list[str] = []
    try:
        return _walk(name, finder, stand_ins)
    finally:
        for one in stand_ins:
            sys.modules.pop(one, None)


def _walk(name: str, finder: AccelFinder | None, stand_ins: list[str]) -> Found:
    path: tuple[str, ...] | None = None
    places: tuple[str, ...] | None = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        if count > 1:
            if places is None:
                above = ".".join(parts[: count - 1])
                return Found(None, (), None, f"No module named {full!r}; {above!r} is not a package", finder)
            path = places
        try:
            spec = _spec(full, path)
        except ModuleNotFoundError as error:
            return Found(None, path or tuple(sys.path), None, error.msg, finder)
        if spec is None:
            return Found(None, path or tuple(sys.path), None, f"No module named {full!r}", finder)
        found = spec.submodule_search_locations
        places = None if found is None else tuple(found)
        if places is not None and full not in sys.modules:
            # A namespace package asks its parent for its path; ours is never run, so an empty one stands for it.
            sys.modules[full] = stand_in = ModuleType(full)
            stand_in.__path__ = list(places)
            stand_ins.append(full)
    return Found(spec, path or tuple(sys.path), places, None, finder)


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path, None) if find is not None else None
        if spec is not None:
            return spec
    return None


# why


def _told(name: str, found: Found) -> dict[str, object]:
    told: dict[str, object] = {"name": name}
    found_loader = found.spec.loader if found.spec is not None else None
    loader = found_loader if is_native(found_loader) else None
    source = source_of(loader) if loader is not None else None
    if source is not None:
        told |= {
            "claimed": True,
            "source": source.path,
            "toolchain": source.toolchain,
            "package": source.package,
            "why": _rule(source),
            "instead_of": _losers(source),
        }
    else:
        told |= {"claimed": False, **_somebody_else(name, found)}
        path = told.get("source")
        if isinstance(path, str) and path.endswith(".py") and found.finder is not None:
            jitted = facts(name, path)
            if jitted is not None:
                told["jitted"] = jitted
    told["not_claimed"] = [{"path": path, "why": why} for path, why in _others(name, found, source)]
    if found.finder is None:
        told["hook"] = "AUTOACCEL=off: the hook is not installed"
    if loader is not None:
        told |= _state(source_of(loader), loader.mode)
    told["mistakes"] = mistakes([source.path] if source is not None else [])
    return told


def _elsewhere(name: str, found: Found) -> list[str]:
    """Which sources of the project define the module, under another file's name or in another folder."""
    here = found.path[0] if "." in name and found.path else os.getcwd()
    init = init_name(name.rpartition(".")[2])
    found_there = [path for path in initialisers(project_folder(here), name) if path not in str(found.hint)]
    return [f"{path} defines {init}: {declaration(name, path)}" for path in found_there]


def _somebody_else(name: str, found: Found) -> dict[str, object]:
    spec = found.spec
    if spec is None:
        return {"kind": "nobody", "why": "; ".join([str(found.hint), *_elsewhere(name, found)])}
    if spec.loader is None or spec.origin is None:
        told: dict[str, object] = {"kind": "namespace package", "source": None, "path": list(found.places or ())}
        # A folder that only has stubs or data is one, too: the import succeeds, and nothing is there.
        meant = _elsewhere(name, found)
        return {**told, "why": "; ".join(meant)} if meant else told
    if spec.origin in ("built-in", "frozen"):
        return {"kind": f"{spec.origin} module", "source": None}
    parts = spec.origin.split(os.sep)
    suffix = os.path.splitext(spec.origin)[1]
    kinds = {".py": "Python source", ".pyc": "Python bytecode", ".so": "extension module", ".pyd": "extension module"}
    kind = kinds.get(suffix, f"file of {type(spec.loader).__name__}")
    if "site-packages" in parts or "dist-packages" in parts:
        kind += " of an installed package"
        project = _copied_from(spec.origin)
        if project is not None:
            return {"kind": kind, "source": spec.origin, "editable": project}
    elif spec.origin.startswith(getattr(sys, "_stdlib_dir", None) or "\0"):
        kind += " of the standard library"
    return {"kind": kind, "source": spec.origin}


def _copied_from(path: str) -> str | None:
    """The project of which an installed file is the copy that an editable install has made."""
    from importlib.metadata import distributions
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    here = os.path.dirname(path)
    while os.path.basename(here) not in ("site-packages", "dist-packages"):
        here = os.path.dirname(here)
    for one in distributions(path=[here]):
        # Whatever is in there is somebody else's.
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            told = json.loads(one.read_text("direct_url.json") or "{}")
            mine = told.get("dir_info", {}).get("editable") is True
            if mine and any(os.path.normpath(one.locate_file(file)) == path for file in one.files or ()):  # type: ignore[call-overload]
                return os.path.normpath(url2pathname(urlsplit(told["url"]).path))
    return None


def _rule(source: Source) -> str:
    """Which line of the table of what is ours."""
    folder, file = os.path.split(source.path)
    stem, suffix = os.path.splitext(file)
    pyproject = _governing(source)
    declared = projects.declared(pyproject) if pyproject else None
    if declared is not None:
        if source.name in declared.modules and declared.modules[source.name][0] == source.path:
            return f"{pyproject} declares the module"
        if suffix == ".py":
            return f"[tool.autoaccel] pure-python in {pyproject} names it"
    if source.package:
        return f"{file} makes {folder} a native package"
    if suffix == ".pyx":
        return f"a .pyx file in a searched folder is the module {source.name}"
    if file in [name for name, _ in CRATE_SOURCES]:
        crate = crates.read_crate(source.path)
        setup = os.path.join(folder, "setup.py")
        if source.name in [table["target"] for table in rustextensions.in_setup(setup) or ()]:
            return f"{setup} makes it"
        if rustprojects.of_crate(source.path).modules.keys() - {crate.library_name} >= {source.name}:
            return f"[package.metadata.autoaccel] in {source.path} names it"
        return f"the crate's library {crate.library} has #[pymodule], py_module_initializer! or PyInit_…"
    if suffix == ".rs":
        return "it has #[pymodule], py_module_initializer!, PyInit_… or a manifest, and belongs to no Cargo package"
    return f"it defines {_what_it_defines(source.path, stem)}"


def _what_it_defines(path: str, stem: str) -> str:
    with open(path, "rb") as file:
        text = file.read()
    for macro in (b"PYBIND11_MODULE", b"NB_MODULE"):
        text = text.replace(macro, b"")
        if not csource.defines_module(stem, text):
            return f"{macro.decode()}({stem}, …)"
    return csource.init_name(stem)


def _governing(source: Source) -> str | None:
    with suppress(AccelError):
        return next(iter(settings.load(source).inputs), None)
    return None


def _losers(source: Source) -> list[str]:
    """Files beside the source that would be the module without it."""
    folder = os.path.dirname(os.path.dirname(source.path) if source.package else manifest.home(source.path) + os.sep)
    stem = source.name.rpartition(".")[2]
    with suppress(OSError):
        names = sorted(os.listdir(folder))
        return [
            os.path.join(folder, name)
            for name in names
            if name.partition(".")[0] == stem
            and name.endswith((".py", ".pyc", ".so", ".pyd"))
            and os.path.join(folder, name) != source.path
        ]
    return []


def _others(name: str, found: Found, source: Source | None) -> Iterator[tuple[str, str]]:
    """Files whose name fits and which are not the module, with the reason."""
    stem = name.rpartition(".")[2]
    taken = source.path if source is not None else found.spec.origin if found.spec is not None else None
    for entry in dict.fromkeys(found.path):
        folder = os.path.abspath(entry)
        for one, _ in named(name, folder, stem):
            if one.path != taken:
                yield one.path, _why_not(name, one.path, folder, found, source)


def _why_not(name: str, path: str, folder: str, found: Found, source: Source | None) -> str:
    finder = found.finder
    stem = name.rpartition(".")[2]
    if finder is None:
        return "the hook is off"
    looked = sys.path_importer_cache.get(folder)
    if is_adopted(looked) and excludes(looked, name):
        return _excluded_by(name, folder)
    if not is_adopted(looked) or (looked.limited and name not in finder.include):
        return "Python's own and installed packages are looked at only where [tool.autoaccel] include names them"
    if path.endswith((".rs", ".toml")):
        if not claims(name, path):
            owner = rustsource.package_around(path) if path.endswith(".rs") else None
            return f"it belongs to {owner}" if owner else "it has no #[pymodule], py_module_initializer! or PyInit_…"
    elif not path.endswith(".pyx") and not claims(name, path):
        with open(path, "rb") as file:
            if file.read(len(csource.GENERATED)) == csource.GENERATED:
                return "Cython generated it"
        return f"it defines neither {csource.init_name(stem)} nor PYBIND11_MODULE({stem}, …) nor NB_MODULE({stem}, …)"
    if os.path.isfile(os.path.join(folder, stem, "__init__.py")):
        return f"the package {os.path.join(folder, stem)} comes first"
    if source is not None and os.path.dirname(source.path) == folder:
        return f"{os.path.basename(source.path)} comes first; two sources of one module are refused when it is built"
    return "it comes later on the search path" if found.spec is not None else "its folder is not searched"


def _excluded_by(name: str, folder: str) -> str:
    path, _ = settings.governing(folder)
    project = projects.declared(path) if path is not None else None
    patterns = [one for one in project.exclude if fnmatchcase(name, one)] if project is not None else []
    return f"`exclude` in [tool.autoaccel] of {path} has {', '.join(map(repr, patterns))}"


# what would happen


def _state(source: Source, mode: str) -> dict[str, object]:
    known = manifest.read(source.name, source.path)
    reason = _stale(known, mode)
    told: dict[str, object] = {
        "mode": mode,
        "manifest": {"holds": reason is None, "why": reason},
        "artifact": _artifact(known) if known is not None else None,
    }
    plan: Plan | None = None
    problem: AccelError | None = None
    try:
        plan = pipeline.plan_of(source)
    except AccelError as error:
        problem = error
    told["plan"] = _plan_data(plan) if plan is not None else None
    coming = _next(known, reason, mode, plan, problem)
    told["next"] = {"does": coming.does, "why": coming.why, "artifact": coming.artifact}
    told["changes"] = _changes(plan, known) if plan is not None and coming.does in ("build", "fail") else []
    return told


def _changes(plan: Plan, known: manifest.Manifest | None) -> list[dict[str, str]]:
    entries = [entry for reader in store.readers() for entry in reader.entries()]
    entry = nearest(entries, plan, known)
    return [asdict(one) for one in changes(entry, plan, keys.Contents(), known)] if entry is not None else []


def _stale(known: manifest.Manifest | None, mode: str) -> str | None:
    if known is None:
        return "never built here"
    return manifest.stale_reason(known, system=mode != "load")


def _next(
    known: manifest.Manifest | None, reason: str | None, mode: str, plan: Plan | None, problem: AccelError | None
) -> Next:
    """What the loader and the pipeline would decide, without their building."""
    if known is not None and reason is None and mode != "check":
        return Next("load", "the manifest holds", known.artifact)
    if known is not None and store.unchanged(known, system=mode != "load") is not None:
        return Next("look up", "in the files that seem to have changed, all that counts is as it was", known.artifact)
    if mode == "load":
        return Next("fail", f"AUTOACCEL=load forbids to compile, and {reason}")
    if plan is None:
        assert problem is not None
        if (
            isinstance(problem, ToolchainMissing)
            and known is not None
            and store.unchanged(known, system=False) is not None
        ):
            return Next("look up", "a tool to build it is missing, and its sources have not changed", known.artifact)
        return Next("fail", problem.msg)
    contents = keys.Contents()
    key = keys.plan_key(plan, contents)
    kept = store.open_store()
    artifact = kept.find(key, contents, repair=False)
    if artifact is not None:
        return Next("look up", "the cache has a build of exactly these contents", artifact[0].path)
    failure = kept.recall(key, contents)
    if failure is not None:
        return Next("fail", f"the same contents failed before:\n{failure.msg}")
    return Next("build", "the cache has no build of these contents")


def _artifact(known: manifest.Manifest) -> dict[str, object]:
    data: dict[str, object] = {"path": known.artifact, "key": known.key}
    meta = store.read_meta(os.path.dirname(known.artifact))
    if meta is not None:
        data |= {key: meta[key] for key in ("size", "created", "seconds")}
        read = {path for path, _ in meta["inputs"]} | meta.get("taken", {}).keys()
        data |= {"inputs": len(read), "inputs_of_the_project": len(known.inputs)}
    return data


def _plan_data(plan: Plan) -> dict[str, object]:
    options = {name: value for name, value in asdict(plan.options).items() if value}
    for searched in ("absent", "folders"):
        options.pop(searched, None)
    details = {name: value for name, value in asdict(plan.settings).items() if value not in (None, False, (), {})}
    for covered in ("options", "seen", "taken", "absent"):
        details.pop(covered, None)
    return {
        "options": options,
        "settings": details,
        "environment": {name: value for name, value in plan.env if value is not None},
        "tools": [{"name": tool.name, "version": tool.version} for tool in plan.tools],
        "inputs": list(dict.fromkeys((*plan.inputs, *plan.settings.inputs))),
    }


# for people


def _show(told: dict[str, Any]) -> None:
    click.echo(click.style(told["name"], bold=True))
    if "hook" in told:
        fact("hook", told["hook"].partition(": ")[2] + f" ({told['hook'].partition(': ')[0]})")
    if told["claimed"]:
        fact("source", told["source"])
        fact("claimed by", f"autoaccel: {told['toolchain']}{' (a package)' if told['package'] else ''}")
        fact("because", told["why"])
        if told["instead_of"]:
            fact("instead of", *told["instead_of"])
    elif told["kind"] == "nobody":
        fact("found by", "nobody")
        fact("because", told["why"])
    else:
        fact("found by", f"Python itself: a {told['kind']}".replace(": a e", ": an e"))
        fact("source", *([told["source"]] if told.get("source") else told.get("path", ["none"])))
        if "why" in told:
            fact("but", told["why"])
    if "editable" in told:
        fact(
            "mind",
            f"an editable install has copied it from {told['editable']}: changes there don't reach it.",
            f"With PYTHONPATH={told['editable']} the source wins.",
        )
    if "jitted" in told:
        _show_jitted(told["jitted"])
    if told["not_claimed"]:
        fact("not", *(f"{other['path']}: {other['why']}" for other in told["not_claimed"]))
    if told["claimed"]:
        _show_state(told)
    if told["mistakes"]:
        fact("mind", *told["mistakes"])


def _show_jitted(told: dict[str, Any]) -> None:
    fact("numba", f"it uses {', '.join(told['decorators']) or 'names of it'}", told["state"])
    if "artifact" in told:
        fact("artifact", told["artifact"])
    if told["native"]:
        fact("native", *(f"{name}{one}" for name, signatures in told["native"].items() for one in signatures))
    lines = [f"{name}{one}: {why}" for name, reasons in told["numba"].items() for one, why in reasons.items()]
    if lines:
        fact("on numba", *lines)


def _show_state(told: dict[str, Any]) -> None:
    held = told["manifest"]
    artifact = told["artifact"]
    state = "holds" if held["holds"] else f"{'none' if artifact is None else 'does not hold'}: {held['why']}"
    fact("manifest", state)
    if artifact is not None:
        lines = [artifact["path"], f"key {artifact['key']}"]
        if "created" in artifact:
            old, took = age(time.time() - artifact["created"]), duration(artifact["seconds"])
            lines.append(f"built {old} ago in {took}; the library has {size(artifact['size'])}")
            own = artifact["inputs_of_the_project"]
            lines.append(f"made from {artifact['inputs']} files, {own} of them the project's")
        fact("artifact", *lines)
    if told["plan"] is not None:
        _show_plan(told["plan"])
    if told["changes"]:
        lines = [f"{_shown(one)}: {one['before']} -> {one['after']}" for one in told["changes"]]
        fact("changed", *lines)
    coming = told["next"]
    does = {
        "load": "loads the artifact",
        "look up": "loads what the cache has",
        "build": "builds",
        "fail": "fails",
    }[coming["does"]]
    first, *rest = f"{does}: {coming['why']}".splitlines()
    fact("next import", first, *rest)


def _show_plan(plan: dict[str, Any]) -> None:
    told = {**plan["options"], **plan["settings"], **{f"${name}": value for name, value in plan["environment"].items()}}
    told.pop("root", None)
    if told:
        fact("options", *(f"{name} = {_words(value)}" for name, value in told.items()))
    fact("tools", *(f"{tool['name']}: {tool['version']}" for tool in plan["tools"]))
    extra = plan["inputs"][1:]
    if extra:
        fact("reads too", *(path if os.path.exists(path) else f"{path} (does not exist)" for path in extra))


def _shown(change: dict[str, str]) -> str:
    signs = {"environment": "$", "option": "option "}
    return signs.get(change["kind"], "") + change["what"]


def _words(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(
            "=".join(str(part) for part in item if part is not None) if isinstance(item, (list, tuple)) else str(item)
            for item in value
        )
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)
