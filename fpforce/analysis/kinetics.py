"""Transitions between two basins, and the slowest time scales of a Markov model, on a plane.

In: coordinates of trajectories and of replicas on a plane, piece by piece. Out: counts and time scales. Coarse-grained
dynamics is faster than that of all atoms, by no fixed factor, so time scales are shown beside each other and not
judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.tica import TicaPlane

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


class KineticsCounter:
    """Counts transitions and pairs of states of one set, piece by piece.

    Of each series only what is needed at the next piece is held: its last value in a core, and its states within the
    longest lag.
    """

    def __init__(self, name: str, time_step_ps: float | None, plane: TicaPlane, states: "States") -> None:
        self.name, self._step_ps, self._plane, self._states = name, time_step_ps, plane, states
        self.frames = 0
        self.up, self.down = 0, 0
        self._in_a_core: dict[tuple[int, int], np.ndarray] = {}
        self._last: dict[tuple[int, int], np.ndarray] = {}
        self._seen: dict[tuple[int, int], int] = {}
        lags = (plane.lag_frames, 2 * plane.lag_frames)
        count = states.clusters.n_clusters
        self.pairs = {lag: np.zeros((count, count)) for lag in lags}
        self.visits = {lag: np.zeros(count, dtype=np.int64) for lag in lags}

    def add(self, series: tuple[int, int], coordinates: np.ndarray) -> None:
        """The next coordinates (frames, 2 or 3) of a series."""
        if not len(coordinates):
            return
        self.frames += len(coordinates)
        cores = self._states.cores
        if cores is not None:
            self._count_transitions(series, coordinates[:, self._plane.split_axis], cores)
        new = self._states.clusters.transform(np.ascontiguousarray(coordinates[:, :2]))
        last = self._last.get(series, np.zeros(0, dtype=new.dtype))
        seen = self._seen.get(series, 0)
        both = np.concatenate([last, new])
        for lag, pairs in self.pairs.items():
            if seen + len(new) <= lag:
                continue  # as series that are no longer than the lag, which have no pair
            arrived = both[max(len(last), lag) :]
            np.add.at(pairs, (both[max(len(last) - lag, 0) :][: len(arrived)], arrived), 1.0)
            np.add.at(self.visits[lag], new if seen > lag else both, 1)
        self._last[series] = both[-2 * self._plane.lag_frames :]
        self._seen[series] = seen + len(new)

    def transitions(self) -> Transitions:
        """Those that were counted."""
        step, unit = self._unit()
        return Transitions(self.name, self.up, self.down, step * self.frames, unit)

    def time_scales(self) -> TimeScales:
        """Those of Markov models of the pairs that were counted."""
        step, unit = self._unit()
        lag = self._plane.lag_frames
        (first, connected), (second, _) = (_implied(self.pairs[n], self.visits[n], n) for n in (lag, 2 * lag))
        return TimeScales(self.name, step * lag, [step * t for t in first], [step * t for t in second], connected, unit)

    def _count_transitions(self, series: tuple[int, int], values: np.ndarray, cores: tuple[float, float]) -> None:
        low, high = cores
        values = np.concatenate([self._in_a_core.get(series, values[:0]), values])
        up, down = count_transitions(values, low, high)
        self.up, self.down = self.up + up, self.down + down
        self._in_a_core[series] = values[(values <= low) | (values >= high)][-1:].copy()

    def _unit(self) -> tuple[float, str]:
        return (self._step_ps, "ps") if self._step_ps else (1.0, "frames")


@dataclass(frozen=True)
class States:
    """What transitions are between, from the reference: `cores` of the basins, None where it has one basin alone, and
    `clusters` of the plane.

    Cores: values beyond the medians of the reference's basins, so that recrossings of the barrier do not count.
    Clusters: CLUSTERS centres by k-means. Source of the estimator: M. Hoffmann et al., deeptime, Mach. Learn.: Sci.
    Technol. 3, 015009 (2022), maximum-likelihood reversible Markov models.
    """

    cores: tuple[float, float] | None
    clusters: Any

    @classmethod
    def of(cls, plane: TicaPlane, reference: np.ndarray, seed: int = 0) -> "States":
        """From coordinates (frames, 2 or 3) of the reference's frames."""
        return cls(_cores(plane, reference[:, plane.split_axis]), _clusters(reference[:, :2], seed))


def kinetics(states: States, sets: Sequence[KineticsCounter]) -> Kinetics:
    """Kinetics of sets whose frames have gone by, the reference first."""
    transitions = () if states.cores is None else tuple(one.transitions() for one in sets)
    return Kinetics(states.cores, transitions, tuple(one.time_scales() for one in sets))


def count_transitions(values: np.ndarray, low: float, high: float) -> tuple[int, int]:
    """(up, down): how often a series goes from `low` or less to `high` or more, and back, whatever lies between."""
    side = np.where(values <= low, -1, np.where(values >= high, 1, 0))
    steps = np.diff(side[side != 0])
    return int(np.sum(steps > 0)), int(np.sum(steps < 0))


def _cores(plane: TicaPlane, values: np.ndarray) -> tuple[float, float] | None:
    upper = values > plane.split
    if not upper.any() or upper.all():
        return None
    return float(np.median(values[~upper])), float(np.median(values[upper]))


def _clusters(points: np.ndarray, seed: int) -> Any:
    from deeptime.clustering import KMeans

    chosen = points[np.linspace(0, len(points) - 1, min(len(points), _MOST_TO_CLUSTER)).astype(int)]
    count = min(CLUSTERS, len(np.unique(chosen, axis=0)))
    return KMeans(n_clusters=count, fixed_seed=seed, n_jobs=1, max_iter=100).fit_fetch(np.ascontiguousarray(chosen))


def _implied(pairs: np.ndarray, visits: np.ndarray, lag_frames: int) -> tuple[list[float], float]:
    """(time scales in frames, part of the frames in the connected states); ([], 0.0) where there is no model.

    pairs: transitions between states at the lag (states, states); visits: of each state (states,).
    """
    from deeptime.markov import TransitionCountModel
    from deeptime.markov.msm import MaximumLikelihoodMSM

    if not pairs.any():
        return [], 0.0
    counts = TransitionCountModel(pairs, "sliding", lag_frames, state_histogram=visits)
    connected = counts.submodel_largest(connectivity_threshold=1.0 / lag_frames)
    if connected.n_states < _FEWEST_STATES:
        return [], float(connected.state_histogram.sum() / counts.state_histogram.sum())
    model = MaximumLikelihoodMSM(reversible=True).fit_fetch(connected)
    scales = model.timescales(k=min(TIME_SCALES, connected.n_states - 1))
    finite = [float(t) for t in scales if np.isfinite(t)]
    return finite, float(connected.state_histogram.sum() / counts.state_histogram.sum())
