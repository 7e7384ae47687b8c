"""Many processes and threads: killed, stopped, forked, interrupted; caches that are cleared under their feet."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from autoaccel import store, upkeep, verify
from tests.conftest import asleep, c_module
from tests.faults.conftest import CODE, FULL, Faults, in_thread, some

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

#: How many wait.
MANY = 31 if FULL else 6


def slow(faults: Faults) -> Path:
    """Have the compiler wait until a file is there; the file's path."""
    gate = faults.cache.parent / "gate"
    faults.project.compiler(
        f"case \"$*\" in *' -c '*) echo $$ >> '{gate}.pids'; while [ ! -e '{gate}' ]; do sleep 0.05; done;; esac"
    )
    return gate


def compiling(faults: Faults, gate: Path, count: int = 1) -> list[int]:
    """The numbers of the compilers, once there are so many."""
    noted = Path(f"{gate}.pids")
    faults.until(lambda: noted.exists() and len(noted.read_text().split()) >= count)
    return [int(number) for number in noted.read_text().split()]


def goes_on(process: int) -> bool:
    """Whether a process runs; one that nobody has asked for its end does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def compiles(faults: Faults) -> int:
    return (faults.cache.parent / "counting-cc.log").read_text().count(" -c ")


def test_f02_the_compiler_is_killed(faults: Faults) -> None:
    gate = slow(faults)
    child = faults.start()
    (compiler,) = compiling(faults, gate)
    os.kill(compiler, signal.SIGKILL)
    faults.injected()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (1, "")
    assert "autoaccel.errors.BuildError: sample: " in err
    gate.touch()
    assert faults.project.artifacts() == []
    # What failed for no reason of the source's is believed for moments only.
    faults.until(lambda: faults.project.run(CODE).out == "7\n")
    faults.fine()


def test_f03_the_builder_is_killed_while_others_wait(faults: Faults) -> None:
    gate = slow(faults)
    builder = faults.start()
    compiling(faults, gate)
    waiting = [faults.start() for _ in range(MANY)]
    time.sleep(0.5)
    builder.kill()
    faults.injected()
    compiling(faults, gate, 2)
    gate.touch()
    for child in waiting:
        assert child.communicate(timeout=120) == ("7\n", "")
    assert compiles(faults) == 2
    faults.fine()


def test_f04_the_holder_of_the_lock_is_stopped(faults: Faults) -> None:
    gate = slow(faults)
    holder = faults.start()
    compiling(faults, gate)
    holder.send_signal(signal.SIGSTOP)
    faults.injected()
    gate.touch()
    others = [faults.start(AUTOACCEL_LOCK_TIMEOUT="1") for _ in range(3)]
    for child in others:
        out, err = child.communicate(timeout=120)
        assert (child.returncode, out) == (0, "7\n"), err
        assert "Traceback" not in err
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate(timeout=60) == ("7\n", "")
    assert len(faults.project.artifacts()) == 1
    faults.fine()


def test_f05_a_forked_child_of_a_dead_process_may_have_the_lock(faults: Faults) -> None:
    code = f"""
    import os, sys, time
    from autoaccel import store, sources
    kept = store.Store({str(faults.cache)!r})
    source = sources.Source('sample', {str(faults.project.root / "sample.c")!r}, 'c')
    with kept.lock(source, 10) as held:
        assert held
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        print('held', flush=True)
        time.sleep(30)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=faults.project.root, env=faults.project.environ(),
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "held\n"
        parent.kill()
        faults.injected()
        run = faults.project.run(CODE, AUTOACCEL_LOCK_TIMEOUT="2")
        assert (run.status, run.out) == (0, "7\n"), run.err
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
    faults.fine()


def test_f06_the_lock_file_is_deleted_while_it_is_held(faults: Faults) -> None:
    gate = slow(faults)
    first = faults.start()
    compiling(faults, gate)
    shutil.rmtree(faults.cache / "v2" / "locks")
    faults.injected()
    second = faults.start()
    compiling(faults, gate, 2)
    gate.touch()
    for child in (first, second):
        assert child.communicate(timeout=60) == ("7\n", "")
    assert compiles(faults) == 2
    assert len(faults.project.artifacts()) == 1
    faults.fine()


STRESS = """
import random, sys, threading
import autoaccel
names = {names!r}
def work(seed):
    order = names[:]
    random.Random(seed).shuffle(order)
    for name in order:
        module = __import__(name)
        if module.value() != int(name[1:]):
            print('WRONG', name, module.value(), flush=True)
threads = [threading.Thread(target=work, args=(seed,)) for seed in range({threads})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print('done', sum(sys.modules[name].value() for name in names), flush=True)
"""


