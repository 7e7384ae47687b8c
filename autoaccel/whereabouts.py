"""Where in a project is what a build or an import misses: so that an error tells what to write, not only what is wrong.

Only read when something has failed. What it finds is a guess from names and text; the compiler judges.
"""

from __future__ import annotations

import os
import re
import sys

from .csource import code, defines_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

__all__ = ["cover", "definers", "folders_with", "includes", "initialisers", "inits", "missing_names", "spelled"]

#: Folders that have nothing of the project's own; `build` may be one of a bundled library's.
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_SOURCES = (".c", ".cpp", ".cc", ".cxx")
#: An error is not to be waited for: what a large project has beyond this is not looked at.
_ENTRIES = 20_000
_BYTES = 100 << 20
_LARGEST = 8 << 20

#: What systems are called in the names of sources; the first is `sys.platform`'s word.
_SYSTEMS = (
    ("linux", "android"),
    ("win32", "win", "windows", "win64", "msvc"),
    ("darwin", "macos", "mac", "osx", "apple"),
    ("aix", "ibmi"),
    ("sunos", "solaris"),
    ("cygwin",),
    ("haiku",),
    ("freebsd", "openbsd", "netbsd", "bsd"),
)
_DIRECTIVES = re.compile(rb"^[ \t]*#(?:.*\\\r?\n)*.*$", re.MULTILINE)


def folders_with(root: str, header: str) -> list[str]:
    """The include folders in the project at ``root`` by which ``#include "header"`` is found, the nearest first."""
    parts = header.split("/")
    if ".." in parts or os.path.isabs(header):
        return []
    found = []
    for folder, files in _walk(root):
        if parts[-1] in files:
            above = folder.split(os.sep)
            if len(above) >= len(parts) and above[len(above) - len(parts) + 1 :] == parts[:-1]:
                found.append(os.sep.join(above[: len(above) - len(parts) + 1]))
    return sorted(found, key=lambda one: (one.count(os.sep), one))


def definers(root: str, names: Collection[str], known: Collection[str] = ()) -> dict[str, list[str]]:
    """Source in the project -> those of the names that it defines, by the look of its text.

    Args:
        root: the project's folder.
        names: functions and variables, as the source spells them.
        known: sources that are compiled already.
    """
    wanted = {name.encode(): _definition(name) for name in names}
    there = {os.path.realpath(one) for one in known}
    found: dict[str, list[str]] = {}
    for path in _sources(root):
        if os.path.realpath(path) in there:
            continue
        text = _read(path)
        if any(name in text for name in wanted):
            plain = _DIRECTIVES.sub(b"", code(text))
            hits = [name.decode() for name, pattern in wanted.items() if _defines(plain, pattern)]
            if hits:
                found[path] = hits
    return found


def cover(definers: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[str]]:
    """Of sources and what they define, enough of them, with no name twice where that can be; and the rest.

    Those that define the same are for other systems, or one is the other with changes: together they can't be linked.
    """
    taken: dict[str, list[str]] = {}
    open_ = {name for names in definers.values() for name in names}

    def gain(path: str) -> tuple[bool, int]:
        count = len(open_.intersection(definers[path]))
        return count > 0 and not _elsewhere(path), count

    while open_:
        path = max(definers, key=gain)
        taken[path] = [name for name in definers[path] if name in open_]
        open_.difference_update(taken[path])
    return {path: taken[path] for path in definers if path in taken}, [path for path in definers if path not in taken]


def _elsewhere(path: str) -> bool:
    """Whether a source is for another system, by the words of its path."""
    here = next((names for names in _SYSTEMS if sys.platform.startswith(names[0])), ())
    others = {name for names in _SYSTEMS if names is not here for name in names}
    return not others.isdisjoint(re.split(r"[\W_]+", path.lower()))


def initialisers(root: str, name: str) -> list[str]:
    """The C and C++ sources in the project that define the init function of the module ``name``."""
    stem = name.rpartition(".")[2]
    return [path for path in _sources(root) if defines_module(stem, _read(path))]


def inits(path: str) -> list[str]:
    """The names of the init functions that a C or C++ source defines itself."""
    text = _read(path)
    stems = dict.fromkeys(re.findall(rb"\bPyInit_(\w+)", text))
    return [f"PyInit_{stem.decode()}" for stem in stems if stem.isascii() and defines_module(stem.decode(), text)]


def includes(path: str) -> bool:
    """Whether a C or C++ source includes anything."""
    return re.search(rb"^[ \t]*#[ \t]*include\b", _read(path), re.MULTILINE) is not None


def spelled(symbol: str) -> str:
    """A linker's symbol as its source spells it, without C++'s namespaces and classes; empty where it can't be read.

    Linkers tell it as it is in the library (``_ZN1a3runEi``), or as C++ has it (``a::run(int)``).
    """
    if not symbol.startswith("_Z"):
        plain = re.sub(r"<[^<>]*>", "", symbol.partition("@")[0].partition("(")[0])
        word = re.search(r"(\w+)$", plain)
        return word[1] if word is not None else ""
    rest = symbol[2:].lstrip("NKVrL")
    last = ""
    while match := re.match(r"L?(\d+)", rest):
        length, start = int(match[1]), match.end()
        last, rest = rest[start : start + length], rest[start + length :]
    return last


def missing_names(symbols: Iterable[str]) -> list[str]:
    """Those of a library's undefined symbols that the process has not, as sources spell them."""
    import ctypes

    asked = list(symbols)
    if not asked:
        # Windows, of whose libraries none are known, has no handle for all.
        return []
    here = ctypes.CDLL(None)
    missing: dict[str, None] = {}
    for symbol in asked:
        try:
            here[symbol]
        except AttributeError:
            if name := spelled(symbol):
                missing[name] = None
    return list(missing)


def _definition(name: str) -> re.Pattern[bytes]:
    """What the definition of a function or of a variable looks like, in code without comments."""
    word = re.escape(name).encode()
    return re.compile(
        rb"(?<![\w.>])" + word + rb"\s*\((?:[^();{}]|\([^()]*\))*\)"
        # A constructor tells how its members begin.
        rb"\s*(?:const\s*|noexcept\s*|override\s*)*(?:->[^;{]*|:[^;{:][^;{]*)?\{"
        rb"|^(?![ \t#]|extern\b|typedef\b|static\b|return\b)[^\n;{}()=]*(?<![\w.>])"
        + word
        + rb"\s*(?:\[[^\]]*\]\s*)*(?:=(?!=)|;|\{)",
        re.MULTILINE,
    )


def _defines(text: bytes, pattern: re.Pattern[bytes]) -> bool:
    for match in pattern.finditer(text):
        # From where the one before it ends.
        before = max(text.rfind(mark, 0, match.start()) for mark in (b";", b"}"))
        if b"static" not in text[before + 1 : match.start()].split():
            return True
    return False


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError:
        return b""


def _sources(root: str) -> Iterator[str]:
    left = _BYTES
    for folder, files in _walk(root):
        for file in files:
            path = os.path.join(folder, file)
            if file.endswith(_SOURCES) and os.path.isfile(path):
                left -= os.path.getsize(path)
                if left < 0:
                    return
                yield path


def _walk(root: str) -> Iterator[tuple[str, list[str]]]:
    left = _ENTRIES
    for folder, folders, files in os.walk(root):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        left -= len(files) + len(folders)
        if left < 0:
            return
        folders[:] = sorted(one for one in folders if one not in _SKIPPED and not one.startswith("."))
        yield folder, sorted(files)
