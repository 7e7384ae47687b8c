"""What the project says about building: pyproject.toml and the environment, read once per source, checked, frozen."""

from __future__ import annotations

import functools
import glob
import json
import os
import re
import tomllib
from dataclasses import dataclass, field, replace

from . import keys, staleness
from .errors import ConfigError, no_such_module, unknown_key
from .plan import Options
from .sources import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .staleness import Identity

__all__ = [
    "CYTHON_VARIABLE",
    "Search",
    "Settings",
    "blamed",
    "governing",
    "jobs",
    "load",
    "lock_timeout",
    "mistakes",
    "options_from",
    "project_folder",
    "read_project",
    "tables",
    "taken",
    "unknown_option",
]

#: Files that mark the top of a project; no pyproject.toml above it governs what is below.
_TOP = ".git"

_PATHS = ("sources", "include_dirs", "library_dirs", "extra_objects", "depends")
_WORDS = ("libraries", "runtime_library_dirs", "undef_macros", "extra_compile_args", "extra_link_args")
_OPTION_KEYS = (*_PATHS, *_WORDS, "define_macros", "language")
#: What setuptools takes beside these, and has no meaning for an import.
_SETUPTOOLS_ONLY = ("name", "export_symbols", "swig_opts", "optional", "py_limited_api")

#: JSON: build options, and `language_level`, for every Cython module; see `pyximport`.
CYTHON_VARIABLE = "AUTOACCEL_CYTHON_OPTIONS"

_KEYS = ("include", "exclude", "pure-python", "optimize", "debug", "cflags", "ldflags", "cython", "modules")
_CYTHON_KEYS = ("directives", "language-level", "annotate", "compile-time-env")
#: What of ``[tool.autoaccel]`` decides which modules there are, and not what becomes of one.
_FINDERS = ("include", "exclude", "pure-python")
#: What of ``[tool.maturin]`` decides how cargo is called, and for which crate. The rest is about the wheel.
_CARGOS = (
    "manifest-path", "profile", "features", "no-default-features", "default-features", "all-features", "args",
    "cargo-extra-args", "rustc-args", "config", "unstable-flags", "locked", "frozen", "offline",
)  # fmt: skip
_OPTIMIZE = ("0", "1", "2", "3", "s", "z", "g", "fast")
_LANGUAGE_LEVELS = ("2", "3", "3str")
#: A compiler's or linker's word about its own arguments, which has no line of a source.
_PROGRAM = re.compile(r"\S*\b(?:gcc|g\+\+|cc|c\+\+|cc1|cc1plus|clang|clang\+\+|ld|lld|collect2)(?:-[\d.]+)?: ")
#: How Cython begins its refusal of a directive that a project gives; those in a source have a place in it.
_DIRECTIVE = re.compile(r"(?:got unknown compiler directive: (\S+)|(\S+) directive must be set to .*)\s*")


@dataclass(frozen=True, slots=True)
class Settings:
    """What governs the build of one source.

    Attributes:
        root: the project's folder: that of pyproject.toml or setup.py, else the source's.
        seen: files that were read, and the stat identity that each had before.
        taken: such a file -> all that the build may take from it, see `taken`: so its other content does not count.
        absent: files that were looked for in vain.
        options: what pyproject.toml says about this module.
        optimize: the word after ``-O``, or None for the toolchain's default.
        debug: keep debug information (``-g``).
        cflags, ldflags: appended to every compile and link.
        directives: Cython compiler directives for all modules.
        language_level: Cython's, or None for its default.
        annotate: keep Cython's annotated page beside the library.
        compile_time_env: names for Cython's ``IF`` and ``DEF``.
    """

    root: str
    seen: Mapping[str, Identity] = field(default_factory=dict, metadata={"key": False})
    taken: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    absent: tuple[str, ...] = field(default=(), metadata={"key": False})
    options: Options = field(default_factory=Options)
    optimize: str | None = None
    debug: bool = False
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    directives: Mapping[str, object] = field(default_factory=dict)
    language_level: str | None = None
    annotate: bool = False
    compile_time_env: Mapping[str, object] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The files that were read."""
        return tuple(self.seen)


def lock_timeout() -> float:
    """Seconds to wait for another process that builds the same source (``AUTOACCEL_LOCK_TIMEOUT``, 600)."""
    return _number("AUTOACCEL_LOCK_TIMEOUT", 600.0, least=0)


def jobs() -> int:
    """How many compilers may run at once (``AUTOACCEL_JOBS``, the number of cores that this process may use)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(_number("AUTOACCEL_JOBS", cores, least=1))


