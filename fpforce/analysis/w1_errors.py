"""Standard error of a first Wasserstein distance less its floor, by independent blocks of the frames.

In: values of a quantity in the reference, the simulation and both sides of the floor, and the block of each. Out: the
error, and the simulation's part of it.

W1 is the integral of |F - G| over two distribution functions. To first order a block b, with the part w of the frames
and the distribution function F_b, moves it by w times the integral of sign(F - G) (F_b - F); the squares of these sum
up to the variance, those of a set that enters in several places with their sum. Source: B. Efron and C. Stein, Ann.
Statist. 9, 586 (1981) (blocks); the derivative holds where F and G differ, as in a distance that is over its floor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_BINS = 400
ROLES = ("reference", "simulation", "first", "second")
ALL_SIMULATED = "all simulated"  # frames of the simulation, of which the role has as many as are compared
_PAIRS = (("simulation", "reference", 1.0), ("first", "second", -1.0))  # the distance, less its floor


@dataclass(frozen=True)
class Blocks:
    """Which set each of the ROLES in a comparison has (`first` and `second` are sides of the floor), and of its frames
    (frames,) which block of that set each belongs to; and of ALL_SIMULATED.
    """

    sets: Mapping[str, str]
    blocks: Mapping[str, np.ndarray]


def moved_by_blocks(values: Mapping[str, np.ndarray], blocks: Blocks) -> dict[str, np.ndarray]:
    """By how much each block of each set moves the distance less its floor: set -> (blocks,), in the values' unit.

    values: role -> (frames,), with ALL_SIMULATED, whose blocks come beside those of the sets. Means over quantities are
    means of these.
    """
    low = min(float(values[role].min()) for role in ROLES)
    high = max(float(values[role].max()) for role in ROLES)
    width = (high - low) / _BINS or 1.0
    counts = {role: _counts(values[role], blocks.blocks[role], low, width) for role in ROLES}
    below = {role: np.cumsum(one.sum(axis=0)) / one.sum() for role, one in counts.items()}
    moved = {
        name: np.zeros(max(len(counts[role]) for role in ROLES if blocks.sets[role] == name))
        for name in dict.fromkeys(blocks.sets.values())
    }
    for one, other, sign in _PAIRS:
        side = np.sign(below[one] - below[other])
        for role, direction in ((one, sign), (other, -sign)):
            frames = counts[role].sum(axis=1, keepdims=True)
            own = np.cumsum(counts[role], axis=1) - frames * below[role]
            moved[blocks.sets[role]][: len(own)] += direction * width * (own @ side) / frames.sum()
    every = _counts(values[ALL_SIMULATED], blocks.blocks[ALL_SIMULATED], low, width)
    own = np.cumsum(every, axis=1) - every.sum(axis=1, keepdims=True) * np.cumsum(every.sum(axis=0)) / every.sum()
    side = np.sign(below["simulation"] - below["reference"])
    return moved | {ALL_SIMULATED: width * (own @ side) / every.sum()}


def errors_of(moved: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Standard error, and the part of it that a longer simulation would lessen, from what `moved_by_blocks` gives.

    nan for a single block. Of the simulation's part that of all its frames: the rest is due to comparing fewer.
    """
    variances = {
        name: float(np.sum(one**2)) * len(one) / (len(one) - 1) if len(one) > 1 else math.nan
        for name, one in moved.items()
    }
    every = variances.pop(ALL_SIMULATED)
    return math.sqrt(sum(variances.values())), math.sqrt(min(every, variances["simulation"]))


def _counts(values: np.ndarray, blocks: np.ndarray, low: float, width: float) -> np.ndarray:
    """Values of each block in each bin (blocks, bins)."""
    bins = np.clip(((values - low) / width).astype(int), 0, _BINS - 1)
    number = int(blocks.max()) + 1
    return np.bincount(blocks * _BINS + bins, minlength=number * _BINS).reshape(number, _BINS).astype(float)
