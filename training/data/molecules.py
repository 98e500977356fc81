"""Training data of many molecules: one scale for all, equal shares of a batch, statistics by type.

In: BeadFrames of every molecule. Out: a MoleculeSet, which offers the training what a TrainingSet of one molecule
offers, and batches whose rows are different molecules, padded to the same number of beads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.statistics import measure
from fpforce.forcefield.wall import smallest_distances
from fpforce.foundation.errors import InputError
from fpforce.training.data.dataset import SUPPORT_FRAMES, NoisedBatches, TrainingSet, conformation_weights
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.models.edges import SMOOTH_LENGTH
from fpforce.training.models.molecule import Rows
from fpforce.training.models.transferable import TransferableEnergy, build_transferable
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.trajectories.bead_frames import BeadFrames

CHECKED_MOLECULES, CHECK_FRAMES = 8, 32  # for the checks at export


@dataclass(frozen=True)
class MoleculeSet:
    """Several molecules, each a TrainingSet of frames divided by the same scale_nm, by name."""

    molecules: dict[str, TrainingSet]
    knowledge: Knowledge

    forces = None
    held_out = None

    @staticmethod
    def of(
        molecules: dict[str, BeadFrames],
        choice: str,
        allow_d_residues: bool = False,
        scale_nm: float | None = None,
        knowledge: Knowledge | None = None,
        one_layout: bool = False,
        one_type: Mapping[str, str] | None = None,
    ) -> "MoleculeSet":
        """Centre every frame and divide by scale_nm, by default the root mean square of the molecules' own scales.

        choice: the recipe's data.beads. knowledge: that of an earlier training, whose statistics are kept. one_layout:
        whether the molecules differ in their residue types alone, as a model of kind `internal` needs. one_type: {name
        of a residue: the residue type that it counts as}, where it is not its own.
        Raises InputError for a molecule of one bead or of several chains, for one of another layout, and for one whose
        types an earlier training did not know.
        """
        for name, frames in molecules.items():
            if len(frames.beads) < 2:
                raise InputError(
                    f"{', '.join(frames.sources)}: molecule {name} has one bead; choose beads of which each has several"
                )
            chains = sorted({bead.chain for bead in frames.beads.beads})
            if len(chains) > 1:
                raise InputError(
                    f"{', '.join(frames.sources)}: molecule {name} has the chains {', '.join(chains)}, and a "
                    "transferable model learns from molecules of one; take one chain, or leave the molecule out"
                )
        scale_nm = scale_nm or float(
            np.sqrt(np.mean([TrainingSet.of(frames).scale_nm ** 2 for frames in molecules.values()]))
        )
        sets = {name: TrainingSet.of(frames, Normalisation(scale_nm)) for name, frames in molecules.items()}
        if knowledge is None:
            statistics = [measure(one.frames.numpy(), SMOOTH_LENGTH) for one in sets.values()]
            knowledge = Knowledge.of(
                [one.beads for one in sets.values()],
                statistics,
                choice,
                SMOOTH_LENGTH,
                allow_d_residues,
                one_layout,
                one_type,
            )
        else:
            knowledge = knowledge.with_places([one.beads for one in sets.values()])
        for name, one in sets.items():
            try:
                knowledge.require_layout(one.beads)
                knowledge.network_constants(one.beads)
                knowledge.require_same_beads(one.beads)
            except InputError as error:
                raise InputError(f"molecule {name}: {error}") from None
        return MoleculeSet(sets, knowledge)

    @property
    def scale_nm(self) -> float:
        return next(iter(self.molecules.values())).scale_nm

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(source for one in self.molecules.values() for source in one.sources)

    @property
    def data_sha256(self) -> str:
        """Hash of all files' hashes, with the names of the molecules."""
        return sha256(
            "".join(f"{name} {one.data_sha256}\n" for name, one in self.molecules.items()).encode()
        ).hexdigest()

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Beads of every molecule."""
        return tuple(len(one.beads) for one in self.molecules.values())

    @cached_property
    def frames(self) -> Tensor:
        """(all frames, most beads, 3): the molecules' one after the other, padded with zeros."""
        most = max(self.sizes)
        return torch.cat(
            [
                torch.nn.functional.pad(one.frames, (0, 0, 0, most - size))
                for one, size in zip(self.molecules.values(), self.sizes, strict=True)
            ]
        )

    @property
    def count(self) -> int:
        """Number of frames that are trained on."""
        return len(self.frames)

    @property
    def counts(self) -> Tensor:
        """(molecules,) frames of each."""
        return torch.tensor([len(one.frames) for one in self.molecules.values()])

    def build(self, plan: ExpertPlan) -> TransferableEnergy:
        """The untrained model that an expert's plan asks for."""
        return build_transferable(
            plan, self.knowledge, [one.beads for one in self.molecules.values()], self.scale_nm, self.frames
        )

    def batches(
        self, times: TimeSampler, batch_size: int, seed: tuple[int, ...], weights: Tensor, rotate: bool
    ) -> "MoleculeBatches":
        """Noised batches, of equal shares of all molecules."""
        return MoleculeBatches(
            self.frames, times, batch_size, seed, weights, rotate, counts=self.counts, sizes=self.sizes
        )

    def conformation_weights(self, evenness: float) -> Tensor:
        """Weights (all frames,) that spread each molecule's frames over its conformations; 1 in all for each."""
        weights = [conformation_weights(one.frames, evenness).double() for one in self.molecules.values()]
        return torch.cat([own / own.sum() for own in weights])

    def smallest_distances(self) -> list[dict]:
        """As of a TrainingSet, over all molecules."""
        return smallest_distances((one.beads, one.frames.numpy() * one.scale_nm) for one in self.molecules.values())

    def record(self) -> dict:
        """What travels in a checkpoint, by the names of training.checkpoint.checkpoint.TrainingRecord."""
        names = list(self.molecules)
        chosen = {
            names[k] for k in np.linspace(0, len(names) - 1, min(CHECKED_MOLECULES, len(names))).round().astype(int)
        }
        molecules = {
            name: one.record()
            | {
                "check_frames": one.check_frames()[:: max(1, 256 // CHECK_FRAMES)].clone(),
                "support": one.support_frames(SUPPORT_FRAMES // CHECKED_MOLECULES),
            }
            for name, one in self.molecules.items()
            if name in chosen
        }
        return next(iter(molecules.values())) | {
            "transferable": {"knowledge": self.knowledge.to_dict(), "trained_on": names, "molecules": molecules}
        }


class MoleculeBatches(NoisedBatches):
    """Batches of which every molecule has an equal share, whatever the number of its frames.

    counts (molecules,): frames of each, which follow each other in `frames`; sizes: beads of each. weights: their sum
    over a molecule's frames is that molecule's share of what `spread` draws.
    """

    def __init__(
        self,
        frames: Tensor,
        times: TimeSampler,
        batch_size: int,
        seed: int | tuple[int, ...],
        weights: Tensor | None = None,
        rotate: bool = False,
        *,
        counts: Tensor,
        sizes: Sequence[int],
    ):
        super().__init__(frames, times, batch_size, seed, weights, rotate)
        self.counts, self.ends = counts, counts.cumsum(0)
        self.masks = None if len(set(sizes)) == 1 else torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        super().to(device, dtype)
        self.counts, self.ends = self.counts.to(device), self.ends.to(device)
        self.masks = None if self.masks is None else self.masks.to(device)

    def any_frames(self, generator: torch.Generator) -> Tensor:
        device, molecules = self.frames.device, len(self.counts)
        start = torch.randint(molecules, (1,), generator=generator, device=device)
        which = (start + torch.arange(self.pairs, device=device)) % molecules  # as many of each as a batch allows
        part = torch.rand(self.pairs, generator=generator, device=device, dtype=torch.float64)
        within = torch.minimum((part * self.counts[which]).long(), self.counts[which] - 1)
        return self.ends[which] - self.counts[which] + within

    def rows_of(self, chosen: Tensor) -> Rows:
        which = torch.searchsorted(self.ends, chosen, right=True)
        return Rows(which, None if self.masks is None else self.masks[which])
