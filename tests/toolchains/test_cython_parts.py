"""Functions of Cython's own are compiled once, and used again only where all that they were compiled from is the same."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from autoaccel.toolchains import cython_split
from tests.conftest import Project, need
from tests.toolchains.test_cython_cold import generated

SMALL = """
# cython: language_level=3
def runs(values):
    last, lengths = None, []
    for value in values:
        if value == last:
            lengths[-1] += 1
        else:
            lengths.append(1)
            last = value
    return lengths

def broken(*, depth=0):
    raise ValueError(depth)
"""

RICH = """
# cython: language_level=3
import asyncio
cimport cython
ctypedef fused number:
    int
    double

cdef class Shape:
    cdef public double width
    cdef list kept
    def __init__(self, width, *, kept=()):
        self.width, self.kept = width, list(kept)
    @property
    def area(self):
        return self.width ** 2
    def __richcmp__(self, other, int op):
        return (self.width < other.width) if op == 0 else NotImplemented
    def __iter__(self):
        yield from self.kept

class Plain(Exception):
    "Not native."
    def told(self, *args, **more):
        return [*args, *sorted(more.items())]

def largest(number[:] values):
    best = values[0]
    for value in values:
        if value > best:
            best = value
    return best

def reversed_copy(double[:] values):
    return list(values[::-1].copy())

async def later(x):
    await asyncio.sleep(0)
    return x + 1

def closure(step):
    total = 0
    def more(by=step):
        nonlocal total
        total += by
        return total
    return more

def names(text: str, dict known):
    return f"{text!r:>8} {known.get(text, 'no'):<4}|" + ",".join(sorted({x.upper() for x in known}))
"""

USE_RICH = """
import autoaccel, sample, asyncio, pickle, traceback, array, sys
s = sample.Shape(3, kept=[1, 2])
print(s.area, list(s), s < sample.Shape(4), sample.Plain().told(1, a=2))
print(sample.largest(array.array("d", [1, 7, 2])), sample.largest(array.array("i", [1, 7, 2])))
print(sample.reversed_copy(array.array("d", [1, 2])), asyncio.run(sample.later(1)))
more = sample.closure(2); more(); print(more(5), more.__name__, sample.names.__annotations__)
print(sample.names("b", {"a": 1, "b": 2}))
for call in (lambda: sample.names(1, {}), lambda: sample.Shape(), lambda: sample.largest(3), lambda: s.nothing,
             lambda: sample.closure(1, 2), lambda: sample.reversed_copy(array.array("d", []))[0]):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error, [(f.name, f.lineno) for f in traceback.extract_tb(error.__traceback__)][1:])
