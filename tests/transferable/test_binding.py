"""A transferable model.pt bound to sequences it was never trained on: the same forces on every backend, and as in
training.
"""

import io
from dataclasses import replace

import numpy as np
import openmm
import pytest
import torch

from fpforce import ForceField, TransferableForceField, load, make_system
from fpforce.forcefield.wall import smallest_distances
from fpforce.foundation.errors import InputError
from fpforce.system.backends import names
from fpforce.training.checkpoint.checkpoint import of_one_molecule, read_checkpoint
from fpforce.training.modelfile.rebuild import rebuild
from fpforce.training.modelfile.write import physical_energy, write_transferable


def energy_and_forces(system, positions_nm):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def training_side(checkpoint_path, beads, positions_nm):
    """Energy and forces of the network as it is trained, float64: shared weights, a molecule of the batch's kind."""
    checkpoint = read_checkpoint(checkpoint_path)
    bound = checkpoint.bind_beads(beads, torch.from_numpy(positions_nm).double())
    physical = physical_energy(bound, checkpoint.recipe.diffusion.t_eval).double()
    r = torch.tensor(positions_nm, dtype=torch.float64, requires_grad=True)
    energy = physical(r)
    return energy.item(), -torch.autograd.grad(energy, r)[0].numpy()


@pytest.mark.parametrize("backend", names())
@pytest.mark.parametrize("sequence", ["AV", "VA", "AS"])
def test_bound_force_is_that_of_the_training_on_every_backend(
    each_model, each_checkpoint, peptide, tmp_path, backend, sequence
):
    frames = peptide(sequence, 4, seed=9)
    frames.beads.write_pdb(tmp_path / "new.pdb", frames.positions_nm[0])
    system = make_system(each_model, tmp_path / "new.pdb", backend=backend)
    assert [system.getParticleMass(k)._value for k in range(10)] == pytest.approx(
        list(frames.beads.masses_da), abs=0.01
    )
    for positions_nm in frames.positions_nm:
        energy, forces = energy_and_forces(system, positions_nm)
        expected, expected_forces = training_side(each_checkpoint, frames.beads, positions_nm)
        size = np.sqrt(np.mean(expected_forces**2))
        assert np.abs(forces - expected_forces).max() < 1e-5 * max(size, np.abs(expected_forces).max())
        assert energy == pytest.approx(expected, abs=1e-5 * abs(expected) + 1e-3)


def test_network_of_an_unseen_molecule_is_made_anew_from_description_and_weights(each_model, unseen_pdb, peptide):
    field = load(each_model).bind(unseen_pdb)
    program = torch.jit.load(io.BytesIO(field.model_bytes()))
    anew = rebuild(field.description(), field.weights_bytes())
    results = []
    for module in (program, anew):
        r = torch.tensor(peptide("VA").positions_nm[2], dtype=torch.float64, requires_grad=True)
        energy = module(r)
        results.append((energy.item(), torch.autograd.grad(energy, r)[0].numpy()))
    assert results[1][0] == pytest.approx(results[0][0], abs=1e-3)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-5 * np.abs(results[0][1]).max())


def test_openmm_ml_binds_a_topology_of_beads(transferable_model, unseen_pdb, peptide):
    openmmml = pytest.importorskip("openmmml", reason="the extra `openmmml` is not installed")
    field = load(transferable_model).bind(unseen_pdb)
    potential = openmmml.MLPotential("fpforce", model=transferable_model)
    r = peptide("VA").positions_nm[2]
    energy, forces = energy_and_forces(potential.createSystem(field.topology), r)
    expected_energy, expected = energy_and_forces(make_system(field), r)
    assert energy == pytest.approx(expected_energy, abs=1e-9)
    np.testing.assert_array_equal(forces, expected)


@pytest.mark.parametrize("backend", names())
def test_system_of_an_unseen_molecule_survives_xml(each_model, unseen_pdb, peptide, backend):
    r = peptide("VA").positions_nm[2]
    system = make_system(each_model, unseen_pdb, backend=backend)
    copied = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    assert energy_and_forces(copied, r)[0] == pytest.approx(energy_and_forces(system, r)[0], rel=1e-6)