def load(source: Source) -> Settings:
    """The settings for a source.

    Raises:
        ConfigError: pyproject.toml can't be parsed, or has a key that does not exist.
    """
    found = _governing(source)
    told = os.environ.get(CYTHON_VARIABLE)
    if source.toolchain != "cython" or not told:
        return found
    where = f"${CYTHON_VARIABLE}"
    try:
        table = dict(_table(json.loads(told), where, "it"))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    level = _language_level(table.pop("language_level", None), where, "language_level")
    options = options_from(table, (found.root,), where).plus(found.options)
    return replace(found, options=options, language_level=found.language_level or level)


def governing(directory: str) -> tuple[str | None, list[str]]:
    """The nearest pyproject.toml upwards to the top of the project, and where it was looked for in vain."""
    absent: list[str] = []
    here = directory
    while True:
        path = os.path.join(here, "pyproject.toml")
        if os.path.isfile(path):
            return path, absent
        absent.append(path)
        above = os.path.dirname(here)
        if above == here or os.path.exists(os.path.join(here, _TOP)):
            return None, absent
        here = above


def project_folder(directory: str) -> str:
    """The folder of the project that a directory is in: that of its pyproject.toml or setup.py, else itself."""
    path, _ = governing(directory)
    return os.path.dirname(path) if path is not None else _top(directory)[0]


def _governing(source: Source) -> Settings:
    """The settings in the pyproject.toml that governs a source, if there is one."""
    own = os.path.dirname(source.path)
    path, absent = governing(own)
    if path is not None:
        return _from_project(source, path, absent)
    root, tried = _top(own)
    return Settings(root=root, absent=(*absent, *tried))


def read_project(path: str) -> dict[str, object]:
    """A parsed pyproject.toml.

    Raises:
        ConfigError: it is no TOML.
    """
    try:
        with open(path, "rb") as file:
            return _parsed(file.read())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", path=path) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", path=path) from None


@functools.lru_cache(maxsize=8)
def _parsed(data: bytes) -> dict[str, object]:
    # One file governs many modules, and they all ask for it. Nobody writes into what they get.
    return tomllib.loads(data.decode())


def tables(path: str) -> tuple[object, object]:
    """``tool.setuptools.ext-modules`` and ``tool.autoaccel`` of a pyproject.toml, whatever they are.

    Raises:
        ConfigError: it is no TOML.
    """
    return _tables(read_project(path))


def _tables(data: Mapping[str, object]) -> tuple[object, object]:
    tool = data.get("tool")
    tool = tool if isinstance(tool, dict) else {}
    setuptools = tool.get("setuptools", {})
    return setuptools.get("ext-modules", []) if isinstance(setuptools, dict) else [], tool.get("autoaccel", {})


def taken(path: str, name: str) -> dict[str, object]:
    """All that a build of the module ``name`` may take from a pyproject.toml, where it stands there; as JSON has it.

    Builds are given nothing else of the file, so that an edit of the rest changes none. What is wrong in a place that
    counts stays, for whoever refuses it.

    Raises:
        ConfigError: it is no TOML.
    """
    tool = read_project(path).get("tool")
    tool = tool if isinstance(tool, dict) else {}
    found: dict[str, object] = {}
    extensions, mine = _tables({"tool": tool})
    if isinstance(extensions, list):
        extensions = [one for one in extensions if isinstance(one, dict) and one.get("name") == name]
    if extensions:
        found["setuptools"] = {"ext-modules": extensions}
    if isinstance(mine, dict):
        mine = {key: value for key, value in mine.items() if key not in _FINDERS or not isinstance(value, list)}
        modules = mine.get("modules")
        if isinstance(modules, dict):
            mine["modules"] = {name: modules[name]} if name in modules else {}
            if not mine["modules"]:
                del mine["modules"]
    if mine or not isinstance(mine, dict):
        found["autoaccel"] = mine
    maturin = tool.get("maturin")
    if isinstance(maturin, dict) and (told := {key: maturin[key] for key in _CARGOS if key in maturin}):
        found["maturin"] = told
    rust = tool.get("setuptools-rust")
    crates = rust.get("ext-modules") if isinstance(rust, dict) else None
    targets = [one for one in crates if _is_for(one, name)] if isinstance(crates, list) else []
    if targets:
        found["setuptools-rust"] = {"ext-modules": targets}
    # TOML has dates, which have no place in a key.
    return json.loads(json.dumps({"tool": found} if found else {}, default=str))  # type: ignore[no-any-return]


