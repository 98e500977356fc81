"""FPForce written down and read again: XML, copies, pickles and checkpoints give the same numbers bit for bit."""

import copy
import pickle
import re
import time

import numpy as np
import openmm
import pytest
from safetensors.numpy import load, save

from fpforce.plugin import FPForce

R0, R1 = (0, 1, 2, 3, 4), (9, 8, 7, 6, 5)


def elaborate(field):
    """A force none of whose properties has its default value."""
    force = FPForce.from_file(field)
    force.addReplica(R0)
    force.addReplica(R1)
    force.setName('a "quoted" <name> & more')
    force.setForceGroup(7)
    force.setPrecision(FPForce.Double)
    force.setNumThreads(2)
    force.setTerms(FPForce.Network)
    force.setScaleParameter("scale & <co>")
    force.setDefaultScale(0.1 + 0.2)
    return force


@pytest.fixture
def force(any_field):
    return elaborate(any_field)


def state_of(force):
    names = (
        "Description",
        "Weights",
        "NumReplicas",
        "Name",
        "ForceGroup",
        "Precision",
        "NumThreads",
        "Terms",
        "ScaleParameter",
        "DefaultScale",
    )
    replicas = [force.getReplicaParticles(i) for i in range(force.getNumReplicas())]
    return replicas, {name: getattr(force, f"get{name}")() for name in names}


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda force: FPForce.cast(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))),
        lambda force: FPForce.cast(openmm.XmlSerializer.clone(force)),
        copy.copy,
        copy.deepcopy,
        lambda force: pickle.loads(pickle.dumps(force)),
    ],
    ids=["xml", "clone", "copy", "deepcopy", "pickle"],
)
def test_copies_have_the_same_state_forces_and_energy(force, duplicate, frames_nm, system_of, context_of, evaluate):
    copied = duplicate(force)
    assert isinstance(copied, FPForce) and copied is not force and state_of(copied) == state_of(force)
    copied.setNumThreads(1)
    assert force.getNumThreads() == 2
    results = [evaluate(context_of(system_of(10, each), frames_nm(2))) for each in (force, copied)]
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_xml_gives_the_same_energy_in_a_process_without_fpforce(
    force, frames_nm, system_of, context_of, evaluate, run_python, tmp_path
):
    system = system_of(10, force)
    energy, forces = evaluate(context_of(system, frames_nm(2)))
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    np.save(tmp_path / "positions.npy", frames_nm(2).reshape(-1, 3))
    code = (
        "import sys, numpy, openmm\n"
        "system = openmm.XmlSerializer.deserialize(open('system.xml').read())\n"
        "reference = openmm.Platform.getPlatformByName('Reference')\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)\n"
        "context.setPositions(numpy.load('positions.npy'))\n"
        "state = context.getState(energy=True, forces=True)\n"
        "assert not {'fpforce', 'torch'} & set(sys.modules)\n"
        "print(state.getPotentialEnergy()._value.hex(), state.getForces(asNumpy=True)._value.tobytes().hex())"
    )
    printed = run_python(code).split()
    assert printed == [energy.hex(), forces.tobytes().hex()]


def test_checkpoint_continues_the_same_path(make_force, frames_nm, system_of, context_of):
    replicas = (R0, R1)

    def path(context, steps):
        context.getIntegrator().step(steps)
        return context.getState(positions=True, velocities=True)

    def integrator():
        langevin = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002)
        langevin.setRandomNumberSeed(5)
        return langevin

    context = context_of(system_of(10, make_force(*replicas)), frames_nm(2), integrator())
    path(context, 100)
    checkpoint = context.createCheckpoint()
    expected = path(context, 100)
    restored = context_of(system_of(10, make_force(*replicas)), frames_nm(2), integrator())
    restored.loadCheckpoint(checkpoint)
    found = path(restored, 100)
    for get in ("getPositions", "getVelocities"):
        np.testing.assert_array_equal(getattr(found, get)(asNumpy=True), getattr(expected, get)(asNumpy=True))


def test_five_megabytes_of_weights_load_in_a_moment(field):
    tensors = load(field.weights_bytes()) | {
        "unused": np.random.default_rng(0).normal(size=(5, 131072, 2)).astype("f4")
    }
    xml = openmm.XmlSerializer.serialize(FPForce(field.description(), save(tensors)))
    assert len(xml) > 7e6
    seconds = []
    for _ in range(5):
        began = time.process_time()
        openmm.XmlSerializer.deserialize(xml)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.2


@pytest.mark.parametrize(
    "pattern, replacement, message",
    [
        (' version="1"', ' version="2"', "has version 2, this plugin reads version 1; install"),
        (' version="1"', "", "<Force> has no property 'version'"),
        (' threads="2"', ' threads="two"', 'threads="two" is not a whole number'),
        (' threads="2"', ' threads="2.5"', 'threads="2.5" is not a whole number'),
        (' threads="2"', ' threads="-2"', "number of threads is -2"),
        (' forceGroup="7"', ' forceGroup="99"', "[Gg]roup"),
        (' precision="double"', ' precision="quadruple"', 'precision="quadruple" is not known'),
        (' terms="network"', "", "<Force> has no property 'terms'"),
        (r' defaultScale="[^"]*"', ' defaultScale="1,5"', 'defaultScale="1,5" is not a number'),
        (' particles="0 1 2 3 4"', ' particles="0 1 2 3 x"', "is not a list of whole numbers"),
        (' particles="0 1 2 3 4"', ' particles="0 1 2  4"', "is not a list of whole numbers"),
        (' particles="0 1 2 3 4"', "", "<Replica> has no property 'particles'"),
        (r"<Replicas>.*</Replicas>", "", "<Force> has no <Replicas>"),
        (r"<Model [^>]*>", "", "<Force> has no <Model>"),
        (r' weights="[^"]*"', "", "<Model> has no property 'weights'"),
        (r' weights="....', ' weights="', "FPForce: fpforce.safetensors"),
        (r' weights=".', ' weights="', "multiple of 4: it is cut short"),
        (r' weights="....', ' weights="AB.D', "character 2 is not base64"),
        (r' description="[^"]*"', ' description=""', "FPForce: fpforce.json"),
    ],
)
def test_damage_to_the_xml_is_named(field, pattern, replacement, message):
    xml = openmm.XmlSerializer.serialize(elaborate(field))
    damaged, count = re.subn(pattern, replacement, xml, count=1, flags=re.DOTALL)
    assert count == 1
    with pytest.raises(openmm.OpenMMException, match=message):
        openmm.XmlSerializer.deserialize(damaged)