"""


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("Cython", "gcc")
    if sys.platform != "linux":
        pytest.skip("parts are made on Linux")


def logs(project: Project) -> dict[str, str]:
    """What the builds of the modules said, by file."""
    found = {}
    for path in project.cache.glob("v2/artifacts/*/build.log"):
        text = path.read_text(encoding="utf-8")
        module = re.search(r"-o \S*?/(\w+)\.cpython\S*$", text, re.MULTILINE)
        found[module[1] if module else path.name] = text
    return found


def parts(project: Project) -> list[Path]:
    return sorted(project.cache.glob("v2/parts/*/*.o"))


def whole(log: str) -> bool:
    """Whether a file was compiled as Cython wrote it."""
    return re.search(r" -c \S+/\w+\.c ", log) is not None


def halved(log: str) -> bool:
    return ".half.i " in log and not whole(log)


class TestWhatIsCompiledOnce:
    def test_a_second_module_compiles_its_own_functions_only(self, project: Project) -> None:
        project.write("one.pyx", SMALL)
        project.write("two.pyx", SMALL.replace("lengths[-1] += 1", "lengths[-1] += 2"))
        assert project.ok("import autoaccel, one; print(one.runs([1, 1]))") == "[2]"
        before = parts(project)
        assert before
        assert project.ok("import autoaccel, two; print(two.runs([1, 1]))") == "[3]"
        assert parts(project) == before
        told = logs(project)
        assert ".part0.i " in told["one"]
        assert ".part0.i " not in told["two"]
        assert halved(told["two"])

    def test_modules_that_share_parts_have_their_own_state(self, project: Project) -> None:
        names = ("one", "two", "deep.er")
        for name in names:
            project.write(f"{name.replace('.', '/')}.pyx", "#\n" * len(name) + SMALL.strip())
        out = project.ok(
            """
            import autoaccel, one, two, deep.er, traceback
            for module in (one, two, deep.er):
                try:
                    module.broken(depth=3)
                except ValueError as error:
                    frame = traceback.extract_tb(error.__traceback__)[-1]
                    print(frame.filename, frame.name, frame.lineno, module.broken.__module__, module.runs.__qualname__)
            """
        )
        assert out.splitlines() == [
            f"{name.replace('.', '/')}.pyx {name}.broken {13 + len(name)} {name} runs" for name in names
        ]

    def test_a_rich_module_behaves_as_when_it_is_compiled_whole(self, project: Project) -> None:
        project.write("sample.pyx", RICH)
        halves = project.ok(USE_RICH)
        assert halved(logs(project)["sample"])
        project.cache = project.cache.with_name("whole")
        # A flag of the machine's is one that parts are not made with.
        assert project.ok(USE_RICH, CFLAGS="-mtune=native") == halves
        assert whole(logs(project)["sample"])

    def test_eight_processes_compile_what_is_missing_once(self, project: Project) -> None:
        for number in range(8):
            project.write(f"m{number}.pyx", f"{SMALL}\nNUMBER = {number}\n")
        running = [project.start(f"import autoaccel, m{n}; print(m{n}.NUMBER, m{n}.runs([1]))") for n in range(8)]
        assert [child.communicate(timeout=240)[0].strip() for child in running] == [f"{n} [1]" for n in range(8)]
        assert sum(".part0.i " in log for log in logs(project).values()) == 1
        assert all(halved(log) for log in logs(project).values())


class TestWhatIsCompiledWhole:
    @pytest.mark.parametrize(
        ("text", "env"),
        [
            (SMALL, {"CFLAGS": "-march=native"}),
            (SMALL, {"CFLAGS": "-g"}),
            (SMALL, {"CFLAGS": "--coverage", "LDFLAGS": "--coverage"}),
            (SMALL, {"CFLAGS": "-DCYTHON_USE_MODULE_STATE=1"}),
            (SMALL + '\ncdef extern from *:\n    """\n    #pragma pack(push)\n    #pragma pack(pop)\n    """\n', {}),
        ],
        ids=["this machine's code", "debug", "coverage", "state in the module object", "a pragma"],
    )
    def test_what_must_stay_in_its_place(self, project: Project, text: str, env: dict[str, str]) -> None:
        project.write("sample.pyx", text)
        assert project.ok("import autoaccel, sample; print(sample.runs([1, 1]))", **env) == "[2]"
        assert whole(logs(project)["sample"])

    def test_symbols_that_another_source_has_as_well(self, project: Project) -> None:
        """What was hidden in the file is seen by the linker now: then it is not taken apart."""
        project.write("more.c", "const char *__pyx_f[1] = {0}; int more(void) { return 4; }\n")
        text = "# distutils: sources = more.c\ncdef extern from *:\n    'int more(void);'\n    int more()\n"
        project.write("sample.pyx", text + RICH.replace("# cython: language_level=3", "") + "\nfour = more()\n")
        assert project.ok("import autoaccel, sample; print(sample.four, sample.Shape(2).area)") == "4 4.0"
        assert whole(logs(project)["sample"])

    def test_the_users_error_is_told_as_ever(self, project: Project) -> None:
        project.write("wrong.h", "static int wrong(void) { return nothing; }\n")
        project.write("sample.pyx", SMALL + '\ncdef extern from "wrong.h":\n    int wrong()\nprint(wrong())\n')
        result = project.run("import autoaccel, sample")
        assert result.status == 1
        assert "wrong.h:1:33: error: 'nothing' undeclared" in result.err.replace("‘", "'").replace("’", "'")


def test_what_a_killed_compiler_leaves_goes_with_the_builds_folder(project: Project) -> None:
    compiler = project.compiler('echo "tmp $TMPDIR of $*" >> "$0.log"')
    project.write("sample.pyx", SMALL)
    assert project.ok("import autoaccel, sample; print(sample.runs([1, 1]))") == "[2]"
    assert halved(logs(project)["sample"])
    lines = [line for line in compiler.log.read_text().splitlines() if line.startswith("tmp ")]
    places = {line.partition(" of ")[0] for line in lines if " -c " in line or " -E /" in line}
    assert len(places) == 1
    assert places.pop().startswith(f"tmp {project.cache}/v2/builds/")


