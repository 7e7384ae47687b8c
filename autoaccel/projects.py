"""What a project's pyproject.toml says that the finder must know: modules declared elsewhere, what to look at.

Lukewarm room: the answer of the cold room is remembered by the file's stat identity, no TOML is parsed on a hit.
"""

from _imp import source_hash

from . import TAG, unmarshalled
from .finder import Project
from .staleness import identity

__all__ = ["declared", "record_name"]


def declared(path: str) -> "Project | None":
    """What the pyproject.toml at ``path`` tells the finder; None where it tells nothing."""
    seen = identity(path)
    if seen is None:
        return None
    values = unmarshalled(record_name(path))
    if type(values) is tuple and len(values) == 6 and values[:2] == (path, seen):
        return Project(*values[2:])
    from . import declare

    return declare.project(path, seen)


def record_name(path: str) -> str:
    """Where below a cache root's bucket the record of this pyproject.toml is."""
    return f"projects/{source_hash(0x70726F6A, f'{path}{chr(0)}{TAG}'.encode('utf-8', 'surrogateescape')).hex()}"
