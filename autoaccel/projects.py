"""What a project file says that the finder must know: modules declared elsewhere, what to look at.

Lukewarm room: the answer of the cold room is remembered by the files' stat identities, no TOML is parsed on a hit.
"""

from . import slot
from .directories import told
from .finder import Project

__all__ = ["declared", "record_name"]


def declared(path: str) -> "Project | None":
    """What the pyproject.toml (or the Cargo.toml of a crate on the path) tells the finder; None where there is none."""
    values = told(path)
    if values is not None:
        return Project(*values)
    from . import declare

    return declare.project(path)


def record_name(path: str) -> str:
    """Where below a cache root's bucket the record of this file is."""
    return f"projects/{slot('', path)}"
