"""Energies of stretches: each sees its own beads alone, all have weights in common, and mirror images are as ever."""

import pytest
import torch
from pydantic import ValidationError

from fpforce.training.models.internal import InternalModel, fit_coordinates, placeholder_coordinates
from fpforce.training.models.windows import inputs_of
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import WINDOW, settled
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


def test_of_pairs_that_the_prior_holds_noise_alone_is_seen():
    pairs = torch.triu_indices(7, 7, offset=1).T
    held = {(0, 1), (2, 3), (2, 4)}  # not the same in every stretch
    inputs = inputs_of(7, 5, pairs, held)
    assert inputs.shape == (3, 2 * 10 + 4 * 2)
    seen = {tuple(pairs[k].tolist()) for k in inputs.flatten().tolist() if k < len(pairs)}
    assert not held & seen and {(0, 2), (1, 2), (3, 4), (2, 5)} <= seen


def test_bead_feels_the_stretches_that_it_is_in_alone():
    model, x = network(beads=10, window=5), frames(beads=10)
    model.windows.places.data.zero_()
    with torch.no_grad():  # the last stretch alone has an energy
        model.windows.out[:-1] = 0.0
    q = model.coordinates(x.requires_grad_(), T)
    (gradient,) = torch.autograd.grad(model.windows(q, model.noise(T)).sum(), x)
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


def recipe(**model):
    data = {"trajectories": ["x.xtc"], "beads": "ca"}
    return parse_recipe({"data": data, "temperature_k": 300, "output": "out", "model": model})


def test_default_is_that_of_one_molecule_and_goes_on_as_it_began():
    assert settled(recipe(), 21).model.window == WINDOW
    assert settled(recipe(), 9).model.window == 0  # up to five beads
    assert settled(recipe(), None).model.window == 0  # many molecules
    assert settled(recipe(window=8), 21).model.window == 8
    assert settled(recipe(), 21, recipe()).model.window == 0  # begun by an earlier version
    assert settled(recipe(), 21, recipe(window=8)).model.window == 8
    assert settled(recipe(), 21, None, recipe(window=7)).model.window == 7  # whose weights it starts from
    assert settled(recipe(), 21, None, recipe()).model.window == 0
