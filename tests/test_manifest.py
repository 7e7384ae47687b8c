"""Manifests: what is written is what is read, and every difference has a reason."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

import autoaccel
from autoaccel import location, manifest, staleness
from tests.conftest import Project, c_module, need

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


def test_what_a_folder_has_that_can_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").touch()

    def refused(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    for _ in range(2):
        assert staleness._there(str(tmp_path), ["there", "absent"]) == {"there"}
        monkeypatch.setattr(staleness._os, "listdir", refused)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="Linux opens a folder without reading it")
def test_many_files_of_a_folder_are_a_group() -> None:
    many = [(f"/p/many/{number}.h", number, 1, 2, 3) for number in range(8)]
    below = [("/p/many/deep/x.h", 7, 7, 7, 7)]
    others = [("/p/a.h", 8, 8, 8, 8), ("/p/many/deep/er/x.h", 9, 9, 9, 9)]
    inside = (*((f"{number}.h", number, 1, 2, 3) for number in range(8)), ("deep/x.h", 7, 7, 7, 7))
    assert manifest.grouped([*others, *below, *many]) == (tuple(others), (("/p/many", inside),))
    assert manifest.grouped(many[1:]) == (tuple(many[1:]), ())
    top = [(f"/{number}", number, 1, 2, 3) for number in range(8)]
    assert manifest.grouped(top) == ((), (("/", tuple((row[0][1:], *row[1:]) for row in top)),))


#: Prints the module's value, and whether anything but the hot room was needed for it.
HOT = "import autoaccel, sample, sys; print(sample.value(), 'autoaccel.loader' in sys.modules)"


class TestManyInstalledHeaders:
    """They are looked at one by one, because people edit there in place."""

    @pytest.fixture
    def folder(self, project: Project) -> Path:
        folder = project.root / "site-packages" / "pkg" / "include"
        for number in range(8):
            project.write(f"site-packages/pkg/include/h{number}.h", f"#define H{number} {number}\n")
        names = "".join(f'#include "h{number}.h"\n' for number in range(8))
        head = "// distutils: include_dirs = ../site-packages/pkg/include\n"
        project.write("src/sample.c", head + c_module("sample", "H0 + H3 + H7", before=names))
        project.write("src/pyproject.toml", "")
        assert self.says(project) == "10 True"
        # Of a folder that had just changed, nothing is known by its time.
        time.sleep(2.2)
        self.says(project)
        assert self.says(project) == "10 False"
        known = manifest.Manifest(*manifest.load(str(next(project.cache.glob("*/manifests/*")))))
        content = manifest.load(str(project.cache / manifest.BUCKET / manifest.context_name(known.context)))
        assert [(group, len(inside)) for group, inside in content[6]] == [(str(folder), 8)]
        return folder

    def says(self, project: Project, code: str = HOT) -> str:
        return project.ok(code, cwd=project.root / "src")

    def test_edited_in_place(self, project: Project, folder: Path) -> None:
        with open(folder / "h3.h", "r+", encoding="utf-8") as file:
            file.write("#define H3 5")
        os.utime(folder / "h3.h", (1, 1))
        assert self.says(project) == "12 True"
        os.utime(folder / "h7.h")
        source = str(project.root / "src" / "sample.c")
        assert self.says(project, REASON.replace("SOURCE", repr(source))) == f"{folder}/h7.h may have changed"

    def test_one_is_gone(self, project: Project, folder: Path) -> None:
        (folder / "h3.h").unlink()
        result = project.run(HOT, cwd=project.root / "src")
        assert result.status == 1
        assert "h3.h" in result.err

    def test_another_folder_in_the_place_of_theirs(self, project: Project, folder: Path) -> None:
        shutil.copytree(folder, folder.parent / "other")
        (folder.parent / "other" / "h7.h").write_text("#define H7 70\n")
        folder.rename(folder.parent / "old")
        folder.symlink_to("other")
        assert self.says(project) == "73 True"

    @pytest.mark.skipif(sys.platform != "linux", reason="/proc")
    def test_nothing_stays_open(self, project: Project, folder: Path) -> None:
        count = "print(len(os.listdir('/proc/self/fd')))"
        bare = self.says(project, f"import os; {count}")
        assert self.says(project, f"import os, autoaccel, sample; {count}") == bare
        folder.joinpath("h0.h").touch()
        assert self.says(project, f"import os, autoaccel, sample; {count}") == bare

    def test_a_file_that_does_not_matter(self, project: Project, folder: Path) -> None:
        project.write("site-packages/pkg/include/other.h", "")
        time.sleep(2.2)
        # Each import lists the folder until ten minutes have passed: it may be one in which things come and go.
        assert self.says(project) == "10 True"
        assert self.says(project) == "10 True"
        later = f"import os, time; now = time.time_ns; time.time_ns = lambda: now() + 700 * 10**9; {HOT}"
        assert self.says(project, later.replace("time;", "time; os.environ['AUTOACCEL'] = 'load';", 1)) == "10 True"
        assert self.says(project) == "10 True"
        assert self.says(project, later) == "10 True"
        assert self.says(project) == "10 False"
        (folder / "h0.h").unlink()
        assert "h0.h" in project.run(later, cwd=project.root / "src").err

    def test_what_is_noted_anew_can_not_be_written(self, project: Project, folder: Path) -> None:
        project.write("site-packages/pkg/include/other.h", "")
        later = """
            import time
            now = time.time_ns
            time.time_ns = lambda: now() + 700 * 10**9
            import autoaccel
            from autoaccel import store
            def broken(*_):
                raise OSError(28, "No space left on device")
            store.replace = broken
            import sample
            print(sample.value())
        """
        assert self.says(project, later) == "10"
        assert self.says(project) == "10 True"
