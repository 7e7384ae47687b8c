"""The quick ways of the warm room give what the long way gives: path hooks, packed names, listings, threads."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import Project, c_module, need


@pytest.fixture(autouse=True)
def compiler_needed() -> None:
    need("cc")


def two(project: Project, folder: str = "a") -> None:
    """Two modules of one folder, built, with settled time stamps: importing the first reads the pack."""
    project.c(f"{folder}/m.c", 1)
    project.c(f"{folder}/n.c", 2)
    path = f"import sys; sys.path.insert(0, '{project.root}/{folder}')\n"
    for _ in range(2):
        assert project.ok(path + "import autoaccel, time, m, n; print(m.value(), n.value()); time.sleep(0.1)") == "1 2"


class TestBeforeAnythingIsSetUp:
    """Until an import is no hit of the path's first directory, there is no path hook, and nothing else is looked at."""

    START = "import sys; sys.path.insert(0, 'a'); import autoaccel\n"
    REFUSED = """
        try:
            import m
        except ImportError as error:
            print(error)
        """

    def run(self, project: Project, code: str) -> str:
        return project.ok(self.START + textwrap.dedent(code))

    def test_hits_only(self, project: Project) -> None:
        two(project)
        out = self.run(project, "import m, n; print(m.value(), n.value(), 'autoaccel.directories' in sys.modules)")
        assert out == "1 2 False"

    def test_another_import_between_hits(self, project: Project) -> None:
        two(project)
        project.write("a/plain.py", "import n\n")
        out = self.run(
            project, "import m, plain, colorsys, n; print(n.value(), [one.__name__ for one in sys.path_hooks][0])"
        )
        assert out == "2 accel_hook"

    @pytest.mark.parametrize("name", ["colorsys", "this", "queue"])
    def test_a_source_with_a_name_of_the_standard_library_s(self, project: Project, name: str) -> None:
        two(project)
        project.c(f"a/{name}.c", 3)
        for _ in range(2):
            assert self.run(project, f"import {name}, time; time.sleep(0.1); print({name}.value())") == "3"

    @pytest.mark.parametrize("where", ["a/pyproject.toml", "pyproject.toml"])
    def test_a_project_has_excluded_it_since(self, project: Project, where: str) -> None:
        two(project)
        project.write(where, "[tool.autoaccel]\nexclude = ['m']\n")
        assert self.run(project, self.REFUSED) == "No module named 'm'"

    def test_a_folder_put_in_front_since_autoaccel_was_imported(self, project: Project) -> None:
        two(project)
        project.write("b/m.py", "value = lambda: 'python'\n")
        assert self.run(project, "sys.path.insert(0, 'b'); import m, n; print(m.value(), n.value())") == "python 2"

    def test_a_package_in_its_place(self, project: Project) -> None:
        two(project)
        project.write("a/m/__init__.py", "value = lambda: 'package'\n")
        assert self.run(project, "import m; print(m.value())") == "package"

    def test_a_second_source_of_it(self, project: Project) -> None:
        two(project)
        project.write("a/m.pyx", "def value(): return 5\n")
        assert self.run(project, self.REFUSED).startswith("m: more than one source defines this module")

    def test_it_has_changed_and_is_imported_first(self, project: Project) -> None:
        two(project)
        project.c("a/m.c", 4)
        assert self.run(project, "import m; print(m.value())") == "4"

    def test_it_changes_between_its_being_found_and_loaded(self, project: Project) -> None:
        two(project)
        project.write("later", c_module("m", 6))
        out = self.run(
            project,
            """
            spec = sys.meta_path[0].find_spec("m")
            assert "autoaccel.directories" not in sys.modules
            with open("later") as new, open("a/m.c", "w") as old: old.write(new.read())
            module = spec.loader.create_module(spec)
            spec.loader.exec_module(module)
            print(module.value())
            """,
        )
        assert out == "6"

    @pytest.mark.parametrize("way", ["autoaccel.uninstall()", "sys.meta_path.pop(0)"])
    def test_taken_out_and_put_back(self, project: Project, way: str) -> None:
        two(project)
        out = self.run(
            project,
            f"""
            entry = sys.meta_path[0]
            {way}
            try:
                import m
            except ModuleNotFoundError as error:
                print(error)
            sys.meta_path.insert(0, entry)
            import m, n
            print(m.value(), n.value(), entry.find_spec("nothing"))
            """,
        )
        assert out.splitlines() == ["No module named 'm'", "1 2 None"]

    def test_who_holds_the_function_of_before(self, project: Project) -> None:
        two(project)
        project.c("b/inner.c", 8)
        out = self.run(
            project,
            """
            find = sys.meta_path[0].find_spec
            import colorsys, m
            sys.path.append("b")
            print(find("m").origin[-3:], find("inner", ["b"]), find("colorsys"))
            """,
        )
        assert out == "m.c None None"

    @pytest.mark.parametrize("name", ["queue", "m"])
    def test_excluded_and_built_all_the_same(self, project: Project, name: str) -> None:
        project.write("a/pyproject.toml", f"[tool.autoaccel]\nexclude = ['{name}']\n")
        project.write(f"a/{name}.py", "value = lambda: 'python'\n")
        two(project, "b")
        project.c(f"a/{name}.c", 3)
        project.c("a/other.c", 4)
        project.ok(f"import autoaccel; autoaccel.build('a/{name}.c'); autoaccel.build('a/other.c')")
        time.sleep(0.1)
        for _ in range(2):
            assert self.run(project, f"import {name}, other; print({name}.value(), other.value())") == "python 4"

    @pytest.mark.parametrize(
        "change",
        [
            "sys.meta_path.reverse()",
            "sys.meta_path[0] = type('Wrapper', (), {'find_spec': staticmethod(sys.meta_path[0].find_spec)})()",
            "sys.meta_path[1:1] = [type('Deny', (), {'find_spec': staticmethod(deny)})()]",
            "sys.path_hooks.insert(0, lambda path: deny(path))",
        ],
        ids=["reversed", "wrapped", "denied", "path_hook"],
    )
    def test_lists_that_were_changed_before(self, project: Project, change: str) -> None:
        two(project)
        out = self.run(
            project,
            f"""
            def deny(name, *others):
                if "autoaccel" in name or not others: raise ImportError("denied")
            {change}
            import n, colorsys, m
            print(m.value(), n.value(), colorsys.__name__)
            """,
        )
        assert out == "1 2 colorsys"

    def test_a_module_table_that_was_put_back(self, project: Project) -> None:
        two(project)
        out = self.run(
            project,
            """
            before = dict(sys.modules)
            import colorsys
            for name in set(sys.modules) - set(before): del sys.modules[name]
            import m
            autoaccel.uninstall()
            print([getattr(one, "__name__", "") for one in (*sys.meta_path, *sys.path_hooks)].count("AccelFinder"))
            try:
                import n
            except ModuleNotFoundError as error:
                print(error)
            """,
        )
        assert out.splitlines() == ["0", "No module named 'n'"]

    def test_our_own_files_are_gone(self, project: Project) -> None:
        two(project)
        code = "import m; sys.modules['autoaccel.directories'] = None; import colorsys, n; print(m.value(), n.value())"
        assert self.run(project, code) == "1 2"

    def test_an_interrupt_on_the_way(self, project: Project) -> None:
        two(project)
        out = self.run(
            project,
            """
            def trace(frame, event, arg):
                global left
                # Not where the import lock is between two hands.
                if "autoaccel" not in frame.f_code.co_filename or frame.f_code.co_name == "cold": return None
                left -= event == "line"
                if left == 0: raise KeyboardInterrupt
                return trace
            entry = sys.meta_path[0]
            for name in ("colorsys", "this_is_not_there"):
                for steps in range(1, 130):
                    left = steps
                    sys.settrace(trace)
                    try:
                        __import__(name)
                    except (KeyboardInterrupt, ModuleNotFoundError):
                        pass
                    sys.settrace(None)
                    sys.modules.pop("colorsys", None)
            import colorsys, m, n
            print(m.value(), n.value())
            """,
        )
        assert out == "1 2"

    def test_threads_that_all_import_something_else(self, project: Project) -> None:
        two(project)
        names = [f"plain{index}" for index in range(6)]
        for name in names:
            project.write(f"a/{name}.py", "import m, colorsys, n\nvalue = m.value() + n.value()\n")
        out = self.run(
            project,
            f"""
            import _thread, time
            found = []
            def run(name):
                found.append(__import__(name).value)
            for name in {names!r}: _thread.start_new_thread(run, (name,))
            for _ in range(300):
                if len(found) < {len(names)}: time.sleep(0.1)
            print(found)
            """,
        )
        assert out == "[3, 3, 3, 3, 3, 3]"


