"""The same results under numba alone, under a cold autoaccel, and natively: ``tests/projects/numba_parity``.

One process for each of the three runs all cases; what stays on numba is printed, and must be what the documentation tells.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time

import pytest

from autoaccel.numba.harvest import PYTHONS
from tests.conftest import ROOT, Project, need

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] not in PYTHONS, reason="functions are cached only, with this Python"
)

FEATURES = ROOT / "tests" / "projects" / "numba_parity"

#: What the documentation says is left to numba, by function of `features`.
LEFT = {
    "bytes_arg": "arguments of type",
    "dt_arg": "arguments of type",
    "dtype_arg": "arguments of type",
    "enums": "arguments of type",
    "globconst": "something that it is made from has changed",
    "make.<locals>.inner": "several functions",
    "np_random": "random",
    "ntarg": "arguments of type",
    "rng_arg": "arguments of type",
    "scalars": "arguments of type Literal",
    "slicearg": "arguments of type",
    "starargs": r"\*args",
    "struct_arr": "arrays of Record",
    "takes_function": "arguments of type",
    "tlist_arg": "arguments of type",
    "with_locals": "locals",
    "with_objmode": "nobody can tell",
}


def run(project: Project, mode: str) -> dict[str, object]:
    code = f"import sys; sys.path[:0] = ['']; import cases; cases.main({mode!r})"
    result = project.run(code, patience=1000, AUTOACCEL_NUMBA="wait", NUMBA_NUM_THREADS="2")
    assert result.status == 0, f"{mode}: {result.err}"
    return json.loads(result.out.splitlines()[-1])


@pytest.mark.timeout(1200)
def test_every_case_gives_what_numba_gives(project: Project) -> None:
    need("numba", "cc", "c++")
    shutil.copytree(FEATURES, project.root, dirs_exist_ok=True)
    time.sleep(0.1)
    wanted = run(project, "plain")
    found = {}
    for mode in ("cold", "warm"):
        found[mode] = run(project, mode)
        differing = {
            case: (result, found[mode]["results"][case])
            for case, result in wanted["results"].items()
            if found[mode]["results"][case] != result
        }
        assert not differing, f"{mode}: {json.dumps(differing, indent=1)}"
    assert len(wanted["results"]) >= 150
    assert found["cold"]["first"]
    assert not found["warm"]["first"], "numba was imported with the module"
    told = {path.stem: json.loads(path.read_text()) for path in project.cache.glob("v2/numba/*.json")}
    reports = {report["name"]: report for report in told.values()}
    for report in reports.values():
        print(report["name"], "native:", report["native"], report["whole"] or "")
        for name, reasons in report["refused"].items():
            print("   ", name, *(f"{signature}: {reason}" for signature, reason in reasons.items()), sep="\n        ")
    assert reports["features"]["native"] >= 130
    assert reports["heavy"]["whole"] is None
    assert set(reports["features"]["refused"]) <= set(LEFT)
    for name, reasons in reports["features"]["refused"].items():
        assert all(re.search(LEFT[name], reason) for reason in reasons.values()), (name, reasons)
