"""Analytic prior energy: what is known of the diffused density before any training.

In: normalised centred positions (batch, beads, 3), times (batch,). Out: energies (batch,) and, in closed form, the
divergence of the prior's score. Two ingredients, both exact under the forward process on their own:

- a Gaussian whose bead-bead covariance is the data's, diffused: exact at large t, and to second moments at any t;
- for each bonded (1-2) and angle (1-3) pair the diffused spherical shell, minus the pair's own Gaussian, so that the
  stiff directions are right at small t and nothing is counted twice at large t.

The shell: for a pair whose difference vector u is distributed as exp(-(d - a0)^2 / (2 var0)) / d over directions,
with d = |u|, Gaussian noise of variance 2 sigma^2 per component gives a density of the same family. With
a = alpha (mean - var0/mean), V = alpha^2 var0 + 2 sigma^2 and q = 2 a d / V its negative logarithm is

    (d - a)^2 / (2 V) + 3/2 ln V - ln((1 - exp(-q)) / q)

which solves the Fokker-Planck equation of the pair without residual (tests/training/models/test_prior.py).

Shells of pairs that share a bead are not independent, of which `Couplings` takes care at small noise.
Source: docs/method.md, eqs. 13 (Gaussian), 14, 15 and 16 (pairs, and the divergence of their scores).
"""

from typing import Any

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import alpha, centred, sigma_squared
from fpforce.training.models.couplings import Couplings, fit_couplings
from fpforce.training.models.moments import mean, shares, variance


def _log_ratio(q: Tensor) -> Tensor:
    """-ln((1 - exp(-q)) / q), smooth at q = 0 (a series below 0.5, where the closed form loses digits)."""
    small = torch.clamp(q, max=0.5)
    s = small * small
    series = 0.5 * small - s * (1.0 / 24.0 - s * (1.0 / 2880.0 - s / 181440.0))
    large = torch.clamp(q, min=0.5)
    return torch.where(q < 0.5, series, torch.log(large) - torch.log(-torch.expm1(-large)))


def _log_ratio_derivatives(q: Tensor) -> tuple[Tensor, Tensor]:
    """(f'(q) - 1/2) / q and f''(q) for f = `_log_ratio`; the first is finite at q = 0."""
    small = torch.clamp(q, max=0.5)
    s = small * small
    slope_series = -1.0 / 12.0 + s * (1.0 / 720.0 - s / 30240.0)
    curvature_series = -1.0 / 12.0 + s * (1.0 / 240.0 - s / 6048.0)
    large = torch.clamp(q, min=0.5)
    decay = torch.exp(-large)
    gap = -torch.expm1(-large)
    slope = (1.0 / large - decay / gap - 0.5) / large
    curvature = decay / (gap * gap) - 1.0 / (large * large)
    return torch.where(q < 0.5, slope_series, slope), torch.where(q < 0.5, curvature_series, curvature)


