"""Functions of single dihedrals and of single 1-3 distances that a calibration adds to an energy: Fourier series.

In: cosines and sines (batch, turns), of dihedrals or of what a distance is turned into (InternalCoordinates). Out: the
modes Re z^n and Im z^n of z = (cos + i sin) / sqrt(cos^2 + sin^2 + DELTA), or their sum with weights, which may depend
on the noise level.
Source: docs/method.md, eqs. 39 and 41.
"""

import math

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import sigma_squared

ORDERS = 6  # n from 1: as sharp as three wells with a shape of their own
# sigma, in normalised units, of the levels at which weights that depend on it are known: each twice the one before. At
# half the first and at twice the last there are none.
SIGMAS = (0.02, 0.04, 0.08, 0.16, 0.32)
DELTA = 0.01  # of a cosine and a sine whose beads are in a line, little is left


def modes_of(cosine: Tensor, sine: Tensor, orders: int, delta: float) -> Tensor:
    """(batch, 2, turns, orders): Re z^n, then Im z^n."""
    norm = torch.rsqrt(cosine.square() + sine.square() + delta)
    c, s = cosine * norm, sine * norm
    real, imaginary = [c], [s]
    for n in range(1, orders):
        real.append(real[n - 1] * c - imaginary[n - 1] * s)
        imaginary.append(real[n - 1] * s + imaginary[n - 1] * c)
    return torch.stack([torch.stack(real, -1), torch.stack(imaginary, -1)], 1)


class LocalSeries(nn.Module):
    """The energy (batch,) of weights (2, turns, orders), as modes are laid out; a fixed buffer."""

    weights: Tensor

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)
        self.orders = weights.shape[2]
        self.delta = DELTA

    def forward(self, cosine: Tensor, sine: Tensor) -> Tensor:
        return (self.weights * modes_of(cosine, sine, self.orders, self.delta)).sum((1, 2, 3))


class LevelSeries(nn.Module):
    """Weights of the modes at each noise level: (1 or batch, modes) for times (1,) or (batch,).

    weights (levels, modes) and constants (levels,), which keep the mean energy of the data what it was at each level;
    linear in ln sigma between SIGMAS and to zero at either end; fixed buffers.
    """

    weights: Tensor
    constants: Tensor

    def __init__(self, weights: Tensor, constants: Tensor | None = None):
        super().__init__()
        assert len(weights) == len(SIGMAS)
        self.register_buffer("weights", weights)
        self.register_buffer("constants", weights.new_zeros(len(weights)) if constants is None else constants)
        self.first, self.ratio = SIGMAS[0], math.log(SIGMAS[1] / SIGMAS[0])
        self.register_buffer("numbers", torch.arange(len(weights), dtype=weights.dtype), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        return self.shares(t) @ self.weights

    def constant(self, t: Tensor) -> Tensor:
        """(1,) or (batch,)"""
        return self.shares(t) @ self.constants

    def shares(self, t: Tensor) -> Tensor:
        """How much each level counts (1 or batch, levels)."""
        above = torch.log((sigma_squared(t) / self.first**2).clamp_min(0.01)) / (2.0 * self.ratio)
        return torch.relu(1.0 - (above[:, None] - self.numbers).abs())
