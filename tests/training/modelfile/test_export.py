"""Export: the file computes the checkpoint's energy in physical units, in every backend, and wrong ones are refused."""

import math

import numpy as np
import pytest
import torch

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.system import backends
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.export import export
from fpforce.training.modelfile.archive import write_archive
from fpforce.training.modelfile.physical_energy import PhysicalEnergy
from fpforce.training.modelfile.verification import verify
from fpforce.training.modelfile.write import write_force_field
from fpforce.training.train import train
from fpforce.trajectories.bead_frames import read_bead_frames

ALPHA = math.exp(-0.05e-5 - 4.975e-10)  # at t = 1e-5
KT_300 = 8.314462618e-3 * 300.0  # CODATA gas constant, kJ/mol/K
# Programs run in single precision: relative resolution 6e-8, times some 10 kT that add up, times the stiffness of bonds
# (k / kT = 2e5 / nm^2) for forces. Measured: 4e-5 kT, and 1e-5 of the forces' root mean square.
ENERGY_TOLERANCE_KT, FORCE_TOLERANCE = 5e-4, 1e-4


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


@pytest.fixture(scope="module")
def frames_nm(alanine, field):
    """Held-out frames, float64 (6, 5, 3)."""
    reference = read_bead_frames(
        alanine / "reference.xtc", alanine / "alanine_dipeptide.pdb", table=field.beads, stride=3500
    )
    return reference.positions_nm[:6].astype(np.float64)


@pytest.fixture(scope="module")
def expected(small_checkpoint, frames_nm):
    """U = kT E((r - centre) / s, t_eval) and F = -grad U in float64, straight from the checkpoint."""
    checkpoint = read_checkpoint(small_checkpoint)
    energy, scale = checkpoint.model().double(), checkpoint.record.scale_nm / ALPHA
    r = torch.tensor(frames_nm, requires_grad=True)
    u = KT_300 * energy((r - r.mean(dim=1, keepdim=True)) / scale, torch.tensor([1e-5], dtype=torch.float64))
    (slope,) = torch.autograd.grad(u.sum(), r)
    return u.detach().numpy(), -slope.numpy()


def openmm_energy_and_forces(system, positions_nm):
    import openmm

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm.reshape(-1, 3))
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)


def assert_close(found, expected):
    (energy, forces), (expected_energy, expected_forces) = found, expected
    np.testing.assert_allclose(energy, expected_energy, atol=ENERGY_TOLERANCE_KT * KT_300, rtol=0)
    rms = np.sqrt(np.square(expected_forces).mean())
    np.testing.assert_allclose(
        forces.reshape(expected_forces.shape), expected_forces, atol=FORCE_TOLERANCE * rms, rtol=0
    )


@pytest.mark.parametrize("backend", backends.names())
def test_backend_computes_the_checkpoints_energy_and_forces_on_real_frames(field, frames_nm, expected, backend):
    system = fpforce.make_system(field, backend=backend)
    for frame, energy, forces in zip(frames_nm, *expected, strict=True):
        assert_close(openmm_energy_and_forces(system, frame), (energy, forces))


