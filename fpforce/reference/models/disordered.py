"""CALVADOS 2: a disordered chain as one bead a residue, of 20 types.

In: one-letter codes. Out: a BeadModel.

    E = sum_bonds k (r - 0.38 nm)^2 / 2 + sum_pairs Ashbaugh-Hatch(r; sigma, lambda) + sum_charges Debye-Hueckel(r)

Pairs that are bonded are left out of both sums. sigma and lambda of a pair are means. Histidine is neutral; the ends
carry their charges. The model's dielectric constant depends on the temperature; here it is that of 298.15 K.
Source: Tesei and Lindorff-Larsen, Open Research Europe 2 (2022) 94 (lambdas, cutoff of 2 nm); Tesei, Schulze, Crehuet
and Lindorff-Larsen, PNAS 118 (2021) e2111696118 (form); Akerlof and Oshry, J. Am. Chem. Soc. 72 (1950) 2844 (dielectric
constant).
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.reference.models.bead_model import BeadModel, RunPlan, chain_of_residues, require_letters, system_of

if TYPE_CHECKING:
    import openmm

# fmt: off
# One-letter code: (three letters, mass in Da, lambda, sigma in nm, charge).
RESIDUES = {
    "A": ("ALA", 71.07, 0.274329796904, 0.504, 0), "C": ("CYS", 103.14, 0.561543509914, 0.548, 0),
    "D": ("ASP", 115.09, 0.041604048061, 0.558, -1), "E": ("GLU", 129.11, 0.000693546096, 0.592, -1),
    "F": ("PHE", 147.18, 0.867235898206, 0.636, 0), "G": ("GLY", 57.05, 0.705884373367, 0.450, 0),
    "H": ("HIS", 137.14, 0.466366729056, 0.608, 0), "I": ("ILE", 113.16, 0.542362361067, 0.618, 0),
    "K": ("LYS", 128.17, 0.179021173899, 0.636, 1), "L": ("LEU", 113.16, 0.644000500778, 0.618, 0),
    "M": ("MET", 131.20, 0.530848113434, 0.618, 0), "N": ("ASN", 114.10, 0.425585900979, 0.568, 0),
    "P": ("PRO", 97.12, 0.359312657636, 0.556, 0), "Q": ("GLN", 128.13, 0.393431855106, 0.602, 0),
    "R": ("ARG", 156.19, 0.730762476752, 0.656, 1), "S": ("SER", 87.08, 0.462541681161, 0.518, 0),
    "T": ("THR", 101.11, 0.371316297627, 0.562, 0), "V": ("VAL", 99.13, 0.208376960817, 0.586, 0),
    "W": ("TRP", 186.22, 0.989376474037, 0.678, 0), "Y": ("TYR", 163.18, 0.977461144934, 0.646, 0),
}
# fmt: on
BOND_NM = 0.38
BOND_KJ_PER_MOL_NM2 = 8033.0
EPSILON_KJ_PER_MOL = 0.8368  # 0.2 kcal/mol
CUTOFF_NM = 2.0
CHARGE_CUTOFF_NM = 4.0
IONIC_STRENGTH_MOLAR = 0.15
TEMPERATURE_K = 298.15
_FEWEST = 3
_COULOMB_KJ_NM_PER_MOL = 138.935456  # e^2 / (4 pi eps0), CODATA 2018
_PARTICLES_PER_NM3 = 0.602214076  # of one mol in a litre


def build(source: str) -> BeadModel:
    """The model of a sequence in one-letter codes; InputError for an unknown letter or fewer than three."""
    require_letters(source, tuple(RESIDUES), _FEWEST, "sequence")
    rows = [RESIDUES[letter] for letter in source]
    names, masses, lambdas, sigmas, charges = (list(column) for column in zip(*rows, strict=True))
    masses[0], masses[-1] = masses[0] + 2.0, masses[-1] + 16.0
    charges[0], charges[-1] = charges[0] + 1, charges[-1] - 1
    forces = [_bonds(len(source)), _stickiness(lambdas, sigmas)]
    if sum(charge != 0 for charge in charges) > 1:
        forces.append(_electrostatics(charges))
    return BeadModel(
        kind="disordered",
        name=source,
        beads=chain_of_residues("CA", "C", names, masses),
        system=system_of(masses, forces),
        usual=RunPlan(
            temperature_k=TEMPERATURE_K,
            timestep_fs=20.0,
            friction_per_ps=0.1,
            interval_ps=10.0,
            ns=200.0,
            discard_ps=5000.0,
        ),
        parameters={
            "charges": charges,
            "ionic_strength_molar": IONIC_STRENGTH_MOLAR,
            "electrostatics_at_k": TEMPERATURE_K,
            "cutoffs_nm": [CUTOFF_NM, CHARGE_CUTOFF_NM],
            "masses_da": np.round(masses, 2).tolist(),
        },
        source="CALVADOS 2: Tesei and Lindorff-Larsen, Open Research Europe 2 (2022) 94",
    )


def screening() -> tuple[float, float]:
    """Energy of two unit charges at 1 nm without screening, kJ/mol, and the inverse Debye length, 1/nm, in water."""
    t = TEMPERATURE_K
    dielectric = 5321.0 / t + 233.76 - 0.9297 * t + 1.417e-3 * t**2 - 8.292e-7 * t**3
    energy = _COULOMB_KJ_NM_PER_MOL / dielectric
    bjerrum_nm = energy / (BOLTZMANN_KJ_PER_MOL_K * t)
    return energy, math.sqrt(8.0 * math.pi * bjerrum_nm * IONIC_STRENGTH_MOLAR * _PARTICLES_PER_NM3)


def _bonds(n: int) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicBondForce()
    for k in range(n - 1):
        force.addBond(k, k + 1, BOND_NM, BOND_KJ_PER_MOL_NM2)
    return force


def _stickiness(lambdas: list[float], sigmas: list[float]) -> "openmm.Force":
    import openmm

    # `c` is the Lennard-Jones energy at the cutoff, which makes the energy end there at zero.
    force = openmm.CustomBondForce(
        f"step({CUTOFF_NM}-r)*select(step(r-m), l*(u-c), u-l*c+{EPSILON_KJ_PER_MOL}*(1-l));"
        f"u={4.0 * EPSILON_KJ_PER_MOL}*(w*w-w); w=(s/r)^6"
    )
    for name in ("s", "l", "m", "c"):
        force.addPerBondParameter(name)
    for i, j in _pairs(len(sigmas)):
        sigma, stickiness = 0.5 * (sigmas[i] + sigmas[j]), 0.5 * (lambdas[i] + lambdas[j])
        sixth = (sigma / CUTOFF_NM) ** 6
        at_cutoff = 4.0 * EPSILON_KJ_PER_MOL * (sixth**2 - sixth)
        force.addBond(i, j, [sigma, stickiness, 2.0 ** (1.0 / 6.0) * sigma, at_cutoff])
    return force


def _electrostatics(charges: list[int]) -> "openmm.Force":
    import openmm

    energy, inverse_nm = screening()
    shift = math.exp(-inverse_nm * CHARGE_CUTOFF_NM) / CHARGE_CUTOFF_NM
    force = openmm.CustomBondForce(f"step({CHARGE_CUTOFF_NM}-r)*q*(exp(-{inverse_nm}*r)/r-{shift})")
    force.addPerBondParameter("q")
    for i, j in _pairs(len(charges)):
        if charges[i] * charges[j]:
            force.addBond(i, j, [energy * charges[i] * charges[j]])
    return force


def _pairs(n: int) -> list[tuple[int, int]]:
    """Pairs that are not bonded."""
    return [(i, j) for i in range(n) for j in range(i + 2, n)]
