"""A uniform sample of the frames of a set, drawn while all of them go by.

In: pieces of frames in any number. Out: `SampledFrames`: all frames where they are few, else a random choice. Figures
of single distances and contacts are of these, which memory can hold; histograms and populations are of all frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.frame_source import FrameSource

MOST_SAMPLED = 100_000
_MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class SampledFrames:
    """positions_nm (frames, beads, 3), with the source (frames,) that each is from, its time and replica in it, and
    the block of the comparison that it belongs to; in the order of sources, of replicas in each, of time in each.
    """

    positions_nm: np.ndarray
    source: np.ndarray
    time: np.ndarray
    replica: np.ndarray
    block: np.ndarray

    def __len__(self) -> int:
        return len(self.positions_nm)

    def halves(self, lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Positions of two halves of trajectories of so many frames: of whole ones where there are several, else of the
        only one.
        """
        first = self.source % 2 == 0 if len(lengths) > 1 else self.time < lengths[0] // 2
        return self.positions_nm[first], self.positions_nm[~first]


class Sampler:
    """Keeps the frames whose random keys are the smallest: every choice of so many frames is equally likely.

    Source: Y. Tille, Sampling Algorithms (2006), ch. 4 (simple random sampling by sorting random numbers).
    """

    def __init__(self, beads: int, seed: int, most: int = MOST_SAMPLED) -> None:
        self.most = max(1, min(most, _MOST_BYTES // (12 * beads)))
        self._generator, self._beads = np.random.default_rng(seed), beads
        self._highest = np.inf
        self._held: list[tuple[np.ndarray, ...]] = []
        self._count = 0

    def add(
        self,
        positions_nm: np.ndarray,
        source: int,
        times: np.ndarray,
        replica: np.ndarray,
        block: np.ndarray,
    ) -> None:
        """Frames (frames, beads, 3) of a source, with the time, replica and block (frames,) of each."""
        keys = self._generator.random(len(positions_nm))
        chosen = np.flatnonzero(keys < self._highest)
        where = np.full(len(chosen), source)
        self._held.append((keys[chosen], positions_nm[chosen], where, times[chosen], replica[chosen], block[chosen]))
        self._count += len(chosen)
        if self._count > 2 * self.most:
            self._shrink()

    def sampled(self) -> SampledFrames:
        """What was kept."""
        self._shrink()
        if not self._held:
            nothing = np.zeros(0, dtype=np.int64)
            return SampledFrames(np.zeros((0, self._beads, 3), np.float32), nothing, nothing, nothing, nothing)
        columns = self._held[0][1:]
        order = np.lexsort((columns[2], columns[3], columns[1]))  # that of the pieces does not matter
        return SampledFrames(*(column[order] for column in columns))

    def _shrink(self) -> None:
        if not self._held:
            return
        joined = tuple(np.concatenate(columns) for columns in zip(*self._held, strict=True))
        if len(joined[0]) > self.most:
            kept = np.sort(np.argpartition(joined[0], self.most)[: self.most])
            joined = tuple(column[kept] for column in joined)
            self._highest = float(joined[0].max())
        self._held, self._count = [joined], len(joined[0])


def sample_of(trajectories: Sequence[FrameSource], seed: int = 0) -> SampledFrames:
    """Frames of trajectories, by a pass over all of them; of no block."""
    sampler = Sampler(trajectories[0].shape[2], seed)
    for number, source in enumerate(trajectories):
        for piece in source.pieces():
            times = np.arange(piece.times.start, piece.times.stop)
            nowhere = np.zeros(len(times), dtype=np.int64)
            sampler.add(piece.positions_nm[:, 0], number, times, nowhere, nowhere)
    return sampler.sampled()
