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
import time

from .. import compiler, keys, process, settings, workers
from . import builddirs, cython_head, cython_split
from .cython_split import read_text, write_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from concurrent.futures import Future

__all__ = ["make"]

#: How the author's half and parts become a library.
_LINK_FLAGS = ("-Wl,--gc-sections",)

#: What a text lacks by mistake must not be made up; it would be silently, with -w.
_STRICT = ("-Werror=implicit-function-declaration", "-Werror=implicit-int")
#: Each function in a section of its own, so that the linker can leave it out.
_PART_FLAGS = ("-ffunction-sections", "-fdata-sections")

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


def make(job: compiler.Job, module: str, bucket: str) -> compiler.Objects | None:
    """Compile a generated file in halves; None where that can't be done, and then nothing is known of the file.

    Args:
        job: how it would be compiled whole.
        module: the module's name without its package.
        bucket: the cache.
    """
    told = _flags(job.flags)
    if told is None or not module.isascii():
        return None
    flags = [*job.compiler.command, *told]
    whole = job.output
    log: list[str] = []

    def run(*words: str) -> bool:
        log.append(process.shown(words))
        return process.run(words, cwd=job.cwd, env=job.env).status == 0

    started = time.time_ns()
    try:
        prepared = f"{whole}.c"
        text = cython_split.prepare(read_text(job.path))
        head, start = cython_head.of(job, text)
        prefix = head.prefix
        write_text(prepared, text if prefix is None else head.without(text, start, prepared))
        if not run(*job.compiler.command, *job.flags, "-E", prepared, "-o", f"{whole}.i"):
            return None
        if prefix is not None:
            head.complete(job.depfile)
        # As if the file itself had been preprocessed: it may tell its name.
        text = read_text(f"{whole}.i").replace(f'"{prepared}"', f'"{job.path}"')
        split = cython_split.split(text, job.path, module, prefix)
    except (cython_split.Unsplittable, UnicodeError, RecursionError):
        return None
    if not split.keys:
        return None
    library = _Library(bucket, keys.digest(cython_split.RULE, job.compiler.identity, flags, _PART_FLAGS))
    known = library.symbols()
    missing = {name for name in split.keys if split.symbol(name) not in known}
    moved = set(split.keys)
    if sum(split.sizes[name] for name in missing) < _LEAST or library.full:
        moved -= missing
        missing = set()
    if not moved or library.refuses(split, missing):
        return None

    def compile_text(text: str, stem: str, words: Sequence[str]) -> bool:
        write_text(f"{stem}.i", text)
        return run(*words, "-x", "cpp-output", "-c", f"{stem}.i", "-o", f"{stem}.o")

    strict = [*(word for word in flags if not word.startswith(("-w", "-W"))), *_STRICT]
    sectioned = [*strict, *_PART_FLAGS]
    with workers.Pool(settings.jobs()) as pool:
        half: Future[bool] = pool.submit(compile_text, split.half(moved), f"{whole}.half", strict)
        if missing:
            with builddirs.exclusive(bucket, library.folder, _PATIENCE):
                known = library.symbols()
                missing = {name for name in missing if split.symbol(name) not in known}
                pieces = list(_pieces(split, missing, settings.jobs()))
                stems = [f"{whole}.part{number}" for number in range(len(pieces))]
                texts = [split.part(piece) for piece in pieces]
                if not all(pool.map(lambda text, stem: compile_text(text, stem, sectioned), texts, stems)):
                    library.refuse(split, missing)
                    return None
                for piece, stem in zip(pieces, stems, strict=True):
                    library.add(f"{stem}.o", [split.symbol(name) for name in piece])
        head.learn(job, split.prefix, started)
        if not workers.result(half):
            return None
    objects = library.having([split.symbol(name) for name in moved])
    if objects is None:
        return None
    return compiler.Objects((f"{whole}.half.o", *objects), process.Result(0, ""), "\n".join(log), _LINK_FLAGS)


def _flags(flags: Sequence[str]) -> list[str] | None:
    """The flags that matter after the preprocessor; None where one is of an unknown kind."""
    kept = []
    words = iter(flags)
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
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            replace(f"{target}.o", data)
            # What is not listed does not count, so the list comes last.
            replace(f"{target}.json", json.dumps({"digest": digest, "symbols": sorted(symbols)}).encode())
            path = f"{target}.o"
        except OSError:
            # The cache is full, or can't be written: it serves the build that it was made for.
            pass
        self._parts[path] = (digest, frozenset(symbols))

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
