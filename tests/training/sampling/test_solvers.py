"""Solvers and likelihoods against densities that diffuse in closed form: exact distributions, orders, log densities."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from fpforce.foundation.errors import InputError
from fpforce.training.diffusion import alpha, centred, centred_noise, degrees_of_freedom, sigma_squared
from fpforce.training.models.experts import Expert, Experts, covering
from fpforce.training.sampling.likelihood import estimated_divergence, exact_divergence, log_likelihood
from fpforce.training.sampling.sampler import Sampler, SampleSettings
from fpforce.training.sampling.solvers import euler_maruyama, multistep, probability_flow, shared_steps, time_grid

BEADS = 4
D = degrees_of_freedom(BEADS)
T_END = 1e-5
LIKE = torch.zeros((), dtype=torch.float64)


class DiffusedMixture:
    """Score of an equal-covariance Gaussian mixture under the process; parts differ along one axis of the subspace.

    variances (D,) along the axes (D, beads, 3); centres (parts,) along axes[0], with weights (parts,).
    """

    def __init__(self, weights=(1.0,), centres=(0.0,)):
        projector = torch.eye(BEADS, dtype=torch.float64) - 1.0 / BEADS
        basis = torch.kron(torch.linalg.eigh(projector)[1].T[1:].contiguous(), torch.eye(3, dtype=torch.float64))
        mixing = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
        self.axes = (mixing @ basis).view(D, BEADS, 3)
        self.variances = torch.linspace(0.001, 0.5, D, dtype=torch.float64)
        self.weights, self.centres = (torch.tensor(values, dtype=torch.float64) for values in (weights, centres))

    def _parts(self, x, t):
        modes = torch.einsum("bij,kij->bk", x, self.axes)
        spread = alpha(t).square()[:, None] * self.variances + sigma_squared(t)[:, None]
        away = modes[:, :1] - alpha(t)[:, None] * self.centres
        return modes, spread, away, torch.log(self.weights) - 0.5 * away.square() / spread[:, :1]

    def score(self, x, t, create_graph=False):
        modes, spread, away, logits = self._parts(x, t)
        first = (torch.softmax(logits, -1) * away).sum(-1, keepdim=True)
        return -torch.einsum("bk,kij->bij", torch.cat([first, modes[:, 1:]], 1) / spread, self.axes)

    def log_density(self, x, time):
        t = torch.tensor([time], dtype=torch.float64)
        modes, spread, _, logits = self._parts(x, t)
        rest = (modes[:, 1:].square() / spread[:, 1:]).sum(-1)
        return torch.logsumexp(logits, -1) - 0.5 * rest - 0.5 * (torch.log(2 * math.pi * spread)).sum(-1)

    def distribution(self, mode, time):
        """Distribution function of the coordinate along axes[mode] at `time`."""
        t = torch.tensor(time, dtype=torch.float64)
        width = math.sqrt(alpha(t).square() * self.variances[mode] + sigma_squared(t))
        centres = (alpha(t) * self.centres).tolist() if mode == 0 else [0.0]
        weights = self.weights.tolist() if mode == 0 else [1.0]
        return lambda x: sum(w * stats.norm.cdf(x, c, width) for w, c in zip(weights, centres, strict=True))


def in_two_experts(model, boundary=0.3):
    return Experts((Expert(model, T_END, boundary), Expert(model, boundary, 1.0)))


def drawn(model, solver, steps, samples=5_000, t_end=T_END, **options):
    settings = SampleSettings(samples=samples, batch_size=samples, solver=solver, steps=steps, **options)
    sampler = Sampler(in_two_experts(model), BEADS, settings, t_end, LIKE)
    *_, last = sampler.draw(0, samples)
    return last


@pytest.mark.parametrize("solver, steps", [("euler-maruyama", 1000), ("multistep", 100), ("ode", 30)])
@pytest.mark.parametrize("weights, centres", [((1.0,), (0.0,)), ((0.9, 0.1), (1.0, -1.0))], ids=["gaussian", "mixture"])
def test_samples_have_the_exact_distribution_along_every_axis(solver, steps, weights, centres):
    model = DiffusedMixture(weights, centres)
    x, _ = drawn(model, solver, steps)
    assert x.mean(dim=1).abs().max() < 1e-12
    modes = torch.einsum("bij,kij->bk", x, model.axes).numpy()
    for mode in range(D):
        # With 12 axes and 6 cases a p-value below 1e-4 has a chance of 1 in 140; the seed is fixed.
        assert stats.kstest(modes[:, mode], model.distribution(mode, T_END)).pvalue > 1e-4, mode


def test_samples_stopped_early_have_the_distribution_of_that_time():
    model = DiffusedMixture((0.5, 0.5), (1.0, -1.0))
    x, _ = drawn(model, "multistep", 100, t_end=0.05)
    modes = torch.einsum("bij,kij->bk", x, model.axes).numpy()
    for mode in (0, D - 1):
        assert stats.kstest(modes[:, mode], model.distribution(mode, 0.05)).pvalue > 1e-4


class OneDimension:
    """Score of diffused Gaussian data of variance 0.05 in every coordinate."""

    VARIANCE = 0.05

    def spread(self, t):
        return alpha(t).square() * self.VARIANCE + sigma_squared(t)

    def score(self, x, t, create_graph=False):
        return -x / self.spread(t)[:, None, None]


def final_variance(solver, steps):
    """Variance of the result, without statistical error: the step is linear, so it is the sum of the squared responses
    to the start, of its exact variance, and to the noise of each step, each put into a row of its own."""
    model, times = OneDimension(), time_grid(1.0, 1e-3, steps)
    x = torch.zeros(steps + 1, 1, 1, dtype=torch.float64)
    x[0] = model.spread(times[:1]).sqrt()
    calls = iter(range(1, steps + 1))

    def pulse(like):
        noise = torch.zeros_like(like)
        noise[next(calls)] = 1.0
        return noise

    *_, last = solver(model.score, times, x, pulse)
    return float(last.square().sum())


@pytest.mark.parametrize("solver, order", [(euler_maruyama, 1), (multistep, 2)])
def test_weak_order_of_a_stochastic_solver(solver, order):
    steps = np.array([80, 160, 320, 640])
    exact = float(OneDimension().spread(torch.tensor(1e-3, dtype=torch.float64)))
    errors = [abs(final_variance(solver, n) - exact) for n in steps]
    fitted = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert fitted == pytest.approx(order, abs=0.15)


def test_order_of_the_probability_flow_in_position_and_log_density():
    model, steps = OneDimension(), np.array([20, 40, 80])
    start, end = (model.spread(torch.tensor(t, dtype=torch.float64)) for t in (1.0, 1e-3))
    errors = []
    for n in steps:
        x = torch.tensor([[[1.0, -0.5, 0.2], [-1.0, 0.5, -0.2]]], dtype=torch.float64)
        exact = x * torch.sqrt(end / start)
        *_, (found, density) = probability_flow(exact_divergence(model), time_grid(1.0, 1e-3, n), x, x.new_zeros(1))
        # The flow of a Gaussian scales its D = 3 coordinates, so that ln q grows by D/2 ln(start / end).
        errors.append([(found - exact).abs().max().item(), abs(density.item() - 1.5 * torch.log(start / end).item())])
    fitted = -np.polyfit(np.log(steps), np.log(np.array(errors)), 1)[0]
    np.testing.assert_allclose(fitted, 4.0, atol=0.25)


@pytest.mark.parametrize("weights, centres", [((1.0,), (0.0,)), ((0.9, 0.1), (1.0, -1.0))], ids=["gaussian", "mixture"])
def test_log_likelihood_of_the_flow_is_the_exact_log_density(weights, centres):
    model = DiffusedMixture(weights, centres)
    x, along = drawn(model, "ode", 100, samples=64, log_likelihood=True)
    exact = model.log_density(x, T_END)
    generator = torch.Generator().manual_seed(1)
    # The process ends at a variance of 1 - 4e-5 (1 - variance of the data), taken as 1: about 1e-4 here.
    torch.testing.assert_close(along, exact, rtol=0, atol=1e-2)
    torch.testing.assert_close(
        log_likelihood(in_two_experts(model), x, T_END, 100, generator), exact, rtol=0, atol=1e-2
    )


def test_estimated_divergence_is_unbiased():
    model, t = DiffusedMixture((0.9, 0.1), (1.0, -1.0)), torch.tensor([0.2], dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    x = centred_noise((1, BEADS, 3), generator, LIKE).repeat(20_000, 1, 1)
    exact = exact_divergence(model)(x[:1], t)[1]
    estimates = estimated_divergence(model, centred_noise(x.shape, generator, x))(x, t)[1]
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / len(x) ** 0.5


class Recording:
    """Remembers at which times it was asked."""

    def __init__(self):
        self.times = []

    def score(self, x, t, create_graph=False):
        self.times.append(t.item())
        return -x


@pytest.mark.parametrize("solver", ["euler-maruyama", "multistep", "ode"])
def test_every_expert_is_asked_inside_its_interval_only(solver):
    models = [Recording() for _ in range(3)]
    ends = (T_END, 0.1, 0.6, 1.0)
    experts = Experts(tuple(Expert(m, a, b) for m, a, b in zip(models, ends, ends[1:], strict=False)))
    sampler = Sampler(experts, BEADS, SampleSettings(samples=2, solver=solver, steps=60), T_END, LIKE)
    assert len(list(sampler.draw(0, 2))) == sampler.steps == 60
    for model, low, high in zip(models, ends, ends[1:], strict=False):
        assert low - 1e-12 <= min(model.times) and max(model.times) <= high + 1e-12
        assert max(model.times) == pytest.approx(high)


def test_part_of_the_time_that_no_expert_covers_is_named():
    experts = Experts((Expert(Recording(), 1e-5, 0.1),))
    with pytest.raises(InputError, match=r"from t = 1e-05 to 1, but .* cover \(1e-05, 0.1\]"):
        experts.descent(1.0, 1e-5)
    with pytest.raises(InputError, match="t = 0.3 is not covered"):
        covering(experts.parts, 0.3)


def test_grid_meets_its_ends_and_shares_add_up():
    times = time_grid(1.0, 1e-5, 50)
    assert times[0] == 1.0 and times[-1] == 1e-5 and len(times) == 51 and (times.diff() < 0).all()
    for boundaries in ([1.0, 1e-5], [1.0, 0.6, 0.1, 1e-5], [1.0, 0.999, 1e-5]):
        shares = shared_steps(boundaries, 40)
        assert sum(shares) == 40 and min(shares) >= 1 and len(shares) == len(boundaries) - 1


@pytest.mark.parametrize("boundaries", [[1.0, 0.6, 0.1, 1e-5], [1.0, 0.99, 0.98, 0.3, 1e-5]])
def test_every_expert_gets_a_step_of_few_and_fewer_are_refused(boundaries):
    experts = len(boundaries) - 1
    for steps in range(experts, 3 * experts):
        shares = shared_steps(boundaries, steps)
        assert sum(shares) == steps and min(shares) >= 1
    with pytest.raises(InputError, match=f"steps is {experts - 1}.*{experts} experts.*give {experts} or more"):
        shared_steps(boundaries, experts - 1)


def test_same_seed_gives_the_same_samples_and_batches_differ():
    model = DiffusedMixture()
    first, again, other = (drawn(model, "multistep", 10, samples=8, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    sampler = Sampler(in_two_experts(model), BEADS, SampleSettings(samples=8, steps=5), T_END, LIKE)
    assert not torch.equal(list(sampler.draw(0, 8))[-1][0], list(sampler.draw(1, 8))[-1][0])


def test_positions_stay_centred():
    x, _ = drawn(DiffusedMixture(), "euler-maruyama", 50, samples=16)
    torch.testing.assert_close(x, centred(x), rtol=0, atol=1e-14)
