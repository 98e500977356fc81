"""Run the tutorials and keep their outputs.

    python docs/run_notebooks.py                  # all of them, in full: some 40 minutes on one core
    python docs/run_notebooks.py muller_brown     # one
    python docs/run_notebooks.py --check          # the short form of all; nothing is written

In: docs/tutorials/*.ipynb. Out: the same files with the outputs of a full run. A notebook runs in its own folder, with
one thread; whatever it writes goes to runs/tutorials. A cell that fails stops the run and leaves the file as it was.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).resolve().parent / "tutorials"
SECONDS_PER_CELL = 3600


def executed(path: Path, quick: bool) -> nbformat.NotebookNode:
    """The notebook with the outputs of this run; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    wanted = {"FPFORCE_QUICK": "1" if quick else "0", "OMP_NUM_THREADS": "1", "MPLBACKEND": ""}
    environment = {**os.environ, **wanted}
    if not environment["MPLBACKEND"]:
        del environment["MPLBACKEND"]  # the kernel chooses the one that draws into the page
    client = NotebookClient(
        notebook, timeout=SECONDS_PER_CELL, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day, which would change with every run
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_of_the_machine(output)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _is_of_the_machine(output) -> bool:
    """Whether an output says something of this computer's OpenCL driver alone."""
    lines = output.get("text", "").splitlines() if output.output_type == "stream" else ["?"]
    return all(line.startswith("WARNING: Using an unsupported OpenCL") or not line for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="such as muller_brown; all by default")
    parser.add_argument("--check", action="store_true", help="the short form, nothing is written")
    chosen = parser.parse_args()
    paths = {path.stem: path for path in sorted(TUTORIALS.glob("*.ipynb"))}
    for name in chosen.names:
        if name not in paths:
            sys.exit(f"error: no tutorial {name!r}; there are {', '.join(paths)}")
    for name in chosen.names or paths:
        began = time.monotonic()
        notebook = executed(paths[name], chosen.check)
        if not chosen.check:
            nbformat.write(notebook, paths[name])
        print(f"{name}: {len(notebook.cells)} cells, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
