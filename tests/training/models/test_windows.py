"""Energies of stretches: each sees its own beads alone, all have weights in common, and mirror images are as ever."""

import dataclasses

import pytest
import torch
from pydantic import ValidationError

from fpforce.foundation.errors import InputError
from fpforce.molecule.mapping import list_beads
from fpforce.training.diffusion import sigma_squared
from fpforce.training.models import build_model
from fpforce.training.models.internal import InternalModel, fit_coordinates, placeholder_coordinates
from fpforce.training.models.windows import inputs_of
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import parse_recipe

T = torch.tensor([0.02], dtype=torch.float64)


def frames(count=20, beads=9, seed=0):
    """Normalised centred frames (count, beads, 3)."""
    x = torch.randn(count, beads, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x - x.mean(1, keepdim=True)


def network(beads=9, window=6, *, chiral=True, seed=1):
    """One of which stretches alone have an energy."""
    torch.manual_seed(seed)
    model = InternalModel(
        fit_coordinates(frames(beads=beads), volumes=chiral, chiral=chiral), 8, 2, 0.05, window=window, window_width=5
    ).double()
    with torch.no_grad():
        if model.windows is not None:
            model.windows.out.normal_()
    return model


def test_distances_stop_sharpening_for_stretches_alone():
    model, x = network(), frames()
    earliest = model.windows.earliest.clone()
    torch.testing.assert_close(sigma_squared(earliest), torch.tensor([0.05 / 8], dtype=torch.float64))
    pairs = len(model.coordinates.mean)

    def energies(t):  # with dihedrals as they are at one time, which go on sharpening
        q = model.coordinates(x, t)
        turned = model.coordinates(x, earliest)[:, 2 * pairs :]
        return q, model.of_windows(torch.cat([q[:, : 2 * pairs], turned], 1), t)

    (before, earlier), (_, at), (_, after) = (energies(t) for t in (earliest / 9.0, earliest, 2.0 * earliest))
    torch.testing.assert_close(earlier, at)
    assert (after - at).abs().max() > 1e-3
    assert (model.coordinates(x, earliest) - before)[:, :pairs].abs().max() > 1e-3  # not for the large network
    model.windows.earliest.zero_()
    assert (energies(earliest / 9.0)[1] - at).abs().max() > 1e-3


def test_features_of_pairs_at_another_time_are_those_of_the_frames():
    model, x = network(), frames()
    early, late = torch.tensor([1e-5], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    pairs = 2 * len(model.coordinates.mean)
    found = model.coordinates.pairs_at(late, model.coordinates(x, early), early)
    torch.testing.assert_close(found[:, :pairs], model.coordinates(x, late)[:, :pairs])
    assert torch.equal(found[:, pairs:], model.coordinates(x, early)[:, pairs:])


def test_weights_without_the_least_noise_of_stretches_see_all_of_it():
    model = network()
    state = {name: value for name, value in model.state_dict().items() if name != "windows.earliest"}
    model.load_state_dict(state)
    assert not model.windows.earliest


def test_inputs_are_those_of_the_stretch():
    pairs = torch.triu_indices(7, 7, offset=1).T
    inputs = inputs_of(7, 5, pairs)
    assert inputs.shape == (3, 2 * 10 + 4 * 2)
    for start, row in enumerate(inputs.tolist()):
        both = [k for k in row if k < 2 * len(pairs)]
        beads = {bead for k in both for bead in pairs[k % len(pairs)].tolist()}
        assert beads == set(range(start, start + 5)) and len(set(row)) == len(row)
        turned = [(k - 2 * len(pairs)) % 4 for k in row if k >= 2 * len(pairs)]
        assert sorted(set(turned)) == [start, start + 1]


def test_bead_feels_the_stretches_that_it_is_in_alone():
    model, x = network(beads=10, window=5), frames(beads=10)
    model.windows.places.data.zero_()
    with torch.no_grad():  # the last stretch alone has an energy
        model.windows.out[:-1] = 0.0
    q = model.coordinates(x.requires_grad_(), T)
    (gradient,) = torch.autograd.grad(model.of_windows(q, T).sum(), x)
    assert gradient[:, :5].abs().max() == 0.0 and gradient[:, 5:].abs().min(1).values.max() > 0.0


def test_equal_stretches_have_equal_energies():
    model = network(beads=8, window=8 - 1)
    with torch.no_grad():
        model.windows.places[:] = model.windows.places[:, :1]
        model.windows.out[:] = model.windows.out[:1]
        model.windows.inputs[1] = model.windows.inputs[0]
    q, level = model.coordinates(frames(beads=8), T), model.noise(T)
    both = model.windows(q, level)
    with torch.no_grad():
        model.windows.out[1] = 0.0
    torch.testing.assert_close(both, 2.0 * model.windows(q, level))


def test_mirror_images_differ_where_they_may():
    x, mirror = frames(), torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    model = network()
    assert (model(x, T) - model(x * mirror, T)).abs().min() > 1e-6
    blind = network(chiral=False)
    torch.testing.assert_close(blind(x, T), blind(x * mirror, T))
    odd = torch.isin(blind.windows.inputs[0], torch.tensor(blind.coordinates.odd_features()))
    assert odd.sum() == 2 * 3 and blind.windows.hidden[0].weight[:, odd].abs().max() == 0.0


def test_weights_come_back():
    model = network()
    other = InternalModel(placeholder_coordinates(9, volumes=True), 8, 2, 0.05, window=6, window_width=5).double()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(frames(), T), model(frames(), T), rtol=0, atol=0)


@pytest.mark.parametrize("beads, window", [(6, 6), (5, 6), (9, 0)])
def test_molecule_no_longer_than_a_stretch_has_none(beads, window):
    assert network(beads, window).windows is None


def test_stretch_has_a_dihedral():
    with pytest.raises(ValidationError, match="window = 3 has no dihedral; set 4 beads or more, or 0"):
        InternalRecipe(window=3)


def test_many_molecules_have_none():
    with pytest.raises(InputError, match="model.window = 6 is for one molecule, and data.molecules gives many"):
        parse_recipe(
            {"data": {"molecules": ["."], "beads": "ca"}, "temperature_k": 300, "output": "x", "model": {"window": 6}}
        )


@pytest.mark.parametrize(
    "window, conservative, message",
    [(6, True, "needs a molecule of more beads, and the data have 6"), (5, False, "that is not conservative has none")],
)
def test_stretches_that_cannot_be_are_refused(window, conservative, message):
    data = {"trajectories": ["x.xtc"], "beads": "ca"}
    recipe = parse_recipe({"data": data, "temperature_k": 300, "output": "out", "model": {"window": window}})
    (plan,) = plan_experts(recipe)
    plan = dataclasses.replace(plan, conservative=conservative)
    beads = list_beads([{"name": "CA", "residue": "ALA"}] * 6)
    with pytest.raises(InputError, match=f"model.window = {window} .*{message}"):
        build_model(plan, frames(beads=6), [], beads, 1.0)
