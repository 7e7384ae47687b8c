"""Cython's own test modules through the hook: each imported from source in a fresh interpreter, its doctests run.

    python tests/corpus/run_corpus.py [--limit N] [--shard I/N] [--peer no|failed|all] [--jobs N] [--ahead] [NAME ...]

Every file of ``tests/run/*.pyx`` and ``Demos/*.pyx`` in the sdist of the installed Cython is a candidate. Which are taken,
and with which options, is what Cython's ``runtests.py`` does with them; the rules are in `choose` and `options_for`, and
the table at the end counts what each rule left out. The peer is pyximport, with the same options, in folders of its own.
Exit code 1: a module that passes with the peer and not with the hook.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import unittest
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Seconds for one module, compiler and doctests.
TIMEOUT = 300

#: `EXT_DEP_MODULES` of runtests.py: a tag, and the module that its tests need.
NEEDED = {"numpy": "numpy", "pythran": "pythran", "setuptools": "setuptools.sandbox", "ipython": "IPython",
          "posix": "posix", "pstats": "pstats", "array": "array", "asyncio": "asyncio", "test.support": "test.support",
          "coverage": "Cython.Coverage", "subinterpreters": "interpreters_backport"}  # fmt: skip

#: Tags of tests that are about how they are compiled, which runtests.py does by hand.
BY_HAND = ("allow_unknown_names", "cerror", "pythran", "cppexecpolicies", "shared-utility", "embed", "limited-api")

#: The language level of runtests.py for sources that name none.
LANGUAGE_LEVEL = 2


@dataclass
class Candidate:
    """A ``.pyx`` file of Cython's, and what its header says."""

    path: Path
    tags: dict[str, list[str]]
    why_not: str = ""

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass
class Outcome:
    """What became of a module: ``passed``, or the step that failed and why."""

    kind: str
    reason: str = ""
    count: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)


# the corpus


def fetch(requirement: str, folder: Path) -> Path:
    """The unpacked sdist of a package, from the folder or through pip.

    Raises:
        OSError: pip can't get it.
    """
    name, _, version = requirement.partition("==")
    there = sorted(folder.glob(f"{name}-{version}/PKG-INFO"))
    if not there:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += [f"--no-binary={name}", "--dest", work, requirement]
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
            if result.returncode:
                raise OSError(f"pip can't download {requirement}: {result.stderr.strip()[-600:]}")
            (archive,) = Path(work).glob("*.tar.gz")
            with tarfile.open(archive) as file:
                file.extractall(work, filter="data")
            (unpacked,) = (path.parent for path in Path(work).glob("*/PKG-INFO"))
            target = folder / f"{name}-{version}"
            if not target.exists():
                os.replace(unpacked, target)
        there = [folder / f"{name}-{version}" / "PKG-INFO"]
    return there[0].parent


def downloads() -> Path:
    """Where sdists are kept between runs: outside of the repository."""
    told = os.environ.get("AUTOACCEL_TEST_DOWNLOADS")
    return Path(told) if told else Path(tempfile.gettempdir()) / f"autoaccel-test-downloads-{os.getuid()}"


def parse_tags(path: Path) -> dict[str, list[str]]:
    """The header lines of a test: the rule of `parse_tags` in runtests.py."""
    tags: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text("latin-1").splitlines():
        line = line.removeprefix("\xef\xbb\xbf").strip()
        if not line and not tags:
            continue
        found = re.match(r"#\s*(\w+)\s*:(.*)$", line)
        if found:
            tags[found[1]] += [value.strip() for value in found[2].split(",") if value.strip()]
        elif tags or not line.startswith("#"):
            break
    return tags


def choose(sdist: Path) -> list[Candidate]:
    """All candidates; those that are not taken say why."""
    bugs = [line.split()[0] for line in (sdist / "tests/bugs.txt").read_text().splitlines() if line.strip(" \t#")]
    bugs = [one for one in bugs if not one.startswith("#")]
    found = []
    for path in sorted([*sdist.glob("tests/run/*.pyx"), *sdist.glob("Demos/*.pyx")]):
        one = Candidate(path, parse_tags(path))
        one.why_not = _why_not(one, bugs)
        found.append(one)
    return found


