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
from fpforce.training.recipe.sections import T_EVAL

RIGID_WIDTH_NM = 1e-3  # bonds of atoms at 300 K are some 2e-3 nm wide
NOISE_NM = 2e-3  # of a bead along each axis
FRAMES = 10_000  # of which widths are taken


def rigid_bonds(training_set: TrainingSet | MoleculeSet) -> dict[str, float]:
    """Bonds that are narrower than RIGID_WIDTH_NM, by the names of their beads, and their widths in nm (standard
    deviations).
    """
    if isinstance(training_set, TrainingSet):
        return _of_one(training_set)
    found = {name: _of_one(one) for name, one in training_set.molecules.items()}
    return {f"{bond} of {name}": width_nm for name, bonds in found.items() for bond, width_nm in bonds.items()}


def _of_one(training_set: TrainingSet) -> dict[str, float]:
    step = -(-len(training_set.frames) // FRAMES)
    weights = None if training_set.weights is None else training_set.weights[::step]
    return narrow_bonds(training_set.beads, training_set.scale_nm * training_set.frames[::step], weights)


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
    """The t whose noise is NOISE_NM, of positions that are divided by scale_nm, or T_EVAL where that has more."""
    return max(T_EVAL, float(time_of_variance(torch.tensor((NOISE_NM / scale_nm) ** 2, dtype=torch.float64))))


def told_of(rigid: dict[str, float], t_eval: float, widening: float | None) -> str:
    """What to say of these bonds. t_eval: of the force field. widening: the time whose noise would widen them; None for
    many molecules, whose scale is not theirs.
    """
    first, width_nm = next(iter(rigid.items()))
    which = f"bond {first} varies" if len(rigid) == 1 else f"{len(rigid)} bonds, first {first}, vary"
    if widening is not None and t_eval >= 0.99 * widening:
        what = (
            f"the force field is that of the data with a noise of {NOISE_NM:g} nm or more (diffusion.t_eval="
            f"{t_eval:.2g}), by which such bonds are as wide as those of atoms and other distances hardly change"
        )
    else:
        also = "" if widening is None else f", train anew with diffusion.t_eval={widening:.2g}, whose noise widens them"
        what = f"leave one of the beads out (hydrogens, usually){also}, or simulate with a far shorter --timestep-fs"
    return f"{which} by {width_nm:.1e} nm only, as if constrained: {what}"
