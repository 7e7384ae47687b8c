"""The C family's compiler: found as setuptools would find it, asked once what it is, and made to build a library.

Flags are those that this Python was built with (sysconfig), less what costs time and changes no result (debug
information, warnings, link-time optimisation), plus the user's ``CFLAGS`` and the like, which stay as they are. The
measurements are in docs/benchmarks.md.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shlex
import sys
import sysconfig
import time
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder

from . import errors, keys, manifest, process, processor, settings, whereabouts, workers
from .errors import Diagnostic
from .plan import Tool
from .toolchains.base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from .plan import Options, Plan
    from .settings import Settings

__all__ = [
    "ENV",
    "SEARCHED",
    "Compiled",
    "Compiler",
    "Job",
    "Objects",
    "Unit",
    "build_library",
    "dependencies",
    "diagnostics",
    "escaped",
    "find",
    "include_probes",
    "include_words",
    "job_of",
    "unsaid",
]

#: Environment variables that change what compilers do (GCC manual, "Environment Variables"; setuptools).
ENV = (
    "CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED", "LDCXXSHARED", "CCSHARED", "ARCHFLAGS",
    "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX",
    "MACOSX_DEPLOYMENT_TARGET", "SDKROOT", "SOURCE_DATE_EPOCH",
)  # fmt: skip

#: Those among them that add include folders.
SEARCHED = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH")

_CANDIDATES = {"c": ("cc", "gcc", "clang"), "c++": ("c++", "g++", "clang++")}

#: What a user writes is compiled as this Python was: -O3 as a rule.
_OPTIMIZE = ("-O3",)

#: What a generator writes (Cython) is long, and mostly runs once. -O2 with the vectoriser of -O3, without the passes
#: that cost most, compiles 2.4 times as fast as Python's own flags and runs as fast as -O3 (geometric mean of 35
#: kernels 1.01; single loops 0.8 to 1.6, as with plain -O2). Not -O1 with passes added: that keeps counted loops that
#: -O2 solves.
_GCC_GENERATED = (
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-fno-code-hoisting",
    "-fno-gcse",
    "-fno-tree-pre",
    "-fno-schedule-insns2",
    "-fno-ipa-cp",
    "-fno-ipa-bit-cp",
    "-fno-ipa-sra",
    "-fno-ipa-vrp",
    "-fno-ipa-icf",
    "-fno-rerun-cse-after-loop",
    "-fno-cse-follow-jumps",
    "-fno-crossjumping",
    "-fno-tree-tail-merge",
    "-fno-partial-inlining",
    "-fno-reorder-blocks-and-partition",
    "-fno-store-merging",
    "-fno-optimize-strlen",
    # As with -O3. Cython's helpers that fall out of a loop cost more, also to compile.
    "--param=max-inline-insns-single=200",
)
#: Other compilers vectorise at -O2.
_GENERATED = ("-O2",)

_DIAGNOSTIC = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<level>fatal error|error|warning|note): (?P<message>.*)$", re.MULTILINE)  # fmt: skip  # noqa: E501
_MISSING = re.compile(r"(?:fatal error: |')(?P<header>[^\s:']+)(?:: No such file|' file not found)")
_INCLUDED = re.compile(r"^(?:In file included from|\s+from) ([^\s:][^:\n]*):\d+", re.MULTILINE)
#: Words of C++, of which a C compiler makes types.
_CPP = re.compile(r"unknown type name .(?:class|namespace|template|using)\b")
#: A symbol that nothing has which is linked: GNU's linkers twice, LLVM's, Apple's.
_UNDEFINED = re.compile(
    r"undefined reference to [`']([^'\n]+)'|hidden symbol [`']([^'\n]+)' isn't defined"
    r"|undefined (?:hidden )?symbol: (\S+)|^ *\"_([^\"\n]+)\", referenced from",
    re.MULTILINE,
)
#: Words before a folder with headers, and when it is searched: GCC's "Options for Directory Search".
_SEARCH_WORDS = (("-isystem", 2), ("-iquote", 0), ("-idirafter", 3), ("-I", 1), ("--include-directory=", 1))
_LAST = 3
#: Packages from PyPI that bring headers which are found without being told.
_PACKAGES = frozenset(("numpy", "pybind11", "nanobind"))
#: White space and comments; what it has taken it never gives back.
_GAP = rb"(?:[ \t\f\v]|/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*+/)*+"
#: What a directive names: `"name` or `<name`, or nothing where it is a macro that names it.
_INCLUDE = re.compile(
    rb'(?:#|%%:|\?\?=)%b(?:include|include_next|import|embed)\b%b("[^"\r\n]+|<[^>\r\n]+|)' % (_GAP, _GAP)
)
#: A line that goes on in the next one.
_GOES_ON = re.compile(rb"\\\r?\n")
_CONDITIONAL = re.compile(rb"__has_(?:include|include_next|embed)%b\(%b([<\"][^>\"]+)[>\"]" % (_GAP, _GAP))


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C or C++ compiler as it answered when it was asked.

    Attributes:
        command: how it is started.
        kind: ``"gcc"``, ``"clang"`` or ``"zig"``.
        version: its first line about itself.
        identity: digest of what it is.
        files: its programs, whose stat identity tells that it was replaced.
        search: its own include folders, in its order.
        traces: whether its linker writes a dependency file.
        generated: how it is told to optimise what a generator wrote.
    """

    command: tuple[str, ...]
    kind: str
    version: str
    identity: str
    files: tuple[str, ...]
    search: tuple[str, ...]
    traces: bool
    generated: tuple[str, ...]

    @property
    def own(self) -> tuple[str, ...]:
        """Its own include folders, without those that the user names ($CPATH, words of $CC) or fills (/usr/local)."""
        named = [one for name in SEARCHED for one in os.environ.get(name, "").split(os.pathsep)]
        named = [os.path.normpath(one) for one in (*named, *include_words(self.command))]
        return tuple(
            one for one in self.search if os.path.normpath(one) not in named and not one.startswith("/usr/local/")
        )

    def tool(self) -> Tool:
        """As a part of plans and keys."""
        own = self.own
        whole = next((one for one in self.files if os.path.basename(one) in ("cc1", "cc1plus")), None)
        parts = tuple(part for part in _products(own, whole) if os.path.isdir(part[0]))
        files = tuple(one for one in self.files if not _comes_with(one, self.files))
        return Tool(self.command[0], self.version, self.identity, files, (*own, *_python_includes()), parts)


