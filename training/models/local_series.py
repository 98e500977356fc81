"""Functions of single dihedrals and of single 1-3 distances that a calibration adds to an energy: Fourier series.

In: cosines and sines (batch, turns), of dihedrals or of what a distance is turned into (InternalCoordinates). Out: the
modes Re z^n and Im z^n of z = (cos + i sin) / sqrt(cos^2 + sin^2 + DELTA), or their sum with weights.
Source: docs/method.md, eq. 39.
"""

import torch
from torch import Tensor, nn

ORDERS = 6  # n from 1: as sharp as three wells with a shape of their own
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
