"""At the end of a process in which numba has compiled: what there is, written down for a process that publishes it.

Only writes down (`emit`): making objects takes ten times as long. Runs when the interpreter shuts down, when threads
can't be started any more, so that nothing is imported that would want to.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import pickle
import re
import sys
import tempfile
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .. import STARTED, keys, manifest, process
from ..store import Store, open_store
from . import FORMAT, JitLoader, cpu, emit, source, stamp, tier1
from .emit import NotNative

__all__ = ["PYTHONS", "SECONDS", "VARIABLE", "Function", "at_exit", "report", "report_path"]

#: ``wait``: the process ends when its code is published. ``off``: nothing is published.
VARIABLE = "AUTOACCEL_NUMBA"

#: The Pythons that the runtime was tried with; on others, numba's functions are cached, not published.
PYTHONS = ((3, 11),)

#: After which a publisher gives up.
SECONDS = 900

#: (qualified name, first line, `emit.function_row`, `emit.dependencies`, overloads).
Function = tuple[str, int, dict[str, Any], list[Any], list[Any]]


def at_exit() -> None:
    """Write down what numba has compiled for the user's modules, and have it published."""
    how = os.environ.get(VARIABLE, "")
    if how == "off" or not cpu() or not sys.platform.startswith("linux") or sys.version_info[:2] not in PYTHONS:
        return
    problems: list[Exception] = []
    jobs = _collect(problems)
    if jobs:
        _publish(jobs, how)
    if problems:
        # Whatever is odd about one module, the others are published.
        raise problems[0]


def _publish(jobs: list[dict[str, Any]], how: str) -> None:
    folder = tempfile.mkdtemp(prefix="numba-", dir=f"{open_store().bucket}/builds")
    with open(f"{folder}/jobs", "wb") as file:
        pickle.dump(jobs, file)
    code = f"import sys; sys.path[:] = {sys.path!r}; from autoaccel.numba.publish import main; main({folder!r})"
    flags = ["-O" * sys.flags.optimize] if sys.flags.optimize else []
    command = [sys.executable, *flags, "-c", code]
    if how == "wait":
        process.run(command, cwd=os.getcwd(), env=process.environment(), timeout=SECONDS)
    else:
        process.detach(command, cwd=os.getcwd(), env=process.environment())


def _collect(problems: list[Exception]) -> list[dict[str, Any]]:
    modules: dict[str, list[Any]] = {}
    for dispatcher in tier1.dispatchers():
        # Those without a compiled signature too: their module is to be imported without numba as well.
        if not _replaced(dispatcher):
            modules.setdefault(dispatcher.py_func.__module__, []).append(dispatcher)
    for name, module in list(sys.modules.items()):
        if name not in modules and type(module) is ModuleType:
            path = _origin(name, module.__dict__)
            if path is not None and tier1.is_users(path, name) and _uses_numba(module.__dict__):
                modules[name] = []
    texts = _Texts()
    jobs = []
    for name, dispatchers in modules.items():
        names = dispatchers[0].py_func.__globals__ if dispatchers else sys.modules[name].__dict__
        path = _origin(name, names)
        try:
            # Others may only have functions of numba's from somewhere else.
            if path is not None and _news(name, path, dispatchers) and (dispatchers or texts.of(path) is not None):
                jobs.append(_job(name, path, dispatchers, texts))
        except (OSError, SyntaxError, ValueError):
            continue
        except Exception as problem:
            problems.append(problem)
    return jobs


def _uses_numba(names: dict[str, Any]) -> bool:
    """Whether a module has something of numba's among its globals, which brings numba in when it is imported."""
    for value in list(names.values()):
        kind = type(value)
        if kind is ModuleType:
            home = getattr(value, "__name__", None)
        else:
            # Some types of C have no module.
            home = getattr(value if kind is FunctionType or issubclass(kind, type) else kind, "__module__", None)
        if str(home).partition(".")[0] == "numba":
            return True
    return False


def _replaced(dispatcher: Any) -> bool:
    """Whether a function is left over from before a reload: another has its name now."""
    function = dispatcher.py_func
    value: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        value = getattr(value, name, None)
    now = getattr(value, "py_func", None)
    return now is not None and now is not function and now.__code__ != function.__code__


