"""Other people's modules that we want to hear of when they are imported.

Lukewarm room: entered by the finder when such a name is looked for.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

__all__ = ["spec_that_tells"]


def spec_that_tells(name: str, path: Sequence[str] | None, then: Callable[[ModuleType], None]) -> ModuleSpec | None:
    """The spec of a module as CPython finds it, whose loader calls ``then`` after the module has run."""
    spec = PathFinder.find_spec(name, path)
    if spec is not None and spec.loader is not None:
        plain: Any = spec.loader
        run = plain.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            then(module)

        plain.exec_module = exec_module
    return spec
