"""The dev loop: what an edit costs beyond the compile, what watching costs, and how many rounds a burst takes.

``python benchmarks/devloop.py [--runs N] [--modules N] [CASE...]``; cases: cython, c, rust, idle, burst.

An edit is timed from the save to the moment at which the new function has been called, in a process that watches
(`autoaccel.watch`, the swap in its callback). Beside it is the toolchain's own compile of the same file, timed alone:
Cython in a process that has it loaded, the compiler and linker with our flags, or ``cargo rustc --release``.
The last two are what no compiler is to blame for: the time in which no tool ran, which grows with what else the machine
does, and the processor time of the watching process, which does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from reloads import CYTHON, MANIFEST, PYO3, ROOT, C

#: Name -> (file that is edited, its text, further files).
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "cython": ("sample.pyx", CYTHON, {}),
    "c": ("sample.c", C, {}),
    "rust": ("sample/src/lib.rs", PYO3, {"sample/Cargo.toml": MANIFEST}),
}

EDITS = """
import json, os, pathlib, sys, threading, time
import autoaccel
path, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
text = path.read_text()
path.write_text(text.replace("NUMBER", "-1"))
import sample
from autoaccel import process
from autoaccel.toolchains import cython
tools = []
def noted(plain):
    def run(*words, **options):
        started = time.perf_counter()
        try:
            return plain(*words, **options)
        finally:
            tools.append((started, time.perf_counter()))
    return run
process.run, cython._ask = noted(process.run), noted(cython._ask)
def within(started, ended):
    # Seconds in which at least one tool ran.
    total, reached = 0, started
    for first, last in sorted(tools):
        first = max(first, reached)
        if last > first and first < ended:
            total += min(last, ended) - first
            reached = last
    return total
done, called, builds = threading.Event(), [], []
def swap(one):
    names = autoaccel.sync()
    if names:
        called.append((time.perf_counter(), sample.value()))
        done.set()
with autoaccel.watch(callback=swap):
    time.sleep(3)  # the compile server has loaded Cython
    seconds, own, processor = [], [], []
    for number in range(runs):
        done.clear()
        time.sleep(0.3)
        before, started = time.process_time(), time.perf_counter()
        path.write_text(text.replace("NUMBER", str(number)))
        assert done.wait(120)
        seconds.append(called[-1][0] - started)
        own.append(seconds[-1] - within(started, called[-1][0]))
        processor.append(time.process_time() - before)
        assert called[-1][1] == number
print(json.dumps({"seconds": seconds, "own": own, "processor": processor, "artifact": sample.__cached__}))
"""

TRANSLATE = """
import json, sys, time
from Cython.Compiler import Main, Options
def run(source, target):
    started = time.perf_counter()
    Main.compile(source, output_file=target, language_level=3)
    return time.perf_counter() - started
seconds = [run(*sys.argv[1:]) for _ in range(4)][1:]
print(json.dumps(seconds))
"""

WATCH = """
import json, os, sys, time, threading
from autoaccel.live.watcher import Watcher, Round
count, seconds, poll = int(sys.argv[1]), float(sys.argv[2]), {"poll": True}.get(sys.argv[3])
rounds, first = [], threading.Event()
def told(event):
    if isinstance(event, Round):
        rounds.append((time.perf_counter(), len(event.built)))
        first.set()
watcher = Watcher(["."], told=told, poll=poll)
watcher.start()
first.wait(3000)
time.sleep(5)
def used():
    # With the compile server's.
    own = time.process_time()
    for child in os.popen(f"ps -o cputimes= --ppid {os.getpid()}").read().split():
        own += float(child)
    return own
if sys.argv[3] == "burst":
    del rounds[:]
    started = time.perf_counter()
    for number in range(50):
        path = f"m{number}.c"
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace("FIRST)", "FIRST + 1)"))
        time.sleep(max(0, started + (number + 1) * 0.9 / 50 - time.perf_counter()))
    saved = time.perf_counter() - started
    while not rounds or watcher.busy:
        time.sleep(0.1)
    time.sleep(3)
    print(json.dumps({"saved": saved, "rounds": [count for _, count in rounds], "seconds": rounds[-1][0] - started}))
else:
    before, started = time.process_time(), time.perf_counter()
    time.sleep(seconds)
    share = (time.process_time() - before) / (time.perf_counter() - started)
    print(json.dumps({"share": share, "polling": watcher.polling}))
