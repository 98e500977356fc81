"""FPForce in a System: which particles it acts on, its parameters, and what it refuses."""

import numpy as np
import openmm
import pytest

from fpforce.plugin import FPForce

R0, R1 = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)


def test_replicas_among_other_particles_feel_what_they_feel_alone(
    make_force, frames_nm, system_of, context_of, evaluate
):
    # Nine particles, bead order reversed in the second replica's indices, two particles in no replica and one bond
    # there.
    frames = frames_nm(2)
    places = [(11, 3, 7, 0, 5), (9, 8, 6, 4, 2)]
    positions = np.random.default_rng(1).uniform(-1, 1, (12, 3))
    for place, frame in zip(places, frames, strict=True):
        positions[list(place)] = frame
    bond = openmm.HarmonicBondForce()
    bond.addBond(1, 10, 0.1, 1000.0)
    system = system_of(12, make_force(*places), bond)
    for index, force in enumerate(system.getForces()):
        force.setForceGroup(index)
    context = context_of(system, positions)
    energy, forces = evaluate(context, groups={0})
    alone = evaluate(context_of(system_of(10, make_force(R0, R1)), frames))
    assert energy == alone[0]
    np.testing.assert_array_equal(forces[list(places[0] + places[1])], alone[1])
    np.testing.assert_array_equal(forces[[1, 10]], 0.0)
    bond_energy, bond_forces = evaluate(context, groups={1})
    total, total_forces = evaluate(context)
    assert bond_energy > 1.0 and total == pytest.approx(energy + bond_energy, rel=1e-14)
    np.testing.assert_allclose(total_forces, forces + bond_forces, rtol=1e-13, atol=1e-9)


def test_particles_behind_the_replicas_feel_nothing(make_force, frames_nm, system_of, context_of, evaluate):
    positions = np.concatenate([frames_nm(2).reshape(-1, 3), [[0.1, 0.2, 0.3]]])
    _, forces = evaluate(context_of(system_of(11, make_force(R0, R1)), positions))
    assert np.abs(forces[:10]).max(axis=1).min() > 0 and (forces[10] == 0).all()


def test_order_of_replicas_does_not_matter(make_force, frames_nm, system_of, context_of, evaluate):
    positions = frames_nm(2)
    energy, forces = evaluate(context_of(system_of(10, make_force(R0, R1)), positions))
    swapped, swapped_forces = evaluate(context_of(system_of(10, make_force(R1, R0)), positions))
    assert swapped == pytest.approx(energy, rel=1e-14)
    np.testing.assert_array_equal(swapped_forces, forces)


def test_force_is_minus_the_energy_gradient(any_field, frames_nm, system_of, context_of, evaluate):
    force = FPForce.from_file(any_field)
    force.addReplica(R0)
    force.setPrecision(FPForce.Double)
    positions = frames_nm(1)[0]
    context = context_of(system_of(5, force), positions)
    _, forces = evaluate(context)
    step_nm = 1e-6  # error of the central difference: step^2 times the third derivative, some 1e-5 kJ/mol/nm here
    for particle, axis in ((0, 0), (1, 2), (2, 1), (3, 0), (4, 2)):
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[particle, axis] += sign * step_nm
            context.setPositions(moved)
            energies.append(evaluate(context)[0])
        slope = (energies[0] - energies[1]) / (2 * step_nm)
        assert forces[particle, axis] == pytest.approx(-slope, rel=1e-6, abs=1e-3)


def test_terms_add_up_and_the_scale_multiplies_the_network_alone(
    make_force, frames_nm, system_of, context_of, evaluate
):
    positions = frames_nm(1)
    parts = {}
    for terms in (FPForce.Network, FPForce.Prior):
        force = make_force(R0)
        force.setTerms(terms)
        parts[terms] = evaluate(context_of(system_of(5, force), positions))
    force = make_force(R0)
    force.setDefaultScale(0.25)
    context = context_of(system_of(5, force), positions)
    assert dict(context.getParameters()) == {FPForce.Scale(): 0.25}
    for scale in (0.25, 0.0, 1.0):
        context.setParameter(FPForce.Scale(), scale)
        energy, forces = evaluate(context)
        assert energy == pytest.approx(scale * parts[FPForce.Network][0] + parts[FPForce.Prior][0], rel=1e-12)
        expected = scale * parts[FPForce.Network][1] + parts[FPForce.Prior][1]
        np.testing.assert_allclose(forces, expected, rtol=1e-6, atol=1e-6)


def test_prior_alone_and_an_unnamed_scale_have_no_parameter(make_force, frames_nm, system_of, context_of):
    prior = make_force(R0)
    prior.setTerms(FPForce.Prior)
    unscaled = make_force(R0)
    unscaled.setScaleParameter("")
    for force in (prior, unscaled):
        assert dict(context_of(system_of(5, force), frames_nm(1)).getParameters()) == {}


def test_two_forces_can_have_scales_of_their_own(make_force, frames_nm, system_of, context_of, evaluate):
    forces = [make_force(R0), make_force(R1)]
    forces[1].setScaleParameter("second_scale")
    context = context_of(system_of(10, *forces), frames_nm(2))
    assert dict(context.getParameters()) == {"fpforce_scale": 1.0, "second_scale": 1.0}
    _, before = evaluate(context)
    context.setParameter("second_scale", 0.5)
    _, after = evaluate(context)
    np.testing.assert_array_equal(after[:5], before[:5])
    assert (after[5:] != before[5:]).any()


