"""Functions of single pair distances that rounds of calibration add to an energy: Fourier series of a turned distance.

In: positions (batch, beads, 3). Out: the modes of the angle 2 atan((d - centre) / width) of each pair's distance d, or
their sum with weights. The median for a centre and the interquartile range for a width give half of the frames, where a
distance is distributed evenly about its median, a good quarter of the circle, and the other half, however far they
reach, the rest: a contact that is narrow beside all the distances that a pair can have is resolved.
Source: docs/method.md, eq. 40.
"""

import torch
from torch import Tensor, nn

from fpforce.training.models.local_series import DELTA, modes_of

NARROWEST = 1e-4  # normalised units, of a width


class PairSeries(nn.Module):
    """The energy (batch,) of weights (2, pairs, orders), as modes_of lays them out.

    pairs (count, 2): beads. centres, widths (count,): of their distances, in normalised units. smooth: added to these
    in quadrature, as InternalCoordinates do. All are fixed buffers.
    """

    pairs: Tensor
    centres: Tensor
    widths: Tensor
    weights: Tensor
    smooth: Tensor

    def __init__(self, pairs: Tensor, centres: Tensor, widths: Tensor, weights: Tensor, smooth: Tensor):
        super().__init__()
        self.register_buffer("pairs", pairs)
        self.register_buffer("centres", centres)
        self.register_buffer("widths", widths)
        self.register_buffer("weights", weights)
        self.register_buffer("smooth", smooth)
        self.orders = weights.shape[2]
        self.delta = DELTA

    def between(self, x: Tensor) -> Tensor:
        """(batch, pairs, 3), from the second bead of each pair to the first."""
        return x[:, self.pairs[:, 0]] - x[:, self.pairs[:, 1]]

    def distances(self, u: Tensor) -> Tensor:
        return torch.sqrt(u.square().sum(-1) + self.smooth**2)

    def waves(self, distances: Tensor) -> Tensor:
        """(batch, 2, pairs, orders), of smoothed distances (batch, pairs)."""
        v = (distances - self.centres) / self.widths
        part = 1.0 / (1.0 + v.square())
        return modes_of((1.0 - v.square()) * part, 2.0 * v * part, self.orders, self.delta)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weights * self.waves(self.distances(self.between(x)))).sum((1, 2, 3))

    @torch.jit.ignore
    def modes(self, x: Tensor) -> Tensor:
        """(batch, 2 pairs orders)"""
        return self.waves(self.distances(self.between(x))).flatten(1)

    @torch.jit.ignore
    def gradients(self, x: Tensor) -> Tensor:
        """Of the modes, (modes, batch, beads, 3)."""
        u = self.between(x.detach())
        distances = self.distances(u).requires_grad_()
        waves = self.waves(distances)
        slopes = [
            torch.autograd.grad(waves[:, part, :, n].sum(), distances, retain_graph=True)[0]
            for part in range(2)
            for n in range(self.orders)
        ]
        along = torch.stack(slopes).unflatten(0, (2, self.orders))  # (2, orders, batch, pairs)
        each = along[..., None] * (u / distances.detach()[..., None])
        found = x.new_zeros(2, self.orders, len(self.pairs), *x.shape)
        numbers = torch.arange(len(self.pairs))
        found[:, :, numbers, :, self.pairs[:, 0]] = each.permute(3, 0, 1, 2, 4)
        found[:, :, numbers, :, self.pairs[:, 1]] = -each.permute(3, 0, 1, 2, 4)
        return found.transpose(1, 2).flatten(0, 2)


def quartiles(pairs: Tensor, x: Tensor, smooth: Tensor) -> tuple[Tensor, Tensor]:
    """Medians of the smoothed distances of pairs (count, 2) in frames x (frames, beads, 3), and what lies between their
    quartiles.
    """
    parts = []
    for some in pairs.split(64):
        distances = torch.sqrt((x[:, some[:, 0]] - x[:, some[:, 1]]).square().sum(-1) + smooth**2)
        parts.append(torch.quantile(distances, x.new_tensor([0.25, 0.5, 0.75]), dim=0))
    low, middle, high = torch.cat(parts, 1)
    return middle, (high - low).clamp_min(NARROWEST)
