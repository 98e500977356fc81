"""The first stage of calibration: what the denoising loss says of dihedrals and angles, by least squares.

In: a trained energy, training frames, and frames held out. Out: the weights of the network's modes
(training.models.contract.Network.modes) at each of a few noise levels. The energy is linear in these, so the denoising
loss is a square in them and least squares over ten thousand frames finds its minimum, at every level at once. A
training by stochastic gradients hardly gets there: at small noise an error of the forces adds sigma^2 (error)^2 to a
loss of one, and what its steps follow is the noise of a batch. Noise is drawn in pairs z and -z, between which its part
that is larger than any force cancels.
How much the levels are tied to each other, and the weights to zero, held-out frames say, and how far to go at each.
There are no levels at the smallest noise, where the loss hardly tells what a simulation samples; rounds of simulation
do (rounds.py).
Source: Vincent, Neural Comput. 23, 1661 (2011) (denoising score matching); Hoerl and Kennard, Technometrics 12, 55
(1970) (ridge); docs/method.md, eq. 41.
"""

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from fpforce.training.data.dataset import TrainingSet
from fpforce.training.diffusion import alpha, centred_noise, degrees_of_freedom, sigma_squared, time_of_variance
from fpforce.training.losses.force_blending import ForceBlending
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.local_gradients import local_gradients
from fpforce.training.models.local_series import SIGMAS
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.trajectories.weights import in_proportion

logger = logging.getLogger("fpforce")

DRAWS, HELD_OUT_DRAWS = 10_000, 2_000  # of frames with noise, each with z and -z, at a level
END = float(time_of_variance(torch.tensor(4.0 * SIGMAS[-1] ** 2, dtype=torch.float64)))  # t from which there are none
FEWEST_HELD_OUT = 50  # frames: of fewer the loss says too little to choose by
TIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of neighbouring levels, times the mean of their Hessians' diagonals
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # times the Hessian's diagonal
LEAST = 1e-6  # of the mean of the diagonal, added everywhere, so that modes that are always zero get no weight
MOST_MODES = 6000  # those of 250 beads; beyond, equations take gigabytes
WINDOW = 7  # beads from the first to the last of two dihedrals that share one
ELEMENTS = 10_000_000  # of the gradients that are held at a time


@dataclass(frozen=True)
class Equations:
    """The denoising loss at one noise level, base - 2 w.slope + w.hessian w, of the weights w (modes,); and the mean
    of the modes (modes,).
    """

    hessian: sparse.csc_array
    slope: np.ndarray
    base: float
    mean: np.ndarray

    def loss(self, weights: np.ndarray) -> float:
        return self.base - 2.0 * float(weights @ self.slope) + float(weights @ (self.hessian @ weights))


@dataclass(frozen=True)
class DenoisingFit:
    """What a fit found: the denoising loss of held-out frames at each sigma before and after it; tie and ridge; and
    the constant of each level, minus the mean of what the modes add to the energies of the data there, so that the
    Fokker-Planck residual has no part of it.
    """

    sigma: list[float]
    before: list[float]
    after: list[float]
    tie: float
    ridge: float
    constants: list[float]
    seconds: float

    def in_words(self) -> str:
        """The level that gained the most, in a line."""
        k = max(range(len(self.sigma)), key=lambda level: self.before[level] - self.after[level])
        return (
            f"denoising loss of held-out frames at sigma {self.sigma[k]:g}: {self.after[k]:.4f} with series, "
            f"{self.before[k]:.4f} before"
        )

    def summary(self) -> dict:
        return asdict(self)


def refusal(energy: DiffusionEnergy, training_set: TrainingSet) -> str | None:
    """Why there can be no fit, None if there can."""
    some = training_set.frames[:2]
    modes = energy.network.modes(some, torch.zeros(1, dtype=some.dtype))
    held_out = training_set.held_out
    if modes is None:
        return "the network has no series"
    if modes.shape[1] > MOST_MODES:
        return f"the molecule has {modes.shape[1]} functions of dihedrals and angles, more than {MOST_MODES}"
    if held_out is None or len(held_out) < FEWEST_HELD_OUT:
        return f"there are fewer than {FEWEST_HELD_OUT} frames held out, by which it is judged"
    return None


