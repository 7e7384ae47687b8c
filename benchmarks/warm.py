"""Imports of what is built already, imports of other things, and what the hook itself costs."""

import shutil
import sysconfig
from pathlib import Path

from measure import Rounds, Run, Sample, fresh, inside, instructions, output, processes, system_calls
from place import DATA, HOOKS, Setup
from report import Row

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

#: How many modules are imported by one process; how many imports are unrelated.
MANY, UNRELATED = 100, 500


def one_module(setup: Setup, rounds: Rounds) -> list[Row]:
    """Whole processes that import one module: a Cython module, and a pybind11 module beside cppimport."""
    rows = _one(setup, "sample", DATA / "small.pyx", "pyximport", 30, rounds)
    if setup.has("pybind11"):
        rows += _one(setup, "bound", DATA / "bound.cpp", "cppimport", 10, rounds)
    return rows


def _one(setup: Setup, name: str, source: Path, peer: str, goal: int, rounds: Rounds) -> list[Row]:
    ours, floor = setup.sources(source, name), fresh(setup.place)
    built = output(setup.run(f"import autoaccel, {name}; print({name}.__spec__.cached)", ours)).strip()
    shutil.copy(built, floor / f"{name}{SUFFIX}")
    runs = {
        "floor": Run(f"import {name}", floor),
        "again": Run(f"import {name}", floor),
        "ours": setup.run(f"import autoaccel, {name}", ours),
    }
    if setup.has(peer):
        runs[peer] = setup.run(f"{HOOKS[peer]}; import {name}", setup.sources(source, name))
        output(runs[peer])
    for run in runs.values():
        output(run)
    setup.rest(ours)
    samples = processes(runs, rounds, every={peer: max(20, rounds.most // 8)})
    case = f"warm, whole process, {source.suffix}"
    rows = [_against_floor(case, samples, goal=1.05)]
    beside = Row(f"{case}: {peer} ÷ ours", goal=goal, at_least=True, ours=samples["ours"].median * 1e3)
    if peer in samples:
        beside.peers = {peer: samples[peer].median * 1e3}
        beside.value = samples[peer].median / samples["ours"].median
        beside.robust = samples[peer].lower / samples["ours"].lower
    return [*rows, beside, *_counted(case, runs["floor"], runs["ours"])]


def many_modules(setup: Setup, rounds: Rounds) -> list[Row]:
    """A hundred modules of one folder, timed inside the process that imports them."""
    ours, floor = fresh(setup.place), fresh(setup.place)
    text = (DATA / "tiny.c").read_text(encoding="utf-8")
    names = [f"tiny{number}" for number in range(MANY)]
    for name in names:
        (ours / f"{name}.c").write_text(text.replace("@NAME@", name), encoding="utf-8")
    setup.build(ours)
    listed = f"names = {names}\n"
    places = output(
        setup.run(f"import autoaccel\n{listed}for name in names: print(__import__(name).__spec__.cached)", ours)
    )
    for name, place in zip(names, places.split(), strict=True):
        shutil.copy(place, floor / f"{name}{SUFFIX}")
    loop = f"{listed}for name in names: __import__(name)"
    timed = f"{listed}from time import perf_counter\nstart = perf_counter()\nfor name in names: __import__(name)\n"
    timed += "print(perf_counter() - start)"
    runs = {
        "floor": Run(timed, floor),
        "again": Run(timed, floor),
        "ours": setup.run(f"import autoaccel\n{timed}", ours),
    }
    case = f"warm, {MANY} modules, in process"
    setup.rest(ours)
    row = _against_floor(case, inside(runs, rounds), goal=1.1)
    before = (Run(listed, floor), setup.run(f"import autoaccel\n{listed}", ours))
    return [row, *_counted(case, Run(loop, floor), setup.run(f"import autoaccel\n{loop}", ours), before)]


def unrelated(setup: Setup, rounds: Rounds, count: bool) -> list[Row]:
    """Imports that are none of the hook's business: found and not found, in three kinds of folder."""
    top, site = fresh(setup.place), fresh(setup.place) / "site-packages"
    for folder in (top, top / "package", site, site / "installed"):
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(UNRELATED):
            (folder / f"plain{number}.py").write_text("value = 1\n", encoding="utf-8")
    for package in (top / "package", site / "installed"):
        (package / "__init__.py").touch()
    rows = []
    for kind, first, prefix in (
        ("a user's folder", top, ""),
        ("a user's package", top, "package."),
        ("site-packages", site, ""),
        ("an installed package", site, "installed."),
    ):
        for what, stem in (("hits", "plain"), ("misses", "absent")):
            code = _imports(first, prefix, stem)
            hooks = {"floor": "", "again": "", "ours": "import autoaccel\n"}
            hooks |= {peer: f"{hook}\n" for peer, hook in HOOKS.items() if setup.has(peer)}
            runs = {name: setup.run(hook + code, setup.empty) for name, hook in hooks.items()}
            output(runs["floor"])  # leaves .pyc files for all
            slow = dict.fromkeys(HOOKS, max(3, rounds.most // 3))
            case = f"{UNRELATED} {what} in {kind}"
            rows.append(_against_floor(case, inside(runs, rounds, slow), goal=1.05))
            if count:
                none = [setup.run(hook + _imports(first, prefix, stem, 0), setup.empty) for hook in hooks.values()]
                rows += _counted(case, runs["floor"], runs["ours"], (none[0], none[2]))
    return rows


def _imports(folder: Path, prefix: str, stem: str, number: int = UNRELATED) -> str:
    lines = [f"import sys\nsys.path.insert(0, {str(folder)!r})", "from time import perf_counter"]
    if prefix:
        lines.append(f"import {prefix[:-1]}")
    lines += [
        "start = perf_counter()",
        f"for number in range({number}):",
        "    try:",
        f"        __import__(f'{prefix}{stem}{{number}}')",
        "    except ModuleNotFoundError:",
        "        pass",
        "print(perf_counter() - start)",
        # A wrong result must not pass for a fast one.
        f"assert len([n for n in sys.modules if n.startswith('{prefix}plain')]) == {number * (stem == 'plain')}",
    ]
    return "\n".join(lines)


def own_import(setup: Setup, rounds: Rounds) -> list[Row]:
    """What ``import autoaccel`` takes, and what it brings along."""
    code = "from time import perf_counter\nstart = perf_counter()\nimport autoaccel\nprint(perf_counter() - start)"
    run = setup.run(code, setup.empty)
    output(run)
    samples = inside({"ours": run}, rounds)["ours"]
    package = output(setup.run("import autoaccel; print(autoaccel.__path__[0])", setup.empty)).strip()
    bare = "import sys; had = set(sys.modules); sys.path.append({!r}); import autoaccel; print(*set(sys.modules) - had)"
    isolated = setup.run(bare.format(str(Path(package).parent)), setup.empty, flags=("-I", "-S"))
    loaded = output(isolated).split()
    foreign = [name for name in loaded if name.partition(".")[0] != "autoaccel"]
    return [
        Row("import autoaccel, in process", ours=samples.median * 1e3, value=samples.median * 1e3, goal=1.0,
            robust=samples.lower * 1e3, note="the goal is in ms"),
        Row("modules it adds to a bare interpreter that are not its own", ours=len(foreign), unit="modules",
            value=len(foreign), goal=0, note="of its own: " + ", ".join(sorted(set(loaded) - set(foreign)))),
    ]  # fmt: skip


def _against_floor(case: str, samples: dict[str, Sample], goal: float) -> Row:
    floor, ours = samples["floor"], samples["ours"]
    return Row(
        case,
        ours=ours.median * 1e3,
        floor=floor.median * 1e3,
        peers={name: sample.median * 1e3 for name, sample in samples.items() if name in HOOKS},
        value=ours.median / floor.median,
        robust=ours.lower / floor.lower,
        noise=samples["again"].median / floor.median,
        goal=goal,
    )


def _counted(case: str, floor: Run, ours: Run, before: tuple[Run, Run] | None = None) -> list[Row]:
    """What does not depend on the machine's other work, less what the runs ``before`` need."""
    rows = []
    for unit, count, scale in (("M instructions", instructions, 1e6), ("calls", system_calls, 1)):
        numbers = [count(run) for run in (floor, ours, *(before or ()))]
        known = [number / scale for number in numbers if number is not None]
        if len(known) < len(numbers):
            continue
        if before:
            known = [known[0] - known[2], known[1] - known[3]]
        if known[0] > 0:
            rows.append(Row(f"   {unit}", floor=known[0], ours=known[1], unit=unit, value=known[1] / known[0]))
    return rows
