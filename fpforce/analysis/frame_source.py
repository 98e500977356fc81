"""Frames of one trajectory or simulation, a piece at a time, so that an evaluation holds none as a whole.

In: arrays, or files (fpforce.analysis.inputs). Out: `FrameSource`s, which can be read as often as an evaluation has
passes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from fpforce.foundation.errors import InputError

_BYTES_OF_A_PIECE = 8 << 20  # of positions; coordinates and features of them are several times as much
_MOST_FRAMES_OF_A_PIECE = 50_000


class Piece(NamedTuple):
    """positions_nm (times, replicas, beads, 3) from the saved time `time` and the replica `replica` on.

    `valid` (times, replicas) bool: False from a replica's failure on, and for frames that are not finite.
    """

    time: int
    replica: int
    positions_nm: np.ndarray
    valid: np.ndarray

    @property
    def times(self) -> slice:
        """Its saved times."""
        return slice(self.time, self.time + len(self.positions_nm))

    @property
    def replicas(self) -> slice:
        """Its replicas."""
        return slice(self.replica, self.replica + self.positions_nm.shape[1])


class FrameSource(Protocol):
    """Frames of some replicas at some saved times; a trajectory is one replica.

    `shape`: (times, replicas, beads, 3), as of an array. `ends` (replicas,): how many saved times of each replica are
    before its failure.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ends(self) -> np.ndarray: ...

    def pieces(self) -> Iterator[Piece]:
        """All frames once, those of each replica in the order of time."""
        ...


# An array, or what is read in pieces.
Frames = np.ndarray | FrameSource


@dataclass(frozen=True)
class ArrayFrames:
    """Positions (times, replicas, beads, 3) in memory; `valid` (times, replicas), None: all are."""

    positions_nm: np.ndarray
    valid: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.positions_nm.shape

    @property
    def ends(self) -> np.ndarray:
        times, replicas = self.shape[:2]
        if self.valid is None:
            return np.full(replicas, times)
        return np.where(self.valid.any(axis=0), times - np.argmax(self.valid[::-1], axis=0), 0)

    def pieces(self) -> Iterator[Piece]:
        times = max(1, frames_of_a_piece(self.shape[2]) // self.shape[1])
        for start in range(0, self.shape[0], times):
            part = slice(start, start + times)
            yield piece_of(start, 0, self.positions_nm[part], None if self.valid is None else self.valid[part])


@dataclass(frozen=True)
class ChosenFrames:
    """Some frames of a trajectory, `chosen` (count,) in order, a frame as often as it is named."""

    source: FrameSource
    chosen: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.chosen), *self.source.shape[1:])

    @property
    def ends(self) -> np.ndarray:
        return np.array([len(self.chosen)])

    def pieces(self) -> Iterator[Piece]:
        for piece in self.source.pieces():
            first, end = np.searchsorted(self.chosen, [piece.time, piece.times.stop])
            here = self.chosen[first:end] - piece.time
            if len(here):
                yield Piece(int(first), 0, piece.positions_nm[here], piece.valid[here])


def piece_of(time: int, replica: int, positions_nm: np.ndarray, valid: np.ndarray | None = None) -> Piece:
    """A Piece, with frames that are not finite marked besides those that are not `valid` (times, replicas)."""
    finite = np.isfinite(positions_nm).all(axis=(2, 3))
    return Piece(time, replica, positions_nm, finite if valid is None else finite & valid)


def frames_of_a_piece(beads: int) -> int:
    """How many frames are read at once."""
    return max(1, min(_MOST_FRAMES_OF_A_PIECE, _BYTES_OF_A_PIECE // (12 * max(beads, 1))))


def trajectory(frames: Frames, name: str, beads: int) -> FrameSource:
    """A trajectory (frames, beads, 3) as a source; InputError where it is empty or has another shape."""
    if isinstance(frames, np.ndarray):
        _check(frames.shape, 3, name, beads)
        return ArrayFrames(frames[:, None])
    _check(frames.shape, 4, name, beads)
    return frames


def replicas(frames: Frames, valid: np.ndarray | None, name: str, beads: int) -> FrameSource:
    """A simulation (times, replicas, beads, 3) as a source; InputError as of `trajectory`."""
    _check(frames.shape, 4, name, beads)
    return ArrayFrames(frames, valid) if isinstance(frames, np.ndarray) else frames


def lengths_of(trajectories: Sequence[FrameSource]) -> list[int]:
    """Frames of each trajectory."""
    return [source.shape[0] for source in trajectories]


def trajectory_pieces(source: FrameSource) -> Iterator[np.ndarray]:
    """(frames, beads, 3) of a trajectory, a piece after the other."""
    for piece in source.pieces():
        yield piece.positions_nm[:, 0]


def _check(shape: tuple[int, ...], dimensions: int, name: str, beads: int) -> None:
    if len(shape) != dimensions or shape[-2:] != (beads, 3):
        raise InputError(f"{name} positions have shape {shape}; this model needs (..., {beads}, 3)")
    if 0 in shape:
        raise InputError(f"{name} has no frames; give a longer trajectory")
