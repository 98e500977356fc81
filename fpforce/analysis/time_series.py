"""Observables against time, summed over stretches of so many frames that memory holds them however long the frames go
on.

In: values of observables, piece by piece. Out: `TimeSeries` sums, of which populations, their blocks, drifts and
windows follow, and autocorrelation times. A stretch is one frame as long as these are few enough, so that nothing is
lost then; else it is a small part of the whole, and what is known within it is its sum and the sum of its squares
(fpforce.analysis.correlation).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_POINTS = 1 << 22  # of all series of a set and all observables together
_FEWEST_TIMES = 1 << 10  # of a series, whatever the number of these


@dataclass(frozen=True)
class Stretches:
    """How times are put together: time t is in point (t + offset) // width, so that `start` begins one."""

    width: int
    offset: int
    start: int
    times: int

    @classmethod
    def of(cls, times: int, series: int, start: int = 0) -> "Stretches":
        """For so many times of so many series, of which those before `start` are left out in the end."""
        points = max(_FEWEST_TIMES, _MOST_POINTS // max(series, 1))
        width = -(-times // points)
        return cls(width, -start % width, start, times)

    @property
    def points(self) -> int:
        return (self.times - 1 + self.offset) // self.width + 1

    @property
    def counted(self) -> np.ndarray:
        """(points,) bool: those from `start` on."""
        return np.arange(self.points) >= (self.start + self.offset) // self.width

    @property
    def middles(self) -> np.ndarray:
        """Middle (points,) of the times of each point, counted from 0."""
        first = np.maximum(np.arange(self.points) * self.width - self.offset, 0)
        last = np.minimum((np.arange(self.points) + 1) * self.width - self.offset, self.times) - 1
        return 0.5 * (first + last)

    def points_of(self, first: int, count: int) -> np.ndarray:
        """Of so many times from the first on."""
        return (np.arange(first, first + count) + self.offset) // self.width


@dataclass(frozen=True)
class ObservedSeries:
    """One observable: `sums` over the valid frames of each point, of which there are `frames`, (points, series) both;
    `squares`: sum of the squares over all counted frames.
    """

    sums: np.ndarray
    frames: np.ndarray
    squares: float
    stretches: Stretches

    @classmethod
    def of(cls, trajectories: Sequence[np.ndarray]) -> "ObservedSeries":
        """Of whole trajectories [(frames,)], of different lengths."""
        stretches = Stretches.of(max(map(len, trajectories)), len(trajectories))
        recorder = SeriesRecorder(["value"], stretches, len(trajectories))
        for k, values in enumerate(trajectories):
            column = np.asarray(values, dtype=np.float64)[:, None]
            recorder.add(0, slice(k, k + 1), np.ones(column.shape, dtype=bool), {"value": column})
        return recorder.observed("value")

    @property
    def counted(self) -> np.ndarray:
        """Counted frames of each point (points, series)."""
        return np.where(self.stretches.counted[:, None], self.frames, 0)

    @property
    def counted_sums(self) -> np.ndarray:
        """Sums over the counted frames of each point (points, series)."""
        return np.where(self.stretches.counted[:, None], self.sums, 0.0)


class SeriesRecorder:
    """Sums observables over the points of series, piece by piece."""

    def __init__(self, names: Sequence[str], stretches: Stretches, series: int) -> None:
        self._names, self.stretches = list(names), stretches
        self._frames = np.zeros((stretches.points, series), dtype=np.int64)
        self._sums = np.zeros((len(self._names), stretches.points, series))
        self._squares = np.zeros(len(self._names))

    def add(self, time: int, series: slice, valid: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """`values` of each observable (times, series) from a time on, of the series of a slice; those that are not
        `valid` (times, series) do not count.
        """
        points = self.stretches.points_of(time, len(valid))
        starts = np.flatnonzero(np.diff(points, prepend=-1))
        rows = points[starts]
        self._frames[rows, series] += np.add.reduceat(valid, starts, axis=0, dtype=np.int64)
        late = valid & (np.arange(time, time + len(valid)) >= self.stretches.start)[:, None]
        for k, name in enumerate(self._names):
            value = np.where(valid, values[name], 0.0)
            self._sums[k, rows, series] += np.add.reduceat(value, starts, axis=0)
            self._squares[k] += float(np.sum(value[late] ** 2))

    def observed(self, name: str) -> ObservedSeries:
        """What was recorded of an observable."""
        k = self._names.index(name)
        return ObservedSeries(self._sums[k], self._frames, float(self._squares[k]), self.stretches)
