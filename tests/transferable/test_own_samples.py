"""A transferable model as the force field of one molecule: the same energy, or calibrated by the model's own
samples.
"""

from threading import Event

import mdtraj
import numpy as np
import openmm
import pytest
import torch

from fpforce import ForceField, load, make_system
from fpforce.commands import export as command
from fpforce.foundation.errors import InputError
from fpforce.training.calibration import own_samples
from fpforce.training.calibration.last_layer import last_layer_inputs
from fpforce.training.calibration.persistent_replicas import PersistentReplicas
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.export import export
from fpforce.training.modelfile.write import write_force_field
from fpforce.training.recipe.read import calibration_of


def energies(force_field, positions_nm, backend):
    context = openmm.Context(
        make_system(force_field, backend=backend),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    found = []
    for frame in positions_nm:
        context.setPositions(frame)
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    return np.array(found)


def test_the_force_field_of_one_molecule_is_what_binding_gives(
    transferable_checkpoint, transferable_model, unseen_pdb, peptide, tmp_path
):
    export(transferable_checkpoint, tmp_path / "va.pt", topology=unseen_pdb)
    own, bound = load(tmp_path / "va.pt"), load(transferable_model).bind(unseen_pdb)
    assert isinstance(own, ForceField) and own.beads.labels == bound.beads.labels
    positions_nm = peptide("VA", 4, seed=5).positions_nm.astype(float)
    for backend in ("native", "torchforce"):
        np.testing.assert_allclose(
            energies(own, positions_nm, backend), energies(bound, positions_nm, backend), rtol=1e-5
        )
    with pytest.raises(InputError, match="va.pt already exists"):
        export(transferable_checkpoint, tmp_path / "va.pt", topology=unseen_pdb)


def test_calibration_gives_the_energy_the_weights_that_the_likelihoods_have(
    transferable_checkpoint, unseen_pdb, peptide, tmp_path, monkeypatch
):
    """Likelihoods of an energy whose last layer is known to be another one, on conformations in place of samples."""
    checkpoint = read_checkpoint(transferable_checkpoint)
    t_eval, bound = checkpoint.recipe.diffusion.t_eval, checkpoint.bind(unseen_pdb)
    energy = bound.model(bound.covering(t_eval))

    def normalised(count, seed):
        positions_nm = peptide("VA", count, seed=seed).positions_nm
        return torch.from_numpy(positions_nm - positions_nm.mean(1, keepdims=True)).float() / bound.record.scale_nm

    h = last_layer_inputs(energy, normalised(400, 4), t_eval)
    other = torch.linalg.svd(h - h.mean(0), full_matrices=False)[2][
        0
    ]  # the direction in which conformations differ most
    other *= 3.0 / (h @ other).std()

    def likelihoods(experts, x, t_eval, generator, stop):
        return -energy(x, x.new_full((1,), t_eval)).double() - last_layer_inputs(energy, x, t_eval) @ other

    monkeypatch.setattr(own_samples, "_draw", lambda bound, t_eval, seed, stop: normalised(400, 4))
    monkeypatch.setattr("fpforce.training.calibration.likelihood_fit.log_likelihoods", likelihoods)
    monkeypatch.setattr(
        "fpforce.training.calibration.last_layer.STIFFNESS", 0.0
    )  # weights are random, and conformations no basins
    export(transferable_checkpoint, tmp_path / "plain.pt", topology=unseen_pdb)
    export(transferable_checkpoint, tmp_path / "own.pt", topology=unseen_pdb, likelihood_frames=100)
    plain, own = load(tmp_path / "plain.pt"), load(tmp_path / "own.pt")
    fit = own.metadata["training"]["calibration"]["likelihood"]
    assert own.metadata["training"]["calibration"]["samples"] == 400
    assert fit["frames"] == 100 and fit["spread_after_kt"] < 0.3 * fit["spread_before_kt"]
    positions_nm = peptide("VA", 20, seed=5).positions_nm.astype(float)
    expected = (last_layer_inputs(energy, normalised(20, 5), t_eval) @ other).numpy()
    change = (energies(own, positions_nm, "native") - energies(plain, positions_nm, "native")) / plain.kt_kj_per_mol
    assert np.std(change - expected) < 0.3 * np.std(expected)


def test_rounds_of_simulation_give_it_the_averages_of_the_samples(
    dipeptide_checkpoint, unseen_pdb, peptide, monkeypatch
):
    """Frames of a simulation with a last layer that is known to be another one, in place of samples."""
    checkpoint = read_checkpoint(dipeptide_checkpoint)
    each = ("replicas=48", "picoseconds=40", "rungs=2", "timestep_fs=4", "series=false")
    overrides = [f"calibration.{one}" for one in each]
    t_eval, bound = checkpoint.recipe.diffusion.t_eval, checkpoint.bind(unseen_pdb)
    energy, settings = bound.model(bound.covering(t_eval)), calibration_of(checkpoint.recipe, overrides)
    scale_nm, force_field = bound.record.scale_nm, bound.path.with_name("other.pt")
    start_nm = np.broadcast_to(peptide("VA", 1, seed=4).positions_nm.astype(float), (2, 48, 10, 3))

    def frames(shift, seed):
        bound.record.calibration = CalibrationRecord(t_eval, shift)
        write_force_field(bound, force_field, t_eval, overwrite=True)
        found = PersistentReplicas(load(force_field), start_nm, settings, 1, seed).simulate(Event())
        return torch.from_numpy(found[10:]).flatten(0, 1).float() / scale_nm

    def inputs(shift, seed):
        return last_layer_inputs(energy, frames(shift, seed), t_eval)

    none = torch.zeros(energy.network.readout().in_features, dtype=torch.float64)
    plain = inputs(none, 1)
    other = torch.linalg.svd(plain - plain.mean(0), full_matrices=False)[2][0]
    other /= (plain @ other).std()
    samples = frames(other, 2)
    monkeypatch.setattr(own_samples, "_draw", lambda bound, t_eval, seed, stop: samples)
    for module in ("last_layer", "newton"):
        monkeypatch.setattr(
            f"fpforce.training.calibration.{module}.STIFFNESS", 0.0
        )  # weights are random, and conformations no basins
    calibrated = own_samples.for_molecule(checkpoint, unseen_pdb, 0, 3, t_eval, overrides).record.calibration
    assert (
        calibrated.positions_nm.shape == (2, 48, 10, 3)
        and calibrated.summary()["settings"]["rungs"] == 2
        and calibrated.done == 3
    )
    assert calibrated.settings["picoseconds"] == 40.0 and calibrated.samples == len(samples)
    wanted, before, after = (
        (h @ other).mean().item()
        for h in (last_layer_inputs(energy, samples, t_eval), plain, inputs(calibrated.shift, 3))
    )
    assert abs(after - wanted) < 0.3 * abs(before - wanted), (before, after, wanted)


def test_one_molecule_gets_series_of_its_own(dipeptide_checkpoint, unseen_pdb, peptide, tmp_path, monkeypatch):
    """Rounds with series where a transferable model is bound: every backend has them, the unbound model has none."""
    frames = peptide("VA", 64, seed=6).positions_nm.astype(float)
    scale_nm = read_checkpoint(dipeptide_checkpoint).bind(unseen_pdb).record.scale_nm
    centred = torch.from_numpy(frames - frames.mean(1, keepdims=True)).float() / scale_nm
    monkeypatch.setattr(own_samples, "_draw", lambda bound, t_eval, seed, stop: centred)
    monkeypatch.setattr("fpforce.training.calibration.resolution.ENOUGH", 0.0)
    overrides = [f"calibration.{one}" for one in ("replicas=4", "picoseconds=3", "timestep_fs=1")]
    export(dipeptide_checkpoint, tmp_path / "va.pt", topology=unseen_pdb, rounds=1, overrides=overrides)
    own = load(tmp_path / "va.pt")
    assert own.metadata["model"]["series"]
    natively, by_torch = (energies(own, frames[:8], backend) for backend in ("native", "torchforce"))
    np.testing.assert_allclose(natively, by_torch, rtol=1e-5, atol=1e-4 * np.ptp(by_torch))


def test_it_is_refused_where_it_says_nothing(transferable_checkpoint, small_checkpoint, unseen_pdb, tmp_path):
    with pytest.raises(
        InputError, match="likelihood_frames is 40, which calibrates a transferable model for one molecule"
    ):
        export(transferable_checkpoint, tmp_path / "a.pt", likelihood_frames=40)
    with pytest.raises(InputError, match="rounds is 2, which calibrates a transferable model for one molecule"):
        export(transferable_checkpoint, tmp_path / "a.pt", rounds=2)
    for override, part in (
        ("run.seed=2", "'run.seed=2' would change a training that is done"),
        ("calibration.rungs=0", "'calibration.rungs' = 0"),
        ("calibration.runs=2", "did you mean 'calibration.rungs'"),
    ):
        with pytest.raises(InputError, match=part):
            export(transferable_checkpoint, tmp_path / "a.pt", topology=unseen_pdb, rounds=1, overrides=[override])
    with pytest.raises(InputError, match="'calibration.rounds=3': give it as --rounds"):
        export(
            transferable_checkpoint,
            tmp_path / "a.pt",
            topology=unseen_pdb,
            rounds=1,
            overrides=["calibration.rounds=3"],
        )
    with pytest.raises(InputError, match="-1 rounds of calibration; give 0 or more"):
        export(transferable_checkpoint, tmp_path / "a.pt", topology=unseen_pdb, rounds=-1)
    with pytest.raises(InputError, match="uncalibrated contradicts likelihood_frames and rounds"):
        export(transferable_checkpoint, tmp_path / "a.pt", topology=unseen_pdb, rounds=1, uncalibrated=True)
    with pytest.raises(InputError, match="is a folder; give a file in it"):
        export(transferable_checkpoint, tmp_path, topology=unseen_pdb)
    with pytest.raises(InputError, match="is a file, not a folder"):
        export(transferable_checkpoint, unseen_pdb / "a.pt", topology=unseen_pdb)
    far = mdtraj.load(str(unseen_pdb))
    far.xyz[0, 3] += 5.0
    with pytest.raises(InputError, match="frame of .*: bond .* check the frame, and that its unit is nm"):
        export(transferable_checkpoint, tmp_path / "a.pt", topology=far, rounds=1)
    with pytest.raises(
        InputError, match="'calibration.rungs=2' says how rounds of simulation calibrate, and there are none"
    ):
        export(transferable_checkpoint, tmp_path / "a.pt", topology=unseen_pdb, overrides=["calibration.rungs=2"])
    with pytest.raises(InputError, match="3 likelihood frames are too few"):
        export(transferable_checkpoint, tmp_path / "a.pt", topology=unseen_pdb, likelihood_frames=3)
    with pytest.raises(InputError, match="trained on one molecule; leave the topology out"):
        export(small_checkpoint, tmp_path / "a.pt", topology=unseen_pdb)
    with pytest.raises(SystemExit) as ended:
        command.main([str(transferable_checkpoint), str(tmp_path / "b.pt"), "--topology", str(tmp_path / "no.pdb")])
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
