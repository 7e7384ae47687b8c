"""Modules written in a notebook's cell: a file of the cache's for each, imported like any other."""

from __future__ import annotations

import json
import keyword
import linecache
import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

from . import errors, keys, pipeline, process
from .live.watcher import message
from .loader import is_native, source_of
from .store import open_store, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from .sources import Source

__all__ = ["LANGUAGES", "Cell", "Found", "assembly", "find", "load", "names_of"]

#: What a cell may be written in -> (suffix, how a line becomes a comment, whether compiler flags mean something).
LANGUAGES = {
    "cython": (".pyx", "#", True),
    "c": (".c", "//", True),
    "cpp": (".cpp", "//", True),
    "rust": (".rs", "//", False),
    "numba": (".py", "#", False),
}

#: What gives a module its name in these languages, which name it themselves.
_NAMED = {
    "c": r"\bPyInit_(\w+)\s*\(",
    "cpp": r"\bPyInit_(\w+)\s*\(|\b(?:PYBIND11|NB)_MODULE\s*\(\s*(\w+)",
    "rust": r"#\[\s*(?:pyo3::)?pymodule\b[^\]]*\](?:\s*#\[[^\]]*\])*\s*(?:pub\s+)?(?:fn|mod)\s+(\w+)"
    r"|\bPyInit_(\w+)\s*\(",
}

#: Functions that every library has.
_BOILERPLATE = re.compile(
    r"(_init|_fini|_start|frame_dummy|(de)?register_tm_clones|__do_global_dtors_aux|.*@plt.*|\.plt.*)$"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell says.

    Attributes:
        language: a word of `LANGUAGES`.
        text: what is below its first line.
        name: the module's name, if it was given.
        cflags, ldflags: further words for the compiler and the linker.
        annotate: whether Cython writes its page.
    """

    language: str
    text: str
    name: str | None = None
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    annotate: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A cell in its place.

    Attributes:
        name: the module's.
        path: the file that holds it: its lines have the numbers that they have in the cell.
        spec: what imports it.
    """

    name: str
    path: str
    spec: ModuleSpec

    @property
    def source(self) -> Source | None:
        """What is to be built; None where nothing is."""
        return source_of(self.spec.loader) if is_native(self.spec.loader) else None


def find(cell: Cell) -> Found:
    """Write a cell into the cache, where it is the same file for the same cell.

    Raises:
        ValueError: it can't be a module; the text says why.
    """
    suffix, comment, flags = LANGUAGES[cell.language]
    if (cell.cflags or cell.ldflags) and not flags:
        raise ValueError(f"flags are for cython, c and cpp, not for {cell.language}")
    here = os.getcwd()
    told = keys.digest(cell.language, cell.text, cell.name, cell.cflags, cell.ldflags, cell.annotate, here)
    name = _name(cell, f"accel_{told[:12]}")
    folder = f"{open_store().bucket}/cells/{told[:20]}"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # One line for that of the magic, so that the others have their numbers. Nothing but a blank one may be before a
    # front matter.
    head = "" if cell.text.lstrip().startswith("---") else f"{comment} %%accel {cell.language}"
    _write(f"{folder}/pyproject.toml", _project(cell, name, here))
    _write(f"{folder}/{name}{suffix}", f"{head}\n{cell.text}")
    spec = PathFinder.find_spec(name, [folder])
    if spec is None or spec.loader is None:
        off = os.environ.get("AUTOACCEL") in ("0", "off")
        reason = "AUTOACCEL=off: there is no import hook" if off else f"the cell is no source of the module {name}"
        raise ValueError(reason)
    return Found(name, f"{folder}/{name}{suffix}", spec)


def _name(cell: Cell, usual: str) -> str:
    """The module's name: what the cell defines, else what was given, else one that is made of its content."""
    found = next(re.finditer(_NAMED[cell.language], cell.text), None) if cell.language in _NAMED else None
    if cell.language in _NAMED and found is None:
        what = {"c": "PyInit_<name>", "cpp": "PYBIND11_MODULE(<name>, …), NB_MODULE(<name>, …) or PyInit_<name>",
                "rust": "#[pymodule] or PyInit_<name>"}[cell.language]  # fmt: skip
        raise ValueError(f"the cell defines no module: {what} is missing")
    own = next(filter(None, found.groups())) if found is not None else None
    if own and cell.name and own != cell.name:
        raise ValueError(f"the cell defines the module {own}, and --name says {cell.name}")
    name = own or cell.name or usual
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} can't be the name of a module")
    there = sys.modules.get(name)
    if there is not None and not _is_cell(there):
        raise ValueError(f"a module of the name {name} has been imported already: give the cell another one")
    return name


