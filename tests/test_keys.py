"""Keys: no two values look alike, and everything that decides the bytes is in."""

from __future__ import annotations

import os
import sysconfig
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from autoaccel import keys
from autoaccel.keys import Contents, digest, plan_key, variant_key
from autoaccel.plan import Options, Plan, Tool
from autoaccel.settings import Settings
from autoaccel.sources import Source
from autoaccel.staleness import FRESH, identity
from tests.conftest import Project


def test_values_that_look_alike_have_different_digests() -> None:
    values: list[object] = [
        None, "", "None", b"", b"None", 0, "0", False, 1, True, "1", 1.0, (), ("",), ((),), ("a", "b"), ("ab",), ("a", "b", ""),
        ("a", ("b",)), (("a",), "b"), "a,b", {"a": "b"}, ("dict", ("a", "b")), {"a": None}, {"a": {"b": 1}}, {"a": "1"}, {"a": 1},
        "s1:a", ("s1:a",), b"a", "a", "ä", "\udcff", Options(), Options(libraries=("a",)), Options(sources=("a",)),
    ]  # fmt: skip
    alike = [(one, two) for one, two in combinations(values, 2) if digest(one) == digest(two)]
    # A mapping counts as the sorted list of its pairs, bools and numbers by how they are written.
    assert alike == [({"a": "b"}, ("dict", ("a", "b")))]
    assert digest("a", "b") != digest("ab") != digest(("a", "b"))
    assert digest(["a"]) == digest(("a",))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_what_has_no_place_in_a_key_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no place in a key"):
        digest(object())
    with pytest.raises(TypeError, match="set has no place in a key"):
        digest({"a"})


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "x.c"
    path.write_text("int x;")
    return Plan(
        source=Source("x", str(path), "c"),
        toolchain="c",
        options=Options(libraries=("m",)),
        tools=(Tool("cc", "cc 1", "id-1", ("/usr/bin/cc",)),),
        env=(("CFLAGS", None),),
        inputs=(str(path),),
        settings=Settings(root="/project"),
    )


def test_everything_that_decides_is_in_the_key(plan: Plan, tmp_path: Path) -> None:
    same = plan_key(plan, Contents())
    assert len(same) == 40
    assert plan_key(replace(plan), Contents()) == same
    path = plan.source.path
    others = [
        replace(plan, source=Source("y", path, "c")),
        replace(plan, source=Source("x", path, "c", True)),
        replace(plan, source=Source("x", str(tmp_path / "y.c"), "c")),
        replace(plan, toolchain="c++"),
        replace(plan, options=Options(libraries=("n",))),
        replace(plan, options=Options(libraries=("m",), define_macros=(("A", None),))),
        replace(plan, options=Options(libraries=("m",), define_macros=(("A", ""),))),
        replace(plan, tools=(Tool("cc", "cc 1", "id-2", ("/usr/bin/cc",)),)),
        replace(plan, tools=()),
        replace(plan, env=(("CFLAGS", ""),)),
        replace(plan, env=(("CFLAGS", "-O3"),)),
        replace(plan, inputs=(path, str(tmp_path / "missing.h"))),
        replace(plan, settings=Settings(root="/project", optimize="3")),
    ]
    found = [plan_key(other, Contents()) for other in others]
    assert len({same, *found}) == 1 + len(others)
    Path(path).write_text("int y;")
    assert plan_key(plan, Contents()) != same


def test_where_the_tools_files_are_does_not_count(plan: Plan) -> None:
    moved = replace(plan, tools=(Tool("cc", "cc 1 (another line)", "id-1", ("/opt/cc",)),))
    assert plan_key(moved, Contents()) == plan_key(plan, Contents())


def test_variants_depend_on_what_was_read_and_not_on_its_order() -> None:
    one = variant_key("k", [("a", "1"), ("b", "2")], ["x", "y"])
    assert one == variant_key("k", [("b", "2"), ("a", "1")], ["y", "x"])
    others = [
        variant_key("l", [("a", "1"), ("b", "2")], ["x", "y"]),
        variant_key("k", [("a", "2"), ("b", "2")], ["x", "y"]),
        variant_key("k", [("a", "1"), ("b", "2")], ["x"]),
        variant_key("k", [("a", "1")], ["x", "y"]),
    ]
    assert len({one, *others}) == 5


