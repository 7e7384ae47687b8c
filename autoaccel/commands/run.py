"""``autoaccel run``: a program as ``python`` runs it, with the hook in.

Imports next to nothing: whatever this file loads, the program waits for.
"""

import builtins
import sys
from _frozen_importlib_external import PathFinder, SourceFileLoader, SourcelessFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType, TracebackType

__all__ = ["run"]

_USAGE = 2
_NATIVE = (".pyx", ".c", ".cpp", ".cc", ".cxx")


def run(words: "Sequence[str]") -> None:
    """Run ``SCRIPT ARGS…`` or ``-m MODULE ARGS…`` in this interpreter, as its ``__main__``.

    What the program raises leaves this function as it is; what is shown of it begins with the program's own frames.
    """
    first = words[0]
    try:
        if first == "-m":
            if len(words) == 1:
                _refuse("-m needs the name of a module")
            _run_module(words[1], words[2:])
        elif first.startswith("-m"):
            _run_module(first[2:], words[1:])
        elif first == "--" and len(words) > 1:
            _run_script(words[1], words[2:])
        elif first.startswith("-"):
            _refuse(f"no such option: {first} (options of the program come after its name)")
        else:
            _run_script(first, words[1:])
    except SystemExit:
        raise
    except BaseException as error:
        _hide_own_frames(error)
        raise


def _run_script(path: str, args: "Sequence[str]") -> None:
    import os

    sys.argv[:] = [path, *args]
    # As CPython has it: absolute, not normalised.
    full = os.path.join(os.getcwd(), path)
    # CPython asks the path hooks too: a folder or a zip file with a __main__.py is a program.
    if PathFinder._path_importer_cache(full) is not None:  # type: ignore[attr-defined]  # noqa: SLF001
        _put_first(full)
        _become_main({})
        _run_as_main("__main__", alter_argv=False)
        return
    if path.endswith(_NATIVE) and os.path.isfile(full):
        print(
            f"autoaccel: {path} is the source of a module, not a program: run a script that imports it", file=sys.stderr
        )
        sys.exit(_USAGE)
    loader: SourceFileLoader | SourcelessFileLoader
    code: CodeType | None
    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", full)
        code = loader.get_code("__main__")
    else:
        loader = SourceFileLoader("__main__", full)
        code = _compiled(full)
    assert code is not None
    _put_first(os.path.dirname(os.path.realpath(path)))
    main = _become_main({"__loader__": loader, "__file__": full, "__cached__": None})
    exec(code, vars(main))  # noqa: S102


def _compiled(path: str) -> "CodeType":
    from io import open_code

    try:
        with open_code(path) as file:
            source = file.read()
    except OSError as error:
        print(f"autoaccel: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(_USAGE)
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


def _run_module(name: str, args: "Sequence[str]") -> None:
    import os

    # As `python -m` has it while it looks for the module.
    sys.argv[:] = ["-m", *args]
    _put_first(os.getcwd())
    _become_main({})
    _run_as_main(name, alter_argv=True)


def _run_as_main(name: str, *, alter_argv: bool) -> None:
    # The very function that the interpreter calls for `-m`, so its rules and its words are the same.
    from runpy import _run_module_as_main  # type: ignore[attr-defined]

    _run_module_as_main(name, alter_argv)


def _become_main(attributes: "dict[str, object]") -> "ModuleType":
    """A fresh ``__main__`` with what CPython puts into one."""
    main = type(sys)("__main__")
    names = vars(main)
    names |= {**attributes, "__builtins__": builtins}
    if sys.version_info < (3, 14):
        names["__annotations__"] = {}
    # Ours is still running: it must not lose its globals.
    sys.modules["__autoaccel_main__"] = sys.modules["__main__"]
    sys.modules["__main__"] = main
    return main


def _put_first(entry: str) -> None:
    """Replace what the interpreter put in front for autoaccel's own sake."""
    if not sys.flags.safe_path:
        sys.path[:1] = [entry]


def _hide_own_frames(error: BaseException) -> None:
    """Have the traceback, when the interpreter comes to show it, begin where the program does."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    if type(error).__module__ == "autoaccel.errors":
        _cut_own_tail(trace)
    shown = sys.excepthook

    def excepthook(kind: type[BaseException], value: BaseException, full: "TracebackType | None") -> None:
        sys.excepthook = shown
        if value is error:
            sys.last_traceback = full = trace
            value = value.with_traceback(trace)
        shown(kind, value, full)

    sys.excepthook = excepthook


def _cut_own_tail(trace: "TracebackType | None") -> None:
    """A source that does not build is not the loader's mistake: its frames tell the user nothing."""
    last = None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "autoaccel":
            last = trace
        trace = trace.tb_next
    if last is not None:
        last.tb_next = None


def _refuse(reason: str) -> None:
    print(f"Usage: autoaccel run SCRIPT | -m MODULE [ARGS]...\n\nError: {reason}", file=sys.stderr)
    sys.exit(_USAGE)
