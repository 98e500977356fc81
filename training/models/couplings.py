"""What the distances of the prior's pairs have to do with one another: an angle's 1-3 distance grows with its bonds.

In: deviations e = d - alpha a (batch, pairs) of the distances. Out: an energy (batch,) to be added to that of shells
which know nothing of each other, and the divergence of its score in closed form.

As long as noise is small against the distances, they are Gaussian about alpha a with the covariance K = alpha^2 C +
sigma^2 M: C that of the data, M = <J J^T> what unit noise of the beads makes of it, J = dd/dx. So

    E_c = f(t) / 2 [ e^T K^-1 e - sum_k e_k^2 / K_kk ],    f = 1 / (1 + (sigma / (alpha REACH a_min))^4)

where f lets it go when noise is no longer small. K^-1 comes at any t from modes w_j with w_i^T M w_j = delta_ij and
w_i^T C w_j = lambda_j delta_ij: e^T K^-1 e = sum_j (w_j . e)^2 / (alpha^2 lambda_j + sigma^2).
Source: docs/method.md, eqs. 37 and 38.
"""

import torch
from torch import Tensor, nn

from fpforce.training.models.moments import covariance, mean

REACH = (
    0.24  # of the shortest distance: the noise at which half of the energy is left. v_min is there too: below it the
)
# network could not learn what a change in time leaves.
LEAST = 0.3  # eigenvalue of M, of which the diagonal is 2, below which a combination of distances is redundant
SPREAD = 0.3  # added to the diagonal of M, for what noise does to distances beyond the first order
AT_MOST = 5_000  # frames for M
AT_ONCE = 1_000_000  # numbers: of so many vectors the products at a time, whatever the number of pairs


