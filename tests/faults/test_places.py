"""Odd machines: umask, sudo, no home, read-only and noexec file systems, other Pythons and versions, odd paths."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from autoaccel import processor, store, upkeep, verify
from tests.conftest import need
from tests.faults.conftest import CODE, Faults, some
from tests.faults.test_processes import slow
from tests.faults.test_system_calls import tmpfs
from tests.rust import raw

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and mounts of POSIX")

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and be somebody else")


@pytest.mark.parametrize("mask", some([0o000, 0o002, 0o077, 0o277], 2))
def test_f20_umask(faults: Faults, mask: int) -> None:
    faults.injected()
    # A cache that the user has made, which others may look into.
    faults.cache.mkdir(mode=0o755)
    done = subprocess.run(
        [sys.executable, "-c", faults.aside(CODE)], cwd=faults.project.root, env=faults.project.environ(),
        capture_output=True, text=True, timeout=60, umask=mask,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    open_to_others = [path for path in faults.cache.rglob("*") if path.lstat().st_mode & 0o022]
    assert open_to_others == []
    faults.fine()


@ROOT_ONLY
def test_f21_root_in_a_user_s_home(faults: Faults, tmp_path: Path) -> None:
    """``sudo`` without ``-H``: nothing of root's is left where the user can't use it."""
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    env = {
        key: value
        for key, value in faults.project.environ().items()
        if key not in ("AUTOACCEL_CACHE_DIR", "XDG_CACHE_HOME")
    }
    for _ in range(2):
        faults.injected()
        done = subprocess.run(
            [sys.executable, "-c", faults.aside(CODE) + "; print(sample.__cached__)"], cwd=faults.project.root,
            env={**env, "HOME": str(home), "SUDO_UID": "65534"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[0] == "7"
        assert done.stdout.split()[1].startswith(f"{faults.cache}-fallback/")
        assert list(home.iterdir()) == []
        # The user's own cache is not root's to use, either.
        (home / ".cache" / "autoaccel").mkdir(parents=True, exist_ok=True)
        os.chown(home / ".cache", 65534, 65534)
        os.chown(home / ".cache" / "autoaccel", 65534, 65534)
        (home / ".cache" / "autoaccel").rmdir()
        (home / ".cache").rmdir()


@pytest.mark.parametrize("home", some([None, "/nonexistent", "/", "relative", "", "/proc"], 3))
def test_f22_home_is_of_no_use(faults: Faults, home: str | None) -> None:
    faults.injected()
    unwanted = ("AUTOACCEL_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    env = {key: value for key, value in faults.project.environ().items() if key not in unwanted}
    if home is not None:
        env["HOME"] = home
    # The test may be root's, who could make all of these.
    code = faults.aside("import os\nmkdir = os.mkdir\n")
    code += f"def guarded(path, *rest, **how):\n    if not str(path).startswith(({str(faults.cache)!r}, '/tmp/')): raise PermissionError(13, 'no', path)\n    mkdir(path, *rest, **how)\nos.mkdir = guarded\n"
    done = subprocess.run(
        [sys.executable, "-c", code + CODE],
        cwd=faults.project.root,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert not (faults.project.root / "relative").exists()


@ROOT_ONLY
def test_f22_a_user_without_a_name(faults: Faults, tmp_path: Path) -> None:
    need("setpriv")
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    for folder in (faults.project.root, *faults.project.root.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    faults.injected()
    command = ["setpriv", "--reuid=1234567", "--regid=1234567", "--clear-groups", sys.executable, "-c"]
    code = "import sys; from autoaccel import location; print(location.preferred()); from autoaccel.store import Store; Store(sys.argv[1])"
    env = {
        key: value
        for key, value in faults.project.environ().items()
        if key not in ("AUTOACCEL_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    }
    done = subprocess.run(
        [*command, code, str(home / "cache")], env=env, cwd="/", capture_output=True, text=True, timeout=60
    )
    if "Permission denied" in done.stderr and "autoaccel" not in done.stderr:
        pytest.skip(f"another user can't run this Python: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/var/tmp/autoaccel-1234567\n"
    assert stat.S_IMODE((home / "cache").stat().st_mode) == 0o700


def mounted(faults: Faults, *flags: str) -> None:
    """Bind the cache onto itself with other flags, in the current name space."""
    for words in (
        ["--bind", str(faults.cache), str(faults.cache)],
        ["-o", f"remount,bind,{','.join(flags)}", str(faults.cache)],
    ):
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@ROOT_ONLY
def test_f23_a_read_only_file_system(built: Faults, tmp_path: Path) -> None:
    need("strace")
    built.project.c("other.c", 8)
    mounted(built, "ro")
    try:
        built.injected()
        log = tmp_path / "log"
        done = built.strace(["-o", str(log)], built.aside(CODE))
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
        tried = [line for line in log.read_text().splitlines() if "EROFS" in line and str(built.cache) in line]
        # One look at whether it can be written; no attempt to.
        assert [line for line in tried if not line.startswith(("access(", "faccessat"))] == []
        for _ in range(2):
            run = built.project.run(
                built.aside("import autoaccel, sample, other; print(sample.value(), other.value())")
            )
            assert (run.status, run.out) == (0, "7 8\n"), run.err
        built.project.c("sample.c", 9)
        run = built.project.run(built.aside(CODE))
        assert (run.status, run.out) == (0, "9\n"), run.err
    finally:
        subprocess.run(["umount", "-l", built.cache], check=True)
    built.fine(9)


@ROOT_ONLY
def test_f24_a_noexec_file_system(built: Faults) -> None:
    """A new cache there, and one that was filled before it was mounted so."""
    mounted(built, "noexec")
    try:
        for value in (7, 7, 9, 9):
            built.injected()
            built.project.c("sample.c", value)
            run = built.project.run(built.aside(CODE) + "; print(sample.__cached__)")
            assert run.status == 0, run.err
            got, place = run.out.split()
            assert got == str(value)
            assert place.startswith(f"{built.cache}-fallback/")
            assert "Traceback" not in run.err
    finally:
        subprocess.run(["umount", "-l", built.cache], check=True)
    built.fine(9)
    other = built.cache.parent / "new"
    with tmpfs(other, "noexec"):
        run = built.project.run(built.aside(CODE), AUTOACCEL_CACHE_DIR=str(other))
        assert (run.status, run.out) == (0, "9\n"), run.err
        assert "is mounted noexec: no library can be loaded from it" in run.err


def others() -> list[str]:
    """Other Pythons here with headers, one of each version."""
    found = sorted(Path.home().glob(".pyenv/versions/*/bin/python3"))
    found += [Path(f"/usr/bin/python3.{minor}") for minor in range(11, 20)]
    usable = {}
    for python in found:
        check = "import sys, sysconfig, os; os.stat(sysconfig.get_path('include') + '/Python.h'); import filelock; print(sys.version_info[:2])"
        if python.exists():
            done = subprocess.run(
                [python, "-c", check], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": _site()}
            )
            if done.returncode == 0 and done.stdout.strip() != str(sys.version_info[:2]):
                usable.setdefault(done.stdout, str(python))
    return list(usable.values())


def _site() -> str:
    import filelock

    return str(Path(filelock.__file__).parent.parent)


def test_f38_two_pythons_share_a_cache(built: Faults) -> None:
    pythons = others()
    if not pythons:
        pytest.skip("there is no other Python with headers here")
    path = os.pathsep.join([built.project.environ()["PYTHONPATH"], _site()])
    for python in pythons[:1]:
        built.injected()
        run = built.project.run(CODE, python=python, PYTHONPATH=path)
        assert (run.status, run.out) == (0, "7\n"), run.err
        assert len(built.project.artifacts()) == 2
        # An entry of theirs at the place of ours is not ours.
        mine, theirs = sorted(built.project.artifacts(), key=lambda one: "311" not in one.name)
        theirs.chmod(0o700)
        mine.chmod(0o700)
        mine.write_bytes(theirs.read_bytes())
        assert built.project.run(CODE).out == "7\n"
        built.fine()


class Machine:
    """A machine beside this one that shares its files, as far as name spaces can be one: with another processor, host
    name and processes of its own, and locks that exclude nobody elsewhere, as those of many network file systems.
    """

    def __init__(self, faults: Faults, name: str, processor: str | None = None) -> None:
        need("unshare")
        self.faults = faults
        locks = faults.project.root.parent / f"locks of {name}"
        locks.mkdir(mode=0o700)
        (faults.cache / "v2" / "locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (faults.cache, faults.cache / "v2"):
            folder.chmod(0o700)
        script = f"mount --bind '{locks}' '{faults.cache}/v2/locks' && hostname {name} && mount -t proc proc /proc"
        if processor is not None:
            file = locks.with_name(f"processor of {name}")
            file.write_text(processor)
            script += f" && mount --bind '{file}' '{PROCESSOR}'"
        # A process number that means nothing elsewhere.
        number = next(one for one in range(32_000, 300, -1) if not os.path.exists(f"/proc/{one}"))
        script += f""" && echo {number} > /proc/sys/kernel/ns_last_pid && "$@"; exit $?"""
        self.words = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
        done = subprocess.run([*self.words, "true"], capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.skip(f"no name spaces to be had here: {done.stderr.strip()}")

    def start(self, code: str = CODE, **env: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*self.words, sys.executable, "-c", code], cwd=self.faults.project.root, text=True,
            env=self.faults.project.environ(**env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.faults.children.append(child)
        return child

    def run(self, code: str = CODE, **env: str) -> tuple[int, str, str]:
        child = self.start(code, **env)
        out, err = child.communicate(timeout=120)
        return child.returncode, out, err


@ROOT_ONLY
def test_f28_two_machines_share_a_cache(faults: Faults) -> None:
    """At the same moment: each compiles, one publishes first, and neither takes the other's work for a dead process's."""
    faults.fine()
    machines = [Machine(faults, name) for name in ("one", "two", "three")]
    for value in (8, 9):
        faults.project.c("sample.c", value)
        gate = slow(faults)
        for path in (gate, Path(f"{gate}.pids")):
            path.unlink(missing_ok=True)
        faults.injected()
        children = [machine.start() for machine in machines[:2]]
        faults.until(
            lambda gate=gate: Path(f"{gate}.pids").exists() and len(Path(f"{gate}.pids").read_text().split()) == 2
        )
        before = sorted(path.name for path in faults.cache.glob("v2/builds/*"))
        assert len(before) == 2
        # A third, and this one, open the cache meanwhile, and one of them looks after it.
        assert machines[2].run("import autoaccel; from autoaccel.store import open_store; open_store()")[0] == 0
        upkeep.prune(store.Store(str(faults.cache)), upkeep.Caps(None, None))
        assert sorted(path.name for path in faults.cache.glob("v2/builds/*")) == before
        gate.touch()
        for child in children:
            assert child.communicate(timeout=120) == (f"{value}\n", "")
        assert machines[2].run() == (0, f"{value}\n", "")
        faults.project.env.pop("CC")
    assert len(faults.project.artifacts()) == 3
    faults.fine(9)


PROCESSOR = processor.FILE


@ROOT_ONLY
@pytest.mark.parametrize("how", some(["source", "CFLAGS", "CC", "pyproject"], 2))
def test_f37_another_processor(faults: Faults, how: str) -> None:
    """What was made for the processor of one machine is not loaded on another; the rest is."""
    if not os.path.exists(PROCESSOR):
        pytest.skip("the system does not tell what its processor can do")
    compiler = faults.project.compiler()
    faults.project.c("other.c", 8)
    env = {}
    if how == "source":
        source = faults.project.root / "sample.c"
        faults.project.write("setup.py", "")
        source.write_text("// distutils: extra_compile_args = -march=native\n" + source.read_text())
    elif how == "pyproject":
        faults.project.write("pyproject.toml", '[tool.autoaccel]\ncflags = ["-O2", "-mtune=native"]\n')
    else:
        env = {"CFLAGS": "-march=native"} if how == "CFLAGS" else {"CC": f"{faults.project.env['CC']} -march=native"}
    faults.project.env.update(env)
    assert faults.project.ok(CODE) == "7"
    assert compiler.compiles == 1
    other = Machine(faults, "other", "cpu:type:x86,ven0000fam0006mod001A:feature:,0000,0001\n")
    for _ in range(2):
        faults.injected()
        assert faults.project.ok(CODE) == "7"
        status, out, err = other.run(AUTOACCEL="load")
        assert (status, out) == (1, "")
        assert "AUTOACCEL=load forbids to compile" in err
    assert compiler.compiles == 1
    code = CODE + "; print(sample.__cached__)"
    place = other.run(code)[1]
    assert compiler.compiles == 2
    # Each finds its own again.
    assert other.run(code) == (0, place, "")
    assert other.run(code, AUTOACCEL="load") == (0, place, "")
    assert faults.project.ok(code) + "\n" != place
    assert other.run(code) == (0, place, "")
    assert compiler.compiles == 2
    if how == "source":
        # Nobody has asked for the processor there.
        assert faults.project.ok("import autoaccel, other; print(other.value())") == "8"
        assert other.run("import autoaccel, other; print(other.value())", AUTOACCEL="load") == (0, "8\n", "")
    assert compiler.compiles == (3 if how == "source" else 2)
    faults.fine()


@ROOT_ONLY
def test_f37_another_processor_and_a_crate(faults: Faults) -> None:
    """Cargo, too, takes what it compiled for another: it sees the same flags."""
    need("cargo")
    if not os.path.exists(PROCESSOR):
        pytest.skip("the system does not tell what its processor can do")
    faults.project.write("single.rs", raw("single", 7))
    faults.project.env["RUSTFLAGS"] = "-C target-cpu=native"
    code = "import autoaccel, single; print(single.value, single.__cached__)"
    first = faults.project.ok(code)
    other = Machine(faults, "other", "cpu:type:x86,ven0000fam0006mod001A:feature:,0000,0001\n")
    faults.injected()
    assert other.run(code, AUTOACCEL="load")[:2] == (1, "")
    place = other.run(code)[1]
    assert place.startswith("7 ")
    assert place.strip() != first
    folders = [path for path in faults.cache.glob("v2/cargo/*") if not path.name.startswith("file-")]
    assert len([path for path in folders if path.is_dir()]) == 2
    assert other.run(code, AUTOACCEL="load") == (0, place, "")
    assert faults.project.ok(code) == first


def test_f48_two_versions_share_a_cache(built: Faults) -> None:
    code = "import autoaccel; autoaccel.__version__ = '99.0'\n" + CODE.replace("import autoaccel, ", "import ")
    compiler = built.project.compiler()
    built.project.env.pop("CC")
    for _ in range(2):
        built.injected()
        assert built.project.ok(code) == "7"
        assert built.project.ok(CODE) == "7"
    assert len(built.project.artifacts()) == 2
    assert compiler.compiles == 0
    built.project.c("sample.c", 8)
    assert [built.project.ok(code), built.project.ok(CODE)] == ["8", "8"]
    built.fine(8)


NAMES = {
    "spaces": "a b  c",
    "newline": "a\nb",
    "quotes": "a'b\"c",
    "dollar": "$HOME `x` ;rm",
    "unicode": "größe-日本",
    "bytes": os.fsdecode(b"a\xff\xfeb"),
    "long": "x" * 200,
    "percent": "%s{}",
}


@pytest.mark.parametrize("name", some([*NAMES], 4))
def test_f49_odd_paths(faults: Faults, name: str) -> None:
    faults.injected()
    folder = faults.project.root / NAMES[name]
    folder.mkdir()
    (folder / "sample.c").write_bytes((faults.project.root / "sample.c").read_bytes())
    cache = faults.cache / NAMES[name]
    for value in (7, 7, 8):
        if value == 8:
            (folder / "sample.c").write_text((folder / "sample.c").read_text().replace("7", "8"))
        run = faults.project.run(CODE, cwd=folder, AUTOACCEL_CACHE_DIR=str(cache))
        assert (run.status, run.out) == (0, f"{value}\n"), run.err
    kept = store.Reader(str(cache))
    assert verify.check(kept).problems == ()
    assert len(list(kept.entries())) == 2


def test_f49_a_path_that_is_too_long(faults: Faults) -> None:
    faults.injected()
    cache = str(faults.cache) + "/x" * 2100
    run = faults.project.run(faults.aside(CODE), AUTOACCEL_CACHE_DIR=cache)
    assert (run.status, run.out) == (0, "7\n"), run.err
    assert "can't be used" in run.err
