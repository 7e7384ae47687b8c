"""A cache in which versions of autoaccel with other layouts have left something, or work now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoaccel import inventory, store, upkeep
from tests.conftest import need

pytestmark = pytest.mark.core

DAY = 86_400
#: Programs of such a version, as far as it matters here: all it does is in a bucket of its own.
VERSION = "import autoaccel; autoaccel.BUCKET = '{}'; import {}; print({}.value())"


def run_as(project, bucket, module="old", **env):
    return project.ok(VERSION.format(bucket, module, module), **env)


def unused(folder, days, *, but=()):
    """Have everything below a folder been written and read last so many days ago."""
    then = time.time() - days * DAY
    for path in (*Path(folder).rglob("*"), Path(folder)):
        if path.name not in but:
            os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def filled(project):
    """A cache of this version's, with one module, in which v1 has another one, unused for a hundred days."""
    need("cc")
    project.c("new.c", 1)
    project.c("old.c", 2)
    assert project.ok("import autoaccel, new; print(new.value())") == "1"
    assert run_as(project, "v1") == "2"
    unused(project.cache / "v1", 100)
    return project


def there(project):
    return sorted(path.name for path in project.cache.iterdir() if path.name[:1] == "v")


def newer(project):
    """A bucket of a version that is newer than this one, and unused for years."""
    shutil.copytree(project.cache / "v1", project.cache / "v3")
    unused(project.cache / "v3", 1000)
    # To copy is to read.
    unused(project.cache / "v1", 100)


def enlarge(folder, megabytes, days):
    """Have a bucket hold more, of such an age."""
    path = Path(folder) / "artifacts" / "large"
    path.write_bytes(bytes(megabytes * 1_000_000))
    unused(folder, days)


class TestLooking:
    def test_info_counts_what_other_versions_have(self, accel, filled):
        before = accel("cache", "info", "--json").json
        size = store.size_below(str(filled.cache / "v1"))
        assert before["others"]["version"] == {"artifacts": 1, "bytes": size, "build_seconds": 0.0}
        shown = accel("cache", "info").out
        (line,) = [line for line in shown.splitlines() if "other versions'" in line]
        assert line.split()[2] == "1"
        newer(filled)
        assert accel("cache", "info", "--json").json["others"]["version"]["artifacts"] == 2
        shutil.rmtree(filled.cache / "v3")
        shutil.rmtree(filled.cache / "v1")
        after = accel("cache", "info", "--json").json
        assert before["bytes"] - after["bytes"] == size
        assert "version" not in after["others"]

    def test_list_names_them_where_all_is_asked_for(self, accel, filled):
        def told(*words):
            return {one["name"]: one for one in accel("cache", "list", *words, "--json").json}

        assert told().keys() == {"new"}
        everything = told("--all")
        assert everything.keys() >= {"new", "v1"}
        assert everything["v1"]["artifact"] == str(filled.cache / "v1")
        assert 99 * DAY < time.time() - everything["v1"]["used"] < 101 * DAY

    def test_what_looks_at_them_is_no_use(self, accel, filled):
        for words in (["info"], ["list", "--all"], ["verify"], ["show", "new"], ["prune", "--dry-run"]):
            assert accel("cache", *words).status == 0
        assert accel("doctor").out
        assert "would remove v1: version, " in accel("cache", "prune", "--dry-run").out

    def test_folders_of_that_name_that_are_none_of_ours(self, accel, filled, tmp_path):
        bucket = filled.cache / "v1"
        bucket.rename(tmp_path / "v1")
        bucket.symlink_to(tmp_path / "v1")
        (filled.cache / "v0" / "artifacts").mkdir(parents=True)
        (filled.cache / "v0" / "mine").write_text("precious")
        (filled.cache / "v01x").mkdir()
        (filled.cache / "v4").write_text("precious")
        before = sorted(tmp_path.rglob("*"))
        assert accel("cache", "info", "--json").json["others"].keys() <= {"part"}
        assert accel("cache", "prune", "--older-than", "0d", "--json").status == 0
        assert accel("cache", "clear", "--yes").status == 0
        left = {path for path in before if path.is_relative_to(tmp_path / "v1")}
        assert left <= set(tmp_path.rglob("*"))
        assert there(filled) == ["v0", "v01x", "v1", "v2", "v4"]
        assert (filled.cache / "v0" / "mine").read_text() == "precious"


