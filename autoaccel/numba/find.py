"""The spec of a module whose jitted functions have been published.

Lukewarm room: entered when a pack names the module; loads nothing that a bare interpreter has not loaded, but for the
warm room of numba's modules.
"""

import marshal
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import spec_from_file_location

from .. import DirectoryFinder, packs

__all__ = ["jit_spec"]


def jit_spec(finder: DirectoryFinder, name: str, path: str, inside: "list[str] | None") -> "ModuleSpec | None":
    """The spec with our loader; None where the pack tells of something else.

    Args:
        finder: the directory's.
        name, path: the module and its ``.py`` file.
        inside: the package's own folders.
    """
    record = marshal.loads(packs[finder.path][name])
    if record[1] != path or finder.owner.mode == "check" or finder.odd:
        return None
    from . import JitLoader

    loader = JitLoader(name, path, record, finder._path_cache)
    return spec_from_file_location(name, path, loader=loader, submodule_search_locations=inside)
