"""Import native sources: ``import autoaccel; import sample`` compiles ``sample.pyx`` or ``sample.c`` once.

Importing this package puts a finder on ``sys.meta_path``. ``AUTOACCEL=off`` in the environment makes it a no-op.
"""

import sys

from .finder import AccelFinder, getenv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ahead import build as build
    from .errors import AccelError as AccelError
    from .errors import BuildError as BuildError
    from .errors import ConfigError as ConfigError
    from .errors import LoadError as LoadError
    from .errors import ToolchainMissing as ToolchainMissing
    from .hook import Handle as Handle
    from .hook import install as install
    from .hook import uninstall as uninstall

__version__ = "0.1.0"

__all__ = [
    "AccelError",
    "BuildError",
    "ConfigError",
    "Handle",
    "LoadError",
    "ToolchainMissing",
    "build",
    "install",
    "uninstall",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "ahead" if name == "build" else "hook" if name in ("Handle", "install", "uninstall") else "errors"
    __import__(f"{__name__}.{room}")
    value = globals()[name] = getattr(sys.modules[f"{__name__}.{room}"], name)
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})


_told = getenv("AUTOACCEL")
if any(type(_entry) is AccelFinder for _entry in sys.meta_path):
    pass  # reloaded: it is there
elif not _told or _told in ("1", "on", "build", "load", "check"):
    # The usual case of `hook.install`, without its room.
    sys.meta_path.insert(0, AccelFinder(mode=_told if _told in ("load", "check") else "build"))
elif _told not in ("0", "off"):
    from .hook import install

    install()
