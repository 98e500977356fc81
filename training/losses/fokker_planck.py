"""The Fokker-Planck loss in weak form.

For the variance-preserving process the log density obeys

    d/dt log q = 1/2 beta(t) [ D + x.s + div s + |s|^2 ],   s = grad log q

and the loss is the squared violation R^2. The terms without a derivative of s are taken at x. With v drawn from a
Gaussian of width sigma_w, v.(s(x+v) - s(x)) / sigma_w^2 has the mean of div s over that Gaussian around x, exactly
(Stein's identity; v.s(x) has mean zero, and without it the variance would be of order 1/sigma_w^2). Two independent v1,
v2 share s(x), and R(v1) R(v2) is an unbiased estimate of the square at the cost of three evaluations a point. The
prior's divergence is known in closed form, so only the network's is stochastic.
Source: arXiv 2506.17139, section 3 (weak residual); docs/method.md, eqs. 5, 6 and 7. Here with the exact time
derivative, which comes from the same backward pass as the score.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fpforce.training.diffusion import beta, centred_noise, degrees_of_freedom
from fpforce.training.models.contract import DiffusionEnergy, LogDensity


class Perturbed(NamedTuple):
    """`count` points x, then x + v1, then x + v2, stacked so that one forward pass serves all.

    points (3 count, beads, 3), times (3 count,), shifts (2, count, beads, 3) = v1 and v2, width = sigma_w. mask (count,
    beads): which beads of a padded batch exist.
    """

    points: Tensor
    times: Tensor
    shifts: Tensor
    width: float
    mask: Tensor | None = None


def perturb(x: Tensor, t: Tensor, width: float, generator: torch.Generator, mask: Tensor | None = None) -> Perturbed:
    """Draw two independent perturbations of standard deviation `width` in the centred subspace."""
    shifts = width * centred_noise((2, *x.shape), generator, x, mask)
    return Perturbed(torch.cat([x, (x + shifts).flatten(0, 1)]), t.repeat(3), shifts, width, mask)


def residuals(energy: DiffusionEnergy, density: LogDensity, perturbed: Perturbed) -> Tensor:
    """(2, count) estimates of the residual of the Fokker-Planck equation, in units of d/dt log q; independent given x.

    `density` is energy.log_density(perturbed.points, perturbed.times).
    """
    count, beads = perturbed.shifts.shape[1:3]
    x, t, score = perturbed.points[:count], perturbed.times[:count], density.score[:count]
    known = (
        degrees_of_freedom(beads, perturbed.mask)
        + ((x + score) * score).sum(dim=(1, 2))
        + energy.prior_divergence(x, t)
    )
    here, there = density.network_score.split([count, 2 * count])
    divergence = (perturbed.shifts * (there.view_as(perturbed.shifts) - here)).sum(dim=(2, 3)) / perturbed.width**2
    return 0.5 * beta(t) * (known + divergence) - density.time_derivative[:count]


def fokker_planck_loss(
    residual: Tensor, beads: int, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """mean(R_v1 R_v2 / D^2) from residuals (2, count); unbiased, so it may be negative on a batch.

    weights (count,): of the points; of mean one, or of mean k in every k-th step. mask (count, beads): which beads of a
    padded batch exist.
    """
    square = residual[0] * residual[1] / degrees_of_freedom(beads, mask) ** 2
    return (square if weights is None else weights * square).mean()
