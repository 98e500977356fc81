"""FPForce under OpenMM's integrators, minimiser, CustomCVForce and other platforms."""

import numpy as np
import openmm
import pytest

R0, R1 = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)
LANGEVIN_STEPS = 20_000


@pytest.mark.parametrize(
    "integrator",
    [
        lambda: openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.001),
        lambda: openmm.NoseHooverIntegrator(300.0, 10.0, 0.001),
        lambda: openmm.BrownianIntegrator(300.0, 1000.0, 0.0005),
    ],
    ids=["LangevinMiddle", "NoseHoover", "Brownian"],
)
def test_bonds_of_a_thermostatted_molecule_vibrate_at_its_temperature(field, integrator):
    # The mean energy of a harmonic degree of freedom is kT/2, so a bond has the width of the training data.
    import fpforce

    replicas = 16
    system = fpforce.make_system(field, backend="native", replicas=replicas, threads=1)
    stepper = integrator()
    if hasattr(stepper, "setRandomNumberSeed"):
        stepper.setRandomNumberSeed(1)
    context = openmm.Context(system, stepper, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.tile(field.positions_nm, (replicas, 1)))
    context.setVelocitiesToTemperature(300.0, 2)
    stepper.step(LANGEVIN_STEPS // 4)
    lengths = []
    for _ in range(LANGEVIN_STEPS // 40):
        stepper.step(20)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(replicas, 5, 3)
        lengths.append([np.linalg.norm(positions[:, i] - positions[:, j], axis=1) for i, j in field.beads.bonds])
    lengths = np.array(lengths)
    np.testing.assert_allclose(lengths.mean(axis=(0, 2)), field.bonds_nm["mean"], atol=0.002)
    assert (lengths.std(axis=(0, 2)) > 0.001).all() and (lengths.std(axis=(0, 2)) < 0.008).all()


def test_verlet_conserves_the_energy(make_force, frames_nm, system_of, context_of, field):
    context = context_of(system_of(10, make_force(R0, R1)), frames_nm(2), openmm.VerletIntegrator(0.0005))
    context.setVelocitiesToTemperature(300.0, 4)
    energies = []
    for _ in range(200):
        context.getIntegrator().step(50)
        state = context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
    drift_per_ps = np.polyfit(0.025 * np.arange(len(energies)), energies, 1)[0]
    assert abs(drift_per_ps) < 30 * 1e-3 * field.kt_kj_per_mol  # 30 degrees of freedom


def test_minimiser_arrives_where_no_force_is_left(make_force, frames_nm, system_of, context_of, evaluate):
    context = context_of(system_of(10, make_force(R0, R1)), frames_nm(2))
    before, _ = evaluate(context)
    openmm.LocalEnergyMinimizer.minimize(context, tolerance=1.0)
    energy, forces = evaluate(context)
    assert energy < before - 1.0 and np.sqrt((forces**2).mean()) <= 1.0


def test_custom_cv_force_sees_the_energy_and_its_parameter(make_force, frames_nm, system_of, context_of, evaluate):
    positions = frames_nm(2)
    plain = context_of(system_of(10, make_force(R0, R1)), positions)
    wrapper = openmm.CustomCVForce("2*U")
    wrapper.addCollectiveVariable("U", make_force(R0, R1))
    wrapped = context_of(system_of(10, wrapper), positions)
    for scale in (1.0, 0.5):
        for context in (plain, wrapped):
            context.setParameter("fpforce_scale", scale)
        energy, forces = evaluate(plain)
        doubled, doubled_forces = evaluate(wrapped)
        assert doubled == pytest.approx(2 * energy, rel=1e-13)
        np.testing.assert_allclose(doubled_forces, 2 * forces, rtol=1e-12)


def test_multiple_time_steps_by_force_groups_follow_the_single_step_path(make_force, frames_nm, system_of, context_of):
    # With one inner step, the multiple time step integrator is the plain one.
    from openmm.mtsintegrator import MTSIntegrator

    from fpforce.plugin import FPForce

    parts = [make_force(R0), make_force(R0)]
    for group, (part, terms) in enumerate(zip(parts, (FPForce.Prior, FPForce.Network), strict=True)):
        part.setTerms(terms)
        part.setForceGroup(group)
    ends = []
    for integrator, forces in (
        (MTSIntegrator(0.0005, [(0, 1), (1, 1)]), parts),
        (openmm.mtsintegrator.MTSIntegrator(0.0005, [(0, 1)]), [make_force(R0)]),
    ):
        context = context_of(system_of(5, *forces), frames_nm(1), integrator)
        context.setVelocitiesToTemperature(300.0, 6)
        integrator.step(100)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(*ends, atol=1e-5)


@pytest.fixture(params=["Reference", "CPU", "OpenCL"])
def platform(request, system_of, context_of):
    """The name of a platform that works here; OpenCL is skipped without a driver, such as the package
    pocl-opencl-icd.
    """
    names = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if request.param not in names:
        pytest.skip(f"no {request.param} platform here")
    try:
        context_of(system_of(1), [0.0, 0.0, 0.0], platform=request.param)
    except openmm.OpenMMException as error:
        pytest.skip(f"{request.param}: {error}")
    return request.param


def test_platforms_agree_with_reference(make_force, frames_nm, system_of, context_of, evaluate, platform):
    replicas = ((11, 3, 7, 0, 5), (9, 8, 6, 4, 2))
    positions = np.random.default_rng(1).uniform(-1, 1, (12, 3))
    for place, frame in zip(replicas, frames_nm(2), strict=True):
        positions[list(place)] = frame
    system = system_of(12, make_force(*replicas))
    context = context_of(system, positions, platform=platform)
    expected_energy, expected = evaluate(context_of(system, positions))
    energy, forces = evaluate(context)
    # Positions are in single precision on OpenCL: 1e-7 of a coordinate of 1 nm, at bonds of 300,000 kJ/mol/nm^2.
    assert energy == pytest.approx(expected_energy, abs=1e-2)
    np.testing.assert_allclose(forces, expected, atol=0.5)
    context.setParameter("fpforce_scale", 0.25)
    reference = context_of(system, positions)
    reference.setParameter("fpforce_scale", 0.25)
    assert evaluate(context)[0] == pytest.approx(evaluate(reference)[0], abs=1e-2)
    context.getIntegrator().step(10)
    assert np.isfinite(evaluate(context)[1]).all()


def test_positions_that_are_not_finite_give_an_energy_that_is_not(
    make_force, frames_nm, system_of, context_of, evaluate, platform
):
    positions = frames_nm(2)
    positions[1, 2, 0] = np.nan
    context = context_of(system_of(10, make_force(R0, R1)), positions, platform=platform)
    if platform == "CPU":  # which looks at positions before any force does
        with pytest.raises(openmm.OpenMMException, match="NaN"):
            evaluate(context)
    else:
        assert np.isnan(evaluate(context)[0])


def test_replicas_that_do_not_fit_are_refused_when_the_context_is_made(
    make_force, frames_nm, system_of, context_of, platform
):
    with pytest.raises(openmm.OpenMMException, match="replica 0 names particle 4"):
        context_of(system_of(4, make_force(R0)), np.zeros((4, 3)), platform=platform)


def test_an_exception_inside_a_step_is_an_openmm_exception(graph_model, run_python, platform):
    # On OpenCL a step evaluates the force in a thread of OpenMM's own. What can fail there is memory: of each of 2000
    # threads' workspaces, some 20 kB, with room for 8 MB left to the process.
    code = (
        "import sys, resource, numpy, openmm, fpforce\n"
        "from fpforce.plugin import FPForce\n"
        "field, replicas = fpforce.load(sys.argv[1]), 2000\n"
        "force, other, system = FPForce.from_file(field), openmm.CustomExternalForce('x'), openmm.System()\n"
        "for i in range(5 * replicas): system.addParticle(12.0)\n"
        "for r in range(replicas): force.addReplica(range(5 * r, 5 * r + 5))\n"
        "force.setNumThreads(replicas)\n"
        "other.addParticle(0)\n"
        "other.setForceGroup(1)\n"
        "for each in (force, other): system.addForce(each)\n"
        "integrator = openmm.VerletIntegrator(0.001)\n"
        "integrator.setIntegrationForceGroups({1})\n"
        "context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(sys.argv[2]))\n"
        "context.setPositions(numpy.tile(field.positions_nm, (replicas, 1)))\n"
        "integrator.step(2)  # whatever the platform itself needs is there\n"
        "integrator.setIntegrationForceGroups({0, 1})\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 8_000_000, -1))\n"
        "try: integrator.step(1)\n"
        "except openmm.OpenMMException as error: print(error)\n"
    )
    *_, printed = run_python(code, graph_model, platform).splitlines()  # OpenMM warns of some OpenCL drivers
    assert printed == "FPForce: there is not enough memory for the evaluation; take fewer replicas or threads"
