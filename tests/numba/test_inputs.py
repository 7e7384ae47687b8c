"""Every input of a jitted function, one by one: its stamp, or the surroundings that are compared with it, is another."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.conftest import Project, need

pytestmark = pytest.mark.timeout(280)

HELPERS = """
SCALE = 2
TABLE = (1, 2)

def plain(x):
    return x + 1
"""

MODULE = """
import numba
from numba import njit
import helpers
from helpers import plain

LIMIT = 10
WEIGHTS = (1.5, 2.5)

@njit
def inner(x):
    return x * LIMIT

jitted = njit(plain)

def factory(step):
    @njit
    def closed(x):
        return x + step
    return closed

closed = factory(3)

@njit
def kernel(x, extra=4):
    return inner(x) + jitted(x) + closed(x) + helpers.SCALE + helpers.TABLE[0] + WEIGHTS[1] + extra
"""

#: Prints, for each state of the files, what numba's cache compares: the function's stamp, and the settings.
PROBE = """
import importlib, json, os, sys
import autoaccel, numba

# A .pyc is fresh by size and second.
sys.dont_write_bytecode = True

first = {name: open(name).read() for name in ("mod.py", "helpers.py")}
def look(files, env):
    for name, text in {**first, **files}.items():
        with open(name, "w") as file:
            file.write(text)
    for name in ("mod", "helpers"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    kept = dict(os.environ)
    os.environ.update(env)
    numba.core.config.reload_config()
    try:
        import mod
        return repr(mod.kernel._cache._stamp.value())
    finally:
        os.environ.clear()
        os.environ.update(kept)
        numba.core.config.reload_config()

rows = json.loads(sys.stdin.read())
base = look({}, {})
assert look({}, {}) == base
bad = []
for name, same, files, env in rows:
    now = look({file: first[file].replace(*change) for file, change in files.items()}, env)
    if (now == base) is not same:
        bad.append(name)
    assert all(change[0] in first[file] for file, change in files.items()), name
    if look({}, {}) != base:
        bad.append(name + ", taken back")
print(json.dumps(bad))
"""

#: Name, (file, old, new), variables.
CHANGES: list[tuple[str, dict[str, tuple[str, str]], dict[str, str]]] = [
    ("the function", {"mod.py": ("inner(x) + jitted", "inner(x) - jitted")}, {}),
    ("a default", {"mod.py": ("extra=4", "extra=5")}, {}),
    ("a callee", {"mod.py": ("x * LIMIT", "x + LIMIT")}, {}),
    ("a global", {"mod.py": ("LIMIT = 10", "LIMIT = 11")}, {}),
    ("a global's type", {"mod.py": ("LIMIT = 10", "LIMIT = 10.0")}, {}),
    ("a tuple", {"mod.py": ("(1.5, 2.5)", "(1.5, 3.5)")}, {}),
    ("a closure's cell", {"mod.py": ("factory(3)", "factory(4)")}, {}),
    ("a closure's text", {"mod.py": ("x + step", "x - step")}, {}),
    ("a callee in another file", {"helpers.py": ("x + 1", "x + 2")}, {}),
    ("a constant in another file", {"helpers.py": ("SCALE = 2", "SCALE = 3")}, {}),
    ("a tuple in another file", {"helpers.py": ("(1, 2)", "(3, 2)")}, {}),
    ("an option", {"mod.py": ("@njit\ndef kernel", "@njit(fastmath=True)\ndef kernel")}, {}),
    ("the error model", {"mod.py": ("@njit\ndef kernel", "@njit(error_model='numpy')\ndef kernel")}, {}),
    ("parallel", {"mod.py": ("@njit\ndef kernel", "@njit(parallel=True)\ndef kernel")}, {}),
    ("the line, which tracebacks name", {"mod.py": ("LIMIT = 10", "\nLIMIT = 10")}, {}),
    ("NUMBA_OPT", {}, {"NUMBA_OPT": "1"}),
    ("NUMBA_BOUNDSCHECK", {}, {"NUMBA_BOUNDSCHECK": "1"}),
    ("NUMBA_CPU_NAME", {}, {"NUMBA_CPU_NAME": "generic"}),
    ("NUMBA_CPU_FEATURES", {}, {"NUMBA_CPU_FEATURES": "+sse2"}),
    ("NUMBA_ENABLE_AVX", {}, {"NUMBA_ENABLE_AVX": "0"}),
    ("NUMBA_LOOP_VECTORIZE", {}, {"NUMBA_LOOP_VECTORIZE": "0"}),
]

IRRELEVANT: list[tuple[str, dict[str, tuple[str, str]], dict[str, str]]] = [
    ("nothing", {}, {}),
    ("a global that nobody uses", {"helpers.py": ("def plain", "UNUSED = 1\ndef plain")}, {}),
    ("a variable of numba's that is not for code", {}, {"NUMBA_WARNINGS": "1"}),
    ("a variable that nobody reads", {}, {"SOME_OTHER_VARIABLE": "1"}),
    ("another home", {}, {"HOME": "/nonexistent"}),
    ("another language", {}, {"LANG": "de_DE.UTF-8"}),
    ("a comment at the end", {"mod.py": (" + extra\n", " + extra\n# words\n")}, {}),
    ("threads", {}, {"NUMBA_NUM_THREADS": "1"}),
]


def test_every_input_of_a_jitted_function(project: Project) -> None:
    need("numba")
    project.write("mod.py", MODULE)
    project.write("helpers.py", HELPERS)
    # Where `plain` is moved by a line, it is another for its tracebacks: so what nobody uses comes after it.
    rows = [(name, False, files, env) for name, files, env in CHANGES]
    rows += [(name, True, files, env) for name, files, env in IRRELEVANT if "nobody uses" not in name]
    rows.append(
        ("a global that nobody uses", True, {"helpers.py": ("return x + 1\n", "return x + 1\n\nUNUSED = 1\n")}, {})
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROBE)], cwd=project.root, env=project.environ(NUMBA_CACHE_DIR=""),
        input=json.dumps(rows), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bad = json.loads(done.stdout.splitlines()[-1])
    assert not bad, bad
    print(f"numba: {len(CHANGES)} rows, another stamp each time; {len(IRRELEVANT)} rows, the same")
