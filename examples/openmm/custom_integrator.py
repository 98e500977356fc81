"""A CustomIntegrator, Langevin dynamics in the order B A O A B: python custom_integrator.py model.pt

In: a force field. Out: the mean potential energy, beside that of OpenMM's own Langevin integrator.
"""

import sys

import numpy as np
import openmm
from openmm import unit

import fpforce


def baoab(kt, friction_per_ps, timestep_ps):
    """Langevin dynamics: kick, drift, noise, drift, kick."""
    integrator = openmm.CustomIntegrator(timestep_ps)
    integrator.addGlobalVariable("kept", np.exp(-friction_per_ps * timestep_ps))
    integrator.addGlobalVariable("kT", kt)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    integrator.addComputePerDof("v", "kept*v + sqrt((1 - kept*kept)*kT/m)*gaussian")
    integrator.addComputePerDof("x", "x + 0.5*dt*v")
    integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
    return integrator


def run(model, steps=100_000, replicas=16, seed=1):
    """Mean potential energy of a molecule in kJ/mol by the CustomIntegrator, and by LangevinMiddleIntegrator."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, replicas=replicas)
    means = []
    for integrator in (
        baoab(force_field.kt_kj_per_mol, 5.0, 0.002),
        openmm.LangevinMiddleIntegrator(
            force_field.temperature_k * unit.kelvin, 5 / unit.picosecond, 2 * unit.femtosecond
        ),
    ):
        integrator.setRandomNumberSeed(seed)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
        context.setPositions(np.tile(force_field.positions_nm, (replicas, 1)))
        integrator.step(steps // replicas // 4)
        energies = []
        for _ in range(100):
            integrator.step(max(1, steps // replicas // 100))
            energies.append(context.getState(energy=True).getPotentialEnergy()._value / replicas)
        means.append(float(np.mean(energies)))
    return means


if __name__ == "__main__":
    ours, theirs = run(sys.argv[1])
    print(f"mean energy: {ours:.2f} kJ/mol by the CustomIntegrator, {theirs:.2f} by LangevinMiddleIntegrator")
