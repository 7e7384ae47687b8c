"""Damaged, foreign and mixed-up files in the cache: never loaded, never the end of a process."""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import random
import shutil
import stat
import struct
import threading
import time
from pathlib import Path

import pytest

from autoaccel import keys, manifest, store, verify
from tests.faults.conftest import CODE, FULL, Faults, some


def spoil(path: Path, data: bytes) -> None:
    """Overwrite a file of the cache."""
    path.chmod(0o700)
    path.write_bytes(data)


def rebuilt(faults: Faults, *said: str) -> None:
    """A fresh process gets the right code, whatever it says about it, and the next one says nothing."""
    run = faults.project.run(CODE)
    assert (run.status, run.out) == (0, "7\n"), run.err
    assert "Traceback" not in run.err
    for word in said:
        assert word in run.err
    faults.fine()


def test_f13_the_library_is_truncated(built: Faults) -> None:
    library = built.library()
    data = library.read_bytes()
    lengths = [len(data) * part // 41 for part in range(41)]
    meta = store.read_meta(str(library.parent))
    assert meta is not None
    for length in lengths:
        spoil(library, data[:length])
        assert store.damage(str(library.parent), meta) is not None
        built.injected()
    for length in some(lengths, 5):
        spoil(built.library(), data[:length])
        built.injected()
        rebuilt(built, "is damaged; it is set aside and built again")


def test_f14_bytes_are_flipped(built: Faults) -> None:
    library = built.library()
    data = library.read_bytes()
    meta = store.read_meta(str(library.parent))
    assert meta is not None
    chance = random.Random(14)
    (offset,) = struct.unpack_from("<Q", data, 40)
    places = [0, 4, 16, 24, 40, 64, 80, offset, len(data) - 1]
    places += [chance.randrange(len(data)) for _ in range(491)]
    for place in places:
        spoil(library, data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :])
        assert store.damage(str(library.parent), meta) is not None
        built.injected()
    for place in some(places, 4):
        spoil(built.library(), data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :])
        built.injected()
        rebuilt(built)


GARBAGE = {
    "empty": b"",
    "half": None,
    "no JSON": b"\x00\xff{]",
    "a list": b"[1, 2]",
    "a number": b"1e999",
    "wrong types": b'{"library": 1, "sha256": [], "key": {}, "plan": null, "inputs": 3}',
    "deep": b"[" * 200_000,
    "another schema": b'{"schema": 99, "library": "x.so"}',
    "a path elsewhere": None,
    "huge": None,
}


