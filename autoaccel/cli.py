"""The command line: ``run`` is on its way before a parser is loaded, everything else goes through click."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

__all__ = ["main"]

_VERBOSE = ("-v", "--verbose")
_INTERRUPTED = 130
#: Modules of ``commands``, each with the verb of its name.
_VERBS = ("build", "cache", "completion", "doctor", "explain", "site", "watch")


def main(args: "Sequence[str] | None" = None) -> None:
    """Do what the command line says, and exit with its status where that is not 0.

    Args:
        args: the words after ``autoaccel``; None takes them from ``sys.argv``.
    """
    words = list(sys.argv[1:] if args is None else args)
    verbose = 0
    while verbose < len(words) and words[verbose] in _VERBOSE:
        verbose += 1
    if verbose:
        from .loader import ColdRoom

        with ColdRoom():
            from .logs import show_log

        show_log()
    words = words[verbose:]
    if words[:1] == ["run"] and words[1:2] not in ([], ["-h"], ["--help"]):
        from .commands.run import run

        run(words[1:])
        return
    status = _dispatch(words)
    if status:
        sys.exit(status)


def _dispatch(words: list[str]) -> int:
    """Run a verb other than ``run``; its exit status."""
    import gc

    _leave_imports_alone()
    if words[:1] == ["build"]:
        # What is loaded and made from now on lasts until the end: it is not looked at again and again.
        gc.disable()
        from . import early

        early.foresee([word for word in words[1:] if not word.startswith("-")])
    import os

    import click

    from .commands.common import complain
    from .errors import AccelError

    try:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        status = _parser().main(words, prog_name="autoaccel", standalone_mode=False, color=False if plain else None)
        # A reader that went away shows up here, not at the interpreter's end.
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except AccelError as error:
        complain(error.msg)
        return 1
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        complain(told if error.filename or _is_somewhere() else "the current folder does not exist any more")
        return 1
    finally:
        # Nor when the interpreter ends.
        gc.freeze()
        gc.enable()
    return int(status or 0)


def _is_somewhere() -> bool:
    import os

    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _parser() -> "click.Group":
    """All verbs, each loaded when it is asked for."""
    from importlib import import_module

    import click

    from . import __version__

    class Verbs(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted((*_VERBS, *super().list_commands(ctx)))

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in _VERBS:
                return super().get_command(ctx, cmd_name)
            if cmd_name == "cache":
                import_module(".commands.upkeep", __package__)  # adds to it
            command: click.Command = getattr(import_module(f".commands.{cmd_name}", __package__), cmd_name)
            return command

    @click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
    @click.option(*_VERBOSE, is_flag=True, help="Tell on stderr what is built, and why.")
    @click.version_option(__version__, message="autoaccel %(version)s")
    def autoaccel(verbose: bool) -> None:
        """Import Cython, C and C++ sources: compiled once into a cache, then loaded from it."""

    @autoaccel.command(
        context_settings={"ignore_unknown_options": True},
        options_metavar="",
        short_help="Run a program as `python` would, with native sources importable.",
        epilog="Everything after SCRIPT or MODULE belongs to the program.",
    )
    @click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SCRIPT | -m MODULE [ARGS]...")
    def run(program: tuple[str, ...]) -> None:
        """Run a program as `python` would, with native sources importable."""

    return autoaccel


def _leave_imports_alone() -> None:
    """What autoaccel itself imports is never a file that happens to lie in the current folder."""
    if not sys.flags.safe_path and sys.path:
        del sys.path[0]
    from .hook import uninstall

    uninstall()
