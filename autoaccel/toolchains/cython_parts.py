"""Compile a generated C file with what earlier modules have compiled of it: functions of Cython's own.

Parts are object files of such functions, in the cache under what they were compiled with, each with a list of its
symbols; `cython_split` says what a symbol stands for. The linker leaves out what a module does not reach, and of a
symbol that two parts have, which are the same, it takes the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .. import keys, process, settings
from . import builddirs, cython_split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from concurrent.futures import Future

__all__ = ["LINK_FLAGS", "Made", "make"]

#: How the author's half and parts become a library.
LINK_FLAGS = ("-Wl,--gc-sections",)

#: Each function in a section of its own, so that the linker can leave it out.
_PART_FLAGS = (
    "-ffunction-sections",
    "-fdata-sections",
    "-Werror=implicit-function-declaration",
    "-Werror=implicit-int",
)

#: Bytes of C below which a part is not worth another reading of Python.h (0.06 s; GCC compiles 200 to 300 kB a second).
_LEAST = 15_000
#: Bytes of C from which on a part is compiled in several pieces at once.
_SEVERAL = 50_000
#: Parts compiled with the same flags; what is missing beyond that stays in the author's half.
_MOST = 64
#: Seconds to wait for another process that compiles what is missing.
_PATIENCE = 60.0

#: Flags that have no other effect than on the code. Others (coverage, plugins, debug information, what depends
#: on the machine) may write files of their own, or mean something else in another place.
_PLAIN = ("-f", "-m", "-O", "-W", "-std=", "-pthread", "-w", "--param=", "-ansi", "-pipe")
_MEANT = (
    "-fprofile", "-ftest-coverage", "-fsanitize", "-finstrument", "-fplugin", "-flto", "-fwhole", "-fdump", "-fdebug",
    "-fcallgraph", "-fvisibility", "-fpreprocessed", "-fdirectives", "-frandom", "-ffile-prefix", "-fmacro-prefix",
    "-fcondition", "-fsection-anchors", "-fpack-struct", "-fshort-", "-fleading", "-fstack-usage", "-fopt-info",
    "-fsave", "-fsyntax", "-ftime", "-fmem", "-fcompare",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """What a file was compiled to.

    Attributes:
        objects: for the linker, in this order; with `LINK_FLAGS`.
        log: the commands.
    """

    objects: tuple[str, ...]
    log: str


def make(
    command: Sequence[str], program: Sequence[str], module: str, compiler: str, bucket: str, workdir: str
) -> Made | None:
    """Compile a generated file in halves; None where that can't be done, and then nothing is known of the file.

    Args:
        command: the one that would compile it whole; ends with ``-c FILE -o OBJECT``.
        program: how the compiler is started, which the command begins with.
        module: the module's name without its package.
        compiler: the compiler's identity.
        bucket: the cache.
        workdir: where to write.
    """
    path, whole = command[-3], command[-1]
    flags = _flags(command, len(program))
    if flags is None or not module.isascii():
        return None
    env = process.environment()
    log: list[str] = []

    def run(*words: str) -> bool:
        log.append(process.shown(words))
        result = process.run(words, cwd=workdir, env=env)
        return result.status == 0

    try:
        prepared = f"{whole}.c"
        _write(prepared, cython_split.prepare(_read(path)))
        if not run(*command[:-4], "-E", prepared, "-o", f"{whole}.i"):
            return None
        split = cython_split.split(_read(f"{whole}.i"), prepared, module)
    except (cython_split.Unsplittable, UnicodeError, RecursionError):
        return None
    if not split.keys:
        return None
    library = _Library(bucket, keys.digest(cython_split.RULE, compiler, flags, _PART_FLAGS))
    known = library.symbols()
    missing = {name for name in split.keys if split.symbol(name) not in known}
    moved = set(split.keys)
    if sum(split.sizes[name] for name in missing) < _LEAST or library.full:
        moved -= missing
        missing = set()
    if not moved or library.refuses(split, missing):
        return None

    def compile_text(text: str, stem: str, words: Sequence[str]) -> bool:
        _write(f"{stem}.i", text)
        return run(*words, "-x", "cpp-output", "-c", f"{stem}.i", "-o", f"{stem}.o")

    # What a part's text might lack must not be made up. (-w would have it made up silently.)
    strict = [*(word for word in flags if word != "-w"), *_PART_FLAGS]

    with ThreadPoolExecutor(settings.jobs(), initializer=process.inherited()) as pool:
        half: Future[bool] = pool.submit(compile_text, split.half(moved), f"{whole}.half", flags)
        if missing:
            with builddirs.exclusive(bucket, library.folder, _PATIENCE):
                known = library.symbols()
                missing = {name for name in missing if split.symbol(name) not in known}
                pieces = list(_pieces(split, missing, settings.jobs()))
                stems = [f"{whole}.part{number}" for number in range(len(pieces))]
                texts = [split.part(piece) for piece in pieces]
                if not all(pool.map(lambda text, stem: compile_text(text, stem, strict), texts, stems)):
                    library.refuse(split, missing)
                    return None
                for piece, stem in zip(pieces, stems, strict=True):
                    library.add(f"{stem}.o", [split.symbol(name) for name in piece])
        if not half.result():
            return None
    objects = library.having([split.symbol(name) for name in moved])
    return None if objects is None else Made((f"{whole}.half.o", *objects), "\n".join(log))


def _flags(command: Sequence[str], start: int) -> list[str] | None:
    """The command's words that matter after the preprocessor; None where one is of an unknown kind."""
    kept = list(command[:start])
    words = iter(command[start:-4])
    for word in words:
        if word in ("-I", "-isystem", "-iquote", "-idirafter", "-D", "-U", "-MF", "-x"):
            next(words, "")
        elif word == "-MD" or word.startswith(("-I", "-isystem", "-iquote", "-idirafter", "-D", "-U")):
            continue
        elif not word.startswith(_PLAIN) or word.startswith(_MEANT) or "native" in word or "," in word:
            return None
        else:
            kept.append(word)
    return kept


