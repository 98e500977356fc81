"""What frames of a molecule cannot be: not finite, in another unit, of another topology, torn apart, or mirrored.

In: coordinates as read from a file, with what is known of them. Each check raises InputError naming the file, the place
and the remedy.
"""

import logging

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.chirality import d_residues, dihedral

logger = logging.getLogger("fpforce")

# Bonds between beads, from a bond to hydrogen to the centres of two large groups. Nanometres taken for angstroms, or
# the reverse, move the typical bond of any molecule out of this range.
_BOND_RANGE_NM = (0.07, 1.0)
# Bonds of the backbone, all close to 0.15 nm: (names, whether within one residue).
_BACKBONE_BONDS = {("C", "CA", True), ("CA", "N", True), ("CA", "CB", True), ("C", "O", True), ("C", "N", False)}
_BACKBONE_RANGE_NM = (0.10, 0.20)
_FEWEST_FRAMES_TO_JUDGE_PHI = 100
_PHI_OF_D_RESIDUES = 0.9  # part of positive phi; L residues are there a few percent of the time


def check_finite(xyz, path, stride):
    """Refuse coordinates (frames, atoms, 3) that are NaN or infinite; `stride` is that of the frames in the file."""
    finite = np.isfinite(xyz).all(axis=(1, 2))
    if not finite.all():
        frame = int(np.argmin(finite)) * stride
        raise InputError(f"{path}: frame {frame} (counted from 0) has NaN or infinite coordinates: leave it out")


def check_bonds(positions, table, path, length_unit, stride):
    """Refuse positions (frames, beads, 3) in nm whose bonds are in no physical range, and frames in which one is torn.

    length_unit: the one that was declared for a bare array, else None; another that would fit is named.
    """
    if not table.bonds:
        return
    first, second = np.array(table.bonds).T
    lengths = np.linalg.norm(positions[:, first] - positions[:, second], axis=2)
    typical = np.median(lengths, axis=0)
    middle = float(np.median(typical))
    if not _BOND_RANGE_NM[0] <= middle <= _BOND_RANGE_NM[1]:
        _refuse_unit(middle, path, length_unit)
    for (i, j), length in zip(table.bonds, typical, strict=True):
        shortest, longest = _bond_range(table.beads[i], table.beads[j])
        if not shortest <= length <= longest:
            raise InputError(
                f"{path}: the bond {table.beads[i]} - {table.beads[j]} is typically {length:.3g} nm long, "
                "which it never is: the topology lists other atoms, or the molecule is broken across a box that the "
                "file does not hold"
            )
    torn = (lengths > 3.0 * typical).any(axis=1)
    if torn.any():
        frame = int(np.argmax(torn))
        bond = int(np.argmax(lengths[frame] / typical))
        i, j = table.bonds[bond]
        raise InputError(
            f"{path}: in frame {frame * stride} (counted from 0) the bond {table.beads[i]} - {table.beads[j]} is "
            f"{lengths[frame, bond]:.3g} nm long, typically {typical[bond]:.3g} nm: make the molecule whole, or leave "
            "the frame out"
        )


def _bond_range(first, second):
    names = (*sorted((first.name, second.name)), first.residue_index == second.residue_index)
    one_atom_each = first.element is not None and second.element is not None
    return _BACKBONE_RANGE_NM if one_atom_each and names in _BACKBONE_BONDS else _BOND_RANGE_NM


def _refuse_unit(typical, path, length_unit):
    low, high = _BOND_RANGE_NM
    message = f"{path}: bonds are typically {typical:.3g} nm long, which no bond is"
    if low <= typical / 10.0 <= high:
        remedy = (
            "give length_unit = 'angstrom'" if length_unit else "divide the coordinates by 10 when writing the file"
        )
        raise InputError(f"{message}; the numbers are likely in angstrom, taken for nm: {remedy}")
    if low <= typical * 10.0 <= high:
        remedy = "give length_unit = 'nm'" if length_unit else "multiply the coordinates by 10 when writing the file"
        raise InputError(f"{message}; the numbers are likely in nm, taken for angstrom: {remedy}")
    raise InputError(f"{message}: check the unit, and that the topology lists the atoms of this file")


def check_chirality(xyz, topology, path, stride):
    """Refuse D amino acids in coordinates (frames, atoms, 3) of an mdtraj Topology, by their CB or HA."""
    found = d_residues(xyz, topology)
    if found:
        residue, count, first = found[0]
        raise InputError(
            f"{path}: {residue} is a D amino acid in {count} of {len(xyz)} frames (first: frame {first * stride}): the "
            "trajectory is mirrored, or of a D peptide; set allow_d_residues = true if that is meant"
        )


def check_phi(frames, refuse):
    """Judge the handedness of BeadFrames by the sign of phi, where no CB or HA is there to tell; only a warning where
    `refuse` is false.
    """
    torsions = [torsion for torsion in frames.beads.phi_psi if not torsion["residue"].startswith("GLY")]
    if len(frames) < _FEWEST_FRAMES_TO_JUDGE_PHI or not torsions:
        return
    positive = [float(np.mean(dihedral(frames.positions_nm, torsion["phi"]) > 0.0)) for torsion in torsions]
    files, residues = ", ".join(frames.sources), ", ".join(torsion["residue"] for torsion in torsions)
    if refuse and np.mean(positive) >= _PHI_OF_D_RESIDUES:
        raise InputError(
            f"{files}: phi of {residues} is positive in {np.mean(positive):.0%} of the frames, as in D amino acids: "
            "the trajectory is mirrored, or of a D peptide; set allow_d_residues = true if that is meant"
        )
    for torsion, part in zip(torsions, positive, strict=True):
        if part > 0.5:
            logger.warning(
                f"{files}: phi of {torsion['residue']} is positive in {part:.0%} of the frames, which is rare for an "
                "L amino acid: is the trajectory mirrored? (no CB or HA is there to tell)"
            )
