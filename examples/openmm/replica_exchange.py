"""OpenMM's own replica exchange, which came with OpenMM 8.6: python replica_exchange.py model.pt

In: a force field. Out: for each state how often the replicas changed it, and the mean energy of the state that counts.

The states differ in `fpforce_scale`, which lowers what the network has learned and leaves bonds and angles, all at the
temperature of the force field. A ladder of temperatures works too: [{"temperature": t}, ...], where the lowest is
the force field's, whose frames alone are those of its distribution.
"""

import sys

import numpy as np
import openmm
from openmm import app, unit

import fpforce


def run(model, iterations=200, scales=(1.0, 0.8, 0.6), steps_each=200, seed=1):
    """(state of each replica after each iteration (iterations, replicas), energies (iterations,) in kJ/mol of the
    replica that was in the first state).
    """
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend="native")
    temperature = force_field.temperature_k * unit.kelvin
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(force_field.topology, system, integrator, platform)
    simulation.context.setPositions(force_field.positions_nm)
    simulation.context.setVelocitiesToTemperature(temperature, seed)

    sampler = app.ReplicaExchangeSampler([{"fpforce_scale": scale} for scale in scales], simulation, steps_each)
    states, energies = [], []

    def note(sampler):
        states.append(list(sampler.replicaStateIndex))
        first = sampler.replicaStateIndex.index(0)
        energies.append(sampler.replicaStateEnergy[first][0].value_in_unit(unit.kilojoule_per_mole))

    sampler.reporters.append(note)
    sampler.simulate(iterations)
    return np.array(states), np.array(energies)


if __name__ == "__main__":
    states, energies = run(sys.argv[1])
    print("changes of state a replica:", (np.diff(states, axis=0) != 0).sum(axis=0))
    print(f"mean energy at fpforce_scale = 1: {energies.mean():.2f} kJ/mol")
