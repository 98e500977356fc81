"""The time step that the bonds of the data allow.

In: bead frames in nm. Out: femtoseconds. A bond is as stiff as it is narrow: k = kT / variance.
LangevinMiddleIntegrator is stable up to 2 / omega, with omega the root of k over the reduced mass, and has the right
width of a harmonic bond up to there. Bonds of molecules are not quite harmonic, so the limit here is half of
that: 4 fs for the bonds between the heavy atoms of a backbone.
Source: Zhang et al., J. Phys. Chem. A 123, 6056 (2019) (the integrator).
"""

import math

import numpy as np

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.molecule.beads import BeadTable

PART_OF_PERIOD = 1.0  # of 1 / omega
LONGEST_FS, SHORTEST_FS, STEP_FS = 4.0, 0.5, 0.5


def time_step_fs(beads: BeadTable, positions_nm: np.ndarray, temperature_k: float, *, noise_nm: float = 0.0) -> float:
    """From LONGEST_FS down, to the next of STEP_FS, by the stiffest bond of positions (frames, beads, 3).

    noise_nm: of every bead along each axis, which the positions lack and the force field has.
    """
    fastest_per_ps = 0.0
    for i, j in beads.bonds:
        variance = float(np.linalg.norm(positions_nm[:, i] - positions_nm[:, j], axis=-1).var()) + 2.0 * noise_nm**2
        mass = 1.0 / (1.0 / beads.masses_da[i] + 1.0 / beads.masses_da[j])
        if variance > 0.0:
            stiffness = BOLTZMANN_KJ_PER_MOL_K * temperature_k / variance
            fastest_per_ps = max(fastest_per_ps, math.sqrt(stiffness / mass))
    if fastest_per_ps == 0.0:
        return LONGEST_FS / 2.0
    allowed = 1000.0 * PART_OF_PERIOD / fastest_per_ps
    return float(np.clip(STEP_FS * round(allowed / STEP_FS), SHORTEST_FS, LONGEST_FS))
