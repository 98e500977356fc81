"""A restraint on a distance, and a spring that pulls the ends apart: python restraints_and_pulling.py model.pt

In: a force field. Out: the work in kJ/mol that the spring has done, and the distance of the ends on the way.
"""

import sys

import numpy as np
import openmm
from openmm import unit

import fpforce

STIFFNESS = 5000.0  # kJ/mol/nm^2


def run(model, steps=20_000, stretch_nm=0.1, seed=1):
    """(work in kJ/mol, where the spring was (points,) in nm, how far the ends were apart (points,) in nm)."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field)
    last = len(force_field.beads) - 1

    # The first bead stays near where it is.
    held = openmm.CustomExternalForce("0.5*1000*((x-x0)^2 + (y-y0)^2 + (z-z0)^2)")
    for name in ("x0", "y0", "z0"):
        held.addPerParticleParameter(name)
    held.addParticle(0, force_field.positions_nm[0])
    system.addForce(held)

    # The ends are drawn to a distance that moves.
    start_nm = float(np.linalg.norm(force_field.positions_nm[last] - force_field.positions_nm[0]))
    spring = openmm.CustomBondForce("0.5*stiffness*(r - pulled_to)^2")
    spring.addGlobalParameter("stiffness", STIFFNESS)
    spring.addGlobalParameter("pulled_to", start_nm)
    spring.addBond(0, last)
    system.addForce(spring)

    temperature = force_field.temperature_k * unit.kelvin
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(force_field.positions_nm)
    context.setVelocitiesToTemperature(temperature, seed)

    places, distances, work, moved = np.linspace(start_nm, start_nm + stretch_nm, steps // 100), [], 0.0, start_nm
    for place in places:
        integrator.step(100)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        distances.append(np.linalg.norm(positions[last] - positions[0]))
        work += 0.5 * STIFFNESS * ((distances[-1] - place) ** 2 - (distances[-1] - moved) ** 2)
        context.setParameter("pulled_to", place)
        moved = place
    return work, places, np.array(distances)


if __name__ == "__main__":
    work, places, distances = run(sys.argv[1])
    print(f"the ends went from {distances[0]:.3f} to {distances[-1]:.3f} nm; the spring did {work:.1f} kJ/mol of work")
