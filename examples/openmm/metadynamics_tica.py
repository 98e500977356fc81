"""Metadynamics along the slowest linear mode of a trajectory (TICA): python metadynamics_tica.py model.pt frames.npy

In: a force field, and frames (frames, n, 3) in nm of its beads in order of time. Out: the free energy in kT along the
first TICA component of the bead distances.
"""

import sys
from itertools import combinations

import numpy as np
import openmm
from deeptime.decomposition import TICA
from openmm import app, unit

import fpforce


def slowest_mode(frames_nm, lag_frames=1):
    """(openmm.Force whose energy is the first TICA component of all bead distances, its values in the frames)."""
    pairs = list(combinations(range(frames_nm.shape[1]), 2))
    distances = np.stack([np.linalg.norm(frames_nm[:, i] - frames_nm[:, j], axis=-1) for i, j in pairs], axis=1)
    mean, spread = distances.mean(axis=0), distances.std(axis=0)
    scaled = (distances - mean) / spread
    model = TICA(lagtime=lag_frames, dim=1).fit_fetch(scaled)
    weights = model.instantaneous_coefficients[:, 0]
    # A component is linear in the distances, so that it is a sum over pairs.
    component = openmm.CustomBondForce("weight*(r - mean)")
    component.addPerBondParameter("weight")
    component.addPerBondParameter("mean")
    for (i, j), weight, centre in zip(pairs, weights / spread, mean, strict=True):
        component.addBond(i, j, [weight, centre])
    return component, scaled @ weights


def run(model, frames_nm, steps=200_000, lag_frames=1, seed=1):
    """Free energy (bins,) in kT along the component, its values in the frames, and those that were visited."""
    force_field = fpforce.load(model)
    system = fpforce.make_system(force_field)
    temperature = force_field.temperature_k * unit.kelvin

    component, values = slowest_mode(np.asarray(frames_nm, dtype=float), lag_frames)
    low, high, width = values.min(), values.max(), values.std()
    variable = app.BiasVariable(component, low - width, high + width, 0.2 * width)
    metadynamics = app.Metadynamics(system, [variable], temperature, 8, 1.0 * unit.kilojoule_per_mole, 100)

    integrator = openmm.LangevinMiddleIntegrator(temperature, 1 / unit.picosecond, 2 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(force_field.topology, system, integrator, platform)
    simulation.context.setPositions(force_field.positions_nm)
    visited = []
    for _ in range(steps // 100):
        metadynamics.step(simulation, 100)
        visited.append(metadynamics.getCollectiveVariables(simulation)[0])
    return metadynamics.getFreeEnergy() / (unit.MOLAR_GAS_CONSTANT_R * temperature), values, np.array(visited)


if __name__ == "__main__":
    profile, values, visited = run(sys.argv[1], np.load(sys.argv[2]))
    print("free energy along the component / kT:", np.round(profile - profile.min(), 2))
    print(f"frames: {values.min():.2f} to {values.max():.2f}; visited: {visited.min():.2f} to {visited.max():.2f}")
