"""How many bins a plane gets: as many as the frames can fill.

In: reference and training set, counted in fine cells. Out: a `Resolution`. With few frames most of 64 x 64 bins hold
one or none, the floor of the JS divergence drowns what a wrong model adds, and nothing can be judged. The finest bins
are taken whose floor leaves a wrong model visible.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.comparison import Floor, floor_js
from fpforce.analysis.divergences import BINS_PER_AXIS
from fpforce.analysis.sample import Sample

BIN_COUNTS = (BINS_PER_AXIS, 48, 32, 24, 16)
# Three times the excess that is allowed (Thresholds.excess_js): beneath a higher floor a wrong model hides.
LARGEST_JUDGING_FLOOR_JS = 0.03


@dataclass(frozen=True)
class Resolution:
    """Bins an axis, the floor of the JS divergence with them, and that with the finest (64 x 64), in nats."""

    bins_per_axis: int
    floor_js: float
    finest_floor_js: float

    @property
    def can_judge(self) -> bool:
        """Whether the floor is low enough to see a wrong model over it; if not, these are the coarsest bins."""
        return self.floor_js <= LARGEST_JUDGING_FLOOR_JS


def choose_resolution(
    reference: Sample, training: Sample | None, simulated_frames: int, floor: str, rng: np.random.Generator
) -> Resolution:
    """The finest of BIN_COUNTS whose floor is at most LARGEST_JUDGING_FLOOR_JS, else the coarsest.

    The samples are in FINE_BINS bins an axis. simulated_frames: how many frames of the simulations count. floor: as in
    `Floor.choose`.
    """
    floors: list[float] = []
    for bins in BIN_COUNTS:
        coarser = reference.with_bins(bins)
        other = None if training is None else training.with_bins(bins)
        chosen = Floor.choose(coarser, other, floor)
        frames = min(simulated_frames, len(reference), chosen.frames)
        floors.append(floor_js(coarser, other, chosen, frames, rng))
        if floors[-1] <= LARGEST_JUDGING_FLOOR_JS:
            break
    return Resolution(bins, floors[-1], floors[0])
