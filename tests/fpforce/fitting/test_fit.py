"""A tiny fit from end to end, and one that is killed in every stage: both end in the same files."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fpforce
from fpforce.analysis.observables import dihedrals
from fpforce.foundation.errors import InputError

TINY = (
    "data.stride=10",
    "model.width=16",
    "model.layers=2",
    "optimizer.batch_size=32",
    "run.max_steps=150",
    "optimizer.warmup_steps=10",
    "run.max_minutes=null",
    "run.log_every_steps=10",
    "run.checkpoint_minutes=0.01",
    "run.threads=1",
    "run.accelerator=cpu",
    "run.compile=false",
)
SETTINGS = dict(max_minutes=240.0, max_rounds=1, states=2, replicas=8, simulate_ps=6.0, samples=256)

# Every fit runs in a child of this process, forked after the imports. A child kills itself, as kill -9 does, where it
# is told to: in the middle of a training or a simulation, else after a stage has written its files and before the
# journal says so.
KILLED = """
import json, os, signal, sys, threading, time
from pathlib import Path
recipe_path, output, overrides, settings = json.loads(sys.argv[1])
import fpforce.training.train, fpforce.training.export, fpforce.training.sample, fpforce.analysis.report
from fpforce.fitting import fit as fitting, stages
from fpforce.fitting.settings import FitSettings
from fpforce.training.recipe.read import load_recipe

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def when_there(path):
    def watch():
        while not path.exists():
            time.sleep(0.01)
        die()
    threading.Thread(target=watch, daemon=True).start()

def after(name, home=stages.Stages):
    done = getattr(home, name)
    def work(*args, **options):
        done(*args, **options)
        die()
    setattr(home, name, work)

def run(place, resume):
    if place == "train":
        when_there(Path(output) / "train_1" / "model.ckpt")
    elif place == "simulate":
        when_there(Path(output) / "round_1" / "from_2.xtc.checkpoint")
    elif place == "prepare":
        after("prepare", fitting)
    elif place is not None:
        after(place)
    recipe = load_recipe(recipe_path, [*overrides, "output=" + output])
    fitting.fit(recipe, FitSettings(**settings, resume=resume), show_progress=False)

