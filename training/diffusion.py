"""The forward process: variance-preserving diffusion of centred, normalised bead positions.

In: times t in [0, 1] and noise-free positions x_0 of shape (batch, beads, 3). Out: alpha, sigma, noised positions.
Everything lives in the degrees of freedom of the system (fpforce.molecule.space): of a molecule the centre-of-mass-free
subspace, of dimension D = 3 (beads - 1), of one bead in an external potential its plane, D = 2. The functions of t
compile with torch.jit.script, so that the energy models and the exported force field share them.
Source: arXiv 2506.17139, section 2 (variance-preserving process with a linear beta); docs/method.md, eq. 1.
"""

import torch
from torch import Tensor

from fpforce.molecule.space import space_of

# Degrees of freedom up to which a divergence is computed exactly. D products of the score's Jacobian with a vector cost
# about D scores in one batch, where an estimator's noise would need many probes.
LARGEST_EXACT_DIMENSION = 64


def degrees_of_freedom(beads: int, mask: Tensor | None = None) -> int | Tensor:
    """D, the dimension of the subspace of a system's degrees of freedom.

    Of a padded batch of molecules, of whose beads those of the mask (batch, beads) exist, D (batch,) of every row.
    """
    return space_of(beads).dimension(beads) if mask is None else 3 * (mask.sum(1) - 1)


def beta(t: Tensor) -> Tensor:
    """Noise rate beta(t) = 0.1 + 19.9 t."""
    return 0.1 + 19.9 * t


def log_alpha(t: Tensor) -> Tensor:
    """log alpha(t) = -1/2 int_0^t beta = -0.05 t - 4.975 t^2."""
    return -0.05 * t - 4.975 * t * t


def alpha(t: Tensor) -> Tensor:
    """Factor of the noise-free positions in x_t."""
    return torch.exp(log_alpha(t))


def sigma_squared(t: Tensor) -> Tensor:
    """Noise variance sigma^2 = 1 - alpha^2, by expm1 so that it keeps its digits at small t."""
    return -torch.expm1(2.0 * log_alpha(t))


def sigma(t: Tensor) -> Tensor:
    """Noise standard deviation."""
    return torch.sqrt(sigma_squared(t))


def centred(x: Tensor) -> Tensor:
    """Project (..., beads, 3) onto the degrees of freedom: zero mean over beads, or z = 0 of a bead in the plane."""
    return space_of(x.shape[-2]).project(x)


def centred_noise(
    shape: torch.Size | tuple[int, ...], generator: torch.Generator, like: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Standard normal noise of `shape` (..., beads, 3) in the degrees of freedom, on the device and dtype of `like`.

    mask (batch, beads): which beads of a padded batch exist; the others get none.
    """
    noise = torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
    if mask is None:
        return centred(noise)
    exists = mask[..., None].to(noise.dtype)
    noise = noise * exists
    return noise - exists * (noise.sum(-2, keepdim=True) / exists.sum(-2, keepdim=True))


def diffuse(x0: Tensor, t: Tensor, z: Tensor) -> Tensor:
    """x_t = alpha(t) x_0 + sigma(t) z for x0, z of shape (batch, beads, 3) and t of shape (batch,)."""
    return alpha(t)[:, None, None] * x0 + sigma(t)[:, None, None] * z


def time_of_variance(variance: Tensor) -> Tensor:
    """The t at which sigma^2(t) = variance; the inverse of `sigma_squared` (float64 advised)."""
    return _time_of_log_alpha(0.5 * torch.log1p(-variance.clamp(0.0, 1.0 - 1e-12)))


def log_snr(t: Tensor) -> Tensor:
    """Half the logarithm of the signal-to-noise ratio, lambda(t) = ln(alpha / sigma); falls as t grows."""
    return log_alpha(t) - 0.5 * torch.log(sigma_squared(t))


def time_of_log_snr(level: Tensor) -> Tensor:
    """The t at which ln(alpha / sigma) = level; the inverse of `log_snr` (float64 advised)."""
    return _time_of_log_alpha(-0.5 * torch.nn.functional.softplus(-2.0 * level))


def _time_of_log_alpha(level: Tensor) -> Tensor:
    """Positive root of 4.975 t^2 + 0.05 t = -log alpha."""
    return -2.0 * level / (0.05 + torch.sqrt(0.05**2 - 4.0 * 4.975 * level))
