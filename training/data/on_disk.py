"""Training data that stay on the disk: batches are read from there, statistics come from frames spread evenly over
them.

In: a recipe's data with on_disk, and a folder for the bead frames. Out: a TrainingSet of at most SOME frames in memory,
whose batches are drawn from all frames on the disk. Trajectories are read and mapped in pieces, once: the folder is
gone on with where its making was interrupted, and made anew where the files or the mapping have changed.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fpforce.foundation.errors import InputError
from fpforce.training.data.dataset import NoisedBatches, TrainingSet
from fpforce.training.data.earlier import EarlierData
from fpforce.training.data.held_out import FEWEST_HELD_OUT, held_out
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.recipe.sections import DataRecipe
from fpforce.trajectories.bead_frames import BeadFrames, checked_positions, prepared, reported
from fpforce.trajectories.chunks import read_chunks
from fpforce.trajectories.frame_checks import check_motion
from fpforce.trajectories.frame_store import FrameStore, open_store

logger = logging.getLogger("fpforce")

SOME = 100_000  # frames in memory: for statistics, conformations, calibration and what is watched
_SOME_HELD_OUT = 20_000
_BYTES_AT_ONCE = 64 << 20  # of atoms that are read of a trajectory


@dataclass(frozen=True)
class OnDiskSet(TrainingSet):
    """A TrainingSet whose `frames` are some of all, spread evenly; batches are drawn from those of the store.

    kept: (first, end) of the stretches of the store's frames that are trained on.
    """

    store: FrameStore | None = None
    kept: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        return sum(end - first for first, end in self.kept)

    def batches(
        self, times: TimeSampler, batch_size: int, seed: tuple[int, ...], weights: Tensor, rotate: bool
    ) -> "OnDiskBatches":
        assert self.store is not None
        return OnDiskBatches(self, times, batch_size, seed, weights, rotate)

    def positions_nm(self, numbers: np.ndarray) -> np.ndarray:
        """Frames (count, beads, 3) in nm by their numbers among those that are trained on."""
        assert self.store is not None
        return self.store.take(numbers_in_store(self.kept, numbers))


class OnDiskBatches(NoisedBatches):
    """Batches of all frames on the disk; `spread` draws from those in memory."""

    def __init__(
        self,
        training_set: OnDiskSet,
        times: TimeSampler,
        batch_size: int,
        seed: int | tuple[int, ...],
        weights: Tensor,
        rotate: bool,
    ):
        super().__init__(training_set.frames, times, batch_size, seed, weights, rotate)
        self._set = training_set

    def any_frames(self, generator: torch.Generator) -> Tensor:
        return torch.randint(self._set.count, (self.pairs,), generator=generator, device=self.frames.device)

    def drawn(self, chosen: Tensor) -> Tensor:
        numbers = chosen.cpu().numpy()
        order = np.argsort(numbers, kind="stable")  # as they lie on the disk
        positions_nm = np.empty((len(numbers), *self.frames.shape[1:]), dtype=np.float64)
        positions_nm[order] = self._set.positions_nm(numbers[order])
        return torch.from_numpy(self._set.normalisation.from_nm(positions_nm).astype(np.float32)).to(self.frames)


def read_on_disk(data: DataRecipe, folder: Path, earlier: EarlierData | None) -> OnDiskSet:
    """The TrainingSet of a recipe's trajectories, of which `folder` holds the bead frames."""
    known = None if earlier is None else earlier.of_one_molecule()
    store, some = map_to_disk(data, folder)
    check_motion(some)
    if known is not None and earlier is not None:
        earlier.require_beads(some.beads)
    if len(some.beads) == 1:
        raise InputError("data.on_disk is for molecules, and these frames have one bead; leave it out")
    kept, held = _stretches(store.lengths, data.held_out)
    normalisation = _normalisation(store, kept) if earlier is None else earlier.normalisation
    assert some.report is not None
    chosen = _evenly(sum(end - first for first, end in kept), SOME)
    in_memory = replace(some, positions_nm=store.take(numbers_in_store(kept, chosen)), lengths=(len(chosen),))
    base = TrainingSet.of(in_memory, normalisation)
    watched = None
    if (number := sum(end - first for first, end in held)) >= FEWEST_HELD_OUT:
        positions_nm = store.take(numbers_in_store(held, _evenly(number, _SOME_HELD_OUT)))
        watched = torch.from_numpy(normalisation.from_nm(positions_nm.astype(np.float64)).astype(np.float32))
    return OnDiskSet(
        base.frames,
        normalisation,
        base.beads,
        base.data_sha256,
        base.sources,
        held_out=watched,
        mapping=some.report.short(),
        store=store,
        kept=kept,
    )


