"""Series of dihedrals and 1-3 distances: their modes, where they belong, and what travels with the weights."""

import math

import pytest
import torch

from fpforce.training.models.internal import InternalModel, fit_coordinates
from fpforce.training.models.local_series import ORDERS, LocalSeries, modes_of

T = torch.tensor([1e-5], dtype=torch.float64)


def frames(beads=7, count=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = torch.arange(beads, dtype=torch.float64)
    helix = torch.stack([torch.cos(1.7 * k), torch.sin(1.7 * k), 0.4 * k], 1)
    x = helix + 0.2 * torch.randn(count, beads, 3, generator=generator, dtype=torch.float64)
    return x - x.mean(1, keepdim=True)


def model(beads=7, **options):
    torch.manual_seed(0)
    return InternalModel(fit_coordinates(frames(beads), volumes=False, **options), 8, 2).double()


def test_modes_are_the_waves_of_an_angle():
    phi = torch.linspace(-3.0, 3.0, 50, dtype=torch.float64)[:, None]
    found = modes_of(torch.cos(phi), torch.sin(phi), ORDERS, 0.0)
    for n in range(1, ORDERS + 1):
        torch.testing.assert_close(found[:, 0, 0, n - 1], torch.cos(n * phi[:, 0]))
        torch.testing.assert_close(found[:, 1, 0, n - 1], torch.sin(n * phi[:, 0]))


@pytest.mark.parametrize("beads", [3, 4, 5, 9])
def test_turns_are_those_of_dihedrals_and_then_of_1_3_distances(beads):
    x = frames(beads)
    coordinates = fit_coordinates(x, volumes=False)
    cosine, sine = coordinates.local_turns(x, T)
    assert cosine.shape == sine.shape == (len(x), 2 * beads - 5)
    deviations = coordinates(x, T)[:, coordinates.bends]
    between = torch.stack([coordinates.first, coordinates.second], 1)[coordinates.bends]
    assert between.tolist() == [[k, k + 2] for k in range(beads - 2)]
    angle = torch.atan2(sine, cosine)[:, max(beads - 3, 0) :]
    torch.testing.assert_close(angle, 2.0 * torch.atan(deviations / 2.5))


def test_a_series_is_what_the_modes_and_their_weights_say():
    plain, x = model(), frames()
    weights = torch.randn(2 * 9 * ORDERS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    modes = plain.modes(x, T)
    before = plain(x, T)
    plain.add_modes(weights)
    torch.testing.assert_close(plain(x, T) - before, modes @ weights)


def test_beads_in_a_line_have_finite_energies_and_forces():
    chain = model()
    chain.add_modes(torch.ones(2 * 9 * ORDERS, dtype=torch.float64))
    x = torch.zeros(1, 7, 3, dtype=torch.float64)
    x[0, :, 0] = torch.arange(7)
    x = (x - x.mean(1, keepdim=True)).requires_grad_()
    energy = chain(x, T)
    assert torch.isfinite(energy).all()
    assert torch.isfinite(torch.autograd.grad(energy.sum(), x)[0]).all()


def test_a_chain_torn_apart_has_no_energy_without_end():
    series = LocalSeries(torch.ones(2, 1, ORDERS, dtype=torch.float64))
    far = torch.tensor([[-1.0], [math.cos(3.1)]], dtype=torch.float64)
    assert series(far, torch.sqrt(1.0 - far.square())).abs().max() < 2 * ORDERS + 1


def test_molecules_without_a_hand_have_modes_that_are_alike_in_a_mirror():
    x = frames()
    mirrored = x * x.new_tensor([1.0, 1.0, -1.0])
    without, with_hand = model(chiral=False), model()
    torch.testing.assert_close(without.modes(x, T), without.modes(mirrored, T))
    assert (with_hand.modes(x, T) - with_hand.modes(mirrored, T)).abs().max() > 0.1


def test_a_series_travels_with_the_weights_and_earlier_weights_have_none():
    plain, calibrated, x = model(), model(), frames()
    calibrated.add_modes(torch.randn(2 * 9 * ORDERS, dtype=torch.float64))
    loaded = model()
    loaded.load_state_dict(calibrated.state_dict())
    torch.testing.assert_close(loaded(x, T), calibrated(x, T))
    loaded.load_state_dict(plain.state_dict())
    assert loaded.series is None
    torch.testing.assert_close(loaded(x, T), plain(x, T))


def test_two_beads_have_no_modes():
    x = frames(2)
    pair = InternalModel(fit_coordinates(x, volumes=False), 8, 2).double()
    assert pair.modes(x, T) is None


@pytest.mark.parametrize("beads", [3, 4, 8])
def test_a_mode_is_a_function_of_the_beads_that_it_says(beads):
    chain, x = model(beads), frames(beads, count=3).requires_grad_()
    modes = chain.modes(x, T)
    between = chain.turn_beads().repeat_interleave(ORDERS, 0).repeat(2, 1)
    assert modes.shape[1] == len(between) == len(chain.mode_roughness())
    for k, (first, end) in enumerate(between.tolist()):
        slope = torch.autograd.grad(modes[:, k].sum(), x, retain_graph=True)[0]
        assert slope[:, first:end].abs().sum() > 0.0
        assert slope[:, :first].abs().sum() == slope[:, end:].abs().sum() == 0.0
