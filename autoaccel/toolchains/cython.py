"""Cython: ``.pyx``, or ``.py`` where the project asks for it, to C or C++ by a compile server, then to a library."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import os
import re
import sys
import threading
from dataclasses import replace
from importlib.machinery import PathFinder

from .. import compiler, early, errors, keys, process, settings, whereabouts, workers
from ..errors import Diagnostic
from ..plan import Built, Options, Plan, Tool
from . import cython_cold, cython_head, cython_parts, cython_server, cython_split, headers
from .base import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..settings import Settings
    from ..sources import Source

__all__ = ["build", "plan", "prepare"]

#: As in Cython.Utils.detect_opened_file_encoding; `c_string_encoding` is a directive, not a declaration.
_CODING = re.compile(rb"(\w*coding)[:=]\s*([-\w.]+)")

#: Cython, of a name in `IF` or `DEF`.
_UNDEFINED = re.compile(r"Compile-time name '(\w+)' not defined")
#: Cython, of what C++ has and C has not.
_ONLY_CPP = re.compile(r"only allowed in c\+\+$")
#: Cython, of a file that is included or cimported.
_NOT_FOUND = re.compile(r"'(?P<file>[^']+\.(?:pxd|pxi|pyx))' not found")


def prepare() -> None:
    """Have the compile server load Cython, which takes longer than everything that is done before it is asked."""
    if PathFinder.find_spec("Cython") is not None:
        with contextlib.suppress(OSError):
            _running()


def plan(source: Source, how: Settings) -> Plan:
    """What is known of a Cython module before it is translated."""
    text = _text(source)
    package = _cython(source)
    stem = os.path.splitext(source.path)[0]
    inputs = [source.path]
    absent = list(how.absent)
    options = headers.resolve(headers.from_cython(text), source, how.root)
    for suffix in (".pyxbld", ".pyxdep"):
        (inputs if os.path.isfile(stem + suffix) else absent).append(stem + suffix)
    if stem + ".pyxbld" in inputs:
        # A program, which may read what it likes of the project's file.
        inputs += how.inputs
        try:
            options = options.plus(headers.pyxbld(source, stem + ".pyxbld", how.root))
        except Failed as failure:
            raise failure.error from None
    if stem + ".pyxdep" in inputs:
        inputs += headers.pyxdep(stem + ".pyxdep")
    options = options.plus(how.options)
    # A declared extension names its main source among its sources.
    main = tuple(one for one in options.sources if one != source.path)
    options = replace(options, sources=main)
    language = options.language or "c"
    languages = sorted({language, *(_language(path) for path in options.sources)})
    tools = [package, *(compiler.find(one, name=source.name, path=source.path).tool() for one in languages)]
    return Plan(
        source=source,
        toolchain="cython",
        options=options,
        tools=tuple(tools),
        folders=options.folders,
        env=tuple((name, os.environ.get(name)) for name in (*compiler.ENV, settings.CYTHON_VARIABLE)),
        inputs=tuple(dict.fromkeys((*inputs, *options.sources, *options.depends))),
        absent=(*absent, *options.absent),
        settings=how,
    )


#: Work folders of the builds of this process.
_under_way: set[str] = set()


def build(plan: Plan, workdir: str) -> Built:
    """Translate, compile and link."""
    _under_way.add(workdir)
    try:
        if len(_under_way) > 1 and not cython_head.known() and _in_halves(plan.options.language or "c"):
            # Of use as long as the server is still loading Cython, and for modules that are to come.
            workers.aside(_foresee, plan, workdir)
        return _build(plan, workdir)
    finally:
        _under_way.discard(workdir)


def _root(source: Source) -> str:
    """The folder that a module is imported from."""
    root = os.path.dirname(source.path)
    for _ in range(source.name.count(".") + (1 if source.package else 0)):
        root = os.path.dirname(root)
    return root


def _build(plan: Plan, workdir: str) -> Built:
    source = plan.source
    how = plan.settings
    language = plan.options.language or "c"
    root = _root(source)
    stem = os.path.splitext(os.path.basename(source.path))[0]
    request = {
        "source": source.path,
        "module": source.name,
        "output": f"{workdir}/{stem}.{'cpp' if language == 'c++' else 'c'}",
        "language": language,
        "include_path": _include_path(plan, root),
        "directives": dict(how.directives),
        "language_level": how.language_level,
        "options": {
            "annotate": how.annotate,
            "gdb_debug": how.debug,
            "compile_time_env": dict(how.compile_time_env) or None,
        },
        "cwd": root if os.path.isdir(root) else os.sep,
    }
    version = plan.tools[0].version
    answer = _ask(request, version)
    if plan.options.language is None and _wants_cpp(answer["inputs"], source):
        # As cythonize does: a cimported .pxd may say so, and nobody said otherwise.
        language = "c++"
        answer = _ask({**request, "language": language, "output": f"{workdir}/{stem}.cpp"}, version)
    if not answer["ok"]:
        raise _refused(plan, answer)
    options = plan.options.plus(Options(language=language))
    for file, told in _told_by_pxd(answer, source).items():
        options = options.plus(headers.resolve(told, source, how.root, file))
    folders = _own_folders(plan)
    if answer["numpy"] or _names_numpy(answer["c_file"], options, folders, how.root):
        folders += headers.numpy_include()
    folders += _beside_cimports(answer["inputs"])
    options = options.plus(Options(include_dirs=tuple(dict.fromkeys(folders))))
    sources = [one for one in options.sources if one != source.path]
    units = [
        compiler.Unit(answer["c_file"], language, generated=True),
        *(compiler.Unit(one, _language(one)) for one in sources),
    ]
    compilers = {
        one: compiler.find(one, name=source.name, path=source.path) for one in {unit.language for unit in units}
    }
    halves = None
    if compilers[language].kind == "gcc" and compiler.unsaid(options, how, language):
        _mark(answer["c_file"])
        if _in_halves(language):
            halves = functools.partial(_halves, source.name.rpartition(".")[2])
    log = f"{answer['text']}\n" if answer["text"] else ""
    try:
        made = compiler.build_library(plan, units, options, compilers, how, workdir, halves)
    except Failed as failure:
        raise Failed(
            failure.error,
            log=log + failure.log,
            inputs=(*answer["inputs"], *(one for one in failure.inputs if not one.startswith(workdir))),
            absent=(*answer["absent"], *(one for one in failure.absent if not one.startswith(workdir))),
            complete=failure.complete,
        ) from None
    extra = {f"{stem}.html": answer["annotation"]} if answer["annotation"] else {}
    return Built(
        library=made.library,
        inputs=tuple(dict.fromkeys((*answer["inputs"], *made.inputs))),
        absent=tuple(dict.fromkeys((*answer["absent"], *made.absent))),
        log=log + made.log,
        warnings=(*_diagnostics(answer["warnings"], "warning"), *made.warnings),
        extra=extra,
    )


def _halves(module: str, job: compiler.Job) -> compiler.Objects | None:
    """Compile with what is compiled already of Cython's own functions."""
    from ..store import open_store

    try:
        return cython_parts.make(job, module, open_store().bucket)
    except OSError:
        # The cache is full, or can't be written, where a build can: compiled whole, the file needs none of it.
        return None


