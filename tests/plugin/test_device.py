"""FPForce on a device: the kernels of plugin/platforms/common, run through OpenCL, against the host in float64.

Models have random weights of order one, and frames bonds that are stretched by some widths, so that every term acts.
The host is given the positions as the device holds them, in float32 where its precision is single.
Longer than other files, since every claim about the host is made of the device once more, with the same helpers.
"""

from pathlib import Path

import numpy as np
import openmm
import pytest

from fpforce.plugin import FPForce

pytestmark = pytest.mark.usefixtures("opencl", "any_device")


@pytest.fixture
def any_device(monkeypatch):
    """Has the kernels used though the device is the host's processor, as pocl's is."""
    monkeypatch.setenv("FPFORCE_DEVICE", "kernel")


GRAPH = {"kind": "graph_transformer"}
WINDOWS = {"beads": 9, "window": 6, "window_width": 20}
MODELS = {
    "internal": {},
    "without volumes": {"volumes": False},
    "wall": {"wall": True},
    "wall without a prior": {"wall": True, "prior": False},
    "neither prior nor wall": {"prior": False},
    "two beads": {"beads": 2},
    "three beads": {"beads": 3},
    "one layer, a width that is no multiple of a warp": {"layers": 1, "width": 37},
    "four layers": {"layers": 4, "width": 48},
    "28 beads": {"beads": 28, "width": 128, "layers": 3, "wall": True},
    "60 beads, more than local memory holds": {"beads": 60, "width": 64},
    "windows": WINDOWS | {"wall": True},
    "windows of one layer": {"beads": 7, "window": 4, "window_width": 37, "layers": 1},
    "windows of four layers, without volumes": WINDOWS | {"layers": 4, "volumes": False},
    "44 beads, more windows than local memory holds": {"beads": 44, "window": 6, "window_width": 32},
    "60 beads with windows": {"beads": 60, "width": 64, "window": 6, "window_width": 32},
    "graph_transformer": GRAPH,
    "graph_transformer of one bead": GRAPH | {"beads": 1, "width": 8, "head_width": 8, "layers": 1},
    "graph_transformer of two beads": GRAPH | {"beads": 2, "width": 24, "head_width": 8},
    "graph_transformer with a wall": GRAPH | {"beads": 7, "wall": True},
    # One launch a step, as for few large molecules; rows that are no multiple of four.
    "graph_transformer of 19 beads": GRAPH | {"beads": 19, "width": 80, "layers": 3, "wall": True},
}


