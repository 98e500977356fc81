"""The Fokker-Planck equation in integral form: an energy against the likelihood that the probability flow gives.

In: points on trajectories of the flow, with -ln q there. Out: a scalar loss.

The flow carries the density of the model's samples from large t, where all conformations are joined and a few thousand
frames are enough, to t = 0. An energy is consistent with it where E(x, t) + ln q_t(x) is one constant along and across
its trajectories. The differential form asks the same locally. At small t its residual is a difference of large numbers,
in whose noise a slow drift of the energy between compact and extended conformations drowns, although the drift adds up
to several kT between t = 0.5 and 0. Summed along the flow it is the drift that is seen, and a point costs one
evaluation of the energy.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.models.contract import DiffusionEnergy

ASTRAY_KT = 10.0  # beyond it a difference counts by its size and no longer by its square


class FlowPoints(NamedTuple):
    """x (count, beads, 3) at t (count,), and -ln q_t(x) (count,) but for a constant that all points share."""

    x: Tensor
    t: Tensor
    minus_log_density: Tensor


def flow_loss(energy: DiffusionEnergy, points: FlowPoints) -> Tensor:
    """Mean of (E + ln q)^2 / D, robust beyond ASTRAY_KT (Huber)."""
    difference = energy(points.x, points.t) - points.minus_log_density
    huber = torch.nn.functional.huber_loss(difference, torch.zeros_like(difference), delta=ASTRAY_KT)
    return 2.0 * huber / degrees_of_freedom(points.x.shape[1])
