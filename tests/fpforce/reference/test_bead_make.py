"""Data sets of bead models: exact energies of the stored frames, the same frames after a stop, distributions."""

import json
from dataclasses import replace

import mdtraj
import numpy as np
import pytest
from scipy.stats import kstest

from fpforce.distributed.parts import Where
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.reference.bead_make import BeadSettings, make_bead_reference
from fpforce.reference.models import build_model
from fpforce.reference.models.bead_model import system_of
from fpforce.reference.models.disordered import BOND_KJ_PER_MOL_NM2, BOND_NM
from fpforce.reference.models.truth import energies_and_forces
from fpforce.reference.replica_exchange import ReplicaExchange
from fpforce.reference.runs_by_workers import make_bead_reference_by
from fpforce.trajectories.bead_frames import read_bead_frames
from fpforce.trajectories.forces import ForceFiles
from fpforce.trajectories.virial import check_forces

SHORT = BeadSettings(ns=3.0, interval_ps=10.0, discard_ps=100.0)


@pytest.fixture(scope="module")
def model():
    return build_model("disordered", "GKWED")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("beads") / "chain"
    return folder, make_bead_reference(model, folder, SHORT, show_progress=False)


def frames_of(folder, file):
    return mdtraj.load(str(folder / file), top=str(folder / "chain.pdb")).xyz


def test_stored_energies_and_forces_are_those_of_the_stored_frames(model, made):
    folder, record = made
    for file, run in record["runs"].items():
        stored = np.load(folder / run["forces"])
        energies, forces = energies_and_forces(model.system, frames_of(folder, file))
        assert run["frames"] == len(energies) == 300
        assert np.array_equal(stored["energies_kj_per_mol"], energies) and np.array_equal(stored["forces"], forces)
        assert run["energy_kj_per_mol"]["mean"] == pytest.approx(energies.mean())


def test_training_takes_the_data_and_its_forces_fit_the_frames(made):
    folder, record = made
    frames = read_bead_frames(
        [folder / "train.xtc"],
        folder / "chain.pdb",
        beads="ca",
        forces=ForceFiles(paths=(folder / "train_forces.npz",), constraints="none"),
    )
    assert [str(bead) for bead in frames.beads.beads] == ["GLY1-CA", "LYS2-CA", "TRP3-CA", "GLU4-CA", "ASP5-CA"]
    assert len(frames.beads.bonds) == 4
    virials = check_forces(frames, BOLTZMANN_KJ_PER_MOL_K * record["made"]["temperature_k"])
    assert np.mean([virial.ratio for virial in virials]) == pytest.approx(1.0, abs=0.15)


def test_record_tells_the_model_and_how_it_was_run(made):
    folder, record = made
    assert json.loads((folder / "data.json").read_text()) == record
    assert record["made"]["model"] == "disordered" and record["made"]["molecule"] == "GKWED"
    assert record["made"]["parameters"]["charges"] == [1, 1, 0, -1, -2]
    assert "CALVADOS" in record["made"]["source"] and record["made"]["temperature_k"] == 298.15
    assert set(record["start_frames"]) == {"start_compact.pdb", "start_extended.pdb"}
    assert {run["seed"] for run in record["runs"].values()} == set(_seeds(record)) and len(set(_seeds(record))) == 2


def _seeds(record):
    return [run["seed"] for run in record["runs"].values()]


def test_runs_that_stop_go_on_to_the_same_frames(model, made, tmp_path):
    folder, _ = made
    again = tmp_path / "chain"
    for ns in (1.0, 3.0):
        settings = BeadSettings(ns=ns, interval_ps=10.0, discard_ps=100.0, resume=ns > 1.0)
        make_bead_reference(model, again, settings, show_progress=False)
    for file in ("train.xtc", "reference.xtc"):
        assert np.array_equal(frames_of(again, file), frames_of(folder, file))


def test_another_molecule_does_not_go_on_in_the_folder(made):
    folder, _ = made
    other = build_model("disordered", "GKWEE")
    with pytest.raises(InputError, match="begun with molecule = 'GKWED', not 'GKWEE'"):
        make_bead_reference(other, folder, BeadSettings(ns=3.0, discard_ps=100.0, resume=True), show_progress=False)


def test_runs_made_side_by_side_are_the_data_set_of_one_call(model, made, tmp_path):
    folder, _ = made
    again = tmp_path / "chain"
    for number in (1, 2):
        settings = BeadSettings(ns=3.0, interval_ps=10.0, discard_ps=100.0, only=number)
        assert make_bead_reference(model, again, settings, show_progress=False) is None
    last = BeadSettings(ns=3.0, interval_ps=10.0, discard_ps=100.0, resume=True)
    assert make_bead_reference(model, again, last, show_progress=False) is not None
    assert np.array_equal(frames_of(again, "reference.xtc"), frames_of(folder, "reference.xtc"))