def _origin(name: str, names: dict[str, Any]) -> str | None:
    """The source of a module that runs as the file on disk has it; None where it does not."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    # Anything may stand in the list of modules, with anything as its spec.
    if getattr(module, "__dict__", None) is not names or not isinstance(spec, ModuleSpec):
        return None
    plain = type(spec.loader) in (SourceFileLoader, JitLoader) and (spec.origin or "").endswith(".py")
    return spec.origin if plain and spec.name == name else None


def environment() -> tuple[tuple[str, str | None], ...]:
    """The variables that numba reads, with their values; the number of threads decides nothing."""
    with open(str(import_module("numba.core.config").__file__), encoding="utf-8") as file:
        found = set(re.findall(r'"(NUMBA_[A-Z0-9_]+)"', file.read()))
    found -= {"NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_FULL_TRACEBACKS", "NUMBA_COLOR_SCHEME", "NUMBA_SHOW_HELP"}
    return tuple((name, os.environ.get(name)) for name in sorted(found))


def _surroundings() -> str:
    return keys.digest(FORMAT, tier1.settings_digest(), environment(), cpu(), sys.flags.optimize)


def _mark(dispatcher: Any, signature: Any) -> str:
    try:
        told = stamp.stamp(dispatcher.py_func)
    except stamp.Opaque as problem:
        told = str(problem)
    text = f"{dispatcher.py_func.__qualname__} {_shown(signature)} {told}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(signature: Any) -> str:
    # The types of functions and classes are told by their addresses, which are another in each process.
    return re.sub(r" at 0x[0-9a-fA-F]+|#[0-9a-f]+(?=<)", "", str(signature))


def _news(name: str, path: str, dispatchers: list[Any]) -> bool:
    """Whether there is something that was not published, or refused, before."""
    known = report(name, path)
    if known is None or known["surroundings"] != _surroundings():
        return True
    if known["whole"] is None:
        # An edit may leave all functions what they were; the module's own code is in its library as well.
        record = manifest.read(name, path)
        if record is None or manifest.stale_reason(record) is not None:
            return True
    elif known["text"] != keys.file_digest(path):
        return True
    marks = {_mark(one, signature) for one in dispatchers for signature in list(one.overloads)}
    return not marks <= set(known["marks"])


class _Texts:
    """The user's modules as text, each read once."""

    def __init__(self) -> None:
        self._told: dict[str, source.Module | None] = {}
        self._codes: dict[str, set[CodeType]] = {}

    def of(self, path: str) -> source.Module | None:
        """What there is of numba's in a file."""
        if path not in self._told:
            with open(path, "rb") as file:
                self._told[path] = source.read(file.read(), path)
        return self._told[path]

    def holds(self, function: FunctionType) -> bool:
        """Whether a function's code is what its file says: a ``.pyc`` may be of another text of the same second."""
        path = function.__code__.co_filename
        if path not in self._codes:
            with open(path, "rb") as file:
                waiting = [compile(file.read(), path, "exec", dont_inherit=True)]
            found = self._codes[path] = set()
            while waiting:
                found.add(one := waiting.pop())
                waiting.extend(inner for inner in one.co_consts if isinstance(inner, CodeType))
        return function.__code__ in self._codes[path]

    def lazy_of(self, functions: list[Any]) -> dict[str, dict[str, str]]:
        """The names of numba's in the modules that functions are in."""
        found = {}
        for one in functions:
            told = self.of(one.__code__.co_filename)
            found[one.__module__] = told.lazy if told is not None else {}
        return found


def _job(name: str, path: str, dispatchers: list[Any], texts: _Texts) -> dict[str, Any]:
    # First: what comes after it is news the next time.
    marks = [_mark(one, signature) for one in dispatchers for signature in list(one.overloads)]
    files = {path: manifest.identity(path)}
    told = texts.of(path)
    refused: dict[str, dict[str, str]] = {}
    functions: dict[tuple[str, int], Function] = {}
    failing, plain = _imports(told) if told is not None else ({}, ())
    whole = _whole_reason(told, plain)
    if told is not None and failing:
        told.forget({f"{home}.{name}" if name else home for home, name in failing})
    if _young(path):
        whole = "its file has changed while the process ran"
    for dispatcher in dispatchers:
        if whole is not None or told is None:
            break
        function = dispatcher.py_func
        reasons = refused.setdefault(function.__qualname__, {})
        try:
            row, needed = _row(dispatcher, told, texts, files)
        except NotNative as refusal:
            reasons[""] = str(refusal)
            continue
        key = (function.__qualname__, function.__code__.co_firstlineno)
        if key in functions and functions[key][2:4] != (row, needed):
            reasons[""] = "there are several functions of this name and line, with other closures or options"
            continue
        overloads = functions.setdefault(key, (*key, row, needed, []))[4]
        # Threads that nobody waits for go on compiling.
        for compiled in list(dispatcher.overloads.values()):
            try:
                problem = tier1.unsettled(function)
                if problem is not None:
                    raise NotNative(problem)  # noqa: TRY301
                made = emit.dump(dispatcher, compiled)
                if all(one.types != made.types for one in overloads):
                    overloads.append(made)
            except NotNative as refusal:
                reasons[_shown(compiled.signature)] = _shown(refusal)
    generator = import_module("numba.core.registry").cpu_target.target_context.codegen()
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    layer = getattr(parallel, "_threading_layer", None) or "workqueue"
    spec = sys.modules[name].__spec__
    return {
        "name": name,
        "path": path,
        "package": bool(spec is not None and spec.submodule_search_locations is not None),
        "files": files,
        "code": marshal.dumps(told.code(path, failing)) if whole is None and told is not None else b"",
        "whole": whole,
        "text": keys.file_digest(path),
        "functions": list(functions.values()),
        "refused": refused,
        "marks": marks,
        "surroundings": _surroundings(),
        "environment": environment(),
        "cpu": cpu(),
        "layer": {"omp": "omppool", "tbb": "tbbpool"}.get(layer, layer),
        "numba": os.path.dirname(sys.modules["numba"].__file__ or ""),
        "machine": (
            generator._llvm_module.triple,
            generator._get_host_cpu_name(),
            generator._tm_features,
            int(import_module("numba.core.config").OPT),
        ),
    }


