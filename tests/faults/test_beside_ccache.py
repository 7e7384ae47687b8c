"""A header that appears earlier on the search path: ccache gives the old object, we compile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import c_module, need
from tests.faults.conftest import CODE, Faults


def with_ccache(folder: Path, cache: Path) -> str:
    """What a program says that is compiled through ccache, by a fresh ccache process."""
    env = {**os.environ, "CCACHE_DIR": str(cache), "CCACHE_NODEBUG": "1"}
    env.pop("CCACHE_DISABLE", None)
    for words in (
        ["ccache", "cc", "-Iinc1", "-Iinc2", "-c", "main.c", "-o", "main.o"],
        ["cc", "main.o", "-o", "main"],
    ):
        subprocess.run(words, cwd=folder, env=env, check=True, capture_output=True, timeout=60)
    return subprocess.run([folder / "main"], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_f33_a_shadowing_header_beside_ccache(faults: Faults, tmp_path: Path) -> None:
    need("ccache")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "main.c").write_text(
        '#include <stdio.h>\n#include "h.h"\nint main(void) { printf("%d", H); return 0; }\n'
    )
    faults.project.write("setup.py", "")
    faults.project.write(
        "sample.c", "// distutils: include_dirs = inc1 inc2\n" + c_module("sample", "H", before='#include "h.h"')
    )
    for root in (theirs, faults.project.root):
        (root / "inc1").mkdir()
        (root / "inc2").mkdir()
        (root / "inc2" / "h.h").write_text("#define H 2\n")
        # ccache does not trust what was written in the moment of the compile.
        for path in root.rglob("*"):
            os.utime(path, (1_700_000_000, 1_700_000_000))
    cache = tmp_path / "ccache"
    assert [with_ccache(theirs, cache) for _ in range(2)] == ["2", "2"]
    assert faults.project.ok(CODE) == "2"
    for root in (theirs, faults.project.root):
        (root / "inc1" / "h.h").write_text("#define H 1\n")
    faults.injected(2)
    said = with_ccache(theirs, cache)
    ours = faults.project.ok(CODE)
    print(f"a header appears earlier on the path; right is 1: ccache {said}, autoaccel {ours}")
    assert ours == "1"
    # Where this fails, ccache has learnt it, and the documentation is to say so.
    assert said == "2"
