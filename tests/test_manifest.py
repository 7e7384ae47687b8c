"""Manifests: what is written is what is read, and every difference has a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import autoaccel
from autoaccel import location, manifest
from tests.conftest import Project, need

#: Prints why the module's manifest does not hold, or None.
REASON = """
import autoaccel, sys
from autoaccel import manifest
found = manifest.read("sample", SOURCE)
print(found and manifest.stale_reason(found), sep="")
"""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is this process's cache."""
    monkeypatch.setattr(autoaccel, "known_roots", [str(tmp_path)])
    (tmp_path / manifest.BUCKET).mkdir()
    return tmp_path / manifest.BUCKET


def test_what_is_packed_is_read_back(bucket: Path) -> None:
    content = ("name", 1, None, b"bytes", ("nested", (2,)), "\udcff")
    (bucket / "m").write_bytes(manifest.pack(content))
    assert manifest.unmarshalled("m") == content
    for size in (300_000, (1 << 16) - 20, 1 << 16, (1 << 16) + 1, 3_000_000):
        large = ("x" * size,)
        (bucket / "m").write_bytes(manifest.pack(large))
        assert manifest.unmarshalled("m") == large


def test_any_flipped_bit_is_noticed(bucket: Path) -> None:
    path = bucket / "m"
    packed = manifest.pack(("name", 1, b"bytes"))
    for index in range(len(packed)):
        path.write_bytes(packed[:index] + bytes([packed[index] ^ 1]) + packed[index + 1 :])
        assert manifest.unmarshalled("m") is None
    for length in range(len(packed)):
        path.write_bytes(packed[:length])
        assert manifest.unmarshalled("m") is None
    path.write_bytes(packed + b"\0")
    assert manifest.unmarshalled("m") is None
    path.unlink()
    assert manifest.unmarshalled("m") is None
    path.mkdir()
    assert manifest.unmarshalled("m") is None


def test_a_link_is_not_followed(bucket: Path) -> None:
    (bucket / "real").write_bytes(manifest.pack((1,)))
    (bucket / "link").symlink_to(bucket / "real")
    assert manifest.unmarshalled("link") is None


def test_a_slot_for_each_name_and_path() -> None:
    slots = {manifest.slot(name, path) for name in ("x", "p.x", "p") for path in ("/x.c", "/.c", "/x.pyx", "/p.x.c")}
    assert len(slots) == 12
    assert manifest.slot("x", "/\udcff.c") == manifest.slot("x", "/\udcff.c")


@pytest.mark.skipif(os.name != "posix", reason="owner and mode are POSIX's")
def test_whom_a_folder_must_belong_to(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert not manifest.trusted(str(folder))
    folder.mkdir(mode=0o755)
    assert manifest.trusted(str(folder))
    for mode, good in ((0o700, True), (0o775, False), (0o757, False), (0o777, False), (0o755, True)):
        folder.chmod(mode)
        assert manifest.trusted(str(folder)) is good
    (tmp_path / "file").write_text("")
    assert not manifest.trusted(str(tmp_path / "file"))
    assert not manifest.trusted("\0")


def test_the_reason_is_told(project: Project) -> None:
    need("cc")
    source = project.c("sample.c", "NUMBER", before='#if __has_include("config.h")\n#endif\n#include "own.h"')
    header = project.write("own.h", "#define NUMBER 1\n")
    reason = REASON.replace("SOURCE", repr(str(source)))
    assert project.ok(reason) == "None"
    code = "import autoaccel, sample"
    project.ok(code)
    project.ok(code)
    assert project.ok(reason) == "None"
    assert project.ok(reason, CFLAGS="-O1") == "$CFLAGS has changed"
    config = project.write("config.h", "")
    assert project.ok(reason) == "config.h has appeared beside the source"
    config.unlink()
    header.touch()
    assert project.ok(reason) == f"{header} may have changed"
    header.unlink()
    assert project.ok(reason) == f"{header} is gone"
    project.write("own.h", "#define NUMBER 1\n")
    project.ok(code)
    project.ok(code)
    (artifact,) = project.artifacts()
    artifact.chmod(0o700)
    assert project.ok(reason) == f"{artifact} may have changed"
    Path(location.opened(str(artifact))).unlink()
    assert project.ok(reason) == f"{artifact} is gone"
