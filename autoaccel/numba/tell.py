"""What there is to tell of a module's jitted functions: which are native, and why the others are not. For people."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

from .. import manifest
from . import cpu, harvest, source, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["facts"]


def facts(name: str, path: str) -> dict[str, Any] | None:
    """The state of a ``.py`` file that uses numba's decorators; None for any other.

    Nothing of numba's is imported.
    """
    try:
        with open(path, "rb") as file:
            told = source.read(file.read(), path)
    except (OSError, SyntaxError, ValueError):
        return None
    report = harvest.report(name, path)
    if told is None or not (told.uses or report):
        return None
    found: dict[str, Any] = {"decorators": list(told.uses), "native": {}, "numba": {}}
    aside = _aside()
    known = manifest.read(name, path)
    if aside is not None:
        found["state"] = f"left to numba: {aside}"
    elif told.heavy:
        found["state"] = f"left to numba: it uses {', '.join(told.heavy)} when it is imported"
    elif report is None:
        found["state"] = "not published yet: what a process compiles is published when it ends"
    elif report["whole"]:
        found["state"] = f"left to numba: {report['whole']}"
    elif known is None or known.toolchain != "numba":
        found["state"] = "left to numba: no function of it could be native"
    else:
        reason = manifest.stale_reason(known)
        found["state"] = "native" if reason is None else f"left to numba until it is published again: {reason}"
        found["artifact"] = known.artifact
    if report is not None:
        refused = report["refused"]
        found["numba"] = {function: dict(reasons) for function, reasons in refused.items() if reasons}
        found["native"] = {
            function: [one for one in signatures if one not in refused.get(function, {})]
            for function, signatures in report["functions"].items()
        }
        found["native"] = {function: signatures for function, signatures in found["native"].items() if signatures}
    return found


def _aside() -> str | None:
    if PathFinder.find_spec("numba") is None:
        return "numba is not installed"
    if sys.version_info[:2] not in harvest.PYTHONS:
        return "the runtime was not tried with this Python; functions are cached"
    if not cpu():
        return "this system does not tell which processor it has"
    return watch.steps_aside()