def chains_nm(replicas, beads, seed=0):
    """(replicas, beads, 3): chains of bonds of 0.14 nm, each in a cone around the one before."""
    generator = np.random.default_rng(seed)
    direction, chains = np.tile([1.0, 0.0, 0.0], (replicas, 1)), np.zeros((replicas, beads, 3))
    for bead in range(1, beads):
        direction = direction + 0.6 * generator.normal(size=(replicas, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        chains[:, bead] = chains[:, bead - 1] + 0.14 * (1 + 0.035 * generator.normal(size=(replicas, 1))) * direction
    return chains


def make_context(
    model,
    places,
    particles,
    platform="OpenCL",
    precision="mixed",
    integrator=None,
    box_nm=None,
    configure=None,
    others=(),
):
    """(force, context): replicas at `places` (replicas, beads) of a System; on the host in float64 if the
    platform is Reference.
    """
    force = FPForce(*model)
    for place in places:
        force.addReplica(place)
    force.setForceGroup(3)
    if platform == "Reference":
        force.setPrecision(FPForce.Double)
    if configure:
        configure(force)
    system = openmm.System()
    for _ in range(particles):
        system.addParticle(12.0)
    if box_nm:
        system.setDefaultPeriodicBoxVectors((box_nm, 0, 0), (0, box_nm, 0), (0, 0, box_nm))
    system.addForce(force)
    for other in others:
        system.addForce(other)
    properties = {"Precision": precision} if platform == "OpenCL" else {}
    context = openmm.Context(
        system, integrator or openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform), properties
    )
    return force, context


def in_order(replicas, beads):
    return np.arange(replicas * beads).reshape(replicas, beads)


def state_of(context):
    """(energy, forces, positions) of the force alone, as the context holds its positions."""
    state = context.getState(energy=True, forces=True, positions=True, groups={3})
    return (
        state.getPotentialEnergy()._value,
        state.getForces(asNumpy=True)._value,
        state.getPositions(asNumpy=True)._value,
    )


def assert_as_on_the_host(model, places, context, tolerance=1e-5, configure=None):
    """Energy and forces of the context equal the host's in float64, relative to the energy and to the forces'
    root mean square; each replica's energy is a difference of terms of some 100 kJ/mol.
    """
    energy, forces, positions = state_of(context)
    _, host = make_context(model, places, len(positions), "Reference", configure=configure)
    host.setPositions(positions)
    for name, value in context.getParameters().items():
        host.setParameter(name, value)
    expected_energy, expected, _ = state_of(host)
    assert abs(energy - expected_energy) <= tolerance * max(abs(expected_energy), 10 * len(places))
    size = np.sqrt(np.square(expected[places]).mean())  # 0 for a single bead, which feels no force
    assert np.abs(forces[places] - expected[places]).max() <= tolerance * size
    elsewhere = np.setdiff1d(np.arange(len(positions)), places)
    assert (forces[elsewhere] == 0).all()


@pytest.mark.parametrize(
    "name, precision",
    [
        *((name, "single") for name in MODELS),
        ("wall", "mixed"),
        ("wall", "double"),
        ("28 beads", "mixed"),
        ("28 beads", "double"),
        ("windows", "mixed"),
        ("windows", "double"),
        ("graph_transformer", "mixed"),
        ("graph_transformer", "double"),
        ("graph_transformer of 19 beads", "mixed"),
        ("graph_transformer of 19 beads", "double"),
    ],
)
def test_energies_and_forces_equal_the_host_in_float64(random_model, name, precision):
    model, beads = random_model(**MODELS[name]), MODELS[name].get("beads", 5)
    places = in_order(9, beads)
    force, context = make_context(model, places, places.size, precision=precision)
    assert force.getEvaluationInContext(context) == "OpenCL"
    for seed in range(3):
        context.setPositions(chains_nm(9, beads, seed).reshape(-1, 3))
        assert_as_on_the_host(model, places, context)


@pytest.mark.parametrize(
    "shape, replicas",
    [
        *(({}, replicas) for replicas in (1, 200, 400, 1000)),
        *(({"beads": 6, "window": 4}, replicas) for replicas in (1, 200, 400, 1000)),
        (GRAPH, 200),
    ],
)
def test_every_number_of_replicas_at_once_gives_the_same(random_model, shape, replicas):
    # 1, 2, 4 and 8 of them a group; the frames number a thousand in all. Of a graph_transformer each group takes one
    # replica after another.
    beads = shape.get("beads", 5)
    model, places = random_model(**shape, wall=True), in_order(replicas, beads)
    _, context = make_context(model, places, places.size, precision="single")
    context.setPositions(chains_nm(replicas, beads).reshape(-1, 3))
    assert_as_on_the_host(model, places, context)


@pytest.mark.parametrize("terms", ["All", "Network", "Prior"])
@pytest.mark.parametrize("shape", [{}, WINDOWS, GRAPH], ids=["internal", "windows", "graph_transformer"])
def test_terms_and_scale_mean_what_they_mean_on_the_host(random_model, shape, terms):
    beads = shape.get("beads", 5)
    model, places = random_model(**shape, wall=True), in_order(5, beads)

    def configure(force):
        force.setTerms(getattr(FPForce, terms))

    _, context = make_context(model, places, places.size, configure=configure)
    context.setPositions(chains_nm(5, beads).reshape(-1, 3))
    for scale in (1.0, 0.3, 0.0):
        if terms != "Prior":
            context.setParameter("fpforce_scale", scale)
        assert_as_on_the_host(model, places, context, configure=configure)


@pytest.mark.parametrize(
    "shape",
    [{"beads": 8}, WINDOWS, GRAPH | {"beads": 8}, MODELS["graph_transformer of 19 beads"]],
    ids=["internal", "windows", "graph", "19"],
)
def test_a_network_in_double_precision_is_exact_in_double(random_model, shape):
    model, beads = random_model(**shape), shape["beads"]
    places = in_order(3, beads)
    _, context = make_context(
        model, places, places.size, precision="double", configure=lambda force: force.setPrecision(FPForce.Double)
    )
    context.setPositions(chains_nm(3, beads).reshape(-1, 3))
    assert_as_on_the_host(model, places, context, tolerance=1e-9)


@pytest.mark.parametrize("shape", [{}, WINDOWS, GRAPH], ids=["internal", "windows", "graph_transformer"])
def test_replicas_of_any_particles_and_in_any_order(random_model, shape):
    beads = shape.get("beads", 5)
    model, particles = random_model(**shape), 4 * beads + 3
    places = np.random.default_rng(0).permutation(particles)[: 4 * beads].reshape(4, beads)
    _, context = make_context(model, places, particles)
    positions = np.random.default_rng(1).uniform(-1, 1, (particles, 3))
    positions[places] = chains_nm(4, beads)
    context.setPositions(positions)
    assert_as_on_the_host(model, places, context)


@pytest.mark.parametrize(
    "kind, precision", [("internal", "single"), ("internal", "mixed"), ("graph_transformer", "single")]
)
def test_openmm_may_reorder_particles_and_wrap_molecules(random_model, kind, precision):
    # A nonbonded force makes it sort molecules by place; those that leave the box come back on its other side, as a
    # whole.
    model, replicas, box_nm = random_model(kind), 60, 4.0
    places, generator = in_order(replicas, 5), np.random.default_rng(2)
    repulsion = openmm.CustomNonbondedForce("2*exp(-9*r^2)")
    repulsion.setNonbondedMethod(repulsion.CutoffPeriodic)
    repulsion.setCutoffDistance(1.0)
    for _ in range(places.size):
        repulsion.addParticle([])
    repulsion.setForceGroup(7)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
    integrator.setRandomNumberSeed(3)
    _, context = make_context(
        model, places, places.size, precision=precision, integrator=integrator, box_nm=box_nm, others=[repulsion]
    )
    context.setPositions(
        (chains_nm(replicas, 5) + generator.uniform(-box_nm, 2 * box_nm, (replicas, 1, 3))).reshape(-1, 3)
    )
    context.setVelocitiesToTemperature(300.0, 4)
    for _ in range(3):
        integrator.step(300)
        assert_as_on_the_host(model, places, context)


def test_temperature_and_bonds_of_a_langevin_run_are_those_of_the_host(random_model):
    # Harmonic bonds of a stiff prior: the mean length over 40 molecules and 40 saved frames is known to 1e-4 nm.
    model, places = random_model(), in_order(40, 5)
    means = []
    for platform in ("OpenCL", "Reference"):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.002)
        integrator.setRandomNumberSeed(5)
        _, context = make_context(model, places, 200, platform, "mixed", integrator)
        context.setPositions(chains_nm(40, 5).reshape(-1, 3))
        context.setVelocitiesToTemperature(300.0, 6)
        integrator.step(1000)
        lengths = []
        for _ in range(40):
            integrator.step(25)
            positions = state_of(context)[2].reshape(40, 5, 3)
            lengths.append(np.linalg.norm(np.diff(positions, axis=1), axis=2))
        means.append((np.mean(lengths), np.std(lengths)))
    assert means[0][0] == pytest.approx(means[1][0], abs=5e-4)
    assert means[0][1] == pytest.approx(means[1][1], rel=0.1)