@dataclass(frozen=True, slots=True)
class Unit:
    """One file to compile: where it is, its language, and whether a program wrote it."""

    path: str
    language: str
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """How one file is compiled.

    Attributes:
        compiler: by which compiler.
        flags: with which flags; ``-c``, the file and what is written for it come after them.
        path: the file.
        output: the object file.
        cwd: where the compiler runs.
        env: its environment.
    """

    compiler: Compiler
    flags: tuple[str, ...]
    path: str
    output: str
    cwd: str
    env: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        """The file to its object."""
        return [*self.compiler.command, *self.flags, "-c", self.path, "-o", self.output]

    @property
    def depfile(self) -> str:
        """Where the compiler tells what it has read."""
        return f"{os.path.splitext(self.output)[0]}.d"


@dataclass(frozen=True, slots=True)
class Objects:
    """What a file was compiled to.

    Attributes:
        paths: object files, in their order for the linker.
        result: how the compiler ended; the last one, where there were several.
        log: the commands.
        link_flags: what the linker is to be told with them.
    """

    paths: tuple[str, ...]
    result: process.Result
    log: str
    link_flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A linked library, what was read for it, and what the tools said."""

    library: str
    inputs: tuple[str, ...]
    absent: tuple[str, ...]
    log: str
    warnings: tuple[Diagnostic, ...]


#: What was asked for -> the answer, and the stat identities of its files then.
_found: dict[tuple[object, ...], tuple[Compiler, list[manifest.Identity | None]]] = {}


def find(language: str, *, name: str, path: str) -> Compiler:
    """The compiler that setuptools would use for ``language`` (``"c"`` or ``"c++"``), else another, else ziglang.

    Args:
        language: what is to be compiled.
        name, path: the module, for the error.

    Raises:
        ToolchainMissing: none answers.
    """
    variable = "CC" if language == "c" else "CXX"
    told = os.environ.get(variable)
    memo = (language, told, os.environ.get("PATH"), *(os.environ.get(name) for name in SEARCHED))
    known = _found.get(memo)
    if known is not None and known[1] == list(map(manifest.identity, known[0].files)):
        return known[0]
    started = time.time_ns()
    compiler = _sought(language, variable, told, name, path)
    _found[memo] = compiler, [keys.settled(one, started) for one in compiler.files]
    return compiler


def _sought(language: str, variable: str, told: str | None, name: str, path: str) -> Compiler:
    usual = keys.config_var(variable)
    wanted = [told] if told else [usual, *_CANDIDATES[language]]
    tried = []
    for spelled in wanted:
        words = _words(variable, spelled or "")
        if not words:
            continue
        tried.append(spelled)
        program = process.find_program(words[0])
        if program is not None:
            compiler = _known((program, *words[1:]), language)
            if compiler is not None:
                return compiler
    if not told:
        zig = _zig(language)
        if zig is not None:
            return zig
        tried.append("ziglang from PyPI")
    raise errors.no_compiler(name, path, "C" if language == "c" else "C++", [str(word) for word in tried])


def build_library(
    plan: Plan,
    units: Sequence[Unit],
    options: Options,
    compilers: dict[str, Compiler],
    how: Settings,
    workdir: str,
    halves: Callable[[Job], Objects | None] | None = None,
) -> Compiled:
    """Compile every unit, several at a time, and link them into the module's library.

    Args:
        plan: what is built.
        units: the main file first.
        options: include folders, macros, libraries and arguments.
        compilers: by language.
        how: project-wide settings.
        workdir: where to write.
        halves: another way to compile what a generator wrote; None where it can't be gone. Where the linker says no to
            what it gives, the file is compiled as it is.

    Raises:
        Failed: a compile or the link failed.
    """
    name, path = plan.source.name, plan.source.path
    for unit in units:
        if not os.path.isfile(unit.path):
            missing = errors.no_such_source(name, path, unit.path)
            raise Failed(missing, log=str(missing), absent=[unit.path])
    # What a killed compiler leaves goes with the folder.
    env = process.environment(TMPDIR=workdir)
    jobs = [
        job_of(unit, index, options, compilers[unit.language], how, workdir, env) for index, unit in enumerate(units)
    ]
    log: list[str] = []
    words = [word for job in jobs for word in job.command]
    inputs = [*processor.inputs((*words, *options.extra_link_args, *how.ldflags, os.environ.get("LDFLAGS", "")))]
    absent: list[str] = []

    def work(unit: Unit, job: Job) -> Objects:
        made = halves(job) if halves is not None and unit.generated else None
        if made is None:
            command = job.command
            made = Objects((job.output,), process.run(command, cwd=workdir, env=env), process.shown(command))
        return made

    if len(jobs) > 1:
        with workers.Pool(settings.jobs()) as pool:
            compiled = pool.map(work, units, jobs)
    else:
        compiled = [work(units[0], jobs[0])]
    warnings: list[Diagnostic] = []
    for unit, job, made in zip(units, jobs, compiled, strict=True):
        log += [made.log, made.result.output]
        read = dependencies(job.depfile, workdir)
        inputs += [unit.path, *read]
        absent += include_probes([unit.path, *read], job.command, job.compiler)
        if made.result.status != 0:
            raise _compile_failure(
                plan, unit, job.command, made.result, options, job.compiler, inputs, absent, "\n".join(log), how.root
            )
        warnings += diagnostics(made.result.output)
    library = f"{workdir}/{name.rpartition('.')[2]}{keys.config_var('EXT_SUFFIX')}"
    language = "c++" if options.language == "c++" or any(unit.language == "c++" for unit in units) else "c"
    objects = [path for made in compiled for path in made.paths]
    more = [flag for made in compiled for flag in made.link_flags]
    command = _link_command([*more, *objects], library, language, options, compilers[language], how)
    result = process.run(command, cwd=workdir, env=env)
    log += [process.shown(command), result.output]
    if result.status != 0 and more:
        return build_library(plan, units, options, compilers, how, workdir)
    if result.status != 0:
        hint = _link_hint(name, result.output, how.root, [unit.path for unit in units])
        error = errors.compile_failed(name, path, "the linker", result.output, hint=hint)
        probes = _library_probes(options)
        raise Failed(error, log="\n".join(log), inputs=inputs, absent=[*absent, *probes], complete=False)
    inputs += [*options.extra_objects, *_libraries(dependencies(library + ".d", workdir))]
    absent += _library_probes(options)
    inputs = [one for one in dict.fromkeys(inputs) if not one.startswith(workdir + os.sep)]
    absent = [one for one in dict.fromkeys(absent) if not one.startswith(workdir + os.sep)]
    return Compiled(library, tuple(inputs), tuple(absent), "\n".join(log), tuple(warnings))


def unsaid(options: Options, how: Settings, language: str) -> bool:
    """Whether nobody has said how to optimise, so that it is ours to choose."""
    extra = _words("CXXFLAGS") if language == "c++" else []
    words = (*options.extra_compile_args, *_user_flags(), *extra, *how.cflags)
    return how.optimize is None and not how.debug and not any(word.startswith("-O") for word in words)


def diagnostics(output: str) -> tuple[Diagnostic, ...]:
    """The messages in a compiler's output, each with its excerpt."""
    matches = list(_DIAGNOSTIC.finditer(output))
    found = []
    for match, following in itertools.zip_longest(matches, matches[1:]):
        text = output[match.start() : following.start() if following is not None else len(output)]
        level = "error" if "error" in match["level"] else match["level"]
        found.append(
            Diagnostic(
                match["file"],
                int(match["line"]),
                int(match["column"] or 0),
                match["message"],
                level=level,
                rendered=text,
            )
        )
    return tuple(found)


