"""Forces of the data as noisy scores at t = 0, and what the run keeps on record about them.

In: BeadFrames with forces, the scale s and kT. Out: f_0 = F s / kT, centred, whose mean at given beads is grad log
p_0(x_0).
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fpforce.trajectories.bead_frames import BeadFrames
from fpforce.trajectories.virial import check_forces

logger = logging.getLogger("fpforce")


@dataclass(frozen=True)
class ForceScores:
    """f_0 (frames, beads, 3) float32, and where it came from (JSON-able): files, hash, unit, virials by bond.

    Of averaged forces the part of their mean square that is noise, by their variances.
    """

    values: Tensor
    record: dict

    @property
    def noise(self) -> float | None:
        """Part of the mean square of averaged forces that is noise; None for single forces."""
        return self.record["noise_of_averages"]

    @staticmethod
    def of(frames: BeadFrames, scale_nm: float, kt_kj_per_mol: float) -> "ForceScores":
        """From frames with forces; InputError where these do not fit the positions at this kT."""
        assert frames.forces is not None
        virials, forces = check_forces(frames, kt_kj_per_mol), frames.forces
        ratios = [virial.ratio for virial in virials]
        logger.info(
            "forces of %s are blended into the denoising target; their virials along the bonds are %.3f to %.3f of the "
            "exact values",
            ", ".join(forces.sources),
            min(ratios),
            max(ratios),
        )
        noise = None
        if forces.variances is not None:
            noise = float(forces.variances.mean(dtype=float) / np.square(forces.kj_per_mol_nm, dtype=float).mean())
            logger.info("these forces are averages, whose own noise has %.2g of their mean square", noise)
        return ForceScores(
            torch.from_numpy(scores(forces.kj_per_mol_nm, scale_nm, kt_kj_per_mol)),
            {
                "sources": list(forces.sources),
                "sha256": forces.sha256,
                "unit": forces.unit,
                "virial_ratios": ratios,
                "virial_errors": [virial.error for virial in virials],
                "noise_of_averages": noise,
            },
        )


def scores(forces_kj_per_mol_nm: np.ndarray, scale_nm: float, kt_kj_per_mol: float) -> np.ndarray:
    """f_0 (frames, beads, 3) float32 of forces on the beads."""
    scaled = forces_kj_per_mol_nm.astype(np.float64) * (scale_nm / kt_kj_per_mol)
    return (scaled - scaled.mean(axis=1, keepdims=True)).astype(np.float32)