def map_to_disk(data: DataRecipe, folder: Path) -> tuple[FrameStore, BeadFrames]:
    """The store of a recipe's bead frames in a folder, and BeadFrames of some of them, with the report on all files."""
    arguments: dict[str, Any] = {
        "beads": data.beads,
        "length_unit": data.length_unit,
        "several_chains": data.several_chains,
    }
    paths, sources = prepared(data.trajectories, data.topology, stride=data.stride, **arguments)
    source, table = sources.source, sources.table
    at_once = max(1, _BYTES_AT_ONCE // (12 * max(source.n_points, 1)))

    def pieces_of(number: int, skip: int) -> Iterator[np.ndarray]:
        path, first = paths[number], skip
        for read in read_chunks(source, path, data.length_unit, data.stride, at_once, skip):
            where = path if not first else Path(f"{path} (from frame {first * data.stride} on)")
            positions = checked_positions(
                read.xyz, sources, where, data.length_unit, data.stride, data.allow_d_residues
            )
            first += len(read.xyz)
            yield positions
            logger.info("%s: %d frames mapped to the disk", path, first)

    key = {
        "files": [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths],
        "beads": table.to_dict(),
        "stride": data.stride,
        "allow_d_residues": data.allow_d_residues,
        **{name: arguments[name] for name in ("length_unit", "several_chains")},
    }
    hashed = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    described = {"beads": table.to_dict(), "length_unit": "nm"}
    store = open_store(folder, hashed, described, len(table), [str(path) for path in paths], pieces_of)
    store.verify()
    chosen = [
        first + _evenly(length, max(1, SOME // len(paths)))
        for first, length in zip(np.cumsum((0, *store.lengths[:-1])), store.lengths, strict=True)
    ]
    frames = BeadFrames(
        positions_nm=store.take(np.concatenate(chosen)),
        beads=table,
        lengths=tuple(map(len, chosen)),
        sources=tuple(map(str, paths)),
        sha256=hashlib.sha256(json.dumps(store.content["shards"]).encode()).hexdigest(),
        time_step_ps=None,
    )
    return store, reported(frames, sources, data.stride, data.length_unit, data.allow_d_residues)


def numbers_in_store(stretches: tuple[tuple[int, int], ...], numbers: np.ndarray) -> np.ndarray:
    """Numbers in the store of frames that are numbered within some stretches of it."""
    firsts = np.array([first for first, _ in stretches])
    lengths = np.array([end - first for first, end in stretches])
    ends = np.cumsum(lengths)
    which = np.searchsorted(ends, numbers, side="right")
    return firsts[which] + numbers - (ends[which] - lengths[which])


def _stretches(
    lengths: tuple[int, ...], share: float
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Stretches of frames that are trained on, and of those held out, as of frames in memory."""
    held = held_out(lengths, share)
    if held.sum() < FEWEST_HELD_OUT:
        return ((0, len(held)),), ()
    edges = np.flatnonzero(np.diff(np.concatenate([[~held[0]], held, [~held[-1]]]).astype(np.int8))).tolist()
    parts = list(zip(edges[:-1], edges[1:], strict=True))
    return tuple(part for part in parts if not held[part[0]]), tuple(part for part in parts if held[part[0]])


def _normalisation(store: FrameStore, kept: tuple[tuple[int, int], ...]) -> Normalisation:
    """That of all frames that are trained on, piece by piece."""
    squares, count = 0.0, 0
    for first, piece in store.pieces(100_000):
        for start, end in kept:
            part = piece[max(start - first, 0) : max(end - first, 0)].astype(np.float64)
            if len(part):
                centred = part - part.mean(axis=1, keepdims=True)
                squares, count = squares + float(np.square(centred).sum()), count + centred.size
    spread_nm = float(np.sqrt(squares / max(count, 1)))
    if not spread_nm > 0:
        raise InputError(
            f"{store.folder}: its frames have no spread and leave nothing to learn; choose beads that move"
        )
    return Normalisation(spread_nm)


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
