"""Keys: the digest of everything that decides the bytes. Reads the files that a plan names; looks at nothing else."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import time
from dataclasses import fields, is_dataclass

from . import manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .plan import Plan

__all__ = [
    "Contents", "bytes_digest", "config_var", "digest", "file_digest", "folder_row", "is_installed", "nearest",
    "plan_key", "settled", "variant_key",
]  # fmt: skip

_VERSION = "autoaccel/1"

#: A file that is younger than this when it is read may change again under the same stamps (kernel ticks are 1-10 ms).
_GRAIN_NS = 50_000_000


def file_digest(path: str) -> str | None:
    """SHA-256 of a file's content, of a folder's sorted listing; None where there is neither."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except IsADirectoryError:
        return digest(sorted(os.listdir(path)))
    except (OSError, ValueError):
        return None


def bytes_digest(data: bytes) -> str:
    """What `file_digest` gives for a file with this content."""
    return hashlib.sha256(data).hexdigest()


class Contents:
    """Digests of files, each read once, with the stat identity under which it was read.

    Args:
        known: digests of files that could not have changed unnoticed since, and their identities; it is added to.
            Modules have most of their headers in common.
        since: when the first of what belongs to them was looked at (nanoseconds of the wall clock); None: from now on.
    """

    def __init__(self, known: dict[str, tuple[manifest.Identity, str]] | None = None, since: int | None = None) -> None:
        self.since = time.time_ns() if since is None else since
        self._digests: dict[str, str | None] = {}
        self._seen: dict[str, tuple[manifest.Identity, int]] = {}
        self._known = known

    def digest(self, path: str) -> str | None:
        """SHA-256 of the file; None where there is none."""
        if path not in self._digests:
            # The identity is taken first: a change in between makes it old, never falsely new.
            seen, when = self._seen[path] = (manifest.identity(path) or manifest.FRESH, time.time_ns())
            known = self._known.get(path) if self._known is not None else None
            digest = known[1] if known is not None and known[0] == seen else file_digest(path)
            if self._known is not None and digest is not None and seen != manifest.FRESH and _is_settled(seen, when):
                self._known[path] = (seen, digest)
            self._digests[path] = digest
        return self._digests[path]

    def has_read(self, path: str) -> bool:
        """Whether the file, or that there is none, is known."""
        return path in self._digests

    def identity(self, path: str) -> manifest.Identity:
        """The identity under which the content was read; `manifest.FRESH` where it might change without a new one."""
        self.digest(path)
        seen, when = self._seen[path]
        return seen if _is_settled(seen, when) else manifest.FRESH

    def changed_since(self, path: str, moment_ns: int, before: Contents | None = None) -> bool:
        """Whether the file may have changed at or after a moment of the wall clock (nanoseconds): by its change time.

        ``before``: what has read it at that moment, if it has. Then its content tells, too.
        """
        digest = self.digest(path)
        seen = self._seen[path][0]
        if before is not None and before.has_read(path):
            return seen[1] >= moment_ns or digest != before.digest(path)
        return seen[1] >= (moment_ns - manifest.COARSE_GRAIN_NS if _is_coarse(seen) else moment_ns)


def _is_coarse(seen: manifest.Identity) -> bool:
    """Whether a file's stamps are whole seconds: a change after a moment may be told as one before it."""
    return seen[0] % 1_000_000_000 == 0 and seen[1] % 1_000_000_000 == 0


def settled(path: str, since: int | None = None) -> manifest.Identity:
    """The identity of a file that is about to be read; `manifest.FRESH` where it might change without a new one.

    Args:
        path: the file.
        since: it has been read already, by whatever means, after this moment of the wall clock (nanoseconds).
    """
    seen, when = manifest.identity(path) or manifest.FRESH, time.time_ns() if since is None else since
    return seen if _is_settled(seen, when) else manifest.FRESH