def include_probes(read: Sequence[str], command: Sequence[str], compiler: Compiler) -> list[str]:
    """Paths that a compiler looked at before it found the headers ``read``: a new file there would shadow one of them.

    A dependency file tells what was found, not how it was spelled, so each spelling that could have found it counts:
    relative to each search folder that contains it. A long one, of a system folder that has another search folder of
    the header in it, counts where a file has it; so Debian's pyconfig.h includes the one of the machine. What a file
    includes by quotes is looked for in its folder first.

    Args:
        read: the compiled file, then the headers.
        command: the compile command, whose words name search folders.
        compiler: whose own search folders come last.
    """
    told = [one for one in include_words(command, last=False) if one not in compiler.search]
    search = tuple(dict.fromkeys((*told, *compiler.search, *include_words(command, last=True))))
    main, headers = read[0], [one for one in read[1:] if one != read[0]]
    theirs = tuple(folder + os.sep for folder in (*compiler.own, *_python_includes()))
    # The compiler's and Python's own headers have the short names, and are not read; but where Python's are in a system
    # folder, one of them includes another by a long one.
    nested = any(one.startswith(folder + os.sep) for one in told for folder in compiler.search)
    quoted: dict[str, set[str]] = {}
    asked: set[str] = set()
    written: set[str] = set()
    by_macros: list[str] = []
    for one in dict.fromkeys([main, *headers]):
        foreign = one != main and one.startswith(theirs)
        if foreign and not nested:
            continue
        in_quotes, in_brackets, conditional, by_macro = _includes(one)
        written |= in_quotes | in_brackets
        if not foreign:
            beside = os.path.dirname(one)
            quoted.setdefault(beside, set()).update(in_quotes)
            asked |= conditional
            if by_macro:
                by_macros.append(beside)
    names = {folder: _names_in(folder) for folder in (os.path.join(one, "") for one in search)}
    probes: dict[str, None] = {}
    possible: set[str] = set()
    for header in headers:
        for spelled, first, earlier, long in _spellings(header, search, compiler.search):
            # By a macro it may be any of them.
            if long and not by_macros and spelled not in written:
                continue
            possible.add(spelled)
            for folder in earlier:
                # Where there is nothing of that beginning, there is no need to look.
                if first not in names[folder] or not os.path.lexists(f"{folder}{spelled}"):
                    probes[f"{folder}{spelled}"] = None
    for beside in by_macros:
        quoted[beside] |= possible
    if any(word.startswith("-fms-") for word in command):
        # As Microsoft's compiler does: also beside who has included who includes.
        quoted = dict.fromkeys(quoted, set().union(*quoted.values()))
    paths = {os.path.join(folder, name) for folder, inside in quoted.items() for name in inside}
    paths |= {os.path.join(folder, name) for folder in search for name in asked}
    probes |= dict.fromkeys(path for path in sorted(paths) if not os.path.lexists(path))
    return list(probes)


