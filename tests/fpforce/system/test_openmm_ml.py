"""The potential `fpforce` of openmm-ml: the energies of make_system, in createSystem and createMixedSystem."""

import numpy as np
import pytest

import fpforce
from fpforce.foundation.errors import InputError
from fpforce.system import backends

openmmml = pytest.importorskip("openmmml", reason="the extra `openmmml` is not installed")

pytestmark = pytest.mark.usefixtures("backend_is_here")

ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-3, 5e-2  # of torch in float32: see test_make_system.py
CHAIN = (1, 2, 3, 4, 5)  # the molecule's particles in `solvated`


@pytest.fixture(scope="module")
def field(small_model):
    return fpforce.load(small_model)


def state_of(system, positions_nm, **parameters):
    import openmm

    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def solvated(field, molecules=1):
    """(topology, conventional System, positions): an argon, `molecules` peptides, an argon; Lennard-Jones."""
    import openmm
    from openmm import app

    topology, positions = app.Topology(), [[1.0, 0.0, 0.0]]

    def add_argon():
        residue = topology.addResidue("AR", topology.addChain())
        topology.addAtom("AR", app.element.argon, residue)

    add_argon()
    for number in range(molecules):
        copies, chain = {}, topology.addChain()
        for residue in field.topology.residues():
            copy = topology.addResidue(residue.name, chain, residue.id)
            for atom in residue.atoms():
                copies[atom.index] = topology.addAtom(atom.name, atom.element, copy)
        for first, second in field.topology.bonds():
            topology.addBond(copies[first.index], copies[second.index])
        positions.extend(field.positions_nm + [0.0, 2.0 * number, 0.0])
    add_argon()
    positions.append([-0.6, 0.2, 0.0])

    system, bonds, pairs = openmm.System(), openmm.HarmonicBondForce(), openmm.NonbondedForce()
    for _ in topology.atoms():
        system.addParticle(20.0)
        pairs.addParticle(0.0, 0.3, 1.0)
    for first, second in topology.bonds():
        bonds.addBond(first.index, second.index, 0.15, 1000.0)
    system.addForce(bonds)
    system.addForce(pairs)
    return topology, system, np.array(positions)


@pytest.mark.parametrize("backend", backends.names())
def test_system_is_that_of_make_system(field, small_model, backend):
    potential = openmmml.MLPotential("fpforce", model=small_model, backend=backend)
    system = potential.createSystem(field.topology, removeCMMotion=False)
    expected = fpforce.make_system(field, backend=backend)
    energy, forces = state_of(system, field.positions_nm)
    expected_energy, expected_forces = state_of(expected, field.positions_nm)
    assert system.getNumForces() == 1 and energy == pytest.approx(expected_energy, abs=ENERGY_TOLERANCE)
    np.testing.assert_allclose(forces, expected_forces, atol=FORCE_TOLERANCE)
    masses = [[one.getParticleMass(k)._value for k in range(5)] for one in (system, expected)]
    assert masses[0] == masses[1]


def test_topology_of_replicas_gives_replicas(field):
    potential = openmmml.MLPotential("fpforce", model=field)
    positions = np.concatenate([field.positions_nm, field.positions_nm + [3.0, 0.0, 0.0]])
    energy, _ = state_of(potential.createSystem(field.replicated_topology(2)), positions)
    assert energy == pytest.approx(2.0 * state_of(fpforce.make_system(field), field.positions_nm)[0], abs=1e-4)


@pytest.mark.parametrize("backend", backends.names())
@pytest.mark.parametrize("interpolate", [False, True])
def test_mixed_system_has_the_force_field_inside_and_the_conventional_one_around(field, backend, interpolate):
    topology, conventional, positions = solvated(field)
    potential = openmmml.MLPotential("fpforce", model=field, backend=backend)
    mixed = potential.createMixedSystem(topology, conventional, CHAIN, interpolate=interpolate)
    inside, _ = state_of(fpforce.make_system(field, backend=backend), positions[list(CHAIN)])
    around = sum(
        4.0 * (sixth**2 - sixth)
        for first, second in [*((a, b) for a in (0, 6) for b in CHAIN), (0, 6)]
        for sixth in [(0.3 / np.linalg.norm(positions[first] - positions[second])) ** 6]
    )
    assert state_of(mixed, positions)[0] == pytest.approx(inside + around, abs=ENERGY_TOLERANCE)
    if interpolate:
        at_zero, _ = state_of(mixed, positions, lambda_interpolate=0.0)
        assert at_zero == pytest.approx(state_of(conventional, positions)[0], rel=1e-9)


def test_two_molecules_one_call_after_the_other_keep_the_forces_between_them(field):
    topology, conventional, positions = solvated(field, molecules=2)
    potential = openmmml.MLPotential("fpforce", model=field, backend="native")
    first, second = range(1, 6), range(6, 11)
    mixed = potential.createMixedSystem(topology, conventional, first)
    mixed = potential.createMixedSystem(topology, mixed, second)
    inside = 2.0 * state_of(fpforce.make_system(field, backend="native"), field.positions_nm)[0]
    everything = [(a, b) for a in range(12) for b in range(a) if not {a, b} <= {*first} and not {a, b} <= {*second}]
    around = sum(
        4.0 * (sixth**2 - sixth)
        for a, b in everything
        for sixth in [(0.3 / np.linalg.norm(positions[a] - positions[b])) ** 6]
    )
    assert state_of(mixed, positions)[0] == pytest.approx(inside + around, abs=1e-6)


def test_what_has_no_meaning_is_refused(field, small_model):
    topology, conventional, _ = solvated(field, molecules=2)
    potential = openmmml.MLPotential("fpforce", model=field)
    for call, message in (
        (lambda: openmmml.MLPotential("fpforce"), 'give model="model.pt"'),
        (lambda: openmmml.MLPotential("fpforce", model=small_model, modelPath="x"), "does not know modelPath"),
        (lambda: openmmml.MLPotential("fpforce", model="nowhere.pt"), "nowhere.pt does not exist"),
        (lambda: potential.createSystem(topology), "the topology has 12 atoms"),
        (lambda: potential.createSystem(field.topology, charge=1), "does not know charge"),
        (lambda: potential.createMixedSystem(topology, conventional, range(1, 11)), "call it once for each molecule"),
        (lambda: potential.createMixedSystem(topology, conventional, [0, 1]), "atoms .* are bonded, and only one"),
        (lambda: potential.createMixedSystem(topology, conventional, [5, 4, 3, 2, 1]), "atom 0 of the topology is"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_particle_in_the_plane_is_refused(request, tmp_path):
    torch = pytest.importorskip("torch", reason="the model is made by torch")
    plane_set, model_writer = (request.getfixturevalue(name) for name in ("plane_set", "model_writer"))

    class Plane(torch.nn.Module):
        @torch.jit.export
        def energies(self, positions: torch.Tensor) -> torch.Tensor:
            return positions.reshape(-1, 1, 3).square().sum(dim=(1, 2))

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return self.energies(positions).sum()

    path = model_writer(tmp_path / "plane.pt", Plane(), plane_set.beads, np.zeros((1, 3)))
    force_field = fpforce.load(path)
    with pytest.raises(InputError, match="which openmm-ml would stop"):
        openmmml.MLPotential("fpforce", model=force_field).createSystem(force_field.topology)
