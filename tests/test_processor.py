"""Which flags ask for code for the processor that is here."""

from __future__ import annotations

import os

import pytest

from autoaccel import processor

ASK = [
    "-march=native", "-mcpu=native", "-mtune=native", "target-cpu=native", "-C target-cpu=native -C debuginfo=0",
    "-Copt-level=3\x1f-Ctarget-cpu=native", "-O2 -march=native", "-Xcompiler=-march=native", "-Wa,-march=native,-x",
    'rustflags = ["-C", "target-cpu=native"]', "flag('-march=native');", "-xHost", "/QxHost", "-O3 -xHost",
]  # fmt: skip
ASK_NOT = [
    "", "-O2", "-march=x86-64-v3", "-I/home/native/include", "-I/native", "-Lnative", "-L native=/usr/lib", "src/native.c",
    "-o native.o", "_native", 'native-tls = "0.2"', "-DNATIVE", "alternative", "nativecode", "-xHosted",
]  # fmt: skip


@pytest.mark.parametrize("words", ASK)
def test_words_that_ask_for_it(words: str) -> None:
    assert processor.inputs(["-c", words]) == ((processor.FILE,) if os.path.exists(processor.FILE) else ())


@pytest.mark.parametrize("words", ASK_NOT)
def test_words_that_do_not(words: str) -> None:
    assert processor.inputs(["-c", words]) == ()