@pytest.mark.parametrize("hostile", [False, True], ids=["peace", "kills and clear"])
def test_f25_many_processes_threads_and_modules(faults: Faults, hostile: bool) -> None:
    processes, threads, modules = (32, 4, 20) if FULL else (5, 3, 4)
    seconds = 30 if FULL else 5
    compiler = faults.project.compiler()
    names = [f"m{number}" for number in range(modules)]
    for number, name in enumerate(names):
        faults.project.write(f"{name}.c", c_module(name, number))
    code = STRESS.format(names=names, threads=threads)
    want = f"done {sum(range(modules))}\n"
    if not hostile:
        children = [faults.start(code) for _ in range(processes)]
        for child in children:
            out, err = child.communicate(timeout=280)
            assert (child.returncode, out) == (0, want), err
            # On a busy machine, who waits for long says for whom.
            assert [line for line in err.splitlines() if not line.endswith(", which is building it")] == []
        assert compiler.compiles == modules
        faults.injected(processes)
        faults.clean()
        return
    chance = random.Random(25)
    end = time.monotonic() + seconds
    running = [faults.start(code) for _ in range(processes)]
    over = threading.Event()

    def clear() -> None:
        while not over.wait(1.0):
            try:
                store.Store(str(faults.cache)).clear()
            except OSError:
                continue
            faults.injected()

    clearing = in_thread(clear)
    finished = 0
    try:
        while time.monotonic() < end or running:
            for child in list(running):
                late = time.monotonic() >= end
                if child.poll() is None and not late and chance.random() < 0.02:
                    child.kill()
                    faults.injected()
                    child.communicate()
                elif child.poll() is None and not late:
                    continue
                else:
                    out, err = child.communicate(timeout=280)
                    assert (child.returncode, out) == (0, want), err
                    finished += 1
                running.remove(child)
                if not late:
                    running.append(faults.start(code))
            time.sleep(0.05)
    finally:
        over.set()
        clearing.join()
    assert finished >= processes
    for _ in range(2):
        assert faults.project.run(code).out == want
    faults.clean()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_f26_pools_of_processes(faults: Faults, method: str) -> None:
    compiler = faults.project.compiler("sleep 0.2")
    code = f"""
    import multiprocessing, sys
    from concurrent.futures import ProcessPoolExecutor

    def work(_):
        import autoaccel, sample
        return sample.value()

    if __name__ == '__main__':
        with ProcessPoolExecutor({MANY}, mp_context=multiprocessing.get_context({method!r})) as pool:
            print(set(pool.map(work, range({MANY * 2}))))
    """
    faults.project.write("main.py", textwrap.dedent(code))
    faults.injected()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "main.py"], cwd=faults.project.root, env=faults.project.environ(),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "{7}\n"), done.stderr
    assert compiler.compiles == 1
    faults.fine()


def test_f27_a_fork_while_a_thread_builds(faults: Faults) -> None:
    gate = slow(faults)
    faults.project.c("other.c", 8)
    code = f"""
    import os, sys, threading, time
    import autoaccel
    thread = threading.Thread(target=lambda: __import__('sample'))
    thread.start()
    while not os.path.exists({str(gate)!r} + '.pids'):
        time.sleep(0.01)
    children = []
    for _ in range({20 if FULL else 4}):
        child = os.fork()
        if child == 0:
            # What the thread holds is no matter of the child's, which has no such thread.
            import other
            os._exit(0 if other.value() == 8 else 1)
        children.append(child)
    time.sleep(0.3)
    open({str(gate)!r}, 'w').close()
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    thread.join()
    print(sys.modules['sample'].value())
    """
    faults.injected(4)
    run = faults.project.run(code, PYTHONWARNINGS="ignore")
    assert run.status == 0, run.err
    statuses, value = run.out.splitlines()
    assert set(statuses.strip("[]").split(", ")) == {"0"}
    assert value == "7"
    faults.fine()


@pytest.mark.parametrize("number", some([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], 2))
def test_f50_an_interrupt_in_the_middle_of_a_build(faults: Faults, number: signal.Signals) -> None:
    gate = slow(faults)
    child = faults.start()
    (compiler,) = compiling(faults, gate)
    # Within the very call that starts it, an interrupt leaves it without anybody who knows it.
    asleep(child)
    child.send_signal(number)
    faults.injected()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (-number, ""), err
    if number == signal.SIGINT:
        # Nothing that we have started goes on.
        faults.until(lambda: not goes_on(compiler))
        assert list(faults.cache.glob("v2/builds/*")) == []
    gate.touch()
    faults.fine()
    upkeep.prune(store.Store(str(faults.cache)), upkeep.Caps(None, None))
    assert list(faults.cache.glob("v2/builds/*")) == []