@pytest.mark.parametrize("kind", some([*GARBAGE], 6))
def test_f15_descriptions_are_garbage(built: Faults, kind: str) -> None:
    note = built.library().parent / "meta.json"
    data = note.read_bytes()
    content = GARBAGE[kind]
    if kind == "half":
        content = data[: len(data) // 2]
    elif kind == "huge":
        content = data + b" " * ((1 << 30) if FULL else (1 << 26))
    elif kind == "a path elsewhere":
        content = json.dumps({**json.loads(data), "library": "../../../../../../evil.so"}).encode()
    assert content is not None
    spoil(note, content)
    for folder in ("manifests", "packs"):
        shutil.rmtree(built.cache / "v2" / folder)
    built.injected()
    run = built.project.run(CODE)
    assert (run.status, run.out) == (0, "7\n"), run.err
    # An artifact that nobody can read is no harm; verify finds it, and repairs.
    kept = store.Store(str(built.cache))
    assert verify.repair(kept, verify.check(kept).problems) == ()
    built.fine()


#: In the place of a member of a description.
ODD = (None, 3.5, "x", [1], [[1, 2]], [["/x", "y", "z"]], {"a": 1})


def test_f15_a_member_of_a_description_is_of_another_type(built: Faults) -> None:
    """Read by who looks by content: whatever it is, nobody's import fails by it."""
    folder = built.library().parent
    data = (folder / "meta.json").read_bytes()
    whole = json.loads(data)
    members = ("library", "sha256", "key", "plan", "size", "created", "seconds", "inputs", "absent", "read_env")
    cases = [(name, odd) for name in members for odd in ODD]
    kept = store.Reader(str(built.cache))
    for name, odd in cases:
        spoil(folder / "meta.json", json.dumps({**whole, name: odd}).encode())
        built.injected()
        assert kept.find(whole["plan"], keys.Contents()) is None or (name in ("created", "seconds") and odd == 3.5)
        list(kept.entries())
        spoil(folder / "meta.json", data)
    for name, odd in some(cases, 3):
        spoil(built.library().parent / "meta.json", json.dumps({**whole, name: odd}).encode())
        shutil.rmtree(built.cache / "v2" / "manifests")
        shutil.rmtree(built.cache / "v2" / "packs")
        built.injected()
        run = built.project.run(CODE)
        assert (run.status, run.out) == (0, "7\n"), (name, odd, run.err)
        assert verify.repair(store.Store(str(built.cache)), verify.check(kept).problems) == ()
        built.fine()


@pytest.mark.parametrize("folder", ["manifests", "packs", "contexts", "tools", "history", "upkeep", "pins"])
def test_f15_notes_are_garbage(built: Faults, folder: str) -> None:
    place = built.cache / "v2" / folder
    if folder == "pins":
        (place / "ab").write_text("sample")
    paths = [place] if place.is_file() else sorted(place.iterdir())
    assert paths
    odd = [b"", b"\x00" * 64, marshal.dumps(("sample",)), b"\xff" * (1 << 22)]
    if FULL:
        odd += [bytes([one]) * 100 for one in range(0, 256, 5)]
    for content in odd:
        for path in paths:
            spoil(path, content)
            built.injected()
        assert built.project.ok(CODE) == "7"
    kept = store.Store(str(built.cache))
    assert verify.repair(kept, verify.check(kept).problems) == ()
    built.fine()


def test_f15_failures_are_garbage(faults: Faults) -> None:
    faults.project.c("sample.c", "broken")
    assert "BuildError: sample: " in faults.project.run(CODE).err
    (note,) = faults.cache.glob("v2/failures/*.json")
    whole = json.loads(note.read_bytes())
    odd = [b"", b"{}", b"[]", b"[" * 100_000]
    odd += [json.dumps({**whole, key: one}).encode() for key in whole for one in (3.5, [1], [[1, 2]], None)]
    odd += [
        json.dumps({**whole, "diagnostics": [{**one, slot: 3.5}]}).encode()
        for one in whole["diagnostics"][:1]
        for slot in one
    ]
    for content in some(odd, 5):
        note.write_bytes(content)
        faults.injected()
        run = faults.project.run(CODE)
        assert "BuildError: sample: " in run.err
        assert 'Traceback (most recent call last):\n  File "<string>"' in run.err
    faults.project.c("sample.c", 7)
    faults.fine()


class TestMixedUp:
    """F16: whole files at the wrong place."""

    @pytest.fixture
    def two(self, built: Faults) -> tuple[Path, Path]:
        built.project.c("other.c", 8)
        assert built.project.ok("import autoaccel, other; print(other.value())") == "8"
        mine, theirs = built.project.artifacts()
        return (mine, theirs) if mine.name.startswith("sample.") else (theirs, mine)

    def test_f16_the_library_of_another_module(self, built: Faults, two: tuple[Path, Path]) -> None:
        built.injected()
        spoil(two[0], two[1].read_bytes())
        rebuilt(built)

    def test_f16_the_artifact_of_another_module(self, built: Faults, two: tuple[Path, Path]) -> None:
        built.injected()
        mine, theirs = two[0].parent, two[1].parent
        shutil.rmtree(mine)
        shutil.copytree(theirs, mine)
        assert built.project.run(CODE).out == "7\n"
        kept = store.Store(str(built.cache))
        assert verify.repair(kept, verify.check(kept).problems) == ()
        built.fine()

    def test_f16_a_manifest_that_names_the_library_of_another_module(
        self, built: Faults, two: tuple[Path, Path]
    ) -> None:
        built.injected()
        names = {manifest.load(str(path))[0]: path for path in built.cache.glob("v2/manifests/*")}
        mine = manifest.load(str(names["sample"]))
        identity = manifest.identity(str(two[1]))
        assert identity is not None
        forged = (*mine[:3], str(two[1]), mine[4], (*mine[5][:-1], (str(two[1]), *identity)), *mine[6:])
        names["sample"].write_bytes(manifest.pack(forged))
        shutil.rmtree(built.cache / "v2" / "packs")
        rebuilt(built)

    def test_f16_the_manifest_of_another_module(self, built: Faults, two: tuple[Path, Path]) -> None:
        built.injected()
        names = {manifest.load(str(path))[0]: path for path in built.cache.glob("v2/manifests/*")}
        shutil.copy(names["other"], names["sample"])
        shutil.rmtree(built.cache / "v2" / "packs")
        rebuilt(built)


KINDS = ("symlink", "symlink to nothing", "fifo", "folder", "device", "hard link", "socket")


@pytest.mark.parametrize("kind", KINDS)
def test_f17_the_library_is_no_plain_file(built: Faults, kind: str, tmp_path: Path) -> None:
    library = built.library()
    data = library.read_bytes()
    foreign = tmp_path / "foreign.so"
    library.unlink()
    foreign.write_bytes(data[:-1] + b"x")
    if kind == "symlink":
        library.symlink_to(foreign)
    elif kind == "symlink to nothing":
        library.symlink_to(tmp_path / "nothing")
    elif kind == "fifo":
        os.mkfifo(library)
    elif kind == "folder":
        library.mkdir()
    elif kind == "device":
        if os.geteuid() != 0:
            pytest.skip("only root can make a device")
        os.mknod(library, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    elif kind == "hard link":
        os.link(foreign, library)
    else:
        import socket

        here = os.open(library.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{here}/x")
        os.close(here)
        (library.parent / "x").rename(library)
    built.injected()
    rebuilt(built)
    assert foreign.read_bytes() == data[:-1] + b"x"


@pytest.mark.parametrize(
    ("folder", "kind"),
    some([(one, kind) for one in ("manifests", "packs", "contexts", "tools") for kind in ("fifo", "symlink")], 5),
)
def test_f17_a_note_is_no_plain_file(built: Faults, folder: str, kind: str, tmp_path: Path) -> None:
    for path in sorted((built.cache / "v2" / folder).iterdir()):
        copy = tmp_path / path.name
        shutil.move(path, copy)
        if kind == "symlink":
            path.symlink_to(copy)
        else:
            os.mkfifo(path)
        built.injected()
    run = built.project.run(CODE)
    assert (run.status, run.out) == (0, "7\n"), run.err
    kept = store.Store(str(built.cache))
    verify.repair(kept, verify.check(kept).problems)
    built.fine()


class TestSomebodyElse:
    """F18: a cache that somebody else owns, or could write."""

    def refused(self, faults: Faults) -> None:
        faults.injected()
        run = faults.project.run(faults.aside(CODE) + "; print(sample.__cached__)")
        assert run.status == 0, run.err
        value, place = run.out.split()
        assert value == "7"
        assert place.startswith(f"{faults.cache}-fallback/")
        assert "can't be used" in run.err

    @pytest.mark.parametrize("mode", some([0o777, 0o770, 0o702, 0o720], 2))
    def test_f18_a_mode_that_lets_others_write(self, built: Faults, mode: int) -> None:
        built.cache.chmod(mode)
        self.refused(built)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_f18_another_owner(self, built: Faults) -> None:
        os.chown(built.cache, 65534, 65534)
        self.refused(built)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_f18_a_link_to_somebody_else_s_folder(self, built: Faults) -> None:
        theirs = built.cache.parent / "theirs"
        built.cache.rename(theirs)
        os.chown(theirs, 65534, 65534)
        built.cache.symlink_to(theirs)
        self.refused(built)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_f18_a_library_of_somebody_else_s(self, built: Faults) -> None:
        library = built.library()
        os.chown(library, 65534, 65534)
        built.injected()
        rebuilt(built)
        assert library.stat().st_uid == 0


@pytest.mark.parametrize("what", ["lock", "holder", "history", "manifest", "upkeep", "pack"])
def test_f19_a_link_where_something_is_written(faults: Faults, what: str, tmp_path: Path) -> None:
    """CVE-2025-68146 and its like: a link in our way must not have another file truncated."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store.Store(str(faults.cache))
    source = str(faults.project.root / "sample.c")
    slot = manifest.slot("sample", source)
    place = {
        "lock": f"locks/{slot}.lock",
        "holder": f"locks/{slot}.lock.holder",
        "history": "history",
        "upkeep": "upkeep",
        "manifest": f"manifests/{slot}",
        "pack": manifest.pack_name(str(faults.project.root)),
    }[what]
    path = faults.cache / "v2" / place
    faults.injected()
    path.symlink_to(victim)
    run = faults.project.run(CODE)
    assert (run.status, run.out) == (0, "7\n"), run.err
    assert victim.read_text() == "precious"
    assert faults.project.ok(CODE) == "7"


def test_f19_links_appear_meanwhile(faults: Faults, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks = store.Store(str(faults.cache)).bucket + "/locks"
    source = str(faults.project.root / "sample.c")
    path = f"{locks}/{manifest.slot('sample', source)}.lock"
    over = threading.Event()

    def attack() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                os.unlink(path)
            with contextlib.suppress(OSError):
                os.symlink(victim, path)
            time.sleep(0.0005)

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        for value in range(12 if FULL else 3):
            faults.project.c("sample.c", value)
            faults.injected()
            run = faults.project.run(CODE)
            assert (run.status, run.out) == (0, f"{value}\n"), run.err
    finally:
        over.set()
        attacker.join()
    assert victim.read_text() == "precious"


def _meta(faults: Faults) -> store.Meta:
    meta = store.read_meta(str(faults.library().parent))
    assert meta is not None
    return meta
