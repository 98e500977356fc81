"""Whether 4 fs with heavy hydrogens samples what short steps with natural masses sample.

    python benchmarks/physics/reference_timestep.py AK --ns 0.5 [--quick]

Langevin dynamics of one capped peptide from the same start, per time step: kinetic temperature, and the mean energy of
bonds, angles, torsions and of the non-bonded terms with errors from ten blocks; at the end, the energy drift without a
thermostat. Positions' averages do not depend on masses, so every difference is the integrator's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for workbench
from workbench import options

TEMPERATURE_K = 300.0
SAMPLE_PS = 0.2
BLOCKS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", nargs="?", default="A", help="one-letter codes")
    parser.add_argument("--ns", type=float, default=0.5, help="length of each simulation, ns")
    parser.add_argument("--drift-ps", type=float, default=20.0, help="length without a thermostat, ps")
    parser.add_argument("--relaxation-ps", type=float, default=50.0, help="before anything counts, ps")
    chosen = options.parse(parser, ns=0.002, drift_ps=0.4, relaxation_ps=0.2)
    from fpforce.reference.peptide import build_peptide
    from fpforce.reference.protocol import FORCE_FIELD, load_force_field

    topology, positions_nm = build_peptide(chosen.sequence, load_force_field(FORCE_FIELD), 1, extended=True)
    print("| step fs | H mass | T, K | bonds | angles | torsions | non-bonded | total | drift kT/ns/dof |")
    print("|---|---|---|---|---|---|---|---|---|")
    for timestep_fs, mass_da in ((1.0, None), (2.0, None), (4.0, 4.0)):
        row = measure(topology, positions_nm, timestep_fs, mass_da, chosen)
        cells = " | ".join(f"{mean:.2f} +- {error:.2f}" for mean, error in row)
        print(f"| {timestep_fs:g} | {mass_da or 'natural'} | {cells} |", flush=True)


def measure(topology, positions_nm, timestep_fs, mass_da, chosen):
    """[(mean, error), ...]: temperature, bonds, angles, torsions, non-bonded, total in kJ/mol, and drift."""
    import openmm

    from fpforce.reference.protocol import Protocol

    system = Protocol(timestep_fs=timestep_fs, hydrogen_mass_da=mass_da).make_system(topology)
    groups = {"HarmonicBondForce": 1, "HarmonicAngleForce": 2, "PeriodicTorsionForce": 3}
    for force in system.getForces():
        force.setForceGroup(groups.get(type(force).__name__, 4))
    freedoms = 3 * system.getNumParticles() - system.getNumConstraints() - 3
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 1.0, 1e-3 * timestep_fs)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(TEMPERATURE_K, 1)
    integrator.step(round(1000 * chosen.relaxation_ps / timestep_fs))
    samples = []
    for _ in range(round(1000 * chosen.ns / SAMPLE_PS)):
        integrator.step(round(1000 * SAMPLE_PS / timestep_fs))
        kinetic = context.getState(energy=True).getKineticEnergy()._value
        terms = [context.getState(energy=True, groups={g}).getPotentialEnergy()._value for g in (1, 2, 3, 4)]
        samples.append([2.0 * kinetic / (freedoms * BOLTZMANN_KJ_PER_MOL_K), *terms, sum(terms)])
    samples = np.array(samples)
    blocks = np.array([block.mean(axis=0) for block in np.array_split(samples, BLOCKS)])
    row = list(zip(samples.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS), strict=False))
    state = context.getState(positions=True, velocities=True)
    return [*row, _drift(system, state, timestep_fs, freedoms, chosen.drift_ps)]


def _drift(system, state, timestep_fs, freedoms, drift_ps):
    """Slope of the total energy under Verlet dynamics in kT/ns per degree of freedom, and its standard error."""
    import openmm

    integrator = openmm.VerletIntegrator(1e-3 * timestep_fs)
    integrator.setConstraintTolerance(1e-7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(state.getPositions())
    context.setVelocities(state.getVelocities())
    times_ns = 1e-4 * np.arange(round(drift_ps / 0.1))
    energies = []
    for _ in times_ns:
        integrator.step(round(100 / timestep_fs))
        now = context.getState(energy=True)
        energies.append((now.getPotentialEnergy() + now.getKineticEnergy())._value)
    (slope, _), covariance = np.polyfit(times_ns, energies, 1, cov=True)
    unit = BOLTZMANN_KJ_PER_MOL_K * TEMPERATURE_K * freedoms
    return slope / unit, np.sqrt(covariance[0, 0]) / unit


if __name__ == "__main__":
    main()
