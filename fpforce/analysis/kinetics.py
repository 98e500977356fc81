"""Transitions between two basins, and the slowest time scales of a Markov model, on a plane.

In: coordinates of whole trajectories and of replicas, on a plane. Out: counts and time scales. Coarse-grained dynamics
is faster than that of all atoms, by no fixed factor, so time scales are shown beside each other and not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.planes import Plane

CLUSTERS = 50
TIME_SCALES = 3
_MOST_TO_CLUSTER = 10_000
_FEWEST_STATES = 3


@dataclass(frozen=True)
class Transitions:
    """Complete transitions up (into the second basin) and down in one set; `time` is what was watched, of all series.

    `time_unit`: ps, or frames where the time between frames is not known.
    """

    name: str
    up: int
    down: int
    time: float
    time_unit: str


@dataclass(frozen=True)
class TimeScales:
    """Slowest implied time scales of one set, longest first, at a lag and at twice the lag, with the lag, in
    `time_unit`.

    `connected` is the part of the frames in the largest set of states that transitions connect both ways: the model is
    of these. Without a model the lists are empty.
    """

    name: str
    lag: float
    at_lag: list
    at_twice_the_lag: list
    connected: float
    time_unit: str


@dataclass(frozen=True)
class Kinetics:
    """Cores of the basins (None where the reference has one basin), transitions and time scales of every set."""

    cores: tuple[float, float] | None
    transitions: tuple[Transitions, ...]
    time_scales: tuple[TimeScales, ...]

    @property
    def has_time_scales(self) -> bool:
        """Whether any set was long enough for a Markov model."""
        return any(one.at_lag for one in self.time_scales)


@dataclass(frozen=True)
class TimeSeries:
    """Contiguous stretches [(frames, 2 or 3)] of coordinates of one set, and the time between frames or None."""

    name: str
    pieces: list
    time_step_ps: float | None


def kinetics(plane: Plane, sets: Sequence[TimeSeries], lag_frames: int, seed: int = 0) -> Kinetics:
    """Kinetics of `TimeSeries`, the reference first: basin cores and the states of the Markov models are from it.

    Cores: values beyond the medians of the reference's basins, so that recrossings of the barrier do not count. States:
    CLUSTERS centres by k-means in the plane. Source of the estimator: M. Hoffmann et al., deeptime, Mach. Learn.: Sci.
    Technol. 3, 015009 (2022), maximum-likelihood reversible Markov models.
    """
    reference = np.concatenate(sets[0].pieces)
    cores = _cores(plane, reference[:, plane.split_axis])
    transitions = () if cores is None else tuple(_transitions(plane, cores, one) for one in sets)
    clusters = _clusters(reference[:, :2], seed)
    return Kinetics(cores, transitions, tuple(_time_scales(clusters, one, lag_frames) for one in sets))


def count_transitions(values: np.ndarray, low: float, high: float) -> tuple[int, int]:
    """(up, down): how often a series goes from `low` or less to `high` or more, and back, whatever lies between."""
    side = np.where(values <= low, -1, np.where(values >= high, 1, 0))
    steps = np.diff(side[side != 0])
    return int(np.sum(steps > 0)), int(np.sum(steps < 0))


def _cores(plane: Plane, values: np.ndarray) -> tuple[float, float] | None:
    upper = values > plane.split
    if not upper.any() or upper.all():
        return None
    return float(np.median(values[~upper])), float(np.median(values[upper]))


def _transitions(plane: Plane, cores: tuple[float, float], one: TimeSeries) -> Transitions:
    counts = [count_transitions(piece[:, plane.split_axis], *cores) for piece in one.pieces]
    up, down = np.sum(counts, axis=0) if counts else (0, 0)
    step, unit = _unit(one)
    return Transitions(one.name, int(up), int(down), step * sum(map(len, one.pieces)), unit)


def _unit(one: TimeSeries) -> tuple[float, str]:
    return (one.time_step_ps, "ps") if one.time_step_ps else (1.0, "frames")


def _clusters(points: np.ndarray, seed: int) -> Any:
    from deeptime.clustering import KMeans

    chosen = points[np.linspace(0, len(points) - 1, min(len(points), _MOST_TO_CLUSTER)).astype(int)]
    count = min(CLUSTERS, len(np.unique(chosen, axis=0)))
    return KMeans(n_clusters=count, fixed_seed=seed, n_jobs=1, max_iter=100).fit_fetch(np.ascontiguousarray(chosen))


def _time_scales(clusters: Any, one: TimeSeries, lag_frames: int) -> TimeScales:
    step, unit = _unit(one)
    states = [clusters.transform(np.ascontiguousarray(piece[:, :2])) for piece in one.pieces]
    (first, connected), (second, _) = (_implied(states, lag) for lag in (lag_frames, 2 * lag_frames))
    return TimeScales(
        one.name, step * lag_frames, [step * t for t in first], [step * t for t in second], connected, unit
    )


def _implied(states: list[np.ndarray], lag_frames: int) -> tuple[list[float], float]:
    """(time scales in frames, part of the frames in the connected states); ([], 0.0) where there is no model."""
    from deeptime.markov import TransitionCountEstimator
    from deeptime.markov.msm import MaximumLikelihoodMSM

    long_enough = [piece for piece in states if len(piece) > lag_frames]
    if not long_enough:
        return [], 0.0
    counts = TransitionCountEstimator(lag_frames, "sliding").fit_fetch(long_enough)
    connected = counts.submodel_largest(connectivity_threshold=1.0 / lag_frames)
    if connected.n_states < _FEWEST_STATES:
        return [], float(connected.state_histogram.sum() / counts.state_histogram.sum())
    model = MaximumLikelihoodMSM(reversible=True).fit_fetch(connected)
    scales = model.timescales(k=min(TIME_SCALES, connected.n_states - 1))
    finite = [float(t) for t in scales if np.isfinite(t)]
    return finite, float(connected.state_histogram.sum() / counts.state_histogram.sum())
