"""OpenMM's reporters on a bead System: python reporters.py model.pt FOLDER

In: a force field. Out: FOLDER with log.csv, frames.dcd, frames.xtc, end.cif and checkpoint.chk.
"""

import sys
from pathlib import Path

import openmm
from openmm import app, unit

import fpforce


def run(model, folder, steps=10_000, every=100, seed=1):
    """The Simulation after `steps`; its files are in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    force_field = fpforce.load(model)
    temperature = force_field.temperature_k * unit.kelvin
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    simulation = app.Simulation(
        force_field.topology,
        fpforce.make_system(force_field),
        integrator,
        openmm.Platform.getPlatform("Reference"),
    )
    simulation.context.setPositions(force_field.positions_nm)
    simulation.reporters += [
        app.StateDataReporter(
            str(folder / "log.csv"), every, step=True, time=True, potentialEnergy=True, temperature=True, speed=True
        ),
        app.DCDReporter(str(folder / "frames.dcd"), every),
        app.XTCReporter(str(folder / "frames.xtc"), every),
        app.CheckpointReporter(str(folder / "checkpoint.chk"), steps),
    ]
    simulation.step(steps)
    with open(folder / "end.cif", "w") as file:
        state = simulation.context.getState(positions=True)
        app.PDBxFile.writeFile(simulation.topology, state.getPositions(), file, keepIds=True)
    simulation.reporters.clear()  # closes the files
    return simulation


if __name__ == "__main__":
    run(*sys.argv[1:])