def test_workers_make_the_same_frames_and_one_process_goes_on(model, made, tmp_path, monkeypatch):
    """The start is a relative path, which a worker takes for the same file."""
    folder, _ = made
    monkeypatch.chdir(folder)
    starts = ("start_compact.pdb", "random")
    short = BeadSettings(ns=1.0, interval_ps=10.0, discard_ps=100.0, runs=3, starts=starts)
    whole = replace(short, ns=2.0)
    make_bead_reference_by(Where(), model, tmp_path / "alone" / "chain", whole)
    make_bead_reference_by(Where(workers=2), model, tmp_path / "together" / "chain", short)
    make_bead_reference_by(Where(), model, tmp_path / "together" / "chain", replace(whole, resume=True))
    for file in ("train.xtc", "reference.xtc", "run3.xtc"):
        frames = frames_of(tmp_path / "together" / "chain", file)
        assert len(frames) == 200
        np.testing.assert_array_equal(frames, frames_of(tmp_path / "alone" / "chain", file))
    with pytest.raises(InputError, match="--only 2 is a single run"):
        make_bead_reference_by(Where(workers=2), model, tmp_path / "new", replace(short, only=2))


def test_free_bond_has_the_lengths_of_its_boltzmann_distribution():
    """Two beads: p(r) is r^2 exp(-k (r - r0)^2 / 2 kT), at the time step and friction of the model."""
    import openmm

    force = openmm.HarmonicBondForce()
    force.addBond(0, 1, BOND_NM, BOND_KJ_PER_MOL_NM2)
    usual = build_model("disordered", "GKWED").usual
    exchange = ReplicaExchange(
        system_of([100.0, 100.0], [force]),
        [[0.0, 0, 0], [BOND_NM, 0, 0]],
        (300.0,),
        timestep_fs=usual.timestep_fs,
        friction_per_ps=1.0,
        seed=8,
    )
    lengths = []
    for _ in range(2000):
        exchange.advance(200)
        lengths.append(np.linalg.norm(np.diff(exchange.frame(), axis=0)))
    r = np.linspace(0.2, 0.6, 4001)
    density = r**2 * np.exp(-0.5 * BOND_KJ_PER_MOL_NM2 * (r - BOND_NM) ** 2 / (BOLTZMANN_KJ_PER_MOL_K * 300.0))
    distribution = np.cumsum(density) / density.sum()
    assert kstest(lengths[100:], lambda x: np.interp(x, r, distribution)).pvalue > 1e-3


def test_structure_based_data_are_at_the_temperature_where_half_is_folded(tmp_path):
    """A helix of 12 beads; the scan is kept, and a later call takes the same temperature."""
    k = np.arange(12)
    turn = np.radians(100.0) * k
    native = np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), 0.15 * k], axis=1)
    lines = [
        f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        for i, (x, y, z) in enumerate(10.0 * native)
    ]
    (tmp_path / "helix.pdb").write_text("\n".join([*lines, "END"]) + "\n")
    model = build_model("structure-based", str(tmp_path / "helix.pdb"))
    settings = BeadSettings(ns=0.8, discard_ps=40.0)
    record = make_bead_reference(model, tmp_path / "data", settings, show_progress=False)
    scan = json.loads((tmp_path / "data" / "folding_temperature.json").read_text())
    assert record["made"]["folding_temperature"] == scan
    assert record["made"]["temperature_k"] == pytest.approx(scan["temperature_k"], abs=0.1)
    assert scan["folded"][0] > 0.5 > scan["folded"][-1]
    assert [run["start"] for run in record["runs"].values()] == ["native", "random"]
    assert (tmp_path / "data" / "native.pdb").exists()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"ns": 0.001}, "at least one frame"),
        ({"starts": ("native",)}, "has no native structure"),
        ({"starts": ("folded",)}, "give native, random or the path of a PDB"),
        ({"starts": ("nowhere.pdb",)}, "nowhere.pdb: no such file"),
        ({"timestep_fs": 3.0}, "no multiple of timestep-fs"),
        ({"only": 3}, "only 3"),
        ({"platform": "Abacus"}, "'Abacus' is not available"),
    ],
)
def test_wrong_settings_are_refused(model, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        make_bead_reference(model, tmp_path / "new", BeadSettings(**settings), show_progress=False)
