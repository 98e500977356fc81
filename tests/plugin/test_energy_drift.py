"""A nanosecond without a thermostat: the forces are the gradient of one energy, and float32 does not heat."""

import numpy as np
import openmm
import pytest

import fpforce

REPLICAS = 4
PICOSECONDS = 1000


@pytest.mark.long
def test_energy_drifts_by_less_than_a_thousandth_of_kt_a_picosecond_and_degree_of_freedom(small_model):
    field = fpforce.load(small_model)
    system = fpforce.make_system(field, backend="native", replicas=REPLICAS, threads=1)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.tile(field.positions_nm, (REPLICAS, 1)))
    context.setVelocitiesToTemperature(300.0, 5)
    energies = []
    for _ in range(PICOSECONDS):
        integrator.step(1000)
        state = context.getState(energy=True)
        energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
    drift_per_ps = np.polyfit(np.arange(PICOSECONDS), energies, 1)[0]
    degrees_of_freedom = 3 * len(field.beads) * REPLICAS
    assert abs(drift_per_ps) < 1e-3 * field.kt_kj_per_mol * degrees_of_freedom
