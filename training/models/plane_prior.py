"""Analytic prior of a particle in an external potential: the Gaussian of the data's covariance, diffused.

In: normalised positions (batch, 1, 3) in the plane, times (batch,) or (1,). Out: energies (batch,) and, in closed form,
the divergence of the score. Exact at large t, and to second moments at any t; without residual in the Fokker-Planck
equation.
Source: docs/method.md, eq. 23.
"""

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import alpha, sigma_squared
from fpforce.training.models.moments import covariance


class PlaneGaussian(nn.Module):
    """-ln of the diffused Gaussian density; no trainable parameter.

    axes (2, 2) and variances (2,): eigenvectors, in rows, and eigenvalues of the covariance of x and y, normalised
    units.
    """

    axes: Tensor
    variances: Tensor

    def __init__(self, axes: Tensor, variances: Tensor):
        super().__init__()
        self.register_buffer("axes", axes)
        self.register_buffer("variances", variances)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Energy (batch,) of x (batch, 1, 3) at t (batch,) or (1,)."""
        spread = self._spread(t)
        return (0.5 * torch.matmul(x[:, 0, :2], self.axes.t()).square() / spread + 0.5 * torch.log(spread)).sum(-1)

    def score_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """Divergence (batch,) of the prior's score -grad E, in closed form."""
        return -(1.0 / self._spread(t)).sum(-1)

    def _spread(self, t: Tensor) -> Tensor:
        return alpha(t).square()[:, None] * self.variances + sigma_squared(t)[:, None]


def fit_plane_gaussian(x0: Tensor, weights: Tensor | None = None) -> PlaneGaussian:
    """The prior of normalised frames x0 (frames, 1, 3) with weights (frames,), whose mean is zero."""
    variances, vectors = torch.linalg.eigh(covariance(x0[:, 0, :2].double(), weights))
    return PlaneGaussian(vectors.T.contiguous(), variances).to(x0.dtype)
