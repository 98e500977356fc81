"""The wall in a model: nothing to training, nothing or next to nothing to the data, and the same on every backend."""

import dataclasses

import numpy as np
import pytest
import torch

import fpforce
from fpforce.commands.info import describe
from fpforce.forcefield.wall import HEIGHT_KT, MEAN_ENERGY_KT
from fpforce.system import backends
from fpforce.training.checkpoint.checkpoint import read_checkpoint
from fpforce.training.export import export
from fpforce.training.modelfile.write import write_force_field
from fpforce.training.sample import SampleSettings, sample
from fpforce.training.train import train


@pytest.fixture(scope="module", params=["true", "pairs"])
def checkpoint(request, small_recipe, tmp_path_factory):
    """The small checkpoint's training again, of a model with a wall."""
    output = tmp_path_factory.mktemp("wall")
    recipe = small_recipe(output, "run.max_steps=150", "optimizer.warmup_steps=10", f"model.wall={request.param}")
    return read_checkpoint(train(recipe, show_progress=False))


@pytest.fixture(scope="module")
def raised(checkpoint):
    """The same with walls 1.25 times as far out, so that they act on real frames."""
    record = checkpoint.record
    if record.smallest_distances is None:
        farther = {"wall_distances_nm": 1.25 * record.wall_distances_nm}
    else:
        smallest = [entry | {"distance_nm": 1.25 * entry["distance_nm"]} for entry in record.smallest_distances]
        farther = {"smallest_distances": smallest}
    return dataclasses.replace(checkpoint, record=dataclasses.replace(record, **farther))


@pytest.fixture(scope="module")
def field(raised, tmp_path_factory):
    path = tmp_path_factory.mktemp("raised") / "model.pt"
    write_force_field(raised, path, 1e-5)
    return fpforce.load(path)


@pytest.fixture(scope="module")
def frames_nm(alanine_frames):
    """(50, 5, 3) nm."""
    return alanine_frames.positions_nm[::30][:50].astype(np.float64)


def test_training_is_the_same_with_a_wall(checkpoint, small_checkpoint):
    without = read_checkpoint(small_checkpoint)
    assert without.wall() is None and checkpoint.wall() is not None
    assert all(torch.equal(value, checkpoint.weights[name]) for name, value in without.weights.items())


def test_wall_can_be_added_to_what_was_trained_without(small_recipe, small_checkpoint, tmp_path):
    recipe = small_recipe(tmp_path, "run.max_steps=1", "model.wall=true")
    assert read_checkpoint(train(recipe, init=small_checkpoint, show_progress=False)).wall() is not None


def test_wall_is_zero_for_the_data_or_small_and_the_nearest_pair_touches_it(checkpoint, alanine):
    frames = fpforce.read_bead_frames(
        alanine / "train.xtc", alanine / "alanine_dipeptide.pdb", beads="backbone5", stride=10
    )
    wall = checkpoint.wall()
    if checkpoint.record.smallest_distances is None:
        energies = wall.energies_kt(frames.positions_nm)  # of all frames, the held-out ones among them
        assert 0.1 * MEAN_ENERGY_KT < energies.mean() < 1.5 * MEAN_ENERGY_KT and (energies > 1.0).mean() < 0.03
        return
    assert wall.energies_kt(frames.positions_nm).max() < 1e-9
    shrunk = wall.energies_kt(0.97 * frames.positions_nm)
    # every kind of pair has a frame that touches its wall, and there are three pairs
    assert HEIGHT_KT * 0.03**3 * 0.999 < shrunk.max() < 3 * HEIGHT_KT * 0.03**3
    assert 0 < (shrunk > 0).mean() < 0.2