def _names_in(folder: str) -> frozenset[str]:
    try:
        return frozenset(map(os.path.normcase, os.listdir(folder)))
    except OSError:
        return frozenset()


@functools.lru_cache(1 << 12)
def _spellings(
    header: str, search: tuple[str, ...], system: tuple[str, ...]
) -> list[tuple[str, str, tuple[str, ...], bool]]:
    """How a header may have been spelled: that, its first part, the search folders before, and whether it is long.

    It is long where its folder is a system folder, and one that comes before is inside.
    """
    found = []
    within: list[str] = []
    for index, folder in enumerate(search):
        if header.startswith(folder + os.sep):
            spelled = header[len(folder) + 1 :]
            first = os.path.normcase(spelled.partition(os.sep)[0])
            long = folder in system and any(one.startswith(folder + os.sep) for one in within)
            found.append((spelled, first, tuple(os.path.join(one, "") for one in search[:index]), long))
            within.append(folder)
    return found


def include_words(command: Sequence[str], *, last: bool | None = None) -> list[str]:
    """The folders after -I and its like in a command, in the order in which they are searched.

    Args:
        command: its words.
        last: only those that come after the compiler's own, or only those that come before; None: all.
    """
    found: list[tuple[int, str]] = []
    words = iter(command)
    for word in words:
        for option, turn in _SEARCH_WORDS:
            if word == option.removesuffix("="):
                found.append((turn, next(words, "")))
                break
            if word.startswith(option):
                found.append((turn, word[len(option) :]))
                break
    return [
        _normal(one)
        for turn, one in sorted(found, key=lambda told: told[0])
        if one and (last is None or (turn == _LAST) == last)
    ]


