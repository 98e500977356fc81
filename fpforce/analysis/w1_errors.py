"""Standard error of a first Wasserstein distance less its floor, by independent blocks of the frames.

In: values of a quantity in the reference, a set that is compared with it and both sides of the floor, and where each of
these frames is from. Out: the error, and the part of it that the compared set has.

W1 is the integral of |F - G| over two distribution functions. To first order a frame at x, one of n, moves it by the
integral of sign(F - G) (1[x <= s] - F(s)) / n over s; squares of the sums over independent blocks sum up to the
variance, those of a set that enters in several places with their sum. Source: B. Efron and C. Stein, Ann. Statist. 9,
586 (1981) (blocks); the derivative holds where F and G differ, as in a distance that is over its floor.

Whole replicas or trajectories are independent. Where they are so few that each is cut into blocks, these are not if the
quantity is slow: the variance is then that of the effective number of frames at least, by the autocorrelation of what
the frames do (correlation.py), as populations have it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fpforce.analysis.correlation import statistical_inefficiency
from fpforce.analysis.sample import BLOCKS
from fpforce.analysis.sampled_frames import SampledFrames

_BINS = 400
_STRETCHES = 1000  # of a chain, for autocorrelations
COMPARED = ("reference", "compared", "first", "second")
# All frames that were sampled, of which the comparison takes as many as the smallest set has.
ALL_COMPARED, ALL_REFERENCE = "all compared", "all reference"
ROLES = (*COMPARED, ALL_COMPARED, ALL_REFERENCE)
_PAIRS = (("compared", "reference", 1.0), ("first", "second", -1.0))  # the distance, less its floor


@dataclass(frozen=True)
class Chains:
    """Of the frames (frames,) of a set which independent block each belongs to, which chain of correlated frames, such
    as a replica or a trajectory, and its time in that.
    """

    block: np.ndarray
    chain: np.ndarray
    time: np.ndarray

    @classmethod
    def of(cls, frames: SampledFrames) -> "Chains":
        """A chain for each replica of each source."""
        each = frames.source * (int(frames.replica.max(initial=0)) + 1) + frames.replica
        return cls(frames.block, np.unique(each, return_inverse=True)[1], frames.time)


@dataclass(frozen=True)
class Origins:
    """Where the frames of each role are from: role -> name of the set (those of the sides of the floor, `first` and
    `second`, may be the reference or the training set), role -> numbers (frames,) of the frames among that set's, name
    -> Chains. `short`: whether the compared set is what keeps the comparison to so few frames.
    """

    sets: Mapping[str, str]
    frames: Mapping[str, np.ndarray]
    chains: Mapping[str, Chains]
    short: bool = False

    def of_another(self, name: str, numbers: np.ndarray, chains: Chains) -> "Origins":
        """The same where frames `numbers` of another set, with its Chains, are compared instead."""
        everything = np.arange(len(chains.block))
        return replace(
            self,
            sets=dict(self.sets) | {"compared": name, ALL_COMPARED: name},
            frames=dict(self.frames) | {"compared": numbers, ALL_COMPARED: everything},
            chains=dict(self.chains) | {name: chains},
            short=False,
        )


@dataclass(frozen=True)
class DistanceErrors:
    """Standard error of a distance less its floor, and `own`: the part that more frames of the compared set lessen."""

    total: float
    own: float

    @property
    def others(self) -> float:
        """The part that is left with the compared frames as they are."""
        return math.sqrt(max(self.total**2 - self.own**2, 0.0))


def moved_by_frames(values: Mapping[str, np.ndarray], origins: Origins) -> dict[str, np.ndarray]:
    """By how much each frame moves the distance less its floor: set -> (frames,), in the values' unit; 0 for those that
    are not compared.

    values: role -> (frames,); of the roles of all frames how these move the distance, which comes beside the sets.
    Means over quantities are means of these.
    """
    low = min(float(values[role].min()) for role in COMPARED)
    high = max(float(values[role].max()) for role in COMPARED)
    width = (high - low) / _BINS or 1.0
    bins = {role: np.clip(((values[role] - low) / width).astype(int), 0, _BINS - 1) for role in ROLES}
    below = {role: np.cumsum(np.bincount(one, minlength=_BINS)) / len(one) for role, one in bins.items()}
    moved = {name: np.zeros(len(origins.chains[name].block)) for name in dict.fromkeys(origins.sets.values())}

    def effect(role: str, side: np.ndarray) -> np.ndarray:
        of_bin = np.cumsum(side[::-1])[::-1] - np.sum(side * below[role])
        return width * of_bin[bins[role]] / len(bins[role])

    for one, other, sign in _PAIRS:
        side = np.sign(below[one] - below[other])
        for role, direction in ((one, sign), (other, -sign)):
            moved[origins.sets[role]][origins.frames[role]] += direction * effect(role, side)
    side = np.sign(below["compared"] - below["reference"])
    for role in (ALL_COMPARED, ALL_REFERENCE):
        moved[role] = np.zeros(len(origins.chains[origins.sets[role]].block))
        moved[role][origins.frames[role]] = effect(role, side)
    return moved


def errors_of(moved: Mapping[str, np.ndarray], origins: Origins) -> DistanceErrors:
    """The error from what `moved_by_frames` gives; nan for a single block.

    What more frames of the compared set lessen is the error of all of its; the rest is due to comparing fewer. Where it
    is what is short, more of its frames are compared with more of the reference, too.
    """
    variances = {}
    for name in dict.fromkeys(origins.sets.values()):
        used = np.zeros(len(moved[name]), dtype=bool)
        for role in COMPARED:
            if origins.sets[role] == name:
                used[origins.frames[role]] = True
        variances[name] = _variance(moved[name], np.flatnonzero(used), origins.chains[name])
    every, every_reference = (
        _variance(moved[role], origins.frames[role], origins.chains[origins.sets[role]])
        for role in (ALL_COMPARED, ALL_REFERENCE)
    )
    total = sum(variances.values())
    own = min(every, variances[origins.sets["compared"]])
    if origins.short:
        own = max(own, total - 2.0 * min(every_reference, variances[origins.sets["reference"]]))
    return DistanceErrors(math.sqrt(total), math.sqrt(own))


def _variance(moved: np.ndarray, used: np.ndarray, chains: Chains) -> float:
    """Of the sum of what frames do, of which those `used` (numbers) are compared."""
    number = int(chains.block.max()) + 1
    if number < 2:
        return math.nan
    blocks = np.bincount(chains.block, moved, number)
    variance = float(np.sum(blocks**2)) * number / (number - 1)
    series = int(chains.chain.max()) + 1
    if series >= BLOCKS:  # each block then holds whole ones
        return variance
    stretches = min(_STRETCHES, int(chains.time.max()) + 1)
    points = chains.time[used] * stretches // (int(chains.time.max()) + 1) * series + chains.chain[used]
    sums, frames = (
        np.bincount(points, weights, stretches * series).reshape(stretches, series) for weights in (moved[used], None)
    )
    squares = float(np.sum(moved[used] ** 2))
    effective = len(used) / statistical_inefficiency(sums, frames, squares)
    # Less one: about their own mean so many vary less than about the true one.
    return float(np.fmax(variance, squares * len(used) / max(effective - 1.0, 1.0)))
