"""Where the cache is.

The ladder: ``AUTOACCEL_CACHE_DIR``, else the platform's cache folder (what platformdirs gives; a test holds the two
together), then a private folder for users without a writable home. A folder is used only when it is this user's alone.
``AUTOACCEL_READONLY_CACHES`` names further ones that are only read; these may be root's.

An artifact's library has a second name, a hard link in a folder that all libraries share, and is loaded by that one:
the look at it and the load walk to one folder, which is in the processor's caches, and not to one of its own. With a
hundred modules, this spares each 1.7 of its 55 µs. Everybody is told the first name.
"""

# Nothing is imported that no interpreter has loaded: the hook asks here where the cache is, also in such an import.
import os
import sys

__all__ = ["environment", "fallback", "layers", "opened", "preferred", "second_name"]

#: What a relative $AUTOACCEL_CACHE_DIR meant when it was first asked for: a later chdir must not move the cache.
_first: dict[str, str] = {}


def preferred() -> str:
    """The root that the user's environment names; it need not exist."""
    told = os.environ.get("AUTOACCEL_CACHE_DIR")
    if told:
        return _first.setdefault(told, os.path.abspath(told))
    home = os.environ.get("HOME") or os.environ.get("USERPROFILE") or ""
    if _borrowed(home):
        return fallback()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or (home and home + "\\AppData\\Local")
        return local + "\\autoaccel\\Cache" if local else fallback()
    if sys.platform == "darwin":
        return home + "/Library/Caches/autoaccel" if os.path.isabs(home) else fallback()
    xdg = os.environ.get("XDG_CACHE_HOME") or ""
    if os.path.isabs(xdg):
        return xdg + "/autoaccel"
    return home + "/.cache/autoaccel" if os.path.isabs(home) else fallback()


def _borrowed(home: str) -> bool:
    """Whether root goes by a user's home (``sudo`` without ``-H``), and would leave files that the user can't use."""
    if sys.platform == "win32" or os.geteuid() != 0 or not os.environ.get("SUDO_UID"):
        return False
    try:
        return os.stat(home).st_uid != 0
    except (OSError, ValueError):
        return False


def fallback() -> str:
    """The private root for users whose home can't be written."""
    if sys.platform == "win32":
        return (os.environ.get("TEMP") or "C:\\Temp") + "\\autoaccel"
    return f"/var/tmp/autoaccel-{os.geteuid()}"  # noqa: S108  (its owner and mode are checked)


def layers() -> list[str]:
    """Roots that are only read: ``AUTOACCEL_READONLY_CACHES``, absolute paths parted as ``$PATH`` is; best first."""
    told = os.environ.get("AUTOACCEL_READONLY_CACHES") or ""
    return [os.path.normpath(one) for one in told.split(os.pathsep) if os.path.isabs(one)]


def environment() -> dict[bytes, bytes]:
    """The environment where somebody has put a plain dict in its place, as the interpreter keeps it."""
    return {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}


def second_name(artifact: str) -> str:
    """The name by which an artifact's library is loaded, if it has been linked; empty where it can have none.

    It is short: names of more than 31 bytes lie apart in Linux's table of names. Two artifacts may have the
    same (in 48 bits): `opened` compares the files, and all but one are loaded by their first.
    """
    folder, _, library = artifact.rpartition("/")
    top, _, key = folder.rpartition("/")
    bucket, _, kind = top.rpartition("/")
    if kind != "artifacts" or sys.platform == "win32":
        return ""
    stem, _, suffix = library.partition(".")
    return f"{bucket}/load/{stem}-{key[-12:]}.{suffix.rpartition('.')[2]}"


def opened(artifact: str) -> str:
    """The path by which the library at ``artifact`` is loaded: its second name where that is the same file."""
    linked = second_name(artifact)
    try:
        if linked and os.path.samestat(os.lstat(linked), os.stat(artifact)):
            return linked
    except OSError:
        pass
    return artifact
