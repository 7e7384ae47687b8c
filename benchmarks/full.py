"""A hit in a cache of ten thousand entries beside one in a cache of its own."""

import hashlib
import json
import os
import time
from pathlib import Path

from measure import Rounds, Run, inside, instructions, output, processes, system_calls
from place import DATA, Setup
from report import Row

ENTRIES = 10_000


def full_cache(setup: Setup, rounds: Rounds) -> list[Row]:
    """Whole processes with one hit each, and what `autoaccel cache` needs to look at everything."""
    folder = setup.sources(DATA / "small.pyx", "sample")
    alone = setup.run("import autoaccel, sample", folder, cold=True)
    full = setup.run("import autoaccel, sample", folder, cold=True)
    for run in (alone, full):
        output(run)
    cache = Path(dict(full.env)["AUTOACCEL_CACHE_DIR"]) / "v2"
    _fill(cache)
    for run in (alone, full):
        for _ in range(2):
            output(run)
            time.sleep(0.1)
    samples = processes({"floor": alone, "again": alone, "ours": full}, rounds)
    case = f"warm, one module, {ENTRIES:,} entries in the cache"
    ours, floor = samples["ours"], samples["floor"]
    row = Row(case, ours=ours.median * 1e3, floor=floor.median * 1e3, value=ours.median / floor.median,
              robust=ours.lower / floor.lower, noise=samples["again"].median / floor.median, goal=1.02,
              note="the floor is the same hit in a cache with nothing else in it")  # fmt: skip
    rows = [row]
    for unit, count, scale in (("M instructions", instructions, 1e6), ("calls", system_calls, 1)):
        numbers = [count(alone), count(full)]
        if None not in numbers:
            one, other = (number / scale for number in numbers if number is not None)
            rows.append(Row(f"   {unit}", floor=one, ours=other, unit=unit, value=other / one))
    for words in (["info"], ["list"], ["verify"], ["prune", "--dry-run"]):
        code = (
            f"from autoaccel.cli import main; import time\nstart = time.perf_counter()\nmain({['cache', *words]!r})\n"
        )
        code = (
            "import contextlib, io\nkept = io.StringIO()\n"
            # Copies have no place of their own, which `verify` says with its status.
            "with contextlib.redirect_stdout(kept), contextlib.suppress(SystemExit):\n    "
            + code.replace("\n", "\n    ")
        )
        timed = Run(code + "\nprint(time.perf_counter() - start)", folder, full.env)
        seconds = inside({"ours": timed}, Rounds(3, 1))["ours"].median
        rows.append(Row(f"   autoaccel cache {' '.join(words)}", ours=seconds * 1e3))
    return rows


def _fill(bucket: Path) -> None:
    """Entries as the store makes them; their libraries are hard links to a copy of the one."""
    (library,) = bucket.glob("artifacts/*/*.so")
    meta = json.loads((library.parent / "meta.json").read_text())
    # Not of the entry that is measured: a link would change its library's stamps.
    first = bucket / "library"
    first.write_bytes(library.read_bytes())
    first.chmod(0o500)
    (note,) = bucket.glob("manifests/*")
    (pack,) = bucket.glob("packs/*")
    for number in range(ENTRIES):
        plan, key = (hashlib.sha256(f"{what}{number}".encode()).hexdigest()[:40] for what in ("plan", "key"))
        home = bucket / "artifacts" / (plan[:16] + key[:24])
        home.mkdir(parents=True)
        told = {**meta, "name": f"module{number}", "source": f"/nowhere/module{number}.pyx", "plan": plan, "key": key}
        told["inputs"] = meta["inputs"][:3]
        (home / "meta.json").write_text(json.dumps(told))
        (home / "build.log").write_text("")
        os.link(first, home / library.name)
        for kept in (note, pack):
            (kept.parent / key[:16]).write_bytes(kept.read_bytes())
