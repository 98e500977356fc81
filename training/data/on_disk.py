"""Training data that stay on the disk: batches are read from there, statistics come from frames spread evenly over
them.

In: a recipe's data with on_disk, and the folder of bead frames that mapped_data.py makes of it. Out: a TrainingSet of
at most SOME frames in memory, whose batches are drawn from all frames on the disk, with their forces and by their
weights where the recipe names these. Weights alone, one number a frame, are in memory.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpforce.foundation.errors import InputError
from fpforce.training.data.dataset import NoisedBatches, TrainingSet
from fpforce.training.data.earlier import EarlierData
from fpforce.training.data.force_scores import ForceScores, scores
from fpforce.training.data.held_out import watched
from fpforce.training.data.mapped_data import SOME, evenly_spread, map_to_disk
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.recipe.sections import DataRecipe
from fpforce.trajectories.frame_checks import check_motion
from fpforce.trajectories.frame_store import FrameStore
from fpforce.trajectories.weights import FrameWeights, in_proportion, read_weights

_SOME_HELD_OUT = 20_000
_FRAMES_AT_ONCE = 100_000

Stretches = tuple[tuple[int, int], ...]  # (first, end) of frames of a store


@dataclass(frozen=True)
class OnDiskSet(TrainingSet):
    """A TrainingSet whose `frames` are some of all, spread evenly; batches are drawn from those of the store.

    kept: (first, end) of the stretches of the store's frames that are trained on. force_store: their forces on the
    beads in kJ/mol/nm, or None; kt_kj_per_mol: by which these become scores. all_weights (frames of kept,): how much
    each counts, or None.
    """

    store: FrameStore | None = None
    kept: Stretches = ()
    force_store: FrameStore | None = None
    kt_kj_per_mol: float = 0.0
    all_weights: np.ndarray | None = None

    @property
    def count(self) -> int:
        return sum(end - first for first, end in self.kept)

    def batches(
        self, times: TimeSampler, batch_size: int, seed: tuple[int, ...], weights: Tensor, rotate: bool
    ) -> "OnDiskBatches":
        return OnDiskBatches(self, times, batch_size, seed, weights, rotate)


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
        every = None if training_set.all_weights is None else torch.from_numpy(training_set.all_weights)
        super().__init__(training_set.frames, times, batch_size, seed, weights, rotate, None, every)
        self._set = training_set

    @property
    def count(self) -> int:
        return self._set.count

    def drawn(self, chosen: Tensor) -> Tensor:
        assert self._set.store is not None
        positions_nm = self._read(self._set.store, chosen).astype(np.float64)
        return torch.from_numpy(self._set.normalisation.from_nm(positions_nm).astype(np.float32)).to(self.frames)

    def forces_of(self, chosen: Tensor) -> Tensor | None:
        if self._set.force_store is None:
            return None
        forces = self._read(self._set.force_store, chosen)
        return torch.from_numpy(scores(forces, self._set.scale_nm, self._set.kt_kj_per_mol)).to(self.frames)

    def _read(self, store: FrameStore, chosen: Tensor) -> np.ndarray:
        """The chosen frames of a store (count, beads, 3)."""
        numbers = chosen.cpu().numpy()
        order = np.argsort(numbers, kind="stable")  # as they lie on the disk
        found = np.empty((len(numbers), *self.frames.shape[1:]), dtype=np.float32)
        found[order] = store.take(numbers_in_store(self._set.kept, numbers[order]))
        return found


def read_on_disk(data: DataRecipe, folder: Path, kt_kj_per_mol: float, earlier: EarlierData | None) -> OnDiskSet:
    """The TrainingSet of a recipe's trajectories, of which `folder` holds the bead frames."""
    known = None if earlier is None else earlier.of_one_molecule()
    mapped = map_to_disk(data, folder)
    store, some = mapped.store, mapped.some
    check_motion(some)
    if known is not None and earlier is not None:
        earlier.require_beads(some.beads)
    if len(some.beads) == 1:
        raise InputError("data.on_disk is for molecules, and these frames have one bead; leave it out")
    weights = None if data.weights is None else read_weights(data.weights, store.lengths, data.stride)
    kept, held = _stretches(store.lengths, data.held_out, weights)
    own_weights = None if weights is None else np.concatenate([weights.values[first:end] for first, end in kept])
    if own_weights is not None and own_weights.min() == own_weights.max():
        own_weights = None
    normalisation = _normalisation(store, kept, weights) if earlier is None else earlier.normalisation
    assert some.report is not None
    chosen = evenly_spread(sum(end - first for first, end in kept), SOME)
    if own_weights is not None:
        chosen = chosen[own_weights[chosen] > 0.0]
    numbers = numbers_in_store(kept, chosen)
    in_memory = replace(
        some,
        positions_nm=store.take(numbers),
        lengths=(len(chosen),),
        forces=mapped.forces_of(numbers),
        weights=None
        if weights is None or own_weights is None
        else FrameWeights(own_weights[chosen] / own_weights[chosen].sum(), weights.sources, weights.sha256),
    )
    base = TrainingSet.of(in_memory, normalisation)
    return OnDiskSet(
        base.frames,
        normalisation,
        base.beads,
        base.data_sha256,
        base.sources,
        forces=None if mapped.forces is None else ForceScores.of(in_memory, normalisation.scale_nm, kt_kj_per_mol),
        held_out=_watched(store, held, weights, normalisation),
        mapping=some.report.short(),
        weights=base.weights,
        weights_record=None if weights is None else weights.record(),
        store=store,
        kept=kept,
        force_store=None if mapped.forces is None else mapped.forces.store,
        kt_kj_per_mol=kt_kj_per_mol,
        all_weights=own_weights,
    )