def test_checkpoint_continues_the_same_path(random_model):
    model, places = random_model(), in_order(3, 5)

    def start():
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        integrator.setRandomNumberSeed(5)
        return make_context(model, places, 15, integrator=integrator)[1]

    context = start()
    context.setPositions(chains_nm(3, 5).reshape(-1, 3))
    context.getIntegrator().step(50)
    checkpoint = context.createCheckpoint()
    context.getIntegrator().step(50)
    restored = start()
    restored.loadCheckpoint(checkpoint)
    restored.getIntegrator().step(50)
    np.testing.assert_array_equal(state_of(restored)[2], state_of(context)[2])


def test_xml_gives_the_same_forces(random_model):
    model, places = random_model(wall=True), in_order(4, 5)
    _, context = make_context(model, places, 20)
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(context.getSystem()))
    again = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("OpenCL"), {"Precision": "mixed"}
    )
    for each in (context, again):
        each.setPositions(chains_nm(4, 5).reshape(-1, 3))
    assert state_of(again)[0] == state_of(context)[0]
    np.testing.assert_array_equal(state_of(again)[1], state_of(context)[1])


def test_custom_cv_force_sees_the_energy_and_its_derivative(random_model):
    model, places = random_model(), in_order(2, 5)
    wrapper = openmm.CustomCVForce("prior + s*network")
    wrapper.addGlobalParameter("s", 0.6)
    wrapper.addEnergyParameterDerivative("s")
    for name, terms in (("prior", FPForce.Prior), ("network", FPForce.Network)):
        part = FPForce(*model)
        part.setTerms(terms)
        part.setScaleParameter("")
        for place in places:
            part.addReplica(place)
        wrapper.addCollectiveVariable(name, part)
    wrapper.setForceGroup(4)
    _, context = make_context(model, places, 10, others=[wrapper])
    context.setParameter("fpforce_scale", 0.6)
    context.setPositions(chains_nm(2, 5).reshape(-1, 3))
    energy, forces, _ = state_of(context)
    wrapped = context.getState(energy=True, forces=True, parameterDerivatives=True, groups={4})
    assert wrapped.getPotentialEnergy()._value == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(wrapped.getForces(asNumpy=True)._value, forces, atol=1e-5 * np.abs(forces).max())
    context.setParameter("fpforce_scale", 1.6)
    assert wrapped.getEnergyParameterDerivatives()["s"] == pytest.approx(state_of(context)[0] - energy, rel=1e-4)


