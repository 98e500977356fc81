"""Two molecules in one System, with a force between them and a wall around: python two_peptides.py model.pt [other.pt]

In: one force field or two, of the same temperature. Out: the distance of the molecules' centres in nm over time.

fpforce's forces act within a molecule. What acts between the two is the user's: here a Lennard-Jones force between
all their beads, of a strength that was chosen and not learned.
"""

import sys

import numpy as np
import openmm
from openmm import unit

import fpforce


def joined(first, second, offset_nm=(0.0, 0.0, 0.7), epsilon=0.5, sigma_nm=0.4, radius_nm=1.5):
    """(System, positions (n + m, 3) in nm) of two force fields; epsilon in kJ/mol."""
    systems = [fpforce.make_system(first), fpforce.make_system(second)]
    counts = [system.getNumParticles() for system in systems]
    groups = [range(counts[0]), range(counts[0], sum(counts))]

    # The first System takes in the second's particles, and its force field on them.
    system = systems[0]
    for particle in range(counts[1]):
        system.addParticle(systems[1].getParticleMass(particle))
    fpforce.add_force(system, second, groups[1])

    between = openmm.CustomNonbondedForce("4*epsilon*((sigma/r)^12 - (sigma/r)^6)")
    between.addGlobalParameter("epsilon", epsilon)
    between.addGlobalParameter("sigma", sigma_nm)
    for _ in range(sum(counts)):
        between.addParticle()
    between.addInteractionGroup(*groups)  # not within a molecule, where the force field has all there is
    system.addForce(between)

    wall = openmm.CustomExternalForce("1000*max(0, sqrt(x^2 + y^2 + z^2) - radius)^2")
    wall.addGlobalParameter("radius", radius_nm)
    for particle in range(sum(counts)):
        wall.addParticle(particle)
    system.addForce(wall)
    return system, np.concatenate([first.positions_nm, second.positions_nm + np.asarray(offset_nm)])


def run(model, other=None, steps=50_000, seed=1):
    """Distances (steps / 100,) in nm of the centres."""
    first = fpforce.load(model)
    second = first if other is None else fpforce.load(other)
    if first.temperature_k != second.temperature_k:
        raise SystemExit(f"{first.path} is for {first.temperature_k:g} K, {second.path} for {second.temperature_k:g} K")
    system, positions_nm = joined(first, second)
    temperature = first.temperature_k * unit.kelvin
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(temperature, seed)
    masses, beads, distances = np.concatenate([first.masses_da, second.masses_da]), len(first.beads), []
    for _ in range(steps // 100):
        integrator.step(100)
        frame = context.getState(positions=True).getPositions(asNumpy=True)._value
        centres = [np.average(frame[part], axis=0, weights=masses[part]) for part in np.s_[:beads, beads:]]
        distances.append(np.linalg.norm(centres[0] - centres[1]))
    return np.array(distances)


if __name__ == "__main__":
    distances = run(*sys.argv[1:])
    print(f"centres {distances.mean():.2f} nm apart on average, {distances.min():.2f} to {distances.max():.2f} nm")
