"""What training refuses or warns of, and that an earlier run survives it."""

import logging
import shutil

import mdtraj
import numpy as np
import pytest

from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import Lock
from fpforce.training.checkpoint.checkpoint import read_checkpoint, replace_record
from fpforce.training.train import train


def test_resume_with_other_data_under_the_same_name_is_refused(small_recipe, alanine, tmp_path):
    data = tmp_path / "data.xtc"
    shutil.copy(alanine / "train.xtc", data)
    recipe = small_recipe(tmp_path / "run", "run.max_steps=10", f"data.trajectories={data}")
    train(recipe, show_progress=False)
    shutil.copy(alanine / "reference.xtc", data)
    longer = small_recipe(tmp_path / "run", "run.max_steps=20", f"data.trajectories={data}")
    with pytest.raises(InputError, match="other data"):
        train(longer, resume=True, show_progress=False)
    assert read_checkpoint(recipe.output / "model.ckpt").record.expert.steps == 10


def test_resume_finds_the_same_data_in_another_place(small_recipe, alanine, tmp_path):
    train(small_recipe(tmp_path / "run", "run.max_steps=10"), show_progress=False)
    moved = tmp_path / "moved.xtc"
    shutil.copy(alanine / "train.xtc", moved)
    longer = small_recipe(tmp_path / "run", "run.max_steps=20", f"data.trajectories={moved}")
    assert read_checkpoint(train(longer, resume=True, show_progress=False)).record.expert.steps == 20


def test_run_begun_before_a_key_of_the_recipe_existed_is_resumed(small_recipe, tmp_path):
    path = train(small_recipe(tmp_path / "run", "run.max_steps=10"), show_progress=False)
    record = read_checkpoint(path).record
    del record.recipe["loss"]["fokker_planck_every"]
    replace_record(path, record)
    with pytest.raises(InputError, match="loss.fokker_planck_every was 1, is 2"):
        train(
            small_recipe(tmp_path / "run", "run.max_steps=20", "loss.fokker_planck_every=2"),
            resume=True,
            show_progress=False,
        )
    longer = small_recipe(tmp_path / "run", "run.max_steps=20")
    assert read_checkpoint(train(longer, resume=True, show_progress=False)).record.expert.steps == 20


@pytest.mark.parametrize("override", ["run.strategy=xyz", "run.accelerator=tpuu", "run.devices=0"])
def test_impossible_hardware_is_named_and_costs_no_earlier_run(small_recipe, tmp_path, override):
    recipe = small_recipe(tmp_path / "run", "run.max_steps=10")
    before = train(recipe, show_progress=False).read_bytes()
    with pytest.raises(InputError, match=override.split("=")[0]):
        train(small_recipe(tmp_path / "run", override), overwrite=True, show_progress=False)
    assert (recipe.output / "model.ckpt").read_bytes() == before


def test_output_that_another_process_writes_is_refused(small_recipe, tmp_path):
    recipe, lock = small_recipe(tmp_path, "run.max_steps=2"), Lock(tmp_path / "lock", tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path} is being written by another process"):
        train(recipe, show_progress=False)
    assert not (tmp_path / "model.ckpt").exists()
    lock.close()
    assert train(recipe, show_progress=False).exists() and not (tmp_path / "lock").exists()


def test_resume_and_overwrite_exclude_each_other(small_recipe, tmp_path):
    with pytest.raises(InputError, match="exclude each other"):
        train(small_recipe(tmp_path / "run"), resume=True, overwrite=True)


def test_constrained_bond_is_warned_of_by_name(small_recipe, alanine, tmp_path, caplog):
    # The first bond's length is fixed at its mean, as a constraint would; its two beads keep their direction.
    trajectory = mdtraj.load(alanine / "train.xtc", top=alanine / "alanine_dipeptide.pdb", stride=10)
    c, n = (trajectory.topology.select(f"resid {r} and name {name}")[0] for r, name in ((0, "C"), (1, "N")))
    bond = trajectory.xyz[:, n] - trajectory.xyz[:, c]
    trajectory.xyz[:, c] = trajectory.xyz[:, n] - 0.1335 * bond / np.linalg.norm(bond, axis=1, keepdims=True)
    trajectory.save_dcd(tmp_path / "rigid.dcd")
    recipe = small_recipe(
        tmp_path / "run", "run.max_steps=2", "data.stride=1", f"data.trajectories={tmp_path / 'rigid.dcd'}"
    )
    with caplog.at_level(logging.WARNING, logger="fpforce"):
        train(recipe, show_progress=False)
    messages = [record.getMessage() for record in caplog.records if "as if constrained" in record.getMessage()]
    assert len(messages) == 1 and "ACE1-C" in messages[0] and "ALA2-N" in messages[0]
