"""``from autoaccel import pyximport; pyximport.install(...)``: the same call for people who come from pyximport.

All arguments of Cython's own ``pyximport.install`` are taken. What has no meaning here says so in a warning:

* ``build_in_temp`` and ``inplace``: nothing is ever built beside the sources; the cache has the C files' build log.
* ``setup_args``: include folders, macros and the options of ``build_ext`` are used; the rest is about setuptools.
* ``pyximport=False``: ``.pyx`` files are modules for autoaccel whenever it is installed.

``reload_support`` is always on: ``importlib.reload`` builds what has changed.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import warnings
from importlib.machinery import SourceFileLoader

from . import hook, native_loader, settings
from .directories import new_finder
from .errors import AccelError
from .loader import PackageLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from ._typing import AccelFinder, NativeLoader


__all__ = ["install", "uninstall"]

#: Build options and settings for every Cython module, as JSON; part of what a build depends on.
VARIABLE = settings.CYTHON_VARIABLE

_OPTIONS = ("include_dirs", "define_macros", "libraries", "library_dirs")
_BUILD_EXT = {"include_dirs": "include_dirs", "define": "define_macros", "libraries": "libraries"}


class _Loader(PackageLoader):
    """Loads a compiled ``.py``, or the file itself where Cython can't have it."""

    retry = False
    _plain: SourceFileLoader | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:  # type: ignore[override]
        try:
            return super().create_module(spec)
        except AccelError:
            self._fall_back(spec)
            return None

    def exec_module(self, module: ModuleType) -> None:
        if self._plain is None:
            try:
                super().exec_module(module)
            except Exception:
                if not self.retry or module.__spec__ is None:
                    raise
                self._fall_back(module.__spec__)
            else:
                return
        assert self._plain is not None
        self._plain.exec_module(module)

    def _fall_back(self, spec: ModuleSpec) -> None:
        self._plain = SourceFileLoader(spec.name, self.origin)
        spec.cached = None


def _loader(retry: bool, name: str, path: str, *values: Any) -> NativeLoader:
    """The loader of a source, in pyximport's ``.py`` mode: every Python file is compiled where that succeeds."""
    package = os.path.basename(path).startswith("__init__.")
    if not path.endswith(".py"):
        return (PackageLoader if package else native_loader)(name, path, *values)
    made = _Loader(name, path, *values)
    made.package, made.retry = package, retry
    return made


def install(
    pyximport: bool = True,
    pyimport: bool = False,
    build_dir: str | os.PathLike[str] | None = None,
    build_in_temp: bool = True,
    setup_args: dict[str, Any] | None = None,
    reload_support: bool = False,  # noqa: ARG001  (always on)
    load_py_module_on_import_failure: bool = False,
    inplace: bool = False,
    language_level: int | str | None = None,
) -> tuple[AccelFinder | None, AccelFinder | None]:
    """Put the hook in, with pyximport's arguments.

    Args:
        pyximport: has no meaning as False.
        pyimport: compile the user's ``.py`` files too; what Cython can't compile is imported as it is.
        build_dir: the cache folder (``$AUTOACCEL_CACHE_DIR`` of this process and those that it starts).
        build_in_temp, inplace: have no meaning.
        setup_args: build options for all modules, in the words of ``setuptools.setup``.
        reload_support: is always on.
        load_py_module_on_import_failure: with ``pyimport``: if the init of a compiled ``.py`` raises, run the file.
        language_level: Cython's language level, 2, 3 or ``"3str"``.

    Returns:
        What `uninstall` takes: the finder for ``.py`` files or None, and the finder for ``.pyx`` files.
    """
    if not pyximport:
        _meaningless("pyximport=False", ".pyx files are modules whenever autoaccel is installed")
    if not build_in_temp:
        _meaningless("build_in_temp=False", "`autoaccel cache dir` tells where the cache is")
    if inplace:
        _meaningless("inplace=True", "nothing is built beside the sources")
    if build_dir is not None:
        os.environ["AUTOACCEL_CACHE_DIR"] = os.path.abspath(os.path.expanduser(build_dir))
    told = _options(setup_args or {})
    if language_level is not None:
        told["language_level"] = str(language_level)
    if told:
        os.environ[VARIABLE] = json.dumps(told, sort_keys=True)
    else:
        os.environ.pop(VARIABLE, None)
    if not pyimport:
        return None, hook.install().finder
    finder = new_finder(exclude=("autoaccel", "autoaccel.*"), pure=("*",))
    finder.make_loader = functools.partial(_loader, load_py_module_on_import_failure)
    hook.put(finder)
    return finder, finder


def uninstall(py_importer: AccelFinder | None, pyx_importer: AccelFinder | None) -> None:
    """Take out what `install` gave; the hook that ``import autoaccel`` put in before comes back."""
    for finder in {py_importer, pyx_importer} - {None}:
        hook.Handle(finder).uninstall()  # type: ignore[arg-type]


def _options(setup_args: dict[str, Any]) -> dict[str, Any]:
    """What of setup's arguments says how to compile."""
    found: dict[str, Any] = {}
    for key, value in setup_args.items():
        if key in _OPTIONS:
            found[key] = [value] if isinstance(value, str | os.PathLike) else list(value)
        elif key == "options" and isinstance(value, dict):
            for option, content in dict(value.get("build_ext", {})).items():
                if option in _BUILD_EXT:
                    found[_BUILD_EXT[option]] = content.split(os.pathsep) if isinstance(content, str) else list(content)
                else:
                    _meaningless(f"setup_args['options']['build_ext'][{option!r}]", "it is about setuptools")
        else:
            forced = isinstance(value, list | tuple) and "--force" in value
            _meaningless(
                f"setup_args[{key!r}]",
                "`autoaccel build --force` builds again" if forced else "it is about setuptools",
            )
    for key in ("include_dirs", "library_dirs"):
        if key in found:
            found[key] = [os.path.abspath(folder) for folder in found[key]]
    return found


def _meaningless(what: str, instead: str) -> None:
    warnings.warn(f"pyximport.install({what}) has no meaning for autoaccel: {instead}", stacklevel=_level())


def _level() -> int:
    """How far up the caller of `install` is, for a warning that points at the user's line."""
    level = 1
    frame: Any = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame, level = frame.f_back, level + 1
    return level
