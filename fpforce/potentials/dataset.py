"""The data of a toy system: training set and reference, two independent runs, and one frame of each start.

In: an ExternalPotential. Out: train.npz and reference.npz (positions (frames, 1, 3) in nm, one particle after the
other) and start_<name>.pdb. Everything follows from the seeds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.potentials.exact_density import ExactDensity, compare_with_exact
from fpforce.potentials.external import ExternalPotential

SEEDS = {"train": 1, "reference": 2}


@dataclass(frozen=True, kw_only=True)
class DatasetSize:
    """How many particles, how many frames of each, how far apart, and how much of the start is left out."""

    particles: int = 400
    frames: int = 50
    interval_ps: float = 10.0
    discarded_ps: float = 600.0


def write_dataset(potential: ExternalPotential, folder: str | Path, size: DatasetSize | None = None) -> None:
    """Write the files of one system into a folder, and print how far each run is from the exact density."""
    folder, size = Path(folder), size or DatasetSize()
    folder.mkdir(parents=True, exist_ok=True)
    density = ExactDensity.of(potential)
    for name, seed in SEEDS.items():
        positions = potential.simulate(
            particles=size.particles,
            frames=size.frames,
            discarded_ps=size.discarded_ps,
            interval_ps=size.interval_ps,
            seed=seed,
        ).reshape(-1, 1, 3)
        with replacing(folder / f"{name}.npz") as unfinished, open(unfinished, "wb") as file:
            np.savez_compressed(file, positions=positions)
        found = compare_with_exact(positions, density)
        inside = potential.in_basin(*positions[:, 0, :2].T).mean()
        print(
            f"{name}.npz: {found.frames} frames, JS from the exact density {found.js:.4f} (floor "
            f"{found.js_floor:.4f}), basin weight {inside:.4f} (exact {density.basin_weight:.4f})"
        )
    for name, point in potential.starts_nm.items():
        potential.beads.write_pdb(folder / f"start_{name}.pdb", [[*point, 0.0]])