def _why_not(one: Candidate, bugs: list[str]) -> str:
    tags = one.tags["tag"]
    by_hand = next((tag for tag in BY_HAND if tag in tags), None)
    if one.tags["mode"] and one.tags["mode"][0] != "run":
        return f"mode: {one.tags['mode'][0]} (only compiled, or meant to fail)"
    if any(re.search(bug, f"run.{one.name}", re.IGNORECASE) for bug in bugs):
        return "in Cython's bugs.txt"
    if by_hand:
        return f"tag: {by_hand} (compiled in a special way)"
    if one.tags["preparse"] and "id" not in one.tags["preparse"]:
        return "preparse (rewritten before it is compiled)"
    missing = next((NEEDED[tag] for tag in tags if tag in NEEDED and not _installed(NEEDED[tag])), None)
    if missing:
        return f"needs {missing}, which is not installed"
    if {"pstats", "coverage", "monitoring", "trace"} & set(tags) and sys.version_info[:2] == (3, 12):
        return "not for Python 3.12"
    if "gdb" in tags or f"no-{ {'darwin': 'macos', 'win32': 'windows'}.get(sys.platform) }" in tags:
        return "not for this platform"
    if not one.name.startswith("test_") and not re.search(rb"^\s*>>>", one.path.read_bytes(), re.MULTILINE):
        return "no doctest in it"
    return ""


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# the options


def options_for(one: Candidate, sdist: Path) -> dict[str, object]:
    """What runtests.py would tell setuptools for these tags; the ``distutils:`` lines are the hook's business."""
    tags = one.tags["tag"]
    options: dict[str, object] = {}
    compile_args: list[str] = []
    macros: list[list[str]] = []
    if "cpp" in tags or any(re.match(r"language\s*=\s*c\+\+", line) for line in one.tags["distutils"]):
        options["language"] = "c++"
    standards = [tag for tag in tags if re.fullmatch(r"(cpp|c)\d\d", tag)]
    if standards:
        compile_args.append(f"-std={standards[-1].replace('cpp', 'c++')}")
    if "openmp" in tags:
        compile_args.append("-fopenmp")
        options["extra_link_args"] = ["-fopenmp"]
    if "numpy" in tags:
        macros.append(["NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"])
    if "trace" in tags:
        macros.append(["CYTHON_TRACE", "1"])
    if "traceback" not in tags:
        macros.append(["CYTHON_CLINE_IN_TRACEBACK", "1"])
    options["extra_compile_args"] = compile_args
    options["define_macros"] = macros
    options["include_dirs"] = [str(one.path.parent), str(sdist / "tests/testsupport")]
    return options


