"""The forward process: its coefficients, its times, and the centred subspace."""

import numpy as np
import pytest
import torch

from fpforce.training.diffusion import (
    alpha,
    beta,
    centred_noise,
    degrees_of_freedom,
    diffuse,
    log_alpha,
    sigma,
    sigma_squared,
    time_of_variance,
)
from fpforce.training.losses.time_sampling import ResidualTimes, TimeSampler

TIMES = torch.logspace(-9, 0, 40, dtype=torch.float64)


def test_log_alpha_is_minus_half_the_integral_of_beta():
    # Gauss-Legendre with 5 points integrates the linear beta exactly.
    nodes, weights = np.polynomial.legendre.leggauss(5)
    for t in TIMES.tolist():
        points = torch.tensor(0.5 * t * (nodes + 1.0))
        integral = float((torch.tensor(0.5 * t * weights) * beta(points)).sum())
        assert log_alpha(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(-0.5 * integral, rel=1e-13)


def test_signal_and_noise_keep_unit_variance_at_every_time():
    # alpha^2 + sigma^2 = 1 is what "variance preserving" means.
    torch.testing.assert_close(
        alpha(TIMES).square() + sigma(TIMES).square(), torch.ones_like(TIMES), rtol=0, atol=1e-15
    )


def test_noise_variance_keeps_its_digits_at_small_times_in_single_precision():
    # sigma^2 = 0.1 t + O(t^2); 1 - alpha^2 computed naively in float32 would be 0 below t = 6e-7.
    t = torch.tensor([1e-9, 1e-8, 1e-7])
    torch.testing.assert_close(sigma_squared(t), 0.1 * t, rtol=1e-5, atol=0)


def test_time_of_variance_inverts_the_noise_variance():
    torch.testing.assert_close(time_of_variance(sigma_squared(TIMES)), TIMES, rtol=1e-9, atol=1e-15)


def test_times_are_half_uniform_and_half_uniform_in_log_noise():
    t_min, t_max, v_min, count = 1e-5, 0.7, 1e-3, 4096
    sampler = TimeSampler(t_min, t_max, v_min)
    draw = sampler(count, torch.Generator().manual_seed(1), torch.zeros((), dtype=torch.float64)).sort().values
    assert t_min <= draw[0] and draw[-1] <= t_max
    level = torch.log(sigma_squared(draw) + v_min)
    ends = torch.log(sigma_squared(torch.tensor([t_min, t_max], dtype=torch.float64)) + v_min)
    expected = 0.5 * (draw - t_min) / (t_max - t_min) + 0.5 * (level - ends[0]) / (ends[1] - ends[0])
    empirical = torch.arange(1, count + 1, dtype=torch.float64) / count
    # Kolmogorov-Smirnov distance: each half is stratified in count / 2 strata, so at most 1 / (count / 2), where
    # independent draws would give about 0.87 / sqrt(count) = 0.014.
    assert (empirical - expected).abs().max() <= 2.0 / count + 1e-6


def test_times_are_in_random_order_and_differ_from_draw_to_draw():
    # The denoising loss uses every time, the Fokker-Planck loss the first part of a batch: it must not be one half
    # only.
    sampler, generator = TimeSampler(1e-5, 1.0, 1e-3), torch.Generator().manual_seed(0)
    first, second = (sampler(2000, generator, torch.zeros(())) for _ in range(2))
    assert not torch.equal(first, second)
    # Means over the first quarter and over all agree within 5 standard errors of 500 draws.
    assert abs(first[:500].mean() - first.mean()) < 5 * first.std() / 500**0.5


@pytest.mark.parametrize("v_min", [1e-3, 0.05])
@pytest.mark.parametrize("t_min, t_max", [(1e-5, 1.0), (1e-5, 0.1), (0.1, 0.6)])
def test_weighted_residual_times_have_the_means_of_the_sampler(t_min, t_max, v_min):
    sampler, like = TimeSampler(t_min, t_max, v_min), torch.zeros((), dtype=torch.float64)
    plain = sampler(40_000, torch.Generator().manual_seed(2), like)
    times, weights = ResidualTimes(sampler)(40_000, torch.Generator().manual_seed(3), like)
    assert t_min <= times.min() and times.max() <= t_max
    assert weights.max() < {1e-3: 3.5, 0.05: 5.0}[v_min]
    for values in (torch.ones_like, torch.sqrt, lambda t: torch.log(sigma_squared(t) + 1e-3)):
        # Both are stratified, and these functions are smooth: the error is far below that of independent draws.
        assert (weights * values(times)).mean().item() == pytest.approx(values(plain).mean().item(), rel=1e-3)


@pytest.mark.parametrize("v_min", [1e-3, 0.05])
def test_residual_times_lessen_the_noise_of_what_grows_at_small_times(v_min):
    # The square of a residual in proportion to 1 / (sigma^2 + 0.001), on batches of 64 points.
    sampler, generator = TimeSampler(1e-5, 1.0, v_min), torch.Generator().manual_seed(4)
    like = torch.zeros((), dtype=torch.float64)
    noise = torch.randn(2000, 64, generator=generator, dtype=torch.float64).square()
    square = lambda t: noise * (sigma_squared(t) + 1e-3) ** -2  # noqa: E731
    plain = torch.stack([sampler(64, generator, like) for _ in range(2000)])
    times, weights = map(
        torch.stack, zip(*(ResidualTimes(sampler)(64, generator, like) for _ in range(2000)), strict=True)
    )
    plain, weighted = square(plain).mean(1), (weights * square(times)).mean(1)
    assert weighted.mean().item() == pytest.approx(plain.mean().item(), rel=0.05)
    assert weighted.var() < 0.5 * plain.var()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_residual_times_are_within_the_range(count):
    times, weights = ResidualTimes(TimeSampler(1e-5, 1.0, 1e-3))(
        count, torch.Generator().manual_seed(5), torch.zeros(())
    )
    assert times.shape == weights.shape == (count,) and (weights > 0).all()
    assert 1e-5 <= times.min() and times.max() <= 1.0


@pytest.mark.parametrize("t_min, t_max", [(0.0, 1.0), (0.5, 0.5), (1e-5, 1.1)])
def test_time_range_outside_the_process_is_refused(t_min, t_max):
    with pytest.raises(ValueError, match="t_min"):
        TimeSampler(t_min, t_max, 1e-3)


@pytest.mark.parametrize("beads", [2, 5])
def test_centred_noise_fills_a_subspace_of_dimension_3_n_minus_1(beads):
    draws = 100_000
    z = centred_noise((draws, beads, 3), torch.Generator().manual_seed(2), torch.zeros((), dtype=torch.float64))
    flat = z.flatten(1)
    covariance = flat.T @ flat / draws
    variances = torch.linalg.eigvalsh(covariance)
    assert int((variances > 1e-12).sum()) == degrees_of_freedom(beads) == 3 * (beads - 1)
    # A projected standard normal has the projector as its covariance; 6 standard errors of a sample covariance.
    projector = torch.kron(torch.eye(beads) - 1.0 / beads, torch.eye(3)).double()
    assert (covariance - projector).abs().max() < 6 * (2.0 / draws) ** 0.5


@pytest.mark.parametrize("time", [1e-3, 0.1, 0.8])
def test_noised_gaussian_data_have_the_exact_covariance(time):
    draws, generator = 100_000, torch.Generator().manual_seed(3)
    like = torch.zeros((), dtype=torch.float64)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    x0 = torch.einsum("ij,bjk->bik", mixing, centred_noise((draws, 4, 3), generator, like))
    x0 = x0 - x0.mean(1, keepdim=True)
    t = torch.full((draws,), time, dtype=torch.float64)
    flat = diffuse(x0, t, centred_noise(x0.shape, generator, like)).flatten(1)
    projector = torch.eye(4, dtype=torch.float64) - 0.25
    shape = projector @ mixing @ projector @ mixing.T @ projector
    a2, s2 = alpha(t[:1]).square(), sigma_squared(t[:1])
    exact = torch.kron((a2 * shape + s2 * projector), torch.eye(3, dtype=torch.float64))
    # Standard error of a covariance entry is at most sqrt(2 C_ii C_jj / draws).
    allowed = 6 * (2.0 / draws) ** 0.5 * exact.diagonal().max()
    assert (flat.T @ flat / draws - exact).abs().max() < allowed