class TestPackedNames:
    """A name that a pack tells of is answered at once only where the long way would answer the same."""

    def test_a_source_that_became_a_namespace_portion(self, project: Project) -> None:
        two(project)
        (project.root / "a" / "m.c").unlink()
        (project.root / "a" / "m").mkdir()
        project.write("b/m.py", "who = 'python'\n")
        code = "import sys; sys.path[:0] = ['a', 'b']; import autoaccel, n, m; print(m.who)"
        assert project.ok(code) == "python"

    def test_a_finder_that_came_in_before_the_path_finder(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import sys; sys.path.insert(0, "a")
            import autoaccel, n
            from importlib.machinery import BuiltinImporter, ModuleSpec
            class Finder:
                def find_spec(self, name, path=None, target=None):
                    return ModuleSpec(name, self, origin="mine") if name == "m" else None
                def create_module(self, spec): return None
                def exec_module(self, module): module.who = "finder"
            sys.meta_path.insert(2, Finder())
            import m
            print(m.who)
            """
        )
        assert out == "finder"

    @pytest.mark.parametrize("name", ["xxsubtype", "__hello__", "this"])
    def test_a_name_of_the_interpreter_s_own(self, project: Project, name: str) -> None:
        two(project)
        project.c(f"a/{name}.c", 3)
        code = "import sys; sys.path.insert(0, 'a'); import autoaccel, importlib.util as u\nif sys.argv[1:]: import n\n"
        ask = f"{code}print(u.find_spec({name!r}).origin)"
        first = project.ok(ask)
        project.ok("import autoaccel; autoaccel.build('a')")
        assert project.ok(ask) == first
        assert project.ok(ask.replace("if sys.argv[1:]: ", "")) == first

    @pytest.mark.parametrize("entry", ["None", "b'/'", "7"])
    def test_an_odd_first_entry_is_not_the_current_folder(self, project: Project, entry: str) -> None:
        two(project, ".")
        project.write("b/m.py", "who = 'python'\n")
        out = project.ok(
            f"import sys; sys.path.insert(1, 'b'); import autoaccel, n; sys.path[0] = {entry}; import m; print(m.who)"
        )
        assert out == "python"

    def test_a_changed_folder_on_the_way(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import os, sys; sys.path.insert(0, "a")
            import autoaccel, n
            os.mkdir("first"); open("first/m.py", "w").write("who = 'first'")
            sys.path.insert(0, "first")
            import m
            print(m.who)
            """
        )
        assert out == "first"