# finding


def _known(command: tuple[str, ...], language: str) -> Compiler | None:
    """What the compiler answers, from memory where it is the same file as then."""
    from .store import open_store, plain_file, replace

    env = [os.environ.get(one) for one in (*SEARCHED, "COMPILER_PATH", "GCC_EXEC_PREFIX", "SDKROOT")]
    slot = keys.digest(command, language, _GCC_GENERATED, env)
    path = f"{open_store().bucket}/tools/{slot}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        with open(path, encoding="utf-8", opener=plain_file) as file:
            told = json.load(file)
        if all(list(manifest.identity(one) or ()) == seen for one, seen in told["seen"]):
            values: Any = {key: tuple(one) if isinstance(one, list) else one for key, one in told["compiler"].items()}
            return Compiler(**values)
    started = time.time_ns()
    compiler = _ask(command, language)
    if compiler is not None:
        seen = [[one, keys.settled(one, started)] for one in compiler.files]
        with contextlib.suppress(OSError):
            replace(path, json.dumps({"seen": seen, "compiler": asdict(compiler)}).encode())
    return compiler


def _ask(command: tuple[str, ...], language: str) -> Compiler | None:
    """Start the compiler to learn what it is; None where it does not answer like one."""
    env = process.environment()
    try:
        told = process.run([*command, "-E", "-v", "-x", language, os.devnull], cwd=os.sep, env=env, timeout=120).output
    except (OSError, process.TimeoutExpired):
        return None
    version = next((line for line in told.splitlines() if " version " in line), "")
    if not version:
        return None
    listed = told.partition("#include <...> search starts here:")[2].partition("End of search list")[0]
    search = tuple(line.split(" (framework")[0].strip() for line in listed.splitlines() if line.strip())
    kind = (
        "zig"
        if "ziglang" in command or "zig" in os.path.basename(command[0])
        else "clang"
        if "clang" in version
        else "gcc"
    )
    files = [command[0]]
    if kind == "gcc":
        for part in ("cc1plus" if language == "c++" else "cc1", "as", "ld"):
            with contextlib.suppress(OSError):
                where = process.run([*command, f"-print-prog-name={part}"], cwd=os.sep, env=env).output.strip()
                found = where if os.path.isabs(where) else process.find_program(where)
                if found:
                    files.append(found)
    files = [os.path.realpath(one) for one in dict.fromkeys(files)]
    traces = "--dependency-file" in _output([*command, "-Wl,--help"], env)
    generated: tuple[str, ...] = _GENERATED
    if kind == "gcc":
        # Versions differ in what passes they know.
        check = [*command, *_GCC_GENERATED, "-fsyntax-only", "-x", language, os.devnull]
        generated = _GCC_GENERATED if "error" not in _output(check, env) else _GCC_GENERATED[:3]
    identity = keys.digest(command, told, [keys.file_digest(one) for one in files], generated)
    programs = tuple(dict.fromkeys((command[0], *files)))
    return Compiler(command, kind, version.strip(), identity, programs, search, traces, generated)


def _output(command: Sequence[str], env: dict[str, str]) -> str:
    try:
        return process.run(command, cwd=os.sep, env=env, timeout=120).output
    except (OSError, process.TimeoutExpired) as error:
        return f"error: {error}"


def _zig(language: str) -> Compiler | None:
    """The C compiler inside PyPI's ziglang."""
    from importlib.util import find_spec

    if find_spec("ziglang") is None:
        return None
    return _known((sys.executable, "-m", "ziglang", "cc" if language == "c" else "c++"), language)


# commands


def job_of(
    unit: Unit, index: int, options: Options, compiler: Compiler, how: Settings, workdir: str, env: Mapping[str, str]
) -> Job:
    """How a unit is compiled; see `build_library`. ``index`` is its number among the units."""
    level = any(word.startswith("-O") for word in options.extra_compile_args)
    stem = f"{workdir}/{index}-{os.path.splitext(os.path.basename(unit.path))[0]}"
    flags = (
        *_base_flags(compiler),
        *([] if level else _optimisation(compiler, how, unit)),
        *(["-g"] if how.debug else []),
        "-w" if not how.debug else "-Wall",
        *(f"-U{name}" for name in options.undef_macros),
        *(f"-D{name}" if value is None else f"-D{name}={value}" for name, value in options.define_macros),
        *(f"-I{folder}" for folder in (*options.include_dirs, *_python_includes())),
        *options.extra_compile_args,
        *how.cflags,
        "-MD", "-MF", f"{stem}.d",
        "-x", unit.language,
    )  # fmt: skip
    return Job(compiler, flags, unit.path, f"{stem}.o", workdir, env)


