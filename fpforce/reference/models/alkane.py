"""United-atom n-alkane in vacuum: TraPPE-UA with the flexible bonds of NERD.

In: the number of carbons, such as C16. Out: a BeadModel of one bead a carbon with its hydrogens.

    E = sum_bonds k (r - 0.154 nm)^2 / 2 + sum_angles k (theta - 114 degrees)^2 / 2
      + sum_dihedrals c1 (1 + cos phi) + c2 (1 - cos 2 phi) + c3 (1 + cos 3 phi)
      + sum_pairs Lennard-Jones, of beads at least four bonds apart, by the rules of Lorentz and Berthelot

Sources: Martin and Siepmann, J. Phys. Chem. B 102 (1998) 2569 (all but the bonds, which it holds rigid); Nath, Escobedo
and de Pablo, J. Chem. Phys. 108 (1998) 9905 (96,500 K/angstrom^2 for the bonds).
"""

import math
import re
from typing import TYPE_CHECKING

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.reference.models.bead_model import BeadModel, RunPlan, system_of

if TYPE_CHECKING:
    import openmm

BOND_NM = 0.154
BOND_K_PER_ANGSTROM2 = 96_500.0
ANGLE_DEGREES = 114.0
ANGLE_K_PER_RAD2 = 62_500.0
TORSION_K = (355.03, -68.19, 791.32)  # c1, c2, c3 over Boltzmann's constant
# (sigma in nm, epsilon in K, mass in Da)
CH3 = (0.375, 98.0, 15.035)
CH2 = (0.395, 46.0, 14.027)
_FEWEST, _MOST = 4, 100
_FEWEST_APART = 4


def build(source: str) -> BeadModel:
    """The model of C4 to C100; InputError for anything else."""
    match = re.fullmatch(r"C?(\d+)", source)
    n = int(match.group(1)) if match else 0
    if not _FEWEST <= n <= _MOST:
        raise InputError(f"alkane {source!r}: give C{_FEWEST} to C{_MOST}, such as C16")
    kinds = [CH3, *[CH2] * (n - 2), CH3]
    masses = [mass for _, _, mass in kinds]
    beads = tuple(Bead(f"C{k + 1}", "ALK", 0, 1, "A", "C", mass, (k,), (f"C{k + 1}",)) for k, mass in enumerate(masses))
    return BeadModel(
        kind="alkane",
        name=f"C{n}H{2 * n + 2}",
        beads=BeadTable(beads, tuple((k, k + 1) for k in range(n - 1)), "all"),
        system=system_of(masses, [_bonds(n), _angles(n), _dihedrals(n), _pairs(kinds)]),
        usual=RunPlan(
            temperature_k=400.0, timestep_fs=4.0, friction_per_ps=0.5, interval_ps=2.0, ns=40.0, discard_ps=500.0
        ),
        parameters={
            "bond": {"length_nm": BOND_NM, "stiffness_k_per_angstrom2": BOND_K_PER_ANGSTROM2},
            "angle": {"degrees": ANGLE_DEGREES, "stiffness_k_per_rad2": ANGLE_K_PER_RAD2},
            "torsion_k": list(TORSION_K),
            "sigma_nm_epsilon_k_mass_da": {"CH3": list(CH3), "CH2": list(CH2)},
        },
        source="TraPPE-UA: Martin and Siepmann, J. Phys. Chem. B 102 (1998) 2569; bonds: Nath, Escobedo and de Pablo, "
        "J. Chem. Phys. 108 (1998) 9905",
    )


def _bonds(n: int) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicBondForce()
    for k in range(n - 1):
        force.addBond(k, k + 1, BOND_NM, 100.0 * BOND_K_PER_ANGSTROM2 * BOLTZMANN_KJ_PER_MOL_K)
    return force


def _angles(n: int) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicAngleForce()
    for k in range(n - 2):
        force.addAngle(k, k + 1, k + 2, math.radians(ANGLE_DEGREES), ANGLE_K_PER_RAD2 * BOLTZMANN_KJ_PER_MOL_K)
    return force


def _dihedrals(n: int) -> "openmm.Force":
    import openmm

    force = openmm.CustomTorsionForce("c1*(1+cos(theta))+c2*(1-cos(2*theta))+c3*(1+cos(3*theta))")
    for name in ("c1", "c2", "c3"):
        force.addPerTorsionParameter(name)
    for k in range(n - 3):
        force.addTorsion(k, k + 1, k + 2, k + 3, [BOLTZMANN_KJ_PER_MOL_K * c for c in TORSION_K])
    return force


def _pairs(kinds: list[tuple[float, float, float]]) -> "openmm.Force":
    import openmm

    force = openmm.CustomBondForce("4*e*(w*w-w); w=(s/r)^6")
    force.addPerBondParameter("e")
    force.addPerBondParameter("s")
    for i in range(len(kinds)):
        for j in range(i + _FEWEST_APART, len(kinds)):
            epsilon = BOLTZMANN_KJ_PER_MOL_K * math.sqrt(kinds[i][1] * kinds[j][1])
            force.addBond(i, j, [epsilon, 0.5 * (kinds[i][0] + kinds[j][0])])
    return force