class TestPathHooks:
    """Everybody's hooks and lists keep their meaning."""

    def test_autoaccel_imported_a_second_time(self, project: Project) -> None:
        two(project)
        project.write("c/plain.py", "")
        out = project.ok(
            """
            import sys
            import autoaccel
            for name in [name for name in sys.modules if name.partition(".")[0] == "autoaccel"]: del sys.modules[name]
            import autoaccel
            sys.path[:0] = ["c", "a"]
            import plain, m
            print(m.value(), [getattr(one, "__name__", "") for one in sys.meta_path].count("AccelFinder"))
            autoaccel.uninstall()
            names = [getattr(one, "__name__", "") for one in (*sys.meta_path, *sys.path_hooks)]
            print(names.count("AccelFinder") + names.count("accel_hook"))
            """
        ).splitlines()
        assert out == ["1 1", "0"]

    def test_two_hooks_that_ask_each_other(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import sys
            import autoaccel
            def hook(path):
                for other in sys.path_hooks:
                    if other is not hook:
                        try: return other(path)
                        except ImportError: pass
                raise ImportError
            sys.path_hooks.insert(0, hook)
            sys.path.insert(0, "a")
            import m
            print(m.value())
            """
        )
        assert out == "1"

    @pytest.mark.parametrize("lists", ["path_hooks", "meta_path"])
    def test_what_was_taken_out_claims_nothing(self, project: Project, lists: str) -> None:
        two(project)
        code = {
            "path_hooks": "import autoaccel; kept = sys.path_hooks[:]; autoaccel.uninstall(); sys.path_hooks[:] = kept",
            "meta_path": "kept = sys.meta_path[:]; import autoaccel; sys.meta_path[:] = kept",
        }[lists]
        out = project.run(f"import sys; {code}; sys.path.insert(0, 'a'); import m")
        assert out.last == "ModuleNotFoundError: No module named 'm'"

    @pytest.mark.parametrize("ending", ["/", "//", "/."])
    def test_a_path_entry_with_something_at_its_end(self, project: Project, ending: str) -> None:
        two(project)
        project.write("a/plain.py", "")
        project.write("a/pkg/__init__.py", "")
        code = (
            f"import sys; sys.path.insert(0, '{project.root}/a{ending}'); HOOK\nimport plain, pkg, importlib.util as u\n"
            "print(plain.__file__, pkg.__file__, pkg.__path__)"
        )
        native = code.replace("HOOK", "import autoaccel, m")
        assert project.ok(native) == project.ok(code.replace("HOOK", ""))

    def test_a_pkgutil_of_the_user_s(self, project: Project) -> None:
        project.write("pkgutil.py", "A = 1\n")
        out = project.ok("import sys; sys.modules.pop('pkgutil', None); import autoaccel, pkgutil; print(pkgutil.A)")
        assert out == "1"


class TestListings:
    """Names that must stay absent are looked for where they would matter."""

    def test_a_pxd_that_appears_inside_a_native_package(self, project: Project) -> None:
        need("Cython")
        project.write("pq/__init__.pyx", "cdef extern from *:\n    ''\nVALUE = 1\n")
        for _ in range(2):
            project.ok("import autoaccel, pq, time; time.sleep(0.1)")
        assert len(project.artifacts()) == 1
        project.write("pq/__init__.pxd", "cdef int unused\n")
        project.ok("import autoaccel, pq")
        assert len(project.artifacts()) == 2

    def test_a_setup_py_beside_a_native_package_is_no_reason_to_look_further(self, project: Project) -> None:
        need("Cython")
        project.write("pq/__init__.pyx", "VALUE = 1\n")
        project.write("setup.py", "")
        for _ in range(2):
            project.ok("import autoaccel, pq, time; time.sleep(0.1)")
        assert project.ok("import autoaccel, pq, sys; print('autoaccel.pipeline' in sys.modules)") == "False"

    @pytest.mark.parametrize("change", ["ln -s /nonexistent m.c", "mkdir m.c", "true"])
    def test_a_built_source_that_is_no_file_any_more(self, project: Project, change: str) -> None:
        two(project, ".")
        project.write("m.py", "who = 'python'\n")
        (project.root / "m.c").unlink()
        import subprocess

        subprocess.run(change, shell=True, cwd=project.root, check=True)
        assert project.ok("import autoaccel, m; print(m.who)") == "python"

    #: The folder is listed before the hook comes, which takes it for an old one.
    LISTED = """
        import os, sys, time
        sys.path.insert(0, "a")
        try: import nothing
        except ImportError: pass
        lists = []
        {CHANGE}
        sys.addaudithook(lambda event, args: lists.append(str(args[0])) if event == "os.listdir" else None)
        import autoaccel
        autoaccel.time = type("later", (), {"time": lambda: time.time() + 100, "time_ns": time.time_ns})
        import m
        print(m.value(), sum(path.endswith("/a") for path in lists))
    """

    def test_a_listing_from_before_the_hook_serves(self, project: Project) -> None:
        project.c("a/m.c", 1)
        code = self.LISTED.replace("{CHANGE}", "")
        project.ok(code)  # the build lists as it likes
        assert project.ok(code) == "1 0"

    def test_a_file_that_came_before_the_hook_and_after_the_listing(self, project: Project) -> None:
        project.write("a/m.py", "def value(): return 'python'\n")
        change = (
            "was = os.stat('a'); time.sleep(0.02); os.rename('m.c', 'a/m.c'); os.utime('a', ns=(was.st_mtime_ns,) * 2)"
        )
        project.c("m.c", 1)
        assert project.ok(self.LISTED.replace("{CHANGE}", change)).split()[0] == "1"

    def test_a_folder_whose_time_stamp_was_set_back(self, project: Project) -> None:
        project.write("inc/v.h", "#define V 1\n")
        project.write(
            "m.c", c_module("m", "V").replace("#include <Python.h>", '#include <Python.h>\n#include "v.h"', 1)
        )
        out = project.ok(
            """
            import os, sys, time, autoaccel
            os.environ["CPATH"] = os.path.abspath("inc")
            import m
            print(m.value())
            was = os.stat(".")
            time.sleep(0.1)
            open("v.h", "w").write("#define V 2\\n")
            os.utime(".", ns=(was.st_atime_ns, was.st_mtime_ns))
            del sys.modules["m"]
            import m
            print(m.value())
            """
        )
        assert out.split() == ["1", "2"]

    def test_a_finder_put_into_the_cache_by_somebody(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import autoaccel, importlib, sys
            from importlib.machinery import FileFinder, SOURCE_SUFFIXES, SourceFileLoader
            sys.path.insert(0, "a")
            sys.path_importer_cache["a"] = FileFinder("a", (SourceFileLoader, SOURCE_SUFFIXES))
            importlib.invalidate_caches()
            import m
            print(m.value())
            """
        )
        assert out == "1"

    def test_two_modules_of_one_spec(self, project: Project) -> None:
        two(project, ".")
        out = project.ok(
            """
            import autoaccel, importlib.util as u
            spec = u.find_spec("m")
            one, other = u.module_from_spec(spec), u.module_from_spec(spec)
            spec.loader.exec_module(other), spec.loader.exec_module(one)
            print(one.value(), other.value(), one is other)
            """
        )
        assert out == "1 1 False"


