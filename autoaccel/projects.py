"""What a project's pyproject.toml says that the finder must know: modules declared elsewhere, what to look at.

Warm room: the answer of the cold room is remembered by the file's stat identity, so that no TOML is parsed on a hit.
"""

from _imp import source_hash

from . import loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Project", "declared", "record_path"]


class Project:
    """What the finder must know of a pyproject.toml.

    Attributes:
        modules: full name -> (source path, toolchain, whether a package).
        include: top-level names outside of the user's roots to look at.
        exclude: patterns of full names never to claim.
        pure: patterns of full names of ``.py`` files to compile with Cython.
    """

    __slots__ = ("exclude", "include", "modules", "pure")

    def __init__(
        self,
        modules: "Mapping[str, tuple[str, str, bool]]",
        include: "tuple[str, ...]",
        exclude: "tuple[str, ...]",
        pure: "tuple[str, ...]",
    ) -> None:
        self.modules = modules
        self.include = include
        self.exclude = exclude
        self.pure = pure


def declared(path: str) -> "Project | None":
    """What the pyproject.toml at ``path`` tells the finder; None where it tells nothing."""
    seen = loader.identity(path)
    return _remembered(path, seen) if seen is not None else None


def record_path(root: str, path: str) -> str:
    """Where below a cache root the record of this pyproject.toml is."""
    name = source_hash(0x70726F6A, f"{path}\0{loader.TAG}".encode("utf-8", "surrogateescape")).hex()
    return f"{root}/{loader.BUCKET}/projects/{name}"


def _remembered(path: str, seen: "loader.Identity") -> Project:
    for root in loader.roots():
        data = loader.read_checked(record_path(root, path))
        if data is not None:
            values = loader.unmarshalled(data)
            if type(values) is tuple and len(values) == 6 and values[:2] == (path, seen):
                return Project(*values[2:])
    from . import declare

    return declare.project(path, seen)