def test_later_modules_of_a_process_say_only_what_they_read_of_python(project: Project) -> None:
    compiler = project.compiler('for word; do case $word in *.half.i) wc -c < "$word" >> "$0.log.sizes";; esac; done')
    for name in ("one", "two", "three"):
        project.write(f"{name}.pyx", RICH)
    project.ok("from autoaccel import ahead; ahead.build(jobs=1)")
    sizes = [int(size) for size in Path(f"{compiler.log}.sizes").read_text().split()]
    assert len(sizes) == 3
    # That there is a third one is known from the second.
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    assert sizes[2] < sizes[0] - 300_000
    assert all(halved(log) for log in logs(project).values())
    assert len({tuple(inputs(project, name)) for name in ("one", "two", "three")}) == 1
    first, *others = [project.ok(USE_RICH.replace("sample", name)).replace(name, "sample") for name in ("one", "three")]
    assert others == [first]


def test_what_modules_that_are_built_at_once_begin_with_is_foreseen(project: Project) -> None:
    compiler = project.compiler('for word; do case $word in *.half.i) wc -c < "$word" >> "$0.log.sizes";; esac; done')
    for name in ("one", "two"):
        project.write(f"{name}.pyx", RICH)
    project.ok("from autoaccel import ahead; ahead.build(jobs=2)")
    sizes = [int(size) for size in Path(f"{compiler.log}.sizes").read_text().split()]
    assert len(sizes) == 2
    # As a third one, above: Python.h says 300 kB more.
    project.write("apart/solo.pyx", RICH)
    project.ok("import sys; sys.path.insert(0, 'apart'); import autoaccel, solo")
    whole_head = int(Path(f"{compiler.log}.sizes").read_text().split()[-1])
    # The other one may have come before anybody knew that there are two.
    assert min(sizes) < whole_head - 300_000
    assert all(halved(log) for log in logs(project).values())
    assert len({tuple(inputs(project, name)) for name in ("one", "two")}) == 1
    first, *others = [
        project.ok(f"import sys; sys.path.insert(0, 'apart')\n{USE_RICH.replace('sample', name)}").replace(
            name, "sample"
        )
        for name in ("solo", "one", "two")
    ]
    assert others == [first, first]


def test_what_is_foreseen_is_what_the_installed_cython_writes(project: Project) -> None:
    project.write("sample.pyx", SMALL)
    out = project.ok(
        """
        import os, Cython
        from Cython.Build import cythonize
        from autoaccel.toolchains import cython_head as head
        cythonize("sample.pyx", quiet=True)
        text = open("sample.c").read()
        written = text[: text.index(head._INCLUDE) + len(head._INCLUDE)]
        usual = head._usual(os.path.join(os.path.dirname(Cython.__file__), "Utility"))
        print(head._bare(written) == head._bare(usual))
        """
    )
    assert out == "True"


def test_pragmas_in_the_authors_functions_are_kept(project: Project) -> None:
    project.write(
        "sample.pyx",
        """
        # distutils: extra_compile_args = -fopenmp
        # distutils: extra_link_args = -fopenmp
        from cython.parallel cimport parallel, threadid
        def threads():
            cdef int[3] seen
            seen[:] = [0, 0, 0]
            with nogil, parallel(num_threads=3):
                seen[threadid()] = 1
            return list(seen)
        """,
    )
    assert project.ok("import autoaccel, sample; print(sample.threads())") == "[1, 1, 1]"
    assert halved(logs(project)["sample"])


def test_tracebacks_tell_lines_of_the_generated_file(project: Project) -> None:
    project.write(
        "sample.pyx",
        "# distutils: define_macros = CYTHON_CLINE_IN_TRACEBACK=1\ncimport cython\n"
        "def view(int[:] values): return values.shape\ndef broken(): raise ValueError(1)\n",
    )
    code = """
        import re, traceback
        import autoaccel, sample
        try:
            sample.broken()
        except ValueError:
            print(re.findall(r"/sample\\.c:[0-9]+", traceback.format_exc()))
        """
    told = project.ok(code)
    assert halved(logs(project)["sample"])
    assert told.startswith("['/sample.c:")
    # Compiled whole, it is the same line.
    project.env["AUTOACCEL_CACHE_DIR"] = str(project.cache.parent / "other")
    project.write("pyproject.toml", '[tool.autoaccel]\ncflags = ["-frandom-seed=1"]\n')
    assert project.ok(code) == told


