"""The commands on a transferable model: with --topology they do for an unseen sequence what they do for a molecule of
their own.
"""

import json
from functools import partial

import mdtraj
import numpy as np
import pytest

from fpforce import SimulationSettings, evaluate, load, read_simulation, simulate
from fpforce.commands import export, info, sample
from fpforce.foundation.errors import InputError
from fpforce.training.losses.residual import residual_curve


def run(command, *arguments):
    """Exit status of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        command.main([*map(str, arguments)])
    return ended.value.code


@pytest.fixture(scope="module")
def simulation(transferable_model, unseen_pdb, tmp_path_factory):
    """Two replicas of VA, of which the first frames were written; the weights are random, so not for long."""
    output = tmp_path_factory.mktemp("simulation") / "va.xtc"
    settings = SimulationSettings(
        steps=20, replicas=2, timestep_fs=0.1, report_interval_ps=0.001, topology=unseen_pdb, backend="native"
    )
    return simulate(transferable_model, output, settings)


def test_unseen_sequence_is_simulated_natively_from_its_own_coordinates(simulation, transferable_model, unseen_pdb):
    beads = load(transferable_model).bind(unseen_pdb).beads
    frames = read_simulation(simulation.output, beads)
    assert simulation.backend == "native" and not simulation.failed and frames.metadata["molecule"] == "VAL2 ALA3"
    assert frames.metadata["start"]["source"] == str(unseen_pdb)
    start = mdtraj.load(str(unseen_pdb)).xyz[0]
    np.testing.assert_allclose(frames.metadata["start"]["positions_nm"], start - start.mean(0), atol=1e-5)
    written = mdtraj.load(str(simulation.trajectories[0]), top=str(simulation.topology))
    assert [f"{a.residue.name} {a.name}" for a in written.topology.atoms] == [
        f"{b.residue} {b.name}" for b in beads.beads
    ]


def test_simulation_without_or_with_another_molecule_is_refused(simulation, transferable_model, peptide, tmp_path):
    with pytest.raises(InputError, match="transferable force field: say for which molecule"):
        simulate(transferable_model, tmp_path / "a.xtc", SimulationSettings(steps=20, report_interval_ps=0.001))
    other = peptide("AS")
    other.beads.write_pdb(tmp_path / "AS.pdb", other.positions_nm[0])
    settings = SimulationSettings(
        steps=40, replicas=2, timestep_fs=0.1, report_interval_ps=0.001, resume=True, topology=tmp_path / "AS.pdb"
    )
    with pytest.raises(InputError, match="molecule is ALA2 SER3, the run to continue has VAL2 ALA3"):
        simulate(transferable_model, simulation.output, settings)


def test_force_field_of_one_molecule_takes_no_topology(small_model, unseen_pdb, tmp_path):
    settings = SimulationSettings(steps=20, report_interval_ps=0.001, topology=unseen_pdb)
    with pytest.raises(InputError, match="force field of one molecule already; leave the topology out"):
        simulate(small_model, tmp_path / "a.xtc", settings)


def test_samples_of_an_unseen_sequence_are_drawn_from_the_checkpoint(transferable_checkpoint, unseen_pdb, tmp_path):
    output = tmp_path / "iid.xtc"
    arguments = (transferable_checkpoint, "-n", 8, "-o", output, "--steps", 10, "--device", "cpu")
    assert run(sample, *arguments, "--topology", unseen_pdb) == 0
    record = json.loads((tmp_path / "iid.xtc.json").read_text())
    assert record["molecule"] == "VAL2 ALA3" and record["samples"] + record["non_finite"] == 8
    assert mdtraj.load_topology(str(tmp_path / "iid.xtc.pdb")).n_atoms == 10
    assert run(sample, transferable_checkpoint, "-n", 8, "-o", tmp_path / "b.xtc") == 2


def test_export_verifies_the_program_as_bound_to_training_molecules(
    transferable_checkpoint, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        "fpforce.training.export.residual_curve", partial(residual_curve, points=2)
    )  # 13 take their time
    assert run(export, transferable_checkpoint, tmp_path / "model.pt") == 0
    assert "verified on 128 frames" in capsys.readouterr().out  # 32 of each molecule
    metadata = load(tmp_path / "model.pt").metadata
    assert metadata["verification"]["molecules"] == 4 and metadata["verification"]["force_error"] < 1e-4
    assert metadata["training"]["fokker_planck_residual"]["residual"][0] > 0
    assert run(export, transferable_checkpoint, tmp_path / "model.pt") == 2


def test_info_says_what_is_known_and_of_a_molecule_its_beads(transferable_model, unseen_pdb, capsys):
    assert run(info, transferable_model) == 0
    text = capsys.readouterr().out
    assert "trained on 4: ASV, AV, SA, VS" in text and "VAL" in text
    assert run(info, transferable_model, "--topology", unseen_pdb) == 0
    assert "VAL2-N 14.01 Da" in capsys.readouterr().out


def test_simulation_of_an_unseen_sequence_is_evaluated_against_its_reference(
    simulation, transferable_model, unseen_pdb, peptide, tmp_path
):
    frames = peptide("VA", 400, seed=3)
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"VA_run{number}.xtc")
        mdtraj.Trajectory(frames.positions_nm[200 * number :][:200], frames.beads.to_mdtraj()).save_xtc(str(paths[-1]))
    report = evaluate(transferable_model, paths, simulation.output, topology=unseen_pdb, output=tmp_path / "report")
    assert report.html_path.exists() and report.figures["provenance"]["model"]["molecule"] == "VAL2 ALA3"
    assert [plane.plane.name for plane in report.assessment.planes] == ["VAL2-ALA3"]
    html = report.html_path.read_text()
    assert (
        "Molecule: VAL2 ALA3" in html
        and "psi of VAL2, the residue before it, and phi of ALA3, the one after it" in html
    )
