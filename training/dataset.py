"""From bead frames to what the networks see: centred, divided by one scale, drawn in noised batches.

In: BeadFrames (nm). Out: a TrainingSet (its statistics travel in the checkpoint) and batches of x_t, t and z.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fpforce.beads import BeadTable
from fpforce.errors import InputError
from fpforce.trajectory import BeadFrames
from fpforce.training.diffusion import TimeSampler, centred_noise, diffuse

CHECK_FRAMES = 256


@dataclass(frozen=True)
class TrainingSet:
    """Normalised frames (frames, beads, 3) float32 with the scale s in nm that divides positions."""

    frames: Tensor
    scale_nm: float
    beads: BeadTable
    data_sha256: str
    sources: tuple[str, ...]

    @staticmethod
    def of(bead_frames: BeadFrames) -> "TrainingSet":
        """Centre every frame and divide by the standard deviation of all centred coordinates."""
        positions = bead_frames.positions_nm.astype(np.float64)
        positions = positions - positions.mean(axis=1, keepdims=True)
        scale = float(positions.std())
        if positions.shape[1] < 2 or not scale > 0:
            raise InputError(f"{', '.join(bead_frames.sources)}: {positions.shape[1]} bead(s) with spread {scale} nm "
                             "leave nothing to learn; choose at least two beads that move")
        return TrainingSet(torch.from_numpy((positions / scale).astype(np.float32)), scale, bead_frames.beads,
                           bead_frames.sha256, bead_frames.sources)

    @property
    def prior_pairs(self) -> list[tuple[int, int]]:
        """Bonded (1-2) and angle (1-3) pairs, each once."""
        ends = [(i, k) for i, _, k in self.beads.angles]
        return sorted({(min(pair), max(pair)) for pair in [*self.beads.bonds, *ends]})

    def bond_lengths_nm(self) -> dict[str, list[float]]:
        """Mean, smallest and largest length of every bond, in the order of beads.bonds."""
        index = np.array(self.beads.bonds, dtype=int).reshape(-1, 2)
        lengths = (self.frames[:, index[:, 0]] - self.frames[:, index[:, 1]]).norm(dim=-1).double() * self.scale_nm
        return {"mean": lengths.mean(0).tolist(), "min": lengths.amin(0).tolist(), "max": lengths.amax(0).tolist()}

    def check_frames(self) -> Tensor:
        """Frames spread evenly over the set, which travel in the checkpoint for the checks at export."""
        count = min(CHECK_FRAMES, len(self.frames))
        return self.frames[torch.linspace(0, len(self.frames) - 1, count).round().long()].clone()


@dataclass(frozen=True)
class NoisedBatch:
    """x_t and its noise z (batch, beads, 3), at times t (batch,)."""

    x: Tensor
    t: Tensor
    z: Tensor


class NoisedBatches:
    """The noised batch of every step; a function of (seed, rank, step) alone, so that a resumed run sees the same.

    Noise comes in antithetic pairs: the second half of a batch repeats the first with -z. To first order in sigma the
    noise cancels from the loss's gradient, which matters where sigma is small.
    """

    def __init__(self, frames: Tensor, times: TimeSampler, batch_size: int, seed: int):
        self.frames, self.times, self.seed = frames, times, seed
        self.pairs = batch_size // 2

    def batch(self, step: int, rank: int = 0) -> tuple[NoisedBatch, torch.Generator]:
        """The batch of a step, with the generator for whatever else this step draws."""
        words = np.random.SeedSequence([self.seed, rank, step]).generate_state(2, np.uint32)
        generator = torch.Generator(device=self.frames.device)
        generator.manual_seed(int(words[0]) << 31 ^ int(words[1]))
        chosen = torch.randint(len(self.frames), (self.pairs,), generator=generator, device=self.frames.device)
        x0 = self.frames[chosen].repeat(2, 1, 1)
        t = self.times(self.pairs, generator, x0).repeat(2)
        z = centred_noise((self.pairs, *x0.shape[1:]), generator, x0)
        z = torch.cat([z, -z])
        return NoisedBatch(diffuse(x0, t, z), t, z), generator
