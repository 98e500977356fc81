"""The dipeptides' split by sequence, and a generator that a kill does not harm."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import mdtraj
import pytest

from fpforce.molecule.chirality import d_residues

EXAMPLE = Path(__file__).parents[2] / "examples" / "dipeptides"
OPTIONS = ("--train-ns", "0.02", "--train-rungs", "1", "--test-ns", "0.01", "--test-rungs", "2", "--discard-ps", "2")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import generate
    import sequences

    yield sequences, generate
    for name in ("generate", "sequences", "task"):
        del sys.modules[name]


def command(output, only, *options):
    return [sys.executable, str(EXAMPLE / "generate.py"), str(output), "--only", only, *OPTIONS, *options]


def test_the_split_is_the_drawn_one_and_has_every_amino_acid_at_each_place_in_four_training_sequences(example):
    sequences, _ = example
    split = sequences.load()
    assert split == sequences.draw()
    assert len({*split["train"], *split["test"]}) == len(split["train"]) + len(split["test"])
    assert len(split["train"]) >= 60 and len(split["test"]) == 20
    assert not set(split["train"]) & set(split["test"])
    assert len(sequences.AMINO_ACIDS) == 18 and not set("GP") & set(sequences.AMINO_ACIDS)
    for place in (0, 1):
        standing = Counter(sequence[place] for sequence in split["train"])
        assert set(standing) == set(sequences.AMINO_ACIDS) and min(standing.values()) == sequences.AT_EACH_PLACE


def test_short_runs_come_before_long_ones_and_training_before_test(example):
    sequences, generate = example
    tasks = generate.list_tasks(sequences.load(), {"train": 2.0, "test": 2.0}, generate.RUNGS, 100.0)
    stages = list(dict.fromkeys((task.kind, task.ns) for task in tasks))
    assert stages == [("train", 0.5), ("test", 0.5), ("train", 2.0), ("test", 2.0)]
    assert len(tasks) == 2 * (len(sequences.load()["train"]) + 2 * 20)


def read(folder, name):
    return mdtraj.load(str(folder / f"{name}.xtc"), top=str(folder / f"{name.split('_')[0]}.pdb"))


def test_a_killed_generator_goes_on_to_the_same_data(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished = subprocess.run(command(whole, "AE,EA"), capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    process = subprocess.Popen(command(killed, "AE", "--checkpoint-minutes", "0"), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(killed.glob("train/AE/run1/part-*.xtc")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "train" / "AE.xtc").exists()
    finished = subprocess.run(command(killed, "AE"), capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert (read(killed, "train/AE").xyz == read(whole, "train/AE").xyz).all()

    for name, frames in (("train/AE", 20), ("test/EA_run1", 10), ("test/EA_run2", 10)):
        trajectory = read(whole, name)
        assert trajectory.n_frames == frames
        assert [atom.name for atom in trajectory.topology.atoms] == 2 * ["N", "CA", "CB", "C", "O"]
    record = json.loads((whole / "data.json").read_text())
    assert record["train"]["AE"]["frames"] == 20
    seeds = [run["seed"] for run in (record["train"]["AE"], *record["test"]["EA"]["runs"])]
    assert len(set(seeds)) == 3
    assert list(record["test"]["EA"]["runs"][0]["basins"]) == ["GLU2", "ALA3"]


@pytest.mark.parametrize("name", ["recipe.yaml", "graph_transformer.yaml"])
def test_recipe_is_for_the_beads_and_the_temperature_of_the_data(example, name):
    from openmm import app
    from task import BEADS, protocol_of

    from fpforce.molecule.mapping import map_beads
    from fpforce.reference.peptide import build_peptide
    from fpforce.training.recipe.read import load_recipe

    recipe = load_recipe(EXAMPLE / name)
    assert recipe.temperature_k == protocol_of(1).temperatures_k[0] == 310.0
    topology, _ = build_peptide("AS", app.ForceField("amber99sbildn.xml"), 1)
    beads = map_beads(mdtraj.Topology.from_openmm(topology), recipe.data.beads)
    assert sorted(beads.names) == sorted(2 * BEADS) and {bead.residue for bead in beads.beads} == {"ALA", "SER"}
    assert recipe.data.molecules == [EXAMPLE.parents[1] / "runs" / "dipeptides" / "train"]


def test_the_data_that_come_with_it_are_of_the_split_and_the_generator_goes_on_from_them(example, tmp_path):
    sequences, generate = example
    with tarfile.open(EXAMPLE / "data.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder, split = tmp_path / "dipeptides", sequences.load()
    tasks = generate.list_tasks(split, {"train": 0.5, "test": 0.5}, generate.RUNGS, 100.0)
    done = [task for task in tasks if task.is_done(folder)]
    assert {task.sequence for task in done if task.kind == "train"} == set(split["train"])
    assert any(task.kind == "test" for task in done)
    for task in done[:: len(done) // 5]:
        name = task.sequence if task.kind == "train" else f"{task.sequence}_run{task.run}"
        beads = mdtraj.load(
            str(folder / task.kind / f"{name}.xtc"), top=str(folder / task.kind / f"{task.sequence}.pdb")
        )
        assert beads.n_frames == json.loads(task.record(folder).read_text())["frames"] and beads.n_atoms == 10
        assert not d_residues(beads.xyz, beads.topology)
