"""Independent samples with known densities, reweighted to the force field: what it says of basins without any
simulation.

In: ln of exp(-U/kT)/q of every sample, with q the density it was drawn from (by the probability-flow ODE), up to one
constant.
Out: weights, and populations under them. For a consistent model all weights are alike; how many samples still count
says how far its energy is from its own samples.
Source: Noé et al., Science 365, eaaw1147 (2019) (reweighting of samples with known densities); Kish, Survey Sampling
(1965), 11.7 (effective number); Owen, Monte Carlo theory, methods and examples, ch. 9 (error of a self-normalised
mean).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.comparison import Estimate
from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.planes import Plane, upper_basin, with_bins
from fpforce.analysis.sample import FINE_BINS


@dataclass(frozen=True)
class Weights:
    """`values` (frames,) with sum one; `effective` of the frames count (Kish)."""

    values: np.ndarray
    effective: float

    @classmethod
    def of(cls, log_weights: np.ndarray) -> "Weights":
        """From logarithms (frames,) up to a constant."""
        values = np.exp(np.asarray(log_weights, dtype=float) - np.max(log_weights))
        values /= values.sum()
        return cls(values, float(1.0 / np.sum(values**2)))

    def population(self, inside: np.ndarray) -> Estimate:
        """Weight of the frames that are `inside` (frames,) bool, with its standard error."""
        value = float(self.values[inside].sum())
        return Estimate(value, float(np.sqrt(np.sum(self.values**2 * (inside - value) ** 2))))


class ReweightedPoints:
    """Watches sampled frames go by (fpforce.analysis.gathering) and adds up their weights: in FINE_BINS bins an axis,
    and in the upper basin of each plane.
    """

    def __init__(self, weights: Weights, planes: Sequence[Plane]) -> None:
        self.weights, self._planes = weights, planes
        self._fine = [with_bins(plane, FINE_BINS) for plane in planes]
        self._cells = [np.zeros(FINE_BINS**2) for _ in planes]
        self._inside: list[list[np.ndarray]] = [[] for _ in planes]
        self._seen = 0

    def watch(
        self, _: int, __: slice, positions_nm: np.ndarray, coordinates: Sequence[np.ndarray], counted: np.ndarray
    ) -> None:
        """The next frames, all of which count."""
        weights = self.weights.values[self._seen : self._seen + len(counted)]
        self._seen += len(counted)
        for plane, fine, points, cells, inside in zip(
            self._planes, self._fine, coordinates, self._cells, self._inside, strict=True
        ):
            cells += np.bincount(bin_indices(points[:, 0], fine.edges), weights, len(cells))
            inside.append(upper_basin(plane, points[:, 0]))

    def population(self, plane: int) -> Estimate:
        """Weight of the frames in the upper basin of a plane."""
        return self.weights.population(np.concatenate(self._inside[plane]))

    def histogram(self, plane: int, bins_per_axis: int) -> np.ndarray:
        """Weights in the bins of a plane (bins, bins)."""
        each = FINE_BINS // bins_per_axis
        return self._cells[plane].reshape(bins_per_axis, each, bins_per_axis, each).sum(axis=(1, 3))