watcher.stop()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--modules", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    cases = args.cases or [*CASES, "idle", "burst"]
    edits = [case for case in cases if case in CASES]
    if edits:
        print("| edit of | save to called | the bare compile | more | while no tool ran | our processor time |")
        print("| --- | --- | --- | --- | --- | --- |")
    for case in edits:
        print(edit(case, args.runs), flush=True)
    if "idle" in cases:
        for how in ("events", "poll"):
            told = many(args.modules, args.seconds, how)
            print(f"idle, {args.modules} modules, {how}: {told['share'] * 100:.2f} % of a core")
    if "burst" in cases:
        told = many(50, 0, "burst")
        print(
            f"50 files saved in {told['saved']:.2f} s: rounds of {told['rounds']} builds, "
            f"done after {told['seconds']:.1f} s"
        )
    return 0


def environment(folder: str) -> dict[str, str]:
    env = {**os.environ, "AUTOACCEL_CACHE_DIR": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def edit(case: str, runs: int) -> str:
    file, text, more = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder, "project")
        for path, content in {**more, file: text}.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(content)
        env = environment(folder)
        # The bare compiles are measured between two halves, so that a change of the machine's load meets both.
        first = json.loads(run([sys.executable, "-c", EDITS, file, str(runs)], top, env))
        (top / file).write_text(text.replace("NUMBER", "77"))
        bare = compiles(case, top, folder, Path(first["artifact"]), env, runs)
        (top / file).write_text(text)
        second = json.loads(run([sys.executable, "-c", EDITS, file, str(runs)], top, env))
    ours = statistics.median(first["seconds"] + second["seconds"])
    own = statistics.median(first["own"] + second["own"])
    processor = statistics.median(first["processor"] + second["processor"])
    cells = [f"{seconds * 1e3:.0f} ms" for seconds in (ours, bare, ours - bare, own, processor)]
    return f"| {case} | {' | '.join(cells)} |"


def compiles(case: str, top: Path, folder: str, artifact: Path, env: dict[str, str], runs: int) -> float:
    """Seconds of the toolchain's own work on the edited file."""
    log = (artifact.parent / "build.log").read_text().splitlines()
    work = Path(folder, "bare")
    work.mkdir()
    if case == "rust":
        command = ["cargo", "rustc", "--lib", "--release"]
        cargo_env = {**env, "CARGO_TARGET_DIR": f"{folder}/target", "PYO3_PYTHON": sys.executable}
        at = top / "sample"
        source = at / "src" / "lib.rs"

        def once(number: int) -> float:
            source.write_text(PYO3.replace("NUMBER", str(10_000 + number)))
            return timed(command, at, cargo_env)

        once(-1)
        return statistics.median(once(number) for number in range(runs))
    commands = [shlex.split(line) for line in log if " -o " in line and not line.startswith(" ")]
    kept = ("-O", "-f", "--param", "-D", "-I", "-w", "-std")
    link = next(command for command in commands if "-shared" in command)
    flags = [word for word in commands[0] if word.startswith(kept)]
    text, translated = top / "sample.c", 0.0
    if case == "cython":
        text = work / "sample.c"
        translated = statistics.median(
            json.loads(run([sys.executable, "-c", TRANSLATE, str(top / "sample.pyx"), str(text)], top, env))
        )
    compile_it = [commands[0][0], *flags, "-c", str(text), "-o", f"{work}/sample.o"]
    link_it = [link[0], "-shared", *(word for word in link if word.startswith(("-L", "-Wl,-rpath"))),
               f"{work}/sample.o", "-o", f"{work}/sample.so"]  # fmt: skip
    return translated + statistics.median(timed(compile_it, work, env) + timed(link_it, work, env) for _ in range(runs))


def timed(command: list[str], cwd: Path, env: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True)
    return time.perf_counter() - started


def many(count: int, seconds: float, how: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder, "project")
        for number in range(count):
            path = top / (f"part{number // 100}" if how != "burst" else "") / f"m{number}.c"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (
                C.replace("sample", f"m{number}")
                .replace("NUMBER", "FIRST")
                .replace("#include", "#define FIRST 1\n#include", 1)
            )
            path.write_text(text)
        env = environment(folder)
        # What is compiled is not what is measured here.
        env["CFLAGS"] = "-O0"
        told: dict[str, Any] = json.loads(run([sys.executable, "-c", WATCH, str(count), str(seconds), how], top, env))
    return told


def run(command: list[str], cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
