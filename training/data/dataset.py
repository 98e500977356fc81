"""From bead frames to what the networks see: centred, divided by one scale, drawn in noised batches.

In: BeadFrames (nm). Out: a TrainingSet (its statistics travel in the checkpoint) and batches of x_t, t and z, with the
forces of x_0 where the data has them.
Longer than other files, since a training set and the batches that are drawn of it are one idea.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fpforce.forcefield.transferable.graph import held_pairs
from fpforce.forcefield.transferable.statistics import measure
from fpforce.forcefield.wall import MOST_FRAMES, distances_of_pairs, smallest_distances
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.space import PLANE, space_of
from fpforce.training.data.force_scores import ForceScores
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.diffusion import centred_noise, diffuse, time_of_variance
from fpforce.training.losses.time_sampling import TimeSampler
from fpforce.training.models import build_model
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.internal import fit_coordinates
from fpforce.training.models.mlp import PlaneCoordinates
from fpforce.training.models.molecule import Rows
from fpforce.training.models.moments import mean
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.trajectories.bead_frames import BeadFrames
from fpforce.trajectories.weights import in_proportion

CHECK_FRAMES = 256
SUPPORT_FRAMES = 1000  # of the training, and as many held out, that say at export what the model has seen


@dataclass(frozen=True)
class TrainingSet:
    """Normalised frames (frames, beads, 3) float32 of one molecule, projected onto the degrees of freedom.

    forces: those of the same frames, or None. held_out (frames, beads, 3): frames that are not trained on, in the same
    normalisation, drawn in proportion to their weights. mapping: in a line, how the files were understood. weights
    (frames,): how much each frame counts, None where all count alike; weights_record: where they came from.
    """

    frames: Tensor
    normalisation: Normalisation
    beads: BeadTable
    data_sha256: str
    sources: tuple[str, ...]
    forces: ForceScores | None = None
    held_out: Tensor | None = None
    mapping: str = ""
    weights: Tensor | None = None
    weights_record: dict | None = None

    @staticmethod
    def of(bead_frames: BeadFrames, normalisation: Normalisation | None = None) -> "TrainingSet":
        """The frames in a normalisation, by default one of their own.

        That divides centred frames by the standard deviation of all their coordinates. Of a particle in the plane it
        subtracts the mean of all frames instead of each frame's centre. Raises InputError for frames that do not vary.
        """
        positions_nm = bead_frames.positions_nm.astype(np.float64)
        weights = None if bead_frames.weights is None else bead_frames.weights.values
        normalisation = normalisation or _own_normalisation(positions_nm, weights, bead_frames.sources)
        return TrainingSet(
            torch.from_numpy(normalisation.from_nm(positions_nm).astype(np.float32)),
            normalisation,
            bead_frames.beads,
            bead_frames.sha256,
            bead_frames.sources,
            weights=None if weights is None else torch.from_numpy(weights),
        )

    @property
    def count(self) -> int:
        """Number of frames that are trained on."""
        return len(self.frames)

    @property
    def scale_nm(self) -> float:
        """The length that is 1 in the frames."""
        return self.normalisation.scale_nm

    @cached_property
    def by_weight(self) -> Tensor:
        """As many frames (frames, beads, 3), drawn in proportion to their weights; the frames where all count alike."""
        if self.weights is None:
            return self.frames
        return self.frames[torch.from_numpy(in_proportion(self.weights.numpy(), len(self.frames)))]

    @property
    def start_positions_nm(self) -> Tensor:
        """The first frame (beads, 3) in nm."""
        return self.normalisation.to_nm(self.frames[0])

    @property
    def prior_pairs(self) -> list[tuple[int, int]]:
        """Bonded (1-2) and angle (1-3) pairs, each once."""
        return held_pairs(self.beads)

    def bond_lengths_nm(self) -> dict[str, list[float]]:
        """Mean, smallest and largest length of every bond, in the order of beads.bonds."""
        index = np.array(self.beads.bonds, dtype=int).reshape(-1, 2)
        lengths = (self.frames[:, index[:, 0]] - self.frames[:, index[:, 1]]).norm(dim=-1).double() * self.scale_nm
        return {
            "mean": mean(lengths, self.weights).tolist(),
            "min": lengths.amin(0).tolist(),
            "max": lengths.amax(0).tolist(),
        }

    def build(self, plan: ExpertPlan) -> DiffusionEnergy | DiffusionScore:
        """The untrained model that an expert's plan asks for."""
        return build_model(plan, self.frames, self.prior_pairs, self.beads, self.scale_nm, self.weights)

    def batches(
        self, times: TimeSampler, batch_size: int, seed: tuple[int, ...], weights: Tensor, rotate: bool
    ) -> "NoisedBatches":
        """Noised batches of these frames."""
        forces = None if self.forces is None else self.forces.values
        return NoisedBatches(self.frames, times, batch_size, seed, weights, rotate, forces, self.weights)

    def conformation_weights(self, evenness: float) -> Tensor:
        """Weights (frames,) by which frames are spread over the conformations."""
        return conformation_weights(self.frames, evenness, self.weights)

    def evenly(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` of the frames (count, beads, 3), drawn evenly over the conformations."""
        return evenly(self.frames, count, generator, self.weights)

    def record(self) -> dict:
        """What travels in a checkpoint, by the names of training.checkpoint.checkpoint.TrainingRecord."""
        return {
            "beads": self.beads.to_dict(),
            "origin_nm": list(self.normalisation.origin_nm),
            "bond_lengths_nm": self.bond_lengths_nm(),
            "start_positions_nm": self.start_positions_nm,
            "check_frames": self.check_frames(),
            "support": self.support_frames(),
            "forces": None if self.forces is None else self.forces.record,
            "weights": self.weights_record,
        }

    def smallest_distances(self) -> list[dict]:
        """Of beads that are not near along the bonds, as in fpforce.forcefield.wall."""
        return smallest_distances([(self.beads, self.frames.numpy() * self.scale_nm)])

    def wall_distances_nm(self) -> Tensor:
        """Of each pair of distant beads (pairs,), as in fpforce.forcefield.wall."""
        frames = self.by_weight  # of a set on disk some of its frames
        some = frames[:: -(-len(frames) // MOST_FRAMES)]
        return torch.from_numpy(distances_of_pairs(self.beads, some.numpy() * self.scale_nm))

    def check_frames(self) -> Tensor:
        """Frames spread evenly over the set, which travel in the checkpoint for the checks at export."""
        return _spread(self.by_weight, CHECK_FRAMES)

    def support_frames(self, most: int = SUPPORT_FRAMES) -> dict:
        """What the record keeps to say which frames the model has seen: at most so many `frames` and `held_out` ones
        (frames, beads, 3), None without, and the range of all pair distances of all frames, `low` and `high` (pairs,).
        """
        ranges = measure(self.frames.numpy(), 0.0)
        return {
            "frames": _spread(self.by_weight, most),
            "held_out": None if self.held_out is None else _spread(self.held_out, most),
            "low": torch.from_numpy(ranges.low),
            "high": torch.from_numpy(ranges.high),
        }


def _spread(frames: Tensor, most: int) -> Tensor:
    """At most so many of the frames, at equal distances."""
    return frames[torch.linspace(0, len(frames) - 1, min(most, len(frames))).round().long()].clone()


def _own_normalisation(positions_nm: np.ndarray, weights: np.ndarray | None, sources: tuple[str, ...]) -> Normalisation:
    """That of frames (frames, beads, 3) in nm, float64, with weights (frames,)."""
    space = space_of(positions_nm.shape[1])
    origin = space.origin(positions_nm, weights)
    spread_nm = float(space.spread(space.project(positions_nm - origin), weights))
    if not spread_nm > 0:
        raise InputError(
            f"{', '.join(sources)}: {positions_nm.shape[1]} bead(s) with spread {spread_nm} nm "
            "leave nothing to learn; choose beads that move"
        )
    x, y, z = map(float, origin)
    return Normalisation(spread_nm, (x, y, z))


class NoisedBatch(NamedTuple):
    """x_t and its noise z (batch, beads, 3), at times t (batch,); force: f_0 of the noise-free frames, where there is
    one.
    """

    x: Tensor
    t: Tensor
    z: Tensor
    force: Tensor | None = None
    rows: Rows | None = None


class Points(NamedTuple):
    """Noised positions (count, beads, 3) at times (count,); rows: which molecules these are, where there are
    several.
    """

    x: Tensor
    t: Tensor
    rows: Rows | None = None


class NoisedBatches:
    """The noised batch of every step; a function of (seed, step) alone, so that a resumed run sees the same.

    Noise comes in antithetic pairs: the second half of a batch repeats the first with -z. To first order in sigma the
    noise cancels from the loss's gradient, which matters where sigma is small.

    weights (frames,): with which `spread` draws frames; None draws all alike. rotate: turn every frame at random, for
    networks that are not invariant under rotation. forces (frames, beads, 3): f_0 of the frames, which turns with them.
    frame_weights (frames,): how much each frame counts, by which batches draw them; None draws all alike. Drawn in
    proportion, frames give the same mean gradient as frames drawn alike whose losses have the weights. But the noise z
    makes nearly all of the gradient's variance, and does not know the frame: by weighted losses that variance would be
    larger by <w^2>/<w>^2, the number of frames over the number that counts (docs/method.md, Weights of frames).
    """

    def __init__(
        self,
        frames: Tensor,
        times: TimeSampler,
        batch_size: int,
        seed: int | tuple[int, ...],
        weights: Tensor | None = None,
        rotate: bool = False,
        forces: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ):
        self.frames, self.times, self.seed, self.rotate = frames, times, np.atleast_1d(seed).tolist(), rotate
        self.forces = forces
        self.pairs = batch_size // 2
        self._cumulative = _running_share(torch.ones(len(frames)) if weights is None else weights)
        self._by_weight = None if frame_weights is None else _running_share(frame_weights)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the frames to where the network is."""
        self.frames, self._cumulative = self.frames.to(device, dtype), self._cumulative.to(device)
        self.forces = None if self.forces is None else self.forces.to(device, dtype)
        self._by_weight = None if self._by_weight is None else self._by_weight.to(device)

    @property
    def count(self) -> int:
        """Number of frames that batches are drawn from."""
        return len(self.frames)

    def any_frames(self, generator: torch.Generator) -> Tensor:
        """(pairs,) indices of frames, as much as each counts; by weights one from each of as many equal shares."""
        if self._by_weight is not None:
            device = self.frames.device
            within = torch.rand(self.pairs, generator=generator, device=device, dtype=torch.float64)
            place = (torch.arange(self.pairs, device=device) + within) / self.pairs
            return torch.searchsorted(self._by_weight, place).clamp_max(self.count - 1)
        return torch.randint(self.count, (self.pairs,), generator=generator, device=self.frames.device)

    def drawn(self, chosen: Tensor) -> Tensor:
        """The chosen frames (count, beads, 3)."""
        return self.frames[chosen]

    def forces_of(self, chosen: Tensor) -> Tensor | None:
        """f_0 of the chosen frames (count, beads, 3); None where the data have no forces."""
        return None if self.forces is None else self.forces[chosen]

    def rows_of(self, chosen: Tensor) -> Rows | None:
        """Which molecules the chosen frames are of; None where there is one only."""
        return None

    def batch(self, step: int) -> tuple[NoisedBatch, torch.Generator]:
        """The batch of a step, with the generator for whatever else this step draws."""
        words = np.random.SeedSequence([*self.seed, 0, step]).generate_state(2, np.uint32)
        generator = torch.Generator(device=self.frames.device)
        generator.manual_seed(int(words[0]) << 31 ^ int(words[1]))
        chosen = self.any_frames(generator)
        rows = self.rows_of(chosen)
        x0, force = self._turned(generator, self.drawn(chosen), self.forces_of(chosen))
        x0, force = x0.repeat(2, 1, 1), None if force is None else force.repeat(2, 1, 1)
        t = self.times(self.pairs, generator, x0).repeat(2)
        z = centred_noise((self.pairs, *x0.shape[1:]), generator, x0, None if rows is None else rows.mask)
        z = torch.cat([z, -z])
        return NoisedBatch(diffuse(x0, t, z), t, z, force, None if rows is None else rows.repeat(2)), generator

    def spread(self, count: int, generator: torch.Generator, at: float | Tensor | None = None) -> Points:
        """(count, beads, 3) noised positions and their times, the frames drawn by weight: where to ask for consistency.

        at: one time for all, or times (count,), instead of those from the sampler.
        """
        uniform = torch.rand(count, generator=generator, device=self.frames.device, dtype=torch.float64)
        chosen = torch.searchsorted(self._cumulative, uniform).clamp_max(len(self.frames) - 1)
        x0, _ = self._turned(generator, self.frames[chosen])
        t = self.times(count, generator, x0) if at is None else torch.as_tensor(at).to(x0).expand(count)
        rows = self.rows_of(chosen)
        z = centred_noise(x0.shape, generator, x0, None if rows is None else rows.mask)
        return Points(diffuse(x0, t, z), t, rows)

    def _turned(
        self, generator: torch.Generator, x0: Tensor, force: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Frames and their forces, each frame turned at random with its forces where batches are to be rotated."""
        if not self.rotate:
            return x0, force
        rotations = random_rotations(len(x0), generator, x0)
        return torch.matmul(x0, rotations), None if force is None else torch.matmul(force, rotations)


def _running_share(weights: Tensor) -> Tensor:
    """Running sum (frames,) of weights (frames,), which ends at one, in float64."""
    return (weights.double() / weights.double().sum()).cumsum(0)


def random_rotations(count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """(count, 3, 3) rotation matrices, uniform over all rotations: those of uniform unit quaternions."""
    quaternions = torch.randn(count, 4, generator=generator, device=like.device, dtype=like.dtype)
    w, v = quaternions.div(quaternions.norm(dim=1, keepdim=True)).split([1, 3], dim=1)
    identity = torch.eye(3, device=like.device, dtype=like.dtype)
    cross = torch.linalg.cross(identity.expand(count, 3, 3), v[:, None].expand(count, 3, 3))
    return (2.0 * w.square() - 1.0)[..., None] * identity + 2.0 * (v[:, :, None] * v[:, None] + w[..., None] * cross)


def conformation_weights(frames: Tensor, evenness: float, weights: Tensor | None = None) -> Tensor:
    """Weights (frames,) proportional to density^-evenness among the conformations of normalised frames (F, beads, 3).

    weights (frames,): how much each frame counts, to which the result is proportional too.

    With evenness 1 frames are drawn about evenly over the conformations seen, with 0 as often as they were seen. The
    density is a kernel estimate over at most 2,000 of the frames, in internal coordinates (of a particle in the plane,
    x and y) at the resolution of a noise variance of 0.1; the kernel's variance is a tenth of the median squared
    distance there.
    """
    if evenness == 0:
        return torch.ones(len(frames)) if weights is None else weights
    coordinates = PlaneCoordinates() if space_of(frames.shape[1]) is PLANE else fit_coordinates(frames, volumes=False)
    features = coordinates(frames, time_of_variance(torch.tensor([0.1], dtype=torch.float64)).to(frames.dtype))
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:2000]
    centres, own = features[chosen], None if weights is None else weights[chosen].to(features)
    variance = 0.1 * torch.cdist(features[:2000], centres).square().median().clamp_min(1e-12)
    kernels = (torch.exp(-torch.cdist(part, centres).square() / (2.0 * variance)) for part in features.split(4096))
    near = torch.cat([mean(kernel.T, own) if own is not None else kernel.mean(1) for kernel in kernels])
    even = (near + 1.0 / len(centres)) ** -evenness
    return even if weights is None else weights * even


def evenly(frames: Tensor, count: int, generator: torch.Generator, weights: Tensor | None = None) -> Tensor:
    """`count` of the frames (frames, beads, 3) with weights (frames,), drawn evenly over the conformations."""
    drawn_by = conformation_weights(frames, 1.0, weights)
    return frames[torch.multinomial(drawn_by, count, replacement=True, generator=generator)]


def noised(frames: Tensor, t_eval: float, generator: torch.Generator) -> Tensor:
    """Normalised frames (frames, beads, 3) with the noise of t_eval."""
    return diffuse(frames, torch.full((len(frames),), t_eval), centred_noise(frames.shape, generator, frames))
