"""Where a benchmark happens: a temporary place with folders, a cache, and the peers that are installed."""

import importlib.metadata
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measure import Run, fresh, output

DATA = Path(__file__).parent / "data"

#: How a user turns each peer on; pyximport's products are kept apart from the user's own.
HOOKS = {
    "pyximport": "import os, pyximport; pyximport.install(build_dir=os.environ['PYXBLD'], language_level=3)",
    "cppimport": "import cppimport.import_hook",
}

_DISTRIBUTION = {"pyximport": "cython"}


class Setup:
    """A place for one run of the benchmarks."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cache = place / "cache"
        self.empty = fresh(place)

    def run(self, code: str, directory: Path, *, cold: bool = False, flags: tuple[str, ...] = ()) -> Run:
        """A run with a cache and a build folder: the shared ones, or fresh ones."""
        place = fresh(self.place) if cold else self.place
        env = (("AUTOACCEL_CACHE_DIR", str(place / "cache")), ("PYXBLD", str(place / "pyxbld")))
        return Run(code, directory, env, flags)

    def sources(self, source: Path, name: str) -> Path:
        """A fresh folder with a copy of a source as the module ``name``."""
        folder = fresh(self.place)
        shutil.copy(source, folder / f"{name}{source.suffix}")
        return folder

    def build(self, folder: Path, *, cold: bool = False) -> None:
        """``autoaccel build`` of a folder."""
        code = "from autoaccel.cli import main; import sys; sys.argv[1:] = ['build', '.']; sys.exit(main())"
        output(self.run(code, folder, cold=cold))

    def rest(self, folder: Path) -> None:
        """Wait until a folder is as old as a user's is: what changed within ten seconds is listed once more."""
        time.sleep(max(0.0, folder.stat().st_ctime + 10.5 - time.time()))

    def has(self, distribution: str) -> bool:
        """Whether a peer, or what a case needs, is installed."""
        try:
            importlib.metadata.version(_DISTRIBUTION.get(distribution, distribution))
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    def check(self) -> None:
        """Users have an installed package; a source tree has other paths, and often no .pyc files."""
        where = Path(output(self.run("import autoaccel; print(autoaccel.__file__)", self.empty)).strip())
        if not where.is_relative_to(sys.prefix):
            raise SystemExit(f"autoaccel comes from {where}: install it into {sys.prefix} first (`make bench` does)")


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    versions = {}
    for name in ("autoaccel", "cython", "cppimport", "pybind11", "numba"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    return {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "processors": os.cpu_count(),
        "load": [round(number, 1) for number in os.getloadavg()],
        "compiler": _first_line(["cc", "--version"]),
        **versions,
    }


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(itertools.chain(done.stdout.splitlines(), [""]))
