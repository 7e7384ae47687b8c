"""Published functions: without numba, after every edit right, from many processes at once, and killed while publishing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from autoaccel import keys, store
from autoaccel.numba.harvest import PYTHONS
from tests.conftest import ROOT, Project, make, need

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] not in PYTHONS, reason="functions are cached only, with this Python"
)

SAMPLE = """
from numba import int32, jit

@jit(int32(int32, int32), nopython=True, nogil=True)
def add_two(a, b):
    "adds"
    return 1000 * (a + b)
"""
LIBRARY = """
from numba import njit
SCALE = 2.0
@njit
def times(x): return x * SCALE
"""
MODULE = """
from numba import njit
from library import times
K = 10
@njit
def lazy(x, y=3): return times(x) + K + y
@njit
def fails(x):
    if x < 0:
        raise ValueError("negative", x)
    return x
"""
HEAVY = "print(sorted({'numba', 'llvmlite', 'numpy'} & {name.partition('.')[0] for name in sys.modules}))"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What `jitted` is, for tests that change nothing: it is made once."""
    return publish(make(tmp_path_factory.mktemp("published")))


@pytest.fixture
def jitted(project: Project, published: Project) -> Project:
    """A project whose functions have been published. The runtime, which is nobody's, is taken from another cache."""
    kept = store.Store(str(project.cache))
    for entry in store.Reader(str(published.cache)).entries():
        if entry.meta["name"] == "autoaccel.numba.aart":
            folder = f"{kept.bucket}/artifacts/{os.path.basename(entry.folder)}"
            shutil.copytree(entry.folder, folder)
            # It was tried after it was built, at the place where it was.
            name = "tools/numba-" + keys.digest(f"{folder}/{entry.meta['library']}") + ".json"
            store.replace(f"{kept.bucket}/{name}", json.dumps({"problem": None}).encode())
    return publish(project)


def publish(project: Project) -> Project:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("sample.py", SAMPLE)
    project.write("library.py", LIBRARY)
    project.write("mod.py", MODULE)
    time.sleep(0.1)
    assert (
        project.ok("import autoaccel, sample, mod; print(sample.add_two(1, 2), mod.lazy(1.5), mod.fails(1))")
        == "3000 16.0 1"
    )
    time.sleep(0.1)
    return project


def ask(project: Project, code: str, expected: str, **env: str) -> None:
    assert project.ok(f"import sys, autoaccel, mod\n{code}", **env) == expected


def test_a_later_process_does_without_numba(published: Project) -> None:
    told = published.ok(f"import sys, autoaccel, sample; print(sample.add_two(1, 2), sample.__spec__.origin); {HEAVY}")
    assert told == f"3000 {published.root / 'sample.py'}\n[]"


def test_numba_comes_when_it_is_needed_and_what_it_has_learnt_stays(jitted: Project) -> None:
    code = f"print(mod.lazy(2)); {HEAVY}"
    # Dispatch is by exact type: an integer is new.
    for expected in ("['llvmlite', 'numba', 'numpy']", "[]"):
        ask(jitted, code, f"17.0\n{expected}")
        time.sleep(0.1)
    ask(jitted, f"print(mod.lazy(1.5)); {HEAVY}", "16.0\n[]")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("library.py", "x * SCALE", "x * SCALE + 100", "116.0"),
        ("library.py", "SCALE = 2.0", "SCALE = 3.0", "17.5"),
        ("mod.py", "K = 10", "K = 20", "26.0"),
        ("mod.py", "y=3", "y=4", "17.0"),
    ],
    ids=["a callee in another file", "a constant in another file", "a constant", "a default"],
)
def test_an_edit_is_seen_at_once(jitted: Project, file: str, old: str, new: str, expected: str) -> None:
    before = (jitted.root / file).read_text()
    jitted.write(file, before.replace(old, new))
    time.sleep(0.1)
    ask(jitted, "print(mod.lazy(1.5))", expected)
    time.sleep(0.1)
    ask(jitted, f"print(mod.lazy(1.5)); {HEAVY}", f"{expected}\n[]")
    jitted.write(file, before)
    ask(jitted, "print(mod.lazy(1.5))", "16.0")