def denoising_fit(
    energy: DiffusionEnergy,
    plan: ExpertPlan,
    training_set: TrainingSet,
    generator: torch.Generator,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Tensor, DenoisingFit]:
    """Weights (levels, modes) for `energy`, the expert of a plan, as Network.add_levels takes them, in float64.

    Levels outside of the expert's times are fitted at the nearest of these. Frames count by their weights. Averaged
    forces are part of the target; single ones are not, whose noise z and -z have in common.
    Raises KeyboardInterrupt once `stopped`, which is looked at every second or so, is true.
    """
    began = time.monotonic()
    frames, forces = _drawn(training_set)
    blending = None
    if training_set.forces is not None and forces is not None:
        blending = ForceBlending(training_set.forces.values, training_set.weights)
    held_out = training_set.held_out
    assert held_out is not None
    known, unknown, fitted_at = [], [], []
    for number, sigma in enumerate(SIGMAS):
        t = time_of_variance(torch.tensor([sigma**2], dtype=torch.float64)).clamp(plan.t_min, plan.t_max)
        fitted_at.append(float(sigma_squared(t)) ** 0.5)
        known.append(_equations(energy, t, frames, DRAWS, generator, stopped, forces, blending))
        unknown.append(_equations(energy, t, held_out, HELD_OUT_DRAWS, generator, stopped))
        passed = time.monotonic() - began
        (logger.info if passed > 30.0 else logger.debug)(
            "denoising fit: %d of %d noise levels after %.0f s", number + 1, len(SIGMAS), passed
        )
    tried = []
    for tie, ridge in itertools.product(TIES, RIDGES):
        if stopped():
            raise KeyboardInterrupt
        found = _solved(known, tie, ridge)
        tried.append((sum(level.loss(own) for level, own in zip(unknown, found, strict=True)), found, tie, ridge))
    _, weights, tie, ridge = min(tried, key=lambda one: one[0])
    weights = np.stack([_part(level, own) * own for level, own in zip(unknown, weights, strict=True)])
    fit = DenoisingFit(
        fitted_at,
        [level.base for level in unknown],
        [level.loss(own) for level, own in zip(unknown, weights, strict=True)],
        tie,
        ridge,
        [-float(level.mean @ own) for level, own in zip(known, weights, strict=True)],
        time.monotonic() - began,
    )
    return torch.from_numpy(weights), fit


def _drawn(training_set: TrainingSet) -> tuple[Tensor, Tensor | None]:
    """Frames, in proportion to their weights, and their forces where these are averages."""
    scores = training_set.forces
    forces = None if scores is None or scores.noise is None else scores.values
    if training_set.weights is None:
        return training_set.frames, forces
    chosen = torch.from_numpy(in_proportion(training_set.weights.numpy(), len(training_set.frames)))
    return training_set.frames[chosen], None if forces is None else forces[chosen]