def _link_command(
    objects: Sequence[str], library: str, language: str, options: Options, compiler: Compiler, how: Settings
) -> list[str]:
    told = os.environ.get("LDCXXSHARED" if language == "c++" else "LDSHARED") or os.environ.get("LDSHARED")
    flags = _words("LDSHARED", told) if told else _own_link_flags(compiler)
    return [
        *flags,
        *_linked_words(language),
        *objects,
        *options.extra_objects,
        *(f"-L{folder}" for folder in options.library_dirs),
        *(f"-Wl,-rpath,{folder}" for folder in options.runtime_library_dirs),
        *(f"-l{name}" for name in options.libraries),
        *_python_library(),
        *options.extra_link_args,
        *how.ldflags,
        *_words("LDFLAGS"),
        *_link_trace(compiler, library),
        "-o", library,
    ]  # fmt: skip


#: What in a compiler's flags says something to the linker, or to the compiler when it links.
_LINKED = (
    "-f", "-m", "-O", "-g", "-p", "-B", "-L", "-l", "-Wl,", "-coverage", "--coverage", "-stdlib=", "--sysroot",
    "-static", "-shared-", "-nostd", "--target=", "--gcc-toolchain=",
)  # fmt: skip
#: Words with the one after them: for the linking, and for other programs only.
_LINKED_PAIRS = ("-arch", "-isysroot", "-target", "-Xlinker", "-framework", "-mllvm", "-B", "-L", "-l", "--sysroot")
_COMPILED_PAIRS = ("-Xpreprocessor", "-Xclang", "-Xassembler")
_ONLY_COMPILED = ("-fsyntax-only", "-pipe", "-pedantic")


def _linked_words(language: str) -> list[str]:
    """The user's compiler flags as setuptools hands them to the linker too: sanitizers, coverage, OpenMP, machine."""
    kept = []
    words = iter([*_user_flags(), *(_words("CXXFLAGS") if language == "c++" else [])])
    for word in words:
        if word in _LINKED_PAIRS or word.startswith("-Xarch_"):
            kept += [word, *itertools.islice(words, 1)]
        elif word in _COMPILED_PAIRS:
            next(words, None)
        elif word.startswith(_LINKED) and not word.startswith(_ONLY_COMPILED):
            kept.append(word)
    return kept


def _python_library() -> list[str]:
    """Windows resolves Python's symbols when it links; elsewhere the interpreter has them."""
    if sys.platform == "win32":
        return [f"-L{os.path.join(sys.base_prefix, 'libs')}", f"-lpython{sys.version_info[0]}{sys.version_info[1]}"]
    return []


def _base_flags(compiler: Compiler) -> list[str]:
    """Python's own flags that change what the code means, then the user's."""
    words = shlex.split(keys.config_var("CFLAGS") or "")
    kept = []
    pairs = iter(words)
    for word in pairs:
        if word in ("-arch", "-isysroot", "-include"):
            kept += [word, next(pairs, "")]
        elif word.startswith(("-D", "-U", "-m", "-std=", "-pthread")) or (
            word.startswith("-f") and not word.startswith(_DROPPED) and (compiler.kind == "gcc" or word in _PORTABLE)
        ):
            kept.append(word)
    shared = shlex.split(keys.config_var("CCSHARED") or ("-fPIC" if sys.platform != "win32" else ""))
    return [*kept, *shared, *_user_flags()]


_DROPPED = ("-flto", "-ffat-lto", "-fuse-linker-plugin", "-fprofile", "-fdebug", "-fdiagnostics", "-fno-semantic")
_PORTABLE = ("-fwrapv", "-fno-strict-aliasing", "-fno-strict-overflow", "-fno-common", "-fstack-protector-strong")


def _user_flags() -> list[str]:
    return [word for name in ("CPPFLAGS", "CFLAGS", "ARCHFLAGS") for word in _words(name)]


def _words(variable: str, text: str | None = None) -> list[str]:
    """An environment variable (or ``text``, which comes from it) as a shell would split it.

    Raises:
        ConfigError: a quotation without an end.
    """
    try:
        return shlex.split(os.environ.get(variable, "") if text is None else text)
    except ValueError as error:
        raise errors.ConfigError(f"${variable} can't be split into words: {error}") from None


def _optimisation(compiler: Compiler, how: Settings, unit: Unit) -> list[str]:
    extra = _words("CXXFLAGS") if unit.language == "c++" else []
    if how.optimize is not None:
        return [f"-O{how.optimize}", *extra]
    if any(word.startswith("-O") for word in (*_user_flags(), *extra, *how.cflags)):
        return extra
    if not unit.generated:
        return [*_OPTIMIZE, *extra]
    return [*compiler.generated, *extra]


