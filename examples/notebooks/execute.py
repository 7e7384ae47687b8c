"""Execute notebooks as Jupyter does: ``python execute.py [--to FOLDER] [NOTEBOOK...]``; else in their place."""

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--to", type=Path, help="where to write them (and where their kernels run)")
    args = parser.parse_args()
    for path in args.notebooks or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        folder = args.to or path.parent
        client = NotebookClient(notebook, timeout=600, kernel_name="python3")
        client.execute(cwd=str(folder), env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        for cell in notebook.cells:
            # When something ran differs every time.
            cell.metadata.pop("execution", None)
        notebook.metadata.pop("language_info", None)
        nbformat.write(notebook, folder / path.name)
        print(path.name, "executed")


if __name__ == "__main__":
    sys.exit(main())
