"""The runtime that natively loaded numba modules share, from our C source and numba's own, which are in its wheel.

Only the runtime is built from a source here. What a user's module gets comes out of a process in which numba has
compiled it (`autoaccel.numba.publish`): its types are known nowhere else.
"""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.machinery import PathFinder

from .. import compiler, errors, keys, manifest
from ..plan import Built, Options, Plan, Tool
from ..settings import Settings
from . import headers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..sources import Source

__all__ = ["build", "package_tool", "plan", "prepare"]

#: numba's sources, below its folder, and their languages; what else is needed of them they include.
_UNITS = (
    ("core/runtime/nrt.cpp", "c++"),
    ("cext/dictobject.c", "c"),
    ("cext/listobject.c", "c"),
    ("cext/setobject.c", "c"),
    ("cext/utils.c", "c"),
)


def prepare() -> None:
    """A compiler starts as fast as it is asked."""


def plan(source: Source, how: Settings) -> Plan:
    """What the runtime is made from."""
    tools = [package_tool(name, source) for name in ("numba", "numpy")]
    home = os.path.dirname(tools[0].files[0])
    units = tuple(os.path.join(home, path) for path, _ in _UNITS)
    inputs = (source.path, *units)
    contents = [(os.path.basename(path), keys.file_digest(path)) for path in inputs]
    mark = keys.digest(manifest.TAG, [(tool.name, tool.identity) for tool in tools], contents)
    options = Options(
        sources=units,
        include_dirs=(os.path.dirname(source.path), home, *headers.numpy_include()),
        define_macros=(("NDEBUG", None), ("NUMBA_LAPACK_BUILD_ILP64", "0")),
        extra_compile_args=("-O2", "-fvisibility=hidden", "-include", "visible.h", "-fno-exceptions", "-fno-rtti"),
        # By its name, which is no other runtime's, a module's library finds it loaded.
        extra_link_args=(f"-Wl,-soname,autoaccel-numba-{mark[:16]}.so", "-Wl,--as-needed", "-Wl,-z,now", "-lm"),
    )
    tools += [compiler.find(language, name=source.name, path=source.path).tool() for language in ("c", "c++")]
    return Plan(
        source=source,
        toolchain=source.toolchain,
        options=options,
        tools=tuple(tools),
        env=tuple((name, os.environ.get(name)) for name in compiler.ENV),
        inputs=inputs,
        # What the user's project says of its own sources is not meant for this one.
        settings=Settings(root=how.root),
    )


def build(plan: Plan, workdir: str) -> Built:
    """Compile and link."""
    units = [compiler.Unit(plan.source.path, "c")]
    units += [compiler.Unit(path, language) for path, (_, language) in zip(plan.options.sources, _UNITS, strict=True)]
    compilers = {
        language: compiler.find(language, name=plan.source.name, path=plan.source.path) for language in ("c", "c++")
    }
    made = compiler.build_library(plan, units, replace(plan.options, language="c"), compilers, plan.settings, workdir)
    return Built(made.library, made.inputs, made.absent, made.log, made.warnings)


def package_tool(package: str, source: Source) -> Tool:
    """An installed package whose version decides the result."""
    found = PathFinder.find_spec(package)
    if found is None or found.origin is None:
        raise errors.no_package(source.name, source.path, package, package)
    home = os.path.dirname(found.origin)
    files = [found.origin, *(f"{home}/{name}" for name in ("_version.py", "version.py"))]
    there = tuple(path for path in files if os.path.isfile(path))
    version = _version(package, home)
    return Tool(package, version, keys.digest(package, version, [keys.file_digest(path) for path in there]), there)


def _version(package: str, home: str) -> str:
    from importlib.metadata import PathDistribution
    from pathlib import Path

    for folder in Path(home).parent.glob(f"{package}-*.dist-info"):
        return PathDistribution(folder).version
    return "unknown"