for number, place in enumerate(["prepare", "train", "export", "sample", "simulate", "evaluate", None]):
    child = os.fork()
    if not child:
        run(place, resume=number > 0)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(place, "killed" if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def tiny(alanine, tmp_path_factory):
    """A FitResult of a tiny fit, nothing held out for it but a part of its own trajectory."""
    from fpforce.fitting.fit import fit
    from fpforce.fitting.settings import FitSettings
    from fpforce.training.recipe.read import load_recipe

    output = tmp_path_factory.mktemp("fit") / "whole"
    recipe = load_recipe(alanine / "recipe.yaml", [*TINY, f"output={output}"])
    return fit(recipe, FitSettings(**SETTINGS), show_progress=False)


def journal(folder):
    return json.loads((folder / "fit.json").read_text())


def weights(folder):
    import torch

    content = torch.load(folder / "train_1" / "model.ckpt", weights_only=True)
    return content["state_dict"]


def simulated(folder, number):
    field = fpforce.load(folder / "model.pt")
    return fpforce.read_simulation(folder / "round_1" / f"from_{number}.xtc", field.beads).positions_nm


def test_a_fit_leaves_a_force_field_with_its_report_and_says_how_it_went(tiny):
    folder = tiny.model.parent
    figures = json.loads((folder / "report.json").read_text())
    assert tiny.status == figures["verdict"]["status"] != "pass", "150 steps are no training"
    assert tiny.sentence.startswith(f"{tiny.status} after 1 round") and str(tiny.report) in tiny.sentence
    assert figures["iid"]["frames"] == 256 and len(figures["speed"]["replicas_per_simulation"]) == 2
    assert len(figures["diagnosis"]) >= 1 and fpforce.load(tiny.model).temperature_k == 300


def test_workers_of_dask_calibrate_draw_and_simulate(tiny, alanine, tmp_path):
    """The same training and samples; simulations in shards, which the report reads as they are."""
    pytest.importorskip("distributed")
    from fpforce.fitting.fit import fit
    from fpforce.fitting.settings import FitSettings
    from fpforce.training.checkpoint.checkpoint import read_checkpoint
    from fpforce.training.recipe.read import load_recipe

    calibrated = ("calibration.rounds=1", "calibration.replicas=2", "calibration.picoseconds=2")
    recipe = load_recipe(
        alanine / "recipe.yaml",
        [*TINY, *calibrated, "calibration.timestep_fs=1", f"output={tmp_path / 'shared'}"],
    )
    settings = FitSettings(**SETTINGS | {"replicas": 2}, workers=2)  # a shard a replica, and a process a shard
    folder = fit(recipe, settings, show_progress=False).model.parent
    ours, theirs = weights(folder), weights(tiny.model.parent)
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert read_checkpoint(folder / "model.ckpt").record.calibration.settings["shard_replicas"] == 1
    drawn = [
        np.asarray(
            fpforce.read_bead_frames(
                each / "round_1" / "iid.xtc", each / "round_1" / "iid.xtc.pdb", beads="all"
            ).positions_nm
        )
        for each in (folder, tiny.model.parent)
    ]
    np.testing.assert_array_equal(*drawn)
    assert (folder / "round_1" / "from_2.xtc.shards").is_dir()
    assert simulated(folder, 2).shape == (12, 2, 5, 3)
    figures = json.loads((folder / "report.json").read_text())
    assert figures["speed"]["replicas_per_simulation"] == [2, 2]


def test_it_starts_from_both_basins_of_the_data(tiny):
    field, folder = fpforce.load(tiny.model), tiny.model.parent
    starts = [
        np.array(json.loads((folder / "round_1" / f"from_{k}.xtc.json").read_text())["start"]["positions_nm"])
        for k in (1, 2)
    ]
    phi = dihedrals(np.stack(starts), [field.beads.phi_psi[0]["phi"]])[:, 0]
    assert sorted(phi > 0) == [False, True]
    (plane,) = json.loads((folder / "report.json").read_text())["planes"]
    assert {one["started_in"] for one in plane["convergence"]["simulations"]} == {"phi < 0", "phi > 0"}


def test_no_training_sees_what_it_is_judged_by_and_the_report_says_what_that_is(tiny, alanine):
    folder = tiny.model.parent
    data = journal(folder)["data"]
    whole = fpforce.read_bead_frames(
        alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5", stride=10
    ).positions_nm
    trained = np.concatenate([np.load(folder / name)["positions"] for name in data["trained_on"]])
    reference = [np.load(folder / name)["positions"] for name in data["reference"]]
    assert len(trained) + sum(map(len, reference)) == len(whole)
    for one, where in zip(reference, data["held_out"], strict=True):
        np.testing.assert_array_equal(one, whole[where["first_frame"] :][: len(one)])
    in_training = {frame.tobytes() for frame in trained}
    assert not any(frame.tobytes() in in_training for block in reference for frame in block)
    assert "of the same run" in data["note"] and "blocks of time" in (folder / "report.html").read_text()


def test_a_fit_killed_in_every_stage_goes_on_to_the_same_result(tiny, alanine, tmp_path):
    output = tmp_path / "killed"
    asked = json.dumps([str(alanine / "recipe.yaml"), str(output), TINY, SETTINGS])
    done = subprocess.run([sys.executable, "-P", "-c", KILLED, asked], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        *(f"{place} killed" for place in ("prepare", "train", "export", "sample", "simulate", "evaluate")),
        "None 0",
    ], done.stderr
    ours, theirs = journal(output), journal(tiny.model.parent)
    assert [one["plan"] for one in ours["rounds"]] == [one["plan"] for one in theirs["rounds"]]
    assert ours["data"]["states"] == theirs["data"]["states"]
    mine, whole = weights(output), weights(tiny.model.parent)
    assert mine.keys() == whole.keys() and all((mine[name] == whole[name]).all() for name in whole)
    samples = [folder / "round_1" / "iid.xtc" for folder in (output, tiny.model.parent)]
    assert samples[0].read_bytes() == samples[1].read_bytes()
    for number in (1, 2):
        again, once = simulated(output, number), simulated(tiny.model.parent, number)
        assert again.shape == once.shape
        np.testing.assert_allclose(again[:3], once[:3], atol=2e-3)  # up to rounding, which grows
    assert ours["rounds"][0]["verdict"]["status"] == theirs["rounds"][0]["verdict"]["status"]


def test_many_molecules_are_refused(alanine, tmp_path):
    from fpforce.fitting.fit import fit
    from fpforce.training.recipe.read import parse_recipe

    content = {"data": {"molecules": [str(tmp_path)]}, "temperature_k": 300, "output": str(tmp_path / "out")}
    content["model"] = {"kind": "graph_transformer", "identity": False}
    with pytest.raises(InputError, match="a fit is of one molecule"):
        fit(parse_recipe(content))


def test_a_reference_that_is_trained_on_is_refused(alanine, tmp_path):
    from fpforce.fitting.fit import fit
    from fpforce.fitting.settings import FitSettings
    from fpforce.training.recipe.read import load_recipe

    recipe = load_recipe(alanine / "recipe.yaml", [*TINY, f"output={tmp_path / 'out'}"])
    with pytest.raises(InputError, match="is trained on, too"):
        fit(recipe, FitSettings(reference=[alanine / "train.xtc"]))
