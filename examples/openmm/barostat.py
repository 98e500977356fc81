"""What a barostat says of a bead System: python barostat.py model.pt

A force field of fpforce is of one molecule without a box: there is no volume to change, and OpenMM refuses.
In: a force field. Out: the error.
"""

import sys

import openmm
from openmm import unit

import fpforce


def run(model, backend="auto"):
    """The message with which OpenMM refuses a barostat; RuntimeError where it does not."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field, backend=backend)
    temperature = force_field.temperature_k * unit.kelvin
    system.addForce(openmm.MonteCarloBarostat(1 * unit.bar, temperature))
    try:
        integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
        openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    except openmm.OpenMMException as error:
        return str(error)
    raise RuntimeError("OpenMM has accepted a barostat on a System without a box")


if __name__ == "__main__":
    print(run(sys.argv[1]))
