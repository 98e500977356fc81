"""Mean forces for some frames of a data set, as fpforce-reference --mean-forces makes them.

In: the frames of a run, all atoms, and the Protocol that they were simulated by. Out: mean_forces.npz, which trains as
trajectory and forces at once, and its entry of data.json.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import map_beads
from fpforce.reference.mean_forces import MeanForceSettings, mean_forces
from fpforce.reference.protocol import Protocol

if TYPE_CHECKING:
    from openmm import app

logger = logging.getLogger("fpforce")

NAME = "mean_forces.npz"


@dataclass(frozen=True, kw_only=True)
class MeanForceChoice:
    """frames: how many, evenly over the run. beads: preset or selection of single atoms. picoseconds: averaged over."""

    frames: int
    beads: str = "backbone"
    picoseconds: float = 10.0

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError(f"mean forces for {self.frames} frames: give 1 or more")


def write_mean_forces(
    folder: Path,
    topology: "app.Topology",
    positions_nm: np.ndarray,
    protocol: Protocol,
    choice: MeanForceChoice,
    *,
    atoms: str,
    seed: int,
    platform: str,
    threads: int,
) -> dict[str, Any]:
    """Write mean_forces.npz into a folder, and return what data.json says of it.

    topology: openmm.app.Topology. positions_nm (frames, atoms, 3): all atoms, at the protocol's coldest temperature.
    atoms: preset of those whose positions are written, as in the data set's trajectories.
    Raises InputError as mean_forces does, and for more frames than there are.
    """
    import mdtraj

    if choice.frames > len(positions_nm):
        raise InputError(f"mean forces for {choice.frames} frames, and the run keeps {len(positions_nm)}: give fewer")
    of_atoms = mdtraj.Topology.from_openmm(topology)
    beads, written = map_beads(of_atoms, choice.beads), map_beads(of_atoms, atoms)
    chosen = np.linspace(0, len(positions_nm) - 1, choice.frames).round().astype(int)
    settings = MeanForceSettings(
        temperature_k=protocol.temperatures_k[0],
        picoseconds=choice.picoseconds,
        timestep_fs=protocol.timestep_fs,
        friction_per_ps=protocol.friction_per_ps,
        seed=seed,
        platform=platform,
        threads=threads,
    )
    logger.info("mean forces on %d beads in %d frames, %g ps each", len(beads), choice.frames, choice.picoseconds)
    found = mean_forces(protocol.make_system(topology), positions_nm[chosen], beads, settings)
    found.write(folder / NAME, written.positions(positions_nm[chosen], of_atoms))
    return {
        "file": NAME,
        "frames": choice.frames,
        "beads": choice.beads,
        "picoseconds": choice.picoseconds,
        "noise": float(found.variances.mean(dtype=float) / np.square(found.kj_per_mol_nm, dtype=float).mean()),
    }
