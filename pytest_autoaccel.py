"""pytest with the import hook in: ``pytest --autoaccel``, or ``autoaccel = true`` in pytest's own settings.

A module of its own, outside of the package: pytest loads it wherever autoaccel is installed, and who did not ask for
the hook must not get it by that.
"""

from __future__ import annotations

import os

import pytest

__all__ = ["pytest_addoption", "pytest_configure", "pytest_report_header"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option, and the settings."""
    group = parser.getgroup("autoaccel", "native sources")
    group.addoption(
        "--autoaccel",
        action="store_true",
        default=None,
        help="build the native sources of the project first, and import them by autoaccel's hook",
    )
    group.addoption("--no-autoaccel", action="store_false", dest="autoaccel", help="don't, whatever the settings say")
    parser.addini("autoaccel", "whether --autoaccel is always meant", type="bool", default=False)
    parser.addini(
        "autoaccel_paths", "what to build first (default: everything below the root)", type="paths", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Put the hook in, and build what is stale: once, before there are workers that need it."""
    if not _wanted(config):
        return
    import autoaccel

    if os.environ.get("AUTOACCEL") in ("0", "off", "load") or hasattr(config, "workerinput"):
        return  # a worker of xdist's finds everything built by the process that has started it
    paths = config.getini("autoaccel_paths") or [config.rootpath]
    try:
        outcomes = autoaccel.build(*paths)
    except (OSError, autoaccel.AccelError) as problem:
        raise pytest.UsageError(f"autoaccel: {problem}") from None
    wrong = [outcome.error for outcome in outcomes if outcome.error is not None]
    if wrong:
        texts = dict.fromkeys(error.msg.strip() for error in wrong)
        count = f"{len(wrong)} of {len(outcomes)} native modules" if len(outcomes) > 1 else "the native module"
        told = f"{count} could not be built\n\n" + "\n\n".join(texts)
        pytest.exit(f"autoaccel: {told}\n", returncode=pytest.ExitCode.TESTS_FAILED)
    config.stash[_BUILT] = sum(outcome.built for outcome in outcomes), len(outcomes)


_BUILT = pytest.StashKey[tuple[int, int]]()


def _wanted(config: pytest.Config) -> bool:
    told = config.getoption("autoaccel")
    return bool(config.getini("autoaccel") if told is None else told)


def pytest_report_header(config: pytest.Config) -> str | None:
    """How many modules were built."""
    if _BUILT not in config.stash:
        return None
    built, count = config.stash[_BUILT]
    return f"autoaccel: {count} native modules, {built} of them compiled now"