def test_minimiser_arrives_where_no_force_is_left(random_model, run_python):
    plain = (
        "import numpy, openmm\n"
        "system, force = openmm.System(), openmm.HarmonicBondForce()\n"
        "for i in range(30): system.addParticle(12.0)\n"
        "for i in range(0, 30, 2): force.addBond(i, i + 1, 0.15, 1000.0)\n"
        "system.addForce(force)\n"
        "platform = openmm.Platform.getPlatformByName('OpenCL')\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, {'Precision': 'mixed'})\n"
        "context.setPositions(numpy.random.default_rng(0).normal(size=(30, 3)))\n"
        "openmm.LocalEnergyMinimizer.minimize(context)\n"
    )
    try:
        run_python(plain)
    except AssertionError:
        pytest.skip(
            "OpenMM's own minimiser crashes on this OpenCL, whatever the force is, as that of 8.5 does on pocl 3.1"
        )
    model, places = random_model(), in_order(6, 5)
    _, context = make_context(model, places, 30)
    context.setPositions(chains_nm(6, 5).reshape(-1, 3))
    before = state_of(context)[0]
    openmm.LocalEnergyMinimizer.minimize(context, tolerance=1.0)
    energy, forces, _ = state_of(context)
    assert energy < before - 1.0 and np.sqrt((forces**2).mean()) <= 1.0
    assert_as_on_the_host(model, places, context, tolerance=1e-3)  # of forces that are all but zero


