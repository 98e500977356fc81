"""Internal coordinates: which signed volumes are taken, and that a mirror image turns their sign and a rotation
nothing.
"""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from fpforce.molecule.mapping import list_beads
from fpforce.training.diffusion import sigma_squared
from fpforce.training.models import RESOLVED, build_model
from fpforce.training.models.internal import SMOOTH_AREA, SMOOTH_LENGTH, InternalModel, fit_coordinates
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import BOND, plan_experts


def helix(beads, frames=200):
    """(frames, beads, 3) centred frames of a right-handed coil with noise."""
    angle = 1.8 * torch.arange(beads, dtype=torch.float64)
    coil = torch.stack([torch.cos(angle), torch.sin(angle), 0.3 * angle], -1)
    noise = 0.1 * torch.randn(frames, beads, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = coil + noise
    return x - x.mean(1, keepdim=True)


@pytest.mark.parametrize("beads, count", [(2, 0), (3, 0), (4, 4), (5, 10), (8, 28)])
def test_there_are_as_many_volumes_as_pairs_at_most(beads, count):
    assert len(fit_coordinates(helix(beads), volumes=True).volumes) == count
    assert len(fit_coordinates(helix(beads), volumes=False).volumes) == 0


def test_volumes_of_the_most_definite_sign_are_taken():
    x = helix(8)
    chosen = fit_coordinates(x, volumes=True)
    every = torch.combinations(torch.arange(8), 3)
    chosen_rows = {tuple(row) for row in chosen.volumes.tolist()}
    arms = x / torch.sqrt(x.square().sum(-1, keepdim=True) + chosen.smooth_arm**2)
    definite = {}
    for row in map(tuple, every.tolist()):
        volumes = torch.linalg.det(arms[:, list(row)])
        definite[row] = float(2.0 * volumes.mean().abs())
    assert min(definite[row] for row in chosen_rows) >= max(
        value for row, value in definite.items() if row not in chosen_rows
    )


def test_volumes_change_sign_in_the_mirror_and_nothing_else_changes_them():
    x, t = helix(6), torch.tensor([0.2], dtype=torch.float64)
    coordinates = fit_coordinates(x, volumes=True).double()
    volumes = coordinates.signed_volumes(x, t, coordinates.volumes)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    turned = x @ (rotation * torch.linalg.det(rotation)) + torch.tensor([3.0, -2.0, 1.0])
    torch.testing.assert_close(coordinates.signed_volumes(turned, t, coordinates.volumes), volumes)
    mirrored = coordinates.signed_volumes(x * torch.tensor([1.0, 1.0, -1.0]), t, coordinates.volumes)
    torch.testing.assert_close(mirrored, -volumes)
    assert volumes.abs().max() > 0.1


def test_triples_of_many_beads_are_a_sample_in_little_memory():
    coordinates = fit_coordinates(helix(160, frames=20).float(), volumes=True)
    volumes = coordinates.volumes
    assert len(volumes) == 160 * 159 // 2
    assert torch.equal(volumes, torch.unique(volumes, dim=0))
    assert (volumes[:, 0] < volumes[:, 1]).all() and (volumes[:, 1] < volumes[:, 2]).all()


def test_coordinates_without_a_hand_are_alike_in_the_mirror_and_keep_the_layout():
    x, t = helix(6), torch.tensor([0.2], dtype=torch.float64)
    blind, seeing = (fit_coordinates(x, volumes=True, chiral=chiral).double() for chiral in (False, True))
    mirror = torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(blind(x * mirror, t), blind(x, t), rtol=0, atol=1e-14)
    assert len(blind.volumes) == 0
    odd = blind.odd_features()
    assert (blind(x, t)[:, odd] == 0.0).all()
    even = [k for k in range(blind.features) if k not in odd]
    torch.testing.assert_close(blind(x, t)[:, even], seeing(x, t)[:, even])
    turned = seeing(x * mirror, t)
    changed = (turned + seeing(x, t)).abs().amax(0) < 1e-12
    assert changed.nonzero().flatten().tolist() == seeing.odd_features()


@pytest.mark.parametrize("shrunk", [1.0, 0.5, 0.25])
def test_dihedrals_are_resolved_as_well_in_a_long_chain_as_in_a_short_one(shrunk):
    x, t = helix(6), torch.tensor([1e-5], dtype=torch.float64)
    bond = (x[:, 1:] - x[:, :-1]).norm(dim=-1).mean()
    x = x * (BOND / bond)  # the size of bonds up to which lengths are as they stand
    short, long = (fit_coordinates(size * x, volumes=False).double() for size in (1.0, shrunk))
    torch.testing.assert_close(long(shrunk * x, t)[:, 30:], short(x, t)[:, 30:], rtol=1e-4, atol=1e-4)
    assert long.blurs[0] == pytest.approx(SMOOTH_LENGTH * shrunk)
    assert long.blurs[1] == pytest.approx(SMOOTH_AREA * shrunk**2)


def test_weights_of_an_earlier_version_keep_its_lengths():
    long = fit_coordinates(0.3 * helix(6), volumes=True)
    earlier = {name: tensor for name, tensor in long.state_dict().items() if name != "blurs"}
    long.load_state_dict(earlier)
    assert InternalModel(long).constants()["smooth_length"] == pytest.approx(SMOOTH_LENGTH)


def test_the_network_says_the_same_at_all_noise_below_the_smallest_that_it_sees():
    x = helix(7, 64)
    network = InternalModel(fit_coordinates(x, volumes=True), 16, 2, 0.05).double()
    network.coordinates.earliest.fill_(0.03)
    torch.nn.init.normal_(network.out.weight)
    start, small, smallest, more = (
        network(x, torch.tensor([t], dtype=torch.float64))
        for t in (0.0, 1e-5, float(network.coordinates.earliest), 0.031)
    )
    assert torch.equal(start, smallest) and torch.equal(small, smallest)
    assert (more - smallest).abs().max() > 1e-6
    turns = [
        network.turns(x, torch.tensor([t], dtype=torch.float64)) for t in (1e-5, float(network.coordinates.earliest))
    ]
    assert torch.equal(*turns)
    assert network.readout_factor(1e-5) == network.readout_factor(float(network.coordinates.earliest)) < 1.0


def test_weights_of_an_earlier_version_see_every_time():
    network = InternalModel(fit_coordinates(helix(6), volumes=True), 8, 1)
    assert "earliest" not in network.constants()
    network.coordinates.earliest.fill_(0.03)
    assert network.constants()["earliest"] == pytest.approx(0.03)
    weights = network.state_dict()
    del weights["coordinates.earliest"]
    network.load_state_dict(weights)
    assert float(network.coordinates.earliest) == 0.0


@pytest.fixture
def smallest_seen(small_recipe, tmp_path):
    """smallest_seen(frames, held, **settings): the least noise variance that a network for the frames sees with
    `unseen` a part of 0.05, where the prior holds these pairs.
    """

    def of(frames, held, unseen):
        beads = list_beads([{"name": f"B{k}", "residue": "MOL", "mass_da": 12.0} for k in range(frames.shape[1])])
        plan = dataclasses.replace(plan_experts(small_recipe(tmp_path))[0], v_min=0.05)
        plan = dataclasses.replace(plan, model=InternalRecipe(width=8, layers=1, unseen=unseen))
        network = build_model(plan, frames.float(), held, beads, 1.0).network
        return (
            float(sigma_squared(network.coordinates.earliest.double())) if network.coordinates.earliest > 0.0 else 0.0
        )

    return of


def test_noise_that_would_blur_what_only_the_network_knows_is_seen(smallest_seen):
    frames = helix(6, 1000)
    neighbours = [(k, k + 1) for k in range(5)] + [(k, k + 2) for k in range(4)]
    spread = fit_coordinates(frames, volumes=False).variance
    pairs = torch.combinations(torch.arange(6))
    outside = float(spread[pairs[:, 1] - pairs[:, 0] > 2].min())
    assert smallest_seen(frames, neighbours, 0.125) == pytest.approx(RESOLVED**2 * outside, rel=1e-3)
    soft = helix(6, 1000) * (1.0 + 0.5 * torch.rand(1000, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert smallest_seen(soft, neighbours, 0.125) == pytest.approx(0.125 * 0.05, rel=1e-3)


def test_every_noise_is_seen_unless_the_recipe_says_otherwise(smallest_seen):
    assert smallest_seen(helix(6), [(0, 1)], 0.0) == 0.0
    assert smallest_seen(helix(6), torch.combinations(torch.arange(6)).tolist(), 0.125) == 0.0


def test_noise_that_nothing_would_know_is_refused():
    with pytest.raises(ValidationError, match="unseen = 0.125 leaves small noise to the prior, and prior = False"):
        InternalRecipe(unseen=0.125, prior=False)
