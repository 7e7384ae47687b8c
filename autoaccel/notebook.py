"""IPython and Jupyter: cells in other languages, and native modules that follow their sources from cell to cell."""

from __future__ import annotations

import html
import importlib
import shlex
import sys
import threading
import time
import traceback

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import HTML, display

import autoaccel

from . import cells, manifest, process
from .errors import AccelError, BuildError
from .live import Watch, imported, swap, watch
from .live.watcher import message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from .sources import Source

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

#: Seconds after which a wait says what it is for.
_PATIENCE = 0.6

_EVENT = "pre_run_cell"


class CellError(BuildError):
    """A cell that does not compile; shown as the compiler tells it, without Python's own traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__bases__[0].__name__}: {self.msg}"]


@magics_class
class AccelMagics(Magics):
    """``%%accel`` and ``%accel_watch``."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.watch: Watch | None = None
        #: a terminal has a line of its own that changes in its place
        self._draws = hasattr(shell, "kernel")

    @magic_arguments()
    @argument("language", choices=sorted(cells.LANGUAGES), help="What the cell is written in.")
    @argument("-n", "--name", help="The module's name, under which other cells can import it.")
    @argument("-f", "--flags", action="append", default=[], help="Words for the compiler: -f '-O2 -march=native'.")
    @argument("-l", "--link", action="append", default=[], help="Words for the linker: -l=-lm, -l '-L/opt/lib -lx'.")
    @argument("-a", "--annotate", action="store_true", help="Show Cython's annotated page; else the machine code.")
    @argument("-q", "--quiet", action="store_true", help="Say nothing of the build.")
    @cell_magic
    def accel(self, line: str, cell: str) -> None:
        """Compile the cell, and put what it defines into the namespace.

        The same cell is compiled once: later kernels take it from the cache. A cell is a module of its own, which
        imports what it needs and sees no name of the notebook's.
        """
        # What the cell itself raises is shown from the cell's own lines on.
        __tracebackhide__ = True
        try:
            args = parse_argstring(self.accel, line)
            wanted = cells.Cell(
                args.language,
                cell,
                args.name,
                tuple(word for one in args.flags for word in shlex.split(_bare(one))),
                tuple(word for one in args.link for word in shlex.split(_bare(one))),
                args.annotate,
            )
            found = cells.find(wanted)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        # The count of executions is that of the next cell already, or not yet, depending on IPython's version.
        where = f"Cell In[{len(self.shell.user_ns['In']) - 1}]"
        try:
            built, seconds = _waited(
                lambda: cells.build(found), f"compiling {found.name}", shown=self._draws and not args.quiet
            )
            before = sys.modules.get(found.name)
            module = self._loaded(found, where)
        except BuildError as error:
            told = cells.located(error, found.path, where)
            raise CellError(
                told, name=error.name, path=error.path, diagnostics=error.diagnostics, log=error.log
            ) from None
        except AccelError as error:
            raise UsageError(error.msg) from None
        # A cell that was edited: who has imported it by its name has it under that name.
        names = {name: module for name, value in self.shell.user_ns.items() if before is not None and value is before}
        self.shell.push({**names, **cells.names_of(module)})
        if built and not args.quiet:
            print(f"compiled {found.name} in {seconds:.2f} s")  # noqa: T201
        if args.annotate:
            self._show(module, wanted)

    def _loaded(self, found: cells.Found, where: str) -> ModuleType:
        __tracebackhide__ = True
        try:
            return cells.load(found)
        except AccelError:
            raise
        except SyntaxError as problem:
            if problem.filename != found.path:
                raise
            problem.filename = where
            told = "".join(traceback.format_exception_only(problem))
            raise BuildError(f"{found.name}: Python failed on {where}\n\n{told}", name=found.name) from None
        except BaseException as problem:  # noqa: BLE001  (raised again)
            trace = problem.__traceback__
            own = {__file__, cells.__file__, autoaccel.__file__}
            while trace is not None and (
                trace.tb_frame.f_code.co_filename in own or trace.tb_frame.f_code.co_filename.startswith("<frozen imp")
            ):
                trace = trace.tb_next
            raise problem.with_traceback(trace)  # noqa: B904  (the same)

    def _show(self, module: Any, cell: cells.Cell) -> None:
        page = cells.page(module) if cell.language == "cython" else None
        if page is not None:
            # Its styles are meant for the page alone.
            shown = f'<iframe style="width:100%;height:20em;border:0" srcdoc="{html.escape(page)}"></iframe>'
            display(_Both(shown, f"<Cython's annotated page of {module.__name__}>"))
            return
        try:
            code = cells.assembly(module, cell.text)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        display(_Both(f"<pre style='max-height:24em;overflow:auto'>{html.escape(code)}</pre>", code))

    @line_magic
    def accel_watch(self, line: str) -> None:
        """Watch native modules, and give new code to them before each cell.

        ``%accel_watch`` watches the modules that are imported, ``%accel_watch PATH…`` everything below some folders,
        and ``%accel_watch off`` ends it.
        """
        try:
            words = shlex.split(line)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        self.stop()
        if words in (["off"], ["stop"]):
            return
        try:
            self.watch = watch(*words)
        except (FileNotFoundError, AccelError) as problem:
            raise UsageError(str(problem)) from None
        self.shell.events.register(_EVENT, self.follow)

    def stop(self) -> None:
        """Watch no more."""
        if self.watch is not None:
            self.shell.events.unregister(_EVENT, self.follow)
            self.watch.stop()
            self.watch = None

    def follow(self, _: object = None) -> None:
        """Before a cell runs: wait for what is being built, and swap."""
        assert self.watch is not None
        watcher = self.watch
        try:
            names = (
                _waited(lambda: watcher.watcher.settle(), "compiling what has changed", shown=self._draws)
                and watcher.sync()
            )
        except KeyboardInterrupt:
            return
        except Exception as problem:  # noqa: BLE001  (a module's own init may raise anything)
            _tell(problem)
        else:
            self._followed(names or ())

    def reload(self, _: object = None) -> None:
        """Before a cell runs: what ``%autoreload`` does for Python's own modules."""
        for source in _due(self.shell):
            name = source.name
            try:
                importlib.reload(sys.modules[name])
            except Exception as problem:  # noqa: BLE001  (a module's own init may raise anything)
                text = _text(problem)
                if _broken.get(name) != text:
                    _broken[name] = text
                    _tell(problem)
                known = manifest.read(name, source.path)
                if known is not None and manifest.stale_reason(known) is None:
                    # It has been built, and does not start: tried again when there is another one.
                    _refused[name] = known.artifact
            else:
                _broken.pop(name, None)
                _refused.pop(name, None)
                self._followed((name,))

    def _followed(self, names: tuple[str, ...]) -> None:
        if names:
            swap.rebind(self.shell.user_ns, names)


