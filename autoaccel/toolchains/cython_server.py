"""Translate Cython sources to C or C++ in a process of its own, and report everything that the result depends on.

Started by path, ``python cython_server.py``, this file needs nothing of autoaccel.  It reads one JSON object per line
on stdin and answers with one per line on stdout: first ``{"sys_path": [...], "jobs": n}``, the client's ``sys.path``
and how many translations may run at once, then requests (see `Request`), answered in the order in which they finish
(see `blank_answer`), and ``{"cancel": id}``.
With fork, Cython is loaded once and each request gets a child, so requests run side by side and share no state of
Cython.  Without, they run here, one after another.  The end of stdin, or `idle` quiet seconds, end the process.

What decides how the compiled code behaves is left as ``cythonize`` and pyximport leave it: ``binding``,
``embedsignature``, the default ``language_level`` and every other directive are Cython's defaults unless the request
sets them, and ``# cython:`` lines win over both, as always.  ``__init__.pyx`` is translated as ``pkg.__init__``, the
name that cythonize uses, from which Cython derives ``PyInit_pkg``.

What differs from cythonize, on purpose:

* Packages without ``__init__`` files: Cython guesses the root of a source from those files; here the module's full
  name decides, and Cython's guess is only tried when nothing else was found.
* ``# distutils:`` lines are taken from the files that Cython really read, not from those a regular expression found.
* User modules never shadow the standard library inside this process.

Not seen: a ``x.cython-NN.pxd`` that appears later beside a chosen ``x.pxd``; Cython globs for those.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib
import importlib.machinery
import io
import json
import os
import re
import selectors
import signal
import sys
import tempfile
import time
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

Json = dict[str, Any]

STDLIB = os.path.realpath(os.path.dirname(os.__file__))
ZIPPED_STDLIB = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"

LISTS = frozenset({"sources", "define_macros", "undef_macros", "extra_objects", "export_symbols"})
MERGED_LISTS = frozenset({"libraries", "library_dirs", "runtime_library_dirs", "include_dirs", "extra_compile_args",
                          "extra_link_args", "depends"})  # fmt: skip
SETTINGS = LISTS | MERGED_LISTS | {"name", "language", "np_pythran"}

# What the request itself says, or what would make Cython decide about freshness and places by itself.
RESERVED_OPTIONS = frozenset({"include_path", "compiler_directives", "cplus", "output_file", "language_level", "cache",
                              "module_name", "working_path", "timestamps", "depfile", "create_extension",
                              "use_listing_file", "errors_to_stderr", "build_dir", "output_dir"})  # fmt: skip


# ---------------------------------------------------------------- `# distutils:` lines


def parse_list(value: str) -> list[str]:
    """Split a value at blanks, or at commas inside ``[...]``; quotes keep text together, ``#`` starts a comment."""
    bracketed = re.match(r"\[(.*)\]\s*(#.*)?$", value)
    pattern = r"""((?:"[^"]*"|'[^']*'|[^,"'#])+)|#.*""" if bracketed else r"""((?:"[^"]*"|'[^']*'|[^\s"'#])+)|#.*"""
    items = (match.group(1) or "" for match in re.finditer(pattern, bracketed.group(1) if bracketed else value))
    return [_unquote(item.strip()) for item in items if item.strip()]


def _unquote(item: str) -> str:
    return item[1:-1] if len(item) > 1 and item[0] in "'\"" and item[-1] == item[0] else item


def parse_distutils(text: str) -> Json:
    """The ``# distutils: key = value`` settings in the leading comment lines of `text`.

    As in ``Cython.Build.Dependencies.DistutilsInfo``: only comment and blank lines before the first code count, a
    later line replaces an earlier one of the same key, ``# cython: key = value`` is read too when `key` is one of
    these settings, and an unknown key of a ``distutils:`` line is kept as a string, for the caller to refuse.
    ``define_macros`` are ``[name, value]`` with None for a macro without a value.

    Paths stay as written.  cythonize does not resolve ``sources``, ``include_dirs``, ``library_dirs`` or
    ``extra_objects`` at all: they are relative to the directory of the build, the one with the setup.py, whichever
    file they stand in.  It looks for ``depends`` in the include_dirs, then there.
    """
    values: Json = {}
    for line in map(str.strip, text.lstrip("\ufeff").splitlines()):
        if line and not line.startswith("#"):
            break
        match = re.match(r"#\s*(distutils|cython):(.*)", line)
        if match is None:
            continue
        key, _, value = (part.strip() for part in match.group(2).partition("="))
        if key in SETTINGS or match.group(1) == "distutils":
            values[key] = _typed_setting(key, value)
    return values