def test_a_signature_in_a_decorator_of_ones_own_is_edited(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    decorator = "from numba import float64, int64, njit\ndef typed(f): return njit(float64(float64))(f)\n"
    project.write("decorators.py", decorator)
    project.write(
        "mod.py", "from numba import njit\nfrom decorators import typed\n@typed\ndef one(x): return x * 1.5\n"
    )
    time.sleep(0.1)
    for text, expected in ((decorator, "4.5"), (decorator.replace("njit(float64(", "njit(int64("), "4")):
        project.write("decorators.py", text)
        time.sleep(0.1)
        for _ in range(2):
            ask(project, "print(mod.one(3))", expected)
            time.sleep(0.1)


def test_a_constant_is_changed_at_run_time(published: Project) -> None:
    ask(published, "mod.K = 1000\nprint(mod.lazy(1.5))", "1006.0", AUTOACCEL_NUMBA="off")
    ask(published, "import library\nlibrary.SCALE = 4.0\nprint(mod.lazy(1.5))", "19.0", AUTOACCEL_NUMBA="off")
    ask(published, f"print(mod.lazy(1.5)); {HEAVY}", "16.0\n[]")


def test_what_was_called_before_a_constant_changed_keeps_it(jitted: Project) -> None:
    ask(jitted, "print(mod.lazy(2))", "17.0")
    time.sleep(0.1)
    calls = """
import mod, library
print(mod.lazy(1.5), library.times(2.5))
mod.K, library.SCALE = 1000, 5.0
print(mod.lazy(2), mod.lazy(1.5), mod.lazy(2.5, 1), library.times(2.5), library.times(2))
"""
    wanted = jitted.ok(calls)
    # Natively one after the other: what was not seen before, and what was.
    for _ in range(2):
        assert jitted.ok(f"import autoaccel{calls}", AUTOACCEL_NUMBA="off") == wanted


def test_an_old_pyc_of_the_same_second_is_not_published(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    when = time.time() - 60
    for text in ("return x + 1", "return x + 2"):
        project.write("mod.py", f"from numba import njit\n@njit\ndef one(x): {text}\n")
        # Python looks at whole seconds and the size: what it has compiled is taken for the new text.
        os.utime(project.root / "mod.py", (when, when))
        time.sleep(0.1)
        assert project.ok("import mod; print(mod.one(1))") == "2"
    for _ in range(2):
        # Python's own fault is not ours to mend, but it is not to outlive the .pyc.
        project.ok("import autoaccel, mod; print(mod.one(1))")
        time.sleep(0.1)
    for cached in project.root.glob("__pycache__/*"):
        cached.unlink()
    for _ in range(3):
        assert project.ok("import autoaccel, mod; print(mod.one(1))") == "3"
        time.sleep(0.1)
    ask(project, f"print(mod.one(1)); {HEAVY}", "3\n[]")


def test_files_from_the_future_are_published(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    when = time.time() + 86_400
    for name, text in (("library.py", LIBRARY), ("mod.py", MODULE)):
        os.utime(project.write(name, text), (when, when))
    time.sleep(0.1)
    ask(project, "print(mod.lazy(1.5))", "16.0")
    time.sleep(0.1)
    ask(project, f"print(mod.lazy(1.5)); {HEAVY}", "16.0\n[]")


def test_a_file_that_is_only_touched_costs_no_numba(jitted: Project) -> None:
    os.utime(jitted.root / "mod.py")
    ask(jitted, f"print(mod.lazy(1.5)); {HEAVY}", "16.0\n[]")


@pytest.mark.parametrize("variable", ["NUMBA_DISABLE_JIT", "NUMBA_DEBUG_CACHE", "NUMBA_BOUNDSCHECK", "NUMBA_OPT"])
def test_who_sets_up_numba_gets_numba(published: Project, variable: str) -> None:
    result = published.run(
        f"import sys, autoaccel, mod; print(mod.lazy(1.5)); {HEAVY}", AUTOACCEL_NUMBA="off", **{variable: "1"}
    )
    assert result.out.splitlines()[-2:] == ["16.0", "['llvmlite', 'numba', 'numpy']"], result.err


def test_a_configuration_file_of_numbas_is_heard(jitted: Project) -> None:
    jitted.write(".numba_config.yaml", "boundscheck: 1\n")
    result = jitted.run(f"import sys, autoaccel, mod; print(mod.lazy(1.5)); {HEAVY}")
    assert result.out.splitlines()[-1] == "['llvmlite', 'numba', 'numpy']"


def test_numba_is_upgraded(jitted: Project) -> None:
    code = (
        "import sys, autoaccel.numba as room\n"
        "plain = room._os.stat\n"
        "import autoaccel\n"
        "real = autoaccel._stat\n"
        "class Changed:\n"
        "    def __init__(self, status): self.status = status\n"
        "    def __getattr__(self, name): return getattr(self.status, name) + (name == 'st_ctime_ns')\n"
        "def stat(path, **how):\n"
        "    seen = real(path, **how)\n"
        "    return Changed(seen) if '/numba/_version.py' in str(path) else seen\n"
        "autoaccel._stat = stat\n"
        "import mod; print(autoaccel.holds(mod.__spec__.loader.record, mod.__spec__.loader.names), mod.lazy(1.5))"
    )
    assert jitted.ok(code) == "False 16.0"


def test_an_error_names_the_line_of_the_source(published: Project) -> None:
    result = published.run("import autoaccel, mod; mod.fails(-1)")
    assert "mod.py" in result.err
    assert result.last == "ValueError: ('negative', -1)"


def test_another_processor_gets_numba(published: Project) -> None:
    code = f"import sys, autoaccel, autoaccel.numba as room\nroom.cpu = lambda: 'another'\nimport mod; print(mod.lazy(1.5)); {HEAVY}"
    assert published.ok(code, AUTOACCEL_NUMBA="off") == "16.0\n['llvmlite', 'numba', 'numpy']"


def test_others_import_hooks_keep_their_modules(jitted: Project) -> None:
    jitted.write("test_it.py", "import mod\ndef test_it():\n    assert mod.lazy(1.5) == 16.0\n")
    jitted.write("conftest.py", "import autoaccel\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=jitted.root, env=jitted.environ(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_sixteen_processes_at_once(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("library.py", LIBRARY)
    project.write("mod.py", MODULE)
    time.sleep(0.1)
    kinds = ["1.5", "2"]
    code = "import autoaccel, mod; print(mod.lazy({}))"
    children = [project.start(code.format(kinds[number % 2])) for number in range(16)]
    found = [child.communicate(timeout=280) for child in children]
    assert [out.strip() for out, _ in found] == ["16.0", "17.0"] * 8
    assert [err for _, err in found] == [""] * 16
    time.sleep(0.1)
    # Whoever lost a race is heard now.
    for kind in kinds:
        project.ok(code.format(kind))
    time.sleep(0.1)
    ask(project, f"print(mod.lazy(1.5), mod.lazy(2)); {HEAVY}", "16.0 17.0\n[]")


def test_publishing_is_killed(project: Project) -> None:
    need("numba", "cc", "c++")
    project.write("library.py", LIBRARY)
    project.write("mod.py", MODULE)
    time.sleep(0.1)
    code = "import autoaccel, mod; print(mod.lazy(1.5))"
    for wait in (0.0, 0.3, 1.0, 2.0):
        child = project.start(code)
        assert child.communicate(timeout=200)[0].strip() == "16.0"
        time.sleep(wait)
        for found in publishers(project):
            os.kill(found, signal.SIGKILL)
    assert project.ok(code, AUTOACCEL_NUMBA="wait") == "16.0"
    time.sleep(0.1)
    ask(project, f"print(mod.lazy(1.5)); {HEAVY}", "16.0\n[]")


def publishers(project: Project) -> list[int]:
    """The processes that publish into this project's cache."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read()
            except OSError:
                continue
            if b"numba.publish" in words and os.fsencode(project.cache) in words:
                found.append(int(name))
    return found


def test_explain_tells_what_is_native_and_why_the_rest_is_not(jitted: Project) -> None:
    jitted.write("more.py", MODULE + "@njit\ndef many(*words): return len(words)\n")
    time.sleep(0.1)
    jitted.ok("import autoaccel, more; more.lazy(1.5), more.many(1)")
    done = subprocess.run(
        [sys.executable, "-m", "autoaccel", "explain", "--json", "more"],
        cwd=jitted.root, env=jitted.environ(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    told = json.loads(done.stdout)["jitted"]
    assert told["state"] == "native"
    assert list(told["native"]) == ["lazy"]
    assert told["numba"] == {"many": {"": "it takes *args or **kwargs"}}


@pytest.mark.parametrize("folder", ["numba_jit", "numba_kernels"])
def test_an_example_is_native_the_second_time(project: Project, folder: str) -> None:
    need("numba", "cc", "c++")
    for expected in ("yes", "no"):
        done = subprocess.run(
            [sys.executable, "run.py"],
            cwd=ROOT / "examples" / folder, env=project.environ(AUTOACCEL_NUMBA="wait"),
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"with numba in the process: {expected}" in done.stdout
        time.sleep(0.1)


def test_a_module_that_a_function_depends_on_is_taken_out_of_the_list(project: Project) -> None:
    need("numba", "cc", "c++")
    project.env["AUTOACCEL_NUMBA"] = "wait"
    project.write("library.py", LIBRARY)
    project.write("between.py", "from library import times\n")
    project.write(
        "mod.py",
        """
        import os, sys
        from numba import float64, njit
        from between import times
        if os.environ.get("LISTED") == "no": del sys.modules["library"]
        if os.environ.get("LISTED") == "odd": sys.modules["library"] = object()
        @njit(float64(float64))
        def explicit(x): return times(x) + 1
        @njit
        def lazy(x): return times(x) + 1
        """,
    )
    code = "print(mod.explicit(1.0), mod.lazy(1.0), 'numba' in sys.modules)"
    for listed, told in (("", "True"), ("", "False"), ("no", "True")):
        time.sleep(0.1)
        # Only the first publishes: what it has published is what the others have.
        ask(project, code, f"3.0 3.0 {told}", LISTED=listed, AUTOACCEL_NUMBA="off" if listed else "wait")
    ask(project, "print('numba' in sys.modules)", "False", LISTED="odd")