def _is_for(extension: object, name: str) -> bool:
    """Whether a table of setuptools-rust makes a module, alone or with others."""
    target = extension.get("target") if isinstance(extension, dict) else None
    return name in (target.values() if isinstance(target, dict) else [target])


def mistakes(path: str, modules: Iterable[str] = ()) -> list[str]:
    """What is wrong with a pyproject.toml, whichever module is meant.

    Args:
        path: the file.
        modules: the names of the project's native modules.
    """
    try:
        extensions, mine = tables(path)
    except ConfigError as error:
        return [error.msg]
    found: dict[str, None] = {}
    names = [""]
    for table in extensions if isinstance(extensions, list) else []:
        name = table.get("name") if isinstance(table, dict) else None
        if isinstance(name, str):
            names.append(name)
            sources = table.get("sources")
            if isinstance(sources, list) and not any(_there(path, word) for word in sources):
                found[f"{path}: [[tool.setuptools.ext-modules]] {name}: none of its `sources` exists"] = None
        else:
            found[f"{path}: [[tool.setuptools.ext-modules]]: a table without `name` is no module"] = None
    given = mine.get("modules") if isinstance(mine, dict) else None
    own = list(given) if isinstance(given, dict) else []
    for name in (*names, *own):
        try:
            _from_project(Source(name, path, "c"), path, ())
        except ConfigError as error:
            found[error.msg] = None
    there = {*names[1:], *modules}
    for name in own:
        # From where modules are imported is not always known, so the ends of names are compared.
        if not any(f".{one}".endswith(f".{name}") or f".{name}".endswith(f".{one}") for one in there):
            found[no_such_module(path, name, sorted(there))] = None
    return list(found)


def _there(pyproject: str, word: object) -> bool:
    return bool(glob.glob(os.path.join(glob.escape(os.path.dirname(pyproject)), str(word))))


def blamed(how: Settings, said: str) -> ConfigError | None:
    """The setting of pyproject.toml that a tool refuses to take, if that is what it says.

    Args:
        how: the settings of the build that failed.
        said: what the tools said.
    """
    if not how.inputs:
        return None
    refused = _DIRECTIVE.fullmatch(said)
    if refused is not None and (name := refused[1] or refused[2]) in how.directives:
        return ConfigError(f"{how.inputs[0]}: [tool.autoaccel.cython]: `directives`: `{name}`: {said.strip()}")
    for line in said.splitlines():
        if _PROGRAM.match(line):
            for key, words in (("cflags", how.cflags), ("ldflags", how.ldflags)):
                for word in words:
                    if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line):
                        return ConfigError(f"{how.inputs[0]}: [tool.autoaccel]: `{key}`: `{word}`: {line.strip()}")
    return None


def options_from(table: Mapping[str, object], bases: Sequence[str], where: str) -> Options:
    """Options in the words of ``setuptools.Extension`` (dashes or underscores), paths resolved.

    Args:
        table: the settings.
        bases: folders in which a relative path is looked for; the first that has it wins, else the first.
        where: what to name in an error.

    Raises:
        ConfigError: an unknown key or a value of the wrong type.
    """
    values: dict[str, object] = {}
    search = Search(bases)
    for spelled, value in table.items():
        key = spelled.replace("-", "_")
        if key in _SETUPTOOLS_ONLY:
            continue
        if unknown_option(key):
            raise unknown_key(where, spelled, [known.replace("_", "-") for known in _OPTION_KEYS])
        if key == "language":
            if value not in ("c", "c++"):
                raise ConfigError(f'{where}: `language` must be "c" or "c++", not {value!r}')
            values[key] = value
        elif key == "define_macros":
            values[key] = tuple(_macro(item, where) for item in _sequence(value, where, spelled))
        else:
            words = [_text(item, where, spelled) for item in _sequence(value, where, spelled)]
            if key in ("sources", "depends"):
                words = [path for word in words for path in search.expanded(word)]
            elif key == "include_dirs":
                # Both the source's and the project's folder are meant by somebody.
                words = [path for word in words for path in search.everywhere(word)]
            elif key in _PATHS:
                words = [search.resolved(word) for word in words]
            values[key] = tuple(words)
    return Options(**values, absent=tuple(search.absent), folders=tuple(search.folders.items()))  # type: ignore[arg-type]