def inputs(project: Project, module: str) -> list[str]:
    """What a build has read, but for the source."""
    (path,) = (
        path
        for path in project.cache.glob("v2/artifacts/*/meta.json")
        if json.loads(path.read_text())["name"] == module
    )
    return [file for file, _ in json.loads(path.read_text())["inputs"] if not file.endswith(f"/{module}.pyx")]


@pytest.mark.parametrize("change", ["appears", "changes"])
def test_headers_that_change_while_a_process_builds_one_module_after_the_other(project: Project, change: str) -> None:
    if change == "changes":
        project.write("inc/limits.h", "#include_next <limits.h>\n#define NUMBER 1\n")
    text = '# distutils: include_dirs = inc\ncdef extern from *:\n    """\n#ifndef NUMBER\n#define NUMBER 1\n#endif\n    """\n    int NUMBER\n'
    for name in "abcd":
        project.write(f"{name}.pyx", f"{text}{SMALL}value = NUMBER\n")
    out = project.ok(
        """
        import pathlib, time
        time.sleep(2.2)  # younger headers are not relied upon
        import autoaccel, a, b, c
        pathlib.Path("inc").mkdir(exist_ok=True)
        pathlib.Path("inc/limits.h").write_text("#include_next <limits.h>\\n#define NUMBER 2\\n")
        import d
        print(a.value, b.value, c.value, d.value)
        """
    )
    assert out == "1 1 1 2"
    assert all(halved(log) for log in logs(project).values())