def _typed_setting(key: str, value: str) -> object:
    if key == "define_macros":
        return [[name, content if equals else None] for name, equals, content in _split_macros(value)]
    if key == "np_pythran":
        return value.lower() in ("y", "yes", "t", "true", "on", "1")
    return parse_list(value) if key in LISTS | MERGED_LISTS else value


def _split_macros(value: str) -> list[tuple[str, str, str]]:
    return [macro.partition("=") for macro in parse_list(value)]


def merge_distutils(files: Iterable[tuple[str, Json]]) -> tuple[Json, dict[str, list[str]]]:
    """Merge settings as cythonize does; the second value names, item by item, the file that each came from.

    The first file is the source and counts whole.  Of the others, the ``.pxd`` files, the lists in `MERGED_LISTS` are
    appended without duplicates, a language counts when there is none yet, and ``np_pythran`` is or-ed.
    """
    merged: Json = {}
    origins: dict[str, list[str]] = {}
    for index, (file, settings) in enumerate(files):
        for key, value in settings.items():
            if key in MERGED_LISTS or (key in LISTS and index == 0):
                fresh = [item for item in value if index == 0 or item not in merged.get(key, ())]
                merged[key] = merged.get(key, []) + fresh
                origins[key] = origins.get(key, []) + [file] * len(fresh)
            elif index == 0 or (key == "language" and key not in merged) or (key == "np_pythran" and value):
                merged[key], origins[key] = value, [file]
    return merged, origins


# ---------------------------------------------------------------- requests and answers


@dataclasses.dataclass(frozen=True)
class Request:
    """One translation.  `module` is the full name; `include_path` comes after the source's own root."""

    id: int
    source: str
    module: str
    output: str
    language: str = "c"
    include_path: tuple[str, ...] = ()
    directives: Json = dataclasses.field(default_factory=dict)
    language_level: Any = None
    options: Json = dataclasses.field(default_factory=dict)
    cwd: str = "."

    @classmethod
    def from_message(cls, message: Json) -> Request:
        """Check the names and the few values that Cython would not check itself."""
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = set(message) - fields, {"id", "source", "module", "output"} - set(message)
        if unknown or missing:
            raise ValueError(f"request with unknown fields {sorted(unknown)} and without {sorted(missing)}")
        if message.get("language", "c") not in ("c", "c++"):
            raise ValueError(f"language is {message['language']!r}, neither 'c' nor 'c++'")
        reserved = RESERVED_OPTIONS.intersection(message.get("options") or ())
        if reserved:
            raise ValueError(f"not to be set in options: {', '.join(sorted(reserved))}")
        given = {name: value for name, value in message.items() if value is not None}
        return cls(**{**given, "include_path": tuple(given.get("include_path", ()))})

    @property
    def scope_name(self) -> str:
        """The name by which Cython knows that a package's own module is a package."""
        is_package = os.path.splitext(os.path.basename(self.source))[0] == "__init__"
        return f"{self.module}.__init__" if is_package and not self.module.endswith(".__init__") else self.module


def blank_answer(ident: int | None, kind: str | None = None, text: str = "") -> Json:
    """An answer with all of its fields.

    `kind` tells failures apart: "compile" (the user's source), "crash" (Cython, or its process), "request" (malformed),
    "cython" (Cython cannot be imported), "cancelled".
    """
    return {
        "id": ident, "ok": False, "kind": kind, "c_file": None, "headers": [], "annotation": None, "errors": [],
        "warnings": [], "text": text, "inputs": [], "absent": [], "externs": [], "numpy": False, "distutils": {},
        "distutils_origins": {}, "cython_version": None, "seconds": 0.0,
    }  # fmt: skip


# ---------------------------------------------------------------- what a translation reads


class Transcript(io.StringIO):
    """Stands in for stdout and stderr, and tells when Cython really printed a warning."""

    def __init__(self, on_warning: Callable[[], None]) -> None:
        super().__init__()
        self.on_warning = on_warning

    def write(self, text: str) -> int:
        """Cython writes each message with one call."""
        if text.startswith("warning: "):
            self.on_warning()
        return super().write(text)


