"""The frames of a set as counts: how many of each independent block lie in each cell of each plane.

In: cells of frames, in any number of pieces. Out: a `Sample`, whose size does not grow with the number of frames. It
can be thinned to fewer frames as if these had been drawn one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpforce.analysis.divergences import BINS_PER_AXIS

BLOCKS = 20
# Of an axis; all numbers of bins that a comparison may take divide it.
FINE_BINS = 192
_ROWS_BETWEEN_MERGES = 250_000
# Above it numpy draws cell by cell, which takes no memory for every frame.
_MOST_TO_DRAW_ONE_BY_ONE = 1_000_000


@dataclass(frozen=True)
class Sample:
    """Frames of one set, counted.

    `counts`: for each plane (3, rows): block, cell and number of frames of every cell that a block has been in.
    `frames` (blocks,): of each block. `trajectory` (blocks,): which trajectory each block is from. `cells` of a plane.
    """

    counts: tuple[np.ndarray, ...]
    frames: np.ndarray
    trajectory: np.ndarray
    cells: int = BINS_PER_AXIS**2

    def __len__(self) -> int:
        return int(self.frames.sum())

    @classmethod
    def from_replicas(cls, bins: np.ndarray, replica: np.ndarray, cells: int = BINS_PER_AXIS**2) -> "Sample":
        """Cells (F, planes) of independent replicas (F,), in time order within each; about BLOCKS blocks in all."""
        names, number = np.unique(replica, return_inverse=True)
        time = np.zeros(len(number), dtype=int)
        for k in range(len(names)):
            time[number == k] = np.arange(int((number == k).sum()))
        layout = BlockLayout.of_replicas([0], [np.bincount(number)])
        counter = CellCounter(bins.shape[1], layout.trajectory, cells)
        counter.add(layout.block(0, time, number), bins)
        return counter.sample()

    def with_bins(self, bins_per_axis: int) -> "Sample":
        """The same frames in so many bins an axis, of which those of now are a multiple."""
        now = math.isqrt(self.cells)
        each, rest = divmod(now, bins_per_axis)
        assert rest == 0, f"{now} bins are no multiple of {bins_per_axis}"
        coarser = []
        for block, cell, count in self.counts:
            row, column = np.divmod(cell, now)
            coarser.append(_merged(block, (row // each) * bins_per_axis + column // each, count, bins_per_axis**2))
        return replace(self, counts=tuple(coarser), cells=bins_per_axis**2)

    def histogram(self, plane: int) -> np.ndarray:
        """Frames of each block in each cell of a plane (blocks, cells)."""
        return self._dense(plane, self.counts[plane])

    def drawn(self, frames: int, rng: np.random.Generator, inside: np.ndarray | None = None) -> np.ndarray:
        """Histograms (blocks, planes, cells) of so many frames, drawn without replacement; of all where they are fewer.

        inside: (blocks,) bool, the blocks to draw from. Each plane has a draw of its own.
        """
        found = np.empty((len(self.frames), len(self.counts), self.cells))
        for plane, (block, cell, count) in enumerate(self.counts):
            if inside is not None:
                count = np.where(inside[block], count, 0)
            total = int(count.sum())
            if frames < total:
                one_by_one = total <= _MOST_TO_DRAW_ONE_BY_ONE
                count = rng.multivariate_hypergeometric(count, frames, method="count" if one_by_one else "marginals")
            found[:, plane] = self._dense(plane, np.stack([block, cell, count]))
        return found

    def _dense(self, plane: int, rows: np.ndarray) -> np.ndarray:
        block, cell, count = rows
        blocks = len(self.frames)
        return np.bincount(block * self.cells + cell, count, blocks * self.cells).reshape(blocks, self.cells)


@dataclass(frozen=True)
class BlockLayout:
    """Which block of a set each frame belongs to: of source k, replica r and time t
    first[k][r] + (t - start[k]) stretches[k][r] // (ends[k][r] - start[k]). `trajectory` (blocks,), as of `Sample`.
    """

    first: Sequence[np.ndarray]
    stretches: Sequence[np.ndarray]
    starts: Sequence[int]
    ends: Sequence[np.ndarray]
    trajectory: np.ndarray

    @classmethod
    def of_trajectories(cls, lengths: Sequence[int]) -> "BlockLayout":
        """Of whole trajectories of so many frames: about BLOCKS contiguous blocks in all, none in two of them."""
        each = max(1, -(-BLOCKS // len(lengths)))
        numbers = range(len(lengths))
        return cls(
            [np.array([k * each]) for k in numbers],
            [np.array([each])] * len(lengths),
            [0] * len(lengths),
            [np.array([length]) for length in lengths],
            np.repeat(np.arange(len(lengths)), each),
        )

    @classmethod
    def of_replicas(cls, starts: Sequence[int], ends: Sequence[np.ndarray]) -> "BlockLayout":
        """Of simulations whose frames count from their saved time `starts` on, to the ends (replicas,) of each replica.

        Many replicas are put into groups, few are each cut into stretches of time.
        """
        counts = [end > start for start, end in zip(starts, ends, strict=True)]
        number, offset = [], 0
        for one in counts:
            number.append(offset + np.cumsum(one) - 1)
            offset += int(one.sum())
        grouped = offset >= BLOCKS
        each = 1 if grouped else -(-BLOCKS // max(offset, 1))
        first = [(one * BLOCKS // offset if grouped else one * each).clip(min=0) for one in number]
        blocks = BLOCKS if grouped else each * offset
        return cls(first, [np.full(len(one), each) for one in ends], list(starts), list(ends), np.zeros(blocks, int))

    def block(self, source: int, time: np.ndarray, replica: np.ndarray) -> np.ndarray:
        """Of frames at times (frames,) of replicas (frames,) of a source."""
        start, stretches = self.starts[source], self.stretches[source][replica]
        length = np.maximum(self.ends[source][replica] - start, 1)
        return self.first[source][replica] + (time - start) * stretches // length


class CellCounter:
    """Counts frames by block and cell, piece by piece."""

    def __init__(self, planes: int, trajectory: np.ndarray, cells: int) -> None:
        self._trajectory, self._cells = trajectory, cells
        self._frames = np.zeros(len(trajectory), dtype=np.int64)
        self._rows: list[list[np.ndarray]] = [[np.zeros((2, 0), dtype=np.int64)] for _ in range(planes)]
        self._waiting = 0

    def add(self, block: np.ndarray, cells: np.ndarray) -> None:
        """Frames of blocks (frames,) in cells (frames, planes)."""
        self._frames += np.bincount(block, minlength=len(self._frames))
        for plane, rows in enumerate(self._rows):
            rows.append(np.stack(np.unique(block * self._cells + cells[:, plane], return_counts=True)))
            self._waiting += rows[-1].shape[1]
        if self._waiting > _ROWS_BETWEEN_MERGES:
            self._merge()

    def sample(self) -> Sample:
        """What was counted."""
        self._merge()
        counts = [np.stack([*np.divmod(key, self._cells), count]) for ((key, count),) in self._rows]
        return Sample(tuple(counts), self._frames, self._trajectory, self._cells)

    def _merge(self) -> None:
        self._rows = [[_summed(*np.concatenate(rows, axis=1))] for rows in self._rows]
        self._waiting = 0


def _summed(key: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(2, rows): each key once, with the sum of its counts."""
    keys, where = np.unique(key, return_inverse=True)
    return np.stack([keys, np.bincount(where, count, len(keys)).astype(np.int64)])


def _merged(block: np.ndarray, cell: np.ndarray, count: np.ndarray, cells: int) -> np.ndarray:
    key, count = _summed(block * cells + cell, count)
    return np.stack([*np.divmod(key, cells), count])
