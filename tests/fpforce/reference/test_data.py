"""The alanine dipeptide data that the repository carries is what its README says, and its generator makes such data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app

from fpforce.molecule.chirality import chiral_residues, d_residues, dihedral
from fpforce.reference.peptide import build_peptide
from fpforce.trajectories.bead_frames import read_bead_frames

EXAMPLE = Path(__file__).parents[3] / "examples" / "alanine_dipeptide"
PDB = EXAMPLE / "alanine_dipeptide.pdb"
RECORD = json.loads((EXAMPLE / "data.json").read_text())
RUNS = ("train.xtc", "reference.xtc")


@pytest.fixture(scope="module", params=RUNS)
def run(request):
    return request.param, mdtraj.load(str(EXAMPLE / request.param), top=str(PDB))


def phi(trajectory):
    return mdtraj.compute_phi(trajectory)[1][:, 0]


def test_runs_have_their_frames_every_2_ps_and_fit_in_6_mb(run):
    name, trajectory = run
    # Frame counts of the two runs as they were simulated (43 ns each at 300 K).
    assert trajectory.n_frames == {"train.xtc": 21440, "reference.xtc": 21417}[name] == RECORD["runs"][name]["frames"]
    np.testing.assert_allclose(np.diff(trajectory.time), 2.0)
    assert sum((EXAMPLE / file).stat().st_size for file in (*RUNS, PDB.name)) < 6e6


def test_every_frame_is_l_alanine(run):
    _, trajectory = run
    assert [str(residue) for residue, _, _ in chiral_residues(trajectory.topology)] == ["ALA2"]
    assert d_residues(trajectory.xyz, trajectory.topology) == []


def test_topology_lists_the_heavy_atoms_with_their_elements():
    topology = mdtraj.load_topology(str(PDB))
    assert [residue.name for residue in topology.residues] == ["ACE", "ALA", "NME"]
    assert [f"{atom.name}:{atom.element.symbol}" for atom in topology.atoms] == [
        "CH3:C",
        "C:C",
        "O:O",
        "N:N",
        "CA:C",
        "CB:C",
        "C:C",
        "O:O",
        "N:N",
        "C:C",
    ]
    assert topology.n_bonds == 9


def test_rounding_to_xtc_keeps_bond_means_and_widths(run):
    name, trajectory = run
    bonds = list(trajectory.topology.bonds)
    xyz = trajectory.xyz.astype(np.float64)
    lengths = np.linalg.norm(xyz[:, [a.index for a, _ in bonds]] - xyz[:, [b.index for _, b in bonds]], axis=2)
    recorded = RECORD["runs"][name]["bonds_nm"]
    for (a, b), length in zip(bonds, lengths.T, strict=False):
        first, second = (f"{atom.residue.name}{atom.residue.resSeq}-{atom.name}" for atom in (a, b))
        before = recorded.get(f"{first} {second}") or recorded[f"{second} {first}"]
        # Rounding moves a length by 4e-4 nm at random, so a mean of 21,000 by 3e-6; five times that is allowed.
        assert length.mean() == pytest.approx(before["mean"], abs=1.5e-5)
        # Rounding adds 2 (0.001 nm)^2 / 12 to the variance of each difference of coordinates.
        assert length.std() == pytest.approx(np.sqrt(before["std"] ** 2 + 1e-6 / 6.0), abs=1e-5)


def test_population_of_positive_phi_is_that_of_the_simulation(run):
    name, trajectory = run
    # 0.0222 and 0.0216: figures of the two replica-exchange runs over all their frames.
    assert np.mean(phi(trajectory) > 0) == pytest.approx({"train.xtc": 0.0222, "reference.xtc": 0.0216}[name], abs=1e-4)


def test_runs_agree_in_the_free_energy_of_positive_phi_within_0_3_kt():
    populations = [np.mean(phi(mdtraj.load(str(EXAMPLE / name), top=str(PDB))) > 0) for name in RUNS]
    training, reference = (-np.log(p / (1 - p)) for p in populations)
    assert abs(training - reference) < 0.3
    assert RECORD["agreement"]["reached"]
    assert RECORD["agreement"]["largest_kt"] == pytest.approx(abs(training - reference), abs=5e-3)


def test_training_and_reference_share_no_frame():
    frames = [{frame.tobytes() for frame in mdtraj.load(str(EXAMPLE / name), top=str(PDB)).xyz} for name in RUNS]
    assert not frames[0] & frames[1]


@pytest.mark.parametrize("name, sign", [("start_negative.pdb", -1.0), ("start_positive.pdb", 1.0)])
def test_start_frame_is_a_training_frame_inside_its_basin(name, sign):
    start = read_bead_frames(EXAMPLE / name)
    training = read_bead_frames(EXAMPLE / "train.xtc", PDB, beads="backbone5")
    assert training.beads.match(start.beads.to_mdtraj()) == "beads"
    angles = training.beads.phi_psi[0]
    assert sign * dihedral(start.positions_nm, angles["phi"])[0] > 0.5
    source = training.positions_nm[RECORD["start_frames"][name]["train_frame"]]
    np.testing.assert_allclose(
        start.positions_nm[0] - start.positions_nm[0].mean(0), source - source.mean(0), atol=1.2e-3
    )


def test_built_peptide_is_l_and_trans_with_sound_second_centres():
    topology, positions = build_peptide("IHTP", app.ForceField("amber99sbildn.xml"), 3)
    built = mdtraj.Trajectory(positions[None], mdtraj.Topology.from_openmm(topology))
    assert len(chiral_residues(built.topology)) == 4
    assert d_residues(built.xyz, built.topology) == []
    assert np.all(np.abs(mdtraj.compute_omega(built)[1]) > np.radians(140))
    # CIP rules: CB of L-isoleucine is S and of L-threonine R, each with positive volume in this order.
    for residue, names in (("ILE", ("CB", "CA", "CG1", "CG2")), ("THR", ("CB", "CA", "OG1", "CG2"))):
        centre, *others = (built.topology.select(f"resname {residue} and name {name}")[0] for name in names)
        assert np.linalg.det(built.xyz[0, others] - built.xyz[0, centre]) > 0.001


def generate(output, *options):
    command = [sys.executable, str(EXAMPLE / "generate.py"), str(output), *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=120
    )


def frames_of(folder):
    """All frames of a run, and nothing but complete XTC files."""
    topology = mdtraj.load_topology(str(PDB))
    parts = sorted(folder.glob("part-*.xtc"))
    with mdtraj.open(str(parts[0])) as first:
        n_atoms = first.read(1)[0].shape[1]
    assert n_atoms == topology.n_atoms + 12
    xyz = []
    for part in parts:
        with mdtraj.open(str(part)) as file:
            xyz.append(file.read()[0])
    return np.concatenate(xyz)


@pytest.fixture(scope="module")
def short_data(tmp_path_factory):
    output = tmp_path_factory.mktemp("generated") / "dipeptide"
    return output, generate(output, "--ns", 0.04, "--discard-ps", 4)


def test_generator_writes_a_readable_data_set_and_refuses_to_call_it_converged(short_data):
    output, finished = short_data
    # 40 ps cannot settle the population of phi > 0, which is entered every 10 ns.
    assert finished.returncode == 1, finished.stderr
    assert "NOT CONVERGED" in finished.stderr and str(output) in finished.stderr
    for name in RUNS:
        frames = read_bead_frames(output / name, output / "dipeptide.pdb", beads="backbone5")
        assert len(frames) == 20
        assert frames.time_step_ps == pytest.approx(2.0)
    record = json.loads((output / "data.json").read_text())
    assert record["made"]["force_field"] == ["amber99sbildn.xml", "amber99_obc.xml"]
    assert record["made"]["temperatures_k"] == RECORD["made"]["temperatures_k"]
    assert not record["agreement"]["reached"]
    assert all(len(run["swap_acceptance"]) == 4 for run in record["runs"].values())
    assert record["runs"]["train.xtc"]["seed"] != record["runs"]["reference.xtc"]["seed"]


def test_generator_goes_on_after_a_kill_to_the_same_frames(short_data, tmp_path):
    output, _ = short_data
    options = ("--ns", 0.04, "--discard-ps", 4, "--only", 1, "--checkpoint-minutes", 0)
    process = subprocess.Popen([sys.executable, str(EXAMPLE / "generate.py"), str(tmp_path), *map(str, options)])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("run1/part-*.xtc"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(frames_of(tmp_path / "run1")) < 22
    resumed = generate(tmp_path, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    np.testing.assert_array_equal(frames_of(tmp_path / "run1"), frames_of(output / "run1"))


def test_generator_stopped_by_ctrl_c_keeps_its_frames_and_says_how_to_go_on(tmp_path):
    command = [
        sys.executable,
        str(EXAMPLE / "generate.py"),
        str(tmp_path),
        "--ns",
        "10",
        "--only",
        "1",
        "--checkpoint-minutes",
        "0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("run1/part-*.xtc")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "go on with --resume" in message
    assert len(frames_of(tmp_path / "run1")) >= 1


@pytest.mark.parametrize(
    "options, message",
    [
        (("--sequence", "AX"), "'X' is no amino acid"),
        (("--ns", "0"), "at least one frame"),
        (("--ns", "0.04", "--discard-ps", "4"), "is not empty: go on with --resume"),
        (
            ("--ns", "0.04", "--discard-ps", "4", "--seed", "7", "--resume"),
            "was begun with seed of the data set = 1, not 7",
        ),
    ],
)
def test_generator_refuses_what_it_cannot_do_in_one_line(short_data, options, message):
    output, _ = short_data
    finished = generate(output, *options)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