def _is_settled(seen: manifest.Identity, when: int) -> bool:
    """Whether what changes after a look at ``when`` (nanoseconds) gets another identity."""
    # The change time decides: nobody can set it, and a change makes a new one. Windows has none.
    changed = seen[0] if sys.platform == "win32" else seen[1]
    return when - changed > (manifest.COARSE_GRAIN_NS if _is_coarse(seen) else _GRAIN_NS)


def folder_row(folder: str) -> manifest.Folder:
    """(folder, change time, inode); a folder that has just changed is listed at the next look, whatever its stamp."""
    seen = manifest.identity(folder) or manifest.FRESH
    settled = time.time_ns() - seen[1] > manifest.COARSE_GRAIN_NS
    return folder, seen[1] if settled else 0, seen[3]


def nearest(folder: str) -> tuple[str, str]:
    """The nearest folder that exists, this or one above, and the first name that is missing in it; ``""`` in this."""
    name = ""
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder, name = os.path.split(folder)
    return folder, name


def plan_key(plan: Plan, contents: Contents) -> str:
    """The key of what is known before a compiler runs."""
    return digest(
        _VERSION,
        sys.modules["autoaccel"].__version__,
        plan.toolchain,
        plan.source.name,
        plan.source.path,
        plan.source.package,
        manifest.TAG,
        sys.implementation.name,
        f"{sys.version_info[0]}.{sys.version_info[1]}",
        bool(config_var("Py_DEBUG")),
        bool(config_var("Py_GIL_DISABLED")),
        # After those: it reads the same table.
        sysconfig.get_platform(),
        plan.options,
        [(tool.name, tool.identity) for tool in plan.tools],
        plan.env,
        [(path, contents.digest(path)) for path in plan.inputs],
        plan.settings,
    )


#: Seconds that another thread may take to fill sysconfig's table.
_patience = 5.0


def config_var(name: str) -> Any:
    """What this Python was built with, as `sysconfig.get_config_var`; None where it has no such variable.

    Before Python 3.12, that one gives nothing at all while another thread asks for the first time, because the table is
    there before it is filled (python/cpython#92452): one build then had the system's ``cc`` and none of Python's flags.
    """
    global _patience
    end = time.monotonic() + _patience
    while "EXT_SUFFIX" not in (known := sysconfig.get_config_vars()) and _patience:
        time.sleep(0.001)
        if time.monotonic() > end:
            _patience = 0.0
    return known.get(name)


def variant_key(key: str, contents: Iterable[tuple[str, str]], absent: Iterable[str]) -> str:
    """The key of a build: the plan's, and every input that the build turned out to have."""
    return digest(_VERSION, key, sorted(contents), sorted(absent))


def digest(*values: object) -> str:
    """40 hex digits of the SHA-256 over an encoding in which no two values look alike: type, length, content."""
    pieces: list[bytes] = []
    _encode(values, pieces)
    return hashlib.sha256(b"".join(pieces)).hexdigest()[:40]


def _encode(value: object, pieces: list[bytes]) -> None:
    # The kinds in the order of their number: a build has a thousand paths.
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        pieces += (b"s%d:" % len(data), data)
    elif isinstance(value, tuple | list):
        pieces.append(b"l%d:" % len(value))
        for item in value:
            if type(item) is str:
                data = item.encode("utf-8", "surrogateescape")
                pieces += (b"s%d:" % len(data), data)
            else:
                _encode(item, pieces)
    elif value is None or isinstance(value, bool | int | float):
        data = repr(value).encode()
        pieces += (b"n%d:" % len(data), data)
    elif isinstance(value, bytes):
        pieces += (b"b%d:" % len(value), value)
    elif isinstance(value, dict):
        _encode(("dict", *sorted((str(key), item) for key, item in value.items())), pieces)
    elif is_dataclass(value) and not isinstance(value, type):
        _encode({one.name: getattr(value, one.name) for one in fields(value) if one.metadata.get("key", True)}, pieces)
    else:
        raise TypeError(f"{type(value).__name__} has no place in a key")


def is_installed(path: str) -> bool:
    """Whether a path is in a folder for installed packages."""
    return any(f"{os.sep}{place}{os.sep}" in path for place in ("site-packages", "dist-packages"))
