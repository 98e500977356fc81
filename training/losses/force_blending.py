"""Denoising with forces: a target for the score that mixes the noise with the forces of the noise-free frame.

In: the score at x_t = alpha x_0 + sigma z, z, and f_0 = F s / kT of the frame x_0. Out: the loss. By the target score
identity (De Bortoli et al., arXiv 2402.08667) the score is the mean at given x_t of -z/sigma and of f_0/alpha alike,
whatever noise f_0 has beside grad log p_0(x_0), and so of any mixture whose weights depend on t alone. z does not
depend on x_0, so the two noises are uncorrelated, and with v the mean square of f_0 the mixture of least variance is

    T = w (-z/sigma) + (1 - w) f_0/alpha,   w = sigma^2 v / (alpha^2 + sigma^2 v),   <T^2> = 1/M,   M = sigma^2 +
    alpha^2/v

Bonds make v differ a hundredfold between directions. The mixture is therefore made in the eigenvectors of the bead-bead
covariance <f_0i . f_0j>/3, each with its own v and w, which turns with the molecule as one v for all does, and is never
noisier. For Gaussian data with isotropic modes and noise-free forces T is the score itself.

The loss E || M^(1/2) (s - T) ||^2 / D is 1 for a zero score at every t, as the denoising loss is. Up to a constant it
is the denoising loss || sigma s + z ||^2 plus the force-matching loss || (alpha s - f_0) / v^(1/2) ||^2.
Source: docs/method.md, eqs. 11 and 12.
"""

import torch
from torch import Tensor

from fpforce.training.diffusion import alpha, centred, degrees_of_freedom, sigma, sigma_squared
from fpforce.training.models.moments import shares


class ForceBlending:
    """Modes of the forces and how much each counts at a given noise level.

    scores (frames, beads, 3): f_0 of all frames, centred; weights (frames,): how much each counts. modes
    (beads - 1, beads) are the eigenvectors of their bead-bead covariance and variances (beads - 1,) its eigenvalues,
    the mean square v of one component.
    """

    def __init__(self, scores: Tensor, weights: Tensor | None = None):
        f = centred(scores.double())
        if weights is not None:
            f = (len(f) * shares(weights)).sqrt()[:, None, None] * f
        variances, vectors = torch.linalg.eigh(torch.einsum("fid,fjd->ij", f, f) / (3 * len(f)))
        # The first eigenvector is the centre of mass, on which centred forces do not act.
        self.modes = vectors.T[1:].to(scores.dtype).contiguous()
        self.variances = variances[1:].clamp_min(1e-9 * float(variances[-1])).to(scores.dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move to where the network is."""
        self.modes, self.variances = self.modes.to(device, dtype), self.variances.to(device, dtype)

    def precision(self, t: Tensor) -> Tensor:
        """M (batch, beads - 1, 1), the inverse of the target's mean square in each mode."""
        return sigma_squared(t)[:, None, None] + alpha(t).square()[:, None, None] / self.variances[:, None]

    def target(self, t: Tensor, z: Tensor, force: Tensor) -> Tensor:
        """T (batch, beads, 3) for z and f_0 of the same shape, at t (batch,)."""
        noise, force = torch.matmul(self.modes, z), torch.matmul(self.modes, force)
        mixed = alpha(t)[:, None, None] * force / self.variances[:, None] - sigma(t)[:, None, None] * noise
        return torch.matmul(self.modes.T, mixed / self.precision(t))

    def loss(self, score: Tensor, t: Tensor, z: Tensor, force: Tensor) -> Tensor:
        """Scalar loss of a score (batch, beads, 3)."""
        residual = torch.matmul(self.modes, score - self.target(t, z, force)) * self.precision(t).sqrt()
        return residual.square().sum(dim=(1, 2)).mean() / degrees_of_freedom(z.shape[1])
