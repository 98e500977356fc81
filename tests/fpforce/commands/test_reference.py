"""fpforce-reference: a small run of the real command, and one line for each wrong input."""

import json
import os
import shutil
import subprocess
import sys

import mdtraj
import numpy as np
import pytest

from fpforce.reference.make import seed_of_run

COMMAND = "from fpforce.commands.reference import main; main()"
SHORT = ("--ns", 0.02, "--discard-ps", 2, "--interval-ps", 1, "--rungs", 2)


def reference(*arguments):
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )


@pytest.fixture(scope="module")
def short_data(tmp_path_factory):
    output = tmp_path_factory.mktemp("reference") / "peptide"
    return output, reference("AS", output, *SHORT, "--uncapped", "--start", "extended")


def test_data_set_has_its_files_and_tells_how_it_was_made(short_data):
    output, finished = short_data
    # 20 ps never settle a peptide.
    assert finished.returncode == 1, finished.stderr
    assert "NOT CONVERGED" in finished.stderr and "ladder: 300, 600 K" in finished.stdout
    record = json.loads((output / "data.json").read_text())
    assert record["made"]["sequence"] == "AS"
    assert record["made"]["temperatures_k"] == [300.0, 600.0] and record["made"]["versions"]["openmm"]
    assert list(record["runs"]) == ["train.xtc", "reference.xtc"]
    assert [run["seed"] for run in record["runs"].values()] == [seed_of_run(1, number) for number in (1, 2)]
    for name, run in record["runs"].items():
        trajectory = mdtraj.load(str(output / name), top=str(output / "peptide.pdb"))
        assert trajectory.n_frames == run["frames"] == 20 and run["ns_per_day"] > 0
        assert {atom.element.symbol for atom in trajectory.topology.atoms} == {"C", "N", "O"}
        assert trajectory.topology.n_atoms == 12  # 5 of alanine, 6 of serine, OXT
    assert (output / "start.pdb").exists()


def test_mean_forces_are_made_of_the_first_run_and_can_be_read(tmp_path):
    from fpforce.trajectories.bead_frames import read_bead_frames
    from fpforce.trajectories.forces import ForceFiles

    output = tmp_path / "peptide"
    finished = reference(
        "AS", output, *SHORT, "--rungs", 1, "--runs", 1, "--uncapped", "--mean-forces", 3, "--mean-force-ps", 0.5
    )
    made, path = json.loads((output / "data.json").read_text())["made"]["mean_forces"], output / "mean_forces.npz"
    assert made["frames"] == 3 and made["beads"] == "backbone" and 0.0 < made["noise"] < 1.0, finished.stderr
    frames = read_bead_frames(
        path, output / "peptide.pdb", beads="backbone", length_unit="nm", forces=ForceFiles(paths=(path,))
    )
    assert frames.forces.kj_per_mol_nm.shape == frames.positions_nm.shape == frames.forces.variances.shape
    trained = mdtraj.load(str(output / "train.xtc"), top=str(output / "peptide.pdb"))
    atoms = [atom for bead in frames.beads.beads for atom in bead.atoms]
    assert abs(frames.positions_nm[-1] - trained.xyz[-1, atoms]).max() < 1e-3
    too_many = reference("AS", tmp_path / "other", *SHORT, "--mean-forces", 21)
    assert too_many.returncode == 2 and "mean forces for 21 frames, and a run keeps 20" in too_many.stderr


def test_more_ns_go_on_from_the_same_frames(short_data):
    output, _ = short_data
    before = mdtraj.load(str(output / "train.xtc"), top=str(output / "peptide.pdb"))
    longer = ("--ns", 0.025, *SHORT[2:], "--uncapped", "--start", "extended")
    finished = reference("AS", output, *longer, "--resume")
    assert finished.returncode == 1, finished.stderr
    after = mdtraj.load(str(output / "train.xtc"), top=str(output / "peptide.pdb"))
    assert after.n_frames == 25
    assert (after.xyz[:20] == before.xyz).all()


def test_ca_alone_are_those_of_the_heavy_atoms(short_data, tmp_path):
    output, _ = short_data
    again = shutil.copytree(output, tmp_path / "peptide")
    heavy = mdtraj.load(str(again / "train.xtc"), top=str(again / "peptide.pdb"))
    kept = f"{heavy.n_frames / 1000:g}"
    finished = reference(
        "AS", again, "--ns", kept, *SHORT[2:], "--uncapped", "--start", "extended", "--resume", "--atoms", "ca"
    )
    assert finished.returncode == 1 and "NOT CONVERGED" in finished.stderr, finished.stderr
    alone = mdtraj.load(str(again / "train.xtc"), top=str(again / "peptide.pdb"))
    assert [atom.name for atom in alone.topology.atoms] == ["CA", "CA"]
    assert (
        alone.xyz.shape[0] == heavy.n_frames
        and abs(alone.xyz - heavy.xyz[:, heavy.topology.select("name CA")]).max() < 1e-6
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("AX",), "'X' is no amino acid"),
        (("A", "--uncapped"), "single amino acid"),
        (("A", "--ns", "0"), "at least one frame"),
        (("A", "--rungs", "0"), "at least 1 rung"),
        (("A", "--rungs", "2", "--top-temperature-k", "200"), "give one above the coldest"),
        (("A", "--ladder", "300,290"), "rising temperatures"),
        (("A", "--timestep-fs", "3"), "no multiple of timestep-fs"),
        (("A", "--hydrogen-mass-da", "0"), "unstable with light hydrogens"),
        (("A", "--atoms", "some"), "give heavy, all or ca"),
        (("A", "--only", "3"), "only 3"),
        (("A", "--rungs", "1", "--start", "curled"), "start 'curled'"),
        (("A", "--rungs", "1", "--start", "pdb"), "start pdb is for a PDB"),
        (("A", "--rungs", "1", "--platform", "Abacus"), "'Abacus' is not available"),
        (("A", "--force-field", "nowhere.xml"), "force field nowhere.xml"),
        (("nowhere.pdb",), "nowhere.pdb: no such file"),
        (("AX", "--model", "disordered"), "has the letter 'X'"),
        (("A", "--model", "elastic"), "model 'elastic' is unknown"),
        (("GKWED", "--model", "disordered", "--uncapped"), "--capped is of all atoms"),
        (("GKWED", "--model", "disordered", "--force-field", "a.xml"), "--force-field is of all atoms"),
        (("GKWED", "--model", "disordered", "--rungs", "0"), "at least 1 rung"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, tmp_path):
    source, *options = arguments
    finished = reference(source, tmp_path / "output", *options)
    assert finished.returncode == 2, finished.stderr
    assert message in finished.stderr and len(finished.stderr.splitlines()) == 1


def test_bead_model_leaves_a_data_set_with_forces(tmp_path):
    output = tmp_path / "octane"
    finished = reference("C8", output, "--model", "alkane", "--ns", 0.2, "--discard-ps", 20, "--ladder", "400,500")
    assert finished.returncode in (0, 1), finished.stderr
    assert "ladder: 400, 500 K" in finished.stdout and "temperature: 400 K" in finished.stdout
    record = json.loads((output / "data.json").read_text())
    assert record["made"]["molecule"] == "C8H18" and record["made"]["temperatures_k"] == [400.0, 500.0]
    frames = mdtraj.load(str(output / "train.xtc"), top=str(output / "octane.pdb"))
    assert frames.n_frames == 100 and [atom.name for atom in frames.topology.atoms][:2] == ["C1", "C2"]
    assert np.load(output / "train_forces.npz")["forces"].shape == (100, 8, 3)
