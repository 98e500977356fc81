"""The weak Fokker-Planck loss of an energy that breaks the equation, against the squared residual in closed form."""

import pytest
import torch

from fpforce.training.diffusion import beta, centred, centred_noise, degrees_of_freedom
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.losses.residual import exact_residual
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.plan import plan_experts

BEADS, WRONG_VARIANCE = 3, 0.4
D = degrees_of_freedom(BEADS)


class FrozenGaussian(torch.nn.Module):
    """E = |x|^2 / (2c) at every t, where only c = 1 stays a solution of the process.

    With s = -x / c: x.s = -|x|^2 / c, div s = -D / c, |s|^2 = |x|^2 / c^2, d/dt log q = 0, hence
    R = 1/2 beta (1 - 1/c) (D - |x|^2 / c).
    """

    def forward(self, x, t):
        return centred(x).square().sum(dim=(1, 2)) / (2.0 * WRONG_VARIANCE) + 0.0 * t


class Nothing(torch.nn.Module):
    """The network's part where the prior is everything."""

    def forward(self, x, t):
        return 0.0 * x.sum(dim=(1, 2)) + 0.0 * t


def point(dtype=torch.float64):
    x = torch.tensor([[[0.5, 0.1, -0.2], [-0.7, 0.3, 0.1], [0.2, -0.4, 0.1]]], dtype=dtype)
    t = torch.tensor([0.3], dtype=dtype)
    c = WRONG_VARIANCE
    return x, t, float(0.5 * beta(t) * (1 - 1 / c) * (D - x.square().sum() / c))


def test_exact_residual_of_a_wrong_energy_is_its_closed_form():
    x, t, expected = point()
    assert exact_residual(DiffusionEnergy(FrozenGaussian()), x, t).item() == pytest.approx(expected, rel=1e-12)


def test_residual_counts_the_time_derivative():
    class Drifting(FrozenGaussian):
        def forward(self, x, t):
            return super().forward(x, t) + t.square()  # d/dt log q = -2t, so R grows by 2t

    x, t, expected = point()
    assert exact_residual(DiffusionEnergy(Drifting()), x, t).item() == pytest.approx(expected + 0.6, rel=1e-12)
    perturbed = perturb(x, t, 1e-4, torch.Generator().manual_seed(0))
    shifted, plain = (
        residuals(energy, energy.log_density(perturbed.points, perturbed.times), perturbed)
        for energy in (DiffusionEnergy(Drifting()), DiffusionEnergy(FrozenGaussian()))
    )
    torch.testing.assert_close(shifted - plain, torch.full_like(plain, 0.6), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_product_of_two_residuals_is_unbiased_where_one_squared_is_not(dtype):
    x, t, exact = point(dtype)
    draws = 200_000
    energy = DiffusionEnergy(FrozenGaussian())
    perturbed = perturb(x.repeat(draws, 1, 1), t.repeat(draws), 1e-4, torch.Generator().manual_seed(3))
    density = energy.log_density(perturbed.points, perturbed.times, create_graph=False)
    first, second = residuals(energy, density, perturbed).double()
    product, square = first * second, first.square()
    assert abs(product.mean() - exact**2) < 4 * product.std() / draws**0.5
    # v.v / w^2 is chi-squared with D degrees of freedom (variance 2D), so one residual squared is too large by this.
    bias = (0.5 * float(beta(t)) / WRONG_VARIANCE) ** 2 * 2 * D
    assert abs(square.mean() - exact**2 - bias) < 4 * square.std() / draws**0.5
    assert square.mean() - exact**2 > 20 * square.std() / draws**0.5
    loss = fokker_planck_loss(torch.stack([first, second]), BEADS)
    assert loss.item() == pytest.approx(product.mean().item() / D**2, rel=1e-12)


def test_perturbations_are_independent_centred_and_of_the_asked_width():
    x = torch.zeros(50_000, BEADS, 3, dtype=torch.float64)
    perturbed = perturb(x, torch.zeros(len(x), dtype=torch.float64), 1e-4, torch.Generator().manual_seed(4))
    v1, v2 = perturbed.shifts
    assert perturbed.shifts.mean(dim=2).abs().max() < 1e-18
    # |v|^2 / w^2 has mean D and variance 2D; v1.v2 / w^2 has mean 0 and variance D.
    error = (1.0 / len(x)) ** 0.5
    assert abs((v1 * v1).sum((1, 2)).mean() / 1e-8 - D) < 4 * error * (2 * D) ** 0.5
    assert abs((v1 * v2).sum((1, 2)).mean() / 1e-8) < 4 * error * D**0.5
    torch.testing.assert_close(perturbed.points.view(3, *x.shape), torch.stack([x, v1, v2]))


def test_gradient_of_the_loss_reaches_the_parameters_through_score_divergence_and_time():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inverse_variance = torch.nn.Parameter(torch.tensor(2.5, dtype=torch.float64))

        def forward(self, x, t):
            return 0.5 * self.inverse_variance * centred(x).square().sum(dim=(1, 2)) + 0.0 * t

    # R = 1/2 beta (1 - k) (D - k |x|^2) with k = 1/c, so dR/dk = 1/2 beta (-(D - k |x|^2) - (1 - k) |x|^2).
    x, t, exact = point()
    energy, draws = DiffusionEnergy(Scaled()), 200_000
    perturbed = perturb(x.repeat(draws, 1, 1), t.repeat(draws), 1e-4, torch.Generator().manual_seed(5))
    residual = residuals(energy, energy.log_density(perturbed.points, perturbed.times), perturbed)
    (slope,) = torch.autograd.grad((residual[0] * residual[1]).mean(), energy.network.inverse_variance)
    square, k = float(x.square().sum()), 2.5
    expected = 2 * exact * 0.5 * float(beta(t)) * (-(D - k * square) - (1 - k) * square)
    assert slope.item() == pytest.approx(expected, rel=0.03)


@pytest.mark.filterwarnings("ignore:var")  # of no pairs
def test_residual_of_the_prior_alone_carries_no_noise(alanine_set):
    # Its divergence is known in closed form: without pairs it solves the equation, and both estimates say so.
    x0 = alanine_set.frames[:64].double()
    energy = DiffusionEnergy(Nothing(), fit_prior(x0, []))
    t = torch.linspace(1e-4, 1.0, 64, dtype=torch.float64)
    x = centred_noise(x0.shape, torch.Generator().manual_seed(6), x0)
    perturbed = perturb(x, t, 1e-5, torch.Generator().manual_seed(7))
    residual = residuals(energy, energy.log_density(perturbed.points, perturbed.times), perturbed)
    scale = exact_residual(DiffusionEnergy(FrozenGaussian()), x, t).abs().mean()
    assert residual.abs().max() < 1e-5 * scale


def test_term_in_every_third_step_has_the_mean_of_one_in_every_step(small_recipe, alanine_set, tmp_path):
    each, third = (
        ExpertTraining(recipe, plan_experts(recipe), alanine_set)
        for recipe in (small_recipe(tmp_path, f"loss.fokker_planck_every={every}") for every in (1, 3))
    )
    third.experts.load_state_dict(each.experts.state_dict())
    each.begin(0)
    third.begin(0)
    for step in range(6):
        ours, theirs = third.draw(step), each.draw(step)
        torch.testing.assert_close(ours.noised.x, theirs.noised.x, rtol=0, atol=0)
        if step % 3:
            assert ours.perturbed is None and third(ours).fokker_planck == 0
        else:
            assert third(ours).fokker_planck.item() == pytest.approx(3 * each(theirs).fokker_planck.item(), rel=1e-6)
