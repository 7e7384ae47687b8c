"""The cache folder: damage, folders that can't be used, many at once, what is in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autoaccel import keys, manifest, store
from autoaccel.errors import BuildError, Diagnostic
from tests.conftest import Project, Run, need

CODE = "import autoaccel, sample; print(sample.value())"

#: Without a place of its own the last resort is a folder below /var/tmp; no test may use the real one.
ELSEWHERE = "from autoaccel import location; location.fallback = lambda: {!r}\n"


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


def damage(path: Path, how: str) -> None:
    """Change a file behind the cache's back."""
    path.chmod(0o700)
    data = path.read_bytes()
    half = len(data) // 2
    if how == "truncated":
        path.write_bytes(data[:half])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        path.write_bytes(data[:half] + bytes([data[half] ^ 0x40]) + data[half + 1 :])
    elif how == "zeroed":
        path.write_bytes(bytes(len(data)))
    elif how == "longer":
        path.write_bytes(data + b"more")
    elif how == "other":
        path.write_bytes(b'["not", "what", "you", "think"]')
    elif how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()


WAYS = ("truncated", "empty", "flipped", "zeroed", "other", "gone", "folder")


class TestDamage:
    """Whatever happened to a file of the cache: the right result, and no crash."""

    @pytest.mark.parametrize(
        "how", [pytest.param(how, marks=pytest.mark.core if how == "truncated" else ()) for how in WAYS]
    )
    def test_a_damaged_library(self, project: Project, how: str) -> None:
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        (artifact,) = project.artifacts()
        damage(artifact, how)
        run = project.run(CODE)
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert project.ok(CODE) == "7"

    @pytest.mark.parametrize("folder", ["manifests", "packs", "contexts"])
    def test_damaged_manifests(self, project: Project, folder: str) -> None:
        compiler = project.compiler()
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        for how in (*WAYS, "longer"):
            (path,) = (path for path in project.cache.glob(f"v2/{folder}/*") if path.suffix != ".absent")
            content = path.read_bytes()
            damage(path, how)
            run = project.run(CODE)
            assert (run.status, run.out) == (0, "7\n"), (how, run.err)
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)
            path.chmod(0o600)
        assert compiler.compiles == 1

    @pytest.mark.core
    def test_all_manifests_are_damaged_at_once(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        for how in ("truncated", "flipped", "gone"):
            for folder in ("manifests", "packs", "contexts"):
                for path in project.cache.glob(f"v2/{folder}/*"):
                    damage(path, how)
            assert project.ok(CODE) == "7"
            assert project.ok("import sys; " + CODE + "; print('autoaccel.pipeline' in sys.modules)") == "7\nFalse"
        assert compiler.compiles == 1

    def test_a_manifest_of_another_module(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.c("other.c", 8)
        assert project.ok(CODE) == "7"
        (mine,) = project.cache.glob("v2/manifests/*")
        assert project.ok("import autoaccel, other; print(other.value())") == "8"
        (theirs,) = set(project.cache.glob("v2/manifests/*")) - {mine}
        shutil.copy(theirs, mine)
        assert project.ok(CODE) == "7"

    def test_damaged_descriptions(self, project: Project) -> None:
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        for how in WAYS:
            (path,) = project.cache.glob("v2/artifacts/*/meta.json")
            damage(path, how)
            for folder in ("manifests", "packs"):
                for old in project.cache.glob(f"v2/{folder}/*"):
                    old.unlink()
            run = project.run(CODE)
            assert (run.status, run.out) == (0, "7\n"), (how, run.err)
            assert project.ok(CODE) == "7"

    def test_damaged_memories_of_compilers_and_failures(self, project: Project) -> None:
        project.c("sample.c", "broken")
        assert "BuildError" in project.run(CODE).err
        for how in ("truncated", "other", "zeroed"):
            for path in (*project.cache.glob("v2/tools/*"), *project.cache.glob("v2/failures/*.json")):
                damage(path, how)
            assert "BuildError: sample: " in project.run(CODE).err
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"

    @pytest.mark.parametrize(
        "folder", ["artifacts", "manifests", "packs", "contexts", "locks", "builds", "tools", "failures"]
    )
    def test_a_part_of_the_cache_is_deleted(self, project: Project, folder: str) -> None:
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        shutil.rmtree(project.cache / "v2" / folder)
        assert project.ok(CODE) == "7"
        project.c("sample.c", 8)
        assert project.ok(CODE) == "8"

    def test_the_cache_is_deleted_in_a_running_process(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.c("other.c", 8)
        out = project.ok(
            f"import autoaccel, sample, shutil; shutil.rmtree({str(project.cache)!r}); import other; "
            "print(sample.value(), other.value())"
        )
        assert out == "7 8"


def run_with_permissions(project: Project, code: str) -> Run:
    """A run for which the permission bits count, even if the tests are root's."""
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        need("setpriv")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", *command]
    done = subprocess.run(
        command, cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=120, check=False
    )
    return Run(done.returncode, done.stdout, done.stderr)


class TestPlaces:
    """A ladder of folders; the user's import does not care."""

    def elsewhere(self, project: Project) -> str:
        return ELSEWHERE.format(str(project.cache.parent / "fallback"))

    @pytest.mark.core
    def test_a_cache_below_a_file(self, project: Project) -> None:
        project.c("sample.c", 7)
        wanted = project.write("file", "") / "cache"
        project.env["AUTOACCEL_CACHE_DIR"] = str(wanted)
        run = project.run(self.elsewhere(project) + CODE)
        fallback = project.cache.parent / "fallback"
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert run.err == (
            f"autoaccel: the cache folder {wanted} can't be used ([Errno 20] Not a directory: '{wanted}'); using {fallback}\n"
        )
        assert len(list(fallback.glob("v2/artifacts/*/*.so"))) == 1
        assert project.run(self.elsewhere(project) + CODE) == Run(0, "7\n", "")

    def test_no_place_at_all(self, project: Project) -> None:
        project.c("sample.c", 7)
        nowhere = str(project.write("file", "") / "cache")
        project.env["AUTOACCEL_CACHE_DIR"] = nowhere
        temporary = project.cache.parent / "tmp"
        temporary.mkdir()
        project.env["TMPDIR"] = str(temporary)
        code = ELSEWHERE.format(nowhere) + CODE.replace(
            "; print", "; import importlib; importlib.reload(sample); print"
        )
        run = project.run(code)
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert run.err.startswith("autoaccel: nothing can be kept in the cache ([Errno 20] Not a directory: ")
        assert len(run.err.splitlines()) == 1
        assert list(temporary.iterdir()) == []

    def test_a_folder_that_others_can_write_is_not_used(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.cache.mkdir()
        project.cache.chmod(0o777)
        run = project.run(self.elsewhere(project) + CODE)
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert run.err == (
            f"autoaccel: the cache folder {project.cache} can't be used ({project.cache} is not this user's alone); "
            f"using {project.cache.parent}/fallback\n"
        )
        assert list(project.cache.iterdir()) == []

    def test_what_lies_in_such_a_folder_is_not_loaded(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        project.cache.chmod(0o777)
        run = project.run(self.elsewhere(project) + CODE + "; print(sample.__cached__)")
        assert run.out.splitlines()[1].startswith(str(project.cache.parent / "fallback"))
        assert compiler.compiles == 2

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_somebody_elses_folder_is_not_used(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.cache.mkdir(mode=0o700)
        os.chown(project.cache, 65534, 65534)
        run = project.run(self.elsewhere(project) + CODE)
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert list(project.cache.iterdir()) == []

    def test_a_read_only_cache_serves_what_it_has(self, project: Project) -> None:
        compiler = project.compiler()
        project.c("sample.c", 7)
        project.c("other.c", 8)
        time.sleep(0.1)  # what is younger is read once more
        assert project.ok(CODE) == "7"
        folders = [project.cache, *(path for path in project.cache.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o500)
        try:
            assert run_with_permissions(project, self.elsewhere(project) + CODE) == Run(0, "7\n", "")
            assert compiler.compiles == 1
            code = "import autoaccel, other, sample; print(sample.value(), other.value())"
            run = run_with_permissions(project, self.elsewhere(project) + code)
            assert (run.status, run.out) == (0, "7 8\n"), run.err
            # Touched: equal content is no reason to compile, wherever it is kept.
            (project.root / "sample.c").touch()
            run = run_with_permissions(project, self.elsewhere(project) + CODE)
            assert (run.status, run.out) == (0, "7\n"), run.err
        finally:
            for folder in folders:
                folder.chmod(0o700)

    def test_a_read_only_project(self, project: Project) -> None:
        project.c("pkg/sample.c", 7)
        for folder in (project.root / "pkg", project.root):
            folder.chmod(0o500)
        try:
            run = run_with_permissions(project, "import autoaccel, pkg.sample; print(pkg.sample.value())")
            assert run == Run(0, "7\n", "")
        finally:
            for folder in (project.root, project.root / "pkg"):
                folder.chmod(0o700)

    def test_a_source_that_cant_be_read(self, project: Project) -> None:
        need("Cython")
        path = project.write("sample.pyx", "x = 1\n")
        path.chmod(0)
        run = run_with_permissions(project, "import autoaccel, sample")
        assert run.last == f"autoaccel.errors.BuildError: sample: {path} can't be read: Permission denied."

    def test_the_place_without_a_choice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AUTOACCEL_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "USERPROFILE"):
            monkeypatch.delenv(name, raising=False)
        assert manifest.preferred() == manifest.fallback()
        monkeypatch.setenv("HOME", "relative")
        assert manifest.preferred() == manifest.fallback()
        monkeypatch.setenv("HOME", "/home/someone")
        if sys.platform == "linux":
            assert manifest.preferred() == "/home/someone/.cache/autoaccel"
            monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
            assert manifest.preferred() == "/home/someone/.cache/autoaccel"
            monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
            assert manifest.preferred() == "/xdg/autoaccel"
        monkeypatch.setenv("AUTOACCEL_CACHE_DIR", "/told")
        assert manifest.preferred() == "/told"

    def test_the_place_is_platformdirs_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        need("platformdirs")
        from platformdirs import user_cache_dir

        monkeypatch.delenv("AUTOACCEL_CACHE_DIR")
        for name, value in (("XDG_CACHE_HOME", "/somewhere/cache"), ("HOME", "/home/someone")):
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
            monkeypatch.setenv(name, value)
            assert manifest.preferred() == user_cache_dir("autoaccel", appauthor=False)

    def test_home_is_unset(self, project: Project) -> None:
        project.c("sample.c", 7)
        env = {
            name: value
            for name, value in project.environ().items()
            if name not in ("HOME", "AUTOACCEL_CACHE_DIR", "XDG_CACHE_HOME")
        }
        done = subprocess.run(
            [sys.executable, "-c", self.elsewhere(project) + CODE],
            cwd=project.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
        assert (project.cache.parent / "fallback" / "v2").is_dir()

    def test_a_relative_place_stays_where_it_was(self, project: Project) -> None:
        project.c("one/first.c", 1)
        project.c("two/second.c", 2)
        project.env["AUTOACCEL_CACHE_DIR"] = "../cache"
        out = project.ok(
            "import os, autoaccel, first; os.chdir('../two/..'); os.chdir('two'); import second; print(first.value(), second.value())",
            cwd=project.root / "one",
        )
        assert out == "1 2"
        assert len(list(project.root.glob("cache/v2/manifests/*"))) == 2

    def test_a_folder_with_other_things_in_it_stays_as_it_is(self, project: Project) -> None:
        project.c("sample.c", 7)
        project.env["AUTOACCEL_CACHE_DIR"] = str(project.root)
        assert project.ok(CODE) == "7"
        assert sorted(path.name for path in project.root.iterdir() if path.name != "__pycache__") == ["sample.c", "v2"]

    def test_a_link_to_the_cache(self, project: Project) -> None:
        real = project.cache.parent / "real"
        real.mkdir(mode=0o700)
        project.cache.symlink_to(real)
        project.c("sample.c", 7)
        assert [project.ok(CODE) for _ in range(2)] == ["7", "7"]


class TestContents:
    """What is written, and how it is looked at."""

    def test_what_is_in_the_folder(self, project: Project) -> None:
        path = project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        assert sorted(one.name for one in project.cache.iterdir()) == [".gitignore", "CACHEDIR.TAG", "README", "v2"]
        assert (project.cache / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
        (artifact,) = project.artifacts()
        assert sorted(one.name for one in artifact.parent.iterdir()) == ["build.log", "meta.json", artifact.name]
        meta = json.loads((artifact.parent / "meta.json").read_text())
        assert (meta["name"], meta["source"], meta["library"]) == ("sample", str(path), artifact.name)
        assert meta["sha256"] == keys.file_digest(str(artifact))
        assert dict(meta["inputs"])[str(path)] == keys.file_digest(str(path))
        assert artifact.name.startswith("sample.")
        assert " -c " in (artifact.parent / "build.log").read_text()
        assert list(project.cache.glob("v2/builds/*")) == []
        assert oct(project.cache.stat().st_mode & 0o777) == "0o700"

    def test_a_published_library_never_changes(self, project: Project) -> None:
        seen: dict[Path, tuple[int, int, bytes]] = {}
        for value in 1, 2, 1, 3, 2:
            project.c("sample.c", value)
            assert project.ok(CODE) == str(value)
            now = {
                path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in project.artifacts()
            }
            assert now | seen == now
            seen = now
        assert len(seen) == 3

    def test_entries_size_and_clear(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        opened = store.Store(str(project.cache))
        (entry,) = opened.entries()
        assert entry.meta["name"] == "sample"
        assert entry.size > 1000
        assert opened.size() >= entry.size
        assert opened.clear() > 1000
        assert list(store.Store(str(project.cache)).entries()) == []
        assert project.ok(CODE) == "7"

    @pytest.mark.parametrize("options", [{}, {"a": 1, "inputs": [1]}, {"a": "x" * 5000}, {"a": ', "inputs": ['}])
    def test_lists_read_only_what_an_artifact_is(self, project: Project, options: dict[str, object]) -> None:
        project.c("sample.c", 7)
        assert project.ok(CODE) == "7"
        folder = project.artifacts()[0].parent
        whole = {**(store.read_meta(str(folder)) or {}), "options": options}
        (folder / "meta.json").write_text(json.dumps(whole))
        head = store.read_head(str(folder))
        assert head is not None
        members = [*whole]
        known = members[: members.index("inputs")]
        assert {key: head[key] for key in known} == {key: whole[key] for key in known}
        # What a build has read is most of it, and mostly passed over.
        assert ("inputs" in head) is ("a" in options and options["a"] != ', "inputs": [')
        assert len((folder / "meta.json").read_bytes()) > 10_000

    def test_sizes_are_of_files_and_of_no_link_s_target(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "c").mkdir()
        for name in ("x", "a/x", "a/b/x", "c/x"):
            (tmp_path / name).write_bytes(bytes(1000))
        assert store.size_below(str(tmp_path)) == 4000
        assert store.size_below(str(tmp_path), but=("a",)) == 1000
        (tmp_path / "a" / "link").symlink_to(tmp_path / "c")
        assert 4000 < store.size_below(str(tmp_path)) < 5000
        assert store.size_below(str(tmp_path / "nothing")) == 0
        assert store.size_below(str(tmp_path / "x")) == 0

    def test_a_remembered_failure_is_the_same_error(self, tmp_path: Path) -> None:
        opened = store.Store(str(tmp_path / "cache"))
        source = tmp_path / "sample.c"
        source.write_text("x")
        contents = keys.Contents()
        diagnostics = [Diagnostic(str(source), 3, 5, "no", level="warning", code="E1", rendered="3 | no")]
        error = BuildError("it failed", name="sample", path=str(source), diagnostics=diagnostics, log="/the/log")
        digest = contents.digest(str(source))
        assert digest is not None
        absent = str(tmp_path / "own.h")
        opened.remember_failure("ab12", error, {str(source): digest}, [absent], complete=True)
        told = opened.recall("ab12", keys.Contents())
        assert told is not None
        assert (told.msg, told.name, told.path, told.log) == ("it failed", "sample", str(source), "/the/log")
        (same,) = told.diagnostics
        assert all(getattr(same, slot) == getattr(diagnostics[0], slot) for slot in Diagnostic.__slots__)
        assert opened.recall("ab13", keys.Contents()) is None
        source.write_text("y")
        assert opened.recall("ab12", keys.Contents()) is None
        source.write_text("x")
        assert opened.recall("ab12", keys.Contents()) is not None
        Path(absent).write_text("")
        assert opened.recall("ab12", keys.Contents()) is None

    def test_readers_see_a_file_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        store.replace(str(path), b"one")
        store.replace(str(path), b"two")
        assert path.read_bytes() == b"two"
        with pytest.raises(FileNotFoundError):
            store.replace(str(tmp_path / "nowhere" / "file"), b"x")
        assert [one.name for one in tmp_path.iterdir()] == ["file"]


class TestManyAtOnce:
    """One compile, the right result for everybody."""

    @pytest.mark.core
    def test_eight_processes_import_the_same_cold_module(self, project: Project) -> None:
        compiler = project.compiler("sleep 0.2")
        project.c("sample.c", 7)
        children = [project.start(CODE) for _ in range(8)]
        ends = [child.communicate(timeout=240) for child in children]
        assert ends == [("7\n", "")] * 8
        assert compiler.compiles == 1
        assert len(project.artifacts()) == 1

    def test_eight_processes_import_the_same_broken_module(self, project: Project) -> None:
        compiler = project.compiler("sleep 0.2")
        project.c("sample.c", "broken")
        children = [project.start(CODE) for _ in range(8)]
        ends = [child.communicate(timeout=240) for child in children]
        assert all("BuildError: sample: " in err for _, err in ends)
        assert compiler.compiles == 1

    def test_a_holder_that_never_lets_go_costs_a_second_build_only(self, project: Project) -> None:
        project.c("sample.c", 7)
        name = manifest.slot("sample", str(project.root / "sample.c"))
        store.Store(str(project.cache))
        import filelock

        with filelock.FileLock(str(project.cache / "v2" / "locks" / f"{name}.lock")):
            run = project.run(CODE, AUTOACCEL_LOCK_TIMEOUT="0.3")
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert "sample: waiting for " in run.err

    def test_a_fork_in_the_middle_has_nothing_to_wait_for(self, project: Project) -> None:
        need("Cython")
        project.write("sample.pyx", "def value(): return 7\n")
        project.write("other.pyx", "def value(): return 8\n")
        out = project.ok(
            """
            import autoaccel, os, sys, sample
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                import other
                print(other.value(), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            import other
            print(sample.value(), other.value())
            """,
            PYTHONWARNINGS="ignore::DeprecationWarning",
        )
        assert out == "8\n7 8"
