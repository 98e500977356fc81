"""Rounds in shards: the same frames and the same steps whoever simulates them."""

import numpy as np
import pytest
import torch

import fpforce
from fpforce.distributed.parts import OneProcess, Where
from fpforce.foundation.errors import InputError, NoWorkersError
from fpforce.training.calibration.round_in_shards import shard_replicas, simulate_round
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.recipe.sections import CalibrationRecipe, RunRecipe
from fpforce.training.train import train

ROUND = CalibrationRecipe(
    rounds=1, replicas=5, shard_replicas=2, rungs=2, top_temperature_k=400.0, picoseconds=3.0, timestep_fs=1.0
)


@pytest.fixture(scope="module")
def start_nm(small_model):
    """Two rungs of five replicas, all from the frame that the model holds."""
    return np.tile(fpforce.load(small_model).positions_nm, (2, 5, 1, 1))


@pytest.fixture(scope="module")
def here(small_model, start_nm):
    return simulate_round(small_model, start_nm, ROUND, None, 3, OneProcess())


def test_shards_hold_all_replicas_with_noise_of_their_own(here, start_nm):
    frames_nm, last_nm = here
    assert frames_nm.shape == (3, 5, 5, 3) and last_nm.shape == start_nm.shape
    np.testing.assert_array_equal(last_nm[0], frames_nm[-1])
    distances = np.linalg.norm(last_nm.reshape(10, 1, -1) - last_nm.reshape(1, 10, -1), axis=-1)
    assert (distances[~np.eye(10, dtype=bool)] > 1e-3).all()


def test_workers_of_dask_make_the_same_frames(here, small_model, start_nm):
    pytest.importorskip("distributed")
    with Where(workers=2).pool() as pool:
        found = simulate_round(small_model, start_nm, ROUND, None, 3, pool)
    for ours, theirs in zip(here, found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_stopped_round_is_none(small_model, start_nm):
    class Stopped:
        slots = 1

        def run(self, parts, told, done):
            return True

    assert simulate_round(small_model, start_nm, ROUND, None, 3, Stopped()) is None


def test_a_broken_replica_has_its_number_among_all(small_model, start_nm):
    torn = start_nm.copy()
    torn[:, 3, 0] += 5.0
    with pytest.raises(InputError, match="replica 3 broke"):
        simulate_round(small_model, torn, ROUND, None, 3, OneProcess())


@pytest.mark.parametrize(
    ("asked", "workers", "begun", "size"),
    [
        (None, None, {}, None),
        (None, 2, {}, 16),
        (8, None, {}, 8),
        (8, 2, {"shard_replicas": 16}, 8),
        (None, None, {"shard_replicas": 16}, 16),
        (None, 2, {"shard_replicas": None}, None),
        (None, 2, {"replicas": 256}, None),
    ],
)
def test_replicas_are_cut_as_asked_or_as_before_or_for_workers(asked, workers, begun, size):
    settings = CalibrationRecipe(replicas=256, shard_replicas=asked)
    assert shard_replicas(settings, RunRecipe(workers=workers), begun) == size


def test_workers_and_scheduler_exclude_each_other(small_recipe, tmp_path):
    with pytest.raises(InputError, match="run.*workers = 2.*scheduler = tcp://host:1.*give one of the two"):
        small_recipe(tmp_path, "run.workers=2", "run.scheduler=tcp://host:1")


def test_a_scheduler_that_does_not_answer_is_refused_before_the_training(small_recipe, tmp_path):
    pytest.importorskip("distributed")
    recipe = small_recipe(tmp_path / "run", "calibration.rounds=1", "run.scheduler=/no/scheduler.json")
    with pytest.raises(NoWorkersError, match="/no/scheduler.json is neither an address"):
        train(recipe, show_progress=False)
    assert not (tmp_path / "run").exists()


def test_a_first_round_that_was_stopped_goes_on_as_it_began(small_recipe, tmp_path, monkeypatch):
    recipe = small_recipe(
        tmp_path, "run.max_steps=20", "optimizer.warmup_steps=5", "calibration.rounds=1", "calibration.replicas=8"
    )
    sharded = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"shard_replicas": 3})})
    sizes = []

    def stopped(model, positions_nm, settings, *_):
        sizes.append(settings.shard_replicas)

    monkeypatch.setattr("fpforce.training.calibration.rounds.simulate_round", stopped)
    for each, resume in ((sharded, False), (recipe, True)):
        with pytest.raises(KeyboardInterrupt, match="stopped in round 1 of the calibration"):
            train(each, resume=resume, show_progress=False)
    assert sizes == [3, 3]
    kept = read_checkpoint(tmp_path / "model.ckpt").record.calibration
    assert kept.positions_nm is None and not kept.done and kept.shift.count_nonzero() == 0
    with pytest.raises(KeyboardInterrupt):  # with other replicas, whose positions are drawn anew
        fewer = recipe.calibration.model_copy(update={"replicas": 4, "series": False})
        train(recipe.model_copy(update={"calibration": fewer}), resume=True, show_progress=False)


def test_rounds_by_workers_and_by_this_process_end_in_the_same_weights(small_recipe, tmp_path):
    """One round by two workers, then one that goes on without them, as it began; against both here."""
    pytest.importorskip("distributed")
    short = ("run.max_steps=20", "optimizer.warmup_steps=5", "calibration.replicas=40", "calibration.picoseconds=2")

    def trained(name, *others, resume=False):
        recipe = small_recipe(tmp_path / name, *short, "calibration.timestep_fs=1", *others)
        return read_checkpoint(train(recipe, resume=resume, show_progress=False)).record.calibration

    trained("mixed", "calibration.rounds=1", "run.workers=2")
    mixed = trained("mixed", "calibration.rounds=2", resume=True)
    alone = trained("alone", "calibration.rounds=1", "calibration.shard_replicas=3")
    alone = trained("alone", "calibration.rounds=2", "calibration.shard_replicas=3", resume=True)
    assert mixed.settings["shard_replicas"] == alone.settings["shard_replicas"] == 3
    assert mixed.relative_entropy == alone.relative_entropy and torch.equal(mixed.shift, alone.shift)