def _imports(told: source.Module) -> tuple[dict[tuple[str, str], ImportError], tuple[str, ...]]:
    """Of a module's imports from numba, those that fail, and those that give a plain value."""
    failing: dict[tuple[str, str], ImportError] = {}
    plain = []
    for home, name in told.imports:
        try:
            module = _numbas(home)
        except ModuleNotFoundError as problem:
            failing[home, name] = problem
            continue
        # What was not imported stands where the module has not run.
        if module is None or not name:
            continue
        if hasattr(module, name):
            if isinstance(getattr(module, name), _PLAIN):
                plain.append(f"{home}.{name}")
            continue
        try:
            _numbas(f"{home}.{name}")
        except ModuleNotFoundError:
            where = getattr(module, "__file__", None) or "unknown location"
            failing[home, name] = ImportError(f"cannot import name {name!r} from {home!r} ({where})")
    return failing, tuple(plain)


#: Values that nothing can stand for: arithmetic and formatting take them as they are.
_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)


def _numbas(name: str) -> Any:
    """A module of numba's; None where it has not been imported.

    Raises:
        ModuleNotFoundError: there is none.
    """
    if name in sys.modules:
        return sys.modules[name]
    parent = name.rpartition(".")[0]
    above = _numbas(parent) if parent else None
    if above is None:
        return None
    places = getattr(above, "__path__", None)
    if places is None:
        raise ModuleNotFoundError(f"No module named {name!r}; {parent!r} is not a package")
    if PathFinder.find_spec(name, places) is None:
        raise ModuleNotFoundError(f"No module named {name!r}")
    return None


def _whole_reason(told: source.Module | None, plain: tuple[str, ...]) -> str | None:
    if told is None:
        return "it does not import numba at its top level"
    if told.heavy:
        return f"it uses {', '.join(told.heavy)} when it is imported"
    if plain:
        return f"it imports {', '.join(plain)}, for which nothing can stand"
    return None


def _young(path: str) -> bool:
    seen = manifest.identity(path)
    # What was read may have been another content: a file is read after the process's start, and before now. When it was
    # changed tells its change time; the other stamp anybody may set, to tomorrow too.
    return seen is None or seen[1] > STARTED


def _row(
    dispatcher: Any, told: source.Module, texts: _Texts, files: dict[str, manifest.Identity | None]
) -> tuple[dict[str, Any], list[Any]]:
    problem = emit.why_not(dispatcher)
    if problem is not None:
        raise NotNative(problem)
    functions = stamp.functions(dispatcher.py_func)
    for one in functions:
        path = one.__code__.co_filename
        if not os.path.isfile(path) or _young(path):
            raise NotNative(f"it calls {one.__qualname__}, whose file is new or missing")
        if not texts.holds(one):
            raise NotNative(f"{one.__qualname__} has run as another text than its file has")
        files.setdefault(path, manifest.identity(path))
    needed = emit.dependencies(dispatcher, texts.lazy_of(functions))
    return emit.function_row(dispatcher, told), needed


# what is told


def report_path(store: Store, name: str, path: str) -> str:
    """Where the report about a module is."""
    return f"{store.bucket}/numba/{manifest.slot(name, path)}.json"


def report(name: str, path: str) -> dict[str, Any] | None:
    """What was published of a module, and why the rest was not; None where nobody has tried."""
    try:
        with open(report_path(open_store(), name, path), encoding="utf-8") as file:
            told = json.load(file)
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("name") == name else None