def test_f50_an_interrupt_while_waiting(faults: Faults) -> None:
    gate = slow(faults)
    builder = faults.start()
    compiling(faults, gate)
    waiting = faults.start(f"print('up', flush=True)\n{CODE}")
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "up\n"
    time.sleep(1.0)
    waiting.send_signal(signal.SIGINT)
    faults.injected()
    assert waiting.communicate(timeout=20)[0] == ""
    assert waiting.returncode == -signal.SIGINT
    gate.touch()
    assert builder.communicate(timeout=60) == ("7\n", "")
    faults.fine()


def test_f40_reloaded_again_and_again(faults: Faults) -> None:
    rounds = 200 if FULL else 4
    faults.injected(rounds)
    source = str(faults.project.root / "sample.c")
    faults.project.c("sample.c", 1000)
    out = faults.project.ok(
        f"""
        import autoaccel, importlib, sample
        old = sample.value
        text = open({source!r}).read()
        for number in range({rounds}):
            open({source!r}, 'w').write(text.replace('1000', str(number)))
            importlib.reload(sample)
            assert sample.value() == number, (sample.value(), number)
            assert old() == 1000
        print('fine')
        """
    )
    assert out == "fine"
    faults.clean()


def test_f41_what_is_loaded_is_removed(built: Faults) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import autoaccel, sample, sys\nfor line in sys.stdin: print(sample.value(), flush=True)"],
        cwd=built.project.root, env=built.project.environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None

    def ask() -> str:
        child.stdin.write("\n")
        child.stdin.flush()
        return child.stdout.readline()

    assert ask() == "7\n"
    shutil.rmtree(built.library().parent)
    built.injected()
    assert ask() == "7\n"
    built.fine()
    store.Store(str(built.cache)).clear()
    built.injected()
    assert ask() == "7\n"
    child.communicate()
    built.fine()


@pytest.mark.parametrize("how", ["cleared", "deleted"])
def test_f41_the_cache_goes_while_something_is_built(faults: Faults, how: str) -> None:
    gate = slow(faults)
    child = faults.start()
    compiling(faults, gate)
    faults.injected()
    if how == "cleared":
        store.Store(str(faults.cache)).clear()
    else:
        shutil.rmtree(faults.cache)
    gate.touch()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "7\n"), err
    assert "Traceback" not in err
    faults.fine()


def test_f42_eviction_while_others_build_and_load(faults: Faults) -> None:
    faults.project.c("other.c", 8)
    code = "import autoaccel, sample, other; print(sample.value(), other.value())"
    over = threading.Event()

    def evict() -> None:
        while not over.is_set():
            kept = store.Store(str(faults.cache))
            upkeep.prune(kept, upkeep.Caps(0, 0), gentle=False)
            faults.injected()

    evicting = in_thread(evict)
    try:
        for _ in range(30 if FULL else 5):
            children = [faults.start(code) for _ in range(3)]
            for child in children:
                out, err = child.communicate(timeout=120)
                assert (child.returncode, out) == (0, "7 8\n"), err
    finally:
        over.set()
        evicting.join()
    faults.fine()


def test_f42_nothing_that_is_just_built_or_loaded_is_evicted_by_itself(built: Faults) -> None:
    kept = store.Store(str(built.cache))
    for _ in range(3):
        built.injected()
        assert upkeep.prune(kept, upkeep.Caps(0, 0), gentle=True).items == []
    assert built.library().exists()


def test_f42_what_goes_while_it_is_looked_at_is_no_damage(built: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store.Store(str(built.cache))
    damage = verify.damage

    def slow(folder: str, meta: store.Meta) -> str | None:
        kept.clear()
        return damage(folder, meta)

    monkeypatch.setattr(verify, "damage", slow)
    built.injected()
    assert verify.check(kept) == verify.Checked(1, 0, ())


def test_f29_a_rename_that_worked_and_said_it_did_not(faults: Faults) -> None:
    """A reply that was lost on the way from a file server."""
    code = """
    import errno, os
    rename = os.rename
    def lost(source, target, **how):
        rename(source, target, **how)
        if '/artifacts/' in str(target):
            raise FileExistsError(errno.EEXIST, 'File exists', target)
    import autoaccel
    os.rename = lost
    import sample
    print(sample.value(), '/artifacts/' in sample.__cached__)
    """
    faults.injected()
    assert faults.project.ok(code) == "7 True"
    assert len(faults.project.artifacts()) == 1
    faults.fine()
