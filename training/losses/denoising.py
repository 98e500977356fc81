"""Denoising score matching.

In: the score at x_t = alpha x_0 + sigma z, and z. Out: the loss E || sigma s(x_t, t) + z ||^2 / D.
Source: arXiv 2506.17139, section 2; docs/method.md, eq. 4. The weight sigma^2 makes every noise level count alike.
"""

from torch import Tensor

from fpforce.training.diffusion import degrees_of_freedom, sigma


def denoising_loss(score: Tensor, t: Tensor, z: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scalar loss for score and noise z (batch, beads, 3) at t (batch,); 1 for a zero score.

    mask (batch, beads): which beads of a padded batch exist.
    """
    residual = sigma(t)[:, None, None] * score + z
    return (residual.square().sum(dim=(1, 2)) / degrees_of_freedom(z.shape[1], mask)).mean()
