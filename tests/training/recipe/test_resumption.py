"""A run goes on with the recipe that it was begun with, but for its length, its machine and the places of its data."""

import pytest

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import plan_experts, settled
from fpforce.training.recipe.read import describe_recipe, parse_recipe
from fpforce.training.recipe.resumption import FREE, changes_of_weights, refuse_other_recipe


def recipe(**sections):
    return parse_recipe({"data": {"trajectories": "a.xtc"}, "temperature_k": 300, "output": "run"} | sections)


CUSTOM = {"kind": "custom", "network": "mine", "settings": {"threads": 4, "max_steps": 3}}


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"trajectories": "b.xtc"}},
        {"output": "elsewhere"},
        {"run": {"max_steps": 7, "max_minutes": 3, "threads": 2, "compile": False, "accelerator": "cpu"}},
        {"calibration": {"rounds": 3}},
        {"model": {"kind": "internal"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_length_machine_and_places_may_change(change):
    refuse_other_recipe(recipe(), recipe(**change))


def test_length_and_neighbours_of_an_expert_may_change():
    def with_expert(**entries):
        model = {"kind": "graph_transformer", "cutoff_nm": 1.0} | entries.pop("model", {})
        return recipe(experts=[{"t_max": 0.2}, {"t_max": 1.0, "model": model} | entries])

    refuse_other_recipe(with_expert(), with_expert(max_steps=7, max_minutes=2.0, model={"neighbours": "dense"}))
    with pytest.raises(InputError, match="experts.1.t_max was 1.0, is 0.9"):
        refuse_other_recipe(with_expert(), with_expert(t_max=0.9))


@pytest.mark.parametrize("name", ["threads", "max_steps"])
def test_a_setting_of_a_network_of_ones_own_may_not_change_whatever_it_is_called(name):
    other = CUSTOM | {"settings": CUSTOM["settings"] | {name: 9}}
    with pytest.raises(InputError, match=f"model.settings.{name} was {CUSTOM['settings'][name]}, is 9"):
        refuse_other_recipe(recipe(model=CUSTOM), recipe(model=other))
    with pytest.raises(InputError, match=f"experts.0.model.settings.{name} was"):
        refuse_other_recipe(*(recipe(experts=[{"t_max": 1.0, "model": model}]) for model in (CUSTOM, other)))


def test_every_key_that_may_change_is_one_of_the_recipe():
    known = {key for key, _, _ in describe_recipe()}
    assert {key.replace("experts.N.model.", "model.") for key in FREE} <= known


def test_recipes_of_checkpoints_that_know_no_windows_have_none(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    del checkpoint.record.recipe["model"]["window"]
    checkpoint.record.recipe["experts"] = [{"t_max": 0.1, "model": {"kind": "internal"}}, {"t_max": 1.0}]
    for known in ("recipe", "plans"):  # as they were when the file was read
        vars(checkpoint).pop(known, None)
    old = checkpoint.recipe
    assert old.model.window == old.experts[0].model.window == 0 and old.experts[1].model is None
    new = settled(old.model_copy(update={"model": InternalRecipe()}), 33, weights_of=old)
    ours, theirs = plan_experts(new)[1], checkpoint.plans[1]
    assert new.model.window == 0 and "window" not in " ".join(changes_of_weights(new, 1, ours, theirs))