class TestClear:
    def test_it_removes_what_all_versions_have(self, accel, filled):
        newer(filled)
        size = store.Store(str(filled.cache)).whole_size()
        done = accel("cache", "clear", "--yes", "--json").json
        assert done["removed_bytes"] == size - store.Store(str(filled.cache)).whole_size()
        assert there(filled) == ["v2"]
        assert not list(filled.cache.glob("cleared-*"))
        assert run_as(filled, "v1") == "2"

    def test_not_where_another_version_builds_now(self, accel, filled):
        work = filled.cache / "v1" / "builds" / f"{store.owner()}-work"
        work.mkdir()
        for words in (["clear", "--yes"], ["prune", "--older-than", "0d"]):
            assert accel("cache", *words).status == 0
            assert work.is_dir()
            assert (filled.cache / "v1" / "artifacts").is_dir()


class TestPrune:
    def test_an_older_version_s_goes_by_its_last_use(self, accel, filled):
        assert "v1" not in accel("cache", "prune", "--older-than", "101d").out
        dry = accel("cache", "prune", "--older-than", "99d", "--dry-run")
        assert "would remove v1: version, " in dry.out
        assert there(filled) == ["v1", "v2"]
        size = store.size_below(str(filled.cache / "v1"))
        done = accel("cache", "prune", "--older-than", "99d", "--json").json
        assert [(one["name"], one["kind"], one["bytes"]) for one in done["removed"]] == [("v1", "version", size)]
        assert done["freed_bytes"] >= size
        assert there(filled) == ["v2"]
        assert filled.ok("import autoaccel, new; print(new.value())") == "1"
        assert run_as(filled, "v1") == "2"

    def test_an_older_version_s_goes_by_size_when_it_was_used_least_recently(self, accel, filled):
        enlarge(filled.cache / "v1", 3, 2)
        done = accel("cache", "prune", "--max-size", "2MB", "--json").json
        assert [one["name"] for one in done["removed"]] == ["v1"]
        assert done["bytes"] < 2_000_000
        assert len(filled.artifacts()) == 1

    def test_a_newer_version_s_never_goes(self, accel, filled):
        newer(filled)
        enlarge(filled.cache / "v3", 3, 1000)
        accel("cache", "prune", "--older-than", "0d", "--max-size", "0")
        assert there(filled) == ["v2", "v3"]
        upkeep.prune(store.Store(str(filled.cache)), upkeep.Caps(0, 0.0))
        assert there(filled) == ["v2", "v3"]

    def test_what_is_pinned_there_stays(self, accel, filled):
        (filled.cache / "v1" / "pins" / "x").write_text("old")
        unused(filled.cache / "v1", 100)
        assert "kept v1: it is pinned" in accel("cache", "prune", "--older-than", "30d").out
        assert there(filled) == ["v1", "v2"]

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is loaded")
    def test_what_a_process_has_loaded_from_there_stays(self, accel, filled):
        code = VERSION.format("v1", "old", "old") + "; import sys; sys.stdout.flush(); sys.stdin.read()"
        waiting = subprocess.Popen(
            [sys.executable, "-c", code], cwd=filled.root, env=filled.environ(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stdout.readline() == "2\n"
        unused(filled.cache / "v1", 100)
        assert "kept v1: it is in use" in accel("cache", "prune").out
        upkeep.prune(store.Store(str(filled.cache)), upkeep.Caps(0, DAY))
        assert there(filled) == ["v1", "v2"]
        waiting.communicate("")
        assert "removed v1: " in accel("cache", "prune").out


class TestByItself:
    """What the process does that a build starts once an hour."""

    def tend(self, project, **env):
        project.ok(f"from autoaccel.upkeep import main; main({str(project.cache)!r})", **env)

    def test_a_build_has_it_removed(self, filled):
        os.utime(filled.cache / "v2" / "upkeep", (1, 1))
        filled.c("more.c", 3)
        assert filled.ok("import autoaccel, more; print(more.value())") == "3"
        deadline = time.monotonic() + 60
        while "v1" in there(filled):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(filled.artifacts()) == 2

    def test_what_was_used_within_the_cache_s_age_stays(self, filled):
        unused(filled.cache / "v1", 80)
        self.tend(filled)
        assert there(filled) == ["v1", "v2"]
        self.tend(filled, AUTOACCEL_CACHE_MAX_AGE="70d")
        assert there(filled) == ["v2"]

    def test_with_both_caps_off_nothing_goes(self, filled):
        self.tend(filled, AUTOACCEL_CACHE_MAX_AGE="off", AUTOACCEL_CACHE_MAX_SIZE="off")
        assert there(filled) == ["v1", "v2"]

    def test_a_program_of_the_older_version_that_only_hits_keeps_it(self, filled):
        if not inventory.accesses(str(filled.cache)):
            pytest.skip("the file system keeps no access times")
        (library,) = filled.cache.glob("v1/artifacts/*/old.*.so")
        enlarge(filled.cache / "v1", 3, 100)
        before = {path: path.stat().st_mtime for path in filled.cache.glob("v1/**/*")}
        # All that a hit does to a cache is to read a few files in it.
        library.read_bytes()
        self.tend(filled, AUTOACCEL_CACHE_MAX_SIZE="2MB")
        assert there(filled) == ["v1", "v2"]
        assert {path: path.stat().st_mtime for path in filled.cache.glob("v1/**/*")} == before

    def test_a_build_of_the_older_version_keeps_it(self, filled):
        filled.c("old.c", 4)
        assert run_as(filled, "v1") == "4"
        self.tend(filled, AUTOACCEL_CACHE_MAX_SIZE="0")
        assert there(filled) == ["v1", "v2"]

    def test_a_cache_that_is_too_large_loses_what_nobody_has_used_for_a_week(self, filled):
        enlarge(filled.cache / "v1", 3, 5)
        self.tend(filled, AUTOACCEL_CACHE_MAX_SIZE="2MB")
        # What another version uses does not count against this one's either.
        assert there(filled) == ["v1", "v2"]
        assert len(filled.artifacts()) == 1
        unused(filled.cache / "v1", 8)
        self.tend(filled, AUTOACCEL_CACHE_MAX_SIZE="2MB")
        assert there(filled) == ["v2"]
        assert len(filled.artifacts()) == 1

    def test_where_hits_leave_no_trace_only_the_age_counts(self, filled, monkeypatch):
        monkeypatch.setattr(upkeep, "accesses", lambda _: False)
        enlarge(filled.cache / "v1", 3, 30)
        kept = store.Store(str(filled.cache))
        upkeep.prune(kept, upkeep.Caps(2_000_000, 90.0 * DAY))
        upkeep.prune(kept, upkeep.Caps(2_000_000, None))
        assert there(filled) == ["v1", "v2"]
        upkeep.prune(kept, upkeep.Caps(None, 20.0 * DAY))
        assert there(filled) == ["v2"]

    def test_a_newer_version_s_stays(self, filled):
        newer(filled)
        self.tend(filled, AUTOACCEL_CACHE_MAX_SIZE="0")
        assert there(filled) == ["v2", "v3"]

    def test_two_versions_at_work_leave_each_other_alone(self, filled):
        for bucket, other in (("v1", "v2"), ("v2", "v1")):
            before = sorted((filled.cache / other).glob("artifacts/*/*"))
            assert before
            code = f"import autoaccel; autoaccel.BUCKET = '{bucket}'; from autoaccel.upkeep import main; "
            # Each of them has just been used.
            unused(filled.cache / other, 0)
            filled.ok(code + f"main({str(filled.cache)!r})", AUTOACCEL_CACHE_MAX_SIZE="0", AUTOACCEL_CACHE_MAX_AGE="1d")
            assert sorted((filled.cache / other).glob("artifacts/*/*")) == before
