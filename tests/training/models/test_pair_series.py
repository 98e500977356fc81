"""Series of pair distances: their modes, how distances are resolved, and what travels with the weights."""

import math

import pytest
import torch

from fpforce.training.models.internal import InternalModel, fit_coordinates
from fpforce.training.models.local_series import ORDERS

T = torch.tensor([1e-5], dtype=torch.float64)
PAIRS, LOCAL = 21 - 5, 2 * 9 * ORDERS  # of seven beads


def frames(beads=7, count=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = torch.arange(beads, dtype=torch.float64)
    helix = torch.stack([torch.cos(1.7 * k), torch.sin(1.7 * k), 0.4 * k], 1)
    x = helix + 0.2 * torch.randn(count, beads, 3, generator=generator, dtype=torch.float64)
    return x - x.mean(1, keepdim=True)


def model(orders=3, seed=0):
    torch.manual_seed(seed)
    network = InternalModel(fit_coordinates(frames(), volumes=False), 8, 2).double()
    network.have_pairs(**network.resolution_of_pairs(frames()), orders=orders)
    return network


def weights(orders=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(LOCAL + 2 * PAIRS * orders, generator=generator, dtype=torch.float64)


def test_every_pair_has_modes_but_those_whose_distance_is_an_angle():
    network = model()
    assert network.modes(frames(), T).shape[1] == len(network.mode_roughness()) == LOCAL + 2 * PAIRS * 3
    assert len(network.series_pairs()) == PAIRS
    assert [3, 5] not in network.series_pairs().tolist() and [3, 6] in network.series_pairs().tolist()


def test_half_of_the_frames_lie_within_half_a_width_of_the_median():
    """Quartiles that lie as far on either side of the median have the angles -2 arctan 1/2 and 2 arctan 1/2."""
    x = frames(count=4000)
    network = model()
    network.have_pairs(**network.resolution_of_pairs(x), orders=1)
    series = network.pair_series
    waves = series.waves(series.distances(series.between(x)))[..., 0]
    cosine, sine = waves.unbind(1)
    half = torch.tensor(0.5, dtype=torch.float64)
    assert torch.allclose((sine > 0).double().mean(0), half, atol=1e-3)
    inside = cosine > math.cos(2.0 * math.atan(0.5)) / math.sqrt(1.01)
    assert torch.allclose(inside.double().mean(0), half, atol=0.03)


def test_the_energy_is_what_the_modes_and_their_weights_say():
    network, x = model(), frames()
    modes, before = network.modes(x, T), network(x, T)
    network.add_modes(weights())
    torch.testing.assert_close(network(x, T) - before, modes @ weights())
    network.add_modes(weights())
    torch.testing.assert_close(network(x, T) - before, 2.0 * modes @ weights())


def test_gradients_of_modes_are_those_that_differentiation_finds():
    network, x = model(), frames(count=3)
    found = network.mode_gradients(x, T)
    x = x.requires_grad_()
    modes = network.modes(x, T)
    for k in range(0, modes.shape[1], 7):
        expected = torch.autograd.grad(modes[:, k].sum(), x, retain_graph=True)[0]
        torch.testing.assert_close(found[k], expected, atol=1e-10, rtol=1e-10)


def test_mirror_images_have_the_same_modes():
    network, x = model(), frames()
    flipped = x * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(network.modes(x, T)[:, LOCAL:], network.modes(flipped, T)[:, LOCAL:])


def test_series_travel_with_the_weights_and_through_torchscript():
    network, x = model(), frames()
    network.add_modes(weights())
    other = InternalModel(fit_coordinates(frames(seed=1), volumes=False), 8, 2).double()
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(x, T), network(x, T))
    torch.testing.assert_close(torch.jit.script(network)(x, T), network(x, T))
    plain = InternalModel(fit_coordinates(frames(seed=1), volumes=False), 8, 2).double()
    other.load_state_dict(plain.state_dict())
    assert other.pair_series is None


@pytest.mark.parametrize("distance", [1e-9, 1e3])
def test_beads_on_top_of_each_other_or_far_apart_have_finite_energies_and_forces(distance):
    network = model()
    network.add_modes(weights())
    x = distance * torch.eye(7, 3, dtype=torch.float64)[None].requires_grad_()
    energy = network.pair_series(x).sum()
    forces = torch.autograd.grad(energy, x)[0]
    assert math.isfinite(energy.item()) and torch.isfinite(forces).all()
    assert forces.abs().max() < 1e3


def test_a_distance_that_hardly_varies_has_a_width():
    network = model()
    stiff = frames()[:1].repeat(5, 1, 1)
    assert (network.resolution_of_pairs(stiff)["widths"] >= 1e-4).all()
