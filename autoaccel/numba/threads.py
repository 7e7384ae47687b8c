"""What native code needs of numba's at run time, beside the runtime: its threading layer, its exceptions' arguments."""

from __future__ import annotations

import io
import os
import pickle
import sys
from _imp import create_dynamic, exec_dynamic, extension_suffixes
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["bind", "exception"]


def bind(runtime: Any, note: dict[str, Any]) -> None:
    """Start the threads of numba's threading layer and have the runtime use them.

    Raises:
        ImportError: the layer can't be loaded; numba is to say so.
    """
    name = f"numba.np.ufunc.{note['layer']}"
    path = f"{note['numba']}/np/ufunc/{note['layer']}{extension_suffixes()[0]}"
    there = sys.modules.get(name)
    pool = there
    if pool is None:
        pool = create_dynamic(ModuleSpec(name, None, origin=path))
        exec_dynamic(pool)
        # numba imports it under this name itself when it is needed.
        sys.modules.pop(name, None)
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    runtime.bind_threads(pool, int(os.environ.get("NUMBA_NUM_THREADS") or max(1, len(usable))))


class _Unknown:
    """Stands for a constant of llvmlite's in the static part of an exception."""

    def __init__(self, *given: object, **options: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __call__(self, *given: object, **options: object) -> _Unknown:
        return self


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("llvmlite", "numba"):
            return _Unknown
        return super().find_class(module, name)


def exception(static: bytes, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """(class, arguments, place) of an exception, its run-time arguments filled in."""
    kind, arguments, place = _Unpickler(io.BytesIO(static)).load()
    values = iter(given)
    return kind, tuple(next(values) if isinstance(one, _Unknown) else one for one in arguments), place
