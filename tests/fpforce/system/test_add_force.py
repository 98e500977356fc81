"""add_force: the energy on particles of a System that has others, by every backend."""

import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.system import backends

pytestmark = pytest.mark.usefixtures("backend_is_here")

# Torch computes in float32: see test_make_system.py.
ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-3, 5e-2


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


def energy_and_forces(system, positions_nm):
    import openmm

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def system_of(particles):
    import openmm

    system = openmm.System()
    for _ in range(particles):
        system.addParticle(20.0)
    return system


@pytest.mark.parametrize("backend", backends.names())
@pytest.mark.parametrize(
    "molecules",
    [[3, 4, 5, 6, 7], [[2, 3, 4, 5, 6], [7, 8, 9, 10, 11]], [[11, 0, 7, 4, 5], [3, 10, 1, 9, 2]]],
    ids=["one", "consecutive", "scattered"],
)
def test_molecules_are_where_they_were_put(field, backend, molecules):
    frames = field.positions_nm + np.random.default_rng(0).normal(scale=0.01, size=(np.size(molecules) // 5, 5, 3))
    positions = np.random.default_rng(1).normal(size=(12, 3))
    positions[np.ravel(molecules)] = frames.reshape(-1, 3)
    system = system_of(12)
    force = fpforce.add_force(system, field, molecules, backend=backend, force_group=4)
    energy, forces = energy_and_forces(system, positions)
    expected_energy, expected = energy_and_forces(
        fpforce.make_system(field, backend=backend, replicas=len(frames)), frames.reshape(-1, 3)
    )
    assert force.getForceGroup() == 4
    assert energy == pytest.approx(expected_energy, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces[np.ravel(molecules)], expected, atol=FORCE_TOLERANCE)
    np.testing.assert_array_equal(np.delete(forces, np.ravel(molecules), axis=0), 0.0)


def test_systems_joined_by_the_user_have_the_sum_of_their_energies(field):
    """Two calls of make_system; the particles of the second follow those of the first."""
    from fpforce.plugin import FPForce

    first, second = (fpforce.make_system(field, backend="native") for _ in range(2))
    frames = field.positions_nm + np.random.default_rng(2).normal(scale=0.01, size=(2, 5, 3))
    expected = [energy_and_forces(system, frame) for system, frame in zip((first, second), frames, strict=True)]
    moved = FPForce.cast(second.getForce(0).__copy__())
    moved.setReplicaParticles(0, range(5, 10))
    for particle in range(5):
        first.addParticle(second.getParticleMass(particle))
    first.addForce(moved)
    energy, forces = energy_and_forces(first, frames.reshape(-1, 3))
    assert energy == pytest.approx(sum(one for one, _ in expected), abs=1e-9)
    np.testing.assert_allclose(forces.reshape(2, 5, 3), [one for _, one in expected], atol=1e-9)


@pytest.mark.parametrize(
    "particles, message",
    [
        ([0, 1, 2, 3], "give the indices of the 5 beads"),
        ([0.0, 1.0, 2.0, 3.0, 4.0], "as whole numbers"),
        ([[0, 1, 2, 3, 4], [5, 6, 7, 8]], "give the indices of the 5 beads"),
        ("ABCDE", "give the indices of the 5 beads"),
        ([0, 1, 2, 3, 12], "particles has 12, and the System has the particles 0 to 11"),
        ([0, 1, 2, 3, -1], "particles has -1"),
        ([0, 1, 2, 3, 3], "particles has 3 twice"),
        ([[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]], "particles has 4 twice"),
    ],
)
def test_particles_that_cannot_be_the_beads_are_refused(field, particles, message):
    system = system_of(12)
    with pytest.raises(InputError, match=message):
        fpforce.add_force(system, field, particles)
    assert system.getNumForces() == 0


def test_options_are_those_of_make_system(field):
    for wrong, message in (
        ({"force_group": 32}, "force_group is 32"),
        ({"threads": 0}, "threads is 0"),
        ({"backend": "cuda"}, "unknown backend 'cuda'"),
        ({"topology": field.topology}, "is the force field of one molecule already"),
    ):
        with pytest.raises(InputError, match=message):
            fpforce.add_force(system_of(5), field, range(5), **wrong)