def _in_halves(language: str) -> bool:
    return language == "c" and sys.platform == "linux"


def _names_numpy(generated: str, options: Options, folders: Sequence[str], root: str) -> bool:
    """Whether a header of numpy's is included, be it by a header of the project's."""
    named = headers.included((generated, *options.sources), (*options.include_dirs, *folders), root)
    return any(name.startswith("numpy/") for name in named)


def _own_folders(plan: Plan) -> list[str]:
    """Where headers are looked for whatever the source says."""
    return [os.path.dirname(plan.source.path), _root(plan.source), plan.settings.root]


def _foresee(plan: Plan, workdir: str) -> None:
    """Learn about the C that Cython will have written, as far as it is the same for many modules."""
    how = plan.settings
    options = plan.options.plus(Options(include_dirs=tuple(dict.fromkeys(_own_folders(plan)))))
    found = compiler.find("c", name=plan.source.name, path=plan.source.path)
    if found.kind == "gcc" and compiler.unsaid(options, how, "c"):
        unit = compiler.Unit(f"{workdir}/foreseen.c", "c", generated=True)
        job = compiler.job_of(unit, 0, options, found, how, workdir, process.environment(TMPDIR=workdir))
        cython_head.foresee(job, os.path.join(os.path.dirname(plan.tools[0].files[0]), "Utility"))


def _mark(path: str) -> None:
    """Have a generated file compiled faster."""
    cython_split.write_text(path, cython_cold.mark(cython_split.read_text(path)))


def _wants_cpp(inputs: Sequence[str], source: Source) -> bool:
    for path in inputs:
        if path != source.path and path.endswith(".pxd"):
            with open(path, encoding="utf-8", errors="replace") as file:
                if headers.from_cython(file.read()).get("language") == "c++":
                    return True
    return False


