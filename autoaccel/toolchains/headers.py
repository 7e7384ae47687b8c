"""Build options beside or inside a source: ``distutils:`` lines, ``.pyxbld``, ``.pyxdep``, cppimport's blocks."""

from __future__ import annotations

import glob
import json
import os
import re
import sys
import textwrap
from importlib.machinery import PathFinder

from .. import errors, process
from ..plan import Options
from ..settings import options_from
from . import cython_server
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ..sources import Source

__all__ = ["blocks", "cppimport", "from_c", "from_cython", "included", "numpy_include", "pyxbld", "pyxdep", "resolve"]

#: What `DistutilsInfo` knows and an import has no use for.
_IDLE = ("name", "np_pythran", "export_symbols")

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\r\n]+)[>"]', re.MULTILINE)

# Run in a process of its own: what says how to build is a program, and setuptools is no guest here.
# Of two edits within one second and of one size, Python's bytecode knows one: what is the project's own is read anew.
_ANEW = """
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
def imported():
    files = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
    return sorted(one for one in files if isinstance(one, str) and own(one))
"""
# With pyximport's own functions.
_PYXIMPORT = (
    _ANEW
    + """
from pyximport import pyximport
extension, arguments = pyximport.get_distutils_extension(sys.argv[2], sys.argv[3])
told = {key: getattr(extension, key, None) or [] for key in sys.argv[4].split(",")}
told["depends"] = [*told["depends"], *imported()]
print("\\n" + json.dumps({**told, "language": extension.language}))
"""
)
# With the names that cppimport gives a block, and what it makes of them.
_CPPIMPORT = (
    _ANEW
    + """
class BuildArgs(dict):
    old = {"compiler_args": "extra_compile_args", "linker_args": "extra_link_args"}
    def __getitem__(self, key):
        return super().__getitem__(self.old.get(key, key))
    def __setitem__(self, key, value):
        super().__setitem__(self.old.get(key, key), value)
def setup_pybind11(cfg):
    import pybind11
    cfg["include_dirs"] += [pybind11.get_include()]
keys = ("sources", "include_dirs", "extra_compile_args", "extra_link_args", "libraries", "library_dirs")
cfg = BuildArgs({key: [] for key in (*keys, "dependencies")}, parallel=False)
names = {"cfg": cfg, "setup_pybind11": setup_pybind11, "fullname": sys.argv[2], "filepath": sys.argv[3]}
names["filedirname"], names["filebasename"] = os.path.split(sys.argv[3])
for line, code in json.loads(sys.argv[4]):
    exec(compile("\\n" * line + code, sys.argv[3], "exec"), names)
told = {key: cfg.get(key) or [] for key in keys}
told["depends"] = [*(cfg.get("dependencies") or []), *imported()]
print("\\n" + json.dumps(told, default=os.fspath))
"""
)
#: Mako's Python, if it is about cppimport's settings.
_BLOCK = re.compile(r"<%!?(?=\s)(.*?)%>", re.DOTALL)
_SETTING = re.compile(r"\bsetup_pybind11\s*\(|\bcfg\s*[\[.]")
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
    told = _run(_PYXIMPORT, _PROBED, source, path, root)
    told["sources"] = [one for one in told["sources"] if os.path.abspath(os.path.join(root, one)) != source.path]
    if told["language"] is None:
        del told["language"]
    return options_from(told, (root, os.path.dirname(path)), path)


def blocks(text: str) -> list[tuple[int, int]]:
    """Where C source has Python for cppimport in it (``<%`` to ``%>``): there it is nothing for a compiler."""
    found = list(_BLOCK.finditer(text))
    return [match.span() for match in found] if any(_SETTING.search(match[1]) for match in found) else []


def cppimport(source: Source, text: str, root: str) -> Options:
    """What the blocks of Python in C source set, as cppimport's users write them; paths are relative to the file.

    Raises:
        Failed: the Python in them raises.
    """
    found = blocks(text)
    if not found:
        return Options()
    code = [(text.count("\n", 0, start), _dedented(text[start:end])) for start, end in found]
    told = _run(_CPPIMPORT, json.dumps(code), source, source.path, root)
    return options_from(told, (os.path.dirname(source.path), root), f"{source.path}: cppimport")


def _dedented(block: str) -> str:
    code = block.removesuffix("%>").removeprefix("<%").removeprefix("!")
    return textwrap.dedent(code if code.partition("\n")[0].strip() == "" else code.lstrip())


def _run(probe: str, told: str, source: Source, path: str, root: str) -> dict[str, Any]:
    """The answer of a program that says how to build."""
    command = [sys.executable, "-c", probe, json.dumps(sys.path), source.name, source.path, told]
    what = "the build file" if path != source.path else "cppimport's block"
    # Streams apart: what the user's program says on stderr must not be taken for the answer.
    result = process.run(command, cwd=root, env=process.environment(), apart=True)
    if result.status != 0:
        for package in ("pyximport", "setuptools", "distutils", "pybind11"):
            if f"No module named '{package}'" in result.errors:
                wanted = {"pyximport": "cython", "pybind11": "pybind11"}.get(package, "setuptools")
                raise errors.no_package(source.name, path, wanted, wanted)
        error = errors.compile_failed(source.name, path, what, result.errors)
        raise Failed(error, log=result.errors, complete=False)
    try:
        answer: dict[str, Any] = json.loads(result.output.strip().rpartition("\n")[2])
    except ValueError:
        said = result.output + result.errors or f"{what} ended the program"
        raise Failed(errors.compile_failed(source.name, path, what, said), log=said, complete=False) from None
    return answer
