"""Population of a basin against time: how a simulation forgets its start.

In: how many frames of a simulation are in a basin, against time. Out: a `PopulationSeries`.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.convergence import replica_population
from fpforce.analysis.replica_frames import ReplicaFrames
from fpforce.analysis.time_series import ObservedSeries


@dataclass(frozen=True)
class PopulationSeries:
    """Population of the upper basin against time in one simulation: mean over replicas and its standard error."""

    name: str
    time: np.ndarray
    time_unit: str
    mean: np.ndarray
    standard_error: np.ndarray


def population_series(
    simulation: ReplicaFrames, basin: ObservedSeries, rng: np.random.Generator, points: int = 40
) -> PopulationSeries:
    """Population in at most `points` windows of time, by the frames in the upper basin.

    Windows in which no replica is valid are nan.
    """
    valid = basin.frames
    time = (basin.stretches.middles + 1.0) * (simulation.time_step_ps or 1.0)
    windows = np.array_split(np.arange(len(valid)), min(points, len(valid)))
    estimates = [replica_population(basin.sums[w], valid[w], rng, resamples=200) for w in windows]
    empty = np.array([not valid[w].any() for w in windows])
    mean, error = (np.array([getattr(e, name) for e in estimates]) for name in ("value", "standard_error"))
    return PopulationSeries(
        name=simulation.name,
        time=np.array([time[w].mean() for w in windows]),
        time_unit="ps" if simulation.time_step_ps else "saved times",
        mean=np.where(empty, np.nan, mean),
        standard_error=error,
    )