def unknown_option(key: str) -> bool:
    """Whether setuptools has no such argument of an extension."""
    return key.replace("-", "_") not in (*_OPTION_KEYS, *_SETUPTOOLS_ONLY)


class Search:
    """Relative paths looked for in several folders, with a record of what was not there.

    Attributes:
        absent: paths that were looked for in vain.
        folders: folders that a pattern was looked for in -> what they had.
    """

    def __init__(self, bases: Sequence[str]) -> None:
        self._bases = tuple(dict.fromkeys(bases))
        self.absent: dict[str, None] = {}
        self.folders: dict[str, tuple[str, ...]] = {}

    def resolved(self, word: str) -> str:
        """The first that exists, else where it should be."""
        paths = self._paths(word)
        for path in paths:
            if os.path.exists(path):
                return path
            self.absent[path] = None
        return paths[0]

    def everywhere(self, word: str) -> list[str]:
        """All folders that exist, else where one should be."""
        paths = self._paths(word)
        # A file that is named as a folder is there, and has nothing below it.
        self.absent.update(dict.fromkeys(path for path in paths if not os.path.exists(path)))
        return [path for path in paths if os.path.isdir(path)] or paths[:1]

    def expanded(self, word: str) -> list[str]:
        """A file, or the files that a pattern names."""
        if not glob.has_magic(word):
            return [self.resolved(word)]
        for base in self._bases if not os.path.isabs(word) else ("",):
            pattern = os.path.normpath(os.path.join(glob.escape(base), word))
            for folder in _searched(base, word):
                # Before the pattern is looked for: what appears in between is a change.
                self.folders.setdefault(folder, tuple(sorted(staleness.listed(folder))))
            found = sorted(glob.glob(pattern, recursive=True))
            if found:
                return found
        return [self.resolved(word)]

    def _paths(self, word: str) -> list[str]:
        return [
            os.path.normpath(os.path.join(base, word)) for base in (self._bases if not os.path.isabs(word) else ("",))
        ]


def _searched(base: str, pattern: str) -> list[str]:
    """The folders whose content decides what a pattern names that is relative to ``base``."""
    here = os.path.dirname(pattern)
    while glob.has_magic(here):
        here = os.path.dirname(here)
    top = os.path.normpath(os.path.join(base, here))
    if here == os.path.dirname(pattern):
        return [top] if os.path.isdir(top) else []
    return [folder for folder, _, _ in os.walk(top)]


def _from_project(source: Source, path: str, absent: Iterable[str]) -> Settings:
    root = os.path.dirname(path)
    bases = (root, os.path.dirname(source.path))
    # The identity is taken first: a change in between makes it old, never falsely new.
    seen = keys.settled(path)
    own = taken(path, source.name)
    extensions, mine = _tables(own)
    options = Options()
    for table in _sequence(extensions, f"{path}: [tool.setuptools]", "ext-modules"):
        if isinstance(table, dict) and table.get("name") == source.name:
            options = options.plus(options_from(table, bases, f"{path}: [[tool.setuptools.ext-modules]] {source.name}"))
    where = f"{path}: [tool.autoaccel]"
    _check_keys(mine, _KEYS, where)
    assert isinstance(mine, dict)
    for key in _FINDERS:
        _sequence(mine.get(key, []), where, key)
    modules = _table(mine.get("modules", {}), where, "modules")
    if source.name in modules:
        options = options.plus(
            options_from(
                _table(modules[source.name], where, source.name), bases, f'{where[:-1]}.modules."{source.name}"]'
            )
        )
    cython = mine.get("cython", {})
    _check_keys(cython, _CYTHON_KEYS, f"{path}: [tool.autoaccel.cython]")
    here = f"{path}: [tool.autoaccel.cython]"
    return Settings(
        root=root,
        seen={path: seen},
        taken={path: own},
        absent=tuple(absent),
        options=options,
        optimize=_level(mine.get("optimize"), where),
        debug=_flag(mine.get("debug", False), where, "debug"),
        cflags=tuple(_text(word, where, "cflags") for word in _sequence(mine.get("cflags", []), where, "cflags")),
        ldflags=tuple(_text(word, where, "ldflags") for word in _sequence(mine.get("ldflags", []), where, "ldflags")),
        directives=_directives(cython.get("directives", {}), here),
        language_level=_language_level(cython.get("language-level"), here, "language-level"),
        annotate=_flag(cython.get("annotate", False), here, "annotate"),
        compile_time_env=_names(cython.get("compile-time-env", {}), here),
    )


