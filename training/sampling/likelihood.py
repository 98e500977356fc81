"""Log densities of a diffusion model by the probability-flow ODE.

In: experts and normalised centred positions (batch, beads, 3). Out: ln q (batch,) per normalised length^D in the D
degrees of freedom (fpforce.molecule.space). It is the density that the scores imply, independent of what an energy says
of itself, basin weights included.
Source: Song et al., arXiv 2011.13456, section 4.3; Hutchinson's estimator of the divergence as in arXiv 1810.01367;
docs/method.md, eq. 32.
"""

import math
from collections import deque

import torch
from torch import Tensor

from fpforce.molecule.space import space_of
from fpforce.training.diffusion import LARGEST_EXACT_DIMENSION, centred, centred_noise, degrees_of_freedom
from fpforce.training.models.experts import Experts, ScoreModel
from fpforce.training.sampling.solvers import Field, Noise, probability_flow, shared_steps, time_grid


def standard_log_density(x: Tensor) -> Tensor:
    """ln of the standard normal density (batch,) in the centred subspace, where the process ends at t = 1."""
    return -0.5 * x.square().sum(dim=(1, 2)) - 0.5 * degrees_of_freedom(x.shape[1]) * math.log(2.0 * math.pi)


def field_of(model: ScoreModel, x: Tensor, noise: Noise) -> Field:
    """Score and divergence for batches like x: exact for few degrees of freedom, else with one random probe noise(x),
    kept.
    """
    if degrees_of_freedom(x.shape[1]) <= LARGEST_EXACT_DIMENSION:
        return exact_divergence(model)
    return estimated_divergence(model, noise(x))


def exact_divergence(model: ScoreModel) -> Field:
    """Field whose divergence is the trace of the score's Jacobian in the centred subspace."""

    def field(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        score = model.score(x, t, create_graph=True)
        directions = space_of(x.shape[1]).basis(x.shape[1]).to(x)  # (D, beads, 3)
        probes = directions[:, None].expand(-1, *x.shape)
        (columns,) = torch.autograd.grad(score, x, probes, is_grads_batched=True)
        return score.detach(), torch.einsum("kbij,kij->b", columns, directions)

    return field


def estimated_divergence(model: ScoreModel, probe: Tensor) -> Field:
    """Field whose divergence is v . (ds/dx) v for one standard normal probe v (batch, beads, 3): unbiased."""

    def field(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        score = model.score(x, t, create_graph=True)
        (product,) = torch.autograd.grad(score, x, probe)
        return score.detach(), (product * probe).sum(dim=(1, 2))

    return field


def without_divergence(model: ScoreModel) -> Field:
    """Field for samples alone: the divergence is taken as zero, and the log density is then meaningless."""
    return lambda x, t: (model.score(x, t), x.new_zeros(len(x)))


def log_likelihood(experts: Experts, x: Tensor, t_end: float, steps: int, generator: torch.Generator) -> Tensor:
    """ln q_t_end (batch,) of positions x (batch, beads, 3), by following the flow to noise at t = 1 in `steps`
    steps.
    """

    def noise(like: Tensor) -> Tensor:
        return centred_noise(like.shape, generator, like)

    way = experts.descent(1.0, t_end)
    shares = shared_steps([1.0, *(expert.t_min for expert in way)], steps)
    y, gained = centred(x), x.new_zeros(len(x))
    for expert, count in reversed(list(zip(way, shares, strict=True))):
        times = time_grid(expert.t_max, expert.t_min, count).flip(0)
        y, gained = deque(probability_flow(field_of(expert.model, x, noise), times, y, gained), maxlen=1).pop()
    return standard_log_density(y) - gained
