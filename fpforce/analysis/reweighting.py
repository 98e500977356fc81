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

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.comparison import Estimate


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