def test_bound_force_is_minus_the_gradient(each_model, unseen_pdb, peptide):
    force_field = load(each_model).bind(unseen_pdb)
    program = torch.jit.load(io.BytesIO(force_field.model_bytes()))
    r = torch.tensor(peptide("VA").positions_nm[3], dtype=torch.float64)
    _, forces = energy_and_forces(make_system(force_field, backend="python"), r.numpy())
    direction = torch.randn(r.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 2e-4
    slope = (program(r + step * direction) - program(r - step * direction)) / (2 * step)
    assert slope.item() == pytest.approx(-(torch.from_numpy(forces) * direction).sum().item(), rel=2e-2, abs=1.0)


def test_replicas_of_an_unseen_molecule_have_the_sum_of_their_energies(each_model, unseen_pdb, peptide):
    positions = peptide("VA").positions_nm[:3]
    single = make_system(each_model, unseen_pdb, backend="native")
    together = make_system(each_model, unseen_pdb, backend="native", replicas=3)
    alone = sum(energy_and_forces(single, own)[0] for own in positions)
    assert energy_and_forces(together, positions.reshape(-1, 3))[0] == pytest.approx(alone, rel=1e-6)


def test_order_of_beads_within_a_residue_does_not_matter(transferable_model, unseen_pdb, peptide, tmp_path):
    lines = unseen_pdb.read_text().splitlines()
    atoms = [line for line in lines if line.startswith("ATOM")]
    order = [1, 4, 0, 2, 3, 5, 9, 8, 6, 7]
    reordered = [atoms[k][:6] + f"{n + 1:5d}" + atoms[k][11:] for n, k in enumerate(order)]
    (tmp_path / "other.pdb").write_text("\n".join([*reordered, "END", ""]))
    r = peptide("VA").positions_nm[0]
    energy, forces = energy_and_forces(make_system(transferable_model, unseen_pdb, backend="native"), r)
    other, theirs = energy_and_forces(
        make_system(transferable_model, tmp_path / "other.pdb", backend="native"), r[order]
    )
    assert other == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(theirs, forces[order], atol=1e-4 * np.abs(forces).max())


def test_topologies_of_openmm_and_mdtraj_do_as_well_as_a_file(each_model, unseen_pdb, peptide):
    import mdtraj
    from openmm.app import PDBFile

    r = peptide("VA").positions_nm[0]
    expected = energy_and_forces(make_system(each_model, unseen_pdb, backend="native"), r)[0]
    for topology in (
        PDBFile(str(unseen_pdb)).topology,
        mdtraj.load_topology(str(unseen_pdb)),
        mdtraj.load(str(unseen_pdb)),
    ):
        assert energy_and_forces(make_system(each_model, topology, backend="native"), r)[0] == pytest.approx(
            expected, rel=1e-7
        )


def test_model_tells_an_l_peptide_from_its_mirror_image(each_model, unseen_pdb, peptide):
    system, r = make_system(each_model, unseen_pdb, backend="native"), peptide("VA").positions_nm[0]
    energy, mirrored = (energy_and_forces(system, r * np.array([1.0, 1.0, sign]))[0] for sign in (1.0, -1.0))
    assert abs(energy - mirrored) > 1e-3


def test_file_is_of_no_molecule_until_it_is_bound(each_model, unseen_pdb):
    force_field = load(each_model)
    assert isinstance(force_field, TransferableForceField) and not hasattr(force_field, "beads")
    with pytest.raises(InputError, match="is a transferable force field: say for which molecule"):
        make_system(force_field)
    bound = force_field.bind(unseen_pdb)
    assert isinstance(bound, ForceField) and bound.molecule == "VAL2 ALA3" and bound.sha256 == force_field.sha256
    assert bound.positions_nm.shape == (10, 3) and set(bound.bonds_nm) == {"mean", "min", "max"}
    assert not hasattr(bound, "bind") and bound.bound() is bound


def test_checkpoint_is_of_no_molecule_until_it_is_bound(transferable_checkpoint):
    with pytest.raises(InputError, match="is transferable, trained on 4 molecules"):
        of_one_molecule(read_checkpoint(transferable_checkpoint), None)


def test_wall_of_the_training_data_is_bound_with_the_molecule(transferable_checkpoint, unseen_pdb, peptide, tmp_path):
    bare = read_checkpoint(transferable_checkpoint)
    smallest = smallest_distances(
        (frames.beads, 1.25 * frames.positions_nm) for frames in map(peptide, ("AV", "SA", "VS"))
    )
    recipe = bare.record.recipe | {"model": bare.record.recipe["model"] | {"wall": True}}
    walled = replace(bare, record=replace(bare.record, recipe=recipe, smallest_distances=smallest))
    bound = {}
    for wall, checkpoint in ((True, walled), (False, bare)):
        write_transferable(checkpoint, tmp_path / f"{wall}.pt", 1e-5)
        bound[wall] = load(tmp_path / f"{wall}.pt").bind(unseen_pdb)
    r = peptide("VA", 1, seed=9).positions_nm[0].astype(float)
    wall_kt, step = bound[True].wall.energies_kt, 1e-6
    assert wall_kt(r[None])[0] > 0.1
    moved = r + step * np.eye(r.size).reshape(-1, *r.shape)
    expected = -bound[True].kt_kj_per_mol * (wall_kt(moved) - wall_kt(r[None])[0]).reshape(r.shape) / step
    for backend in names():
        (energy, forces), (base, base_forces) = (
            energy_and_forces(make_system(bound[wall], backend=backend), r) for wall in (True, False)
        )
        assert energy - base == pytest.approx(bound[True].kt_kj_per_mol * wall_kt(r[None])[0], rel=1e-3)
        np.testing.assert_allclose(
            forces - base_forces, expected, atol=1e-3 * np.abs(expected).max() + 1e-5 * np.abs(forces).max()
        )


def test_an_unbound_force_field_has_nothing_of_a_molecule_and_says_that_it_must_be_bound(
    transferable_model, unseen_pdb
):
    from fpforce.plugin import FPForce

    field = load(transferable_model)
    for name in ("topology", "masses_da", "positions_nm", "bonds_nm", "wall", "replicated_topology"):
        assert hasattr(ForceField, name) and not hasattr(field, name)
    for model in (field, transferable_model):
        with pytest.raises(InputError, match="is a transferable force field: say for which molecule"):
            FPForce.from_file(model)
    bound = field.bind(unseen_pdb)
    assert (
        bound.topology.getNumAtoms()
        == len(bound.masses_da)
        == len(bound.positions_nm)
        == FPForce.from_file(bound).getNumBeads()
        == 10
    )