def test_double_precision_is_close_to_single_and_not_the_same(any_field, frames_nm, system_of, context_of, evaluate):
    results = []
    for precision in (FPForce.Single, FPForce.Double):
        force = FPForce.from_file(any_field)
        force.addReplica(R0)
        force.setPrecision(precision)
        results.append(evaluate(context_of(system_of(5, force), frames_nm(1))))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5) and results[0][0] != results[1][0]
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-5 * np.abs(results[1][1]).max())


def test_forces_do_not_depend_on_the_number_of_threads(make_force, frames_nm, system_of, context_of, evaluate):
    replicas = [tuple(range(5 * r, 5 * r + 5)) for r in range(200)]
    results = []
    for threads in (1, 2, 3, 0):
        force = make_force(*replicas)
        force.setNumThreads(threads)
        results.append(evaluate(context_of(system_of(1000, force), frames_nm(200))))
    for energy, forces in results[1:]:
        assert energy == results[0][0]
        np.testing.assert_array_equal(forces, results[0][1])


def test_nan_positions_give_nan_to_their_replica_only(make_force, frames_nm, system_of, context_of, evaluate):
    positions = frames_nm(2)
    context = context_of(system_of(10, make_force(R0, R1)), positions)
    _, expected = evaluate(context)
    positions[0, 2, 1] = np.nan
    context.setPositions(positions.reshape(-1, 3))
    energy, forces = evaluate(context)
    assert np.isnan(energy) and np.isnan(forces[:5]).all()
    np.testing.assert_array_equal(forces[5:], expected[5:])


def test_each_replica_is_one_molecule(make_force, frames_nm, system_of, context_of):
    context = context_of(system_of(11, make_force((0, 2, 4, 6, 8), (1, 3, 5, 7, 9))), np.zeros((11, 3)))
    assert sorted(context.getMolecules()) == [(0, 2, 4, 6, 8), (1, 3, 5, 7, 9), (10,)]


def test_force_is_not_periodic(make_force, system_of):
    force = make_force(R0)
    assert not force.usesPeriodicBoundaryConditions()
    assert not system_of(5, force).usesPeriodicBoundaryConditions()


@pytest.mark.parametrize(
    "replicas, message",
    [
        ([], "has no replicas; call addReplica"),
        ([(0, 1, 2, 3)], "replica 0 has 4 particles, but the model has 5 beads"),
        ([R0, (5, 6, 7, 8, 10)], "replica 1 names particle 10, but the System's particles are 0 to 9"),
        ([(0, 1, 2, 3, -1)], "replica 0 names particle -1"),
        ([R0, (4, 5, 6, 7, 8)], "replica 1 names particle 4, which is in replica 0 already"),
        ([(0, 1, 2, 2, 3)], "replica 0 names particle 2, which is in replica 0 already"),
    ],
)
def test_replicas_that_do_not_fit_the_system_are_named(make_force, system_of, context_of, replicas, message):
    with pytest.raises(openmm.OpenMMException, match=message):
        context_of(system_of(10, make_force(*replicas)), np.zeros((10, 3)))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda force: force.setPrecision(2), "precision is 2; give Single or Double"),
        (lambda force: force.setNumThreads(-1), "number of threads is -1"),
        (lambda force: force.setTerms(3), "terms is 3; give All, Network or Prior"),
        (lambda force: force.setDefaultScale(float("nan")), "default scale is not finite"),
        (lambda force: force.getReplicaParticles(1), "there is no replica 1; the force has 1"),
        (lambda force: force.setReplicaParticles(-1, R0), "there is no replica -1"),
        (lambda force: force.setModel("{}", force.getWeights()), "FPForce: fpforce.json"),
        (lambda force: force.setModel(force.getDescription(), b"PK\x03\x04"), "FPForce: fpforce.safetensors"),
    ],
)
def test_values_out_of_range_are_named_and_change_nothing(make_force, call, message):
    force = make_force(R0)
    before = openmm.XmlSerializer.serialize(force)
    with pytest.raises(openmm.OpenMMException, match=message):
        call(force)
    assert openmm.XmlSerializer.serialize(force) == before


def test_numbers_that_are_no_c_integers_are_refused(make_force):
    force = make_force(R0)
    with pytest.raises(OverflowError):
        force.addReplica([0, 1, 2, 3, 2**32])
    with pytest.raises(TypeError):
        force.addReplica([0, 1, 2, 3, 4.5])
    assert force.getNumReplicas() == 1 and force.addReplica(np.arange(5, 10)) == 1
    force.setReplicaParticles(1, R0)
    assert force.getReplicaParticles(1) == R0


def test_force_of_a_system_is_cast_back(make_force, system_of, field):
    force = make_force(R0)
    system = system_of(5, force, openmm.HarmonicBondForce())
    plain, other = system.getForces()
    assert not isinstance(plain, FPForce) and FPForce.isinstance(plain) and not FPForce.isinstance(other)
    found = FPForce.cast(plain)
    found.setNumThreads(3)
    assert force.getNumThreads() == 3, "the added object and the one found are the same"
    assert found.getNumBeads() == 5 and found.getKind() == "internal"
    assert found.getWeights() == field.weights_bytes() and found.getDescription() == field.description()
    for wrong in (other, system, None):
        with pytest.raises(TypeError, match="is not an FPForce"):
            FPForce.cast(wrong)


def test_a_force_that_was_never_added_can_be_dropped_and_an_added_one_outlives_its_name(
    make_force, system_of, frames_nm, context_of, evaluate
):
    for _ in range(100):
        make_force(R0)
    system = system_of(5, make_force(R0))
    assert np.isfinite(evaluate(context_of(system, frames_nm(1)))[0])