def _own_link_flags(compiler: Compiler) -> list[str]:
    """Python's link command with our compiler in the place of its own."""
    words = shlex.split(keys.config_var("LDSHARED") or "cc -shared")
    own = shlex.split(keys.config_var("CC") or "")
    rest = words[len(own) :] if own and words[: len(own)] == own else words[1:]
    rest = [
        word for word in rest if not word.startswith(("-flto", "-ffat-lto", "-fuse-linker-plugin", "-specs=", "-g"))
    ]
    return [*compiler.command, *rest]


@functools.cache
def _python_includes() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(dict.fromkeys((paths["include"], paths["platinclude"])))


def _comes_with(program: str, others: Sequence[str]) -> bool:
    """Whether a program is binutils' linker, which is replaced with its assembler."""
    folder, name = os.path.split(program)
    target = name.removesuffix(".bfd").removesuffix("ld")
    return name.endswith(("ld", "ld.bfd")) and os.path.join(folder, f"{target}as") in others


def _products(folders: Sequence[str], gcc: str | None = None) -> Iterator[tuple[str, str]]:
    """Folders below include folders, of which one is as good as all: no package manager replaces a part of a product.

    Python, GCC and its C++ library, the C library, the kernel; others' headers may be in any folder that is not named
    here.

    Args:
        folders: the compiler's own include folders.
        gcc: GCC's program for the language. It stands for all of GCC.
    """
    for folder in _python_includes():
        for name in ("cpython", "internal"):
            yield os.path.join(folder, name), folder
    # <prefix>/lib or libexec/gcc/<target>/<version>/cc1, and lib/gcc/<target>/<version>/include, include/c++/<version>.
    release = os.path.dirname(gcc).split(os.sep)[-3:] if gcc is not None else [""]
    yield from ((one, gcc) for one in folders if gcc is not None and os.path.dirname(one).split(os.sep)[-3:] == release)
    cxx = next((folder for folder in folders if os.path.isfile(os.path.join(folder, "cstddef"))), "")
    cxx_whole = gcc if gcc is not None and os.path.basename(cxx) == release[-1] else cxx
    libc = next((folder for folder in folders if os.path.isfile(os.path.join(folder, "features.h"))), None)
    kernel = next((one for one in (os.path.join(folder, "linux") for folder in folders) if os.path.isdir(one)), None)
    for folder in folders:
        if cxx and (folder == cxx or os.path.isfile(os.path.join(folder, "bits", "c++config.h"))):
            yield folder, cxx_whole
            continue
        if libc is not None:
            yield from ((os.path.join(folder, name), libc) for name in ("bits", "gnu"))
        if kernel is not None:
            yield from ((os.path.join(folder, name), kernel) for name in ("asm", "asm-generic"))


# what was read


def _link_trace(compiler: Compiler, library: str) -> list[str]:
    """Have the linker write what it read; GNU ld (2.35) and lld know how."""
    return [f"-Wl,--dependency-file={library}.d"] if compiler.traces else []


def _libraries(read: Sequence[str]) -> list[str]:
    """The libraries among a linker's inputs that are not the system's or the compiler's own."""
    return [
        one
        for one in read
        if not one.startswith(("/usr/lib/", "/usr/lib64/", "/lib/", "/lib64/"))
        and one.endswith((".a", ".so", ".dylib"))
    ]


def _library_probes(options: Options) -> list[str]:
    """Where a linker looks for the named libraries among the user's folders, and there is nothing."""
    names = [f"lib{name}{suffix}" for name in options.libraries for suffix in (".so", ".a")]
    paths = [os.path.join(folder, name) for name in names for folder in options.library_dirs]
    return [path for path in paths if not os.path.lexists(path)]


