"""A mixture of experts over many molecules: trained from the top down with an anchor, measured where they meet, sampled
together.
"""

import pytest
import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.train import train


@pytest.fixture(scope="module")
def mixture(transferable_recipe, tmp_path_factory):
    experts = [{"t_max": 0.2, "anchor_weight": 0.1}, {"t_max": 1.0, "fokker_planck_weight": 0.0}]
    recipe = transferable_recipe(tmp_path_factory.mktemp("mixture"), run__max_steps=6, run__log_every_steps=3)
    content = recipe.model_dump(mode="json") | {"experts": experts}
    return read_checkpoint(train(type(recipe).model_validate(content), show_progress=False))


def test_experts_are_anchored_and_their_hand_over_is_measured_over_molecules(mixture):
    assert [expert.steps for expert in mixture.record.experts] == [6, 6]
    assert mixture.record.experts[0].curves["anchor"][0] > 0 and mixture.record.experts[1].curves["anchor"] == [0, 0]
    (jump,) = mixture.record.hand_overs
    assert jump["t"] == 0.2 and 0 < jump["relative_jump"] < 1


def test_samples_pass_through_both_experts_of_a_bound_checkpoint(mixture, unseen_pdb, tmp_path):
    bound = mixture.bind(unseen_pdb)
    assert [(expert.t_min, expert.t_max) for expert in bound.experts().parts] == [(1e-5, 0.2), (0.2, 1.0)]
    x, t = torch.randn(2, 10, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2])
    scores = [expert.model.score(x, t) for expert in bound.experts().parts]
    assert not torch.allclose(*scores)
    result = sample(bound, tmp_path / "iid.xtc", SampleSettings(samples=4, steps=10, device="cpu"))
    assert result.samples + result.non_finite == 4


def test_expert_that_is_no_energy_is_refused(transferable_recipe, tmp_path):
    recipe = transferable_recipe(tmp_path)
    content = recipe.model_dump(mode="json") | {"experts": [{"t_max": 0.2}, {"t_max": 1.0, "conservative": False}]}
    with pytest.raises(ValueError, match="experts.1.conservative = False: transferable experts are energies"):
        type(recipe).model_validate(content)
