"""Kills and errors at system calls while something is built and published; full disks, limits, lost writes."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoaccel import store, upkeep
from tests.conftest import need
from tests.faults.conftest import CODE, FULL, Faults, some


def no_leavings(faults: Faults) -> None:
    """What a dead process has left goes when somebody looks after the cache."""
    upkeep.prune(store.Store(str(faults.cache)), upkeep.Caps(None, None))
    assert list(faults.cache.glob("v2/builds/*")) == []
    # Notes that were never put in place: an hour later they go as well.
    assert len(list(faults.cache.glob("v2/*/.new-*"))) <= 1


@pytest.mark.usefixtures("strace")
class TestEverySystemCall:
    """The N-th call of a process that builds and publishes fails, or is its last."""

    def test_f01_sigkill_at_every_system_call_of_a_cold_build(self, faults: Faults) -> None:
        faults.fine()
        faults.wipe()
        points = faults.changing_calls()
        assert len(points) > 30
        for point in some(points, 7):
            faults.wipe()
            done = faults.inject(point, "signal=KILL")
            assert done.returncode in (-9, 137), (point, done.stderr)
            faults.fine()
            no_leavings(faults)

    @pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
    def test_f08_no_room_at_every_system_call(self, faults: Faults, error: str) -> None:
        faults.fine()
        faults.wipe()
        points = [one for one in faults.changing_calls() if one.call not in ("vfork", "clone", "clone3", "flock")]
        for point in some(points, 6 if error == "ENOSPC" else 2):
            faults.wipe()
            done = faults.inject(point, f"error={error}")
            assert (done.returncode, done.stdout) == (0, "7\n"), (point, done.stderr)
            assert "Traceback" not in done.stderr
            faults.fine()

    @pytest.mark.parametrize(
        ("calls", "error", "count"),
        [
            (("fsync",), "EIO", 3),
            (("openat",), "EMFILE", 3),
            (("rename",), "EIO", 3),
            (("mkdir", "openat"), "EACCES", 4),
        ],
    )
    def test_f09_other_errors(self, faults: Faults, calls: tuple[str, ...], error: str, count: int) -> None:
        faults.fine()
        faults.wipe()
        points = [one for one in faults.changing_calls() if one.call in calls]
        for point in some(points, count):
            faults.wipe()
            done = faults.inject(point, f"error={error}")
            assert (done.returncode, done.stdout) == (0, "7\n"), (point, done.stderr)
            faults.fine()

    @pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
    def test_f07_no_locks_to_be_had(self, faults: Faults, error: str) -> None:
        faults.injected()
        done = faults.strace(["-o", os.devnull, "-e", "trace=flock", "-e", f"inject=flock:error={error}"])
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
        faults.fine()


def test_f07_a_folder_of_locks_that_is_none(faults: Faults) -> None:
    faults.fine()
    for made in (lambda path: path.write_text(""), lambda path: path.symlink_to("/nonexistent")):
        faults.wipe()
        (faults.cache / "v2").mkdir(mode=0o700, parents=True, exist_ok=True)
        locks = faults.cache / "v2" / "locks"
        if locks.exists():
            shutil.rmtree(locks)
        made(locks)
        faults.injected()
        run = faults.project.run(faults.aside(CODE))
        assert (run.status, run.out) == (0, "7\n"), run.err
        locks.unlink()
        faults.fine()


@contextlib.contextmanager
def tmpfs(at: Path, options: str) -> Iterator[None]:
    """A small file system; only root can make one."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root can mount a file system")
    at.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", at], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def sizes() -> list[str]:
    told = ["16k", "64k", "96k", "128k", "160k", "200k", "256k", "300k", "400k", "512k", "700k", "1m", "2m"]
    return told if FULL else ["16k", "256k"]


@pytest.mark.parametrize("size", sizes())
def test_f08_a_full_disk(faults: Faults, size: str) -> None:
    faults.injected()
    with tmpfs(faults.cache, f"size={size}"):
        for value in (7, 8, 9):
            faults.project.c("sample.c", value)
            run = faults.project.run(faults.aside(CODE))
            assert (run.status, run.out) == (0, f"{value}\n"), run.err
            assert "Traceback" not in run.err
            faults.clean()
    faults.fine(9)