def test_contents_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    contents = Contents()
    first = contents.digest(str(path))
    path.write_text("two")
    assert contents.digest(str(path)) == first
    assert Contents().digest(str(path)) != first
    assert Contents().digest(str(tmp_path / "nowhere")) is None


def seconds_later(monkeypatch: pytest.MonkeyPatch, path: Path, seconds: float) -> None:
    """Have it be so many seconds after the last change of a file, however long the test takes."""
    changed = path.stat().st_ctime_ns
    monkeypatch.setattr(keys.time, "time_ns", lambda: changed + int(seconds * 1e9))


def test_what_other_contents_have_read_is_read_again_where_it_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    known: dict[str, tuple[tuple[int, int, int, int], str]] = {}
    seconds_later(monkeypatch, path, 0.01)
    young = Contents(known).digest(str(path))
    assert not known  # it might change under the same stamps
    seconds_later(monkeypatch, path, 2.2)
    first = Contents(known).digest(str(path))
    assert first == young
    assert known[str(path)] == (identity(str(path)), first)
    stamps = path.stat()
    while identity(str(path)) == known[str(path)][0]:  # as it would be within one tick of the kernel's clock
        path.write_text("two")
        os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    seconds_later(monkeypatch, path, 0.01)
    assert Contents(known).digest(str(path)) == keys.file_digest(str(path)) != first
    known[str(path)] = (identity(str(path)) or FRESH, "remembered")
    assert Contents(known).digest(str(path)) == "remembered"


def test_the_content_of_a_folder_is_its_listing(tmp_path: Path) -> None:
    before = keys.file_digest(str(tmp_path))
    (tmp_path / "x").touch()
    after = keys.file_digest(str(tmp_path))
    (tmp_path / "x").write_text("other")
    assert before != after == keys.file_digest(str(tmp_path))


def test_a_file_that_is_too_fresh_has_no_identity_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    for seconds, trusted in ((0.0, False), (0.04, False), (2.2, True)):
        seconds_later(monkeypatch, path, seconds)
        assert Contents().identity(str(path)) == (identity(str(path)) if trusted else FRESH)
    # Whole seconds only: a clock that coarse needs more time.
    assert Contents().identity(str(tmp_path / "nowhere")) == FRESH


@pytest.mark.parametrize(
    ("stamps", "ago", "changed"),
    [((5e9, 5e9), 0.5, True), ((5e9, 5e9), 2.5, False), ((5e9, 5e9 + 1), 0.5, False), ((5e9, 5e9 + 1), 0.0, True)],
    ids=["whole seconds", "whole seconds, long ago", "before", "after"],
)
def test_a_change_in_the_second_of_a_moment_may_be_one_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stamps: tuple[float, float], ago: float, changed: bool
) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    monkeypatch.setattr(keys.manifest, "identity", lambda _: (int(stamps[0]), int(stamps[1]), 3, 1))
    moment = 5_000_000_000 + int(ago * 1e9)
    assert Contents().changed_since(str(path), moment) is changed
    # Who has read it before sees by the content, too.
    before = Contents()
    before.digest(str(path))
    assert Contents().changed_since(str(path), moment, before) is (stamps[1] >= moment)
    path.write_text("two")
    assert Contents().changed_since(str(path), moment, before)


def test_a_change_after_a_moment_is_seen_whatever_its_mtime(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one")
    before = time.time_ns() - 10_000_000_000
    assert Contents().changed_since(str(path), before)
    later = time.time_ns() + 10_000_000_000
    assert not Contents().changed_since(str(path), later)
    os.utime(path, (1, 1))
    assert Contents().changed_since(str(path), before)


def test_another_thread_is_asking_sysconfig_for_the_first_time(project: Project) -> None:
    """Before Python 3.12, its table is there before anything is in it."""
    out = project.ok(
        """
        import sysconfig, threading, time
        usual, asked = sysconfig._init_posix, threading.Event()
        def slowly(table):
            asked.set()
            time.sleep(0.3)
            usual(table)
        sysconfig._init_posix = slowly
        threading.Thread(target=sysconfig.get_config_vars).start()
        asked.wait()
        from autoaccel import keys
        print(keys.config_var("CC"), keys.config_var("EXT_SUFFIX"), keys.config_var("no such"))
        """
    )
    assert out == f"{sysconfig.get_config_var('CC')} {sysconfig.get_config_var('EXT_SUFFIX')} None"
