"""Exact energies and forces of frames, by OpenMM's Reference platform in double precision."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import openmm


def energies_and_forces(system: "openmm.System", positions_nm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of frames (frames, n, 3): energies (frames,) in kJ/mol, float64; forces (frames, n, 3) in kJ/mol/nm, float32."""
    import openmm

    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies = np.empty(len(positions_nm))
    forces = np.empty(positions_nm.shape, dtype=np.float32)
    for k, frame in enumerate(positions_nm):
        context.setPositions(frame.astype(np.float64))
        state = context.getState(energy=True, forces=True)
        energies[k] = state.getPotentialEnergy()._value
        forces[k] = state.getForces(asNumpy=True)._value
    return energies, forces