@pytest.mark.parametrize("size", ["16k", "64k", "200k", "512k"] if FULL else ["64k", "200k"])
def test_f08_a_full_disk_and_functions_that_modules_share(faults: Faults, size: str) -> None:
    need("Cython", "gcc")
    faults.injected()
    faults.project.write("shared.pyx", "def value(numbers): return [one + 1 for one in numbers]\n")
    with tmpfs(faults.cache, f"size={size}"):
        run = faults.project.run(faults.aside("import autoaccel, shared; print(shared.value([6]))"))
        assert (run.status, run.out) == (0, "[7]\n"), run.err
        assert "Traceback" not in run.err
    faults.fine()


def test_f08_no_room_anywhere(faults: Faults, tmp_path: Path) -> None:
    faults.injected()
    other = tmp_path / "tmp"
    with tmpfs(faults.cache, "size=16k"), tmpfs(other, "size=16k"):
        run = faults.project.run(faults.aside(CODE), TMPDIR=str(other))
    # There is nothing to be done, and it is said so.
    assert run.status == 1
    assert "\nautoaccel.errors.BuildError: sample: " in run.err
    assert "No space left on device" in run.err
    faults.fine()


@pytest.mark.parametrize("inodes", [10, 40, 60, 80] if FULL else [10, 40])
def test_f10_no_inodes_left(faults: Faults, inodes: int) -> None:
    faults.injected()
    with tmpfs(faults.cache, f"nr_inodes={inodes}"):
        for value in (7, 8):
            faults.project.c("sample.c", value)
            run = faults.project.run(faults.aside(CODE))
            assert (run.status, run.out) == (0, f"{value}\n"), run.err
            faults.clean()
    faults.fine(8)


@pytest.mark.parametrize("limit", [100, 4000, 16_000, 40_000, 65_000] if FULL else [4000, 40_000])
def test_f11_files_may_not_grow(faults: Faults, limit: int) -> None:
    faults.fine()
    faults.wipe()
    faults.injected()
    # In our own process: compilers die of it.
    code = f"""
    import resource, signal
    import autoaccel.process as process
    run = process.run
    def unlimited(*args, **how):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        try:
            return run(*args, **how)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
    process.run = unlimited
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
    import autoaccel, sample
    print(sample.value())
    """
    run = faults.project.run(code)
    assert (run.status, run.out) == (0, "7\n"), run.err
    faults.fine()


@pytest.mark.parametrize("files", [8, 12, 14, 16, 24] if FULL else [8, 16])
def test_f09_few_file_descriptors(faults: Faults, files: int, tmp_path: Path) -> None:
    def limited(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=faults.project.root, env=faults.project.environ(), capture_output=True, text=True, timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        )  # fmt: skip

    faults.injected()
    done = limited(sys.executable, "-c", faults.aside(CODE))
    if limited("cc", "-shared", "-fPIC", "sample.c", "-o", str(tmp_path / "x.so"), *_includes()).returncode:
        # The linker alone can't do with so few.
        assert done.returncode == 1
        assert "\nautoaccel.errors.BuildError: sample: " in done.stderr
        assert "Too many open files" in done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    # What failed for no reason of the source's is believed for moments only.
    faults.until(lambda: faults.project.run(faults.aside(CODE)).out == "7\n")
    faults.fine()


def _includes() -> list[str]:
    return [f"-I{path}" for name, path in sysconfig.get_paths().items() if name in ("include", "platinclude")]


def test_f12_what_was_not_synced_is_lost(built: Faults) -> None:
    """After a power cut, names may be there without contents; the library and its description were synced."""
    ways = {
        "empty": lambda data: b"",
        "zeros": lambda data: bytes(len(data)),
        "half": lambda data: data[: len(data) // 2],
    }
    top = built.cache / "v2"
    libraries = {"artifacts", "load"}
    notes = [path for path in sorted(top.rglob("*")) if path.is_file() and not libraries.intersection(path.parts)]
    for how in ways.values():
        for path in notes:
            data = path.read_bytes() if path.exists() else b""
            path.write_bytes(how(data))
            built.injected()
        assert built.project.ok(CODE) == "7"
        assert built.project.ok(CODE) == "7"
    for how in ways.values():
        library = built.library()
        for path in sorted(library.parent.iterdir()):
            path.chmod(0o700)
            path.write_bytes(how(path.read_bytes()))
            built.injected()
        run = built.project.run(CODE)
        assert (run.status, run.out) == (0, "7\n"), run.err
        built.project.ok(CODE)
