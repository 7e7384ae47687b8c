"""Which file is the module: precedence, odd places on ``sys.path``, files that come and go."""

from __future__ import annotations

import sys
import time
import zipfile
from pathlib import Path

import pytest

from autoaccel import SUFFIXES
from autoaccel.directories import new_finder
from autoaccel.finder import wanted
from tests.conftest import Project, c_module, need

#: What in-place building gives today; the hook gives the same without it.
IN_PLACE_SO = """
import sysconfig, subprocess, sys
target = sys.argv[1] + sysconfig.get_config_var("EXT_SUFFIX")
subprocess.run(["cc", "-shared", "-fPIC", "-I", sysconfig.get_paths()["include"], sys.argv[2], "-o", target], check=True)
print(target)
"""


def build_in_place(project: Project, stem: str, source: Path) -> Path:
    """What ``setup.py build_ext --inplace`` would have left behind."""
    need("cc")
    import subprocess

    command = [sys.executable, "-c", IN_PLACE_SO, str(project.root / stem), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return Path(done.stdout.strip())


@pytest.mark.core
def test_a_c_source_is_imported_and_named_as_designed(project: Project) -> None:
    need("cc")
    source = project.c("sample.c", 7)
    before = project.files()
    out = project.ok(
        """
        import autoaccel, sample, sys
        print(sample.value())
        print(sample.__file__)
        print(sample.__spec__.origin)
        print(sample.__cached__)
        print(sample.__loader__.path)
        print(sample.__spec__.cached, sample.__spec__.has_location, sample.__spec__.parent == "", sample.__package__ == "")
        print(sample.__name__, sample.__loader__ is sample.__spec__.loader, hasattr(sample, "__path__"))
        """
    ).splitlines()
    (artifact,) = map(str, project.artifacts())
    assert out[:5] == ["7", str(source), str(source), artifact, artifact]
    assert out[5] == f"{artifact} True True True"
    assert out[6] == "sample True False"
    assert project.files() == before


@pytest.mark.core
def test_a_cython_package_with_submodules(project: Project) -> None:
    need("Cython", "cc")
    project.write("pkg/__init__.pyx", "from .inner import twice\nfrom . import plain\nhere = twice(plain.N)\n")
    project.write("pkg/inner.pyx", "from . import plain\ndef twice(x):\n    return 2 * x\n")
    project.write("pkg/plain.py", "N = 21\n")
    out = project.ok(
        """
        import autoaccel, pkg, pkg.inner
        print(pkg.here, pkg.__path__, pkg.__package__, pkg.inner.__package__)
        print(pkg.__file__, pkg.inner.__file__, isinstance(pkg.__loader__, type(pkg.inner.__loader__)))
        """
    ).splitlines()
    folder = project.root / "pkg"
    assert out[0] == f"42 ['{folder}'] pkg pkg"
    assert out[1] == f"{folder}/__init__.pyx {folder}/inner.pyx True"


class TestPrecedence:
    """CPython's own order, a native source standing where its extension would."""

    def test_a_regular_package_comes_before_a_source(self, project: Project) -> None:
        project.c("thing.c")
        project.write("thing/__init__.py", "who = 'package'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "package"

    def test_a_native_package_comes_before_a_python_package_in_the_same_folder(self, project: Project) -> None:
        need("Cython", "cc")
        project.write("thing/__init__.pyx", "who = 'native package'\n")
        project.write("thing/__init__.py", "who = 'package'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "native package"

    def test_a_source_comes_before_a_python_file(self, project: Project) -> None:
        need("cc")
        project.c("thing.c", 5)
        project.write("thing.py", "def value(): return 'python'\n")
        assert project.ok("import autoaccel, thing; print(thing.value())") == "5"

    def test_a_source_comes_before_a_folder_without_init(self, project: Project) -> None:
        need("cc")
        project.c("thing.c", 5)
        project.write("thing/inner.py", "")
        assert project.ok("import autoaccel, thing; print(thing.value(), hasattr(thing, '__path__'))") == "5 False"

    @pytest.mark.core
    def test_a_source_wins_over_a_stale_library_beside_it(self, project: Project) -> None:
        source = project.c("thing.c", 1)
        build_in_place(project, "thing", source)
        project.c("thing.c", 2)
        assert project.ok("import thing; print(thing.value())") == "1"
        assert project.ok("import autoaccel, thing; print(thing.value())") == "2"

    def test_a_library_without_a_source_is_loaded_by_cpython(self, project: Project) -> None:
        source = project.c("thing.c", 1)
        library = build_in_place(project, "thing", source)
        source.unlink()
        assert project.ok("import autoaccel, thing; print(thing.value(), thing.__file__)") == f"1 {library}"

    @pytest.mark.parametrize(("first", "last"), [("one", "two"), ("two", "one")])
    def test_the_order_of_sys_path_decides_between_folders(self, project: Project, first: str, last: str) -> None:
        need("cc")
        project.write("one/thing.py", "def value(): return 'python'\n")
        project.c("two/thing.c", 2)
        out = project.ok(
            f"import sys; sys.path[:0] = ['{project.root}/{first}', '{project.root}/{last}']; "
            "import autoaccel, thing; print(thing.value())"
        )
        assert out == {"one": "python", "two": "2"}[first]

    def test_a_cython_source_and_what_cython_made_of_it_are_one_module(self, project: Project) -> None:
        need("Cython", "cc")
        project.write("thing.pyx", "def value(): return 'pyx'\n")
        project.write("thing.c", "/* Generated by Cython 3.0 */\nPyMODINIT_FUNC PyInit_thing(void) { }\n")
        assert project.ok("import autoaccel, thing; print(thing.value())") == "pyx"

    def test_what_cython_made_is_no_source_of_its_own(self, project: Project) -> None:
        project.write("thing.c", "/* Generated by Cython 3.0 */\nPyMODINIT_FUNC PyInit_thing(void) { }\n")
        project.write("thing.py", "who = 'python'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "python"

    def test_a_c_file_that_defines_no_module_leaves_the_python_file_alone(self, project: Project) -> None:
        project.write("thing.c", "int thing(void) { return 1; }\n")
        project.write("thing.py", "who = 'python'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "python"

    def test_the_standard_library_is_not_shadowed_by_installed_sources(self, project: Project) -> None:
        site = project.root / "lib" / "site-packages"
        project.c("lib/site-packages/thing.c", 3)
        out = project.run(f"import sys; sys.path.append('{site}'); import autoaccel, thing")
        assert out.last == "ModuleNotFoundError: No module named 'thing'"


class TestRoots:
    """Only the user's own folders are looked at."""

    @pytest.mark.parametrize("place", ["site-packages", "dist-packages"])
    def test_installed_packages_are_left_alone_unless_they_are_included(self, project: Project, place: str) -> None:
        need("cc")
        project.c(f"{place}/thing.c", 3)
        project.write(f"{place}/pkg/__init__.py", "")
        project.c(f"{place}/pkg/inner.c", 4)
        enter = f"import sys; sys.path.append('{project.root}/{place}'); import autoaccel; "
        assert project.run(enter + "import thing").last == "ModuleNotFoundError: No module named 'thing'"
        assert project.run(enter + "import pkg.inner").last == "ModuleNotFoundError: No module named 'pkg.inner'"
        enter += "autoaccel.install(include=['pkg']); "
        assert project.ok(enter + "import pkg.inner; print(pkg.inner.value())") == "4"
        assert project.run(enter + "import thing").last == "ModuleNotFoundError: No module named 'thing'"

    def test_excluded_names_are_left_to_cpython(self, project: Project) -> None:
        need("cc")
        project.c("pkg/inner.c", 4)
        project.write("pkg/inner.py", "def value(): return 'python'\n")
        project.c("pkg/other.c", 5)
        out = project.ok(
            "import autoaccel; autoaccel.install(exclude=['pkg.inn*']); "
            "from pkg import inner, other; print(inner.value(), other.value())"
        )
        assert out == "python 5"

    def test_which_folders_are_wanted(self) -> None:
        finder = new_finder(include=["pkg"])
        stdlib = sys._stdlib_dir  # type: ignore[attr-defined]
        assert wanted(finder, "/home/someone/project") is True
        assert wanted(finder, "/home/someone/my-packages/project") is True
        assert wanted(finder, stdlib) is False
        assert wanted(finder, f"{stdlib}/lib-dynload") is False
        assert wanted(finder, f"{stdlib}/json") is False
        assert wanted(finder, f"{stdlib}-of-mine") is True
        assert wanted(finder, f"{stdlib}/site-packages") is None
        assert wanted(finder, f"{stdlib}/site-packages/pkg/inner") is True
        assert wanted(finder, "/x/site-packages") is None
        assert wanted(finder, "/x/site-packages/pkg/inner") is True
        assert wanted(finder, "/x/site-packages/pkgs") is False
        assert wanted(new_finder(), "/x/dist-packages") is False

    def test_the_table_names_each_suffix_once(self) -> None:
        assert [suffix for suffix, _, _ in SUFFIXES] == [".pyx", ".c", ".cpp", ".cc", ".cxx", ".rs"]


class TestPackages:
    """Namespace packages, relative imports, folders that are something else."""

    @pytest.mark.core
    def test_a_namespace_package_over_two_entries(self, project: Project) -> None:
        need("cc")
        project.c("one/space/left.c", 1)
        project.c("two/space/right.c", 2)
        out = project.ok(
            f"import sys; sys.path[:0] = ['{project.root}/one', '{project.root}/two']; import autoaccel; "
            "from space import left, right; import space; "
            "print(left.value(), right.value(), left.__name__, list(space.__path__), space.__spec__.loader is None)"
        )
        assert out == f"1 2 space.left ['{project.root}/one/space', '{project.root}/two/space'] False"

    def test_a_crate_beside_a_python_file_is_no_package(self, project: Project) -> None:
        project.write("thing/Cargo.toml", "[package]\nname = 'thing'\n")
        project.write("thing/src/lib.rs", "fn main() {}\n")
        project.write("thing.py", "who = 'python'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "python"

    def test_a_folder_named_like_a_source_is_none(self, project: Project) -> None:
        (project.root / "thing.pyx").mkdir()
        (project.root / "thing.c").mkdir()
        project.write("thing.py", "who = 'python'\n")
        assert project.ok("import autoaccel, thing; print(thing.who)") == "python"
        (project.root / "thing.py").unlink()
        assert project.run("import autoaccel, thing").last == "ModuleNotFoundError: No module named 'thing'"

    def test_circular_imports_among_cython_modules(self, project: Project) -> None:
        need("Cython", "cc")
        project.write("pkg/__init__.py", "")
        project.write("pkg/a.pyx", "from pkg import b\ndef name(): return 'a'\ndef other(): return b.name()\n")
        project.write("pkg/b.pyx", "from pkg import a\ndef name(): return 'b'\ndef other(): return a.name()\n")
        assert project.ok("import autoaccel; from pkg import a, b; print(a.other(), b.other())") == "b a"

    def test_the_same_file_under_two_names_is_two_modules(self, project: Project) -> None:
        need("cc")
        project.c("pkg/inner.c", 4)
        out = project.ok(
            "import sys, autoaccel; sys.path.insert(0, 'pkg'); import pkg.inner, inner; "
            "print(pkg.inner is inner, pkg.inner.value(), inner.value())"
        )
        assert out == "False 4 4"


class TestOddPlaces:
    """What stands on ``sys.path`` beside folders."""

    def test_entries_that_are_no_folder_are_left_alone(self, project: Project) -> None:
        need("cc")
        project.c("src/sample.c", 6)
        with zipfile.ZipFile(project.root / "lib.zip", "w") as archive:
            archive.writestr("zipped.py", "who = 'zip'\n")
            archive.writestr("inzip.c", c_module("inzip"))
        project.write("file.txt", "no folder\n")
        out = project.ok(
            """
            import sys, pathlib, warnings
            sys.path[:0] = ["lib.zip", "nowhere", "file.txt", b"src", pathlib.Path("src"), 5, None, [], "src/", "./src"]
            import autoaccel, zipped, sample
            print(zipped.who, sample.value())
            try:
                import inzip
            except ModuleNotFoundError as error:
                print(error)
            """
        )
        assert out == "zip 6\nNo module named 'inzip'"

    @pytest.mark.parametrize(
        "folder", ["with space", "a$b", "c#d", "co:lon", "quo'te\"s", "ünï", "back\\slash", "-dash"]
    )
    def test_a_folder_with_an_unusual_name(self, project: Project, folder: str) -> None:
        need("cc")
        project.write(f"{folder}/own.h", "#define ONE 1\n")
        project.c(f"{folder}/sample.c", "ONE", before='#include "own.h"')
        enter = f"import sys; sys.path.insert(0, {folder!r}); import autoaccel, sample; print(sample.value())"
        assert project.ok(enter) == "1"
        project.write(f"{folder}/own.h", "#define ONE 11\n")
        assert project.ok(enter) == "11"

    def test_a_folder_whose_name_is_no_text(self, project: Project) -> None:
        need("cc")
        import os

        folder = os.fsencode(project.root) + b"/\xff\xfe"
        os.mkdir(folder)
        with open(folder + b"/sample.c", "w") as file:
            file.write(c_module("sample", 8))
        enter = "import sys, os; sys.path.insert(0, os.fsdecode(b'\\xff\\xfe')); import autoaccel, sample; print(sample.value())"
        assert project.ok(enter) == "8"
        assert project.ok(enter) == "8"
        assert len(project.artifacts()) == 1

    def test_a_working_folder_that_is_gone(self, project: Project) -> None:
        gone = project.root / "gone"
        gone.mkdir()
        out = project.ok(
            "import os, autoaccel; os.rmdir(os.getcwd()); import colorsys; print(colorsys.__name__)", cwd=gone
        )
        assert out == "colorsys"

    def test_the_empty_entry_follows_the_working_folder(self, project: Project) -> None:
        need("cc")
        project.c("one/thing.c", 1)
        project.c("two/other.c", 2)
        out = project.ok(
            "import os, sys, autoaccel; os.chdir('one'); import thing; os.chdir('../two'); import other; "
            "print(thing.value(), other.value(), '' in sys.path)"
        )
        assert out == "1 2 True"

    @pytest.mark.parametrize("stem", ["größe", "名前", "ñ_x"])
    def test_a_module_name_beyond_ascii(self, project: Project, stem: str) -> None:
        need("cc")
        init = "PyInitU_" + stem.encode("punycode").replace(b"-", b"_").decode()
        project.c(f"{stem}.c", 3, init=init)
        assert project.ok(f"import autoaccel, {stem} as m; print(m.value(), m.__name__)") == f"3 {stem}"


class TestFilesThatComeAndGo:
    """A listing that was made is no promise."""

    @pytest.mark.core
    def test_a_source_written_after_a_miss_is_found(self, project: Project) -> None:
        need("cc")
        out = project.ok(
            f"""
            import autoaccel, pathlib
            try:
                import sample
            except ModuleNotFoundError:
                pathlib.Path("sample.c").write_text({c_module("sample", 3)!r})
            import sample
            print(sample.value())
            """
        )
        assert out == "3"

    def test_a_source_and_a_python_file_written_at_the_same_moment(self, project: Project) -> None:
        need("cc")
        out = project.ok(
            f"""
            import autoaccel, pathlib
            for name in "one", "two", "three":
                try:
                    __import__(name)
                except ModuleNotFoundError:
                    pathlib.Path(name + ".py").write_text("def value(): return 'python'")
                    pathlib.Path(name + ".c").write_text({c_module("NAME", 3)!r}.replace("NAME", name))
                print(__import__(name).value())
            """
        )
        assert out == "3\n3\n3"

    def test_a_source_written_right_after_another_import_from_the_folder(self, project: Project) -> None:
        need("cc")
        project.write("pkg/__init__.py", "")
        project.write("pkg/first.py", "")
        out = project.ok(
            f"""
            import autoaccel, pathlib, pkg.first
            pathlib.Path("pkg/late.c").write_text({c_module("late", 4)!r})
            from pkg import late
            print(late.value())
            """
        )
        assert out == "4"

    def test_a_source_written_right_after_another_import_where_stamps_are_whole_seconds(self, project: Project) -> None:
        need("cc")
        project.write("pkg/__init__.py", "")
        project.write("pkg/first.py", "")
        out = project.ok(
            f"""
            import autoaccel, os, pathlib, time
            second = int(time.time())
            class Coarse:
                def __init__(self, told): self.told = told
                def __getattr__(self, name):
                    return {{"st_mtime": float(second), "st_ctime": float(second)}}.get(name) or getattr(self.told, name)
            autoaccel._stat = lambda path: Coarse(os.stat(path))
            time.time = lambda: second + 0.9
            import pkg.first
            pathlib.Path("pkg/late.c").write_text({c_module("late", 4)!r})
            from pkg import late
            print(late.value())
            """
        )
        assert out == "4"

    def test_a_deleted_source_is_no_module_any_more(self, project: Project) -> None:
        need("cc")
        source = project.c("sample.c", 3)
        code = "import autoaccel, sample; print(sample.value())"
        assert project.ok(code) == "3"
        source.unlink()
        assert project.run(code).last == "ModuleNotFoundError: No module named 'sample'"

    def test_a_deleted_source_in_a_running_process(self, project: Project) -> None:
        need("cc")
        project.c("sample.c", 3)
        project.write("sample.py", "def value(): return 'python'\n")
        out = project.ok(
            "import autoaccel, sys, os, sample; print(sample.value()); os.unlink('sample.c'); del sys.modules['sample']; "
            "import sample; print(sample.value(), sample.__file__.rpartition('/')[2])"
        )
        assert out == "3\npython sample.py"

    def test_a_renamed_source(self, project: Project) -> None:
        need("cc")
        source = project.c("sample.c", 3)
        assert project.ok("import autoaccel, sample; print(sample.value())") == "3"
        source.write_text(c_module("renamed", 3))
        source.rename(project.root / "renamed.c")
        assert project.run("import autoaccel, sample").last == "ModuleNotFoundError: No module named 'sample'"
        assert project.ok("import autoaccel, renamed; print(renamed.value())") == "3"

    def test_a_c_source_takes_the_place_of_a_cython_source(self, project: Project) -> None:
        need("cc", "Cython")
        source = project.write("sample.pyx", "def value(): return 'pyx'\n")
        assert project.ok("import autoaccel, sample; print(sample.value())") == "pyx"
        source.unlink()
        project.c("sample.c", 3)
        assert project.ok("import autoaccel, sample; print(sample.value())") == "3"


class TestFindSpec:
    """Asking is free: nothing is built, imported or written."""

    @pytest.mark.core
    def test_asking_has_no_side_effects(self, project: Project) -> None:
        compiler = project.compiler()
        project.write("pkg/__init__.py", "")
        project.write("pkg/inner.pyx", "syntax error here (\n")
        source = project.c("sample.c", 1)
        before = project.files()
        out = project.ok(
            """
            import autoaccel, importlib.util, sys
            for name in "sample", "pkg.inner", "nothing", "pkg.nothing":
                spec = importlib.util.find_spec(name)
                print(spec and (spec.name, spec.origin, spec.has_location, spec.submodule_search_locations))
            print("sample" in sys.modules, "autoaccel.pipeline" in sys.modules)
            """
        ).splitlines()
        assert out[0] == str(("sample", str(source), True, None))
        assert out[1] == str(("pkg.inner", str(project.root / "pkg/inner.pyx"), True, None))
        assert out[2:] == ["None", "None", "False False"]
        assert project.files() == before
        assert not project.cache.exists()
        assert not compiler.log.exists()

    def test_find_spec_of_a_c_file_that_is_no_module_is_none(self, project: Project) -> None:
        project.c("sample.c", init="PyInit_other")
        assert project.ok("import autoaccel, importlib.util; print(importlib.util.find_spec('sample'))") == "None"

    def test_a_module_made_from_a_spec_by_hand(self, project: Project) -> None:
        need("cc")
        project.c("sample.c", 4)
        out = project.ok(
            """
            import autoaccel, sys
            from importlib.util import find_spec, module_from_spec
            spec = find_spec("sample")
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            print(module.value(), "sample" in sys.modules, spec.cached == module.__cached__)
            """
        )
        assert out == "4 False True"

    def test_path_finder_alone_finds_it_too(self, project: Project) -> None:
        project.c("sample.c", 4)
        out = project.ok(
            """
            import autoaccel
            from importlib.machinery import PathFinder
            import importlib.util
            importlib.util.find_spec("sample")
            print(PathFinder.find_spec("sample").origin)
            """
        )
        assert out == str(project.root / "sample.c")


def test_a_c_file_of_another_module_is_told(project: Project) -> None:
    path = project.c("sample.c", init="PyInit_other")
    run = project.run("import autoaccel, sample")
    assert run.last == (
        f"ModuleNotFoundError: No module named 'sample' ({path} is there, but it defines neither PyInit_sample nor "
        "PYBIND11_MODULE(sample, …) nor NB_MODULE(sample, …), so it is not the source of this module; it defines "
        "PyInit_other)"
    )
    assert run.out == ""
    assert project.run("import sample").last == "ModuleNotFoundError: No module named 'sample'"


def test_two_sources_that_claim_one_name(project: Project) -> None:
    need("cc", "Cython")
    project.write("sample.pyx", "def value(): return 1\n")
    project.c("sample.c", 2)
    run = project.run("import autoaccel, sample")
    assert run.last == (
        f"autoaccel.errors.BuildError: sample: more than one source defines this module: {project.root}/sample.pyx and "
        f"{project.root}/sample.c. Rename or delete all but one."
    )
    assert project.artifacts() == []


def test_a_second_source_that_appears_later_is_told(project: Project) -> None:
    need("cc")
    code = "import autoaccel, sample; print(sample.value())"
    first = project.c("sample.c", 2)
    assert project.ok(code) == "2"
    second = project.write("sample.cpp", 'extern "C" {\n' + c_module("sample", 3) + "}\n")
    assert f"more than one source defines this module: {first} and {second}." in project.run(code).last
    second.unlink()
    assert project.ok(code) == "2"


def test_a_second_source_that_becomes_one_later_is_told(project: Project) -> None:
    need("cc")
    code = "import autoaccel, sample; print(sample.value())"
    first = project.c("sample.c", 2)
    second = project.write("sample.cpp", "// a helper\n")
    for _ in range(2):
        assert project.ok(code) == "2"
        time.sleep(0.1)
    project.write("sample.cpp", 'extern "C" {\n' + c_module("sample", 3) + "}\n")
    assert f"more than one source defines this module: {first} and {second}." in project.run(code).last


@pytest.mark.parametrize("before", [True, False], ids=["from the start", "later"])
@pytest.mark.parametrize("folder", [True, False], ids=["a folder of its name", "none"])
def test_a_crate_beside_a_source_of_its_name_is_told(project: Project, before: bool, folder: bool) -> None:
    need("cc")
    code = "import autoaccel, sam_ple; print(sam_ple.value())"
    source = project.c("sam_ple.c", 2)
    if folder:
        project.write("sam-ple/data.txt", "")
    if not before:
        for _ in range(2):
            assert project.ok(code) == "2"
            time.sleep(0.1)
    text = '[package]\nname = "sam-ple"\nversion = "0.1.0"\n[lib]\ncrate-type = ["cdylib"]\n'
    crate = project.write("sam-ple/Cargo.toml", text)
    project.write("sam-ple/src/lib.rs", '#[no_mangle]\npub extern "C" fn PyInit_sam_ple() {}\n')
    assert f"more than one source defines this module: {source} and {crate}." in project.run(code).last
