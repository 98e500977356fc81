"""Metadynamics along a bead dihedral: python metadynamics.py model.pt

In: a force field of at least four beads in a row. Out: the dihedral's free energy in kT.
"""

import sys

import numpy as np
import openmm
from openmm import app, unit

import fpforce


def run(model, steps=200_000, beads=(0, 1, 2, 3), seed=1):
    """Free energy (bins,) in kT along the dihedral of four beads, and the visited angles in radians."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field)
    temperature = force_field.temperature_k * unit.kelvin

    dihedral = openmm.CustomTorsionForce("theta")
    dihedral.addTorsion(*beads)
    variable = app.BiasVariable(dihedral, -np.pi, np.pi, 0.25, periodic=True)
    metadynamics = app.Metadynamics(system, [variable], temperature, 8, 1.0 * unit.kilojoule_per_mole, 100)

    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(force_field.topology, system, integrator, platform)
    simulation.context.setPositions(force_field.positions_nm)
    angles = []
    for _ in range(steps // 100):
        metadynamics.step(simulation, 100)
        angles.append(metadynamics.getCollectiveVariables(simulation)[0])
    return metadynamics.getFreeEnergy() / (unit.MOLAR_GAS_CONSTANT_R * temperature), np.array(angles)


if __name__ == "__main__":
    profile, _ = run(sys.argv[1])
    for angle, value in zip(np.linspace(-180, 180, len(profile)), profile - profile.min(), strict=True):
        print(f"{angle:7.1f} degrees  {value:6.2f} kT")
