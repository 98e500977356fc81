"""How far a trained energy is from the Fokker-Planck equation, as a function of t.

In: an energy and normalised frames. Out: the root mean square residual per degree of freedom, in float64, at times from
t_eval to t_max; with the exact divergence where it has few degrees of freedom, else by the loss's unbiased estimate.
Source: docs/method.md, eq. 5.
"""

import copy

import torch
from torch import Tensor

from fpforce.training.diffusion import LARGEST_EXACT_DIMENSION, beta, centred_noise, degrees_of_freedom, diffuse
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.models.contract import DiffusionEnergy

MOST_DIFFERENTIATIONS = 256 * 12  # frames times degrees of freedom over which the exact residual is taken, at each t


def exact_residual(energy: DiffusionEnergy, x: Tensor, t: Tensor) -> Tensor:
    """1/2 beta (D + x.s + div s + |s|^2) - d/dt log q at x (batch, beads, 3), t (batch,), by repeated differentiation.

    The model is constant along what is no degree of freedom, so its divergence over all coordinates is that in the
    subspace.
    """
    x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
    slope, rate = torch.autograd.grad(energy(x, t).sum(), (x, t), create_graph=True)
    divergence = torch.zeros_like(rate)
    for bead in range(x.shape[1]):
        for axis in range(3):
            (column,) = torch.autograd.grad(slope[:, bead, axis].sum(), x, retain_graph=True)
            divergence -= column[:, bead, axis]
    known = degrees_of_freedom(x.shape[1]) - (x * slope).sum(dim=(1, 2)) + slope.square().sum(dim=(1, 2))
    return (0.5 * beta(t) * (known + divergence) + rate).detach()


def estimated_square(
    energy: DiffusionEnergy, x: Tensor, t: Tensor, sigma_w: float, generator: torch.Generator
) -> float:
    """Estimate of <R^2> / D^2 at x (batch, beads, 3), t (batch,), by the loss's weak form of width sigma_w.

    Its cost does not grow with the degrees of freedom. Noise can make it negative.
    """
    perturbed = perturb(x, t, sigma_w, generator)
    density = energy.log_density(perturbed.points, perturbed.times, create_graph=False)
    return float(fokker_planck_loss(residuals(energy, density, perturbed), x.shape[1]))


def residual_curve(
    energy: DiffusionEnergy, frames: Tensor, t_min: float, t_max: float, *, sigma_w: float, points: int = 13
) -> dict[str, list[float]]:
    """{"t": [...], "residual": [...]}: sqrt(<R^2>) / D over the diffused frames, at times equally spaced in log t.

    frames (frames, beads, 3): normalised, without noise. sigma_w: width of the weak form, used where the divergence is
    not exact; the recipe's loss.fokker_planck_sigma.
    """
    energy = copy.deepcopy(energy).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    x0, dimensions = frames.double(), degrees_of_freedom(frames.shape[1])
    exact = dimensions <= LARGEST_EXACT_DIMENSION
    if exact:  # a frame costs as many differentiations as there are dimensions
        x0 = x0[: max(min(len(x0), MOST_DIFFERENTIATIONS // dimensions), 1)]
    times = torch.logspace(torch.log10(torch.tensor(t_min)), torch.log10(torch.tensor(t_max)), points).tolist()
    values = []
    for time in times:
        t = torch.full((len(x0),), time, dtype=torch.float64)
        x = diffuse(x0, t, centred_noise(x0.shape, generator, x0))
        if exact:
            values.append(float(exact_residual(energy, x, t).square().mean().sqrt() / dimensions))
        else:
            values.append(max(estimated_square(energy, x, t, sigma_w, generator), 0.0) ** 0.5)
    return {"t": times, "residual": values}
