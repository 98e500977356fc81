"""A trajectory of a force field's beads on the disk, read in pieces as often as an evaluation asks.

In: a file, its topology, the beads. Out: a `FrameSource`, whose frames are checked as those of a training are, the
first time that they are read.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.analysis.frame_source import Piece, frames_of_a_piece, piece_of
from fpforce.analysis.independence import sha256_of
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.atom_frames import AtomFrames
from fpforce.trajectories.bead_frames import BeadFrames, prepared, reported
from fpforce.trajectories.checked import checked_positions
from fpforce.trajectories.chunks import count_frames, read_chunks
from fpforce.trajectories.files import is_array
from fpforce.trajectories.sources import ListedBeads, Sources

logger = logging.getLogger("fpforce")

_BYTES_OF_ATOMS = 32 << 20  # of all atoms of a piece, of which the beads are some
_BYTES_KEPT = 256 << 20


@dataclass
class Memory:
    """Bytes that the files of one evaluation may keep together, so that small ones are read once."""

    left: int = _BYTES_KEPT


@dataclass
class TrajectoryFile:
    """Frames of one file. `checked`: frames that cannot be right are refused (of samples they are not: those that are
    not finite are not valid). order: of the beads in the file, None where it is that of the table.
    """

    path: Path
    sources: Sources
    frames: int
    memory: Memory
    checked: bool = True
    order: np.ndarray | None = None
    description: dict[str, Any] = field(default_factory=dict)
    _kept: list[np.ndarray] | None = None
    _notices: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: str | Path, topology: Any, table: BeadTable, memory: Memory) -> "TrajectoryFile":
        """A trajectory; InputError for what its first piece shows to be wrong. What is unusual is logged."""
        (file,), sources = prepared(
            path, topology, beads="all", length_unit="nm" if is_array(path) else None, stride=1, table=table
        )
        one = cls(file, sources, count_frames(sources.source, file, _unit(file)), memory)
        read, positions = next(one._read())
        beginning = BeadFrames(positions, sources.table, (len(positions),), (str(file),), "", read.time_step_ps)
        reported(beginning, sources, 1, _unit(file), False, [replace(read, xyz=read.xyz[:0])], own=True)
        one._notices |= set(read.notices)
        one.description = {
            "path": str(file),
            "sha256": sha256_of(file),
            "frames": one.frames,
            "time_step_ps": read.time_step_ps,
        }
        return one

    @classmethod
    def of_samples(cls, path: Path, table: BeadTable, order: np.ndarray, memory: Memory) -> "TrajectoryFile":
        """Samples of the beads, which an array lists or a trajectory holds in this order."""
        if is_array(path):
            sources = Sources(table, ListedBeads(table), {})
        else:
            _, sources = prepared(path, table.to_mdtraj(), beads="all", length_unit=None, stride=1, table=table)
        frames = count_frames(sources.source, path, _unit(path))
        return cls(path, sources, frames, memory, checked=False, order=order)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames, 1, len(self.sources.table), 3

    @property
    def ends(self) -> np.ndarray:
        return np.array([self.frames])

    def pieces(self) -> Iterator[Piece]:
        """All frames, from the disk or from memory where they fit it."""
        time = 0
        for positions in self._kept if self._kept is not None else self._from_disk():
            yield piece_of(time, 0, positions[:, None])
            time += len(positions)
        if time != self.frames:
            raise InputError(f"{self.path} has {time} frames now, and had {self.frames}: it changed while it was read")

    def whole(self) -> np.ndarray:
        """All frames (frames, beads, 3) in nm at once."""
        return np.concatenate([piece.positions_nm[:, 0] for piece in self.pieces()])

    def _from_disk(self) -> Iterator[np.ndarray]:
        size = 12 * self.frames * len(self.sources.table)
        keep = size <= self.memory.left
        held = []
        for read, positions in self._read():
            for text in set(read.notices) - self._notices:
                logger.warning("%s: %s", self.path, text)
                self._notices.add(text)
            if keep:
                held.append(positions)
            yield positions
        if keep and self._kept is None:
            self._kept, self.memory.left = held, self.memory.left - size

    def _read(self) -> Iterator[tuple[AtomFrames, np.ndarray]]:
        """What is read of the file, and the beads' positions (frames, beads, 3) in nm of it, in pieces of about equal
        length.
        """
        source = self.sources.source
        most = min(
            frames_of_a_piece(len(self.sources.table)), max(1, _BYTES_OF_ATOMS // (12 * max(source.n_points, 1)))
        )
        pieces = max(1, -(-self.frames // most))
        first = 0
        for read in read_chunks(source, self.path, _unit(self.path), 1, -(-self.frames // pieces)):
            where = self.path if not first else Path(f"{self.path} (from frame {first} on)")
            if self.checked:
                positions = checked_positions(read.xyz, self.sources, where, _unit(self.path), 1, False, simulated=True)
            else:
                positions = source.positions(read.xyz)
            first += len(read.xyz)
            yield read, np.ascontiguousarray(positions if self.order is None else positions[:, self.order], np.float32)


def _unit(path: str | Path) -> str | None:
    """Arrays are in nm; formats have a unit of their own."""
    return "nm" if is_array(path) else None