def _is_cell(module: ModuleType) -> bool:
    parts = str(getattr(module, "__file__", None) or "").replace(os.sep, "/").split("/")
    return len(parts) > 2 and parts[-3] == "cells"


def _project(cell: Cell, name: str, here: str) -> str:
    """The settings of the cell's module; they also keep away those of folders above the cache."""
    lines = ["[tool.autoaccel]"]
    for key, words in (("cflags", cell.cflags), ("ldflags", cell.ldflags)):
        if words:
            lines.append(f"{key} = {json.dumps(words)}")
    if cell.language == "cython" and cell.annotate:
        lines.append("cython = { annotate = true }")
    if LANGUAGES[cell.language][2]:
        # The notebook's own folder has the headers and .pxd files that a cell may want.
        lines += [f"[tool.autoaccel.modules.{name}]", f"include-dirs = [{json.dumps(here)}]"]
    return "\n".join(lines) + "\n"


def _write(path: str, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        pass
    replace(path, data)


def build(found: Found) -> tuple[bool, float]:
    """Have the library of a cell ready; whether it was compiled now, and how long that took.

    Raises:
        AccelError: it does not compile, or a tool is missing.
    """
    source = found.source
    if source is None:
        return False, 0.0
    artifact = pipeline.obtain(source)
    return artifact.built, artifact.seconds


def load(found: Found) -> ModuleType:
    """Import a cell; one that was run before is imported once."""
    there = sys.modules.get(found.name)
    if there is not None and getattr(there, "__file__", None) == found.path:
        return there
    assert found.spec.loader is not None
    # Cython names files relative to the folder that it works in, where no traceback would find the lines.
    with open(found.path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.readlines()
    linecache.cache[os.path.basename(found.path)] = sum(map(len, lines)), None, lines, found.path
    module = module_from_spec(found.spec)
    sys.modules[found.name] = module
    try:
        found.spec.loader.exec_module(module)
    except BaseException:
        if there is None:
            sys.modules.pop(found.name, None)
        else:
            sys.modules[found.name] = there
        raise
    return module


def names_of(module: ModuleType) -> dict[str, Any]:
    """What ``from module import *`` gives."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names}


def located(error: errors.AccelError, path: str, cell: str) -> str:
    """What an error says, with the cell in the place of the file."""
    text = message(error).replace(path, cell)
    # Cython names files relative to the folder that it works in.
    return re.sub(rf"(?<![\w/.-]){re.escape(os.path.basename(path))}(?=:\d)", cell, text)


def page(module: ModuleType) -> str | None:
    """Cython's annotated page of a module, if it was asked for."""
    cached = str(getattr(module, "__cached__", "") or "")
    stem = os.path.splitext(os.path.basename(str(module.__file__)))[0]
    try:
        with open(os.path.join(os.path.dirname(cached), f"{stem}.html"), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None


def assembly(module: ModuleType, text: str) -> str:
    """The machine code of a module's own functions, as an assembler would take it.

    Args:
        module: the module of a cell.
        text: the cell: functions that it names are shown, or all where none is found.

    Raises:
        ValueError: there is nothing to show; the text says why.
    """
    jitted = [
        value
        for value in vars(module).values()
        if hasattr(value, "inspect_asm") and value.__module__ == module.__name__
    ]
    if jitted:
        parts = [code for one in jitted for code in one.inspect_asm().values()]
        if not parts:
            raise ValueError("nothing is compiled yet: give @njit a signature, or call the function first")
        return "\n".join(parts)
    program = shutil.which("objdump")
    if program is None:
        raise ValueError("objdump is needed to show machine code: `apt-get install binutils`")
    library = str(getattr(module, "__cached__", "") or "")
    done = process.run(
        [program, "-d", "-C", "--no-show-raw-insn", "--no-addresses", library], cwd=os.sep, env=process.environment()
    )
    if done.status != 0:
        raise ValueError(f"objdump failed on {library}: {done.output.strip()[-300:]}")
    output = re.sub(r"\n+Disassembly of section .*\n", "\n", done.output)
    blocks = [block for block in re.split(r"\n(?=<)", output) if block.startswith("<")]
    named = {re.match(r"<(.*)>:", block)[1]: block for block in blocks if re.match(r"<(.*)>:", block)}  # type: ignore[index]
    own = {name: block for name, block in named.items() if not _BOILERPLATE.match(name)}
    words = set(re.findall(r"\w+", text))
    mine = [
        block
        for name, block in own.items()
        if words.intersection(re.findall(r"\w+", name)[-1:] + name.split("(")[0].split("::")[-1:])
    ]
    return "\n\n".join(block.strip() for block in mine or own.values())
