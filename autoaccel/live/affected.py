"""Which modules a changed file concerns: the manifests, read backwards."""

from __future__ import annotations

import os

from .. import manifest
from ..errors import BuildError
from ..staleness import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..errors import AccelError
    from ..sources import Source
    from ..staleness import Identity

__all__ = ["Dependents", "Key", "key_of"]

#: A module: its full name and the path of its source.
Key = tuple[str, str]


def key_of(source: Source) -> Key:
    """What tells a module from all others."""
    return source.name, source.path


class Dependents:
    """The files of modules, and the modules of files.

    A look compares stat identities with those of the look before, so an event that was told twice, or of a file that
    is what it was, concerns nobody.
    """

    def __init__(self) -> None:
        #: module -> (files, missing paths, folders in which any change counts)
        self._told: dict[Key, tuple[frozenset[str], frozenset[str], frozenset[str]]] = {}
        #: file, or missing path -> modules
        self._users: dict[str, set[Key]] = {}
        #: folder -> modules that any change in it concerns
        self._inside: dict[str, set[Key]] = {}
        #: files that nobody builds, and that are looked at all the same
        self._others: set[str] = set()
        #: modules whose last build failed for reasons that are not all known
        self._doubtful: set[Key] = set()
        #: file -> its identity at the last look; None: it was not there
        self._seen: dict[str, Identity | None] = {}
        #: folder -> its identity, and the names in it, at the last look
        self._folders: dict[str, tuple[Identity | None, frozenset[str]]] = {}

    def learn(self, source: Source, error: AccelError | None = None, loaded: str | None = None) -> bool:
        """Take what the manifest of a module tells; whether one of its files has changed since it was written.

        Args:
            source: the module.
            error: why it did not build, if it did not: then the manifest tells of an earlier build, if of any.
            loaded: the library that is in use; if it is not the one that the manifest tells of, that is a change too.
        """
        key = key_of(source)
        known = manifest.read(*key)
        files, absent, folders = {source.path}, set[str](), set[str]()
        stale = False
        if known is not None:
            files.update(row[0] for row in known.inputs)
            absent.update(_absent(known))
            folders.update(folder for folder, *_ in known.folders if not manifest.absent(known.missing.get(folder, ())))
            stale = error is None and (loaded not in (None, known.artifact) or any(map(self._differs, known.inputs)))
        if isinstance(error, BuildError):
            # A compiler's message names files that the build before had not, and what is wrong in them.
            files.update(filter(os.path.isabs, (*(one.file for one in error.diagnostics), *error.inputs)))
            absent.update(error.absent)
        self.forget(key)
        self._told[key] = (frozenset(files), frozenset(absent), frozenset(folders))
        for path in (*files, *absent):
            self._users.setdefault(path, set()).add(key)
        for folder in folders:
            self._inside.setdefault(folder, set()).add(key)
        if error is not None and not (isinstance(error, BuildError) and error.inputs):
            self._doubtful.add(key)
        for path in files:
            self._seen.setdefault(path, identity(path))
        self.notice(dict.fromkeys((*map(os.path.dirname, (*files, *absent)), *folders)))
        return stale

    def _differs(self, row: manifest.Row) -> bool:
        """Whether a file that nobody has looked at yet is not what the build has read."""
        return row[0] not in self._seen and tuple(row[1:]) != manifest.FRESH and identity(row[0]) != tuple(row[1:])

    def forget(self, key: Key) -> None:
        """A module is gone, or about to be learnt again; its files stay seen."""
        files, absent, folders = self._told.pop(key, ((), (), ()))
        for table, names in ((self._users, (*files, *absent)), (self._inside, folders)):
            for name in names:
                users = table.get(name, set())
                users.discard(key)
                if not users:
                    table.pop(name, None)
        self._doubtful.discard(key)

    def notice(self, folders: Iterable[str]) -> None:
        """Look at these folders too, for names that appear in them."""
        for folder in folders:
            if folder not in self._folders:
                self._folders[folder] = _listed(folder)

    def also(self, paths: Mapping[str, Identity | None]) -> bool:
        """Look at these files too, of which it may be known what they were; whether one of them is new."""
        fresh = paths.keys() - self._others
        self._others |= fresh
        for path in fresh:
            self._seen.setdefault(path, paths[path] or identity(path))
        return bool(fresh)

    def affected(self, paths: Iterable[str]) -> tuple[set[str], set[Key]]:
        """Those of the paths that are not what they were at the last look, and the modules that this concerns."""
        changed = {path for path in paths if self._changed(path)}
        keys = {key for path in changed for key in self._users.get(path, ())}
        keys |= {key for path in changed for key in self._inside.get(os.path.dirname(path), ())}
        return changed, keys | self._doubtful if changed else keys

    def _changed(self, path: str) -> bool:
        now = identity(path)
        if path in self._seen:
            if self._seen[path] == now:
                return False
            self._seen[path] = now
        elif path in self._users and now is not None:
            self._seen[path] = now
        return True

    def knows(self, path: str) -> bool:
        """Whether a module depends on a path, or on what is in its folder."""
        return path in self._users or path in self._others or os.path.dirname(path) in self._inside

    def look(self) -> Iterator[str]:
        """Files that are not what they were at the last look, and names that have come or gone since."""
        for path in (*self._users, *self._others):
            if path in self._seen and identity(path) != self._seen[path]:
                yield path
        for folder, (seen, names) in list(self._folders.items()):
            if identity(folder) != seen:
                self._folders[folder] = _listed(folder)
                yield from (os.path.join(folder, name) for name in names ^ self._folders[folder][1])

    @property
    def doubtful(self) -> bool:
        """Whether any change may be what mends a module."""
        return bool(self._doubtful)

    def files(self) -> set[str]:
        """Every file that a module depends on, and those that are looked at all the same."""
        return self._others | {path for files, _, _ in self._told.values() for path in files}


def _listed(folder: str) -> tuple[Identity | None, frozenset[str]]:
    seen = identity(folder)
    try:
        return seen, frozenset(os.listdir(folder))
    except OSError:
        return seen, frozenset()


def _absent(known: manifest.Manifest) -> Iterator[str]:
    """The paths whose appearance concerns a module, as far as they are near: not those in the system's folders."""
    beside = os.path.dirname(known.source)
    yield from (os.path.join(beside, name) for name in known.beside)
    for folder, names in known.missing.items():
        yield from (os.path.join(folder, name) for name in manifest.absent(names))
    content = manifest.unmarshalled(manifest.context_name(known.context))
    if isinstance(content, tuple):
        yield from content[2]
        yield from (os.path.join(beside, name) for name in content[3])
