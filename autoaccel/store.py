"""The cache directory: find, publish, remember, list, remove. Knows no compiler.

Below the root's bucket (`manifest.BUCKET`):

* ``artifacts/<plan key><variant key>/``, 16 and 24 digits of each: a library with its ``meta.json`` and ``build.log``,
  published as one folder by one rename, never changed. The plan key is what was known before the compiler ran; the
  variants of one plan differ in what it read then (headers, ``.pxd``). The path is short because every import of the
  library walks it twice: with two folders more in it, a small module takes 5 % longer. A look by content lists all of
  them, 4 ms for 10,000, before what may be a compile.
* ``load/``: hard links to the libraries, by which they are loaded (`location` says why), as long as these are there.
* ``manifests/<slot>``: one file for each module and source, replaced as a whole, and ``contexts/<hash>``: what many of
  them have in common, never changed: see `loader`.
* ``failures/``: builds that failed, with what they depended on.
* ``locks/``: one lock for each source; saves work, decides nothing.
* ``builds/``: private folders of running builds.
* ``quarantine/``: damaged artifacts, kept for a while for whoever wants to know what happened.
* ``pins/``: names of modules that eviction leaves alone.
* ``history``: a line for each build and each look-up by content; ``upkeep``: when eviction last ran, see `upkeep`.
* ``tools/``, ``projects/``: remembered answers of slow questions.
* ``cargo/``: where cargo compiles, see `toolchains.builddirs`.

Beside it there may be the buckets of other versions, whose layouts nobody here knows: they are told by `_MARKS`,
measured, and removed as a whole.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import marshal
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import NoneType

from . import keys, locks, manifest, settings
from .errors import BuildError, ConfigError, Diagnostic
from .location import opened, second_name
from .logs import log
from .plan import Artifact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeGuard

    from .plan import Built, Plan
    from .sources import Source

    #: The content of a ``meta.json``.
    Meta = dict[str, Any]
    #: Members of such a document, and what each may be.
    Types = Mapping[str, tuple[type, ...]]

__all__ = [
    "Entry",
    "Reader",
    "Store",
    "alone",
    "context_of",
    "damage",
    "has",
    "is_left_over",
    "is_worked_in",
    "keep_privately",
    "layout",
    "library_row",
    "link",
    "listed",
    "open_store",
    "owner",
    "plain_file",
    "private_store",
    "read_head",
    "read_meta",
    "readers",
    "replace",
    "serves",
    "size_below",
    "size_of",
    "told_options",
    "unchanged",
    "unlink",
]

_README = """This folder is autoaccel's cache of compiled extension modules. Nothing in it is precious: `autoaccel cache
clear` empties it, and so does deleting it. Do not change files in it: they are loaded as code.
"""
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache directory of autoaccel.\n"

#: Seconds for which a failure that may depend on more than its known inputs (a library to link) is believed.
_DOUBT_SECONDS = 3.0
_DAY = 86_400.0
_HOUR = 3600.0
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
#: Bytes of a root below which all paths of the cache's are possible.
_LONGEST = 3500
#: Folders whose folders have locks.
_BUILT_IN = ("cargo",)
#: Damaged artifacts that are kept.
_QUARANTINED = 8
#: Bytes of a description within which is all that lists tell; what the build has read comes after it, and is long.
_HEAD = 4096

_FOLDERS = (
    "artifacts", "load", "manifests", "contexts", "packs", "failures", "locks", "builds", "tools", "projects", "cargo",
    "pins",
)  # fmt: skip


#: The name of a bucket, by layout, and folders that are made with one, in each layout that there was or will be.
_BUCKET = re.compile(r"v(\d{1,9})")
_MARKS = ("artifacts", "manifests", "failures", "locks", "builds", "tools", "projects")


#: A pack of more modules would cost the import of one of them more than it saves.
_PACKED = 256
#: How many contexts a pack keeps besides the one that is written.
_CONTEXTS = 3
_packing = threading.Lock()


def _forked() -> None:
    """A child has not the thread that may hold it."""
    global _packing
    _packing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@dataclass(frozen=True, slots=True)
class Entry:
    """A published artifact, for people.

    Attributes:
        folder: where it is.
        meta: the head of its ``meta.json``, see `read_head`.
        size: bytes of all its files.
    """

    folder: str
    meta: Meta
    size: int


class Reader:
    """A cache root that this process may load from; whether it can write there does not matter.

    Args:
        root: the folder.
        shared: root's own will do: a layer of an image, or of a machine with many users.

    Raises:
        PermissionError: somebody else could write it, or no library can be loaded from it.
    """

    def __init__(self, root: str, *, shared: bool = False) -> None:
        self.root = root
        self.bucket = f"{root}/{manifest.BUCKET}"
        if not manifest.trusted(root, shared):
            raise PermissionError(f"{root} is not this user's alone")
        if not manifest.executable(root):
            raise PermissionError(f"{root} is mounted noexec: no library can be loaded from it")

    def find(self, key: str, contents: keys.Contents, *, repair: bool = False) -> tuple[Artifact, Meta] | None:
        """An artifact that a build under this plan's key now would give, its inputs compared by content; or None.

        A damaged one is passed over; with ``repair``, it is taken out of reach.
        """
        top, start = os.path.split(self.home(key, ""))
        folders = [f"{top}/{name}" for name in listed(top) if name.startswith(start)]
        variants = [(meta, folder) for folder in folders if (meta := read_meta(folder)) is not None]
        for meta, folder in sorted(variants, key=lambda pair: -pair[0]["created"]):
            if meta["plan"] != key or not _holds(meta, contents):
                continue
            if damage(folder, meta) is not None:
                if repair:
                    self._quarantine(folder)
                continue
            library = f"{folder}/{meta['library']}"
            return Artifact(library, meta["key"], built=False, seconds=float(meta["seconds"])), meta
        return None

    def folders(self) -> Iterator[str]:
        """The folder of every artifact, whole or damaged."""
        top = f"{self.bucket}/artifacts"
        return (f"{top}/{name}" for name in listed(top))

    def entries(self) -> Iterator[Entry]:
        """Every artifact with its description."""
        for folder in self.folders():
            meta = read_head(folder)
            if meta is not None:
                yield Entry(folder, meta, size_below(folder))

    def size(self) -> int:
        """Bytes of everything in the bucket."""
        return size_below(self.bucket)

    def whole_size(self) -> int:
        """Bytes of everything in the buckets of all versions."""
        return self.size() + sum(map(size_below, self.others()))

    def others(self) -> list[str]:
        """The buckets of other versions of autoaccel, the oldest first."""
        names = [name for name in listed(self.root) if _BUCKET.fullmatch(name) and name != manifest.BUCKET]
        return [path for name in sorted(names, key=layout) if _is_bucket(path := f"{self.root}/{name}")]

    def home(self, key: str, variant: str) -> str:
        """Where an artifact of a plan key is."""
        return f"{self.bucket}/artifacts/{_folder_name(key, variant)}"

    def artifact_of(self, path: str) -> str | None:
        """The folder of the artifact that a path is, or is in; None of what is elsewhere in the cache."""
        top = os.path.normpath(f"{self.bucket}/artifacts") + os.sep
        path = os.path.normpath(path)
        return f"{self.bucket}/artifacts/{path[len(top) :].split(os.sep)[0]}" if path.startswith(top) else None

    def _quarantine(self, folder: str) -> None:
        """Only who may write sets things aside."""


class Store(Reader):
    """A cache root that this process may write.

    Args:
        root: the folder; made when missing.
        private: it is deleted when the process ends.

    Raises:
        OSError: it can't be made or written.
        PermissionError: somebody else could write it.
    """

    def __init__(self, root: str, *, private: bool = False) -> None:
        self.private = private
        if len(os.fsencode(root)) > _LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), root)
        os.makedirs(root, mode=0o700, exist_ok=True)
        super().__init__(root)
        # A folder that somebody keeps other things in is not marked as a cache.
        if not os.listdir(root):
            _write_once(f"{root}/README", _README)
            _write_once(f"{root}/CACHEDIR.TAG", _TAG)
            _write_once(f"{root}/.gitignore", "*\n")
        for folder in ("", *_FOLDERS):
            os.makedirs(f"{self.bucket}/{folder}", mode=0o700, exist_ok=True)
        if not os.access(f"{self.bucket}/builds", os.W_OK | os.X_OK):
            raise PermissionError(f"{root} can't be written")
        manifest.forget()

    # artifacts

    def find(self, key: str, contents: keys.Contents, *, repair: bool = True) -> tuple[Artifact, Meta] | None:
        """As of any `Reader`; where this one has none, as one of the read-only layers has it."""
        found = super().find(key, contents, repair=repair)
        if found is not None:
            return found
        others = (layer.find(key, contents) for layer in readers() if layer.root != self.root)
        return next((other for other in others if other is not None), None)

    def publish(
        self,
        plan: Plan,
        key: str,
        built: Built,
        contents: Mapping[str, str],
        work: str,
        seconds: float,
        *,
        again: bool = False,
    ) -> tuple[Artifact, Meta]:
        """Make a build's library an artifact: complete or not at all.

        ``again``: it was asked for although there may be one, which is not to be taken for it.

        Raises:
            OSError: it can't be stored; the library in the work folder is still good.
        """
        variant = keys.variant_key(key, contents.items(), (*built.absent, *map(repr, built.env)))
        if again:
            variant = keys.digest(variant, time.time_ns(), os.getpid())
        staged = f"{work}/publish"
        os.mkdir(staged, 0o700)
        try:
            return self._publish(plan, key, variant, built, contents, staged, seconds)
        except OSError:
            unlink(self.home(key, variant), staged)
            # Not by a hard link from the start: dropping it would change the published file's change time.
            for path in (built.library, *built.package.values()):
                with contextlib.suppress(OSError):
                    os.rename(f"{staged}/{os.path.basename(path)}", path)
            raise

    def _publish(
        self,
        plan: Plan,
        key: str,
        variant: str,
        built: Built,
        contents: Mapping[str, str],
        staged: str,
        seconds: float,
    ) -> tuple[Artifact, Meta]:
        name = os.path.basename(built.library)
        os.rename(built.library, f"{staged}/{name}")
        for extra, path in (*built.extra.items(), *built.package.items()):
            os.rename(path, f"{staged}/{extra}")
            os.chmod(f"{staged}/{extra}", 0o600)
        meta: Meta = {
            "name": plan.source.name,
            "source": plan.source.path,
            "toolchain": plan.toolchain,
            "library": name,
            "size": os.path.getsize(f"{staged}/{name}"),
            "sha256": keys.file_digest(f"{staged}/{name}"),
            "key": variant,
            "plan": key,
            "created": time.time(),
            "seconds": round(seconds, 3),
            "python": manifest.TAG,
            "autoaccel": sys.modules["autoaccel"].__version__,
            "tools": [[tool.name, tool.version, tool.identity] for tool in plan.tools],
            "env": [list(pair) for pair in plan.env],
            "options": told_options(plan),
            "inputs": sorted(contents.items()),
            # Not the plan's: a plan is made anew before an artifact is looked for.
            "absent": sorted(built.absent),
            "read_env": [list(pair) for pair in built.env],
            # The contents of these files count no further.
            "taken": plan.settings.taken,
        }
        if built.package:
            places = {one: f"{staged}/{one}" for one in sorted(built.package)}
            meta["package"] = [[one, os.path.getsize(path), keys.file_digest(path)] for one, path in places.items()]
            for path in places.values():
                _sync(path)
        _write_synced(f"{staged}/build.log", built.log)
        _write_synced(f"{staged}/meta.json", json.dumps(meta))
        _sync(f"{staged}/{name}")
        os.chmod(f"{staged}/{name}", 0o500)
        final = self.home(key, variant)
        os.makedirs(os.path.dirname(final), mode=0o700, exist_ok=True)
        # Before anybody can find it: who has loaded it by one name is never to find another.
        link(meta, final, staged)
        try:
            os.rename(staged, final)
        except OSError:
            # Somebody published the same first; theirs serves if it is whole.
            theirs = read_meta(final)
            if theirs is not None and damage(final, theirs) is None:
                unlink(final, staged)
                return Artifact(f"{final}/{theirs['library']}", variant, built=True, seconds=seconds), theirs
            self._quarantine(final)
            link(meta, final, staged)
            os.rename(staged, final)
        return Artifact(f"{final}/{name}", variant, built=True, seconds=seconds), meta

    def _quarantine(self, folder: str) -> None:
        log.warning("%s is damaged; it is set aside and built again", folder)
        self.quarantine(folder)

    def quarantine(self, folder: str) -> bool:
        """Take something damaged out of reach; whether it is."""
        aside = f"{self.bucket}/quarantine"
        with contextlib.suppress(OSError):
            os.makedirs(aside, mode=0o700, exist_ok=True)
            old = sorted(listed(aside))[: -_QUARANTINED + 1]
            for name in old:
                shutil.rmtree(f"{aside}/{name}", ignore_errors=True)
            # By time, so that the oldest are known.
            unlink(folder, folder)
            os.rename(folder, f"{aside}/{time.time_ns()}-{os.path.basename(folder)}")
        return not os.path.lexists(folder)

    # manifests

    def remember(self, plan: Plan, artifact: Artifact, meta: Meta, contents: keys.Contents) -> None:
        """Write the manifest by which the next import finds ``artifact``; failing to is no harm."""
        inputs, system = _rows(plan, meta, contents)
        mine, siblings, theirs = _absent(plan, meta, {row[0] for row in system})
        searched = dict(reversed(plan.folders))
        rows, groups = manifest.grouped(system)
        common = manifest.pack(
            (
                rows,
                _folder_rows(theirs.folders),
                *theirs.rest,
                *manifest.environment_row(_variables(plan, meta)),
                groups,
            )
        )
        missing = manifest.pack(theirs.folders)
        told = manifest.Manifest(
            plan.source.name,
            plan.source.path,
            plan.toolchain,
            artifact.path,
            artifact.key,
            (*inputs, library_row(artifact.path)),
            _folder_rows({**searched, **mine}),
            "/".join(siblings),
            context_of(common, missing),
            {**mine, **{folder: manifest.whole(names) for folder, names in searched.items()}},
        )
        self._write(told, common, missing)
        self._note(plan.toolchain, artifact)

    def refresh(self, name: str, source: str) -> None:
        """Note the folders of a module's manifest anew, if it holds: what has come to them or gone does not matter."""
        known = manifest.read(name, source)
        if known is None or self.root not in manifest.cache_roots()[:1]:
            return  # what is noted elsewhere, no import reads
        content = manifest.unmarshalled(manifest.context_name(known.context))
        absent = manifest.unmarshalled(manifest.context_name(f"{known.context}.absent"))
        if type(content) is not tuple or absent is None:
            return
        # Before they are listed: what comes afterwards gives them another time.
        mine = _folder_rows(row[0] for row in known.folders)
        theirs = _folder_rows(row[0] for row in content[1])
        if manifest.stale_reason(known) is None:
            common, missing = manifest.pack((content[0], theirs, *content[2:])), manifest.pack(absent)
            told = dataclasses.replace(known, folders=mine, context=context_of(common, missing))
            self._write(told, common, missing)

    def _write(self, told: manifest.Manifest, common: bytes, missing: bytes) -> None:
        with contextlib.suppress(OSError):
            for name, content in ((f"{told.context}.absent", missing), (told.context, common)):
                if manifest.unmarshalled(manifest.context_name(name)) is None:
                    replace(f"{self.bucket}/{manifest.context_name(name)}", content)
            self._write_manifest(told, common)

    def _note(self, toolchain: str, artifact: Artifact) -> None:
        """Remember a build, or that something served again; after a build, see now and then to the cache's size."""
        if self.private:
            return
        with contextlib.suppress(OSError):
            if not artifact.built and artifact.path.startswith(self.bucket):
                # Where the file system keeps no access times, this is what is known of the last use.
                os.utime(os.path.dirname(artifact.path))
            word = "built" if artifact.built else "found"
            line = f"{time.time():.0f} {word} {artifact.seconds:.3f} {toolchain} {artifact.key}\n"
            descriptor = os.open(f"{self.bucket}/history", os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
            if artifact.built:
                self._tend()

    def _tend(self) -> None:
        """Have what is old or too much removed in the background, where that was not done in the last hour."""
        stamp = f"{self.bucket}/upkeep"
        try:
            if abs(time.time() - os.stat(stamp).st_mtime) < _HOUR:
                return
        except FileNotFoundError:
            # A new cache has nothing to remove.
            _write_once(stamp, "")
            return
        os.utime(stamp)
        from . import process

        code = f"import sys; sys.path[:] = {sys.path!r}; from autoaccel.upkeep import main; main({self.root!r})"
        process.detach([sys.executable, "-c", code], cwd=self.root, env=process.environment())

    def _write_manifest(self, told: manifest.Manifest, common: bytes = b"") -> None:
        name, source, record = told.name, told.source, told.record()
        replace(f"{self.bucket}/{manifest.name_of(name, source)}", manifest.pack(record))
        excluded = _excluded(told)
        # One writer at a time here; one of another process may win, and the pack lack a module until its next look.
        with _packing:
            directory = manifest.home(source)
            together = manifest.read_pack(directory)
            if name not in together and len(together) >= _PACKED:
                together = {other: row for other, row in together.items() if _of_source(other, row)}
            if excluded:
                # It was built by its file's name. Who finds a module by its pack does not ask the project.
                if together.pop(name, None) is not None:
                    replace(f"{self.bucket}/{manifest.pack_name(directory)}", manifest.pack_records(together))
            elif name in together or len(together) < _PACKED:
                # No hit needs the key.
                together[name] = marshal.dumps((*record[:4], None, *record[5:9]))
                if common:
                    # The last few: a hit on who has another one reads its file.
                    contexts = [other for other in together if other.startswith("/")]
                    together |= {f"/{told.context}": common[8:]}
                    for other in contexts[:-_CONTEXTS]:
                        del together[other]
                replace(f"{self.bucket}/{manifest.pack_name(directory)}", manifest.pack_records(together))

    def revalidate(self, known: manifest.Manifest, *, system: bool) -> Artifact | None:
        """The manifest's artifact if `unchanged`; the next import need not look again."""
        found = unchanged(known, system=system)
        if found is None:
            return None
        meta, contents, library = found
        rows = tuple((path, *contents.identity(path)) for path, *_ in known.inputs)
        rows += (library,)
        with contextlib.suppress(OSError):
            self._write_manifest(dataclasses.replace(known, rows=rows))
        artifact = Artifact(known.artifact, known.key, built=False, seconds=float(meta["seconds"]))
        self._note(known.toolchain, artifact)
        return artifact

    # failures

    def recall(self, key: str, contents: keys.Contents) -> BuildError | None:
        """The error of an earlier build of the same inputs; None where there is none, or it may be over."""
        try:
            with open(f"{self.bucket}/failures/{key}.json", encoding="utf-8", opener=plain_file) as file:
                told = json.load(file)
            # Its text is shown to people, and its paths are looked at.
            if not (
                has(told, _FAILURE) and _is_read(told) and all(has(one, _DIAGNOSTIC) for one in told["diagnostics"])
            ):
                return None
            age = time.time() - told["time"]
            if not 0 <= age < (_DAY if told["complete"] else _DOUBT_SECONDS) or not _holds(told, contents):
                return None
            error = BuildError(
                told["message"],
                name=told["name"],
                path=told["path"],
                diagnostics=[
                    Diagnostic(**{slot: one[slot] for slot in Diagnostic.__slots__}) for one in told["diagnostics"]
                ],
                log=told["log"],
            )
            if told["complete"]:
                error.inputs, error.absent = tuple(path for path, _ in told["inputs"]), tuple(told["absent"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return error

    def remember_failure(
        self,
        key: str,
        error: BuildError,
        contents: Mapping[str, str],
        absent: Sequence[str],
        *,
        env: Sequence[tuple[str, str | None]] = (),
        complete: bool,
    ) -> None:
        """Keep a failure for the others that are about to try the same."""
        told = {
            "time": time.time(),
            "complete": complete,
            "message": error.msg,
            "name": error.name,
            "path": error.path,
            "log": error.log,
            "inputs": sorted(contents.items()),
            "absent": sorted(absent),
            "read_env": sorted(env),
            "diagnostics": [
                {slot: getattr(diagnostic, slot) for slot in Diagnostic.__slots__} for diagnostic in error.diagnostics
            ],
        }
        with contextlib.suppress(OSError):
            replace(f"{self.bucket}/failures/{key}.json", json.dumps(told).encode())

    def failure_log(self, key: str, text: str) -> str | None:
        """Keep the whole output of a failed build; its path, or None where it can't be kept."""
        path = f"{self.bucket}/failures/{key}.log"
        try:
            replace(path, text.encode("utf-8", "surrogateescape"))
        except OSError:
            return None
        return path

    # work and locks

    @contextlib.contextmanager
    def workdir(self) -> Iterator[str]:
        """A private folder on the store's file system, gone afterwards."""
        folder = tempfile.mkdtemp(prefix=f"{owner()}-", dir=f"{self.bucket}/builds")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, source: Source, timeout: float) -> Iterator[bool]:
        """Hold the lock of a source; False where it can't be had: then work is done twice, nothing worse.

        Args:
            source: what is to be built.
            timeout: seconds to wait for another holder.
        """
        path = f"{self.bucket}/locks/{manifest.slot(source.name, source.path)}.lock"
        told = False

        def tell() -> None:
            nonlocal told
            told = True
            log.warning("%s: waiting for %s, which is building it", source.name, _holder(path))

        with locks.held(path, timeout, tell) as ours:
            if ours:
                with contextlib.suppress(OSError):
                    replace(path + ".holder", f"process {os.getpid()} on {socket.gethostname()}".encode())
            elif told:
                log.warning(
                    "%s: %s still holds the lock after %.0f s; building without it", source.name, _holder(path), timeout
                )
            yield ours

    # for people

    def clear(self) -> int:
        """Remove everything but what running builds work with; programs keep what they loaded. Gives the bytes.

        What other versions have left goes as well.
        """
        total = self.whole_size()
        aside = f"{self.root}/cleared-{os.getpid()}-{time.monotonic_ns()}"
        os.mkdir(aside, 0o700)
        for name in listed(self.bucket):
            place = f"{self.bucket}/{name}"
            if name in ("builds", "locks"):
                continue
            if name in _BUILT_IN:
                self._clear_cargo(place, aside)
                continue
            with contextlib.suppress(OSError):
                os.rename(place, f"{aside}/{name}")
                if name in _FOLDERS:
                    os.mkdir(place, 0o700)
        _reap(self.bucket)
        for bucket in self.others():
            if not is_worked_in(bucket):
                with contextlib.suppress(OSError):
                    os.rename(bucket, f"{aside}/{os.path.basename(bucket)}")
        shutil.rmtree(aside, ignore_errors=True)
        manifest.forget()
        return total - self.whole_size()

    def _clear_cargo(self, top: str, aside: str) -> None:
        from .toolchains import builddirs

        for name in listed(top):
            with builddirs.exclusive(self.bucket, f"{top}/{name}", 0.0) as held, contextlib.suppress(OSError):
                if held:
                    os.rename(f"{top}/{name}", f"{aside}/{name}")


def layout(bucket: str) -> int:
    """The number in the name or path of a bucket: a larger one is of a newer version."""
    match = _BUCKET.fullmatch(os.path.basename(bucket))
    assert match is not None
    return int(match[1])


def _is_bucket(path: str) -> bool:
    """Whether a version of autoaccel has made a folder: a root may be a folder in which somebody keeps other things."""
    try:
        own = sys.platform == "win32" or os.lstat(path).st_uid in (os.geteuid(), 0)
        marks = [os.lstat(f"{path}/{name}").st_mode for name in _MARKS]
    except OSError:
        return False
    return own and not os.path.islink(path) and all(map(stat.S_ISDIR, marks))


def is_worked_in(bucket: str) -> bool:
    """Whether a build of another version may be running in its bucket."""
    return any(not is_left_over(f"{bucket}/builds/{name}") for name in listed(f"{bucket}/builds"))


def unchanged(known: manifest.Manifest, *, system: bool) -> tuple[Meta, keys.Contents, manifest.Row] | None:
    """The description of a manifest's artifact if all that seems to have changed has its content still, else None.

    With it come the contents that were looked at, and the library's row from before that.

    Args:
        known: the manifest.
        system: whether the toolchain and the system's headers count.
    """
    meta = read_meta(os.path.dirname(known.artifact))
    if (
        meta is None
        or (meta["key"], meta.get("name")) != (known.key, known.name)
        or not manifest.executable(known.artifact)
    ):
        return None
    contents = keys.Contents()
    told, taken = dict(meta["inputs"]), meta.get("taken", {})
    for path, *_ in known.inputs:
        # Read for its identity also where little of it counts, and before that is looked at.
        digest = contents.digest(path)
        if (path in told or path not in taken) and told.get(path, "") != digest:
            return None
        if path in taken and not _says(path, known.name, taken[path]):
            return None
    now = tuple((path, *(manifest.identity(path) or manifest.FRESH)) for path, *_ in known.inputs)
    now += (library_row(known.artifact),)
    if manifest.stale_reason(dataclasses.replace(known, rows=now), system=system) is not None:
        return None
    library = (now[-1][0], *keys.settled(now[-1][0]))
    return (meta, contents, library) if damage(os.path.dirname(known.artifact), meta) is None else None


def _says(path: str, name: str, taken: object) -> bool:
    """Whether a project's file still says of a module what its build took."""
    try:
        return settings.taken(path, name) == taken
    except ConfigError:
        return False


_opened: tuple[int, str, Store] | None = None


def open_store() -> Store:
    """The store of this process: the first place on the ladder that can be written, at worst a private folder."""
    global _opened
    wanted = manifest.preferred()
    if _opened is not None and _opened[:2] == (os.getpid(), wanted) and os.path.isdir(_opened[2].bucket + "/builds"):
        return _opened[2]
    problem: OSError | None = None
    for root in dict.fromkeys((wanted, manifest.fallback())):
        try:
            store = Store(root)
        except OSError as error:
            problem = problem or error
            continue
        if root != wanted:
            log.warning("the cache folder %s can't be used (%s); using %s", wanted, problem, root)
        _reap(store.bucket)
        _opened = (os.getpid(), wanted, store)
        return store
    store = private_store(problem)
    _opened = (os.getpid(), wanted, store)
    return store


def readers() -> list[Reader]:
    """The caches that exist and may be loaded from, best first: the user's own, then the read-only layers."""
    found = []
    layers = manifest.layers()
    for root in manifest.cache_roots():
        with contextlib.suppress(OSError):
            found.append(Reader(root, shared=root in layers))
    return found


def _reap(bucket: str) -> None:
    """Remove the work folders of builds whose process was killed; each carries its process's number."""
    for name in listed(f"{bucket}/builds"):
        if is_left_over(f"{bucket}/builds/{name}"):
            shutil.rmtree(f"{bucket}/builds/{name}", ignore_errors=True)


def is_left_over(folder: str) -> bool:
    """Whether nobody works in a work folder any more."""
    number, _, machine = os.path.basename(folder).partition("-")[0].partition(".")
    try:
        old = time.time() - os.lstat(folder).st_mtime > _DAY
    except OSError:
        return False
    # What lives on another machine can't be told from here.
    return old or (number.isdigit() and machine in ("", _machine()) and not _alive(int(number)))


def owner() -> str:
    """What the name of a work folder begins with: this process's number, and where it means something."""
    return f"{os.getpid()}.{_machine()}"


@functools.cache
def _machine() -> str:
    """The running system and its space of process numbers: containers and machines may share a cache."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return keys.digest(file.read(), os.readlink("/proc/self/ns/pid"))[:8]
    except (OSError, ValueError):
        return keys.digest(socket.gethostname())[:8]


def _alive(process: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def private_store(problem: OSError | None) -> Store:
    """A store that ends with the process, for when nothing can be kept."""
    root = tempfile.mkdtemp(prefix="autoaccel-")
    log.warning("nothing can be kept in the cache (%s); building into %s for this process only", problem, root)
    store = Store(root, private=True)
    _until_exit(root)
    return store


_private: dict[int, str] = {}


def keep_privately(library: str, *others: str) -> str:
    """Bring a library, and the other files of its package, to where they last as long as this process; its new path.

    Args:
        library: where it is, at the top of the work folder.
        others: further files of its package, which are to be beside it.

    Raises:
        OSError: there is no such place.
    """
    try:
        # One folder each: a path that was loaded once must never name other code.
        folder = tempfile.mkdtemp(dir=_private_folder())
        for path in others:
            shutil.copy(path, folder)
        return shutil.copy(library, folder)
    except OSError:
        # Beside the work folder no room is needed for it; it is known by the process's number there.
        folder = tempfile.mkdtemp(prefix=f"{owner()}-kept-", dir=os.path.dirname(os.path.dirname(library)))
        _until_exit(folder)
        for path in (*others, library):
            os.rename(path, f"{folder}/{os.path.basename(path)}")
        return f"{folder}/{os.path.basename(library)}"


def _private_folder() -> str:
    owner = os.getpid()
    if owner not in _private:
        _private[owner] = tempfile.mkdtemp(prefix="autoaccel-")
        _until_exit(_private[owner])
    return _private[owner]


def _until_exit(folder: str) -> None:
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)


def told_options(plan: Plan) -> dict[str, object]:
    """The options and settings that are part of a plan's key, for who asks later what has changed."""
    told: dict[str, object] = {}
    for part in (plan.settings.options, plan.settings, plan.options):
        for one in dataclasses.fields(part):
            value = getattr(part, one.name)
            if (
                one.metadata.get("key", True)
                and one.name not in ("root", "options", "taken")
                and value not in (None, False, (), {})
            ):
                told[one.name] = json.loads(json.dumps(value))
    return told


def _rows(plan: Plan, meta: Meta, contents: keys.Contents) -> tuple[list[manifest.Row], list[manifest.Row]]:
    """The inputs as manifest rows: those that the user may edit, and those of the toolchain and the system.

    Headers in a folder that belongs to a tool (Python's own, the compiler's) are checked through the folder: hundreds
    of them are never edited in place, only replaced by package managers, which changes the folder.
    """
    own = os.path.dirname(plan.source.path) + os.sep
    directories = tuple(place + os.sep for tool in plan.tools for place in tool.directories)
    parts = [part for tool in plan.tools for part in tool.parts]
    # As they were when the plan took from them what it has.
    seen = plan.settings.seen
    mine: list[manifest.Row] = [(path, *identity) for path, identity in seen.items()]
    theirs: dict[str, manifest.Row] = {}
    passed: set[str] = set()
    for path, _ in meta["inputs"]:
        if path in seen:
            continue
        if path in plan.inputs or path.startswith(own):
            mine.append((path, *contents.identity(path)))
        elif path.startswith(directories):
            inside = os.path.dirname(path)
            if inside not in passed:
                passed.add(inside)
                folder = _product(inside, parts)
                theirs[folder] = (folder, *keys.settled(folder, contents.since))
        elif keys.is_installed(path) or path.startswith(_SYSTEM):
            theirs[path] = (path, *contents.identity(path))
        else:
            mine.append((path, *contents.identity(path)))
    for path in dict.fromkeys(path for tool in plan.tools for path in tool.files):
        row = (path, *keys.settled(path, contents.since))
        # One row for a program and the link to it.
        if row[1:] == manifest.FRESH or row[1:] not in {known[1:] for known in theirs.values()}:
            theirs[path] = row
    # The source first: the finder looks at it before the loader looks at all.
    return sorted(mine, key=lambda row: (row[0] != plan.source.path, row)), sorted(theirs.values())


@dataclass(frozen=True, slots=True)
class _Far:
    """What must stay absent, as far as the modules of a folder mostly share it.

    Attributes:
        folders: folder of the system's -> names.
        rest: single paths; names beside the source, with a slash before, between and after them.
    """

    folders: dict[str, tuple[str, ...]]
    rest: tuple[tuple[str, ...], str]


def _absent(plan: Plan, meta: Meta, checked: set[str]) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...], _Far]:
    """What must stay absent: in folders of the user's; beside the source, with its stem; and the context's part."""
    own = os.path.dirname(plan.source.path)
    directories = tuple(place + os.sep for tool in plan.tools for place in tool.directories)
    parts = [part for tool in plan.tools for part in tool.parts]
    siblings: set[str] = set()
    paths: list[str] = []
    absent: dict[str, set[str]] = {}
    known: dict[str, tuple[str, str] | None] = {}
    if plan.probes:
        paths += dict.fromkeys((*plan.probes, *plan.absent, *meta["absent"]))
        return {}, (), _Far({}, (tuple(paths), "/"))
    for path in dict.fromkeys((*plan.absent, *meta["absent"])):
        folder, name = os.path.split(path)
        if name in ("pyproject.toml", "setup.py") and folder != own:
            # In folders above, of which nothing else matters.
            paths.append(path)
            continue
        if folder not in known:
            # The nearest folder that exists, and the first name that is missing in it.
            near, first = keys.nearest(folder)
            # Below a file (one that is named as an include folder), nothing can appear.
            known[folder] = None if first and os.path.isfile(os.path.join(near, first)) else (near, first)
        place = known[folder]
        if place is not None:
            # What has appeared since the build looked stays: the next look is to see it.
            near, first = place
            (siblings if near == own else absent.setdefault(near, set())).add(first or name)
    mine: dict[str, tuple[str, ...]] = {}
    theirs: dict[str, tuple[str, ...]] = {}
    for folder, names in sorted(absent.items()):
        far = (folder + os.sep).startswith((*directories, *_SYSTEM)) or keys.is_installed(folder + os.sep)
        if far and _product(folder, parts) in checked:
            continue  # any change in it counts already
        (theirs if far else mine)[folder] = tuple(sorted(names))
    stem = os.path.splitext(os.path.basename(plan.source.path))[0]
    alone = (stem, stem.replace("_", "-"))
    related = tuple(sorted(name for name in siblings if name in alone or name.startswith(stem + ".")))
    others = "".join(f"{name}/" for name in sorted(siblings.difference(related)))
    return mine, related, _Far(theirs, (tuple(paths), f"/{others}"))


def _product(folder: str, parts: Iterable[tuple[str, str]]) -> str:
    """The folder by whose change a change in one is told."""
    return next((whole for part, whole in parts if f"{folder}{os.sep}".startswith(part + os.sep)), folder)


def context_of(common: bytes, missing: bytes) -> str:
    """The name of a context: what is in it, and in the file beside it."""
    return hashlib.sha256(common + missing).hexdigest()[:32]


def _excluded(told: manifest.Manifest) -> bool:
    """Whether the project leaves the module to CPython."""
    from .projects import declared

    for path, *_ in told.inputs:
        if os.path.basename(path) == "pyproject.toml":
            with contextlib.suppress(ConfigError):  # which the next import tells
                project = declared(path)
                if project is not None and project.excludes(told.name):
                    return True
    return False


def _of_source(name: str, row: bytes) -> bool:
    """Whether an entry of a pack is of a source that is still there, or a context."""
    return name.startswith("/") or os.path.exists(marshal.loads(row)[1])  # noqa: S302


def _variables(plan: Plan, meta: Meta) -> tuple[tuple[str, str | None], ...]:
    """The environment variables that decide, each once."""
    told = dict(plan.env)
    return (*plan.env, *((name, value) for name, value in meta["read_env"] if name not in told))


def _folder_rows(folders: Iterable[str]) -> tuple[manifest.Folder, ...]:
    return tuple(keys.folder_row(folder) for folder in folders)


#: Where package managers put headers and libraries, outside of what belongs to a compiler.
_SYSTEM = ("/usr/",) if sys.platform != "win32" else ("C:\\Program Files",)


def _holds(told: Meta, contents: keys.Contents) -> bool:
    """Whether all inputs of a build have the content that it saw, and what was missing is still missing."""
    for path, content in told["inputs"]:
        if contents.digest(path) != content:
            return False
    if any(os.environ.get(name) != value for name, value in told.get("read_env", ())):
        return False
    return not any(os.path.lexists(path) for path in told["absent"])


def read_meta(folder: str) -> Meta | None:
    """The description of the artifact in a folder; None where it is missing or damaged."""
    try:
        with open(f"{folder}/meta.json", encoding="utf-8", opener=plain_file) as file:
            meta = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return meta if has(meta, _NAMES) and has(meta, _READ) and _is_read(meta) else None


def read_head(folder: str) -> Meta | None:
    """What `read_meta` gives, mostly without what the build has read (``inputs`` and all after it): for lists."""
    try:
        descriptor = plain_file(f"{folder}/meta.json", os.O_RDONLY)
        try:
            head, found, _ = os.read(descriptor, _HEAD).decode("ascii").partition(', "inputs": [')
        finally:
            os.close(descriptor)
        # Were the words inside of something else, this would be no document.
        meta = json.loads(head + "}") if found else None
    except (OSError, ValueError, RecursionError):
        meta = None
    return meta if has(meta, _NAMES) else read_meta(folder)


_TEXT, _NUMBER, _MAYBE = (str,), (int, float), (str, NoneType)
#: Members of a description by type: what an artifact is, and what its build has read.
_NAMES: Types = {
    "library": _TEXT, "sha256": _TEXT, "key": _TEXT, "plan": _TEXT,
    "size": _NUMBER, "created": _NUMBER, "seconds": _NUMBER,
}  # fmt: skip
_READ: Types = {"inputs": (list,), "absent": (list,), "read_env": (list,)}
#: Those of a remembered failure, and of each of its diagnostics.
_FAILURE: Types = {
    "time": _NUMBER, "complete": (bool,), "message": _TEXT, "name": _MAYBE, "path": _MAYBE, "log": _MAYBE,
    "inputs": (list,), "absent": (list,), "diagnostics": (list,),
}  # fmt: skip
_DIAGNOSTIC: Types = {slot: (int,) if slot in ("line", "column") else _TEXT for slot in Diagnostic.__slots__}


def has(told: object, members: Types) -> TypeGuard[Meta]:
    """Whether something that was read is a document that has members of these types."""
    return isinstance(told, dict) and all(isinstance(told.get(name), kinds) for name, kinds in members.items())


def _is_read(told: Meta) -> bool:
    """Whether what a build has read is paths with digests, paths that were missing, and variables with values."""
    return (
        all(_is_row(row, _TEXT) for row in told["inputs"])
        and all(isinstance(path, str) for path in told["absent"])
        and isinstance(told.get("taken", {}), dict)
        and all(_is_row(row, _MAYBE) for row in told.get("read_env", ()))
    )


def _is_row(row: object, second: tuple[type, ...]) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], second)


def link(meta: Meta, folder: str, staged: str) -> None:
    """Give the library of an artifact that is to be at ``folder`` its second name (`location`).

    Where it can't have one, its own serves; a package's is part of a folder, and loaded there.

    Args:
        meta: its description.
        folder: where it will be.
        staged: where it is.
    """
    library = f"{folder}/{meta['library']}"
    name = second_name(library)
    # Not the name of an artifact that is here already: what is published next is another's, or quarantined first.
    if name and not meta.get("package") and opened(library) != name:
        # Of a build that was killed, or of one that is about to find out that this one was first.
        with contextlib.suppress(OSError):
            os.unlink(name)
        with contextlib.suppress(OSError):
            os.link(f"{staged}/{meta['library']}", name)


def unlink(folder: str, place: str) -> None:
    """Take the second name away from an artifact.

    Args:
        folder: where it is, was or was to be.
        place: where its files are now: by the same name, another's may be known.
    """
    for file in listed(place):
        name = second_name(f"{folder}/{file}")
        with contextlib.suppress(OSError):
            if name and os.path.samestat(os.lstat(name), os.lstat(f"{place}/{file}")):
                os.unlink(name)


def alone(reader: Reader) -> list[str]:
    """Second names of no artifact."""
    links = [f"{reader.bucket}/load/{name}" for name in listed(f"{reader.bucket}/load")]
    known = {opened(f"{folder}/{file}") for folder in reader.folders() for file in listed(folder)} if links else set()
    return [path for path in links if path not in known]


def library_row(artifact: str) -> tuple[str, int, int, int, int]:
    """The last row of a record: the library as it is loaded."""
    path = opened(artifact)
    return (path, *(manifest.identity(path) or manifest.FRESH))


def damage(folder: str, meta: Meta) -> str | None:
    """What is wrong with a published artifact; None: nothing.

    Args:
        folder: where it is.
        meta: its description.
    """
    if os.path.basename(folder) != _folder_name(meta["plan"], meta["key"]):
        return "its description is another artifact's"
    files = [("the library", meta["library"], meta["size"], meta["sha256"])]
    try:
        files += [(f"its {name}", name, size, sha256) for name, size, sha256 in meta.get("package", ())]
    except (TypeError, ValueError):
        return "its description can't be understood"
    return next((what for one in files if (what := _damage(folder, *one)) is not None), None)


def _damage(folder: str, called: str, name: str, size: int, sha256: str) -> str | None:
    if os.path.basename(name) != name:
        return "its description names a file elsewhere"
    path = f"{folder}/{name}"
    try:
        # A pipe in its place would be waited for, a link lead to what nobody has checked.
        status = os.lstat(path)
    except OSError as error:
        return f"{called} can't be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return f"{called} is no file"
    if sys.platform != "win32" and (status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022):
        return f"somebody else could have written {called}"
    if status.st_size != size:
        return f"{called} has {status.st_size} bytes and was published with {size}"
    if keys.file_digest(path) != sha256:
        return f"{called}'s content is not what was published"
    return None


def serves(name: str, library: str) -> bool:
    """Whether a published library is whole and of the module ``name``."""
    folder = os.path.dirname(library)
    meta = read_meta(folder)
    return meta is not None and meta.get("name") == name and damage(folder, meta) is None


def _folder_name(key: str, variant: str) -> str:
    return key[:16] + variant[:24]


def listed(folder: str) -> list[str]:
    """The names in a folder; none where it can't be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def size_of(path: str) -> int:
    """Bytes of a file; none where it is gone."""
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def size_below(folder: str, *, but: Sequence[str] = ()) -> int:
    """Bytes of all files below a folder, of each once, however many names it has; none where it is no folder.

    Args:
        folder: the folder.
        but: names in it that are passed over.
    """
    total = 0
    seen: set[tuple[int, int]] = set()
    rest = [f"{folder}/{name}" for name in listed(folder) if name not in but] if but else [folder]
    while rest:
        with contextlib.suppress(OSError), os.scandir(rest.pop()) as found:
            for one in found:
                if one.is_dir(follow_symlinks=False):
                    rest.append(one.path)
                    continue
                with contextlib.suppress(OSError):
                    status = os.lstat(one.path)
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_size
    return total


def _holder(path: str) -> str:
    try:
        return Path(path + ".holder").read_text("utf-8")
    except OSError:
        return "another process"


def _write_once(path: str, text: str) -> None:
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8", opener=_private_file) as file:
        file.write(text)


def _write_synced(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="surrogateescape", opener=_private_file) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def plain_file(path: str, flags: int) -> int:
    """An opener for ``open`` that follows no link, and does not wait for a pipe in the place of a file."""
    return os.open(path, flags | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))


def _private_file(path: str, flags: int) -> int:
    # Whatever the user's umask allows.
    return os.open(path, flags | _NOFOLLOW, 0o600)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: str, data: bytes) -> None:
    """Write a file that readers see whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
