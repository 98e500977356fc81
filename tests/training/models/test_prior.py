"""The analytic prior: its closed-form divergence, the shell's exactness for an isolated pair, the Gaussian part."""

import numpy as np
import pytest
import torch

from fpforce.training.diffusion import alpha, centred, centred_noise, diffuse, sigma_squared
from fpforce.training.losses.residual import exact_residual
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import AnalyticPrior, fit_prior

TIMES = (1e-5, 1e-3, 0.02, 0.2, 1.0)
BOND, SPREAD = 1.4, 0.05  # a C-N bond and its width, in units of the scale 0.094 nm


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return 0.0 * x.sum(dim=(1, 2)) + 0.0 * t


def trace_of_jacobian(prior, x, t):
    """Divergence of -grad E by differentiating twice."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(prior(x, t).sum(), x, create_graph=True)
    total = torch.zeros(len(x), dtype=x.dtype)
    for column in range(slope[0].numel()):
        (row,) = torch.autograd.grad(slope.flatten(1)[:, column].sum(), x, retain_graph=True)
        total -= row.flatten(1)[:, column]
    return total.detach()


def pair_prior():
    """Prior of two beads: its Gaussian and the pair's own Gaussian are one and cancel, which leaves the shell."""
    mean_square = (BOND**2 + SPREAD**2) / 3.0
    vectors = torch.tensor([[0.5**0.5, -(0.5**0.5)]], dtype=torch.float64)
    return AnalyticPrior(
        vectors,
        torch.tensor([mean_square / 2.0], dtype=torch.float64),
        torch.tensor([[0, 1]]),
        torch.tensor([BOND], dtype=torch.float64),
        torch.tensor([SPREAD**2], dtype=torch.float64),
    )


def pair_at(distances):
    x = torch.zeros(len(distances), 2, 3, dtype=torch.float64)
    x[:, 0, 0], x[:, 1, 0] = 0.5 * distances, -0.5 * distances
    return x


