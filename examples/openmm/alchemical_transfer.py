"""ATM: one of two molecules moved away, and with it the force between them: python alchemical_transfer.py model.pt

OpenMM's ATMForce evaluates its forces at two places of the particles, and mixes both energies. The force fields within
the molecules are the same at both places, so that only the force between them is switched.
In: a force field. Out: the energy before and after the transfer, in kJ/mol.
"""

import sys

import openmm
from two_peptides import joined

import fpforce


def run(model, distance_nm=5.0):
    """(energy at lambda = 0, energy at lambda = 1, U1 - U0) in kJ/mol, all of the start positions."""
    force_field = fpforce.load(model)
    system, positions_nm = joined(force_field, force_field, radius_nm=100.0)
    transfer = openmm.ATMForce("u0 + lambda*(u1 - u0)")
    transfer.addGlobalParameter("lambda", 0.0)
    beads = len(force_field.beads)
    for particle in range(system.getNumParticles()):
        transfer.addParticle(openmm.Vec3(0.0, 0.0, distance_nm if particle >= beads else 0.0))
    while system.getNumForces():
        transfer.addForce(openmm.XmlSerializer.clone(system.getForce(0)))
        system.removeForce(0)
    system.addForce(transfer)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions_nm)
    energies = []
    for value in (0.0, 1.0):
        context.setParameter("lambda", value)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    moved, here, _ = transfer.getPerturbationEnergy(context)
    return *energies, (moved - here)._value


if __name__ == "__main__":
    before, after, _ = run(sys.argv[1])
    print(f"U = {before:.2f} kJ/mol beside each other, {after:.2f} kJ/mol apart")
