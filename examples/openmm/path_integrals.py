"""RPMD: every bead as a ring of copies: python path_integrals.py model.pt

OpenMM's RPMDIntegrator evaluates the force field for each copy, and rightly. But the force field is a classical free
energy over groups of atoms: a bead has no wave function, and the spread of its ring is nothing that the molecule has.
In: a force field. Out: the energy of each copy.
"""

import sys

import numpy as np
import openmm
from openmm import unit

import fpforce


def run(model, copies=8, steps=1000, backend="auto", seed=1):
    """(energies (copies,) in kJ/mol that RPMD has, their positions (copies, n, 3) in nm)."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend=backend)
    integrator = openmm.RPMDIntegrator(copies, force_field.temperature_k, 5 / unit.picosecond, 1 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    # The Context has to live as long as its integrator is used.
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(force_field.positions_nm)
    for copy in range(copies):
        integrator.setPositions(copy, force_field.positions_nm)
    integrator.step(steps)
    states = [integrator.getState(copy, getEnergy=True, getPositions=True) for copy in range(copies)]
    energies = [state.getPotentialEnergy()._value for state in states]
    return np.array(energies), np.array([state.getPositions(asNumpy=True)._value for state in states])


if __name__ == "__main__":
    print("kJ/mol of each copy:", np.round(run(sys.argv[1])[0], 2))