def _text(source: Source) -> str:
    """The source as text; refuses what can't be one."""
    try:
        with open(source.path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise errors.unreadable(source.name, source.path, error.strerror or str(error)) from None
    if not data.strip() and not source.package and not os.path.exists(os.path.splitext(source.path)[0] + ".pxd"):
        raise errors.empty_source(source.name, source.path)
    lines = data.splitlines()[:2]
    found = [match[2] for line in lines if (match := _CODING.search(line)) and match[1] != b"c_string_encoding"]
    try:
        return data.decode(found[0].decode() if found else "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise errors.undecodable(source.name, source.path, str(error)) from None


def _cython(source: Source) -> Tool:
    """The installed Cython, which is not imported here."""
    found = PathFinder.find_spec("Cython")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    shadow = os.path.join(places[0], "Shadow.py") if places else ""
    if not os.path.isfile(shadow):
        raise errors.no_package(source.name, source.path, "Cython", "cython")
    with open(shadow, encoding="utf-8") as file:
        version = re.search(r"^__version__ = ['\"](.+?)['\"]", file.read(), re.MULTILINE)
    number = version[1] if version else "unknown"
    # A wheel is replaced as a whole; in a checkout of Cython's, files are.
    parts = () if keys.is_installed(shadow) else ("Compiler", "Utility")
    files = (shadow, *(os.path.join(places[0], part) for part in parts))
    return Tool(
        "Cython", number, keys.digest(number, keys.file_digest(shadow), cython_cold.RULE, cython_split.RULE), files
    )


def _language(path: str) -> str:
    return "c" if os.path.splitext(path)[1] in (".c", ".m", ".s", ".S") else "c++"


def _include_path(plan: Plan, root: str) -> list[str]:
    """Where Cython looks for included and cimported files beside the source's own: the options', the import root.

    Last the project's folder, from which `cythonize` is run: what it finds there, it finds here.
    """
    return list(dict.fromkeys((*plan.options.include_dirs, root, plan.settings.root)))


def _told_by_pxd(answer: dict[str, Any], source: Source) -> dict[str, dict[str, Any]]:
    """Settings from the headers of cimported files, by file; those of the source itself are in the plan."""
    told: dict[str, dict[str, Any]] = {}
    for key, value in answer["distutils"].items():
        origins = answer["distutils_origins"].get(key, [])
        if not isinstance(value, list):
            if origins and origins[0] != source.path:
                told.setdefault(origins[0], {})[key] = value
            continue
        for item, file in zip(value, origins, strict=False):
            if file != source.path:
                told.setdefault(file, {}).setdefault(key, []).append(item)
    return told


def _beside_cimports(inputs: Sequence[str]) -> list[str]:
    """Folders in which a cimported installed package keeps the C headers that its ``.pxd`` files name."""
    folders: dict[str, None] = {}
    for path in inputs:
        for place in ("site-packages", "dist-packages"):
            before, found, inside = path.partition(f"{os.sep}{place}{os.sep}")
            if found and os.sep in inside:
                package = os.path.join(before + found, inside.split(os.sep)[0])
                folders[os.path.join(package, "include")] = None
                folders[os.path.dirname(path)] = None
                folders[before + found.rstrip(os.sep)] = None
    return [folder for folder in folders if os.path.isdir(folder)]


def _refused(plan: Plan, answer: dict[str, Any]) -> Failed:
    """Cython's own text as the error."""
    source = plan.source
    if answer["kind"] == "cython":
        error: errors.BuildError = errors.compile_failed(source.name, source.path, "Cython", answer["text"])
        return Failed(error, log=answer["text"], complete=False)
    found = _diagnostics(answer["errors"], "error")
    hint = next(filter(None, (_what_to_write(plan, one.message) for one in found)), "")
    error = errors.compile_failed(source.name, source.path, "Cython", answer["text"], found, hint=hint)
    return Failed(
        error,
        log=answer["text"],
        inputs=answer["inputs"],
        absent=answer["absent"],
        complete=answer["kind"] == "compile",
    )


def _what_to_write(plan: Plan, message: str) -> str:
    """What to write for a file that is not found, or for what is C++; empty for other messages."""
    if _ONLY_CPP.search(message):
        return f"This is C++. {errors.advice(plan.source.name, 'language = c++')}"
    match = _UNDEFINED.fullmatch(message)
    if match is not None:
        setting = f"compile-time-env = {{ {match[1]} = … }}"
        return f"Write `{setting}` under `[tool.autoaccel.cython]` in pyproject.toml."
    match = _NOT_FOUND.fullmatch(message)
    if match is None:
        return ""
    name, root = match["file"], plan.settings.root
    stem, suffix = os.path.splitext(name)
    # `from a.b cimport c` asks for a/b/c.pxd last, whichever of the three is missing.
    wanted = [name, *((f"{os.path.dirname(stem)}{suffix}", f"{stem}/__init__{suffix}") if suffix == ".pxd" else ())]
    for one in wanted:
        places = [os.path.relpath(place, root) for place in whereabouts.folders_with(root, one)]
        if places:
            return (
                f"The project has `{one}` in {' and in '.join(places)}. "
                f"{errors.advice(plan.source.name, f'include_dirs = {places[0]}')}"
            )
    package = name.partition("/")[0].removesuffix(suffix)
    if suffix == ".pxd" and PathFinder.find_spec(package) is None:
        return (
            f"`{package}` is neither in the project nor installed: install it, or name the folder that it is in. "
            f"{errors.advice(plan.source.name, 'include_dirs = …')}"
        )
    return f"The project has it nowhere. {errors.advice(plan.source.name, 'include_dirs = …')}"


def _diagnostics(told: Sequence[dict[str, Any]], level: str) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(one["file"] or "", one["line"] or 0, _column(one), one["message"], level=level) for one in told
    )


def _column(one: dict[str, Any]) -> int:
    """Counted from 1, as everywhere; Cython counts from 0."""
    return (one["column"] or 0) + 1 if one["line"] else 0


# the compile server


class _Server:
    """A `cython_server` process and the requests that wait for it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._process = early.take()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._guard = threading.Lock()
        self._reading = threading.Lock()
        self.alive = True
        self._send({"sys_path": early.places(), "jobs": settings.jobs()})
        self._threaded = True
        try:
            self._reader = threading.Thread(target=self._read, name="autoaccel-cython", daemon=True)
            self._reader.start()
        except RuntimeError:
            # Sub-interpreters allow no daemon threads: who asks reads, one at a time.
            self._threaded = False

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a request; None where the server ended before."""
        number = next(self._numbers)
        done = threading.Event()
        answer: dict[str, Any] = {}
        with self._guard:
            self._waiting[number] = (done, answer)
        try:
            self._send({"id": number, **request})
            if not self._threaded:
                with self._reading:
                    self._read(until=done)
            # In slices: on some systems a wait without an end can't be interrupted by Ctrl-C.
            while not done.wait(0.1):
                if not self.alive:
                    return None
                if process.interrupted():
                    raise process.Cancelled  # noqa: TRY301  (as if it came from the wait)
        except OSError:
            self.alive = False
            return None
        except BaseException:
            self._cancel(number)
            raise
        finally:
            with self._guard:
                self._waiting.pop(number, None)
        return answer or None

    def close(self) -> None:
        """Let the server end; only the process that started it may."""
        self.alive = False
        if self.owner == os.getpid() and self._process.stdin is not None:
            try:
                with self._guard:  # another thread may be sending
                    self._process.stdin.close()
                self._process.wait(timeout=2)
            except (OSError, process.TimeoutExpired):
                process.end(self._process)
            if self._threaded:
                self._reader.join(timeout=2)
            if self._process.stdout is not None:
                self._process.stdout.close()

    def leave(self) -> None:
        """In a child of the process that started it: have nothing to do with it."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _send(self, message: dict[str, Any]) -> None:
        with self._guard:
            early.tell(self._process, message)

    def _cancel(self, number: int) -> None:
        try:
            self._send({"cancel": number})
        except OSError:
            self.alive = False

    def _read(self, until: threading.Event | None = None) -> None:
        """Hand out answers, to the end or to the one that is waited for."""
        assert self._process.stdout is not None
        if until is not None and until.is_set():
            return
        try:
            for line in self._process.stdout:
                told = json.loads(line)
                with self._guard:
                    waiting = self._waiting.get(told["id"])
                if waiting is not None:
                    waiting[1].update(told)
                    waiting[0].set()
                if until is not None and until.is_set():
                    return
        except ValueError:
            pass  # a torn line: the server was killed
        self.alive = False
        with self._guard:
            for done, _ in self._waiting.values():
                done.set()


_server: _Server | None = None
_starting = threading.Lock()


def _forked() -> None:
    """A child has not the thread that may hold the lock, and its end of the pipe would keep the parent's server."""
    global _starting, _server
    _starting = threading.Lock()
    if _server is not None:
        _server.leave()
        _kept.append(_server)
        _server = None


#: Of the parent: a thread that a child has not may hold what its end would need.
_kept: list[_Server] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _ask(request: dict[str, Any], version: str) -> dict[str, Any]:
    """Have a source translated; a server that has ended in the meantime (idle, killed) is replaced once.

    So is one that has loaded another Cython than the one of this ``version``, which has been installed since.
    """
    server = _running()
    answer = server.ask(request)
    told = answer["cython_version"] if answer is not None else None
    if answer is None or (told not in (None, version) and version != "unknown"):
        answer = _running(instead_of=server).ask(request)
    if answer is not None:
        return answer
    text = "the compile server ended without an answer"
    return cython_server.blank_answer(None, "crash", text)


def _running(instead_of: _Server | None = None) -> _Server:
    global _server
    with _starting:
        if _server is None or _server is instead_of or not _server.alive or _server.owner != os.getpid():
            if _server is not None and _server.owner == os.getpid():
                _server.close()
            _server = _Server()
            atexit.register(_server.close)
        return _server
