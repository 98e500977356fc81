"""Frames held out of a training: in blocks of time, never learned from, and what is made of the losses on them."""

import json
import logging
import math
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest
import torch

from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.checkpoint.record import ExpertRecord
from fpforce.training.data.held_out import FEWEST_HELD_OUT, STRETCHES, held_out, split_off, watched
from fpforce.training.data.read import read_training_set
from fpforce.training.loop import early_stopping
from fpforce.training.loop.early_stopping import NEXT_TO_BEST, WORSE, Watching, conclude, keep_best, leads_astray
from fpforce.training.loop.gap import gap_kt, samples_above
from fpforce.training.loop.held_out_losses import Losses, Watched
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.prior import fit_prior
from fpforce.training.recipe.plan import plan_experts
from fpforce.training.recipe.read import load_recipe
from fpforce.training.train import train


def runs_of(mask):
    """Lengths of the stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_a_tenth_of_a_trajectory_is_held_out_in_a_few_blocks():
    mask = held_out((1000, 500), 0.1)
    assert runs_of(mask[:1000]) == [20] * STRETCHES and runs_of(mask[1000:]) == [10] * STRETCHES
    assert not mask[0] and not mask[-1]


def test_of_many_trajectories_whole_ones_are_held_out():
    mask = held_out((7,) * 20, 0.1).reshape(20, 7)
    assert mask.any(1).tolist() == mask.all(1).tolist() and mask.all(1).sum() == 2


@pytest.mark.parametrize("count", [100, 103, 130, 199])
def test_of_few_frames_as_many_are_held_out_as_say_something(count):
    assert FEWEST_HELD_OUT <= watched((count,), 0.1).sum() <= 30
    assert not watched((count,), 0.0).any()


def test_frames_too_few_to_hold_out_are_all_trained_on():
    assert not watched((99,), 0.1).any()
    assert not watched((7,) * 15, 0.1).any()  # whole trajectories, of which two have 14 frames


@pytest.mark.parametrize("stride, share, said", [(300, 0.1, True), (300, 0.0, False), (200, 0.1, False)])
def test_frames_too_few_to_hold_out_are_said_to_be(small_recipe, tmp_path, caplog, stride, share, said):
    data = small_recipe(tmp_path, f"data.stride={stride}", f"data.held_out={share}").data
    read_training_set(data, temperature_k=300.0, batch_size=32)
    assert ("too few to hold 20 of them out that count" in caplog.text) == said, caplog.text
    assert not said or "72 frames in" in caplog.text


def test_share_of_zero_holds_nothing_out(alanine_frames):
    assert not held_out((1000,), 0.0).any()
    assert split_off(alanine_frames, 0.0) == (alanine_frames, None)


def test_both_parts_together_are_all_frames(alanine_frames):
    known, held = split_off(alanine_frames, 0.1)
    assert (
        len(known) == sum(known.lengths)
        and len(held) == sum(held.lengths)
        and len(known) + len(held) == len(alanine_frames)
    )
    together = np.concatenate([known.positions_nm, held.positions_nm])
    np.testing.assert_array_equal(np.sort(together.ravel()), np.sort(alanine_frames.positions_nm.ravel()))


def test_training_does_not_see_what_is_held_out(alanine, alanine_frames, tmp_path):
    """Poisoned: every frame held out is replaced by one and the same, which would change any statistics and any batch.

    Held-out frames may choose between weights; they may not teach.
    """
    whole = mdtraj.load(str(alanine / "train.xtc"), top=str(alanine / "alanine_dipeptide.pdb"), stride=20)
    mask, ends, trained = held_out((len(whole),), 0.1), [], []
    for name in ("as it is", "poisoned"):
        if name == "poisoned":
            whole.xyz[mask] = whole.xyz[mask][0]
        whole.save_xtc(str(tmp_path / f"{name}.xtc"))
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(
            json.dumps(
                {
                    "data": {
                        "trajectories": f"{name}.xtc",
                        "topology": str(alanine / "alanine_dipeptide.pdb"),
                        "beads": "backbone5",
                    },
                    "temperature_k": 300,
                    "output": str(tmp_path / f"{name} run"),
                    "model": {"width": 16, "layers": 2},
                    "optimizer": {"batch_size": 32},
                    "run": {"max_steps": 120, "log_every_steps": 10, "threads": 1, "accelerator": "cpu"},
                }
            )
        )
        path = train(load_recipe(recipe), show_progress=False)
        ends.append(read_checkpoint(path))
        trained.append(torch.load(path, weights_only=True)["current_model_state"])
    clean, poisoned = ends
    assert clean.record.scale_nm == poisoned.record.scale_nm
    assert clean.record.bond_lengths_nm == poisoned.record.bond_lengths_nm
    assert torch.equal(clean.record.check_frames, poisoned.record.check_frames)
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())
    ours, theirs = clean.record.expert.watched, poisoned.record.expert.watched
    assert ours["denoising"] == theirs["denoising"]
    assert ours["held_out_denoising"] != theirs["held_out_denoising"]  # which are measured on what is held out


def test_best_weights_are_the_last_that_are_next_to_the_least_loss():
    record = ExpertRecord()
    for step, (loss, kept, least) in enumerate(
        [(1.0, 0, 1.0), (0.5, 1, 0.5), (0.504, 2, 0.5), (0.51, 2, 0.5), (0.49, 4, 0.49), (0.6, 4, 0.49)]
    ):
        record.steps = step
        keep_best(record, loss, {"w": torch.full((1,), float(step))})
        assert record.best["step"] == kept and record.best["weights"]["w"].item() == kept
        assert record.best["loss"] == pytest.approx(least)


def test_best_weights_are_those_of_the_loss_that_is_minimised():
    """Of few frames the Fokker-Planck residual is memorised, too, and where the denoising loss hardly shows it."""
    early, late = Losses(0.294, 0.01), Losses(0.2965, 4.0)
    assert late.denoising < NEXT_TO_BEST * early.denoising
    assert late.minimised(5e-4) == pytest.approx(0.2985) and late.minimised(5e-4) > NEXT_TO_BEST * early.minimised(5e-4)
    assert Losses(0.3, math.nan).minimised(0.0) == 0.3  # which is not measured by then


def test_first_losses_that_are_no_numbers_leave_it_to_the_next_step_to_say_so():
    """Whose error names the learning rate; there are no best weights yet to compare with."""
    record = ExpertRecord(steps=10)
    module = SimpleNamespace(
        recipe=SimpleNamespace(run=SimpleNamespace(log_every_steps=1)),
        record=SimpleNamespace(expert=record),
        plan=SimpleNamespace(t_max=0.5, fokker_planck_weight=5e-4),
        progress=0.1,
        loggers=[],
    )
    trainer = SimpleNamespace(global_step=10, should_stop=False)
    watching = Watching(SimpleNamespace(averaged_expert=lambda module: torch.nn.Linear(1, 1)))
    nowhere = SimpleNamespace(losses=lambda expert: Losses(math.nan, math.nan))
    watching._watched = {"": nowhere, "held_out_": nowhere}
    watching.on_train_batch_end(trainer, module, None, 9, 9)
    assert record.best is None and not trainer.should_stop
    assert record.watched["step"] == [10] and math.isnan(record.watched["held_out_denoising"][0])


def memorising(small_recipe, tmp_path, *overrides):
    """A recipe of 86 frames at small t, and a network that can learn them by heart."""
    return small_recipe(
        tmp_path,
        "data.stride=200",
        "data.held_out=0.2",
        "model.width=128",
        "model.layers=3",
        "optimizer.batch_size=64",
        "optimizer.learning_rate=1e-2",
        "optimizer.warmup_steps=20",
        "loss.fokker_planck_weight=0",
        "diffusion.t_max=0.2",
        "run.max_steps=1500",
        "run.compile=false",
        *overrides,
    )


def test_training_that_memorises_goes_back_to_its_best_weights(small_recipe, tmp_path):
    recipe = memorising(small_recipe, tmp_path)
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    record, data = checkpoint.record.expert, read_training_set(recipe.data, temperature_k=300.0, batch_size=64)
    losses = record.watched["held_out_denoising"]
    assert record.stopped_early and record.steps < 1500 and losses[-1] > WORSE * min(losses)
    assert (
        record.watched["denoising"][-1] < record.watched["denoising"][losses.index(min(losses))]
    )  # which went on falling
    assert record.best["step"] < record.steps
    held = Watched(data.held_out, checkpoint.plans[0], 1e-4).losses(checkpoint.model())
    assert held.denoising == pytest.approx(losses[record.watched["step"].index(record.best["step"])], rel=1e-4)
    assert held.denoising <= NEXT_TO_BEST * min(losses)


def test_training_that_memorises_ends_where_the_gap_is_measured_too(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(early_stopping, "GAP_EVERY", 1)
    monkeypatch.setattr(early_stopping, "gap_kt", lambda *_: 1.0)
    monkeypatch.setattr(early_stopping, "samples_above", lambda *_: 0.1)
    record = read_checkpoint(train(memorising(small_recipe, tmp_path), show_progress=False)).record.expert
    assert record.stopped_early and set(record.gap["samples_above"]) == {0.1}


def test_training_that_memorises_begins_early_with_its_flow_from_the_best_weights(small_recipe, tmp_path):
    recipe = memorising(small_recipe, tmp_path, "loss.flow_weight=0.05", "loss.flow_begin=0.9")
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    record = checkpoint.record.expert
    teacher, losses = record.teacher, record.watched["held_out_denoising"]
    assert teacher["step"] < 0.9 * 1500
    before = [loss for step, loss in zip(record.watched["step"], losses, strict=True) if step <= teacher["step"]]
    assert before[-1] > WORSE * min(before)
    energy = checkpoint.model()
    energy.load_state_dict(teacher["weights"])
    data = read_training_set(recipe.data, temperature_k=300.0, batch_size=64)
    assert Watched(data.held_out, checkpoint.plans[0], 1e-4).losses(energy).denoising <= NEXT_TO_BEST * min(before)


def test_flow_begins_from_the_best_weights(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("fpforce.training.loop.early_stopping.WORSE", 2.0)  # so that it is not begun with early
    recipe = memorising(small_recipe, tmp_path, "loss.flow_weight=0.05", "loss.flow_begin=0.6")
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    teacher, watched = checkpoint.record.expert.teacher, checkpoint.record.expert.watched
    assert teacher["step"] == 0.6 * 1500
    losses = dict(zip(watched["step"], watched["held_out_denoising"], strict=True))
    before = {step: loss for step, loss in losses.items() if step <= teacher["step"]}
    best = max(step for step, loss in before.items() if loss <= NEXT_TO_BEST * min(before.values()))
    assert best < max(before)
    energy = checkpoint.model()
    energy.load_state_dict(teacher["weights"])
    data = read_training_set(recipe.data, temperature_k=300.0, batch_size=64)
    held = Watched(data.held_out, checkpoint.plans[0], 1e-4).losses(energy)
    assert held.denoising == pytest.approx(before[best], rel=1e-4)
    assert teacher["loss"] == minimised(watched, checkpoint.plans[0])[best]


def minimised(watched, plan):
    """Losses of training frames, as they are minimised, by step."""
    both = zip(watched["denoising"], watched["fokker_planck"], strict=True)
    weight = plan.fokker_planck_weight
    return dict(zip(watched["step"], (Losses(*losses).minimised(weight) for losses in both), strict=True))


def test_flow_that_leads_astray_is_let_go(small_recipe, tmp_path):
    recipe = memorising(small_recipe, tmp_path, "loss.flow_weight=1000", "loss.flow_begin=0.1", "data.stride=4")
    checkpoint = read_checkpoint(train(recipe, show_progress=False))
    record = checkpoint.record.expert
    teacher, losses = record.teacher, minimised(record.watched, checkpoint.plans[0])
    assert teacher["let_go"] and not record.follows_flow
    (risen,) = (step for step, loss in losses.items() if step > teacher["step"] and loss > WORSE * teacher["loss"])
    after = [loss for step, loss in losses.items() if step > risen]
    assert after and max(after) <= WORSE * teacher["loss"]
    assert losses[max(losses)] < teacher["loss"]  # it went on learning


def test_a_flow_leads_astray_where_training_frames_are_known_worse():
    record = ExpertRecord()
    assert not leads_astray(record, 9.0, 0.1)  # no flow
    record.teacher = {"step": 10, "weights": {}, "loss": 0.2}
    assert not leads_astray(record, 0.2 * WORSE, 0.1) and leads_astray(record, 0.201 * WORSE, 0.1)
    record.teacher["let_go"] = True
    assert not leads_astray(record, 9.0, 0.1)
    record.teacher = {"step": 10, "weights": {}, "denoising": 0.1}  # of an earlier version
    assert not leads_astray(record, 9.0, 0.1)
    for name, value in {"step": 10, "denoising": 0.1, "fokker_planck": 1.0}.items():
        record.watched[name].append(value)
    assert not leads_astray(record, 0.2 * WORSE, 0.1) and leads_astray(record, 0.201 * WORSE, 0.1)


def test_gap_of_an_exact_energy_is_zero_and_grows_with_what_is_added_to_it(alanine_set, small_recipe, tmp_path):
    """The Gaussian prior alone, of which ln q is known: E + ln q is one constant until the energy is tilted at
    the smallest t.
    """

    class Tilt(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.size = size

        def forward(self, x, t):
            return self.size * torch.exp(-1e4 * t) * (x[:, 0] - x[:, -1]).square().sum(-1)

    plan = plan_experts(small_recipe(tmp_path))[0]
    exact, tilted = (
        gap_kt(DiffusionEnergy(Tilt(size), fit_prior(alanine_set.frames, [])), alanine_set.frames, plan)
        for size in (0.0, 1.0)
    )
    assert exact < 0.1 and tilted > 5 * max(exact, 0.02)


def test_samples_of_an_exact_energy_are_where_held_out_frames_are_and_those_of_a_wrong_one_are_not(
    alanine_set, small_recipe, tmp_path
):
    """Gaussian data, whose prior is exact; what pulls the ends together at middle noise leads samples astray."""

    class Zero(torch.nn.Module):
        def forward(self, x, t):
            return 0.0 * x.sum((1, 2))

    class Wrong(torch.nn.Module):
        def forward(self, x, t):
            return 20.0 * torch.exp(-(torch.log(t / 0.05).square())) * (x[:, 0] - x[:, -1]).square().sum(-1)

    plan = plan_experts(small_recipe(tmp_path))[0]
    data = alanine_set.frames
    prior = fit_prior(data, [])
    spread = prior.mode_variances.sqrt()[:, None]
    drawn = torch.einsum(
        "mi,fmk->fik",
        prior.mode_vectors,
        spread * torch.randn(2000, *spread.shape[:1], 3, generator=torch.manual_seed(0)),
    )
    right, wrong = (
        samples_above(DiffusionEnergy(network, prior), drawn[:1000], drawn[1000:], plan)
        for network in (Zero(), Wrong())
    )
    assert abs(right) < 0.1 and wrong > 0.5


def test_no_flow_is_followed_from_samples_that_are_wrong(small_recipe, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(early_stopping, "samples_above", lambda *_: 0.7)
    recipe = memorising(small_recipe, tmp_path, "loss.fokker_planck_weight=1e-6", "run.max_steps=900")
    with caplog.at_level("WARNING", "fpforce"):
        record = read_checkpoint(train(recipe, show_progress=False)).record.expert
    assert record.teacher["samples_above"] == 0.7 and not record.follows_flow
    assert not any(record.curves["flow"])
    assert "0.70 kT a degree of freedom above held-out frames" in caplog.text
    assert read_checkpoint(tmp_path / "model.ckpt").record.expert.teacher == record.teacher


def measured(kt):
    """A record with one measurement of everything."""
    record = ExpertRecord()
    for name in record.watched:
        record.watched[name].append(1.0)
    record.gap["step"].append(10)
    record.gap["kt"].append(kt)
    return record


@pytest.mark.parametrize(
    "above, told",
    [(0.3, None), (0.7, "0.70 kT a degree of freedom above held-out frames"), (math.inf, "without bounds")],
)
def test_samples_that_are_wrong_are_told(caplog, above, told):
    record = measured(3.0)
    record.gap["samples_above"] = [0.1, above]
    with caplog.at_level(logging.INFO, logger="fpforce"):
        conclude(record)
    assert ("own samples" in caplog.text) is (told is not None) and (told or "") in caplog.text


def test_a_gap_that_is_not_finite_is_told_in_words(caplog):
    record = measured(math.nan)
    with caplog.at_level(logging.INFO, logger="fpforce"):
        conclude(record)
    assert "nan" not in caplog.text and "samples of the model diverge" in caplog.text
