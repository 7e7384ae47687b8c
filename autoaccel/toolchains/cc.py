"""C and C++ sources of extension modules: by hand on the C API, or with pybind11 or nanobind."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib.machinery import PathFinder

from .. import compiler, csource, errors, keys
from ..plan import Built, Options, Plan, Tool
from . import headers
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings
    from ..sources import Source

__all__ = ["build", "plan", "prepare"]

_LANGUAGES = {".c": "c"}

#: The package from PyPI -> what of it stands in a source: its macro, its headers.
_BINDINGS = {
    "pybind11": (b"PYBIND11_MODULE", b"<pybind11/", b'"pybind11/'),
    "nanobind": (b"NB_MODULE", b"<nanobind/", b'"nanobind/'),
}


def prepare() -> None:
    """A compiler starts as fast as it is asked."""


def plan(source: Source, how: Settings) -> Plan:
    """What is known of a C or C++ module before it is compiled."""
    try:
        with open(source.path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise errors.unreadable(source.name, source.path, error.strerror or str(error)) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # Compilers take any bytes in comments and literals; only the first lines matter here.
        text = data.decode("latin-1")
    options = headers.resolve(headers.from_c(text), source, how.root)
    try:
        options = options.plus(headers.cppimport(source, text, how.root)).plus(how.options)
    except Failed as failure:
        raise failure.error from None
    language = options.language or _LANGUAGES.get(os.path.splitext(source.path)[1], "c++")
    tools: list[Tool] = []
    named = headers.included((source.path, *options.sources), (*options.include_dirs, how.root), how.root)
    for package, words in _BINDINGS.items():
        # A header that C and C++ share may name them for C++ alone.
        behind = language == "c++" and any(name.startswith(f"{package}/") for name in named)
        if any(word in data for word in words) or (behind and PathFinder.find_spec(package) is not None):
            language = "c++"
            tool, needed = _binding(package, source)
            tools.append(tool)
            options = needed.plus(options)
    if b"numpy/" in data or any(name.startswith("numpy/") for name in named):
        options = options.plus(Options(include_dirs=tuple(headers.numpy_include())))
    options = replace(
        options,
        language=language,
        sources=tuple(one for one in options.sources if one != source.path),
        include_dirs=tuple(dict.fromkeys((*options.include_dirs, os.path.dirname(source.path), how.root))),
    )
    languages = sorted({language, *(_language(one, language) for one in options.sources)})
    tools += [compiler.find(one, name=source.name, path=source.path).tool() for one in languages]
    return Plan(
        source=source,
        toolchain=source.toolchain,
        options=options,
        tools=tuple(tools),
        folders=options.folders,
        env=tuple((name, os.environ.get(name)) for name in compiler.ENV),
        inputs=tuple(dict.fromkeys((source.path, *options.sources, *options.depends))),
        absent=(*how.absent, *options.absent),
        settings=how,
    )


def build(plan: Plan, workdir: str) -> Built:
    """Compile and link."""
    language = plan.options.language or "c"
    units = [compiler.Unit(_compilable(plan.source, workdir), language)]
    units += [compiler.Unit(one, _language(one, language)) for one in plan.options.sources]
    compilers = {
        one: compiler.find(one, name=plan.source.name, path=plan.source.path)
        for one in {unit.language for unit in units}
    }
    made = compiler.build_library(plan, units, plan.options, compilers, plan.settings, workdir)
    return Built(made.library, made.inputs, made.absent, made.log, made.warnings)


def _compilable(source: Source, workdir: str) -> str:
    """The file to compile: the source, or a copy without Python for cppimport that stands outside of comments."""
    with open(source.path, "rb") as file:
        data = file.read()
    if b"<%" not in data:
        return source.path
    text = data.decode("utf-8", "surrogateescape")
    found = headers.blocks(text)
    if not found or b"<%" not in csource.code(data):
        return source.path
    for start, end in found:
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    path = os.path.join(workdir, os.path.basename(source.path))
    spelled = source.path.replace("\\", "\\\\").replace('"', '\\"')
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(f'#line 1 "{spelled}"\n{text}')
    return path


def _language(path: str, main: str) -> str:
    suffix = os.path.splitext(path)[1]
    return _LANGUAGES.get(suffix, "c++" if suffix in (".cpp", ".cc", ".cxx", ".c++", ".C") else main)


def _binding(package: str, source: Source) -> tuple[Tool, Options]:
    """A binding generator from PyPI: where its headers are, and how its authors have it compiled."""
    found = PathFinder.find_spec(package)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if not places:
        raise errors.no_package(source.name, source.path, package, package)
    home = places[0]
    version = _version(package, home)
    # It has no file of its own to look at: its headers are among what is read.
    tool = Tool(package, version, keys.digest(package, version))
    include = os.path.join(home, "include")
    if package == "pybind11":
        # pybind11's documentation, "Building manually".
        return tool, Options(include_dirs=(include,), extra_compile_args=("-std=c++17", "-fvisibility=hidden"))
    # nanobind's documentation, "Building extensions using other build systems".
    robin = os.path.join(home, "ext", "robin_map", "include")
    flags = ("-std=c++17", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffunction-sections", "-fdata-sections")
    library = os.path.join(home, "src", "nb_combined.cpp")
    return tool, Options(sources=(library,), include_dirs=(include, robin), extra_compile_args=flags)


def _version(package: str, home: str) -> str:
    from importlib.metadata import PathDistribution
    from pathlib import Path

    for folder in Path(home).parent.glob(f"{package}-*.dist-info"):
        return PathDistribution(folder).version
    return "unknown"
