"""The Fokker-Planck loss in weak form.

For the variance-preserving process the log density obeys

    d/dt log q = 1/2 beta(t) [ D + x.s + div s + |s|^2 ],   s = grad log q

and the loss is the squared violation, averaged over a Gaussian of width sigma_w around each point. With v drawn from
that Gaussian, div s is estimated by v.(s(x+v) - s(x-v)) / (2 sigma_w^2) and the other terms by the mean over x+v and
x-v; two independent v1, v2 give R(v1) R(v2), an unbiased estimate of (E_v R)^2. The prior's divergence is known in
closed form, so only the network's is stochastic.
Source: arXiv 2506.17139, section 3 (weak residual); here with the exact time derivative, which comes from the same
backward pass as the score.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fpforce.training.diffusion import beta, centred_noise, degrees_of_freedom
from fpforce.training.models.contract import DiffusionEnergy, LogDensity


@dataclass(frozen=True)
class Perturbed:
    """Points x + v1, x - v1, x + v2, x - v2 around `count` points, stacked so that one forward pass serves all.

    points (4 count, beads, 3), times (4 count,), shifts (2, count, beads, 3) = v1 and v2, width = sigma_w.
    """

    points: Tensor
    times: Tensor
    shifts: Tensor
    width: float


def perturb(x: Tensor, t: Tensor, width: float, generator: torch.Generator) -> Perturbed:
    """Draw two independent perturbations of standard deviation `width` in the centred subspace."""
    shifts = width * centred_noise((2, *x.shape), generator, x)
    signed = torch.stack([shifts, -shifts], dim=1)
    return Perturbed((x + signed).flatten(0, 2), t.repeat(4), shifts, width)


def residuals(energy: DiffusionEnergy, density: LogDensity, perturbed: Perturbed) -> Tensor:
    """(2, count) independent estimates of the residual of the Fokker-Planck equation, in units of d/dt log q.

    `density` is energy.log_density(perturbed.points, perturbed.times).
    """
    count, beads = perturbed.shifts.shape[1:3]
    x, t = perturbed.points, perturbed.times
    known = (
        degrees_of_freedom(beads)
        + ((x + density.score) * density.score).sum(dim=(1, 2))
        + energy.prior_divergence(x, t)
    )
    local = (0.5 * beta(t) * known - density.time_derivative).view(2, 2, count).mean(dim=1)
    ahead, behind = density.network_score.view(2, 2, count, beads, 3).unbind(dim=1)
    divergence = (perturbed.shifts * (ahead - behind)).sum(dim=(2, 3)) / (2.0 * perturbed.width**2)
    return local + 0.5 * beta(t[:count]) * divergence


def fokker_planck_loss(residual: Tensor, beads: int) -> Tensor:
    """mean(R_v1 R_v2) / D^2 from residuals (2, count); unbiased, so it may be negative on a batch."""
    return (residual[0] * residual[1]).mean() / degrees_of_freedom(beads) ** 2
