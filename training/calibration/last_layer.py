"""The last layer of a trained energy, E = w.h + terms without w: what calibration moves, and what a move of it costs.

In: an energy and positions. Out: its inputs h, and how steep they are. A calibration is there for the constants between
basins, which scores do not see; forces within basins are what training is good at. So the mean square of the change's
gradient, w.G w with G = <grad h_a . grad h_b>, is held against every shift w: a constant over a basin is free, a change
of the forces is not.
Source: docs/method.md, eq. 26.
"""

import torch
from torch import Tensor, nn

from fpforce.training.models.contract import DiffusionEnergy

STIFFNESS = 0.02  # of that penalty, normalised length squared; alanine dipeptide: docs/method.md, Calibration
LEAST_VARIANCE = 1e-6  # of all of h's, added in every direction, so that those without any stay where they are
_BATCH = 64


def last_layer(energy: DiffusionEnergy) -> nn.Linear:
    """The layer itself; training.calibration.policy refuses energies without one."""
    layer = energy.network.readout()
    assert layer is not None
    return layer


def last_layer_inputs(energy: DiffusionEnergy, x: Tensor, t_eval: float) -> Tensor:
    """h (frames, features) with E = w.h + terms without w, for positions x (frames, beads, 3); in float64."""
    with torch.no_grad():
        parts = [_inputs(energy, part, t_eval) for part in x.split(4096)]
    return torch.cat(parts).double()


def last_layer_slopes(energy: DiffusionEnergy, x: Tensor, t_eval: float) -> Tensor:
    """G (features, features), the mean of grad h_a . grad h_b over positions x (frames, beads, 3), in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for part in x.split(_BATCH):
        part = part.detach().requires_grad_()
        h = _inputs(energy, part, t_eval)
        slopes = torch.stack(
            [torch.autograd.grad(h[:, k].sum(), part, retain_graph=True)[0] for k in range(h.shape[1])]
        )
        slopes = slopes.flatten(1).double()
        total = total + slopes @ slopes.T
    return total / len(x)


def damped(covariance: Tensor, slopes: Tensor) -> Tensor:
    """The Hessian (features, features) of a fit with the penalty: covariance of h, STIFFNESS G, and a little of the
    identity.
    """
    least = LEAST_VARIANCE * covariance.trace() * torch.eye(len(covariance), dtype=covariance.dtype)
    return covariance + STIFFNESS * slopes + least


def _inputs(energy: DiffusionEnergy, x: Tensor, t_eval: float) -> Tensor:
    parts: list[Tensor] = []
    handle = last_layer(energy).register_forward_pre_hook(lambda module, inputs: parts.append(inputs[0]))
    try:
        energy(x, torch.full((1,), t_eval, dtype=x.dtype))
    finally:
        handle.remove()
    return energy.network.readout_factor(t_eval) * parts[0]