class Couplings(nn.Module):
    """Fixed buffers: modes (modes, pairs), variances (modes,) and the largest noise reach (1,), in normalised units."""

    modes: Tensor
    variances: Tensor
    reach: Tensor
    left: Tensor
    right: Tensor
    sign: Tensor

    def __init__(self, pairs: Tensor, modes: Tensor, variances: Tensor, reach: Tensor):
        super().__init__()
        self.register_buffer("modes", modes)
        self.register_buffer("variances", variances)
        self.register_buffer("reach", reach)
        left, right, sign = pairs_with_a_bead_in_common(pairs)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.register_buffer("sign", sign.to(modes), persistent=False)

    def forward(self, deviations: Tensor, own: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """Energy (batch,). own (pairs,): variances of the distances in the data; signal, noise (batch, 1) or (1, 1):
        alpha^2 and sigma^2.
        """
        along = torch.matmul(deviations, self.modes.T).square() / (signal * self.variances + noise)
        alone = deviations.square() / (signal * own + 2.0 * noise)
        return 0.5 * self.share(signal, noise) * (along.sum(-1) - alone.sum(-1))

    def share(self, signal: Tensor, noise: Tensor) -> Tensor:
        """f (batch,) or (1,)."""
        return (1.0 / (1.0 + (noise / (signal * self.reach.square())).square())).squeeze(-1)

    def score_divergence(
        self, apart: Tensor, distances: Tensor, a: Tensor, own: Tensor, signal: Tensor, noise: Tensor
    ) -> Tensor:
        """Divergence (batch,) of the score -grad E_c. apart (batch, pairs, 3): difference vectors, of `distances`."""
        along, alone = 1.0 / (signal * self.variances + noise), 1.0 / (signal * own + 2.0 * noise)
        directions, deviations = apart / distances[..., None], distances - a
        slope = torch.matmul(along * torch.matmul(deviations, self.modes.T), self.modes) - alone * deviations
        # grad d_k . grad d_l of pairs with a bead in common; that of a pair with itself is 2, its Laplacian 4 / d.
        common = self.sign * (directions[:, self.left] * directions[:, self.right]).sum(-1)
        products = self.modes[:, self.left] * self.modes[:, self.right]
        squares = 2.0 * (torch.matmul(common, products.T) + self.modes.square().sum(-1))
        curvature = (along * squares).sum(-1) - 2.0 * alone.sum(-1) + (4.0 * slope / distances).sum(-1)
        return -self.share(signal, noise) * curvature


def fit_couplings(x0: Tensor, pairs: Tensor, distances: Tensor, weights: Tensor | None = None) -> Couplings | None:
    """The couplings of pairs (pairs, 2), with distances (frames, pairs), in frames x0 (frames, beads, 3) with weights
    (frames,); None where no two pairs have a bead in common.

    C is drawn to its diagonal as far as the frames are few for so many pairs. M is of at most AT_MOST frames.
    """
    left, right, sign = pairs_with_a_bead_in_common(pairs)
    if len(left) == 0:
        return None
    some = x0[_at_most(len(x0), weights)]
    directions = torch.nn.functional.normalize(some[:, pairs[:, 0]] - some[:, pairs[:, 1]], dim=-1)
    at_once = max(1, AT_ONCE // len(some))
    common = torch.cat(
        [
            torch.einsum("fpk,fpk->p", directions[:, i], directions[:, j]) / len(some)
            for i, j in zip(left.split(at_once), right.split(at_once), strict=True)
        ]
    )
    noise = torch.diag(x0.new_full((len(pairs),), 2.0))
    noise[left, right] = sign.to(x0) * common
    noise[right, left] = noise[left, right]
    data = covariance(distances, weights)
    kept = len(x0) / (len(x0) + len(pairs))
    data = kept * data + (1.0 - kept) * torch.diag(data.diagonal())
    data, noise = _without_redundant(data, noise)
    factor = torch.linalg.cholesky(noise)
    half = torch.linalg.solve_triangular(factor, data, upper=False)
    whitened = torch.linalg.solve_triangular(factor, half.T, upper=False)
    variances, vectors = torch.linalg.eigh(0.5 * (whitened + whitened.T))
    modes = torch.linalg.solve_triangular(factor.T, vectors, upper=True).T.contiguous()
    return Couplings(pairs, modes, variances, REACH * mean(distances, weights).min().reshape(1))


def _at_most(frames: int, weights: Tensor | None) -> Tensor | slice:
    """Which frames M is of: all, or AT_MOST of them, drawn by their weights where they have any."""
    if weights is None:
        return slice(None, None, -(-frames // AT_MOST))
    return torch.multinomial(weights.double(), min(frames, AT_MOST), True, generator=torch.Generator().manual_seed(0))


def _without_redundant(data: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """C and M in which combinations of distances that no small displacement changes are as if alone.

    Such are the angles around an atom in a plane, whose sum is what it is: what data and noise make of it is of second
    order, and no Gaussian. They are taken out in units of each distance's own width: of a combination of a soft 1-3
    distance and a stiff bond nearly all is the former's, and in nm the bond would get a part of the former's width.
    """
    sizes, directions = torch.linalg.eigh(noise)
    widths = data.diagonal().sqrt()
    widths = widths.clamp_min(1e-6 * float(widths.max()))
    redundant = torch.linalg.qr(widths[:, None] * directions[:, sizes < LEAST])[0]
    identity, units = torch.eye(len(data)).to(data), widths[:, None] * widths
    free = identity - redundant @ redundant.T

    def alone(covariance: Tensor) -> Tensor:
        scaled = covariance / units
        own = (redundant.square() * scaled.diagonal()[:, None]).sum(0)
        return units * (free @ scaled @ free + redundant * own @ redundant.T)

    return alone(data), alone(noise) + SPREAD * identity


def pairs_with_a_bead_in_common(pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of pairs (pairs, 2): which two, left < right (count,), and the sign (count,) of grad d_left . grad d_right
    over the product of their directions.
    """
    ends = torch.zeros(len(pairs), int(pairs.max()) + 1 if len(pairs) else 0)
    index = torch.arange(len(pairs))
    ends[index, pairs[:, 0]] = 1.0
    ends[index, pairs[:, 1]] = -1.0
    signs = torch.triu(ends @ ends.T, diagonal=1)
    left, right = signs.nonzero(as_tuple=True)
    return left, right, signs[left, right]