@pytest.mark.parametrize("kind, missing", [("internal", "hidden.3"), ("graph_transformer", "layers.3")])
def test_new_weights_act_at_once_and_refused_ones_change_nothing(random_model, kind, missing):
    model, places = random_model(kind), in_order(4, 5)
    force, context = make_context(model, places, 20)
    context.setPositions(chains_nm(4, 5).reshape(-1, 3))
    other = random_model(kind, width=48, layers=3, seed=2)
    force.setModel(*other)
    force.updateParametersInContext(context)
    assert_as_on_the_host(other, places, context)
    before = state_of(context)[0]
    force.setModel(other[0].replace('"layers": 3', '"layers": 4'), other[1])
    with pytest.raises(openmm.OpenMMException, match=missing):
        force.updateParametersInContext(context)
    assert state_of(context)[0] == before


@pytest.mark.parametrize(
    "shape, replicas",
    [({}, 400), (WINDOWS, 400), (GRAPH, 40)],
    ids=["internal", "windows", "graph_transformer"],
)
def test_positions_that_are_not_finite_spoil_the_energy_and_leave_other_replicas_alone(random_model, shape, replicas):
    beads = shape.get("beads", 5)
    model, places = random_model(**shape), in_order(replicas, beads)  # several replicas a group
    _, context = make_context(model, places, places.size)
    positions = chains_nm(replicas, beads)
    context.setPositions(positions.reshape(-1, 3))
    _, expected, _ = state_of(context)
    positions[7, 2, 1] = np.nan
    context.setPositions(positions.reshape(-1, 3))
    energy, forces, _ = state_of(context)
    assert np.isnan(energy)
    np.testing.assert_array_equal(
        np.delete(forces.reshape(positions.shape), 7, axis=0), np.delete(expected.reshape(positions.shape), 7, axis=0)
    )


