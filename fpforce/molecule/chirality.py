"""Handedness of amino acids, from atoms where they are known and from backbone torsions where they are not.

A mirrored trajectory passes every test on distances and angles, and a model trained on it is a model of D residues.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Residue


def chiral_residues(topology: "mdtraj.Topology") -> list[tuple["Residue", tuple[int, ...], float]]:
    """Residues whose handedness can be seen: (residue, (N, CA, C, X), sign) with X = CB, else HA.

    The sign is that of the chiral volume (N-CA) . ((C-CA) x (X-CA)) in an L residue: positive for CB (the CORN rule),
    negative for HA, which lies on the other side of the plane.
    """
    residues = []
    for residue in topology.residues:
        atoms = {atom.name: atom.index for atom in residue.atoms}
        for name, sign in (("CB", 1.0), ("HA", -1.0)):
            if residue.name != "GLY" and {"N", "CA", "C", name} <= set(atoms):
                residues.append((residue, tuple(atoms[key] for key in ("N", "CA", "C", name)), sign))
                break
    return residues


def d_residues(xyz: np.ndarray, topology: "mdtraj.Topology") -> list[tuple[str, int, int]]:
    """Residues that are D in at least one frame.

    Args:
        xyz: (frames, atoms, 3), any unit of length.
        topology: mdtraj topology of these atoms.

    Returns:
        [(residue as text, number of D frames, first D frame), ...]; empty if all are L, achiral or cannot be judged.
    """
    found = []
    for residue, (n, ca, c, x), sign in chiral_residues(topology):
        centre = xyz[:, ca]
        volume = np.einsum("fd,fd->f", xyz[:, n] - centre, np.cross(xyz[:, c] - centre, xyz[:, x] - centre))
        is_d = sign * volume < 0.0
        if is_d.any():
            found.append((str(residue), int(is_d.sum()), int(np.argmax(is_d))))
    return found


def dihedral(positions: np.ndarray, quadruple: Sequence[int]) -> np.ndarray:
    """Torsion angles in radians (-pi, pi], IUPAC sign, float64 (frames,), of four points of (frames, n, 3)."""
    first, second, third, fourth = (np.asarray(positions[:, atom], dtype=np.float64) for atom in quadruple)
    axis = third - second
    left, right = np.cross(second - first, axis), np.cross(axis, fourth - third)
    sine = np.einsum("fd,fd->f", np.cross(left, right), axis) / np.linalg.norm(axis, axis=1)
    return np.arctan2(sine, np.einsum("fd,fd->f", left, right))
