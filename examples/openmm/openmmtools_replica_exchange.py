"""Replica exchange by openmmtools on the same System: python openmmtools_replica_exchange.py model.pt

In: a force field. Out: the fraction of accepted swaps between neighbouring temperatures, and energies at the lowest.
Of the temperatures the lowest is that of the force field; frames of the others are not of its distribution.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from openmmtools import cache, mcmc, multistate, states

import fpforce


def run(model, iterations=50, highest=2.0, rungs=3, steps_each=100):
    """(accepted part of the swaps (rungs - 1,), energies (iterations,) in kT at the lowest temperature)."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend="native")
    lowest = force_field.temperature_k * unit.kelvin
    temperatures = [lowest * factor for factor in np.geomspace(1.0, highest, rungs)]
    start = states.SamplerState(force_field.positions_nm * unit.nanometer)
    move = mcmc.LangevinDynamicsMove(2 * unit.femtosecond, 1 / unit.picosecond, n_steps=steps_each)
    sampler = multistate.ReplicaExchangeSampler(mcmc_moves=move, number_of_iterations=iterations)
    platform = openmm.Platform.getPlatform("Reference")
    sampler.energy_context_cache = sampler.sampler_context_cache = cache.ContextCache(platform=platform)
    with tempfile.TemporaryDirectory() as folder:
        reporter = multistate.MultiStateReporter(Path(folder) / "swaps.nc", checkpoint_interval=iterations)
        thermodynamic = [states.ThermodynamicState(system, temperature) for temperature in temperatures]
        sampler.create(thermodynamic, [start] * rungs, reporter)
        sampler.run()
        energies, _, _ = reporter.read_energies()
        accepted, offered = reporter.read_mixing_statistics()
        where = reporter.read_replica_thermodynamic_states()
        reporter.close()
    accepted, offered = np.sum(accepted, axis=0), np.sum(offered, axis=0)
    at_lowest = [energies[k, list(where[k]).index(0), 0] for k in range(1, len(energies))]
    return np.diag(accepted, 1) / np.maximum(np.diag(offered, 1), 1), np.array(at_lowest)


if __name__ == "__main__":
    accepted, energies = run(sys.argv[1])
    print("accepted swaps between neighbours:", np.round(accepted, 2))
    print(f"mean energy at the lowest temperature: {energies.mean():.2f} kT")
