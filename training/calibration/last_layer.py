"""The last layer of a trained energy, E = w.h + terms without w: what calibration moves, and what a move of it costs.

In: an energy and positions. Out: its inputs h, and how steep they are. A calibration is there for the constants between
basins, which scores do not see; forces within basins are what training is good at. So the mean square of the change's
gradient, w.G w with G = <grad h_a . grad h_b>, is held against every shift w: a constant over a basin is free, a change
of the forces is not.
Source: docs/method.md, eq. 26.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fpforce.training.models.contract import DiffusionEnergy

STIFFNESS = 0.02  # of that penalty, normalised length squared; alanine dipeptide: docs/method.md, Calibration
MODES_HELD = 0.01  # of STIFFNESS, for modes: what they are there for is to change forces along one coordinate each
MODES_SMOOTH = 0.05  # of STIFFNESS, for sum n^2 w_n^2 of a series: flat where there are no frames
LEAST_VARIANCE = 1e-6  # of all of h's, added in every direction, so that those without any stay where they are
ELEMENTS = 10_000_000  # of the gradients that are held at a time
_BATCH = 64


def last_layer(energy: DiffusionEnergy) -> nn.Linear:
    """The layer itself; training.calibration.policy refuses energies without one."""
    layer = energy.network.readout()
    assert layer is not None
    return layer


def last_layer_inputs(energy: DiffusionEnergy, x: Tensor, t_eval: float, modes: bool = False) -> Tensor:
    """h (frames, features) with E = w.h + terms without w, for positions x (frames, beads, 3); in float64. modes: with
    the network's modes, whose weights are 0 so far, behind.
    """
    with torch.no_grad():
        parts = [_inputs(energy, part, t_eval, modes) for part in x.split(4096)]
    return torch.cat(parts).double()


def last_layer_slopes(
    energy: DiffusionEnergy,
    x: Tensor,
    t_eval: float,
    modes: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Tensor:
    """G (features, features), the mean of grad h_a . grad h_b over positions x (frames, beads, 3), in float64; modes as
    for `last_layer_inputs`, of which only a part, MODES_HELD, counts, but their roughness besides.

    stopped: looked at every second or so; KeyboardInterrupt once it is true.
    """
    total, features = torch.zeros((), dtype=torch.float64), last_layer(energy).in_features
    count = _inputs(energy, x[:1], t_eval, modes).shape[1]
    for part in x.split(max(1, min(_BATCH, ELEMENTS // (count * x[0].numel())))):
        if stopped():
            raise KeyboardInterrupt
        part = part.detach().requires_grad_()
        h = _inputs(energy, part, t_eval, modes)
        slopes = _gradients(h[:, :features], part)
        if h.shape[1] > features:
            slopes = torch.cat([slopes, energy.network.mode_gradients(part, part.new_full((1,), t_eval))])
        slopes = slopes.flatten(1)
        total = total + (slopes @ slopes.T).double()
    held, smooth = torch.ones(len(total), dtype=torch.float64), torch.zeros(len(total), dtype=torch.float64)
    if len(total) > features:
        held[features:] = MODES_HELD**0.5
        smooth[features:] = MODES_SMOOTH * energy.network.mode_roughness()
    return held[:, None] * total * held / len(x) + torch.diag(smooth)


def _gradients(h: Tensor, x: Tensor) -> Tensor:
    """grad h_a (features, frames, beads, 3) of h (frames, features)."""
    return torch.stack([torch.autograd.grad(h[:, k].sum(), x, retain_graph=True)[0] for k in range(h.shape[1])])


def damped(covariance: Tensor, slopes: Tensor) -> Tensor:
    """The Hessian (features, features) of a fit with the penalty: covariance of h, STIFFNESS G, and a little of the
    identity.
    """
    return (
        covariance
        + STIFFNESS * slopes
        + torch.diag(covariance.new_full((len(covariance),), least_variance(covariance.trace())))
    )


def least_variance(of_all: Tensor) -> float:
    """What is added in every direction to the covariance of features that have together the variance of_all."""
    return LEAST_VARIANCE * float(of_all)


def _inputs(energy: DiffusionEnergy, x: Tensor, t_eval: float, modes: bool) -> Tensor:
    parts: list[Tensor] = []
    handle = last_layer(energy).register_forward_pre_hook(lambda module, inputs: parts.append(inputs[0]))
    t = torch.full((1,), t_eval, dtype=x.dtype)
    try:
        energy(x, t)
    finally:
        handle.remove()
    h = energy.network.readout_factor(t_eval) * parts[0]
    beside = energy.network.modes(x, t) if modes else None
    return h if beside is None else torch.cat([h, beside], 1)