def _equations(
    energy: DiffusionEnergy,
    t: Tensor,
    frames: Tensor,
    draws: int,
    generator: torch.Generator,
    stopped: Callable[[], bool],
    forces: Tensor | None = None,
    blending: ForceBlending | None = None,
) -> Equations:
    """The equations at t (1,) of `draws` of the frames (frames, beads, 3), spread evenly over them."""
    network, beads = energy.network, frames.shape[1]
    sums, total = _Sums(network.turn_beads()), torch.zeros(1, dtype=torch.float64)
    between = network.turn_beads().repeat(2, 1)  # of the cosines, then of the sines
    signal, noise = float(alpha(t)), float(1.0 - alpha(t).square()) ** 0.5
    t = t.to(frames.dtype)
    chosen = torch.linspace(0, len(frames) - 1, draws, dtype=torch.float64).round().long()
    if len(frames) < draws:
        chosen = torch.arange(draws) % len(frames)
    elements = 12 * WINDOW * len(sums.first) + 6 * beads * sums.turns  # of gradients, a frame
    for part in chosen.split(max(1, min(100, ELEMENTS // elements))):
        if stopped():
            raise KeyboardInterrupt
        x0, force = frames[part], None if forces is None else forces[part]
        z = centred_noise(x0.shape, generator, x0)
        for sign in (1.0, -1.0):
            x = (signal * x0 + noise * sign * z).detach().requires_grad_()
            if force is None or blending is None:
                wanted = sign * z / noise
            else:
                wanted = -blending.target(t, sign * z, force)
            wanted = wanted - torch.autograd.grad(energy(x, t).sum(), x)[0]
            turns = network.turns(x, t)
            assert turns is not None  # or there was a refusal
            slopes = local_gradients(turns.flatten(1), x, between)
            sums.add(slopes.unflatten(0, (2, -1)), _slopes_of_waves(network.waves, turns), wanted)
            total = total + network.waves(turns.detach()).flatten(1).double().sum(0)
    factor = noise**2 / (2 * draws * int(degrees_of_freedom(beads)))
    return sums.equations(factor, total.numpy() / (2 * draws))


def _slopes_of_waves(waves: Callable[[Tensor], Tensor], turns: Tensor) -> Tensor:
    """Derivatives (turns, batch, waves, 2) of the waves along their cosines and sines, turns (batch, 2, turns)."""
    turns = turns.detach().requires_grad_()
    found = waves(turns).permute(1, 3, 0, 2).flatten(0, 1)  # (waves, batch, turns)
    slopes = torch.stack([torch.autograd.grad(wave.sum(), turns, retain_graph=True)[0] for wave in found])
    return slopes.permute(3, 1, 0, 2)


class _Sums:
    """Sums over frames of the products of gradients, of turns that share a bead: others have none.

    between (turns, 2): the first bead of each turn, and the one after its last.
    """

    def __init__(self, between: Tensor) -> None:
        shared = (between[:, None, 0] < between[None, :, 1]) & (between[None, :, 0] < between[:, None, 1])
        self.first, self.second = torch.nonzero(torch.triu(shared), as_tuple=True)
        starts = torch.minimum(between[self.first, 0], between[self.second, 0])
        self.windows = starts[:, None] + torch.arange(WINDOW)  # the beads of both
        self.turns = len(between)
        self.blocks: Tensor | float = 0.0
        self.slope: Tensor | float = 0.0
        self.base = 0.0

    def add(self, turns: Tensor, waves: Tensor, wanted: Tensor) -> None:
        """turns (2, turns, batch, beads, 3) and wanted (batch, beads, 3): gradients; waves: those of
        `_slopes_of_waves`.
        """
        wanted = wanted.flatten(1)
        padded = torch.nn.functional.pad(turns, (0, 0, 0, WINDOW)).permute(1, 3, 2, 0, 4)
        near, far = (
            padded[which[:, None], self.windows].permute(0, 2, 3, 1, 4).flatten(3)
            for which in (self.first, self.second)
        )
        overlap = near @ far.transpose(2, 3)
        turns = turns.permute(1, 2, 0, 3, 4).flatten(3)  # (turns, batch, 2, 3 beads)
        left = (waves[self.first] @ overlap).transpose(2, 3).flatten(1, 2)
        right = waves[self.second].transpose(2, 3).flatten(1, 2)
        self.blocks = self.blocks + (left.transpose(1, 2) @ right).double()
        along = (turns @ wanted[None, :, :, None]).squeeze(-1)  # (turns, batch, 2)
        self.slope = self.slope + torch.einsum("kbai,kbi->ka", waves, along).double()
        self.base += float(wanted.double().square().sum())

    def equations(self, factor: float, mean: np.ndarray) -> Equations:
        assert isinstance(self.blocks, Tensor) and isinstance(self.slope, Tensor)
        waves = self.blocks.shape[1]
        orders = waves // 2
        # Of wave (part, order) of turn k, as modes are laid out.
        wave = torch.arange(waves)
        place = (wave // orders) * self.turns * orders + torch.arange(self.turns)[:, None] * orders + wave % orders
        rows = place[self.first][:, :, None].expand_as(self.blocks)
        columns = place[self.second][:, None, :].expand_as(self.blocks)
        off = (self.first != self.second)[:, None, None].expand_as(self.blocks)
        row, column = torch.cat([rows.flatten(), columns[off]]), torch.cat([columns.flatten(), rows[off]])
        value = factor * torch.cat([self.blocks.flatten(), self.blocks[off]])
        size = place.numel()
        hessian = sparse.coo_array((value.numpy(), (row.numpy(), column.numpy())), shape=(size, size)).tocsc()
        slope = np.empty(size)
        slope[place.flatten().numpy()] = self.slope.flatten().numpy()
        return Equations(hessian, factor * slope, factor * self.base, mean)


def _solved(levels: list[Equations], tie: float, ridge: float) -> np.ndarray:
    """Weights (levels, modes) of least loss over all levels, with what ties each to the next and to zero."""
    diagonals = [level.hessian.diagonal() for level in levels]
    ties = [tie * 0.5 * (a + b) for a, b in zip(diagonals[:-1], diagonals[1:], strict=True)]
    rows: list[list[sparse.csc_array | None]] = [[None] * len(levels) for _ in levels]
    for k, (level, diagonal) in enumerate(zip(levels, diagonals, strict=True)):
        held = ridge * diagonal + LEAST * diagonal.mean()
        for neighbour in ties[max(k - 1, 0) : k + 1]:
            held = held + neighbour
        rows[k][k] = level.hessian + sparse.diags_array(held)
        if k + 1 < len(levels):
            rows[k][k + 1] = rows[k + 1][k] = sparse.diags_array(-ties[k])
    matrix = sparse.block_array(rows, format="csc")
    return splu(matrix).solve(np.concatenate([level.slope for level in levels])).reshape(len(levels), -1)


def _part(level: Equations, weights: np.ndarray) -> float:
    """Part of the way along the weights at which the loss is least, at most all of it, and none where it grows."""
    curvature = float(weights @ (level.hessian @ weights))
    return 0.0 if curvature <= 0.0 else min(max(float(weights @ level.slope) / curvature, 0.0), 1.0)
