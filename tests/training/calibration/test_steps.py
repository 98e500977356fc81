"""A step of the last layer's weights: towards the data's averages, as far as the simulation bears, with forces held."""

import math

import pytest
import torch

from fpforce.training.calibration import newton
from fpforce.training.calibration.last_layer import (
    MODES_HELD,
    MODES_SMOOTH,
    STIFFNESS,
    last_layer_slopes,
)
from fpforce.training.calibration.newton import chosen_stiffness, nearer, newton_step, resampled
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.models.local_series import ORDERS, modes_of


def freely(data_mean, h, gain=1.0):
    """A step from no shift, with forces that may change."""
    features = h.shape[1]
    nothing = torch.zeros(features + 1, features, dtype=torch.float64)
    return newton_step(data_mean, h, nothing[1:], nothing[0], gain)


def test_step_gives_two_states_the_weights_of_the_data():
    # h = 1 in a state of weight p, else 0. With a shift w of E = w h the weight is p e^-w / (1 - p + p e^-w): q for
    # w = ln(p (1 - q) / (q (1 - p))).
    p, q = 0.30, 0.20
    h = torch.zeros(1000, 1, dtype=torch.float64)
    h[:300] = 1.0
    step = freely(torch.tensor([q], dtype=torch.float64), h)
    assert step.change.item() == pytest.approx(math.log(p * (1 - q) / (q * (1 - p))), rel=1e-3)


def test_step_moves_a_gaussian_onto_the_means_of_the_data():
    # exp(-w.h) moves a Gaussian's mean by -C w, so w = C^-1 (<h>_simulation - <h>_data).
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    h = torch.randn(200_000, 5, generator=generator, dtype=torch.float64) @ mixing.T + 3.0
    covariance = mixing @ mixing.T
    shift = 0.2 * torch.randn(5, generator=generator, dtype=torch.float64)
    shift = shift / torch.sqrt(shift @ covariance @ shift) * 0.4
    step = freely(3.0 - covariance @ shift, h)
    # 0.4 kT of standard deviation, known to 1 / sqrt(200,000) in each of five whitened directions.
    error = step.change - shift
    assert torch.sqrt(error @ covariance @ error) < 0.02
    # The relative entropy of two Gaussians that are C w apart is w.C w / 2.
    assert step.relative_entropy == pytest.approx(0.5 * 0.4**2, rel=0.05)


def test_step_is_cut_where_the_reweighted_frames_would_be_too_few():
    # The data lie three standard deviations away: all the way there, some e^-9 of the frames would count.
    h = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = freely(torch.tensor([3.0], dtype=torch.float64), h)
    assert step.change.item() < 0.0 and 0.49 < step.effective < 0.75


def test_step_goes_some_way_where_the_simulation_hardly_has_the_basin_of_the_data():
    # 20 of 10,000 frames are where the data have 40 %: one kT of standard deviation is some 22 kT between the two.
    h = (torch.arange(10_000) < 20).double()[:, None]
    step = freely(torch.tensor([0.4], dtype=torch.float64), h)
    assert step.change.item() < -1.0 and step.effective >= 0.49


def test_gain_scales_the_step():
    h = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, half = (freely(torch.tensor([0.3, -0.2], dtype=torch.float64), h, gain).change for gain in (1.0, 0.5))
    torch.testing.assert_close(half, 0.5 * whole)


def test_step_moves_basins_freely_and_forces_hardly():
    """h: in which of two states, and a coordinate that both share, along which a shift is a force."""
    generator = torch.Generator().manual_seed(0)
    state = (torch.arange(10_000) % 10 == 0).double()
    h = torch.stack([state, torch.randn(10_000, generator=generator, dtype=torch.float64)], 1)
    slopes = torch.diag(torch.tensor([0.0, 9.0], dtype=torch.float64)) / STIFFNESS
    data_mean = torch.tensor([0.05, 0.3], dtype=torch.float64)
    none = torch.zeros(2, dtype=torch.float64)
    step = newton_step(data_mean, h, slopes, none, gain=1.0)
    # The state as without a penalty, and of the coordinate 1/(1 + 9).
    assert step.change[0].item() == pytest.approx(math.log(0.1 * 0.95 / (0.05 * 0.9)), rel=0.02)
    assert step.change[1].item() == pytest.approx(-0.03, abs=0.005)
    # The penalty holds the whole shift back, so that a second step goes no further.
    settled = newton_step(data_mean, torch.stack([h[:, 0], h[:, 1] + 0.03], 1), slopes, step.change, gain=1.0)
    assert abs(settled.change[1].item()) < 0.01


