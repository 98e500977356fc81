"""updateParametersInContext: new weights for a running simulation."""

import json

import numpy as np
import openmm
import pytest
from safetensors.numpy import load, save

from fpforce.plugin import FPForce

R0, R1 = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)


def other_weights(weights):
    tensors = load(weights)
    tensors["network.out.weight"] = 1.5 * tensors["network.out.weight"]
    return save(tensors)


def test_new_weights_act_at_once_and_equal_those_of_a_new_context(
    make_force, frames_nm, system_of, context_of, evaluate
):
    force = make_force(R0, R1)
    system = system_of(10, force)
    context = context_of(system, frames_nm(2))
    before, _ = evaluate(context)
    force.setModel(force.getDescription(), other_weights(force.getWeights()))
    force.setPrecision(FPForce.Double)
    assert evaluate(context)[0] == before, "nothing changes before the update"
    force.updateParametersInContext(context)
    energy, forces = evaluate(context)
    fresh_energy, fresh_forces = evaluate(context_of(system, frames_nm(2)))
    assert energy == fresh_energy != before
    np.testing.assert_array_equal(forces, fresh_forces)


def test_integrator_does_not_use_forces_of_the_old_weights(make_force, frames_nm, system_of, context_of):
    # The Verlet integrator keeps the forces of the last step unless it is told that they are invalid.
    ends = []
    for steps_before in (0, 1):
        force = make_force(R0)
        context = context_of(system_of(5, force), frames_nm(1))
        context.setVelocities(np.zeros((5, 3)))
        context.getIntegrator().step(steps_before)
        force.setModel(force.getDescription(), other_weights(force.getWeights()))
        force.updateParametersInContext(context)
        context.setPositions(frames_nm(1)[0])
        context.setVelocities(np.zeros((5, 3)))
        context.getIntegrator().step(1)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_array_equal(*ends)


def test_changes_that_need_a_new_context_are_refused(
    make_force, frames_nm, system_of, context_of, evaluate, graph_model
):
    force = make_force(R0)
    context = context_of(system_of(10, force), frames_nm(2))
    before, _ = evaluate(context)
    model = force.getDescription(), force.getWeights()
    graph = FPForce.from_file(graph_model)
    force.setModel(graph.getDescription(), graph.getWeights())
    with pytest.raises(
        openmm.OpenMMException, match="kind internal.*new one is of kind graph_transformer.*reinitialize"
    ):
        force.updateParametersInContext(context)
    larger = json.loads(model[0])
    larger["beads"]["beads"] = [*larger["beads"]["beads"], larger["beads"]["beads"][0]]
    force.setModel(json.dumps(larger), model[1])
    with pytest.raises(openmm.OpenMMException, match="with 5 beads.*with 6; call Context::reinitialize"):
        force.updateParametersInContext(context)
    force.setModel(*model)
    force.addReplica(R1)
    with pytest.raises(openmm.OpenMMException, match="replicas, terms or scale parameter have changed"):
        force.updateParametersInContext(context)
    assert evaluate(context)[0] == before
    context.reinitialize(preserveState=True)
    assert evaluate(context)[0] != before


def test_broken_weights_leave_the_context_as_it_was(make_force, frames_nm, system_of, context_of, evaluate):
    force = make_force(R0)
    context = context_of(system_of(5, force), frames_nm(1))
    before, _ = evaluate(context)
    tensors = load(force.getWeights())
    del tensors["network.out.weight"]
    force.setModel(force.getDescription(), save(tensors))
    with pytest.raises(openmm.OpenMMException, match="network.out.weight"):
        force.updateParametersInContext(context)
    assert evaluate(context)[0] == before


def test_a_context_without_the_force_is_refused(make_force, frames_nm, system_of, context_of):
    context = context_of(system_of(5, make_force(R0)), frames_nm(1))
    with pytest.raises(openmm.OpenMMException):
        make_force(R0).updateParametersInContext(context)
    with pytest.raises(TypeError, match="is not an openmm.Context"):
        make_force(R0).updateParametersInContext(None)
