"""Other temperatures than the force field's, and the way back: python temperature_ramp.py model.pt

The energy is a free energy at `force_field.temperature_k`. At another temperature OpenMM simulates exp(-U/kT) of the
same U, which is no ensemble of the molecule: fpforce-simulate refuses it, a script of one's own can cross barriers so.
Frames made so count at the file's own temperature with the weight exp(-(1/kT_file - 1/kT) U).
In: a force field. Out: the mean energy by such weights, beside that of a simulation at the file's temperature.
"""

import sys

import numpy as np
import openmm
from openmm import unit

import fpforce


def energies_at(force_field, temperature_k, steps, replicas, seed):
    """Energies (frames, replicas) in kJ/mol of single molecules, simulated at a temperature."""
    system = fpforce.make_system(force_field)
    integrator = openmm.LangevinMiddleIntegrator(temperature_k, 5 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    energies = []
    for replica in range(replicas):
        context.setPositions(force_field.positions_nm)
        context.setVelocitiesToTemperature(temperature_k, seed + replica)
        integrator.step(2000)
        frames = []
        for _ in range(steps // 50):
            integrator.step(50)
            frames.append(context.getState(energy=True).getPotentialEnergy()._value)
        energies.append(frames)
    return np.array(energies).T


def run(model, steps=10_000, factors=(1.3, 1.2, 1.1), replicas=4, seed=1):
    """(mean energy by reweighting the ramp, frames that count in it, mean energy at the file's temperature)."""
    force_field = fpforce.load(model)
    kt = force_field.kt_kj_per_mol
    values, exponents = [], []
    for step, factor in enumerate(factors):
        energies = energies_at(force_field, factor * force_field.temperature_k, steps, replicas, seed + 100 * step)
        log_weights = -(1.0 / kt - 1.0 / (factor * kt)) * energies
        # Each temperature's weights are normalised by themselves, since its partition function is its own.
        values.append(energies.ravel())
        exponents.append((log_weights - np.logaddexp.reduce(log_weights, axis=None)).ravel())
    counts = [1.0 / np.exp(2.0 * exponent).sum() for exponent in exponents]
    means = [np.sum(np.exp(exponent) * value) for exponent, value in zip(exponents, values, strict=True)]
    plain = energies_at(force_field, force_field.temperature_k, steps, replicas, seed + 1000)
    return np.average(means, weights=counts), sum(counts), plain.mean()


if __name__ == "__main__":
    reweighted, count, plain = run(sys.argv[1])
    print(f"mean energy {reweighted:.2f} kJ/mol by {count:.0f} frames that count; {plain:.2f} without a ramp")
