"""``autoaccel cache``: show, verify, prune, pin, export and import; filters, statistics, completion."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from autoaccel import archive, inventory, store, upkeep
from autoaccel.errors import ConfigError
from tests.conftest import make, need

HOUR, DAY = 3600, 86_400


@pytest.fixture
def filled(project):
    """A cache with three modules."""
    return fill(project)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """The same, for all who only look."""
    return fill(make(tmp_path_factory.mktemp("filled")))


def fill(project):
    need("cc")
    project.c("one.c", 1)
    project.c("two.c", 2)
    project.c("pkg/three.c", 3)
    project.ok("import autoaccel, one, two, pkg.three")
    return project


def age(project, name, seconds):
    """Have a module been built, and used last, so many seconds ago."""
    for folder in project.cache.glob("v2/artifacts/*"):
        meta = json.loads((folder / "meta.json").read_text())
        if meta["name"] == name:
            then = time.time() - seconds
            (folder / "meta.json").write_text(json.dumps({**meta, "created": then}))
            for path in (folder / meta["library"], folder):
                os.utime(path, (then, path.stat().st_mtime if path != folder else then))


def names(ended):
    return sorted({entry["name"] for entry in ended.json})


def test_the_user_s_own_cache_is_named_as_a_layer_too(accel, filled):
    env = {"AUTOACCEL_READONLY_CACHES": str(filled.cache)}
    filled.c("four.c", 4)
    assert filled.ok("import autoaccel, four; print(four.value())", **env) == "4"
    assert names(accel("cache", "list", "--json", **env)) == ["four", "one", "pkg.three", "two"]
    assert accel("cache", "clear", "--yes", **env).out.startswith("removed ")
    assert filled.artifacts() == []


@pytest.mark.core
def test_list_filters_and_sorts(accel, filled):
    age(filled, "two", 40 * DAY)
    assert names(accel("cache", "list", "pkg.*", "--json")) == ["pkg.three"]
    assert names(accel("cache", "list", "o*", "t*", "--json")) == ["one", "two"]
    assert names(accel("cache", "list", "--older-than", "30d", "--json")) == ["two"]
    assert names(accel("cache", "list", "--source", "pkg", "--json")) == ["pkg.three"]
    assert names(accel("cache", "list", "--source", "one.c", "--json")) == ["one"]
    assert names(accel("cache", "list", "--toolchain", "cython", "--json")) == []
    assert names(accel("cache", "list", "--toolchain", "c", "--json")) == ["one", "pkg.three", "two"]
    ordered = [entry["name"] for entry in accel("cache", "list", "--sort", "age", "--json").json]
    assert ordered[-1] == "two"
    assert accel("cache", "list", "--sort", "age", "--reverse", "--json").json[0]["name"] == "two"
    ended = accel("cache", "list", "--older-than", "soon")
    assert (ended.status, ended.out) == (2, "")
    assert "--older-than: an age is a number with min, h, d, w or y, like 30d, not 'soon'" in ended.err


@pytest.mark.core
def test_a_cache_that_can_only_be_read_is_listed(accel, filled):
    builds = filled.cache / "v2" / "builds"
    builds.rmdir()
    builds.touch()
    assert names(accel("cache", "list", "--json")) == ["one", "pkg.three", "two"]
    assert accel("cache", "info", "--json").json["toolchains"]["c"]["artifacts"] == 3
    assert accel("cache", "prune").status == 1


class TestLooking:
    """What changes nothing, in one cache."""

    @pytest.fixture
    def project(self, looked_at):
        return looked_at

    @pytest.fixture
    def filled(self, looked_at):
        return looked_at

    @pytest.mark.core
    def test_show_tells_what_a_module_was_made_from(self, accel, filled):
        shown = accel("cache", "show", "pkg.three").out
        assert shown.startswith("pkg.three (current)\n")
        for word in (f"{filled.root}/pkg/three.c", "key ", "gcc", "build.log"):
            assert word in shown
        (told,) = accel("cache", "show", "one", "--json").json
        assert told["meta"]["inputs"]
        assert told["current"] is True
        assert " -c " in accel("cache", "show", "one", "--log").out
        ended = accel("cache", "show", "nothing")
        assert (ended.status, ended.out) == (1, "")
        assert "the cache has nothing of 'nothing'" in ended.err

    @pytest.mark.core
    def test_names_that_nothing_has(self, accel, filled):
        for words in (
            ["list", "nothing"],
            ["list", "one", "nothing", "--json"],
            ["export", "x.tar.gz", "one", "nothing"],
        ):
            ended = accel("cache", *words)
            assert (ended.status, ended.err) == (1, "autoaccel: no compiled module is named 'nothing'\n")
        assert not (filled.root / "x.tar.gz").exists()
        # What a shell makes of o*.
        for verb in ("list", "pin", "show"):
            ended = accel("cache", verb, "one.c")
            assert ended.status == 1
            assert "'one.c', which is a file here (names are of modules, and patterns want quotes)" in ended.err
        _, shown = accel.in_terminal("cache", "list", "--toolchain", "rust")
        assert shown == "nothing of that kind is in the cache\r\n"

    @pytest.mark.core
    def test_words_that_make_no_sense(self, accel, filled):
        for words in (
            ["prune", "--max-size", "much"],
            ["prune", "--older-than", "3x"],
            ["list", "--sort", "x"],
            ["nope"],
        ):
            ended = accel("cache", *words)
            assert (ended.status, ended.out) == (2, ""), words
        assert len(filled.artifacts()) == 3
        ended = accel("cache", "prune", AUTOACCEL_CACHE_MAX_SIZE="much")
        assert ended.status == 1
        assert "$AUTOACCEL_CACHE_MAX_SIZE: a size is a number with B, kB, MB or GB, like 500MB, not 'much'" in ended.err


class TestVerify:
    @pytest.mark.core
    def test_a_whole_cache(self, accel, filled):
        ended = accel("cache", "verify")
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith("3 artifacts and ")
        assert ended.out.endswith("all as they were written\n")

    @pytest.mark.core
    def test_damage_is_told_set_aside_and_built_again(self, accel, filled):
        library = next(path for path in filled.artifacts() if path.name.startswith("one."))
        library.chmod(0o700)
        library.write_bytes(library.read_bytes()[:-1] + b"x")
        told = accel("cache", "verify", "--json")
        assert told.status == 1
        (problem,) = told.json["problems"]
        assert problem["path"] == str(library.parent)
        assert problem["problem"] == "the library's content is not what was published"
        assert not problem["repaired"]
        repaired = accel("cache", "verify", "--repair")
        assert repaired.status == 0
        assert f"set aside: {library.parent}: " in repaired.out
        assert accel("cache", "verify").status == 0
        assert len(list(filled.cache.glob("v2/quarantine/*"))) == 1
        assert filled.ok("import autoaccel, one, two; print(one.value(), two.value())") == "1 2"

    def test_damage_in_a_layer_is_told_and_left(self, accel, filled, tmp_path):
        layer = tmp_path / "layer"
        filled.cache.rename(layer)
        (library,) = layer.glob("v2/artifacts/*/one.*.so")
        library.chmod(0o700)
        library.write_bytes(library.read_bytes()[:-1] + b"x")
        ended = accel("cache", "verify", "--repair", AUTOACCEL_READONLY_CACHES=str(layer))
        assert ended.status == 1
        assert f"damaged: {library.parent}: " in ended.out
        assert ended.err == f"autoaccel: {layer} is only read here: nothing in it is set aside\n"
        assert library.exists()

    def test_every_kind_of_note(self, accel, filled):
        spoilt = []
        for folder in ("manifests", "packs", "contexts", "tools"):
            path = min((filled.cache / "v2" / folder).iterdir())
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-3])
            spoilt.append(str(path))
        told = accel("cache", "verify", "--json")
        assert sorted(problem["path"] for problem in told.json["problems"]) == sorted(spoilt)
        assert accel("cache", "verify", "--repair").status == 0
        assert accel("cache", "verify").status == 0
        assert filled.ok("import autoaccel, one; print(one.value())") == "1"

    def test_what_others_could_have_written(self, accel, filled):
        library = filled.artifacts()[0]
        library.chmod(0o777)
        (problem,) = accel("cache", "verify", "--json").json["problems"][:1]
        assert problem["problem"] in ("others can write it", "somebody else could have written the library")

    def test_a_cache_among_the_artifacts_of_a_job(self, accel, project):
        project.cache = project.cache.parent / "artifacts" / "job" / "cache"
        fill(project)
        manifest = min(project.cache.glob("v2/manifests/*"))
        manifest.chmod(0o666)
        project.artifacts()[0].chmod(0o777)
        units = {problem["path"] for problem in accel("cache", "verify", "--json").json["problems"]}
        assert str(manifest) in units
        assert accel("cache", "verify", "--repair").status == 0
        assert accel("cache", "verify").status == 0
        assert not manifest.exists()
        assert len(project.artifacts()) == 2


class TestPrune:
    @pytest.mark.core
    def test_what_was_not_used_for_long_goes(self, accel, filled):
        age(filled, "two", 40 * DAY)
        dry = accel("cache", "prune", "--older-than", "30d", "--dry-run")
        assert dry.status == 0
        assert "would remove two: c, " in dry.out
        assert len(filled.artifacts()) == 3
        done = accel("cache", "prune", "--older-than", "30d", "--json").json
        assert [one["name"] for one in done["removed"]] == ["two"]
        assert done["freed_bytes"] > 1000
        assert names(accel("cache", "list", "--json")) == ["one", "pkg.three"]
        assert accel("cache", "verify").status == 0
        assert filled.ok("import autoaccel, two; print(two.value())") == "2"

    @pytest.mark.core
    def test_least_recently_used_goes_first(self, accel, filled):
        for name, days in (("one", 3), ("two", 30), ("pkg.three", 10)):
            age(filled, name, days * DAY)
        sizes = {entry["name"]: entry["bytes"] for entry in accel("cache", "list", "--json").json}
        total = accel("cache", "info", "--json").json["bytes"]
        done = accel("cache", "prune", "--max-size", f"{total - sizes['two'] - 1}", "--json").json
        assert [one["name"] for one in done["removed"]] == ["two", "pkg.three"]

    @pytest.mark.core
    def test_pinned_modules_stay(self, accel, filled):
        assert accel("cache", "pin", "pkg.*").out == "pinned pkg.three\n"
        ended = accel("cache", "pin", "nothing")
        assert (ended.status, ended.err) == (1, "autoaccel: no compiled module is named 'nothing'\n")
        done = accel("cache", "prune", "--max-size", "0")
        assert "kept pkg.three: it is pinned" in done.out
        assert names(accel("cache", "list", "--json")) == ["pkg.three"]
        assert names(accel("cache", "list", "--pinned", "--json")) == ["pkg.three"]
        # The pin is the module's, not that of one of its artifacts.
        filled.c("pkg/three.c", 4)
        assert filled.ok("import autoaccel, pkg.three; print(pkg.three.value())") == "4"
        accel("cache", "prune", "--max-size", "0")
        assert len(accel("cache", "list", "--json").json) == 1
        assert accel("cache", "unpin", "pkg.three").status == 0
        assert accel("cache", "unpin", "pkg.three").status == 1
        accel("cache", "prune", "--max-size", "0")
        assert names(accel("cache", "list", "--json")) == []

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is loaded")
    def test_what_a_process_has_loaded_stays(self, accel, filled):
        waiting = subprocess.Popen(
            [sys.executable, "-c", "import autoaccel, one, sys; print('ready', flush=True); sys.stdin.read()"],
            cwd=filled.root, env=filled.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stdout.readline() == "ready\n"
        done = accel("cache", "prune", "--max-size", "0").out
        assert "kept one: it is in use" in done
        assert names(accel("cache", "list", "--json")) == ["one"]
        waiting.communicate("")

    def test_the_run_in_the_background_spares_what_may_be_about_to_be_loaded(self, filled):
        kept = store.Store(str(filled.cache))
        age(filled, "two", 2 * DAY)
        done = upkeep.prune(kept, upkeep.Caps(0, None), gentle=True)
        assert [item.name for item in done.items] == ["two"]
        assert sorted(item.name for item in done.spared) == ["one", "pkg.three"]

    def test_what_sources_were_before_goes_after_an_hour(self, filled):
        filled.c("one.c", 5)
        filled.ok("import autoaccel, one")
        kept = store.Store(str(filled.cache))
        old = next(item for item in inventory.items(kept) if item.name == "one" and not item.current)
        then = time.time() - 2 * HOUR
        note = Path(old.path, "meta.json")
        note.write_text(json.dumps({**json.loads(note.read_text()), "created": then}))
        for path in (f"{old.path}/{old.meta['library']}", old.path):
            os.utime(path, (then, then))
        done = upkeep.prune(kept, upkeep.Caps(0, None), gentle=True)
        assert [(item.name, item.current) for item in done.items] == [("one", False)]

    def test_leavings_go(self, filled):
        bucket = filled.cache / "v2"
        then = time.time() - 40 * DAY
        for path in ("failures/ab.json", "failures/ab.log", "manifests/.new-x", "locks/old.lock", "contexts/0123"):
            (bucket / path).write_text("{}")
            os.utime(bucket / path, (then, then))
        (filled.cache / "cleared-1-2").mkdir()
        (bucket / "builds" / "999999999-x").mkdir()
        (bucket / "quarantine" / "1-x").mkdir(parents=True)
        os.utime(bucket / "quarantine" / "1-x", (then, then))
        upkeep.prune(store.Store(str(filled.cache)), upkeep.Caps(None, None))
        left = {str(path.relative_to(filled.cache)) for path in filled.cache.rglob("*")}
        gone = {"cleared-1-2", "v2/builds/999999999-x", "v2/quarantine/1-x", "v2/failures/ab.json", "v2/contexts/0123"}
        assert not left & (gone | {"v2/manifests/.new-x", "v2/locks/old.lock", "v2/failures/ab.log"})
        assert len(filled.artifacts()) == 3

    def test_what_cannot_be_read_any_more_goes_after_a_day(self, filled):
        for name in ("one", "two"):
            (library,) = (path for path in filled.artifacts() if path.name.startswith(f"{name}."))
            (library.parent / "meta.json").write_bytes(b"")
            then = time.time() - (2 * DAY if name == "one" else HOUR)
            os.utime(library.parent, (then, then))
        dry = upkeep.prune(store.Store(str(filled.cache)), upkeep.Caps(None, None), dry=True)
        assert dry.rest > 1000
        assert len(filled.artifacts()) == 3
        upkeep.prune(store.Store(str(filled.cache)), upkeep.Caps(None, None))
        assert sorted(path.name.partition(".")[0] for path in filled.artifacts()) == ["three", "two"]
        assert filled.ok("import autoaccel, one; print(one.value())") == "1"

    def test_build_folders_of_cargo_and_functions_of_numba_count(self, accel, filled):
        folder = filled.cache / "v2" / "cargo" / ("a" * 40)
        folder.mkdir()
        (folder / "autoaccel.json").write_text(json.dumps({"local": ["crate"], "libraries": {"x": "/src/Cargo.toml"}}))
        (folder / "big").write_bytes(bytes(3_000_000))
        functions = filled.cache / "v2" / "numba" / ("b" * 20)
        functions.mkdir(parents=True)
        (functions / "heat.step-5.py311.nbi").write_bytes(bytes(2_000_000))
        then = time.time() - 100 * DAY
        for path in (folder / "autoaccel.json", folder, functions / "heat.step-5.py311.nbi"):
            os.utime(path, (then, then))
        told = accel("cache", "info", "--json").json
        assert told["others"]["cargo"]["bytes"] > 3_000_000
        assert told["others"]["numba"]["bytes"] == 2_000_000
        listed = {entry["name"]: entry for entry in accel("cache", "list", "--all", "--json").json}
        assert listed["crate"]["source"] == "/src/Cargo.toml"
        assert listed["heat"]["kind"] == "numba"
        done = accel("cache", "prune", "--json").json
        assert sorted(one["kind"] for one in done["removed"]) == ["cargo", "numba"]
        assert not folder.exists()
        assert not functions.exists()
        assert len(filled.artifacts()) == 3

    def test_a_build_folder_that_is_in_use_stays(self, filled):
        from autoaccel.toolchains import builddirs

        kept = store.Store(str(filled.cache))
        folder = f"{kept.bucket}/cargo/{'a' * 40}"
        os.mkdir(folder)
        os.utime(folder, (1, 1))
        with builddirs.exclusive(kept.bucket, folder, 1.0) as held:
            assert held
            done = upkeep.prune(kept, upkeep.Caps(None, DAY), gentle=False)
        assert [item.path for item in done.spared] == [folder]
        assert os.path.isdir(folder)

    def test_a_build_starts_the_upkeep_and_nobody_waits(self, filled):
        age(filled, "two", 100 * DAY)
        stamp = filled.cache / "v2" / "upkeep"
        os.utime(stamp, (1, 1))
        filled.c("four.c", 4)
        assert filled.ok("import autoaccel, four; print(four.value())") == "4"
        assert stamp.stat().st_mtime > time.time() - HOUR
        deadline = time.monotonic() + 60
        while any(path.name.startswith("two.") for path in filled.artifacts()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(filled.artifacts()) == 3

    def test_a_hit_starts_no_upkeep(self, filled):
        stamp = filled.cache / "v2" / "upkeep"
        os.utime(stamp, (1, 1))
        filled.ok("import autoaccel, one")
        assert stamp.stat().st_mtime == 1


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500MB", 5e8), ("1.5 GiB", 1.5 * 2**30), ("2g", 2e9), ("7 kB", 7000), ("12B", 12)]
)
def test_sizes(text, size):
    assert upkeep.parse_size(text, "x") == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("12h", 12 * HOUR), ("2 weeks", 14 * DAY), ("90", 90 * DAY), ("5min", 300)]
)
def test_ages(text, seconds):
    assert upkeep.parse_age(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "many", "5 PB", "-1", "1e9"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="a size is a number"):
        upkeep.parse_size(text, "x")


def test_the_caps_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTOACCEL_CACHE_MAX_SIZE", "1GB")
    monkeypatch.setenv("AUTOACCEL_CACHE_MAX_AGE", "off")
    assert upkeep.caps(str(tmp_path)) == upkeep.Caps(1e9, None)
    monkeypatch.delenv("AUTOACCEL_CACHE_MAX_SIZE")
    monkeypatch.delenv("AUTOACCEL_CACHE_MAX_AGE")
    told = upkeep.caps(str(tmp_path))
    assert told.age == 90 * DAY
    assert told.size is not None
    assert told.size <= 5e9
    monkeypatch.setenv("AUTOACCEL_CACHE_MAX_SIZE", "large")
    with pytest.raises(ConfigError, match=r"\$AUTOACCEL_CACHE_MAX_SIZE: a size is"):
        upkeep.caps(str(tmp_path))


def test_statistics_are_a_lower_bound(accel, filled):
    told = accel("cache", "info", "--json").json
    assert (told["builds"], told["hits_at_least"]) == (3, 0)
    # Touched: found by content.
    (filled.root / "one.c").touch()
    filled.ok("import autoaccel, one")
    # Loaded again, by another process a while later.
    library = next(path for path in filled.artifacts() if path.name.startswith("two."))
    note = library.parent / "meta.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "created": time.time() - 2 * HOUR}))
    filled.ok("import autoaccel, two")
    told = accel("cache", "info", "--json").json
    reused = int(inventory.accesses(str(library)))
    assert (told["builds"], told["hits_at_least"]) == (3, 1 + reused)
    assert told["hit_rate_at_least"] == pytest.approx((1 + reused) / (4 + reused))
    assert told["seconds_saved_at_least"] > 0
    assert "at least" in accel("cache", "info").out


class TestArchive:
    @pytest.mark.core
    def test_another_machine_loads_what_was_exported(self, accel, filled, tmp_path):
        file = tmp_path / "cache.tar.gz"
        made = accel("cache", "export", file, "--json").json
        assert made["artifacts"] == 3
        filled.cache.rename(tmp_path / "other machine")
        # Another machine: other stamps, no compiler.
        for path in filled.root.rglob("*.c"):
            os.utime(path, (1, 1))
        done = accel("cache", "import", file, "--sha256", made["sha256"], "--json").json
        assert done["added"] == ["one", "pkg.three", "two"]
        assert accel("cache", "verify").status == 0
        code = "import autoaccel, one, pkg.three; print(one.value(), pkg.three.value())"
        for _ in range(2):
            assert filled.ok(code, AUTOACCEL="load") == "1 3"
        compiler = filled.compiler()
        filled.env.pop("CC")
        assert filled.ok(code) == "1 3"
        assert compiler.compiles == 0
        assert len(filled.artifacts()) == 3
        assert accel("cache", "import", file, "--json").json["known"] == ["one", "pkg.three", "two"]

    def test_a_changed_source_is_not_what_was_exported(self, accel, filled, tmp_path):
        file = tmp_path / "cache.tar.gz"
        accel("cache", "export", file, "one")
        accel("cache", "clear", "--yes")
        accel("cache", "import", file)
        filled.c("one.c", 9)
        assert "AUTOACCEL=load forbids to compile" in filled.run("import autoaccel, one", AUTOACCEL="load").err
        assert filled.ok("import autoaccel, one; print(one.value())") == "9"

    def test_only_what_is_named(self, accel, filled, tmp_path):
        file = tmp_path / "cache.tar.gz"
        assert accel("cache", "export", file, "pkg.*", "--json").json["artifacts"] == 1
        ended = accel("cache", "export", tmp_path / "none", "nothing")
        assert (ended.status, ended.err) == (1, "autoaccel: no compiled module is named 'nothing'\n")
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
    def test_a_damaged_archive_adds_nothing(self, accel, filled, tmp_path, where):
        file = tmp_path / "cache.tar.gz"
        accel("cache", "export", file)
        accel("cache", "clear", "--yes")
        data = bytearray(file.read_bytes())
        data[int(len(data) * where)] ^= 0x10
        for damaged in (bytes(data), bytes(data[: int(len(data) * where)]), b"", b"not an archive"):
            file.write_bytes(damaged)
            ended = accel("cache", "import", file)
            assert (ended.status, ended.out) == (1, "")
            assert "is no archive of `autoaccel cache export`, or damaged" in ended.err
            assert "Traceback" not in ended.err
        assert filled.artifacts() == []

    def test_an_index_of_another_kind_adds_nothing(self, accel, filled, tmp_path):
        """Whatever its digests are worth: all of it is looked at before anything is added."""
        file = tmp_path / "cache.tar.gz"
        accel("cache", "export", file)
        with tarfile.open(file) as tar:
            members = {one.name: tar.extractfile(one).read() for one in tar}
        whole = json.loads(members.pop("autoaccel.json"))
        first, *rest = whole["manifests"]
        odd = [[], 3, None, {"schema": whole["schema"]}, {**whole, "schema": 99}, {**whole, "schema": "1"}]
        odd += [{**whole, "files": one} for one in (None, [], dict.fromkeys(whole["files"], 1))]
        odd += [{**whole, "manifests": one} for one in (None, {}, [1], [{}], [*rest, None])]
        odd += [
            {**whole, "manifests": [{**first, key: one}, *rest]} for key in first for one in (None, 5, [1], {"a": [1]})
        ]
        odd += [
            {**whole, "manifests": [{**first, "slot": one}]} for one in ("..", "../../x", "", "a/b", "0123456789abcdeg")
        ]
        kept = store.Store(str(tmp_path / "other"))
        before = set((tmp_path / "other").rglob("*"))
        for index in (*(json.dumps(one).encode() for one in odd), b"[" * 200_000, b"{"):
            with tarfile.open(file, "w:gz") as tar:
                for name, content in (("autoaccel.json", index), *members.items()):
                    told = tarfile.TarInfo(name)
                    told.size = len(content)
                    tar.addfile(told, io.BytesIO(content))
            with pytest.raises(ConfigError, match="is no archive of `autoaccel cache export`, or damaged"):
                archive.read(str(file), kept)
            assert set((tmp_path / "other").rglob("*")) == before

    def test_another_archive_than_the_one_that_was_meant(self, accel, filled, tmp_path):
        file = tmp_path / "cache.tar.gz"
        accel("cache", "export", file)
        ended = accel("cache", "import", file, "--sha256", "0" * 64)
        assert ended.status == 1
        assert "is not the archive that was meant" in ended.err

    @pytest.mark.parametrize("name", ["../evil", "/evil", "artifacts/../../evil/x", "artifacts/a/../../evil"])
    def test_members_outside_of_the_archive_s_place(self, accel, filled, tmp_path, name):
        file = tmp_path / "evil.tar.gz"
        digest = hashlib.sha256(b"x").hexdigest()
        index = json.dumps({"schema": 2, "files": {name: digest}, "manifests": []}).encode()
        with tarfile.open(file, "w:gz") as tar:
            for member, content in (("autoaccel.json", index), (name, b"x")):
                told = tarfile.TarInfo(member)
                told.size = len(content)
                tar.addfile(told, io.BytesIO(content))
        ended = accel("cache", "import", file)
        assert ended.status == 1
        assert "has no place in it" in ended.err
        assert not list(tmp_path.rglob("evil"))


@pytest.mark.core
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_words(accel, project, shell):
    assert "_AUTOACCEL_COMPLETE" in accel("completion", shell).out
    told = {"bash": "bash_complete", "zsh": "zsh_complete", "fish": "fish_complete"}[shell]
    env = {"_AUTOACCEL_COMPLETE": told, "COMP_WORDS": "autoaccel cache pr", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from autoaccel.cli import main; main()"],
        cwd=project.root, env=project.environ(**env) | ({"COMP_CWORD": "pr"} if shell == "fish" else {}),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "prune" in done.stdout


def test_bash_completes_verbs_options_and_names(project, filled, tmp_path):
    need("bash")
    tool = tmp_path / "bin" / "autoaccel"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m autoaccel \"$@\"\n")
    tool.chmod(0o700)
    script = """
    eval "$(autoaccel completion bash)"
    complete -p autoaccel
    told() {
        COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
        _autoaccel_completion autoaccel "${COMP_WORDS[$COMP_CWORD]}" ""
        echo "${COMPREPLY[@]}"
    }
    told autoaccel cache pr
    told autoaccel cache list --so
    told autoaccel cache list --sort us
    told autoaccel cache show ""
    told autoaccel cache pin pk
    told autoaccel cache unpin ""
    """
    store.replace(f"{project.cache}/v2/{inventory.pin_name('two')}", b"two")
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=project.root, capture_output=True, text=True, timeout=120,
        env=project.environ(PATH=f"{tool.parent}{os.pathsep}{os.environ['PATH']}"),
    )  # fmt: skip
    first, *told = done.stdout.splitlines()
    assert first.endswith("_autoaccel_completion autoaccel"), done.stderr
    assert told == ["prune", "--source --sort", "used", "one pkg.three two", "pkg.three", "two"]


@pytest.mark.core
@pytest.mark.parametrize("words", [["dir"], ["info"], ["list"], ["verify"], ["prune"], ["clear", "--yes"]])
def test_every_verb_speaks_json(accel, filled, words):
    ended = accel("cache", *words, "--json")
    assert ended.status == 0
    assert ended.json is not None


@pytest.mark.core
@pytest.mark.parametrize(
    "words", [["verify"], ["prune"], ["prune", "--json"], ["list", "--json"], ["clear", "--yes", "--json"]]
)
def test_a_cache_that_does_not_exist_is_not_made(accel, project, words):
    ended = accel("cache", *words)
    assert (ended.status, ended.err) == (0, "")
    assert not project.cache.exists()