@pytest.mark.parametrize("backend", backends.names())
def test_every_backend_adds_the_wall_to_the_models_energy(raised, field, frames_nm, backend):
    import openmm

    kt, wall = field.kt_kj_per_mol, field.wall
    scale = field.scale_nm
    r = torch.tensor(frames_nm)
    x = ((r - r.mean(dim=1, keepdim=True)) / scale).requires_grad_()
    energy = kt * raised.model().double()(x, torch.tensor([1e-5], dtype=torch.float64))
    network = -torch.autograd.grad(energy.sum(), x)[0].numpy() / scale
    energies = energy.detach().numpy() + kt * wall.energies_kt(frames_nm)
    u = frames_nm[:, wall.pairs[:, 0]] - frames_nm[:, wall.pairs[:, 1]]
    distance = np.linalg.norm(u, axis=-1, keepdims=True)
    limit = wall.distances_nm[:, None]
    push = 3.0 * kt * HEIGHT_KT * np.maximum(1.0 - distance / limit, 0.0) ** 2 / limit * u / distance
    walls = np.zeros_like(frames_nm)
    np.add.at(walls, (slice(None), wall.pairs[:, 0]), push)
    np.add.at(walls, (slice(None), wall.pairs[:, 1]), -push)
    assert 0.2 < np.mean(np.abs(walls).max(axis=(1, 2)) > 100.0) < 1.0, "acts on many of these frames, and not on all"
    context = openmm.Context(
        fpforce.make_system(field, backend=backend),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    size = np.sqrt(np.square(network + walls).mean())
    for frame, wanted, force in zip(frames_nm, energies, network + walls, strict=True):
        context.setPositions(frame)
        state = context.getState(energy=True, forces=True)
        assert state.getPotentialEnergy()._value == pytest.approx(wanted, abs=1e-3 * kt)
        np.testing.assert_allclose(state.getForces(asNumpy=True)._value, force, atol=2e-4 * size)


def test_only_a_model_with_a_wall_or_volumes_asks_for_the_newer_format(checkpoint, small_recipe, small_model, tmp_path):
    export(checkpoint.path, tmp_path / "model.pt")
    field, of_pairs = fpforce.load(tmp_path / "model.pt"), checkpoint.record.smallest_distances is None
    assert field.metadata["format_version"] == (9 if of_pairs else 3)
    assert fpforce.load(small_model).metadata["format_version"] == 3
    np.testing.assert_array_equal(field.wall.distances_nm, checkpoint.wall().distances_nm)
    np.testing.assert_array_equal(field.wall.pairs, checkpoint.wall().pairs)
    assert ("wall (nm)     3 pairs, 0." if of_pairs else "wall (nm)     C-C ") in describe(field)
    assert "wall (nm)" not in describe(fpforce.load(small_model))
    if of_pairs:
        return
    for wall, version in (("true", 2), ("false", 1)):
        recipe = small_recipe(
            tmp_path / wall,
            "run.max_steps=150",
            "optimizer.warmup_steps=10",
            "model.volumes=false",
            f"model.wall={wall}",
        )
        export(train(recipe, show_progress=False), tmp_path / f"{wall}.pt")
        assert fpforce.load(tmp_path / f"{wall}.pt").metadata["format_version"] == version


def test_experts_may_have_walls_of_both_kinds(small_recipe, tmp_path):
    experts = "experts=[{t_max: 0.02, model: {kind: internal, width: 16, layers: 2, wall: pairs}}, {t_max: 1.0}]"
    recipe = small_recipe(tmp_path, "run.max_steps=20", "optimizer.warmup_steps=10", "model.wall=true", experts)
    path = train(recipe, show_progress=False)
    found = {}
    for t_eval in (1e-5, 0.01, 0.05):
        write_force_field(read_checkpoint(path), tmp_path / "model.pt", t_eval, overwrite=True, with_support=False)
        field = fpforce.load(tmp_path / "model.pt")
        found[t_eval] = field.metadata["wall"].get("of_pairs", False), field.wall.distances_nm
        np.testing.assert_array_equal(field.weights()["wall.distance_nm"], field.wall.distances_nm)
    assert [of_pairs for of_pairs, _ in found.values()] == [True, True, False]
    assert (found[1e-5][1] > found[0.05][1]).any()


def test_energies_beside_samples_are_those_of_the_force_field_with_its_wall(raised, field, tmp_path):
    path = tmp_path / "iid.dcd"
    sample(raised, path, SampleSettings(samples=16, steps=10, batch_size=16, solver="ode", log_likelihood=True))
    program = torch.jit.load(str(field.path))
    positions = torch.tensor(fpforce.read_bead_frames(path, table=field.beads).positions_nm, dtype=torch.float64)
    assert field.wall.energies_kt(positions.numpy()).max() > 0.1
    energies = program.energies(positions.reshape(-1, 3)).detach().numpy() / field.kt_kj_per_mol
    # positions in the file are rounded to single precision
    np.testing.assert_allclose(np.load(f"{path}.npz")["energy_kt"], energies, rtol=1e-3, atol=0.05)