def package_root(path: str, module: str) -> str | None:
    """The directory that `module` is found from, if the directories above `path` spell its packages."""
    names = module.split(".")
    if not os.path.basename(path).startswith("__init__.") or names[-1] == "__init__":
        names.pop()
    directory = os.path.dirname(path)
    for name in reversed(names):
        directory, last = os.path.split(directory)
        if os.path.normcase(last) != os.path.normcase(name):
            return None
    return directory


def is_standard_library(path: str) -> bool:
    """Whether `path` belongs to Python itself and not to a package installed below it."""
    parts = path.split(os.sep)
    if ZIPPED_STDLIB in parts:
        return True
    return (path + os.sep).startswith(STDLIB + os.sep) and not {"site-packages", "dist-packages"}.intersection(parts)


class Recorder:
    """Watches Cython's own functions while it translates one source."""

    def __init__(self, request: Request, search_path: list[str]) -> None:
        self.request = request
        self.source = os.path.abspath(request.source)
        self.search_path = search_path
        self.roots: dict[str, str] = {}
        self.inputs: dict[str, None] = {}
        self.declarations: dict[str, None] = {}
        self.absent: dict[str, None] = {}
        self.externs: dict[tuple[str, str], None] = {}
        self.errors: list[Json] = []
        self.warnings: list[Json] = []
        self.numpy = self.crashed = False
        self.last_warning: tuple[Any, str] = (None, "")
        self.transcript = Transcript(self.note_warning)
        root = package_root(self.source, request.scope_name)
        if root is not None:
            self.roots[self.source] = root

    @contextlib.contextmanager
    def watching(self, context: Any) -> Iterator[None]:
        """Hook `context` for good and the modules of Cython for the time of the translation."""
        utils, errors, nodes = (cython(name) for name in ("Utils", "Compiler.Errors", "Compiler.Nodes"))
        self.home = os.path.realpath(os.path.dirname(utils.__file__))
        self.utils, self.guess_root, self.exists = utils, utils.find_root_package_dir, os.path.exists
        self.context, self.search = context, context.search_include_directories
        context.search_include_directories = self.searching
        context.parse = self.parsing(context.parse)
        context.find_include_file = self.including(context.find_include_file)
        context._split_qualified_name = self.splitting(context._split_qualified_name)  # noqa: SLF001  no public door
        with contextlib.ExitStack() as stack:
            swap(stack, errors, "report_error", self.reporting(errors.report_error))
            swap(stack, errors, "CompileWarning", self.warning(errors.CompileWarning))
            swap(stack, nodes.CDefExternNode, "analyse_declarations",
                 self.declaring(nodes.CDefExternNode.analyse_declarations))  # fmt: skip
            swap(stack, sys, "stdout", self.transcript)
            swap(stack, sys, "stderr", self.transcript)
            stack.enter_context(working_directory(self.request.cwd))
            utils.clear_function_caches()
            yield

    def note_input(self, path: str) -> bool:
        """Remember a file that is going to be read, unless Cython's version covers it."""
        if letters is not None:
            letters.needed_by(path)
        if os.path.realpath(path).startswith(self.home + os.sep):
            return False
        # The link, not where it leads: that it leads there is part of what was read.
        self.inputs[os.path.abspath(path)] = None
        return True

    def parsing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Every source and every .pxd goes through Context.parse."""

        def parse(source_desc: Any, scope: Any, pxd: Any, full_module_name: str) -> Any:
            path = getattr(source_desc, "filename", None)
            if path and self.note_input(path) and pxd:
                self.declarations[os.path.abspath(path)] = None
            if pxd and full_module_name.split(".")[0] == "numpy":
                self.numpy = True
            return original(source_desc, scope, pxd, full_module_name)

        return parse

    def including(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Every file of an `include` statement comes from Context.find_include_file."""

        def find_include_file(*args: Any, **kwargs: Any) -> Any:
            path = original(*args, **kwargs)
            if path:
                self.note_input(path)
            return path

        return find_include_file

    def splitting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Cython looks for a same-named package anywhere on sys.path; the source's own file name says it better."""

        def split(qualified_name: str, *args: Any, **kwargs: Any) -> Any:
            if qualified_name == self.request.scope_name and not qualified_name.endswith("__init__"):
                *packages, last = qualified_name.split(".")
                return [(name, True) for name in packages] + [(last, False)]
            return original(qualified_name, *args, **kwargs)

        return split

    def searching(self, qualified_name: str, suffix: Any = None, source_pos: Any = None, include: bool = False,
                  sys_path: bool = False, source_file_path: Any = None) -> str | None:  # fmt: skip
        """Search as Cython does, with the client's sys.path and the known package roots, noting what is missing."""
        file = source_file_path or (source_pos[0].filename if source_pos else None)
        with contextlib.ExitStack() as stack:
            swap(stack, os.path, "exists", self.probe)
            swap(stack, sys, "path", self.search_path)
            swap(stack, self.utils, "find_root_package_dir", self.find_root)
            path: str | None = self.search(qualified_name, suffix, source_pos, include, sys_path, source_file_path)
            if path is None and not include and file in self.roots and qualified_name != self.request.scope_name:
                swap(stack, self.context, "include_directories", [self.guess_root(file)])
                path = self.search(qualified_name, suffix)
        if path is None and suffix == ".py":
            return self.namespace_package(qualified_name, file, sys_path)
        if path and not include:
            root = package_root(path, qualified_name)
            if root is not None:
                self.roots.setdefault(path, root)
        return path

    def namespace_package(self, name: str, file: str | None, sys_path: bool) -> str | None:
        """Cython wants an `__init__` file to believe in a package, but does not read it: name one for a directory."""
        roots = [*filter(None, [self.roots.get(file or self.source)]), *self.context.include_directories]
        roots += self.search_path if sys_path else []
        directory = next(filter(os.path.isdir, (os.path.join(root, *name.split(".")) for root in roots)), None)
        if directory is None:
            return None
        for suffix in (".pxd", ".pyx"):
            path = self.searching(name, suffix, sys_path=sys_path, source_file_path=file)
            if path and not os.path.basename(path).startswith("__init__."):
                return None  # a module, beside a directory of the same name
        return os.path.join(directory, "__init__.py")

    def find_root(self, path: str) -> Any:
        """The root that a module's name tells, else Cython's guess from `__init__` files."""
        return self.roots.get(path) or self.guess_root(path)

    def probe(self, path: str) -> bool:
        """os.path.exists, remembering what it did not find by the topmost missing directory."""
        if self.exists(path):
            return True
        path = os.path.abspath(path)
        if path.endswith((".py", ".pyx")) and os.path.basename(path).count(".") > 1:
            return False  # `a.b.py` is tried before `a/b.py`, but neither tells a package
        while not self.exists(os.path.dirname(path)):
            path = os.path.dirname(path)
        if not is_standard_library(path) and not os.path.realpath(path).startswith(self.home + os.sep):
            self.absent[path] = None
        return False

    def declaring(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`cdef extern from` blocks that survive compile-time conditions."""

        def analyse_declarations(node: Any, env: Any) -> Any:
            path = getattr(node.pos[0], "filename", None)
            if node.include_file and path and not os.path.realpath(path).startswith(self.home + os.sep):
                self.externs[str(node.include_file), os.path.abspath(path)] = None
            return original(node, env)

        return analyse_declarations

    def reporting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Errors count once they are reported; held ones come back here or are dropped by Cython."""

        def report_error(error: Any, use_stack: bool = True) -> Any:
            known = error.reported
            try:
                return original(error, use_stack)
            finally:
                if error.reported and not known:
                    self.crashed = self.crashed or type(error).__name__ == "CompilerCrash"
                    self.errors.append(self.located(error.position, error.message_only))

        return report_error

    def warning(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Cython makes the same object for notes and hints; Transcript knows which of them it printed as warnings."""

        def compile_warning(position: Any = None, message: str = "") -> Any:
            self.last_warning = (position, message)
            return original(position, message)

        return compile_warning

    def note_warning(self) -> None:
        """Called when Cython prints the warning made last."""
        self.warnings.append(self.located(*self.last_warning))

    def located(self, position: Any, message: str) -> Json:
        """A message with its place; line 0 when Cython has none.  Columns count from 0, as Cython prints them."""
        file, line, column = position or (None, 0, 0)
        name = getattr(file, "filename", None) or self.source
        return {"file": os.path.abspath(name), "line": line, "column": column, "message": str(message).strip()}

    def distutils(self) -> tuple[Json, dict[str, list[str]]]:
        """Merged settings; as cythonize does, a header found beside the file that names it adds its directory."""
        files = []
        for path in [self.source, *self.declarations]:
            with self.utils.open_source_file(path, error_handling="ignore") as stream:
                files.append((path, parse_distutils(stream.read())))
        for name, path in self.externs:
            header = os.path.normpath(os.path.join(os.path.dirname(path), name))
            if os.path.exists(header):
                place = {} if os.path.isabs(name) else {"include_dirs": [os.path.dirname(path)]}
                files.append((path, {**place, "depends": [header]}))
        return merge_distutils(files)


def cython(name: str) -> Any:
    """A module of Cython, which is typed in some versions only, and never imported before it is needed."""
    return importlib.import_module(f"Cython.{name}")


def swap(stack: contextlib.ExitStack, owner: Any, name: str, value: object) -> None:
    """Set an attribute until `stack` closes."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


@contextlib.contextmanager
def working_directory(path: str) -> Iterator[None]:
    """Cython shows names relative to the current directory."""
    before = os.getcwd()
    os.chdir(path)  # noqa: TID251  in a process of our own, and Cython has no other way to be told
    try:
        yield
    finally:
        os.chdir(before)  # noqa: TID251


# ---------------------------------------------------------------- one translation


# Lexer tables, templates and the utility code that nearly every module needs are then loaded before the first fork.
SNIPPET = "# cython: language_level=3\ndef function(int number):\n    return number\n"


def compile_quietly(source: str) -> None:
    """Translate for the sake of what Cython loads and caches meanwhile."""
    main = cython("Compiler.Main")
    options = main.CompilationOptions(main.default_options, annotate=False, output_file=source + ".c")
    main.run_pipeline(source, options, "snippet", main.Context.from_options(options))


class Letters:
    """Cython's scanner, for sources in ASCII until another one comes.

    Its tables have a row for each character that may be part of a name, 1.5 million in all, and to make them takes
    longer than the whole rest of loading Cython. Without the letters beyond ASCII they are made in a hundredth of that.
    """

    def __init__(self) -> None:
        self.module = cython("Compiler.Lexicon")
        self.make = self.module.make_lexicon
        self.lexicon: Any = None
        self.before: Any = None
        self.module.make_lexicon = self.few

    def few(self) -> Any:
        """In the place of Cython's function, which is called once."""
        with contextlib.ExitStack() as stack:
            for name, letters in list(vars(self.module).items()):
                if name.startswith("unicode_") and isinstance(letters, str):
                    swap(stack, self.module, name, ascii_only(letters, pairs=name.endswith("_range")))
            lexicon = self.make()
        try:
            lexicon.machine = lexicon.machine
        except AttributeError:  # it can't be given another one later
            return self.make()
        self.lexicon = lexicon
        return lexicon

    def all(self) -> None:
        """Have names of any letters understood from now on, also by scanners that there are."""
        if self.lexicon is not None:
            # A file that includes another one is in the middle of it, and a machine empties its states when it goes.
            self.before, self.lexicon.machine = self.lexicon.machine, self.make().machine
        self.module.make_lexicon = self.make
        self.lexicon = None

    def needed_by(self, path: str) -> None:
        """A file is about to be read."""
        if self.lexicon is not None and may_name_more(path):
            self.all()


def ascii_only(letters: str, *, pairs: bool) -> str:
    """Of single characters, or pairs of first and last ones, those in ASCII; never none."""
    if pairs:
        ranges = zip(letters[::2], letters[1::2], strict=True)
        return "".join(first + min(last, "\x7f") for first, last in ranges if first.isascii()) or "__"
    return "".join(filter(str.isascii, letters)) or "_"


#: Strings and comments; f-strings have code in them.
QUIET = re.compile(
    rb"#[^\r\n]*|'{3}(?:\\.|[^\\])*?'{3}|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^\\'\r\n])*'|\"(?:\\.|[^\\\"\r\n])*\"",
    re.DOTALL,
)
FORMATTED = re.compile(rb"[ft][rbu]?['\"]", re.IGNORECASE)
CODING = re.compile(rb"coding[:=]\s*(?!utf-?8|ascii|latin)[-\w.]", re.IGNORECASE)


def may_name_more(path: str) -> bool:
    """Whether a file may have names with letters beyond ASCII; False only where that is sure."""
    try:
        with open(path, "rb") as stream:
            data = stream.read().removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return False
    if CODING.search(b"\n".join(data.splitlines()[:2])):
        return True
    if data.isascii():
        return False
    return FORMATTED.search(data) is not None or not QUIET.sub(b"", data).isascii()


#: None where Cython is of another kind.
letters: Letters | None = None


def load_cython(search_path: list[str]) -> None:
    """Import all of the compiler, found where the client would find it, with the standard library before it."""
    spec = importlib.machinery.PathFinder.find_spec("Cython", search_path)
    home = [os.path.dirname(os.path.dirname(spec.origin))] if spec and spec.origin else []
    own = [path for path in sys.path if is_standard_library(os.path.realpath(path))]
    sys.path[:] = own + home + [path for path in search_path if path not in own + home]
    with no_garbage(), stand_in("urllib.request"):
        global letters
        with contextlib.suppress(ImportError, AttributeError):
            letters = Letters()
        cython("Compiler.ParseTreeTransforms")


def warm_up() -> None:
    """Have this process know what each of its children would else find out for itself."""
    # What is wrong with Cython or the temporary directory, the translations tell.
    with no_garbage(), contextlib.suppress(Exception), tempfile.TemporaryDirectory() as directory:
        snippet = os.path.join(directory, "snippet.pyx")
        with open(snippet, "w", encoding="utf-8") as stream:
            stream.write(SNIPPET)
        compile_quietly(snippet)


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Nothing of what is made inside is garbage; scanning it would take a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def stand_in(name: str) -> Iterator[None]:
    """An empty module under a name: Cython's imports of xml.sax bring all of HTTP with them, and never use it."""
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = types.ModuleType(name)
    try:
        yield
    finally:
        if absent:
            del sys.modules[name]


def compilation_options(request: Request) -> Any:
    """Cython's own object, which refuses unknown options and directives."""
    main, options = cython("Compiler.Main"), cython("Compiler.Options")
    directives = {}
    for name, value in request.directives.items():
        parsed = options.parse_directive_value(name, value) if isinstance(value, str) else None
        directives[name] = value if parsed is None else parsed
    settings = {"annotate": False, **request.options}
    if request.language_level is not None:
        settings["language_level"] = request.language_level
    if settings.get("gdb_debug"):
        settings["output_dir"] = os.path.dirname(request.output)
    return main.CompilationOptions(main.default_options, cplus=request.language == "c++", output_file=request.output,
                                   include_path=list(request.include_path), compiler_directives=directives,
                                   **settings)  # fmt: skip


def obstacle(request: Request) -> str | None:
    """What stands in the way of any translation, in words."""
    if os.path.isdir(request.source):
        return f"{request.source} is a directory, not a source file"
    if not os.path.exists(request.source):
        return f"{request.source} does not exist"
    for directory in (os.path.dirname(request.output), request.cwd):
        if not os.path.isdir(directory):
            return f"the directory {directory} does not exist"
    return None


def translate(request: Request, search_path: list[str]) -> Json:
    """Run Cython on one request, in this process."""
    started = time.perf_counter()
    answer = blank_answer(request.id, "compile", obstacle(request) or "")
    recorder = Recorder(request, search_path)
    if answer["text"]:
        answer["errors"] = [recorder.located(None, answer["text"])]
        return answer
    try:
        _run(request, recorder, answer)
    except ValueError as error:
        answer.update(kind="request", text=str(error))
    except Exception as error:  # noqa: BLE001  whatever Cython raises is an answer
        plain = isinstance(error, OSError) or type(error) is LookupError
        message = f"{request.source}: {error}" if plain else traceback.format_exc()
        answer.update(kind="compile" if plain else "crash", text=recorder.transcript.getvalue() + message)
        recorder.errors.append(recorder.located(None, str(error)))
    answer.update(errors=recorder.errors, warnings=recorder.warnings, inputs=list(recorder.inputs),
                  absent=list(recorder.absent), externs=list(dict.fromkeys(name for name, _ in recorder.externs)),
                  numpy=recorder.numpy, seconds=round(time.perf_counter() - started, 4))  # fmt: skip
    return answer


def _run(request: Request, recorder: Recorder, answer: Json) -> None:
    main = cython("Compiler.Main")
    answer["cython_version"] = importlib.import_module("Cython").__version__
    options = compilation_options(request)
    context = main.Context.from_options(options)
    with recorder.watching(context):
        result = main.run_pipeline(recorder.source, options, request.scope_name, context)
        answer["text"] = recorder.transcript.getvalue()
    if result.num_errors or not result.c_file:
        answer["kind"] = "crash" if recorder.crashed else "compile"
        return
    settings, origins = recorder.distutils()
    page = os.path.splitext(result.c_file)[0] + ".html"
    answer.update(ok=True, kind=None, c_file=result.c_file, distutils=settings, distutils_origins=origins,
                  headers=[path for path in (result.h_file, result.api_file) if path],
                  annotation=page if options.annotate else None)  # fmt: skip


# ---------------------------------------------------------------- the process


class Server:
    """What both ways of serving share: the protocol, and Cython loaded on the first message."""

    def __init__(self, out: int, jobs: int, idle: float, eager: bool = False) -> None:
        self.out, self.jobs, self.idle, self.eager = out, jobs, idle, eager
        self.search_path = list(sys.path)
        self.problem: str | None = None
        self.loaded = False
        self.pending: deque[Request] = deque()

    def reply(self, answer: Json) -> None:
        """Write one line, all of it."""
        write_all(self.out, json.dumps(answer).encode() + b"\n")

    def receive(self, line: bytes) -> None:
        """Queue a request, or do at once what a message asks."""
        ident = None
        try:
            message = json.loads(line)
            ident = message.get("id")
            if "sys_path" in message:
                self.search_path = [os.path.abspath(path) for path in message["sys_path"]]
                self.jobs = max(1, int(message.get("jobs", self.jobs)))
            elif "cancel" in message:
                return self.cancel(message["cancel"])
            self.load()
            if "sys_path" not in message:
                self.enqueue(Request.from_message(message))
        except (ValueError, TypeError, AttributeError) as error:
            self.reply(blank_answer(ident, "request", f"malformed request: {error}"))

    def enqueue(self, request: Request) -> None:
        """Accept a request whose id tells it from all others under way."""
        if request.id in [waiting.id for waiting in self.pending]:
            raise ValueError(f"id {request.id} is in use")
        self.pending.append(request)

    def load(self) -> None:
        """Load Cython once, remembering why it could not be."""
        if not self.loaded:
            self.loaded = True
            try:
                load_cython(self.search_path)
            except Exception:  # noqa: BLE001  a broken Cython may raise anything while it is imported
                self.problem = traceback.format_exc()

    def cancel(self, ident: int) -> None:
        """Drop a request that has not begun."""
        for request in [request for request in self.pending if request.id == ident]:
            self.pending.remove(request)
            self.reply(blank_answer(ident, "cancelled", "cancelled"))


@dataclasses.dataclass(frozen=True)
class Child:
    """A running translation: its pipe, its private stderr, and what it has written so far."""

    pid: int
    request: Request
    pipe: int
    log: Any
    received: bytearray


class ForkServer(Server):
    """A child per request, at most `jobs` of them."""

    def serve(self) -> None:
        """Answer until stdin ends or nothing happens for long enough."""
        self.children: dict[int, Child] = {}
        self.used = self.warm = False  # a lone translation does without the warm-up, which takes as long
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        rest = b""
        while True:
            events = self.selector.select(None if self.children else self.idle)
            if not events and not self.children:
                return
            for key, _ in events:
                if key.fd != 0:
                    self.collect(key.data)
                    continue
                data = os.read(0, 1 << 16)
                if not data:
                    self.kill_children()
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.receive(line)
            self.start_pending()

    def load(self) -> None:
        """Warm up at once where many translations are to come."""
        fresh = not self.loaded
        super().load()
        if fresh and self.eager and self.problem is None:
            self.warm = True
            warm_up()

    def enqueue(self, request: Request) -> None:
        """The running ones count too."""
        if request.id in self.children:
            raise ValueError(f"id {request.id} is in use")
        super().enqueue(request)

    def start_pending(self) -> None:
        """Fork for as many queued requests as there are free places."""
        while self.pending and len(self.children) < self.jobs:
            request = self.pending.popleft()
            if self.problem is not None:
                self.reply(blank_answer(request.id, "cython", self.problem))
                continue
            if not self.warm and (self.used or self.pending):
                self.warm = True
                warm_up()
            if letters is not None:
                letters.needed_by(request.source)  # here, where it serves the next one too
            self.used = True
            read, write = os.pipe()
            log = private_file()
            pid = os.fork()
            if pid == 0:
                self.run_child(request, write, log.fileno())
            os.close(write)
            self.children[request.id] = child = Child(pid, request, read, log, bytearray())
            self.selector.register(read, selectors.EVENT_READ, child)

    def run_child(self, request: Request, write: int, log: int) -> NoReturn:
        """Translate, send the answer, and leave without any clean-up of the parent's objects."""
        try:
            os.close(self.out)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            gc.disable()  # what a translation makes lives until its end, which is this process's
            write_all(write, json.dumps(translate(request, self.search_path)).encode() + b"\n")
            os._exit(0)
        except BaseException:  # noqa: BLE001  nothing may escape into the parent's loop
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(70)

    def collect(self, child: Child) -> None:
        """Take what a child has written; at its end, pass on the answer or tell how it died."""
        data = os.read(child.pipe, 1 << 16)
        child.received.extend(data)
        if data or child.request.id not in self.children:
            return
        status = self.reap(child)
        if status == 0 and child.received.endswith(b"\n"):
            write_all(self.out, bytes(child.received))
        else:
            child.log.seek(0)
            log = child.log.read().decode(errors="replace")
            self.reply(blank_answer(child.request.id, "crash", f"Cython {describe_status(status)}\n{log}".strip()))
        child.log.close()

    def reap(self, child: Child) -> int:
        """Forget a child that has ended, and return its exit status, negative for a signal."""
        self.selector.unregister(child.pipe)
        os.close(child.pipe)
        del self.children[child.request.id]
        status = os.waitpid(child.pid, 0)[1]
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def cancel(self, ident: int) -> None:
        """Drop or kill, and say so in any case that was still open."""
        super().cancel(ident)
        child = self.children.get(ident)
        if child is not None:
            os.kill(child.pid, signal.SIGKILL)
            self.reap(child)
            child.log.close()
            self.reply(blank_answer(ident, "cancelled", "cancelled"))

    def kill_children(self) -> None:
        """End everything that is under way."""
        for child in list(self.children.values()):
            os.kill(child.pid, signal.SIGKILL)
            self.reap(child)


class InProcessServer(Server):
    """For systems without fork: one translation at a time, while a thread watches stdin."""

    def serve(self) -> None:
        """Answer until stdin ends or nothing happens for long enough."""
        import queue
        import threading

        lines: queue.Queue[bytes] = queue.Queue()

        def pump() -> None:
            for line in sys.stdin.buffer:
                lines.put(line)
            os._exit(0)  # the main thread may be deep inside a translation

        threading.Thread(target=pump, daemon=True).start()
        while True:
            try:
                self.receive(lines.get(timeout=self.idle))
                while not lines.empty():
                    self.receive(lines.get())
            except queue.Empty:
                os._exit(0)
            while self.pending and lines.empty():
                request = self.pending.popleft()
                self.reply(blank_answer(request.id, "cython", self.problem) if self.problem is not None
                           else translate(request, self.search_path))  # fmt: skip


def private_file() -> Any:
    """Where a child's stderr goes, to be read if the child dies; nowhere if the temporary directory is not usable."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


def write_all(fd: int, data: bytes) -> None:
    """os.write may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def describe_status(status: int) -> str:
    """The words for an exit status."""
    if status >= 0:
        return f"ended with status {status} and no answer"
    return f"was killed by signal {-status} ({signal.strsignal(-status)})"


def main() -> None:
    """Serve on stdin and stdout."""
    parser = argparse.ArgumentParser(description="Translate Cython sources on request.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--idle", type=float, default=30.0)
    parser.add_argument("--no-fork", action="store_true")
    parser.add_argument("--warm", action="store_true", help="be ready for a first request as for later ones")
    args = parser.parse_args()
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != here]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the whole group; the client decides what it means
    out = os.dup(1)
    os.dup2(2, 1)
    kind = ForkServer if hasattr(os, "fork") and not args.no_fork else InProcessServer
    with contextlib.suppress(BrokenPipeError):
        kind(out, max(1, args.jobs), args.idle, args.warm).serve()


if __name__ == "__main__":
    main()
