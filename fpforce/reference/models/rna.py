"""Single-interaction-site RNA: one bead a nucleotide, base pairs by distance, four angles and two dihedrals.

In: letters A, C, G, U from the 5' end, and where wanted the secondary structure after a colon, such as
GGGCACUUCGGUGCCC:.(((((....))))). of a hairpin. Out: a BeadModel.

    E = sum_bonds k (r - 0.59 nm)^2 / 2 + sum_angles k (theta - 150 degrees)^2 / 2
      + sum_pairs e [(s / r)^12 - 2 (s / r)^6 + 1] for r < s + sum_basepairs U0 exp(-u)
    u = k_r (r_ij - r0)^2 + k_theta sum of four (theta - theta_m)^2 + k_phi sum of two (1 + cos(phi + phi_m))

A base pair joins G-C, A-U or G-U with at least four nucleotides between them; the ends of the chain pair with nothing.
With a secondary structure its pairs alone can form, and they are the native contacts. Without one a nucleotide may be
part of several pairs. Charges are left out, as in the model's first form.
Source: Nguyen, Hori and Thirumalai, Nature Chemistry 14 (2022) 775.
"""

from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.reference.models.bead_model import (
    BeadModel,
    NativeContacts,
    RunPlan,
    chain_of_residues,
    require_letters,
    system_of,
)

if TYPE_CHECKING:
    import openmm

KCAL = 4.184
BOND_NM, BOND_KCAL_PER_ANGSTROM2 = 0.59, 15.0
ANGLE_RAD, ANGLE_KCAL_PER_RAD2 = 2.618, 10.0
CORE_NM, CORE_KCAL = 1.0, 2.0
PAIR_KCAL = {"CG": -5.0, "AU": -10.0 / 3.0, "GU": -10.0 / 3.0}  # letters in the order of the alphabet
PAIR_NM, PAIR_PER_ANGSTROM2 = 1.38, 3.0
PAIR_PER_RAD2, PAIR_ANGLES_RAD = 1.5, (1.8326, 0.9425)
PAIR_DIHEDRAL, PAIR_DIHEDRALS_RAD = 0.5, (1.8326, 1.1345)
FEWEST_BETWEEN = 4
# Da, of the nucleotide in a chain.
_MASSES_DA = {"A": 328.2, "C": 304.2, "G": 344.2, "U": 305.2}
_FEWEST = 8

BasePair = tuple[int, int, float]


def build(source: str) -> BeadModel:
    """The model of SEQUENCE or SEQUENCE:STRUCTURE; InputError for other letters, fewer than eight, or pairs that cannot
    form.
    """
    sequence, _, structure = source.partition(":")
    require_letters(sequence, tuple(_MASSES_DA), _FEWEST, "RNA")
    n, masses = len(sequence), [_MASSES_DA[letter] for letter in sequence]
    pairs = base_pairs(sequence)
    contacts = None
    if structure:
        pairs = _pairs_of(sequence, structure, pairs)
        contacts = NativeContacts(np.array([pair[:2] for pair in pairs]), np.full(len(pairs), PAIR_NM))
    return BeadModel(
        kind="rna",
        name=source,
        beads=chain_of_residues("P", "P", list(sequence), masses),
        system=system_of(masses, [_bonds(n), _angles(n), _cores(n), _base_pairs(pairs)]),
        usual=RunPlan(
            temperature_k=310.0, timestep_fs=40.0, friction_per_ps=0.05, interval_ps=8.0, ns=160.0, discard_ps=4000.0
        ),
        parameters={"base_pairs": [list(pair) for pair in pairs], "masses_da": masses},
        source="Nguyen, Hori and Thirumalai, Nature Chemistry 14 (2022) 775",
        contacts=contacts,
    )


def base_pairs(sequence: str) -> list[BasePair]:
    """(i, j, U0 in kcal/mol) of every pair that can form, i < j, counted from 0."""
    found = []
    for i in range(1, len(sequence) - 1):
        for j in range(i + FEWEST_BETWEEN + 1, len(sequence) - 1):
            depth = PAIR_KCAL.get("".join(sorted(sequence[i] + sequence[j])))
            if depth is not None:
                found.append((i, j, depth))
    return found


def _pairs_of(sequence: str, structure: str, possible: list[BasePair]) -> list[BasePair]:
    """Those of the possible pairs that a secondary structure in dots and brackets has."""
    wrong = f"structure {structure!r} of {sequence}"
    if len(structure) != len(sequence) or set(structure) - set(".()"):
        raise InputError(f"{wrong}: give one of . ( ) for each of the {len(sequence)} nucleotides")
    depths = {(i, j): depth for i, j, depth in possible}
    opened: list[int] = []
    found: list[BasePair] = []
    for j, sign in enumerate(structure):
        if sign == "(":
            opened.append(j)
        if sign == ")":
            i = opened.pop() if opened else -1
            if (i, j) not in depths:
                raise InputError(
                    f"{wrong}: {j + 1} cannot pair with {i + 1 or 'nothing'}: pairs are GC, AU and GU, with at least "
                    f"{FEWEST_BETWEEN} between, and without the ends of the chain"
                )
            found.append((i, j, depths[i, j]))
    if opened or not found:
        raise InputError(f"{wrong} has {len(opened)} brackets without a partner, and {len(found)} pairs")
    return sorted(found)


def _bonds(n: int) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicBondForce()
    for k in range(n - 1):
        force.addBond(k, k + 1, BOND_NM, 100.0 * KCAL * BOND_KCAL_PER_ANGSTROM2)
    return force


def _angles(n: int) -> "openmm.Force":
    import openmm

    force = openmm.HarmonicAngleForce()
    for k in range(n - 2):
        force.addAngle(k, k + 1, k + 2, ANGLE_RAD, KCAL * ANGLE_KCAL_PER_RAD2)
    return force


def _cores(n: int) -> "openmm.Force":
    import openmm

    force = openmm.CustomBondForce(f"step({CORE_NM}-r)*{KCAL * CORE_KCAL}*(w*w-2*w+1); w=({CORE_NM}/r)^6")
    for i in range(n):
        for j in range(i + 2, n):
            force.addBond(i, j, [])
    return force


def _base_pairs(pairs: list[BasePair]) -> "openmm.Force":
    import openmm

    # Particles: i - 1, i, i + 1, j - 1, j, j + 1.
    theta, phi = PAIR_ANGLES_RAD, PAIR_DIHEDRALS_RAD
    force = openmm.CustomCompoundBondForce(
        6,
        "depth*exp(-u);"
        f"u={100.0 * PAIR_PER_ANGSTROM2}*(distance(p2,p5)-{PAIR_NM})^2"
        f"+{PAIR_PER_RAD2}*((angle(p2,p5,p4)-{theta[0]})^2+(angle(p1,p2,p5)-{theta[0]})^2"
        f"+(angle(p2,p5,p6)-{theta[1]})^2+(angle(p3,p2,p5)-{theta[1]})^2)"
        f"+{PAIR_DIHEDRAL}*(2+cos(dihedral(p1,p2,p5,p4)+{phi[0]})+cos(dihedral(p3,p2,p5,p6)+{phi[1]}))",
    )
    force.addPerBondParameter("depth")
    for i, j, depth in pairs:
        force.addBond([i - 1, i, i + 1, j - 1, j, j + 1], [KCAL * depth])
    return force