def numbers_in_store(stretches: Stretches, numbers: np.ndarray) -> np.ndarray:
    """Numbers in the store of frames that are numbered within some stretches of it."""
    firsts = np.array([first for first, _ in stretches])
    lengths = np.array([end - first for first, end in stretches])
    ends = np.cumsum(lengths)
    which = np.searchsorted(ends, numbers, side="right")
    return firsts[which] + numbers - (ends[which] - lengths[which])


def _watched(
    store: FrameStore, held: Stretches, weights: FrameWeights | None, normalisation: Normalisation
) -> Tensor | None:
    """Some of the frames that are held out, normalised, in proportion to their weights."""
    number = sum(end - first for first, end in held)
    if not number:
        return None
    chosen = evenly_spread(number, _SOME_HELD_OUT)
    if weights is not None:
        own = np.concatenate([weights.values[first:end] for first, end in held])
        chosen = in_proportion(own, min(number, _SOME_HELD_OUT))
    positions_nm = store.take(numbers_in_store(held, chosen))
    return torch.from_numpy(normalisation.from_nm(positions_nm.astype(np.float64)).astype(np.float32))


def _stretches(lengths: tuple[int, ...], share: float, weights: FrameWeights | None) -> tuple[Stretches, Stretches]:
    """Stretches of frames that are trained on, and of those held out, as of frames in memory."""
    held = watched(lengths, share, None if weights is None else weights.values)
    if not held.any():
        return ((0, len(held)),), ()
    edges = np.flatnonzero(np.diff(np.concatenate([[~held[0]], held, [~held[-1]]]).astype(np.int8))).tolist()
    parts = list(zip(edges[:-1], edges[1:], strict=True))
    return tuple(part for part in parts if not held[part[0]]), tuple(part for part in parts if held[part[0]])


def _normalisation(store: FrameStore, kept: Stretches, weights: FrameWeights | None) -> Normalisation:
    """That of all frames that are trained on, piece by piece."""
    squares, total = 0.0, 0.0
    for first, piece in store.pieces(_FRAMES_AT_ONCE):
        for start, end in kept:
            inside = slice(max(start - first, 0), max(end - first, 0))
            part = piece[inside].astype(np.float64)
            if len(part):
                centred = part - part.mean(axis=1, keepdims=True)
                own = np.ones(len(part))
                if weights is not None:
                    own = weights.values[first : first + len(piece)][inside]
                squares += float(own @ np.square(centred).mean(axis=(1, 2)))
                total += float(own.sum())
    spread_nm = float(np.sqrt(squares / total)) if total else 0.0
    if not spread_nm > 0:
        raise InputError(
            f"{store.folder}: its frames have no spread and leave nothing to learn; choose beads that move"
        )
    return Normalisation(spread_nm)
