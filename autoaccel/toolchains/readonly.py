"""Crates in folders that can't be written: cargo gets links to them, beside which its Cargo.lock may stand.

So do crates of which a file is not what is to be compiled.

The links are below a folder of ours under the whole path of what they lead to, so that the user's path is what is left
when that folder's is taken off.
"""

from __future__ import annotations

import glob
import os
import shutil

from .. import crates, keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..crates import Crate

__all__ = ["NO_LOCK", "mirrored"]

#: cargo's words when it can't write its Cargo.lock.
NO_LOCK = r"failed to (?:write|open)[^\n]*Cargo\.lock"
#: What cargo itself writes into a workspace.
_OWN = ("Cargo.lock", "target")


def mirrored(top: str, crate: Crate, workspace: str, rewritten: Mapping[str, str] | None = None) -> str:
    """Make, or bring up to date, the links to a workspace and what it depends on by path; ``top`` itself.

    Args:
        top: the folder for them.
        crate: the crate.
        workspace: the Cargo.toml of its workspace.
        rewritten: files in whose place another text is put.

    Raises:
        OSError: they can't be made.
    """
    from ..store import replace

    root = os.path.dirname(workspace)
    changed = rewritten or {}
    os.makedirs(top + root, mode=0o700, exist_ok=True)
    _fill(top, root, changed)
    others = [one.folder for one in _packages(crate, workspace)]
    # A folder around the workspace holds our own folder, not a link, on the way to it.
    for folder in sorted({one for one in others if (root + os.sep).startswith(one + os.sep)} - {root}):
        _fill(top, folder, changed)
    for path, text in changed.items():
        _open(top, os.path.dirname(path), crate.folder, changed)
        data = text.encode("utf-8", "surrogateescape")
        # What has not changed keeps its time stamp, by which cargo judges.
        if os.path.islink(top + path) or keys.file_digest(top + path) != keys.bytes_digest(data):
            replace(top + path, data)
    for folder in others:
        if not os.path.lexists(top + folder):
            os.makedirs(os.path.dirname(top + folder), mode=0o700, exist_ok=True)
            os.symlink(folder, top + folder)
    lock = os.path.join(root, "Cargo.lock")
    if os.path.isfile(lock):
        shutil.copyfile(lock, top + lock)
    return top


def _open(top: str, folder: str, crate: str, changed: Mapping[str, str]) -> None:
    """Have a folder of links in the place of a folder of the crate's: no link leads to where a file is written."""
    here = ""
    for part in folder.split(os.sep)[1:]:
        here += os.sep + part
        linked = os.path.islink(top + here)
        if linked:
            os.unlink(top + here)
        os.makedirs(top + here, mode=0o700, exist_ok=True)
        if linked or (here + os.sep).startswith(crate + os.sep):
            _fill(top, here, changed)


def _fill(top: str, folder: str, changed: Mapping[str, str]) -> None:
    """Links in the place of a folder's files and folders, but for files that have another text there."""
    there = {name for name in os.listdir(folder) if name not in _OWN}
    for name in os.listdir(top + folder):
        path = os.path.join(folder, name)
        if os.path.islink(top + path):
            old = name not in there
        else:
            old = os.path.isfile(top + path) and name in there and path not in changed
        if old:
            os.unlink(top + path)
    for name in there:
        path = os.path.join(folder, name)
        if not os.path.lexists(top + path):
            os.symlink(path, top + path)


def _packages(crate: Crate, workspace: str) -> Iterator[Crate]:
    """The packages that cargo reads: all members of the workspace, and what these depend on by path."""
    root = os.path.dirname(workspace)
    members = crates.table_of(crates.read_toml(workspace), "workspace").get("members")
    folders = [crate.folder]
    for pattern in members if isinstance(members, list) else ():
        folders += glob.glob(os.path.normpath(os.path.join(glob.escape(root), str(pattern))))
    for folder in dict.fromkeys(folders):
        manifest = os.path.join(folder, "Cargo.toml")
        if os.path.isfile(manifest):
            yield from crates.path_crates(crates.read_crate(manifest), workspace)
