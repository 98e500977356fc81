"""make_system: the same energies and forces through every backend, alone and as replicas, and every way of copying.

Longer than other files, since all its tests run over every backend with the same models.
"""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.system import backends

BACKENDS = backends.names()
TORCH_BACKENDS = ("torchforce", "python")
# Torch computes in float32: relative resolution 6e-8, on energies of some 100 kJ/mol and bonds of 0.15 nm whose
# stiffness of 300,000 kJ/mol/nm^2 turns 1e-8 nm of rounding into 3e-3 kJ/mol/nm, several bonds and angles at a bead.
ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-3, 5e-2


def energy_and_forces(system, positions_nm):
    import openmm

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def random_frames(field, frames, seed=0):
    noise = np.random.default_rng(seed).normal(scale=0.01, size=(frames, len(field.beads), 3))
    return field.positions_nm + noise


def eager(field, positions_nm):
    """Energy and forces of the program itself, called by torch in this process."""
    import torch

    positions = torch.tensor(positions_nm, requires_grad=True)
    energy = torch.jit.load(str(field.path))(positions)
    (gradient,) = torch.autograd.grad(energy, positions)
    return energy.item(), -gradient.numpy()


@pytest.fixture(scope="module")
def field(small_model):
    """A real, if hardly trained, `internal` model of alanine dipeptide, which every backend computes."""
    return fpforce.load(small_model)


@pytest.fixture(scope="module")
def chain(chiral_chain):
    """A TorchScript program of the test's own, whose weights mean nothing to the native backend."""
    return fpforce.load(chiral_chain)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("replicas", [1, 3])
