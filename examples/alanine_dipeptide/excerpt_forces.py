"""Make forces_excerpt.npz and forces_excerpt.pdb: a few frames of all atoms with their forces, thin enough for the
repository.

    python excerpt_forces.py run1.npz all_atoms.pdb output [--stride 40]

The .npz holds `positions` (frames, atoms, 3) in nm and `forces` (frames, atoms, 3) in kJ/mol/nm as OpenMM gives them,
without those of the constraints.
"""

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fpforce.commands.entry import command
from fpforce.trajectories.files import existing_file


@command
def main(
    run: Annotated[Path, typer.Argument(help=".npz with `positions` and `forces`")],
    topology: Annotated[Path, typer.Argument(help="PDB of all atoms")],
    output: Annotated[Path, typer.Argument(help="folder for the two files")],
    stride: Annotated[int, typer.Option(help="take every so-many-th frame")] = 40,
):
    """Take every so-many-th frame of a run, with its forces."""
    content = np.load(existing_file(run, "run"))
    output.mkdir(parents=True, exist_ok=True)
    arrays = {name: content[name][::stride].astype(np.float32) for name in ("positions", "forces")}
    np.savez_compressed(output / "forces_excerpt.npz", **arrays)
    shutil.copyfile(existing_file(topology, "topology"), output / "forces_excerpt.pdb")
    print(f"{len(arrays['forces'])} frames, {(output / 'forces_excerpt.npz').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