class TestThreads:
    """What one thread changes, another one never sees half."""

    CODE = """
        import sys, threading, time
        import autoaccel, importlib, importlib.util
        sys.setswitchinterval(1e-6)
        problems, stop = [], time.monotonic() + 2
        def look():
            while time.monotonic() < stop:
                try:
                    found = {NAMES}
                    for name, ending in found.items():
                        spec = importlib.util.find_spec(name)
                        if spec is None or not spec.origin.endswith(ending): problems.append((name, spec))
                except BaseException as error:
                    problems.append(repr(error))
        threads = [threading.Thread(target=look) for _ in range(2)]
        for one in threads: one.start()
        while time.monotonic() < stop:
            {CHANGE}
        for one in threads: one.join()
        print(len(problems), problems[:2])
    """

    def test_invalidate_caches(self, project: Project) -> None:
        project.write(
            "pyproject.toml",
            "[tool.autoaccel]\nexclude = ['ex']\n[[tool.setuptools.ext-modules]]\nname = 'decl'\nsources = ['src/d.c']\n",
        )
        project.write("src/d.c", c_module("decl", 1))
        project.c("ex.c", 1)
        project.write("ex.py", "")
        names = "{'decl': 'd.c', 'ex': 'ex.py'}"
        code = self.CODE.replace("{NAMES}", names).replace("{CHANGE}", "importlib.invalidate_caches()")
        assert project.ok(code) == "0 []"

    def test_a_declaration_that_another_thread_is_reading_again(self, project: Project) -> None:
        project.write("pyproject.toml", "[[tool.setuptools.ext-modules]]\nname = 'decl'\nsources = ['src/d.c']\n")
        project.write("src/d.c", c_module("decl", 1))
        out = project.ok(
            """
            import autoaccel, builtins, importlib.util, sys
            first = importlib.util.find_spec("decl").origin
            entry = next(one for one in sys.meta_path if getattr(one, "__name__", "") == "AccelFinder")
            usual = builtins.__import__
            def meanwhile(name, *rest, **words):
                if name == "autoaccel.finder":
                    entry.special, entry.projects = {}, {}
                return usual(name, *rest, **words)
            builtins.__import__ = meanwhile
            print(importlib.util.find_spec("decl").origin == first, entry.special)
            """
        )
        assert out == "True {}"

    def test_a_folder_that_another_thread_lists_anew_while_it_is_looked_through(self, project: Project) -> None:
        """What its names begin with is never kept from the listing before."""
        project.write("first.py", "")
        out = project.ok(
            """
            import os, pathlib, sys, threading
            import autoaccel, first
            finder = sys.path_importer_cache[os.getcwd()]
            class Listing(set):
                def __iter__(self):
                    late = pathlib.Path("late.py")
                    if not late.exists():
                        late.touch()
                        other = threading.Thread(target=finder.find_spec, args=("other",))
                        other.start()
                        other.join()
                    return super().__iter__()
            finder.find_spec("nothing")
            finder._path_cache = Listing(finder._path_cache)
            finder._racy = False  # some time later
            print(finder.find_spec("absent"))
            finder._racy = False
            print(finder.find_spec("late").origin == os.path.abspath("late.py"))
            """
        )
        assert out == "None\nTrue"

    def test_a_folder_that_another_thread_imports_from_for_the_first_time(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import sys; sys.path.insert(0, "a")
            import autoaccel
            class Meanwhile(dict):
                def __contains__(self, name):
                    autoaccel.packs["/another"] = {}
                    return super().__contains__(name)
            autoaccel.packs["/first"] = Meanwhile()
            import m
            print(m.value(), "autoaccel.loader" in sys.modules)
            """
        )
        assert out == "1 False"

    def test_a_module_without_a_name(self, project: Project) -> None:
        project.c("m.c", 1)
        for text in "", "x = 1\n":
            project.write(".py", text)
            out = project.ok(
                """
                import importlib.util, autoaccel, m
                try:
                    print(importlib.util.find_spec("").origin[-4:], m.value())
                except ValueError as error:
                    print(error)
                """
            )
            assert out in ("/.py 1", "Empty module name")

    def test_install_and_uninstall(self, project: Project) -> None:
        project.write("plain.py", "")
        project.c("m.c", 1)
        code = self.CODE.replace("{NAMES}", "{'plain': 'plain.py', 'm': 'm.c'}")
        code = code.replace("{CHANGE}", "autoaccel.install(exclude=['nothing']).uninstall()")
        assert project.ok(code) == "0 []"

    def test_importing_many_at_once(self, project: Project) -> None:
        for number in range(6):
            project.c(f"t{number}.c", number)
        out = project.ok(
            """
            import sys, threading, importlib
            import autoaccel
            sys.setswitchinterval(1e-6)
            def load(number): sys.stdout.write(f"{importlib.import_module(f't{number}').value() == number}\\n")
            threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(6)]
            for one in threads: one.start()
            for one in threads: one.join(60)
            """
        )
        assert out.split() == ["True"] * 6


class TestLooks:
    """The source is looked at once in an import, and what must be absent is found in short and in long listings."""

    def test_an_edit_between_finding_and_loading(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import sys, importlib.util; sys.path.insert(0, "a")
            import autoaccel, n
            from pathlib import Path
            def load(spec):
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
            spec = importlib.util.find_spec("m")
            path = Path("a/m.c")
            path.write_text(path.read_text().replace("(1)", "(7)"))
            print(load(spec).value())
            """
        )
        assert out == "7"

    def test_an_edit_after_a_finder_has_kept_the_spec(self, project: Project) -> None:
        two(project)
        out = project.ok(
            """
            import sys; sys.path.insert(0, "a")
            import autoaccel, n
            from pathlib import Path
            class Early:
                def find_spec(self, name, path=None, target=None):
                    return kept if name == "m" else None
            finder = sys.path_importer_cache[sys.path[0]]
            kept = finder.find_spec("m")
            path = Path("a/m.c")
            path.write_text(path.read_text().replace("(1)", "(7)"))
            sys.meta_path.insert(0, Early())
            import m
            print(m.value())
            """
        )
        assert out == "7"

    def test_an_edit_by_a_finder_that_asks_the_usual_one(self, project: Project) -> None:
        project.c("a/m.c", 1)
        project.ok("import sys; sys.path.insert(0, 'a'); import autoaccel, m")
        out = project.ok(
            """
            import sys; sys.path.insert(0, "a")
            import autoaccel
            from importlib.machinery import PathFinder
            from pathlib import Path
            class Wrapping:
                def find_spec(self, name, path=None, target=None):
                    spec = PathFinder.find_spec(name, path, target)
                    if name == "m":
                        source = Path("a/m.c")
                        source.write_text(source.read_text().replace("(1)", "(7)"))
                    return spec
            sys.meta_path.insert(0, Wrapping())
            import m
            print(m.value())
            """
        )
        assert out == "7"

    def test_an_import_looks_once(self, project: Project) -> None:
        need("strace")
        two(project)
        log = project.cache.parent / "strace"
        # The first of a process is found by `PathFinder`, the others at once.
        code = "import sys; sys.path.insert(0, 'a'); import autoaccel, n, m"
        done = subprocess.run(
            ["strace", "-f", "-o", str(log), sys.executable, "-c", code],
            cwd=project.root, env=project.environ(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        if done.returncode != 0 and "ptrace" in done.stderr.lower():
            pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
        assert [log.read_text().count(f'/a/{name}.c"') for name in "nm"] == [1, 1]

    @pytest.mark.parametrize("others", [0, 80], ids=["a short listing", "a long one"])
    def test_a_header_that_appears_beside_the_source(self, project: Project, others: int) -> None:
        project.c("a/m.c", "NUMBER", before="#ifndef NUMBER\n#define NUMBER 1\n#endif")
        for number in range(others):
            project.write(f"a/other{number}.txt", "")
        code = "import sys; sys.path.insert(0, 'a'); import autoaccel, time, m; print(m.value()); time.sleep(0.1)"
        for _ in range(2):
            assert project.ok(code) == "1"
        project.write("a/stdio.h", "#include_next <stdio.h>\n#define NUMBER 9\n")
        assert project.ok(code) == "9"
