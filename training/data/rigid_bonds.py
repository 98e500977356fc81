"""Bonds that constraints held in the data, and the noise that makes a force field of them usable.

In: bead frames. Out: the bonds that hardly vary, and the diffusion time whose noise gives them a width. A constraint
leaves a bond with the digits of the file for a width, so that a force which keeps it would need a time step of 0.5 fs.
The energy at a time t is that of the data with noise of sigma(t): with NOISE_NM on every bead such bonds are 0.003 nm
wide, as bonds of atoms are, and steps may be 4 fs, while of what a bead model is for, shapes, next to nothing changes.
"""

import torch
from torch import Tensor

from fpforce.molecule.beads import BeadTable
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.diffusion import time_of_variance
from fpforce.training.models.moments import variance

RIGID_WIDTH_NM = 1e-3  # bonds of atoms at 300 K are some 2e-3 nm wide
NOISE_NM = 2e-3  # of a bead along each axis
FRAMES = 10_000  # of which widths are taken


def rigid_bonds(training_set: TrainingSet | MoleculeSet) -> dict[str, float]:
    """Bonds that are narrower than RIGID_WIDTH_NM, by the names of their beads, and their widths in nm (standard
    deviations).
    """
    found: dict[str, float] = {}
    for one in [training_set] if isinstance(training_set, TrainingSet) else training_set.molecules.values():
        step = -(-len(one.frames) // FRAMES)
        weights = None if one.weights is None else one.weights[::step]
        found |= narrow_bonds(one.beads, one.scale_nm * one.frames[::step], weights)
    return found


def narrow_bonds(beads: BeadTable, frames_nm: Tensor, weights: Tensor | None = None) -> dict[str, float]:
    """The same of frames (frames, beads, 3) in nm with weights (frames,)."""
    if not beads.bonds:
        return {}
    index = torch.tensor(beads.bonds, dtype=torch.long).reshape(-1, 2)
    lengths = (frames_nm[:, index[:, 0]] - frames_nm[:, index[:, 1]]).norm(dim=-1)
    widths_nm = variance(lengths.double(), weights).sqrt().tolist()
    return {
        f"{beads.beads[i]} to {beads.beads[j]}": width_nm
        for (i, j), width_nm in zip(index.tolist(), widths_nm, strict=True)
        if width_nm < RIGID_WIDTH_NM
    }


def time_that_widens(scale_nm: float) -> float:
    """The t whose noise is NOISE_NM, of positions that are divided by scale_nm."""
    return float(time_of_variance(torch.tensor((NOISE_NM / scale_nm) ** 2, dtype=torch.float64)))


def told_of(rigid: dict[str, float], t_eval: float | None) -> str:
    """What to say of these bonds. t_eval: where noise widens them; None where they stay as they are."""
    first, width_nm = next(iter(rigid.items()))
    which = f"bond {first} varies" if len(rigid) == 1 else f"{len(rigid)} bonds, first {first}, vary"
    if t_eval is None:
        what = (
            "leave one of the beads out (hydrogens, usually), leave diffusion.t_eval to the data, or simulate with a "
            "far shorter --timestep-fs"
        )
    else:
        what = (
            f"the force field is that of the data with a noise of {NOISE_NM:g} nm (diffusion.t_eval={t_eval:.2g}), by "
            "which such bonds are as wide as those of atoms and other distances hardly change"
        )
    return f"{which} by {width_nm:.1e} nm only, as if constrained: {what}"