def lay_out(one: Candidate, sdist: Path, folder: Path, how: str) -> None:
    """A project with this module: its files as runtests.py gathers them, its options for the hook or for the peer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in one.path.parent.iterdir():
        related = path.name == f"{one.name}.pxd" or re.match(rf"{re.escape(one.name)}_.*[.]", path.name)
        if related and path.suffix != ".pyx":
            shutil.copy(path, folder)
    text = one.path.read_bytes()
    if {"warnings", "perf_hints"} & set(one.tags["tag"]):
        # What the compiler is expected to say stands behind the source.
        text = re.split(rb"^(?:_ERRORS|_WARNINGS|_PERFORMANCE_HINTS)", text, flags=re.MULTILINE)[0]
    (folder / one.path.name).write_bytes(text)
    options = options_for(one, sdist)
    if how == "ours":
        table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
        (folder / "pyproject.toml").write_text(
            f"[tool.autoaccel.cython]\nlanguage-level = {LANGUAGE_LEVEL}\ndirectives = {{ autotestdict = false }}\n\n"
            f'[tool.autoaccel.modules."{one.name}"]\n{table}'
        )
        return
    numpy = ["import numpy", "extension.include_dirs.append(numpy.get_include())"] if "numpy" in one.tags["tag"] else []
    lines = [
        "from distutils.extension import Extension",
        "def make_ext(name, path):",
        f"    options = {options!r}",
        "    options['define_macros'] = [tuple(macro) for macro in options['define_macros']]",
        "    extension = Extension(name, [path], **options)",
        f"    extension.cython_directives = {{'language_level': {LANGUAGE_LEVEL}, 'autotestdict': False}}",
        *(f"    {line}" for line in numpy),
        "    return extension",
    ]
    (folder / f"{one.name}.pyxbld").write_text("\n".join(lines) + "\n")


# one module


def check(how: str, folder: str, name: str) -> Outcome:
    """Import the module here, by the hook or the peer, and run its tests as runtests.py does."""
    sys.path.insert(0, folder)
    if how == "ours":
        importlib.import_module("autoaccel")
    else:
        peer = importlib.import_module("pyximport")
        peer.install(build_dir=os.path.join(folder, "_build"), language_level=LANGUAGE_LEVEL)
    started = time.monotonic()
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        built = isinstance(error, ImportError) and type(error).__name__ != "ModuleNotFoundError"
        return Outcome(
            "build" if built else "import", f"{type(error).__name__}: {error}", seconds=time.monotonic() - started
        )
    seconds = time.monotonic() - started
    spec = module.__spec__
    native = [module.__file__, spec.cached if spec else None, getattr(module.__loader__, "path", None)]
    if not any(str(path).endswith((".so", ".pyd")) for path in native):
        return Outcome("import", f"not native: {module!r}", seconds=seconds)
    if name.startswith("test_"):
        tests = unittest.defaultTestLoader.loadTestsFromModule(module)
    else:
        tests = doctest.DocTestSuite(module)
    result = unittest.TestResult()
    tests.run(result)
    bad = [*result.failures, *result.errors, *((one, "unexpected success") for one in result.unexpectedSuccesses)]
    if bad:
        return Outcome("doctest", bad[0][1], result.testsRun, seconds, [str(one) for one, _ in bad])
    if not result.testsRun:
        return Outcome("empty", "nothing was found to run", seconds=seconds)
    return Outcome("passed", "", result.testsRun, seconds)


def _child(how: str, folder: str, name: str, answer: str) -> None:
    try:
        outcome = check(how, folder, name)
    except BaseException:
        outcome = Outcome("import", traceback.format_exc())
    Path(answer).write_text(json.dumps(vars(outcome)))
    sys.stdout.flush()
    # What a test module does at exit (threads, module cleanup) is not what is asked.
    os._exit(0)


def environ(work: Path) -> dict[str, str]:
    """The environment of an interpreter with the hook."""
    env = {**os.environ, "AUTOACCEL_CACHE_DIR": str(work / "cache"), "AUTOACCEL_JOBS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    for name in ("PYTHONDONTWRITEBYTECODE", "AUTOACCEL"):
        env.pop(name, None)
    return env


def build_all(candidates: list[Candidate], sdist: Path, work: Path, jobs: int) -> None:
    """Build all of them in one process, as `autoaccel build` does; the imports then find them."""
    for one in candidates:
        lay_out(one, sdist, work / "ours" / one.name, "ours")
    folders = [str(work / "ours" / one.name) for one in candidates]
    code = f"from autoaccel import ahead; ahead.build(*{folders!r}, jobs={jobs})"
    subprocess.run([sys.executable, "-c", code], env=environ(work), stdin=subprocess.DEVNULL, check=True)


def run_one(one: Candidate, sdist: Path, work: Path, how: str) -> Outcome:
    """A module in a fresh interpreter."""
    folder = work / how / one.name
    lay_out(one, sdist, folder, how)
    answer = work / how / f"{one.name}.json"
    answer.unlink(missing_ok=True)
    env = environ(work)
    command = [sys.executable, __file__, "--child", how, str(folder), one.name, str(answer)]
    with open(work / how / f"{one.name}.log", "w+") as log:
        try:
            status = subprocess.run(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                timeout=TIMEOUT,
            ).returncode
        except subprocess.TimeoutExpired:
            return Outcome("timeout", f"not done after {TIMEOUT} s")
        log.seek(0)
        said = log.read()
    if not answer.exists():
        return Outcome("crash", f"exit status {status}: {said.strip()[-400:]}")
    return Outcome(**json.loads(answer.read_text()))


# the table


def reason_line(outcome: Outcome) -> str:
    """One line that tells why."""
    lines = [line.strip() for line in outcome.reason.splitlines() if line.strip()]
    if outcome.kind == "doctest":
        got = next((at for at, line in enumerate(lines) if line == "Got:"), None)
        at = f"{', '.join(outcome.failed)[:80]}: "
        return at + (" ".join(lines[got + 1 : got + 3]) if got is not None else lines[-1] if lines else "")[:160]
    errors = [line for line in lines if re.search(r"\berror\b", line)]
    return (errors[0] if errors else lines[0] if lines else "")[:200]


def shard(candidates: list[Candidate], told: str) -> list[Candidate]:
    """Every n-th, from the i-th (1/n is the first slice)."""
    index, _, number = told.partition("/")
    return candidates[int(index) - 1 :: int(number)]


def run(
    candidates: list[Candidate], sdist: Path, work: Path, how: str, jobs: int, report: bool = True
) -> dict[str, Outcome]:
    """All of them, ``jobs`` at once."""
    outcomes: dict[str, Outcome] = {}
    (work / how).mkdir(parents=True, exist_ok=True)

    def one(candidate: Candidate) -> None:
        outcome = outcomes[candidate.name] = run_one(candidate, sdist, work, how)
        if report:
            print(f"{how:5} {candidate.name:48} {outcome.kind:8} {outcome.count:4} {outcome.seconds:6.1f}s", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, candidates))
    return {one.name: outcomes[one.name] for one in candidates}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these modules")
    parser.add_argument("--limit", type=int, help="the first N")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="every N-th, from the I-th")
    parser.add_argument(
        "--peer", choices=("no", "failed", "all"), default="failed", help="which to try with pyximport too"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ahead", action="store_true", help="build all in one process first")
    parser.add_argument("--sdist", type=Path, help="Cython's unpacked sdist (else pip downloads it)")
    parser.add_argument("--work", type=Path, help="where to build (else a temporary folder)")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--list", action="store_true", help="print what is left out, and why, and stop")
    given = parser.parse_args()

    version = importlib.metadata.version("cython")
    sdist = given.sdist or fetch(f"cython=={version}", downloads())
    candidates = choose(sdist)
    taken = [one for one in candidates if not one.why_not]
    left_out = Counter(one.why_not for one in candidates if one.why_not)
    print(f"Cython {version}: {len(candidates)} modules, {len(taken)} chosen; left out:")
    for why, count in left_out.most_common():
        print(f"  {count:4} {why}")
    if given.list:
        for one in candidates:
            print(f"{one.name:48} {one.why_not or 'chosen'}")
        return 0
    taken = (
        [one for one in taken if one.name in given.names] if given.names else shard(taken, given.shard)[: given.limit]
    )
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        if given.ahead:
            build_all(taken, sdist, work, given.jobs)
        ours = run(taken, sdist, work, "ours", given.jobs)
        again = [
            one for one in taken if given.peer == "all" or (given.peer == "failed" and ours[one.name].kind != "passed")
        ]
        peer = run(again, sdist, work, "peer", given.jobs)
    print(summary(ours, peer))
    if given.json:
        results = {
            how: {name: vars(one) for name, one in made.items()} for how, made in (("ours", ours), ("peer", peer))
        }
        given.json.write_text(json.dumps(results, indent=1))
    return 1 if behind(ours, peer) else 0


def behind(ours: dict[str, Outcome], peer: dict[str, Outcome]) -> list[str]:
    """Modules that pass with the peer and not with the hook."""
    return [name for name, one in ours.items() if one.kind != "passed" and name in peer and peer[name].kind == "passed"]


def summary(ours: dict[str, Outcome], peer: dict[str, Outcome]) -> str:
    """The table of results."""
    passed = [one for one in ours.values() if one.kind == "passed"]
    lines = [f"\nautoaccel: {len(passed)} of {len(ours)} modules pass, with {sum(one.count for one in passed)} tests"]
    if peer:
        lines.append(f"pyximport: {sum(one.kind == 'passed' for one in peer.values())} of the {len(peer)} tried pass")
    ahead = [name for name, one in peer.items() if one.kind != "passed" and ours[name].kind == "passed"]
    late = behind(ours, peer)
    both = [name for name, one in ours.items() if one.kind != "passed" and name not in late]
    for title, names in (("behind", late), ("fail with both", both), ("ahead", ahead)):
        lines.append(f"\n{title}: {len(names)}")
        for name in names:
            told = ours[name] if title != "ahead" else peer[name]
            lines.append(f"  {name}: {told.kind}: {reason_line(told)}")
            if title == "fail with both" and name in peer:
                lines.append(f"    pyximport: {peer[name].kind}: {reason_line(peer[name])}")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _child(*sys.argv[2:6])
    sys.exit(main())