def test_backend_agrees_with_the_program_called_by_torch(field, backend, replicas):
    positions = random_frames(field, replicas).reshape(-1, 3)
    energy, forces = energy_and_forces(fpforce.make_system(field, backend=backend, replicas=replicas), positions)
    expected_energy, expected_forces = eager(field, positions)
    assert energy == pytest.approx(expected_energy, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces, expected_forces, atol=FORCE_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("strangers", [1, 5])
def test_particles_added_for_something_else_feel_nothing(field, backend, strangers):
    positions = random_frames(field, 2).reshape(-1, 3)
    system = fpforce.make_system(field, backend=backend, replicas=2)
    for _ in range(strangers):
        system.addParticle(20.0)
    beside = np.concatenate([positions, 0.1 * np.arange(3.0 * strangers).reshape(-1, 3)])
    energy, forces = energy_and_forces(system, beside)
    alone, expected = energy_and_forces(fpforce.make_system(field, backend=backend, replicas=2), positions)
    assert energy == pytest.approx(alone, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces[: len(positions)], expected, atol=FORCE_TOLERANCE)
    np.testing.assert_array_equal(forces[len(positions) :], 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_of_two_systems_in_one_act_on_the_particles_that_they_were_made_for(field, backend):
    first, second = (fpforce.make_system(field, backend=backend) for _ in range(2))
    positions = random_frames(field, 2)
    for mass in field.masses_da:
        first.addParticle(float(mass))
    first.addForce(copy.deepcopy(second.getForce(0)))
    energy, forces = energy_and_forces(first, positions.reshape(-1, 3))
    single, expected = energy_and_forces(second, positions[0])
    assert energy == pytest.approx(2.0 * single, abs=2.0 * ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces[: len(field.beads)], 2.0 * expected, atol=2.0 * FORCE_TOLERANCE)
    np.testing.assert_array_equal(forces[len(field.beads) :], 0.0)


def test_bond_force_is_the_derivative_of_the_harmonic_energy(dimer):
    # U = 1/2 5000 (0.17 - 0.15)^2 = 1 kJ/mol; F = 5000 * 0.02 = 100 kJ/mol/nm towards each other.
    energy, forces = energy_and_forces(fpforce.make_system(dimer), [[0, 0, 0], [0.17, 0, 0]])
    assert energy == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(forces, [[100, 0, 0], [-100, 0, 0]], atol=1e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicas_equal_single_systems(field, backend):
    frames = random_frames(field, 4, seed=1)
    energy, forces = energy_and_forces(fpforce.make_system(field, backend=backend, replicas=4), frames.reshape(-1, 3))
    singles = [energy_and_forces(fpforce.make_system(field, backend=backend), frame) for frame in frames]
    assert energy == pytest.approx(sum(single for single, _ in singles), abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces.reshape(frames.shape), [single for _, single in singles], atol=FORCE_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_replicas_far_from_the_origin_and_from_each_other_lose_no_precision(field, backend):
    frames = random_frames(field, 3, seed=2)
    system = fpforce.make_system(field, backend=backend, replicas=3)
    energy, forces = energy_and_forces(system, frames.reshape(-1, 3))
    # A replica diffuses some 500 nm per microsecond; float32 there resolves 3e-5 nm, double 1e-13 nm.
    shifted = frames + np.array([[-500.0, 0, 0], [0, 700.0, 0], [0, 0, 900.0]])[:, None]
    far_energy, far_forces = energy_and_forces(system, shifted.reshape(-1, 3))
    assert far_energy == pytest.approx(energy, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(far_forces, forces, atol=FORCE_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_xml_round_trip_carries_the_whole_model(field, backend, tmp_path):
    import openmm

    moved = tmp_path / "model.pt"
    moved.write_bytes(field.model_bytes())
    positions = random_frames(field, 2).reshape(-1, 3)
    system = fpforce.make_system(moved, backend=backend, replicas=2, force_group=5)
    expected = energy_and_forces(system, positions)
    xml = openmm.XmlSerializer.serialize(system)
    del system
    moved.unlink()
    restored = openmm.XmlSerializer.deserialize(xml)
    assert [force.getForceGroup() for force in restored.getForces()] == [5]
    energy, forces = energy_and_forces(restored, positions)
    assert energy == pytest.approx(expected[0], abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces, expected[1], atol=FORCE_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_xml_loads_in_another_process(field, backend, tmp_path):
    import openmm

    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(fpforce.make_system(field, backend=backend)))
    code = (
        "import sys, openmm; system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())\n"
        "reference = openmm.Platform.getPlatformByName('Reference')\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)\n"
        "context.setPositions(eval(sys.argv[2])); print(context.getState(energy=True).getPotentialEnergy()._value)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "system.xml", str(field.positions_nm.tolist())],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == pytest.approx(eager(field, field.positions_nm)[0], abs=ENERGY_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_deep_copy_has_the_same_energy(field, backend):
    system = fpforce.make_system(field, backend=backend)
    copied = copy.deepcopy(system)
    expected = energy_and_forces(system, field.positions_nm)
    del system
    energy, forces = energy_and_forces(copied, field.positions_nm)
    assert energy == pytest.approx(expected[0], abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces, expected[1], atol=FORCE_TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_custom_cv_force_scales_energy_and_forces(field, backend):
    import openmm

    system = fpforce.make_system(field, backend=backend)
    energy, forces = energy_and_forces(system, field.positions_nm)
    scaled = openmm.CustomCVForce("lambda * U")
    scaled.addGlobalParameter("lambda", 0.25)
    scaled.addCollectiveVariable("U", copy.deepcopy(system.getForce(0)))
    wrapped = openmm.System()
    for mass_da in field.masses_da:
        wrapped.addParticle(mass_da)
    wrapped.addForce(scaled)
    scaled_energy, scaled_forces = energy_and_forces(wrapped, field.positions_nm)
    assert scaled_energy == pytest.approx(0.25 * energy, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(scaled_forces, 0.25 * forces, atol=FORCE_TOLERANCE)


def test_particles_are_the_beads_of_one_replica_after_the_other(chain):
    system = fpforce.make_system(chain, replicas=3, force_group=2)
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    assert masses == [12.0, 14.0, 13.0, 12.0, 15.0] * 3
    assert [force.getForceGroup() for force in system.getForces()] == [2]
    topology = chain.replicated_topology(3)
    assert [atom.name for atom in topology.atoms()] == ["C", "N", "CA", "C", "N"] * 3
    assert topology.getNumChains() == 3 and topology.getNumBonds() == 3 * 4
    assert all(first.residue.chain is second.residue.chain for first, second in topology.bonds())


def test_verlet_dynamics_conserves_energy(field):
    import openmm

    system = fpforce.make_system(field, replicas=4)
    integrator = openmm.VerletIntegrator(0.0005)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(random_frames(field, 4).reshape(-1, 3))
    context.setVelocitiesToTemperature(300.0, 3)
    energies = []
    for _ in range(100):
        integrator.step(100)
        state = context.getState(energy=True)
        energies.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
    times_ps = 0.05 * np.arange(len(energies))
    drift_per_ps = np.polyfit(times_ps, energies, 1)[0]
    # 60 degrees of freedom at 300 K hold 75 kJ/mol of kinetic energy; a force that is not the gradient gains or loses
    # that within picoseconds.
    assert abs(drift_per_ps) < 60 * 2e-4 * field.kt_kj_per_mol
    assert np.std(energies) < 0.1 * field.kt_kj_per_mol


def test_cm_motion_remover_is_for_one_replica_only(chain):
    import openmm

    system = fpforce.make_system(chain, remove_cm_motion=True)
    assert sum(isinstance(force, openmm.CMMotionRemover) for force in system.getForces()) == 1
    with pytest.raises(InputError, match="couples the 2 replicas"):
        fpforce.make_system(chain, remove_cm_motion=True, replicas=2)


def test_matching_topologies_are_accepted(chain, tmp_path):
    chain.beads.write_pdb(tmp_path / "beads.pdb", chain.positions_nm)
    for topology in (chain.topology, chain.beads.to_mdtraj(), tmp_path / "beads.pdb", chain.replicated_topology(2)):
        fpforce.make_system(chain, topology, replicas=2)


def test_topology_that_does_not_match_is_refused_at_its_first_difference(chain, dimer):
    topology = chain.topology
    list(topology.atoms())[2].name = "CB"
    with pytest.raises(InputError, match="atom 2 of the topology is CB of ALA.*has bead CA of ALA"):
        fpforce.make_system(chain, topology)
    with pytest.raises(InputError, match="has 2 atoms.*5 beads"):
        fpforce.make_system(chain, fpforce.load(dimer).topology)
    with pytest.raises(InputError, match="nowhere.pdb does not exist"):
        fpforce.make_system(chain, "nowhere.pdb")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"backend": "jax"}, "unknown backend 'jax'"),
        ({"replicas": 0}, "replicas is 0"),
        ({"replicas": True}, "replicas is True; give a whole number"),
        ({"replicas": 2.5}, "replicas is 2.5; give a whole number"),
        ({"force_group": 32}, "force_group is 32; give 0 to 31"),
        ({"force_group": 1.5}, "force_group is 1.5"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"topology": 5}, "topology is 5; give an openmm or mdtraj Topology"),
    ],
)
def test_options_out_of_range_are_named(field, options, message):
    with pytest.raises(InputError, match=message):
        fpforce.make_system(field, **options)


def test_auto_takes_native_and_says_so(field, caplog):
    with caplog.at_level("INFO", logger="fpforce"):
        fpforce.make_system(field)
    assert "backend native" in caplog.text and "300 K" in caplog.text


def test_auto_takes_torchforce_for_a_model_that_native_cannot_read_and_says_why(chain, caplog):
    with caplog.at_level("INFO", logger="fpforce"):
        fpforce.make_system(chain)
    assert "backend native is passed over: fpforce.json: model." in caplog.text
    assert "backend torchforce: 1 replica" in caplog.text
    with pytest.raises(InputError, match="backend native: fpforce.json: model"):
        fpforce.make_system(chain, backend="native")


def test_auto_falls_back_to_python_without_plugin_and_openmm_torch(field, caplog, monkeypatch):
    monkeypatch.setattr("fpforce.plugin.library.problem", lambda: "the native plugin was not built: no compiler")
    monkeypatch.setattr("fpforce.system.backends.torchforce.find_spec", lambda name: None)
    with caplog.at_level("INFO", logger="fpforce"):
        fpforce.make_system(field)
    assert "backend native is passed over: the native plugin was not built" in caplog.text
    assert "backend python: 1 replica" in caplog.text
    with pytest.raises(InputError, match="openmm-torch is not installed; install fpforce with the extra `cpu`"):
        fpforce.make_system(field, backend="torchforce")


def test_two_openmm_torch_wheels_are_refused(chain, tmp_path, monkeypatch):
    for name in ("acellera_openmmtorch_cu13", "acellera_openmmtorch_cpu"):
        (tmp_path / f"{name}-1.10.dist-info").mkdir()
        (tmp_path / f"{name}-1.10.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.10\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="2 openmm-torch wheels.*pip uninstall"):
        fpforce.make_system(chain)


@pytest.mark.parametrize("backend", TORCH_BACKENDS)
def test_threads_of_torch_are_set_when_asked_for(field, backend):
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        energy_and_forces(fpforce.make_system(field, backend=backend, threads=1), field.positions_nm)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("asked, threads", [(None, 0), (1, 1), (2, 2)])
def test_threads_of_the_native_force_are_set_when_asked_for(field, asked, threads):
    from fpforce.plugin import FPForce

    system = fpforce.make_system(field, backend="native", threads=asked)
    assert FPForce.cast(system.getForce(0)).getNumThreads() == threads


def test_scale_derivative_is_exact_and_changes_neither_energy_nor_forces(field):
    import openmm

    positions = random_frames(field, 2, seed=3).reshape(-1, 3)
    system = fpforce.make_system(field, replicas=2, scale_derivative=True, force_group=3)
    assert [force.getForceGroup() for force in system.getForces()] == [3]
    energy, forces = energy_and_forces(system, positions)
    plain_energy, plain_forces = energy_and_forces(fpforce.make_system(field, replicas=2), positions)
    assert energy == pytest.approx(plain_energy, rel=1e-12)
    np.testing.assert_allclose(forces, plain_forces, rtol=1e-9, atol=1e-9)

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setParameter("fpforce_scale", 0.4)
    state = context.getState(parameterDerivatives=True)
    energies = []
    for scale in (0.3, 0.5):  # U is linear in the scale
        context.setParameter("fpforce_scale", scale)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    derivative = state.getEnergyParameterDerivatives()["fpforce_scale"]
    assert derivative == pytest.approx((energies[1] - energies[0]) / 0.2, rel=1e-9)


def test_scale_derivative_is_for_the_native_backend(field):
    with pytest.raises(InputError, match="scale_derivative is for the native backend, not torchforce"):
        fpforce.make_system(field, backend="torchforce", scale_derivative=True)
