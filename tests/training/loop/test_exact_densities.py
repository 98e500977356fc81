"""A Gaussian and a mixture diffuse in closed form: their scores are exact, their residuals vanish, their loss is known.

Reference values come from explicitly assembled covariances and pseudo-inverses, not from the energies under test.
"""

import pytest
import torch

from fpforce.training.diffusion import alpha, beta, centred_noise, degrees_of_freedom, diffuse, sigma_squared
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.losses.residual import estimated_square, exact_residual, residual_curve
from fpforce.training.models.contract import DiffusionEnergy

BEADS = 4
D = degrees_of_freedom(BEADS)
TIMES = (1e-5, 1e-3, 0.05, 0.3, 1.0)


class Gaussian(torch.nn.Module):
    """-log density of the diffused Gaussian with mean (3n,), principal axes (D, 3n) and variances (D,) at t = 0."""

    def __init__(self, mean, axes, variances):
        super().__init__()
        self.mean, self.axes, self.variances = mean, axes, variances

    def forward(self, x, t):
        modes = (x.flatten(1) - alpha(t)[:, None] * self.mean) @ self.axes.T
        spread = alpha(t).square()[:, None] * self.variances + sigma_squared(t)[:, None]
        return (0.5 * modes.square() / spread + 0.5 * torch.log(spread)).sum(1)


class Mixture(torch.nn.Module):
    """-log density of a mixture of diffused Gaussians."""

    def __init__(self, weights, parts):
        super().__init__()
        self.weights, self.parts = weights, torch.nn.ModuleList(parts)

    def forward(self, x, t):
        energies = torch.stack([part(x, t) for part in self.parts])
        return -torch.logsumexp(torch.log(self.weights)[:, None] - energies, 0)


def random_gaussian(seed, shift=0.0):
    """Anisotropic Gaussian in the centred subspace: variances 0.02 to 0.5, the axes mixing beads and directions."""
    generator = torch.Generator().manual_seed(seed)
    centred_axes = torch.linalg.eigh(torch.eye(BEADS, dtype=torch.float64) - 1.0 / BEADS)[1].T[1:]
    basis = torch.kron(centred_axes, torch.eye(3, dtype=torch.float64))
    rotation = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))[0]
    axes = rotation @ basis
    return Gaussian(shift * axes[0], axes, torch.linspace(0.02, 0.5, D, dtype=torch.float64))


def mixture():
    """Weights 0.9 and 0.1, means 2 apart: both parts matter where the samples lie, at every t."""
    return Mixture(torch.tensor([0.9, 0.1], dtype=torch.float64), [random_gaussian(1, 1.0), random_gaussian(2, -1.0)])


def samples(gaussian, count, seed):
    generator = torch.Generator().manual_seed(seed)
    modes = torch.randn(count, D, generator=generator, dtype=torch.float64) * gaussian.variances.sqrt()
    return (gaussian.mean + modes @ gaussian.axes).view(count, BEADS, 3)


def covariance_at(gaussian, time):
    """(3n, 3n) covariance of x_t, assembled from its definition."""
    t = torch.tensor([time], dtype=torch.float64)
    data = gaussian.axes.T @ torch.diag(gaussian.variances) @ gaussian.axes
    projector = torch.kron(torch.eye(BEADS) - 1.0 / BEADS, torch.eye(3)).double()
    return alpha(t).square() * data + sigma_squared(t) * projector


def noised(gaussian, time, count=32, seed=5):
    t = torch.full((count,), time, dtype=torch.float64)
    x0 = samples(gaussian, count, seed)
    z = centred_noise(x0.shape, torch.Generator().manual_seed(seed + 1), x0)
    return diffuse(x0, t, z), t, z


def gaussian_score(gaussian, x, time):
    centre = alpha(torch.tensor([time], dtype=torch.float64)) * gaussian.mean
    return -((x.flatten(1) - centre) @ torch.linalg.pinv(covariance_at(gaussian, time), rtol=1e-10)).view_as(x)