class TestWhatIsNotBelieved:
    @pytest.mark.parametrize("damage", ["cut", "gone", "changed", "list"])
    def test_a_damaged_part_is_compiled_again(self, project: Project, damage: str) -> None:
        project.write("one.pyx", SMALL)
        assert project.ok("import autoaccel, one; print(one.runs([1, 1]))") == "[2]"
        for path in parts(project):
            data = path.read_bytes()
            if damage == "gone":
                path.unlink()
            elif damage == "list":
                path.with_suffix(".json").write_text("{")
            else:
                path.write_bytes(data[: len(data) // 2] + (b"" if damage == "cut" else bytes(len(data) // 2)))
        project.write("two.pyx", SMALL + "\nNUMBER = 2\n")
        assert project.ok("import autoaccel, two; print(two.runs([1, 1]), two.NUMBER)") == "[2] 2"
        project.write("three.pyx", SMALL + "\nNUMBER = 3\n")
        assert project.ok("import autoaccel, three; print(three.runs([1, 1]), three.NUMBER)") == "[2] 3"
        assert halved(logs(project)["three"])

    def test_other_flags_have_other_parts(self, project: Project) -> None:
        project.write("one.pyx", SMALL)
        project.write("two.pyx", "# distutils: extra_compile_args = -ffast-math\n" + SMALL)
        assert project.ok("import autoaccel, one, two; print(one.runs([1]), two.runs([1]))") == "[1] [1]"
        assert len({path.parent for path in parts(project)}) == 2


def preprocessed(folder: Path, text: str) -> cython_split.Split:
    prepared = folder / "prepared.c"
    prepared.write_text(cython_split.prepare(text), encoding="utf-8")
    command = ["gcc", "-E", "-DNDEBUG", f"-I{sysconfig.get_paths()['include']}", str(prepared)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    return cython_split.split(told.stdout, str(prepared), "sample")


class TestKeys:
    @pytest.fixture
    def text(self, tmp_path: Path) -> str:
        return generated(tmp_path, SMALL.lstrip())

    def test_what_a_function_reads_decides(self, tmp_path: Path, text: str) -> None:
        was = preprocessed(tmp_path, text).keys
        field = "    PyObject *func_qualname;\n"
        assert field in text
        now = preprocessed(tmp_path, text.replace(field, f"{field}    int one_more;\n")).keys
        changed = {name for name in was if now[name] != was[name]}
        assert "__Pyx_CyFunction_reduce" in changed  # it names the structure
        assert "__Pyx_CyFunction_New" in changed
        assert "__Pyx_RaiseArgtupleInvalid" not in changed

    def test_what_an_inline_function_does_decides_for_its_users(self, tmp_path: Path, text: str) -> None:
        was = preprocessed(tmp_path, text).keys
        head = re.search(r"^static CYTHON_INLINE int __Pyx_IsSubtype\([^)]*\) \{$", text, re.MULTILINE)
        assert head is not None
        now = preprocessed(tmp_path, text.replace(head[0], f"{head[0]}\n    if (a == b) return 1;")).keys
        changed = {name for name in was if now[name] != was[name]}
        assert changed
        assert len(changed) < len(was)

    def test_what_python_h_says_decides_for_all(self, tmp_path: Path, text: str) -> None:
        was = preprocessed(tmp_path, text).keys
        now = preprocessed(tmp_path, text.replace('#include "Python.h"', '#define ANOTHER_NAME 1\n#include "Python.h"'))
        assert now.keys == was  # nobody asks for it
        now = preprocessed(tmp_path, text.replace('#include "Python.h"', '#define ssize_t long\n#include "Python.h"'))
        assert not set(now.keys.values()) & set(was.values())

    def test_the_authors_part_does_not_matter(self, tmp_path: Path, text: str) -> None:
        was = preprocessed(tmp_path, text).keys
        now = preprocessed(tmp_path, generated(tmp_path, "# other\n" + SMALL.replace("lengths", "other_name"))).keys
        assert {name for name in was if now.get(name) != was[name]} == set()

    def test_a_functions_own_variables_are_not_copied(self, tmp_path: Path, text: str) -> None:
        """An inline function with one would have it once in each file."""
        head = re.search(r"^static CYTHON_INLINE int __Pyx_IsSubtype\([^)]*\) \{$", text, re.MULTILINE)
        assert head is not None
        now = preprocessed(tmp_path, text.replace(head[0], f"{head[0]}\n    static int calls; calls++;")).keys
        was = preprocessed(tmp_path, text).keys
        assert set(was) > set(now)

    @pytest.mark.parametrize("text", ["", "int main(void) { return 0; }\n"])
    def test_another_layout_is_left_alone(self, text: str) -> None:
        with pytest.raises(cython_split.Unsplittable):
            cython_split.prepare(text)


def test_a_python_h_that_cannot_be_taken_apart_is_said_whole() -> None:
    text = 'extern int used;\n_Static_assert(1, "");\nextern int unused;\n'
    prefix = cython_split.Prefix(text)
    prefix.look()
    assert prefix.said({"used"}) == text
    prefix = cython_split.Prefix(text.replace('_Static_assert(1, "");\n', "struct s { int used; };\n"))
    prefix.look()
    assert prefix.said({"used"}) == "extern int used;\n"


@pytest.mark.parametrize("source", [SMALL, RICH], ids=["small", "rich"])
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_halves_and_parts_fit_for_every_subset(tmp_path: Path, source: str, known: bool) -> None:
    """Any set of functions can be moved: the rest stays, and each finds the other; in files after the first, too."""
    text = generated(tmp_path, source.lstrip())
    cython_split._known_prefix.cache_clear()
    if known:
        preprocessed(tmp_path, text)
    split = preprocessed(tmp_path, text)
    if known:
        split.prefix.look()
    assert ("Py_SetProgramName" in split.half(())) is not known
    names = sorted(split.keys)
    include = f"-I{sysconfig.get_paths()['include']}"
    for turn, step in itertools.product(range(2), (2, 3)):
        moved = names[turn::step]
        objects = []
        for stem, content in (("half", split.half(moved)), ("part", split.part(moved))):
            (tmp_path / f"{stem}.i").write_text(content, encoding="utf-8")
            command = ["gcc", "-O1", "-fPIC", "-Werror=implicit", include, "-ffunction-sections", "-fdata-sections"]
            subprocess.run([*command, "-c", f"{stem}.i", "-o", f"{stem}.o"], cwd=tmp_path, check=True)
            objects.append(f"{stem}.o")
        subprocess.run(["gcc", "-shared", *objects, "-Wl,--gc-sections", "-o", "out.so"], cwd=tmp_path, check=True)
        told = subprocess.run(["nm", "-uD", "out.so"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "PyObject_" in told.stdout
        assert not re.findall("__pyx_|__Pyx_|_aa_", told.stdout)