class AnalyticPrior(nn.Module):
    """Diffused Gaussian plus diffused bond and angle shells; no trainable parameter.

    mode_vectors (beads - 1, beads) and mode_variances (beads - 1,) are the eigenvectors and eigenvalues of the
    bead-bead covariance <x_i . x_j> / 3 in the centred subspace; pairs (pairs, 2) with the mean and the variance of
    their distances. couplings: what the pairs have to do with one another; None for pairs by themselves. All lengths
    are in normalised units.
    """

    mode_vectors: Tensor
    mode_variances: Tensor
    first: Tensor
    second: Tensor
    radius: Tensor
    variance: Tensor
    mean_square: Tensor

    def __init__(
        self,
        mode_vectors: Tensor,
        mode_variances: Tensor,
        pairs: Tensor,
        mean: Tensor,
        variance: Tensor,
        couplings: Couplings | None = None,
    ):
        super().__init__()
        self.register_buffer("mode_vectors", mode_vectors)
        self.register_buffer("mode_variances", mode_variances)
        self.register_buffer("first", pairs[:, 0].clone())
        self.register_buffer("second", pairs[:, 1].clone())
        self.register_buffer("radius", mean - variance / mean)
        self.register_buffer("variance", variance)
        self.register_buffer("mean_square", (mean * mean + variance) / 3.0)
        self.couplings = couplings

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of an earlier version are of pairs by themselves."""
        if f"{prefix}radius" in state_dict and f"{prefix}couplings.modes" not in state_dict:
            self.couplings = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Energy (batch,) of x (batch, beads, 3) at t (batch,) or (1,)."""
        signal, noise = self._levels(t)
        modes = torch.matmul(self.mode_vectors, x)
        spread = signal * self.mode_variances + noise
        gauss = self.over_modes(0.5 * modes.square().sum(-1) / spread + 1.5 * torch.log(spread))
        square = self.differences(x).square().sum(-1)
        distance = torch.sqrt(square + 1e-20)
        a = torch.sqrt(signal) * self.radius
        v = signal * self.variance + 2.0 * noise
        shell = (distance - a).square() / (2.0 * v) + 1.5 * torch.log(v) + _log_ratio(2.0 * a * distance / v)
        own = signal * self.mean_square + 2.0 * noise
        pair_gauss = 0.5 * square / own + 1.5 * torch.log(own)
        energy = gauss + self.over_pairs(shell - pair_gauss)
        if self.couplings is not None:
            energy = energy + self.couplings(distance - a, self.variance, signal, noise)
        return energy

    def score_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """Divergence (batch,) of the prior's score -grad E, in closed form.

        Each pair contributes -2 (f'' + 2 f'/d), since its energy f(d) acts on two beads.
        """
        signal, noise = self._levels(t)
        gauss = -3.0 * self.over_modes(1.0 / (signal * self.mode_variances + noise))
        apart = self.differences(x)
        distance = torch.sqrt(apart.square().sum(-1) + 1e-20)
        v = signal * self.variance + 2.0 * noise
        rate = 2.0 * torch.sqrt(signal) * self.radius / v
        slope, curvature = _log_ratio_derivatives(rate * distance)
        slope_over_distance = 1.0 / v + rate * rate * slope
        second = 1.0 / v + rate * rate * curvature
        shells = -2.0 * self.over_pairs(second + 2.0 * slope_over_distance)
        pair_gauss = 6.0 * self.over_pairs(1.0 / (signal * self.mean_square + 2.0 * noise))
        divergence = gauss + shells + pair_gauss
        if self.couplings is not None:
            a = torch.sqrt(signal) * self.radius
            divergence = divergence + self.couplings.score_divergence(apart, distance, a, self.variance, signal, noise)
        return divergence

    def differences(self, x: Tensor) -> Tensor:
        """Difference vectors (batch, pairs, 3) of the pairs."""
        return x[:, self.first] - x[:, self.second]

    def over_modes(self, terms: Tensor) -> Tensor:
        """Sum (batch,) of one term (batch, modes) for each mode."""
        return terms.sum(-1)

    def over_pairs(self, terms: Tensor) -> Tensor:
        """Sum (batch,) of one term (batch, pairs) for each pair."""
        return terms.sum(-1)

    def _levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha^2 and sigma^2 as (batch, 1)."""
        return alpha(t).square()[:, None], sigma_squared(t)[:, None]


class PriorBatch(AnalyticPrior):
    """The priors of a padded batch of molecules, or of any molecules stacked.

    tensors, by the names of AnalyticPrior's and each with a leading dimension; besides, mode_exists and pair_exists
    tell the modes and pairs of a molecule from the padding.
    """

    mode_exists: Tensor
    pair_exists: Tensor

    def __init__(self, tensors: dict[str, Tensor]):
        nn.Module.__init__(self)
        self.couplings = None
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @staticmethod
    def stack(priors: list[AnalyticPrior], most_beads: int) -> "PriorBatch":
        """Several molecules' priors, padded to as many beads."""
        most_pairs = max(len(prior.first) for prior in priors)
        sizes = {
            "mode_vectors": (most_beads - 1, most_beads),
            "mode_variances": (most_beads - 1,),
            "mode_exists": (most_beads - 1,),
        }
        stacked: dict[str, list[Tensor]] = {}
        for prior in priors:
            own = dict(prior.named_buffers(recurse=False))
            own["mode_exists"], own["pair_exists"] = (
                torch.ones_like(prior.mode_variances),
                torch.ones_like(prior.radius),
            )
            for name, tensor in own.items():
                # Ones keep what is masked finite.
                padding = 0.0 if name in ("mode_vectors", "mode_exists", "pair_exists", "first", "second") else 1.0
                whole = tensor.new_full(sizes.get(name, (most_pairs,)), padding)
                whole[tuple(slice(size) for size in tensor.shape)] = tensor
                stacked.setdefault(name, []).append(whole)
        return PriorBatch({name: torch.stack(tensors) for name, tensors in stacked.items()})

    def of(self, which: Tensor) -> "PriorBatch":
        """That of a batch whose row k is molecule which[k]."""
        return PriorBatch({name: tensor[which] for name, tensor in self.named_buffers(recurse=False)})

    def differences(self, x: Tensor) -> Tensor:
        first, second = (index[..., None].expand(-1, -1, 3) for index in (self.first, self.second))
        return torch.gather(x, 1, first) - torch.gather(x, 1, second)

    def over_modes(self, terms: Tensor) -> Tensor:
        return (terms * self.mode_exists).sum(-1)

    def over_pairs(self, terms: Tensor) -> Tensor:
        return (terms * self.pair_exists).sum(-1)


def fit_prior(
    x0: Tensor, pairs: list[tuple[int, int]], weights: Tensor | None = None, *, coupled: bool = True
) -> AnalyticPrior:
    """The prior of centred, normalised frames x0 (frames, beads, 3) with weights (frames,), its statistics computed in
    float64. coupled: whether it knows what pairs that share beads have to do with one another.
    """
    x = centred(x0.double())  # to double precision, so that the modes are blind to translations
    if weights is None:
        covariance = torch.einsum("fik,fjk->ij", x, x) / (3 * x.shape[0])
    else:
        covariance = torch.einsum("f,fik,fjk->ij", shares(weights), x, x) / 3
    variances, vectors = torch.linalg.eigh(covariance)
    index = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    distances = (x[:, index[:, 0]] - x[:, index[:, 1]]).norm(dim=-1)
    # The first eigenvector is the centre of mass, with eigenvalue zero.
    prior = AnalyticPrior(
        vectors.T[1:].contiguous(),
        variances[1:],
        index,
        mean(distances, weights),
        variance(distances, weights),
        fit_couplings(x, index, distances, weights) if coupled else None,
    )
    return prior.to(x0.dtype)
