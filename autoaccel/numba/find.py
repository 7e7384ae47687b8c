"""The spec of a module whose jitted functions have been published.

Lukewarm room: entered when a pack names the module; loads nothing that a bare interpreter has not loaded, but for the
warm room of numba's modules.
"""

import marshal
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader, spec_from_file_location

from .. import packs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._typing import DirectoryFinder

__all__ = ["spec"]


def spec(
    finder: "DirectoryFinder", cls: type, name: str, path: str, inside: "list[str] | None", target: object
) -> ModuleSpec:
    """The spec with our loader where the pack tells of this file, else what ``FileFinder`` gives.

    Args:
        finder: the directory's.
        cls: the loader's class by the file's suffix.
        name, path: the module and its ``.py`` file.
        inside: the package's own folders.
        target: what is reloaded.
    """
    pack = packs.get(finder.directory, {})
    record = marshal.loads(pack[None][pack[name] :]) if name in pack else ("", "")
    if cls is not SourceFileLoader or record[1] != path or finder.owner.mode == "check" or finder.odd:
        return finder._get_spec(cls, name, path, inside, target)
    from . import JitLoader

    loader = JitLoader(name, path, record, finder._path_cache)
    found = spec_from_file_location(name, path, loader=loader, submodule_search_locations=inside)
    assert found is not None
    return found
