"""Make the files of this folder from two runs that exist as arrays.

    python from_arrays.py run1.npz run2.npz all_atoms.pdb output --sequence A --openmm-version 8.6.1 \\
        --discarded-frames 500

Each .npz holds `positions` (frames, atoms, 3) in nm and `walker` (frames,), the replica that held the 300 K rung, of
the protocol in generate.py. Round trips need the whole ladder and cannot be counted from `walker`.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from generate import INTERVAL_PS, describe_protocol

from fpforce.commands.entry import command
from fpforce.reference.dataset import Run, write_dataset
from fpforce.trajectories.arrays import read_array
from fpforce.trajectories.files import existing_file
from fpforce.trajectories.topology_files import read_topology


@command
def main(
    training: Annotated[Path, typer.Argument(help=".npz of the training run")],
    reference: Annotated[Path, typer.Argument(help=".npz of the held-out run")],
    topology: Annotated[Path, typer.Argument(help="PDB of all atoms; its stem names the new topology file")],
    output: Annotated[Path, typer.Argument(help="folder for the data set")],
    sequence: Annotated[str, typer.Option(help="one-letter codes, without the caps")],
    openmm_version: Annotated[str, typer.Option(help="the OpenMM that ran the simulation")],
    discarded_frames: Annotated[int, typer.Option(help="frames left out at the start of each run")],
):
    """Convert two replica-exchange runs from arrays into a data set; the exit status is 1 if they do not agree."""
    runs = []
    for path in (training, reference):
        walker = np.load(existing_file(path, "run"))["walker"]
        runs.append(
            Run(
                read_array(path, "nm", 1),
                INTERVAL_PS,
                {
                    "discarded_frames": discarded_frames,
                    "coldest_rung_changed_hands": int(np.count_nonzero(walker[1:] != walker[:-1])),
                    "frames_of_each_replica": np.bincount(walker).tolist(),
                },
            )
        )
    made = describe_protocol(sequence, openmm_version, "from_arrays.py")
    record = write_dataset(output, topology.stem, read_topology(topology), runs, made)
    agreement = record["agreement"]
    print(f"free energies of basins differ by {agreement['largest_kt']} kT, {agreement['allowed_kt']} kT is allowed")
    return 0 if agreement["reached"] else 1


if __name__ == "__main__":
    main()
