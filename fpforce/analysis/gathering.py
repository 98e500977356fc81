"""One pass over the frames of a set, piece by piece: counts in cells, observables against time, a random sample.

In: the sources of a set, planes, and which frames belong together. Out: `GatheredSet`. What is held does not grow with
the number of frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.frame_source import FrameSource, Piece, lengths_of
from fpforce.analysis.planes import Plane, upper_basin, with_bins
from fpforce.analysis.sample import FINE_BINS, BlockLayout, CellCounter, Sample
from fpforce.analysis.sampled_frames import SampledFrames, Sampler
from fpforce.analysis.time_series import ObservedSeries, SeriesRecorder, Stretches

BASIN, UPPER_HALF = "basin", "upper half"

# Sees the counted frames of a piece: (number of the source, replica of each column, positions (times, replicas, beads,
# 3), coordinates (times, replicas, 2 or 3) of each plane, which of them count (times, replicas)).
Watcher = Callable[[int, slice, np.ndarray, Sequence[np.ndarray], np.ndarray], None]


@dataclass(frozen=True)
class GatheredSet:
    """`sample` in FINE_BINS bins an axis; `series` of each source, for each plane (of trajectories there is one for
    all): observable -> ObservedSeries; `frames` sampled at random; `non_finite` frames there were.
    """

    sample: Sample
    series: list[list[dict[str, ObservedSeries]]]
    frames: SampledFrames
    non_finite: int


@dataclass
class Gathering:
    """How a set is gathered: from the saved times `starts` of its sources on frames count; `halves` (planes,): for each
    plane where its upper half begins on the first coordinate, or None.
    """

    planes: Sequence[Plane]
    sources: Sequence[FrameSource]
    layout: BlockLayout
    starts: Sequence[int]
    together: bool
    seed: int
    halves: Sequence[float | None] = ()
    watchers: Sequence[Watcher] = field(default_factory=tuple)

    @classmethod
    def of_trajectories(cls, planes: Sequence[Plane], sources: Sequence[FrameSource], seed: int) -> "Gathering":
        """All frames of independent trajectories, whose observables are one set of series."""
        layout = BlockLayout.of_trajectories(lengths_of(sources))
        return cls(planes, sources, layout, [0] * len(sources), True, seed)

    @classmethod
    def of_simulations(
        cls,
        planes: Sequence[Plane],
        sources: Sequence[FrameSource],
        starts: Sequence[int],
        seed: int,
        halves: Sequence[float | None],
        watchers: Sequence[Watcher],
    ) -> "Gathering":
        """The frames of simulations from the saved time `starts` of each on."""
        layout = BlockLayout.of_replicas(starts, [source.ends for source in sources])
        return cls(planes, sources, layout, starts, False, seed, halves, watchers)

    def gather(self) -> GatheredSet:
        """Read all frames once."""
        counter = CellCounter(len(self.planes), self.layout.trajectory, FINE_BINS**2)
        sampler = Sampler(self.sources[0].shape[2], self.seed)
        recorders = self._recorders()
        non_finite = 0
        for number, source in enumerate(self.sources):
            for piece in source.pieces():
                non_finite += int(np.count_nonzero(~np.isfinite(piece.positions_nm).all(axis=(2, 3))))
                self._add(number, piece, counter, sampler, recorders)
        series = [
            [{name: one.observed(name) for name in self._names(p)} for p, one in enumerate(of_planes)]
            for of_planes in recorders
        ]
        return GatheredSet(counter.sample(), series, sampler.sampled(), non_finite)

    def _recorders(self) -> list[list[SeriesRecorder]]:
        if self.together:
            longest, series = max(lengths_of(self.sources)), len(self.sources)
            shapes = [(longest, series, 0)]
        else:
            shapes = [(one.shape[0], one.shape[1], start) for one, start in zip(self.sources, self.starts, strict=True)]
        observables = sum(len(self._names(p)) for p in range(len(self.planes)))
        return [
            [
                SeriesRecorder(self._names(p), Stretches.of(times, series * observables, start), series)
                for p in range(len(self.planes))
            ]
            for times, series, start in shapes
        ]

    def _names(self, plane: int) -> list[str]:
        halved = [UPPER_HALF] if self.halves and self.halves[plane] is not None else []
        return [*self.planes[plane].signals(np.zeros((1, 2))), BASIN, *halved]

    def _add(
        self,
        number: int,
        piece: Piece,
        counter: CellCounter,
        sampler: Sampler,
        recorders: list[list[SeriesRecorder]],
    ) -> None:
        times = np.arange(piece.times.start, piece.times.stop)
        counted = piece.valid & (times >= self.starts[number])[:, None]
        positions_nm = piece.positions_nm
        if not piece.valid.all():  # what is not finite would warn, and does not count
            positions_nm = np.where(piece.valid[..., None, None], positions_nm, 0.0)
        coordinates = [plane.coordinates(positions_nm) for plane in self.planes]
        where = (0, slice(number, number + 1)) if self.together else (number, piece.replicas)
        for p, (plane, points) in enumerate(zip(self.planes, coordinates, strict=True)):
            values = plane.signals(points) | {BASIN: upper_basin(plane, points).astype(float)}
            if self.halves and (middle := self.halves[p]) is not None:
                values[UPPER_HALF] = (points[..., 0] > middle).astype(float)
            recorders[where[0]][p].add(piece.time, where[1], piece.valid, values)
        if not counted.any():
            return
        time, replica = (index[counted.T] for index in self._indices(piece, times))
        block = self.layout.block(number, time, replica)
        chosen = [np.swapaxes(points, 0, 1)[counted.T] for points in coordinates]
        fine = [with_bins(plane, FINE_BINS).edges for plane in self.planes]
        counter.add(block, np.stack([bin_indices(c, e) for c, e in zip(chosen, fine, strict=True)], axis=1))
        sampler.add(np.swapaxes(piece.positions_nm, 0, 1)[counted.T], number, time, replica, block)
        for watch in self.watchers:
            watch(number, piece.replicas, piece.positions_nm, coordinates, counted)

    @staticmethod
    def _indices(piece: Piece, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Times and replicas (replicas, times) of a piece."""
        shape = piece.positions_nm.shape[1], len(times)
        replica = np.arange(piece.replicas.start, piece.replicas.stop)
        return np.broadcast_to(times, shape), np.broadcast_to(replica[:, None], shape)