@pytest.mark.parametrize("backend", backends.names())
def test_replicas_of_real_frames_equal_single_systems(field, frames_nm, backend):
    single = fpforce.make_system(field, backend=backend)
    alone = [openmm_energy_and_forces(single, frame) for frame in frames_nm]
    together = openmm_energy_and_forces(fpforce.make_system(field, backend=backend, replicas=len(frames_nm)), frames_nm)
    energies, forces = zip(*alone, strict=True)
    assert_close(together, (sum(energies), np.stack(forces)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exported_program_equals_the_checkpoint_in_either_precision(field, frames_nm, expected, dtype):
    program = torch.jit.load(str(field.path))
    positions = torch.tensor(frames_nm.reshape(-1, 3), dtype=dtype, requires_grad=True)
    energies = program.energies(positions)
    assert energies.dtype == dtype and energies.shape == (len(frames_nm),)
    torch.testing.assert_close(program(positions), energies.sum())
    (slope,) = torch.autograd.grad(energies.sum(), positions)
    assert_close((energies.detach().numpy(), -slope.numpy()), expected)


def test_displaced_molecule_keeps_its_energy_since_centring_precedes_the_cast(field, frames_nm, expected):
    # 1000 nm away, float32 positions would resolve 6e-5 nm only.
    program = torch.jit.load(str(field.path))
    energies = program.energies(torch.tensor(frames_nm.reshape(-1, 3) + 1000.0))
    np.testing.assert_allclose(energies.detach().numpy(), expected[0], atol=ENERGY_TOLERANCE_KT * KT_300, rtol=0)


def test_file_records_units_temperature_training_and_checks(field, small_checkpoint, alanine_frames):
    record = read_checkpoint(small_checkpoint).record
    assert (
        field.kt_kj_per_mol == pytest.approx(KT_300, rel=1e-8) and field.temperature_k == 300 and field.t_eval == 1e-5
    )
    assert field.beads == alanine_frames.beads and field.scale_nm == pytest.approx(record.scale_nm / ALPHA, rel=1e-12)
    # Standard atomic masses of C, N, C, C, N.
    np.testing.assert_allclose(field.masses_da, [12.011, 14.007, 12.011, 12.011, 14.007], atol=0.01)
    training = field.metadata["training"]
    assert (
        training["steps"] == 150 and training["curves"] == record.expert.curves and training["recipe"] == record.recipe
    )
    assert len(training["data_sha256"]) == 64 and training["seconds"] > 0
    curve = training["fokker_planck_residual"]
    assert curve["t"][0] == pytest.approx(1e-5) and curve["t"][-1] == pytest.approx(1.0) and min(curve["residual"]) > 0
    verification = field.metadata["verification"]
    assert verification["energy_error_kt"] < ENERGY_TOLERANCE_KT and verification["mirror_difference_kt"] > 1e-3


def test_model_with_windows_asks_for_the_format_that_has_them(small_recipe, small_model, tmp_path):
    recipe = small_recipe(
        tmp_path / "run", "run.max_steps=150", "optimizer.warmup_steps=10", "model.window=4", "model.window_width=8"
    )
    export(train(recipe, show_progress=False), tmp_path / "model.pt")
    own = fpforce.load(tmp_path / "model.pt")
    assert own.metadata["model"]["windows"] and own.metadata["format_version"] == 10
    assert own.weights()["network.windows.out"].shape == (2, 8)
    assert not fpforce.load(small_model).metadata["model"]["windows"]


def test_start_frame_is_a_training_frame(field, alanine_frames):
    ours = field.positions_nm - field.positions_nm.mean(axis=0)
    theirs = alanine_frames.positions_nm[0] - alanine_frames.positions_nm[0].mean(axis=0)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_in_the_file_are_the_checkpoints_averaged_ones(field, small_checkpoint):
    weights = read_checkpoint(small_checkpoint).weights_of(0)
    assert field.weights().keys() == weights.keys()
    for name, value in field.weights().items():
        np.testing.assert_array_equal(value, weights[name].numpy())


def test_existing_output_is_refused_without_overwrite(small_checkpoint, small_model, tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("precious")
    with pytest.raises(InputError, match="model.pt already exists; --overwrite"):
        export(small_checkpoint, path)
    assert path.read_text() == "precious"
    export(small_checkpoint, path, overwrite=True)
    assert fpforce.load(path).weights().keys() == fpforce.load(small_model).weights().keys()


def refused(checkpoint, folder):
    """Message of the refusal; nothing may have been written."""
    output = folder / "out.pt"
    with pytest.raises(InputError) as caught:
        export(checkpoint, output)
    assert not output.exists() and not list(folder.glob("*.part"))
    return str(caught.value)


def test_damaged_weights_are_refused(damaged_checkpoint, tmp_path):
    path = damaged_checkpoint(
        lambda content: content["state_dict"]["experts.0.network.hidden.0.weight"][0].fill_(float("nan"))
    )
    assert "energy_error_kt is nan" in refused(path, tmp_path)


def test_model_whose_energy_ignores_chirality_is_refused(damaged_checkpoint, tmp_path):
    path = damaged_checkpoint(lambda content: content["state_dict"]["experts.0.network.out.weight"].zero_())
    text = refused(path, tmp_path)
    assert "mirror images differ in energy by 0 kT" in text and "has not learned chirality; train it further" in text


def test_force_field_of_almost_pure_noise_is_told_so_instead_of_to_train_further(damaged_checkpoint, tmp_path):
    path = damaged_checkpoint(lambda content: content["state_dict"]["experts.0.network.out.weight"].zero_())
    with pytest.raises(
        InputError, match="at t = 0.8, where noise is 100% of the molecule's size.*choose a smaller --t-eval"
    ):
        export(path, tmp_path / "out.pt", t_eval=0.8)


def test_program_that_differs_from_the_checkpoint_is_refused(small_checkpoint):
    checkpoint = read_checkpoint(small_checkpoint)
    frames_nm = checkpoint.record.check_frames[:8].double() * checkpoint.record.scale_nm

    def physical():
        return PhysicalEnergy(checkpoint.model(), 5, checkpoint.record.scale_nm, KT_300, 1e-5).eval()

    other = physical()
    other.energy.prior.radius[0] *= 1.001  # a bond 0.0001 nm longer
    with pytest.raises(InputError, match="fails its check: energy_error_kt"):
        verify(torch.jit.script(other), physical(), frames_nm)


def test_exported_model_given_as_checkpoint_is_refused(small_model, tmp_path):
    assert "is an exported model (.pt), not a training checkpoint" in refused(small_model, tmp_path)


def test_checkpoint_given_as_force_field_is_refused(small_checkpoint):
    with pytest.raises(InputError, match="is a training checkpoint.*fpforce-export"):
        fpforce.load(small_checkpoint)
    with pytest.raises(InputError, match="is a training checkpoint"):
        fpforce.make_system(small_checkpoint)


def test_output_named_like_a_checkpoint_is_refused(small_checkpoint, tmp_path):
    with pytest.raises(InputError, match="is named like a checkpoint"):
        export(small_checkpoint, tmp_path / "out.ckpt")


def test_unreadable_checkpoints_are_named(small_checkpoint, damaged_checkpoint, tmp_path):
    assert "absent.ckpt does not exist" in refused(tmp_path / "absent.ckpt", tmp_path)
    truncated = tmp_path / "truncated.ckpt"
    truncated.write_bytes(small_checkpoint.read_bytes()[:20_000])
    assert "truncated.ckpt is not a readable checkpoint" in refused(truncated, tmp_path)
    text = tmp_path / "text.ckpt"
    text.write_text("not a checkpoint")
    assert "text.ckpt is not a readable checkpoint" in refused(text, tmp_path)
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    assert "foreign.ckpt is a checkpoint of another program" in refused(foreign, tmp_path)
    newer = damaged_checkpoint(lambda content: content["fpforce"].update(version=99))
    assert "checkpoint version 99, newer than this fpforce" in refused(newer, tmp_path)


class Payload:
    """What a hostile file would hold: unpickling it runs code."""

    def __reduce__(self):
        return print, ("code of the file ran",)


def test_checkpoint_with_code_inside_is_refused_and_not_run(tmp_path, capsys):
    hostile = tmp_path / "hostile.ckpt"
    torch.save({"fpforce": Payload()}, hostile)
    assert "not a readable checkpoint" in refused(hostile, tmp_path)
    assert "code of the file ran" not in capsys.readouterr().out


def test_a_gap_that_is_not_finite_becomes_null_in_the_file(small_checkpoint, tmp_path):
    checkpoint = read_checkpoint(small_checkpoint)
    expert = checkpoint.record.experts[0]
    for name in expert.watched:
        expert.watched[name].append(1.0)
    expert.gap["step"].append(150)
    expert.gap["kt"].append(math.nan)
    write_force_field(checkpoint, tmp_path / "model.pt", 1e-5, with_support=False)
    (exported,) = fpforce.load(tmp_path / "model.pt").metadata["training"]["experts"]
    assert exported["watched"]["gap_kt"] is None and exported["watched"]["denoising"] == 1.0


def test_a_model_with_a_number_that_is_not_finite_is_refused_by_name(tmp_path):
    program, metadata = torch.jit.script(torch.nn.Identity()), {"model": {}, "bonds_nm": {"mean": [0.1, math.inf]}}
    with pytest.raises(InputError, match=r"model\.pt is not written: bonds_nm\.mean\.1 of the model is not finite"):
        write_archive(tmp_path / "model.pt", program, metadata, {}, "")
    assert not (tmp_path / "model.pt").exists()
