"""Do forces fit the positions that they came with? The virial of every bond, against its exact value.

In: BeadFrames with forces, and kT. Out: for each bond the ratio of measured to exact virial, which is 1. For a bond of
length d along u = (R_i - R_j)/d, stretching it by (d - dbar) moves its two beads by +- (d - dbar) u / 2, a vector field
with the divergence 1 + 2 (d - dbar)/d. Integration by parts under the density exp(-A/kT) of the beads gives

    <(d - dbar) u.(F_i - F_j)/2> = -kT <1 + 2 (d - dbar)/d>

which needs no model, and no mean force: any valid force map fulfils it. A wrong unit, sign or temperature and forces of
other frames change the ratio. It does not see forces that are missing across the bonds, such as those on hydrogens.
Source: docs/method.md, eq. 10.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.trajectories.forces import KJ_PER_MOL_NM

if TYPE_CHECKING:
    from fpforce.trajectories.bead_frames import BeadFrames

ALLOWED_DEVIATION = 0.15
FEWEST_FRAMES = 80  # of which virials are taken; a hundred have as many where a fifth is held out
_BLOCKS = 50
_ERRORS = 4.0  # a deviation below so many standard errors may be chance


@dataclass(frozen=True)
class BondVirial:
    """Measured over exact virial of the bond between two beads, with its standard error from blocks of frames."""

    beads: tuple[int, int]
    ratio: float
    error: float


def bond_virials(
    positions_nm: np.ndarray,
    forces_kj_per_mol_nm: np.ndarray,
    bonds: Iterable[tuple[int, int]],
    kt_kj_per_mol: float,
    weights: np.ndarray | None = None,
) -> list[BondVirial]:
    """A BondVirial for each of `bonds`, pairs of beads, from arrays (frames, n, 3) of frames with weights (frames,)."""
    virials = []
    shares = np.ones(len(positions_nm)) if weights is None else len(weights) * weights / weights.sum()
    for i, j in bonds:
        along = (positions_nm[:, i] - positions_nm[:, j]).astype(np.float64)
        length = np.linalg.norm(along, axis=1)
        force = (forces_kj_per_mol_nm[:, i] - forces_kj_per_mol_nm[:, j]).astype(np.float64)
        stretch = length - (length.mean() if weights is None else np.average(length, weights=weights))
        measured = stretch * (force * along).sum(1) / (2.0 * length)
        exact = -kt_kj_per_mol * (1.0 + 2.0 * stretch / length)
        mean = float((shares * exact).mean())
        ratio = float((shares * measured).mean() / mean)
        off = shares * (measured - ratio * exact) / mean  # of mean zero, however the blocks differ in weight
        blocks = [block.mean() for block in np.array_split(off, min(_BLOCKS, len(off)))]
        error = float(np.std(blocks, ddof=1) / np.sqrt(len(blocks)))
        virials.append(BondVirial((i, j), ratio, error))
    return virials


def check_forces(frames: "BeadFrames", kt_kj_per_mol: float) -> list[BondVirial]:
    """The virials of `frames`, BeadFrames with forces; InputError where one is off by more than 15%.

    The message names the likely cause. A deviation that may be chance, below four standard errors, is let pass.
    """
    assert frames.forces is not None
    files = ", ".join(frames.forces.sources)
    if len(frames) < FEWEST_FRAMES:
        raise InputError(
            f"{files}: {len(frames)} frames are too few to check forces against positions: give at least "
            f"{FEWEST_FRAMES}, or leave data.forces out"
        )
    virials = bond_virials(
        frames.positions_nm,
        frames.forces.kj_per_mol_nm,
        frames.beads.bonds,
        kt_kj_per_mol,
        None if frames.weights is None else frames.weights.values,
    )
    off = [v for v in virials if abs(v.ratio - 1.0) > max(ALLOWED_DEVIATION, _ERRORS * v.error)]
    if off:
        worst = max(off, key=lambda virial: abs(virial.ratio - 1.0))
        first, second = (frames.beads.beads[bead] for bead in worst.beads)
        typical = float(np.median([virial.ratio for virial in virials]))
        raise InputError(
            f"{files}: the forces do not fit the positions: along the bond {first} - {second} <(d - dbar) u.f> is "
            f"{worst.ratio:.3g} +- {worst.error:.1g} of -kT <1 + 2 (d - dbar)/d> (median over the bonds "
            f"{typical:.3g}), "
            f"and {ALLOWED_DEVIATION:.0%} is allowed: {_likely_cause(typical, worst.error, frames.forces.unit)}"
        )
    return virials


def _likely_cause(ratio: float, error: float, unit: str) -> str:
    if abs(ratio) < _ERRORS * error:
        return "they do not belong to these frames; give forces of the same frames in the same order"
    if ratio < 0.0:
        return "these are gradients of the energy; change their sign"
    others = {name: KJ_PER_MOL_NM[unit] / (ratio * factor) for name, factor in KJ_PER_MOL_NM.items() if name != unit}
    name, rest = min(others.items(), key=lambda item: abs(np.log(abs(item[1]))))
    if abs(rest - 1.0) < ALLOWED_DEVIATION:
        return f"the numbers are likely in {name}; set data.force_unit to it"
    return (
        f"check data.force_unit = {unit}, that they belong to the same frames, that all interactions are in, and "
        f"temperature_k, which would have to be {ratio:.3g} times what it is"
    )