def dependencies(depfile: str, workdir: str) -> list[str]:
    """The files that a make rule written by ``-MD`` names, absolute; [] where the compiler wrote none."""
    try:
        with open(depfile, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    except OSError:
        return []
    text = text.partition(": ")[2].replace("\\\n", " ")
    plain = text.split()
    if "\\" in text or "$" in text:
        words = re.findall(r"(?:\\[ #:\\]|\$\$|[^\s])+", text)
        plain = [re.sub(r"\\([ #:])", r"\1", word).replace("$$", "$") for word in words]
    # As spelled, links not resolved: where a link leads is part of what was read.
    return list(dict.fromkeys(_absolute(word, workdir) for word in plain))


def escaped(path: str) -> str:
    """A path as a make rule has it."""
    return re.sub(r"[ #]", r"\\\g<0>", path).replace("$", "$$")


def _absolute(word: str, workdir: str) -> str:
    return _normal(os.path.join(workdir, word))


@functools.lru_cache(1 << 12)
def _normal(path: str) -> str:
    return path if ".." in path.split(os.sep) else os.path.normpath(path)


def _includes(path: str) -> tuple[set[str], set[str], set[str], bool]:
    """What a file includes.

    Returns:
        What it names in quotes, which is looked for in its folder first; what it names in brackets; the names for
        which it asks whether they are there; whether it includes by a macro, which may name anything: so may a file
        that can't be read.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return set(), set(), set(), True
    # Clang ends lines at what old Macs end them with, too.
    text = _GOES_ON.sub(b"", text).removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n")
    asked = {match[1] for match in _CONDITIONAL.finditer(text)}
    named = set(asked)
    by_macro = False
    for match in _INCLUDE.finditer(text):
        named.add(match[1])
        if not match[1]:
            # Or it is in the words of a comment.
            before = text[text.rfind(b"\n", 0, match.start()) + 1 : match.start()].strip()
            by_macro = by_macro or not before or before.endswith(b"*/")
    quoted, bracketed = ({os.fsdecode(one[1:]) for one in named if one[:1] == mark} for mark in (b'"', b"<"))
    # What these letters are is for the compiler's flags to tell.
    by_macro = by_macro or not all(map(str.isascii, quoted))
    return quoted, bracketed, {os.fsdecode(one[1:]) for one in asked}, by_macro


# failures


def _compile_failure(
    plan: Plan,
    unit: Unit,
    command: Sequence[str],
    result: process.Result,
    options: Options,
    compiler: Compiler,
    inputs: Sequence[str],
    absent: Sequence[str],
    log: str,
    root: str,
) -> Failed:
    name, path = plan.source.name, plan.source.path
    missing = _MISSING.search(result.output)
    hint = ""
    # No dependency file is written when a header is missing: the message tells what included it.
    told = (*_INCLUDED.findall(result.output), *(one.file for one in diagnostics(result.output)))
    inputs = [*inputs, *(one for one in dict.fromkeys(told) if os.path.isfile(one))]
    if missing is not None:
        header = missing["header"]
        if header == "Python.h":
            raise errors.no_python_headers(name, path, sysconfig.get_paths()["include"])
        if unit.language == "c" and "." not in header:
            hint = f"`{header}` is a header of C++. {errors.advice(name, 'language = c++')}"
        else:
            places = whereabouts.folders_with(root, header)
            there = [os.path.relpath(one, root) for one in places]
            package = header.partition("/")[0]
            if not there and package in _PACKAGES and PathFinder.find_spec(package) is None:
                raise errors.no_package(name, path, package, package)
            hint = (
                f"`{header}` was looked for beside the source, then in: {', '.join(options.include_dirs)}. "
                + (f"The project has it in {' and in '.join(there)}. " if there else "")
                + ("" if there else "If it is elsewhere, name its folder. ")
                + errors.advice(name, f"include_dirs = {there[0] if there else '…'}")
            )
        absent = [
            *absent,
            *(os.path.join(folder, header) for folder in (os.path.dirname(unit.path), *options.include_dirs)),
        ]
    elif unit.language == "c" and _CPP.search(result.output):
        hint = f"This is C++. {errors.advice(name, 'language = c++')}"
    elif result.status < 0:
        hint = f"{os.path.basename(command[0])} was ended by signal {-result.status}."
    error = errors.compile_failed(
        name, path, os.path.basename(compiler.command[0]), result.output, diagnostics(result.output), hint=hint
    )
    return Failed(
        error, log=log, inputs=inputs, absent=absent, complete=missing is None and result.status > 0 and len(inputs) > 1
    )


def _link_hint(name: str, output: str, root: str, known: Sequence[str]) -> str:
    library = re.search(r"cannot find -l(\S+)|library not found for -l(\S+)|library '(\S+)' not found", output)
    if library is not None:
        wanted = next(group for group in library.groups() if group).rstrip(":")
        return (
            f"The library `{wanted}` is not where the linker looks: install its development files, or name its folder. "
            f"{errors.advice(name, 'library_dirs = …')}"
        )
    symbols = list(dict.fromkeys(next(filter(None, one.groups())) for one in _UNDEFINED.finditer(output)))
    if not symbols:
        return ""
    names = [one for one in map(whereabouts.spelled, symbols) if one]
    found = whereabouts.definers(root, names, known) if names else {}
    return errors.undefined(name, symbols[0], {os.path.relpath(one, root): had for one, had in found.items()})
