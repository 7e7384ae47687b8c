"""Where the public names are: each is looked up when it is first used."""

from importlib import import_module

from .loader import ColdRoom

__all__ = ["value"]

_ROOMS = {
    "Handle": "hook",
    "build": "ahead",
    "install": "hook",
    "load_ipython_extension": "notebook",
    "reload_dependents": "live",
    "sync": "live",
    "uninstall": "hook",
    "unload_ipython_extension": "notebook",
    "watch": "live",
}


def value(name: str) -> object:
    """What a public name of the package is."""
    with ColdRoom():
        return getattr(import_module(f".{_ROOMS.get(name, 'errors')}", __package__), name)