@pytest.mark.parametrize(
    "kind, configure, environment, reason",
    [
        (
            "graph_transformer",
            lambda force: force.setPrecision(FPForce.Double),
            {},
            "host: the force asks for double precision and the platform",
        ),
        ("internal", None, {"FPFORCE_DEVICE": "host"}, "host: FPFORCE_DEVICE asks for it"),
    ],
    ids=["precision", "request"],
)
def test_what_has_no_kernel_is_computed_on_the_host_and_the_reason_is_known(
    random_model, monkeypatch, kind, configure, environment, reason
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    model, places = random_model(kind), in_order(2, 5)
    force, context = make_context(model, places, 10, precision="single", configure=configure)
    assert force.getEvaluationInContext(context).startswith(reason)
    context.setPositions(chains_nm(2, 5).reshape(-1, 3))
    assert_as_on_the_host(model, places, context)


def test_a_network_too_large_for_local_memory_is_computed_on_the_host(random_model):
    model, places = random_model(width=1500, layers=3), in_order(1, 5)
    force, context = make_context(model, places, 5)
    assert "bytes of local memory" in force.getEvaluationInContext(context)


def test_the_host_is_named_where_a_platform_has_no_kernels(random_model):
    force, context = make_context(random_model(), in_order(1, 5), 5, "Reference")
    assert force.getEvaluationInContext(context) == "host"


def test_the_reason_for_the_host_is_written_once(random_model, run_python, tmp_path):
    description, weights = random_model(width=1500, layers=3)
    (tmp_path / "description").write_text(description)
    (tmp_path / "weights").write_bytes(weights)
    code = (
        "import openmm, os\n"
        "from fpforce.plugin import FPForce\n"
        "force = FPForce(open('description').read(), open('weights', 'rb').read())\n"
        "force.addReplica(range(5))\n"
        "system = openmm.System()\n"
        "for _ in range(5): system.addParticle(12.0)\n"
        "system.addForce(force)\n"
        "os.dup2(1, 2)\n"
        "for _ in range(3): openmm.Context(system, openmm.VerletIntegrator(0.001), "
        "openmm.Platform.getPlatformByName('OpenCL'))\n"
    )
    lines = [line for line in run_python(code).splitlines() if line.startswith("fpforce")]
    (line,) = lines
    assert line.startswith(
        "fpforce: FPForce on the platform OpenCL is computed on the host: a network of width 1500 for 5"
    )


def test_a_device_that_is_the_hosts_processor_is_left_alone_unless_asked_for(random_model, monkeypatch):
    monkeypatch.delenv("FPFORCE_DEVICE")
    force, context = make_context(random_model(), in_order(1, 5), 5)
    name = context.getPlatform().getPropertyValue(context, "DeviceName")
    if not name.startswith(("pthread", "cpu")):
        pytest.skip(f"{name} is not pocl's")
    assert (
        force.getEvaluationInContext(context)
        == "host: the device is the host's processor, for which there is faster code"
    )


def test_kernels_have_no_data_race(random_model, run_python, tmp_path):
    # Oclgrind, a simulator of OpenCL devices, looks at every access to memory; a missing barrier passes on pocl and not
    # there.
    simulator = Path("/usr/lib/oclgrind/liboclgrind-rt-icd.so")
    if not simulator.exists():
        pytest.skip("no Oclgrind here, such as the package oclgrind")
    (tmp_path / "vendors").mkdir()
    (tmp_path / "vendors" / "oclgrind.icd").write_text(f"{simulator}\n")
    code = (
        "import os, sys, numpy, openmm\n"
        "os.dup2(1, 2)\n"
        "from fpforce.plugin import FPForce\n"
        "force = FPForce(open(sys.argv[1] + '.json').read(), open(sys.argv[1] + '.safetensors', 'rb').read())\n"
        "beads, replicas = force.getNumBeads(), int(sys.argv[2])\n"
        "system = openmm.System()\n"
        "for r in range(replicas):\n"
        "    force.addReplica(range(beads * r, beads * (r + 1)))\n"
        "    for _ in range(beads): system.addParticle(12.0)\n"
        "system.addForce(force)\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName('OpenCL'), "
        "{'Precision': 'mixed'})\n"
        "context.setPositions(numpy.load('positions.npy'))\n"
        "print('energy', context.getState(energy=True, forces=True).getPotentialEnergy()._value)\n"
        "print('by', force.getEvaluationInContext(context))\n"
    )
    graphs = [
        (GRAPH | {"beads": 3, "width": 8, "head_width": 4}, 2),
        (GRAPH | {"beads": 12, "width": 64, "layers": 3}, 1),
    ]
    windows = [
        ({"beads": 6, "window": 4}, 3),
        ({"beads": 44, "window": 6, "window_width": 32}, 1),  # in global memory
        ({"beads": 6, "volumes": False, "layers": 1, "window": 5}, 200),
    ]
    for shape, replicas in (({"wall": True}, 3), ({"volumes": False, "layers": 1}, 200), *windows, *graphs):
        model, beads = random_model(**shape), shape.get("beads", 5)
        (tmp_path / "model.json").write_text(model[0])
        (tmp_path / "model.safetensors").write_bytes(model[1])
        np.save(tmp_path / "positions.npy", chains_nm(replicas, beads).reshape(-1, 3))
        printed = run_python(
            code,
            "model",
            replicas,
            OCL_ICD_VENDORS=str(tmp_path / "vendors"),
            OCLGRIND_DATA_RACES="1",
            FPFORCE_DEVICE="kernel",
        )
        _, host = make_context(model, in_order(replicas, beads), replicas * beads, "Reference")
        host.setPositions(chains_nm(replicas, beads).reshape(-1, 3))
        words = printed.split()
        assert "race" not in printed.lower() and words[words.index("by") + 1] == "OpenCL"
        assert float(words[words.index("energy") + 1]) == pytest.approx(state_of(host)[0], rel=1e-5)


def test_a_wrong_request_is_refused(random_model, monkeypatch):
    monkeypatch.setenv("FPFORCE_DEVICE", "gpu")
    with pytest.raises(openmm.OpenMMException, match="FPFORCE_DEVICE is 'gpu'; give host or kernel, or unset it"):
        make_context(random_model(), in_order(1, 5), 5)