@pytest.mark.parametrize("time", TIMES)
def test_closed_form_divergence_is_the_trace_of_the_scores_jacobian(alanine_set, time):
    x0 = alanine_set.frames[:64].double()
    prior = fit_prior(alanine_set.frames.double(), alanine_set.prior_pairs)
    t = torch.full((64,), time, dtype=torch.float64)
    x = diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(0), x0))
    torch.testing.assert_close(prior.score_divergence(x, t), trace_of_jacobian(prior, x, t), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("time", TIMES)
def test_closed_form_divergence_holds_across_the_switch_from_series_to_closed_form(time):
    # q = 2 a d / V runs through the switch at 0.5 at large t, where a is small and V near 2.
    x, prior = pair_at(torch.logspace(-3, 1, 200, dtype=torch.float64)), pair_prior()
    t = torch.full((len(x),), time, dtype=torch.float64)
    expected = trace_of_jacobian(prior, x, t)
    error = (prior.score_divergence(x, t) - expected).abs()
    # The series stop at q^6: 2e-9 at q = 0.5, times rate^2 <= 1 there.
    assert (error <= 1e-6 + 1e-7 * expected.abs()).all()


@pytest.mark.parametrize("time", TIMES)
def test_shell_of_an_isolated_pair_has_no_fokker_planck_residual(time):
    t = torch.full((60,), time, dtype=torch.float64)
    # All distances that occur: within 4 widths of the shell at this time.
    centre, width = float(alpha(t[0]) * BOND), float((SPREAD**2 + 2 * sigma_squared(t[0])).sqrt())
    distances = torch.linspace(max(centre - 4 * width, 0.05), centre + 4 * width, 60, dtype=torch.float64)
    residual = exact_residual(DiffusionEnergy(Nothing(), pair_prior()), pair_at(distances), t)
    # Terms of up to 1/2 beta 2 * 2 / V = 40 cancel at t = 1e-5, and the naive (d - a)^2 / 2V leaves more than 1. What
    # is left is the series' missing q^8 / 9676800 below q = 0.5: 1e-7 in the second derivative, times beta (2 a / V)^2.
    assert residual.abs().max() < 1e-5


@pytest.mark.parametrize("time", TIMES[1:])
def test_shell_keeps_its_normalisation(time):
    prior, d = pair_prior(), torch.linspace(1e-4, 12.0, 200_001, dtype=torch.float64)

    def weight(at):
        energy = prior(pair_at(d), torch.tensor([at], dtype=torch.float64))
        return torch.trapezoid(d.square() * torch.exp(-energy), d).item()

    assert weight(time) == pytest.approx(weight(1e-5), rel=1e-6)


@pytest.mark.parametrize("time", TIMES)
def test_shell_is_the_distribution_of_noised_pairs(time):
    # A pair with density exp(-(d - a0)^2 / 2 var) / d, d^2 dd of it, directions uniform; noise 2 sigma^2 per component.
    generator, count = np.random.default_rng(0), 100_000
    radius = BOND - SPREAD**2 / BOND
    grid = np.linspace(radius - 8 * SPREAD, radius + 8 * SPREAD, 20_001)
    cumulative = np.cumsum(grid * np.exp(-((grid - radius) ** 2) / (2 * SPREAD**2)))
    length = np.interp(generator.random(count), cumulative / cumulative[-1], grid)
    direction = generator.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    t = torch.tensor([time], dtype=torch.float64)
    noise = generator.normal(scale=float((2 * sigma_squared(t)).sqrt()), size=(count, 3))
    distance = np.sort(np.linalg.norm(float(alpha(t)) * length[:, None] * direction + noise, axis=1))

    d = torch.linspace(1e-4, 12.0, 100_001, dtype=torch.float64)
    density = d.square() * torch.exp(-pair_prior()(pair_at(d), t))
    expected = torch.cumsum(density, 0) / density.sum()
    ks = np.abs(np.interp(distance, d.numpy(), expected.numpy()) - (np.arange(count) + 0.5) / count).max()
    # Kolmogorov-Smirnov at the 1e-6 level: 2.7 / sqrt(count).
    assert ks < 2.7 / count**0.5


@pytest.mark.parametrize("time", TIMES)
def test_prior_of_two_beads_is_the_shell_of_their_distance_alone(time):
    # The Gaussian of the frames and the pair's own Gaussian cancel; the shell here in the form of its derivation:
    # (d - a)^2 / 2V + ln d + ln a + 1/2 ln V - ln(1 - exp(-2 a d / V)).
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(2000, 3, generator=generator, dtype=torch.float64)
    d0 = BOND + SPREAD * torch.randn(2000, 1, generator=generator, dtype=torch.float64)
    u = u / u.norm(dim=1, keepdim=True) * d0
    prior, t = fit_prior(0.5 * torch.stack([u, -u], 1), [(0, 1)]), torch.tensor([time], dtype=torch.float64)
    mean, variance = d0.mean(), d0.var()
    a, v = alpha(t) * (mean - variance / mean), alpha(t).square() * variance + 2 * sigma_squared(t)
    d = torch.linspace(0.8, 2.0, 30, dtype=torch.float64)
    shell = (
        (d - a).square() / (2 * v)
        + torch.log(d)
        + torch.log(a)
        + 0.5 * torch.log(v)
        - torch.log(-torch.expm1(-2 * a * d / v))
    )
    difference = prior(pair_at(d), t) - shell
    # Constant in d up to the 1 / 2000 between the two estimates of a variance, one with n and one with n - 1.
    assert difference.std() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time", [0.0, *TIMES])
def test_prior_is_finite_where_beads_coincide(alanine_set, dtype, time):
    prior = fit_prior(alanine_set.frames.to(dtype), alanine_set.prior_pairs)
    x = torch.zeros(2, 5, 3, dtype=dtype, requires_grad=True)
    t = torch.full((2,), time, dtype=dtype, requires_grad=True)
    energy = prior(x, t)
    slope, rate = torch.autograd.grad(energy.sum(), (x, t))
    assert all(torch.isfinite(value).all() for value in (energy, slope, rate, prior.score_divergence(x, t)))


def test_gaussian_part_is_the_diffused_gaussian_of_the_data():
    # Data with bead-bead covariance K: E = 1/2 sum_axis x^T (alpha^2 K + sigma^2 P)^+ x + 3/2 ln det.
    generator = torch.Generator().manual_seed(2)
    x0 = centred(
        torch.randn(4000, 4, 3, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [0.5], [2.0], [1.0]])
    )
    covariance = torch.einsum("fik,fjk->ij", x0, x0) / (3 * len(x0))
    vectors = torch.linalg.eigh(covariance)
    prior = AnalyticPrior(
        vectors[1].T[1:],
        vectors[0][1:],
        torch.zeros(0, 2, dtype=torch.long),
        torch.zeros(0).double(),
        torch.zeros(0).double(),
    )
    x, t = x0[:50], torch.full((50,), 0.15, dtype=torch.float64)
    diffused = alpha(t[:1]).square() * covariance + sigma_squared(t[:1]) * (torch.eye(4) - 0.25).double()
    expected = 0.5 * torch.einsum("fik,ij,fjk->f", x, torch.linalg.pinv(diffused, rtol=1e-10), x)
    expected = expected + 1.5 * torch.linalg.eigvalsh(diffused)[1:].log().sum()
    torch.testing.assert_close(prior(x, t), expected, rtol=1e-10, atol=1e-10)
    assert exact_residual(DiffusionEnergy(Nothing(), prior), x, t).abs().max() < 1e-9
