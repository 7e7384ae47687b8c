"""Build options that stand beside or inside a source: ``distutils:`` lines, ``.pyxbld``, ``.pyxdep``."""

from __future__ import annotations

import glob
import json
import os
import re
import sys
from importlib.machinery import PathFinder

from .. import errors, process
from ..plan import Options
from ..settings import options_from
from . import cython_server
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..sources import Source

__all__ = ["from_c", "from_cython", "included", "numpy_include", "pyxbld", "pyxdep", "resolve"]

#: What `DistutilsInfo` knows and an import has no use for.
_IDLE = ("name", "np_pythran", "export_symbols")

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\r\n]+)[>"]', re.MULTILINE)

# Run with pyximport's own functions, in a process of its own: a .pyxbld is a program, and setuptools is no guest here.
# Of two edits within one second and of one size, Python's bytecode knows one: what is the project's own is read anew.
_PROBE = """
import json, os, sys
from importlib.machinery import SourceFileLoader
sys.path[:] = json.loads(sys.argv[1])
roots = [os.path.join(os.path.realpath(one), "") for one in (os.getcwd(), os.path.dirname(sys.argv[3]))]
def own(path):
    path = os.path.realpath(path)
    if "site-packages" in path or path.startswith(os.path.realpath(os.path.dirname(os.__file__))):
        return False
    return any(map(path.startswith, roots))
def path_stats(self, path, usual=SourceFileLoader.path_stats):
    if own(path):
        raise OSError
    return usual(self, path)
SourceFileLoader.path_stats = path_stats
from pyximport import pyximport
extension, arguments = pyximport.get_distutils_extension(sys.argv[2], sys.argv[3])
told = {key: getattr(extension, key, None) or [] for key in sys.argv[4].split(",")}
files = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
told["depends"] = [*told["depends"], *sorted(one for one in files if isinstance(one, str) and own(one))]
print("\\n" + json.dumps({**told, "language": extension.language}))
"""
_PROBED = (
    "sources,include_dirs,define_macros,undef_macros,library_dirs,libraries,runtime_library_dirs,extra_objects,"
    "extra_compile_args,extra_link_args,depends"
)


def from_cython(text: str) -> dict[str, object]:
    """The ``# distutils:`` settings in the first comment lines of Cython source."""
    return cython_server.parse_distutils(text)


def from_c(text: str) -> dict[str, object]:
    """The ``// distutils:`` settings in the first comment lines of C or C++ source."""
    lines = []
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if line and not line.startswith("//"):
            break
        lines.append("#" + line[2:])
    return cython_server.parse_distutils("\n".join(lines))


def resolve(told: dict[str, object], source: Source, root: str, file: str | None = None) -> Options:
    """The settings of a file's header as options.

    Relative paths are looked for in the project's folder, as cythonize does from the folder of setup.py, then beside
    the file.

    Raises:
        ConfigError: an unknown key.
    """
    file = file or source.path
    bases = (root, os.path.dirname(file))
    table = {key: value for key, value in told.items() if key not in _IDLE}
    return options_from(table, bases, f"{file}: distutils")


def included(files: Iterable[str], folders: Sequence[str], root: str) -> set[str]:
    """The headers that C sources name, and those that such headers below ``root`` name, as they spell them.

    Args:
        files: the sources.
        folders: where headers are looked for, after the folder of the file that names them.
        root: the project's folder; what other headers include is theirs to know.
    """
    names: set[str] = set()
    waiting = list(dict.fromkeys(files))
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            continue
        for name in map(os.fsdecode, _INCLUDE.findall(text)):
            names.add(name)
            for folder in (os.path.dirname(path), *folders):
                found = os.path.normpath(os.path.join(folder, name))
                if found not in seen and found.startswith(root + os.sep) and os.path.isfile(found):
                    seen.add(found)
                    waiting.append(found)
    return names


def numpy_include() -> list[str]:
    """What ``numpy.get_include()`` gives, without importing numpy."""
    found = PathFinder.find_spec("numpy")
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        for inside in ("_core", "core"):
            folder = os.path.join(place, inside, "include")
            if os.path.isdir(folder):
                return [folder]
    return []


def pyxdep(path: str) -> tuple[str, ...]:
    """The files that the patterns of a ``.pyxdep`` name.

    The rule is pyximport's `handle_dependencies`; its function would set the time stamp of the user's source.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            patterns = [line.strip() for line in file]
    except OSError:
        return ()
    own = os.path.dirname(path)
    found = [match for pattern in patterns if pattern for match in sorted(glob.glob(os.path.join(own, pattern)))]
    return tuple(dict.fromkeys(os.path.abspath(one) for one in found if os.path.isfile(one)))


def pyxbld(source: Source, path: str, root: str) -> Options:
    """What the ``make_ext`` of a ``.pyxbld`` gives; the project's modules that it imports are among the ``depends``.

    Raises:
        Failed: it raises, or gives no Extension.
        ToolchainMissing: pyximport or setuptools is not installed.
    """
    command = [sys.executable, "-c", _PROBE, json.dumps(sys.path), source.name, source.path, _PROBED]
    # Streams apart: what the user's program says on stderr must not be taken for the answer.
    result = process.run(command, cwd=root, env=process.environment(), apart=True)
    if result.status != 0:
        for package in ("pyximport", "setuptools", "distutils"):
            if f"No module named '{package}'" in result.errors:
                wanted = "cython" if package == "pyximport" else "setuptools"
                raise errors.no_package(source.name, path, wanted, wanted)
        error = errors.compile_failed(source.name, path, "the build file", result.errors)
        raise Failed(error, log=result.errors, complete=False)
    try:
        told = json.loads(result.output.strip().rpartition("\n")[2])
    except ValueError:
        said = result.output + result.errors or "make_ext ended the program"
        raise Failed(
            errors.compile_failed(source.name, path, "the build file", said), log=said, complete=False
        ) from None
    told["sources"] = [one for one in told["sources"] if os.path.abspath(os.path.join(root, one)) != source.path]
    if told["language"] is None:
        del told["language"]
    return options_from(told, (root, os.path.dirname(path)), path)