class _Both:
    """Something to look at, and what a terminal shows of it."""

    def __init__(self, rich: str, plain: str) -> None:
        self._rich = rich
        self._plain = plain

    def _repr_html_(self) -> str:
        return self._rich

    def __repr__(self) -> str:
        return self._plain


def _bare(words: str) -> str:
    """Options of magics keep their quotes."""
    return words[1:-1] if len(words) > 1 and words[0] == words[-1] and words[0] in "'\"" else words


def _tell(problem: Exception) -> None:
    """A failure that is not the cell's own: the old code stays, and the cell runs."""
    print(f"autoaccel: {_text(problem)}", file=sys.stderr)  # noqa: T201


def _text(problem: Exception) -> str:
    return message(problem) if isinstance(problem, AccelError) else f"{type(problem).__name__}: {problem}"


#: Module -> what was told of it when it was last found to be broken: once.
_broken: dict[str, str] = {}
#: Module -> the library that could not be put into it.
_refused: dict[str, str] = {}


def _due(shell: Any) -> Iterator[Source]:
    """The native modules that ``%autoreload`` is to look after, and that are not what a build now would give."""
    magics = shell.magics_manager.registry.get("AutoreloadMagics")
    reloader = getattr(magics, "_reloader", None)
    if reloader is None or not reloader.enabled:
        return
    for source, artifact in imported():
        name = source.name
        if not (reloader.check_all or name in reloader.modules) or name in reloader.skip_modules:
            continue
        known = manifest.read(name, source.path)
        # A failed build that nothing has changed since is remembered, and costs little. Another process may have built
        # what was edited.
        if (
            known is None
            or known.artifact not in (artifact, _refused.get(name))
            or manifest.stale_reason(known) is not None
        ):
            yield source


def _waited(work: Callable[[], Any], what: str, *, shown: bool) -> Any:
    """What some work gives, which is done while the notebook tells how long it takes, if it can."""
    answer: list[Any] = []
    scope = process.Scope()

    def run() -> None:
        try:
            with scope:
                answer.append((work(), None))
        except BaseException as problem:  # noqa: BLE001  (raised where it is waited for)
            answer.append((None, problem))

    worker = threading.Thread(target=run, name="autoaccel-cell")
    started = time.monotonic()
    worker.start()
    handle: Any = None
    try:
        worker.join(_PATIENCE)
        while worker.is_alive():
            text = f"autoaccel: {what} … {time.monotonic() - started:.0f} s"
            line = _Both(f"<i>{html.escape(text)}</i>", text)
            if handle is not None:
                handle.update(line)
            elif shown:
                handle = display(line, display_id=True)
            worker.join(0.5)
    except BaseException:
        scope.cancel()
        worker.join()
        raise
    finally:
        if handle is not None:
            handle.update(HTML(""))
    value, problem = answer[0]
    if problem is not None:
        raise problem.with_traceback(None)
    return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext autoaccel``."""
    magics = AccelMagics(shell)
    shell.register_magics(magics)
    shell.events.register(_EVENT, magics.reload)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext autoaccel``."""
    magics = shell.magics_manager.registry.pop("AccelMagics", None)
    if magics is not None:
        magics.stop()
        shell.events.unregister(_EVENT, magics.reload)
        shell.magics_manager.magics["cell"].pop("accel", None)
        shell.magics_manager.magics["line"].pop("accel_watch", None)