def _pieces(split: cython_split.Split, names: Iterable[str], most: int) -> Iterable[list[str]]:
    """The functions in as many groups of like size as are worth it."""
    names = sorted(names, key=lambda name: (-split.sizes[name], name))
    if not names:
        return
    total = sum(split.sizes[name] for name in names)
    count = most if total >= _SEVERAL else 1
    for number in range(count):
        if piece := names[number::count]:
            yield piece


class _Library:
    """The parts that were compiled with the same flags."""

    def __init__(self, bucket: str, name: str) -> None:
        self.folder = f"{bucket}/parts/{name}"
        self._parts: dict[str, tuple[str, frozenset[str]]] = {}

    @property
    def full(self) -> bool:
        return len(self._parts) >= _MOST

    def symbols(self) -> set[str]:
        """All that there is."""
        self._parts = {}
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self.folder)):
                if name.endswith(".json"):
                    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                        with open(f"{self.folder}/{name}", encoding="ascii") as file:
                            told = json.load(file)
                        self._parts[f"{self.folder}/{name[:-5]}.o"] = (told["digest"], frozenset(told["symbols"]))
        return {symbol for _, symbols in self._parts.values() for symbol in symbols}

    def add(self, path: str, symbols: list[str]) -> None:
        """Keep an object file."""
        from ..store import replace

        with open(path, "rb") as file:
            data = file.read()
        digest = hashlib.sha256(data).hexdigest()
        target = f"{self.folder}/{digest[:32]}"
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        replace(f"{target}.o", data)
        # What is not listed does not count, so the list comes last.
        replace(f"{target}.json", json.dumps({"digest": digest, "symbols": sorted(symbols)}).encode())
        self._parts[f"{target}.o"] = (digest, frozenset(symbols))

    def having(self, symbols: Collection[str]) -> list[str] | None:
        """Parts that have all of the ``symbols`` together, each looked at; None where there are none."""
        wanted = set(symbols)
        parts = dict(self._parts)
        chosen = []
        while wanted:
            path = max(parts, key=lambda one: len(wanted & parts[one][1]), default=None)
            if path is None:
                return None
            digest, has = parts.pop(path)
            if not wanted & has:
                return None
            if keys.file_digest(path) == digest:
                chosen.append(path)
                wanted -= has
                # Who cleans up goes by it.
                with contextlib.suppress(OSError):
                    os.utime(path)
            else:
                for damaged in (f"{path[:-2]}.json", path):
                    with contextlib.suppress(OSError):
                        os.unlink(damaged)
        return chosen

    def refuse(self, split: cython_split.Split, names: Collection[str]) -> None:
        """Remember that a part of these functions can't be compiled."""
        from ..store import replace

        with contextlib.suppress(OSError):
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            replace(f"{self.folder}/{self._refusal(split, names)}", b"")

    def refuses(self, split: cython_split.Split, names: Collection[str]) -> bool:
        return bool(names) and os.path.exists(f"{self.folder}/{self._refusal(split, names)}")

    @staticmethod
    def _refusal(split: cython_split.Split, names: Collection[str]) -> str:
        return f"refused-{keys.digest(sorted(split.symbol(name) for name in names))}"


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