def test_slopes_are_what_the_gradient_of_a_shift_is(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    energy, x = checkpoint.model().double(), checkpoint.record.check_frames[:100].double()
    slopes, layer = last_layer_slopes(energy, x, 1e-5), energy.network.readout()
    shift = torch.randn(layer.in_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((1,), 1e-5, dtype=torch.float64)
    before = energy.score(x, t)
    layer.weight.data += shift
    change = (energy.score(x, t) - before).square().sum((1, 2)).mean()
    assert (shift @ slopes @ shift).item() == pytest.approx(change.item(), rel=1e-6)


def test_slopes_can_be_stopped(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    asked = iter((False, True))
    with pytest.raises(KeyboardInterrupt):
        last_layer_slopes(checkpoint.model(), checkpoint.record.check_frames, 1e-5, False, lambda: next(asked))


def test_modes_are_held_back_by_a_part_of_the_forces_that_they_change_and_by_their_roughness(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    energy, x = checkpoint.model().double(), checkpoint.record.check_frames[:50].double()
    slopes, features = last_layer_slopes(energy, x, 1e-5, modes=True), energy.network.readout().in_features
    assert len(slopes) == features + 2 * (2 + 3) * ORDERS  # two dihedrals and three 1-3 distances
    torch.testing.assert_close(slopes[:features, :features], last_layer_slopes(energy, x, 1e-5))
    weights = torch.randn(len(slopes) - features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.full((1,), 1e-5, dtype=torch.float64)
    before = energy.score(x, t)
    energy.network.add_modes(weights)
    change = (energy.score(x, t) - before).square().sum((1, 2)).mean()
    # A series w_n cos n phi has the squared slope n^2 w_n^2 / 2 in the mean, whichever the frames are.
    rough = (weights.reshape(-1, ORDERS) * torch.arange(1, ORDERS + 1)).square().sum()
    held = weights @ slopes[features:, features:] @ weights
    expected = MODES_HELD * change.item() + MODES_SMOOTH * rough.item()
    assert held.item() == pytest.approx(expected, rel=1e-6)


def test_a_step_along_the_modes_of_a_dihedral_finds_its_potential():
    # Simulated without a potential, data of p ~ exp(-u): the step is the Fourier series of u.
    phi = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.0 * math.pi
    h = modes_of(torch.cos(phi)[:, None], torch.sin(phi)[:, None], ORDERS, 0.0).flatten(1)
    wanted = torch.zeros(2, ORDERS, dtype=torch.float64)
    wanted[0, 0], wanted[0, 2], wanted[1, 1] = -0.3, 0.4, 0.2
    weights = torch.softmax(-h @ wanted.flatten(), 0)
    step = freely(weights @ h, h)
    torch.testing.assert_close(step.change, wanted.flatten(), atol=2e-3, rtol=0)


def test_conjugate_gradients_find_what_elimination_finds():
    """Of frames that count very differently, from the factor of the covariance in which all count alike."""
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(500, 30, generator=generator, dtype=torch.float64) @ torch.randn(
        30, 30, generator=generator, dtype=torch.float64
    )
    weights = torch.softmax(2.0 * torch.randn(500, generator=generator, dtype=torch.float64), 0)
    mean, held = weights @ h, 0.01 * torch.eye(30, dtype=torch.float64)
    wanted = torch.randn(30, generator=generator, dtype=torch.float64)
    covariance = h.T @ (weights[:, None] * h) - torch.outer(mean, mean)
    found = newton._solved(h, weights, mean, held, newton._factor(h.T @ h / len(h) + held), wanted)
    torch.testing.assert_close(found, torch.linalg.solve(covariance + held, wanted), rtol=1e-6, atol=1e-8)


def test_features_that_never_change_get_no_step():
    nothing, none = torch.ones(50, 3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    step = newton_step(nothing[0], nothing, none, none[0], gain=1.0)
    assert torch.isfinite(step.change).all() and step.change.abs().max() < 1e-6


@pytest.mark.parametrize(("frames", "least", "most"), [(80, 10.0, 1000.0), (80_000, 1.0, 1.0)])
def test_the_fewer_frames_the_stiffer(frames, least, most):
    """Forty features, one of which changes no force. Of few frames its average alone is worth following."""
    generator = torch.Generator().manual_seed(2)
    shifted = torch.full((40,), 0.05, dtype=torch.float64)
    shifted[0] = 1.0
    data = torch.randn(frames, 40, generator=generator, dtype=torch.float64) + shifted
    simulated = torch.randn(50, 800, 40, generator=generator, dtype=torch.float64)
    slopes = torch.diag(torch.tensor([0.0] + 39 * [0.1 / STIFFNESS], dtype=torch.float64))
    none = torch.zeros(40, dtype=torch.float64)
    factor = chosen_stiffness(data, simulated, slopes, none)
    assert least <= factor <= most
    step = newton_step(data.mean(0), simulated.flatten(0, 1), slopes, none, gain=0.1, stiffness=factor)
    # Nats that are left between the truth and the simulation under the step, which is a tenth of the way for both
    left = 0.5 * (shifted + 10.0 * step.change).square().sum()
    unchecked = newton_step(data.mean(0), simulated.flatten(0, 1), slopes, none, gain=0.1)
    assert left <= 0.5 * (shifted + 10.0 * unchecked.change).square().sum() + 1e-9


def test_an_average_of_correlated_frames_is_not_taken_for_better_known_than_it_is():
    """Blocks of 500 frames that are all alike: eight independent values, whatever their number."""
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(8, 1, generator=generator, dtype=torch.float64).repeat_interleave(500, 0)
    ahead = torch.ones(1, dtype=torch.float64)
    _, error = nearer(-ahead, 0.0, h)
    assert error == pytest.approx(float(h[::500].std()) / math.sqrt(8), rel=0.01)


def test_frames_are_drawn_as_often_as_they_have_weight():
    """Two times of four replicas; equal weights give each replica one frame."""
    weights = torch.tensor([[1.0, 6.0, 1e-20, 2.0], [2.0, 1.0, 1e-20, 4.0]], dtype=torch.float64)
    counts = torch.zeros_like(weights)
    for seed in range(4000):
        times, replicas = resampled(-weights.log(), seed)
        assert torch.bincount(replicas, minlength=4).tolist() in ([1, 2, 0, 1], [0, 2, 0, 2], [1, 1, 0, 2])
        counts.index_put_((times, replicas), torch.ones(4, dtype=torch.float64), accumulate=True)
    assert torch.allclose(counts / counts.sum(), weights / weights.sum(), atol=0.01)
    assert resampled(torch.zeros(3, 5), 1)[1].tolist() == [0, 1, 2, 3, 4]


def shifts_of_rounds(relaxation, drawn_by_weight, rounds=8, times=20, particles=4000):
    """Shifts w after each round for h = x, E = (x + 1)^2 / 2 + w x and data of mean 0, of which w = -1 is right.

    Simulated are Ornstein-Uhlenbeck processes with a relaxation time in rounds, from frames of the data on.
    """
    generator = torch.Generator().manual_seed(0)

    def normal():
        return torch.randn(particles, generator=generator, dtype=torch.float64)

    x, shifts, kept = normal(), [0.0], math.exp(-1.0 / times / relaxation)
    for number in range(rounds):
        frames, rests_at = [], -1.0 - shifts[-1]
        for _ in range(times):
            x = rests_at + kept * (x - rests_at) + math.sqrt(1.0 - kept**2) * normal()
            frames.append(x)
        h = torch.stack(frames)
        step = freely(torch.zeros(1, dtype=torch.float64), h.flatten()[:, None])
        if drawn_by_weight:
            x = h[resampled(h * step.change, number)]
        shifts.append(shifts[-1] + step.change.item())
    return shifts


def test_steps_do_not_go_too_far_where_a_mode_follows_slowly():
    # A mean over 4,000 processes that forget in a round is known to 0.02.
    assert min(shifts_of_rounds(1.0, drawn_by_weight=False)) < -1.2, (
        "replicas that go on from where they are lag behind"
    )
    for relaxation in (0.1, 1.0):
        shifts = shifts_of_rounds(relaxation, drawn_by_weight=True)
        assert min(shifts) > -1.08 and abs(shifts[-1] + 1.0) < 0.08


def test_the_weight_of_a_basin_that_none_leaves_stays_where_it_is():
    shifts = shifts_of_rounds(1000.0, drawn_by_weight=True)
    assert max(map(abs, shifts)) < 0.1
    assert max(map(abs, shifts_of_rounds(1000.0, drawn_by_weight=False, rounds=20))) > 2 * max(map(abs, shifts))