def _table(value: object, where: str, key: str) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise ConfigError(f"{where}: `{key}` must be a table, not {value!r}")


def _check_keys(table: object, known: Sequence[str], where: str) -> None:
    if not isinstance(table, dict):
        raise ConfigError(f"{where} must be a table")
    for key in table:
        if key not in known:
            raise unknown_key(where, key, known)


def _top(directory: str) -> tuple[str, list[str]]:
    """The folder from which a project without pyproject.toml is built, and where a setup.py was looked for in vain.

    That is the folder of its setup.py: the first upwards through packages, or one above (`src` layouts); else the
    source's own.
    """
    tried: list[str] = []
    here = directory
    while True:
        path = os.path.join(here, "setup.py")
        if os.path.isfile(path):
            return here, tried
        tried.append(path)
        above = os.path.dirname(here)
        if above == here:
            return directory, tried
        if not os.path.isfile(os.path.join(here, "__init__.py")):
            path = os.path.join(above, "setup.py")
            return (above, tried) if os.path.isfile(path) else (directory, [*tried, path])
        here = above


def _macro(item: object, where: str) -> tuple[str, str | None]:
    if isinstance(item, str):
        name, equals, value = item.partition("=")
        return name.strip(), value.strip() if equals else None
    if isinstance(item, list | tuple) and 1 <= len(item) <= 2:
        content = item[1] if len(item) == 2 else None
        return str(item[0]), None if content is None else str(content)
    raise ConfigError(f'{where}: a macro is "NAME", "NAME=value" or ["NAME", "value"], not {item!r}')


def _sequence(value: object, where: str, key: str) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    raise ConfigError(f"{where}: `{key}` must be a list, not {value!r}")


def _text(value: object, where: str, key: str) -> str:
    if isinstance(value, str):
        return value
    raise ConfigError(f"{where}: `{key}` must hold strings, not {value!r}")


def _flag(value: object, where: str, key: str) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{where}: `{key}` must be true or false, not {value!r}")


def _level(value: object, where: str) -> str | None:
    if value is None or (not isinstance(value, bool) and str(value) in _OPTIMIZE):
        return None if value is None else str(value)
    raise ConfigError(f'{where}: `optimize` must be what follows -O: 0, 1, 2, 3, "s" or "fast", not {value!r}')


def _language_level(value: object, where: str, key: str) -> str | None:
    if value is None or (not isinstance(value, bool) and str(value) in _LANGUAGE_LEVELS):
        return None if value is None else str(value)
    raise ConfigError(f'{where}: `{key}` must be 2, 3 or "3str", not {value!r}')


def _names(value: object, where: str) -> dict[str, object]:
    table = dict(_table(value, where, "compile-time-env"))
    for name, content in table.items():
        if not isinstance(content, bool | int | float | str):
            raise ConfigError(f"{where}: `compile-time-env`: `{name}` must be a number, a string or true or false")
    return table


def _directives(value: object, where: str) -> dict[str, object]:
    table = dict(_table(value, where, "directives"))
    for name, content in table.items():
        # Cython takes whatever is no string for true or false.
        if not isinstance(content, bool | str) and name != "language_level":
            raise ConfigError(f"{where}: `directives`: `{name}` must be true, false or a string, not {content!r}")
    if "language_level" in table:
        _language_level(table["language_level"], where, "directives.language_level")
    return table


def _number(name: str, default: float, *, least: int) -> float:
    told = os.environ.get(name)
    if not told:
        return default
    try:
        number = float(told)
    except ValueError:
        raise ConfigError(f"${name} must be a number, not {told!r}") from None
    if not least <= number < float("inf"):
        raise ConfigError(f"${name} must be {least} or more, not {told!r}")
    return number
