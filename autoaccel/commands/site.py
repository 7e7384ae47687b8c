"""``autoaccel site``: the hook in every interpreter of an environment, by a file that can be taken away."""

from __future__ import annotations

import os
import site as pythons_site
import sys
import sysconfig
import tempfile

import click

from .. import process
from .common import complain

__all__ = ["site"]

_NAME = "autoaccel-site.pth"

#: What site.py runs at the start of each interpreter. Whatever is wrong with autoaccel, or if it is gone, is no reason
#: not to start; with AUTOACCEL=off it is not even looked for.
LINE = (
    "import os; exec(\"try:\\n if os.environ.get('AUTOACCEL') not in ('0', 'off'):\\n  import autoaccel\\n"
    'except BaseException: pass")\n'
)


@click.group(short_help="The hook in every interpreter of an environment.")
def site() -> None:
    """Have `import autoaccel` run at the start of every interpreter of this environment.

    The file that does it is `autoaccel-site.pth` in the environment's site-packages; `uninstall` removes it. A broken
    or missing autoaccel keeps no interpreter from starting, and AUTOACCEL=off turns it off.
    """


@site.command(short_help="Put the hook in.")
@click.option("--user", is_flag=True, help="For all of this user's interpreters of this version, outside of a venv.")
def install(user: bool) -> int:
    """Put the hook into this virtual environment.

    Exit status: 0 when it is in, 1 when it can't be written, 2 outside of a virtual environment without --user.
    """
    if not user and sys.prefix == sys.base_prefix:
        complain(f"{sys.executable} is in no virtual environment: activate one, or say --user")
        return 2
    path = _path(user)
    if _content(path) == LINE:
        click.echo(f"it is in already: {path}")
        return 0
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # Whole or not at all: an interpreter may start right now.
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".new")
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(LINE)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as problem:
        complain(f"{path} can't be written: {problem.strerror}")
        return 1
    click.echo(
        f"installed: {path}\nEvery interpreter of {sys.prefix if not user else 'this user'} imports native sources."
    )
    return 0


@site.command(short_help="Take it out.")
def uninstall() -> int:
    """Remove the hook from this environment, and from the user's own folder."""
    status = 0
    found = [path for path in _paths() if os.path.lexists(path)]
    for path in found:
        try:
            os.unlink(path)
        except OSError as problem:
            complain(f"{path} can't be removed: {problem.strerror}")
            status = 1
        else:
            click.echo(f"removed: {path}")
    if not found:
        click.echo("nothing is installed")
    return status


@site.command(short_help="Whether it is in, and works.")
def status() -> int:
    """Tell whether the hook is in, and whether a fresh interpreter has it.

    Exit status: 0 when it is in and works, 1 when it is not in, 3 when it is in and does not work.
    """
    found = [path for path in _paths() if os.path.lexists(path)]
    for path in found:
        click.echo(f"installed: {path}" + ("" if _content(path) == LINE else " (of another version: install it again)"))
    if not found:
        click.echo("not installed")
        return 1
    problem = _problem()
    click.echo("works" if problem is None else f"does not work: {problem}")
    return 0 if problem is None else 3


def _problem() -> str | None:
    """Why a fresh interpreter does not have the hook; None where it has."""
    if os.environ.get("AUTOACCEL") in ("0", "off"):
        return f"AUTOACCEL={os.environ['AUTOACCEL']} turns it off"
    env = {**os.environ}
    env.pop("PYTHONPATH", None)
    code = "import sys; print([getattr(one, '__name__', '') for one in sys.meta_path].count('AccelFinder'))"
    told = process.run([sys.executable, "-c", code], cwd=os.sep, env=env, timeout=60)
    if told.status == 0 and told.output.strip() == "1":
        return None
    # What the .pth file keeps to itself.
    why = process.run([sys.executable, "-c", "import autoaccel"], cwd=os.sep, env=env, timeout=60).output.strip()
    return why.splitlines()[-1] if why else "a fresh interpreter does not read it (started with -S or -I?)"


def _paths() -> list[str]:
    return list(dict.fromkeys((_path(user=False), _path(user=True))))


def _path(user: bool) -> str:
    folder = pythons_site.getusersitepackages() if user else sysconfig.get_path("purelib")
    return os.path.join(folder, _NAME)


def _content(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
