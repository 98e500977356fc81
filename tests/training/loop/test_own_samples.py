"""A new network that learns from samples of one which knows its frames too well: when it begins, and from what."""

import pytest
import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.loop import own_samples as own
from fpforce.training.loop.early_stopping import KNOWN_BETTER, memorises
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.train import train


class Nothing(torch.nn.Module):
    def forward(self, x, t):
        return x.new_zeros(len(x))


@pytest.fixture
def few_samples(monkeypatch):
    monkeypatch.setattr(own, "COUNT", 128)
    monkeypatch.setattr(own, "AT_ONCE", 64)


def test_samples_of_a_gaussian_have_its_widths(alanine_set, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "COUNT", 4096)
    energy, plan = (
        DiffusionEnergy(Nothing(), fit_prior(alanine_set.frames, [])),
        plan_experts(small_recipe(tmp_path))[0],
    )
    found = own.own_samples(energy.requires_grad_(False), alanine_set.frames, plan, (0, 0))
    assert len(found) > 4000
    assert torch.allclose(found.square().mean((0, 2)), alanine_set.frames.square().mean((0, 2)), rtol=0.1)
    again = own.own_samples(energy, alanine_set.frames, plan, (0, 0))
    other = own.own_samples(energy, alanine_set.frames, plan, (1, 0))
    assert torch.equal(found, again) and not torch.equal(found[:100], other[:100])


def test_new_network_begins_where_it_is_asked_for(small_recipe, tmp_path, few_samples):
    checkpoint = read_checkpoint(train(small_recipe(tmp_path, "data.own_samples=true"), show_progress=False))
    teacher = checkpoint.record.expert.teacher
    assert teacher["anew"] and teacher["step"] == 24 and teacher["progress"] == pytest.approx(0.4)


def test_nothing_begins_anew_where_frames_are_not_learned_by_heart(small_recipe, tmp_path, few_samples):
    """Of the whole data set 60 steps learn nothing by heart; then the energy follows its flow, from 0.6 on."""
    record = read_checkpoint(train(small_recipe(tmp_path), show_progress=False)).record.expert
    assert not memorises(record)
    assert not record.teacher["anew"] and record.teacher["step"] == 36


def test_memorising_is_seen_in_the_last_measurement(small_checkpoint):
    record = read_checkpoint(small_checkpoint).record.expert
    record.watched["held_out_denoising"][-1] = 1.0
    for known, expected in ((1.0 - 1.1 * KNOWN_BETTER, True), (1.0 - 0.9 * KNOWN_BETTER, False)):
        record.watched["denoising"][-1] = known
        assert memorises(record) == expected


def test_run_that_was_interrupted_after_the_change_ends_as_one_that_was_not(small_recipe, tmp_path, few_samples):
    def trained(name, *lengths):
        for number, steps in enumerate(lengths):
            recipe = small_recipe(tmp_path / name, "data.own_samples=true", f"run.max_steps={steps}")
            path = train(recipe, resume=number > 0, show_progress=False)
        return read_checkpoint(path)

    # Longer than asked at first: the change has come at 0.4 of the first length, and the second run goes on from there.
    first, second = (trained(name, 60, 90) for name in ("one", "two"))
    assert first.record.expert.teacher["step"] == 24
    ours, theirs = first.model().state_dict(), second.model().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