@pytest.mark.parametrize("time", TIMES)
def test_score_of_a_gaussian_is_exact(time):
    gaussian = random_gaussian(1)
    x, t, _ = noised(gaussian, time)
    score = DiffusionEnergy(gaussian).log_density(x, t).score
    torch.testing.assert_close(score, gaussian_score(gaussian, x, time), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("time", TIMES)
def test_score_of_a_mixture_is_the_posterior_mean_of_its_parts_scores(time):
    energy = mixture()
    x, t, _ = noised(energy.parts[0], time)
    log_weights = []
    for weight, part in zip(energy.weights, energy.parts, strict=True):
        covariance = covariance_at(part, time)
        away = x.flatten(1) - alpha(t[:1]) * part.mean
        square = (away @ torch.linalg.pinv(covariance, rtol=1e-10) * away).sum(1)
        determinant = torch.linalg.eigvalsh(covariance)[3:].log().sum()
        log_weights.append(torch.log(weight) - 0.5 * square - 0.5 * determinant)
    posterior = torch.softmax(torch.stack(log_weights), 0)
    expected = sum(
        p[:, None, None] * gaussian_score(part, x, time) for p, part in zip(posterior, energy.parts, strict=True)
    )
    torch.testing.assert_close(DiffusionEnergy(energy).log_density(x, t).score, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("make", [lambda: random_gaussian(3), mixture], ids=["gaussian", "mixture"])
def test_fokker_planck_residual_of_an_exact_density_is_zero(make, time):
    network = make()
    x, t, _ = noised(network if isinstance(network, Gaussian) else network.parts[1], time)
    residual = exact_residual(DiffusionEnergy(network), x, t)
    # The terms that cancel reach 1/2 beta tr(1/C_t): 25 at t = 1e-5 and 90 at t = 1; rounding leaves 1e-10.
    assert residual.abs().max() < 1e-9


def test_residual_curve_of_an_exact_density_is_zero_at_all_times():
    gaussian = random_gaussian(4)
    curve = residual_curve(DiffusionEnergy(gaussian), samples(gaussian, 16, 9), 1e-5, 1.0, sigma_w=1e-4, points=5)
    assert curve["t"][0] == pytest.approx(1e-5) and curve["t"][-1] == pytest.approx(1.0)
    assert max(curve["residual"]) < 1e-9


def test_residuals_estimate_is_the_exact_mean_square():
    # A Gaussian that is wrong by a factor 1.5 in its energy. Both probes of a point are noisy: by about 5% of the mean
    # here.
    gaussian = random_gaussian(4)

    class Wrong(torch.nn.Module):
        def forward(self, x, t):
            return 1.5 * gaussian(x, t)

    t = torch.full((4000,), 0.2, dtype=torch.float64)
    x0 = samples(gaussian, 4000, 9)
    x = diffuse(x0, t, centred_noise(x0.shape, torch.Generator().manual_seed(0), x0))
    energy = DiffusionEnergy(Wrong())
    exact = exact_residual(energy, x, t).square().mean() / D**2
    estimate = estimated_square(energy, x, t, 1e-4, torch.Generator().manual_seed(1))
    assert estimate == pytest.approx(float(exact), rel=0.2)


@pytest.mark.parametrize("time", TIMES)
def test_weak_residual_of_a_gaussian_is_the_noise_of_its_divergence_estimate_alone(time):
    # The score is linear, so v.(s(x+v) - s(x-v)) / (2 w^2) = -v.C^-1.v / w^2, and everything else cancels:
    # R_v = 1/2 beta (tr C^-1 - v.C^-1.v / w^2), whose mean over v is zero.
    gaussian, width = random_gaussian(1), 1e-5
    x, t, _ = noised(gaussian, time)
    perturbed = perturb(x, t, width, torch.Generator().manual_seed(8))
    energy = DiffusionEnergy(gaussian)
    residual = residuals(energy, energy.log_density(perturbed.points, perturbed.times), perturbed)
    inverse = torch.linalg.pinv(covariance_at(gaussian, time), rtol=1e-10)
    v = perturbed.shifts.flatten(2)
    noise = torch.trace(inverse) - ((v @ inverse) * v).sum(-1) / width**2
    torch.testing.assert_close(residual, 0.5 * beta(t) * noise, rtol=1e-5, atol=1e-5)


def test_weak_loss_of_a_mixture_averages_to_zero():
    energy = DiffusionEnergy(mixture())
    x, t, _ = noised(energy.network.parts[0], 0.05, count=4)
    generator, losses = torch.Generator().manual_seed(10), []
    for _ in range(20):
        perturbed = perturb(x.repeat(500, 1, 1), t.repeat(500), 1e-4, generator)
        density = energy.log_density(perturbed.points, perturbed.times, create_graph=False)
        losses.append(fokker_planck_loss(residuals(energy, density, perturbed), BEADS))
    losses = torch.stack(losses)
    assert abs(losses.mean()) < 4 * losses.std() / len(losses) ** 0.5


@pytest.mark.parametrize("time", TIMES)
def test_denoising_loss_of_a_gaussian_is_its_analytic_value(time):
    # E|sigma s + z|^2 = sum over modes of alpha^2 lambda / (alpha^2 lambda + sigma^2), from s = -x_t / C_t.
    gaussian = random_gaussian(1)
    x, t, z = noised(gaussian, time, count=40_000)
    energy = DiffusionEnergy(gaussian)
    score = energy.log_density(x, t, create_graph=False).score
    a2, s2 = alpha(t[:1]).square(), sigma_squared(t[:1])
    expected = (a2 * gaussian.variances / (a2 * gaussian.variances + s2)).mean()
    parts = torch.stack(
        [denoising_loss(*part) for part in zip(score.split(400), t.split(400), z.split(400), strict=True)]
    )
    assert abs(parts.mean() - expected) < 4 * parts.std() / len(parts) ** 0.5


def test_denoising_loss_of_no_score_is_one():
    # E|z|^2 = D, and the loss is per degree of freedom; 4 standard errors sqrt(2 / (D draws)).
    z = centred_noise((40_000, BEADS, 3), torch.Generator().manual_seed(0), torch.zeros((), dtype=torch.float64))
    loss = denoising_loss(torch.zeros_like(z), torch.full((len(z),), 0.5, dtype=torch.float64), z)
    assert abs(loss - 1.0) < 4 * (2.0 / (D * len(z))) ** 0.5
