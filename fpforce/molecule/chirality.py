"""Handedness of amino acids, from atoms where they are known and from backbone torsions where they are not.

A mirrored trajectory passes every test on distances and angles, and a model trained on it is a model of D residues.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fpforce.molecule.covalent import symbol_of
from fpforce.molecule.graph import neighbours_of
from fpforce.molecule.residues import amino_acid_of

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Residue

_FLAT = 0.35  # of the chiral volume over the lengths of its edges: 0.77 of a tetrahedron, 0 of a plane
_BONDS_TO_COMPARE = 6  # from CA, over which two of its neighbours are alike or not


def chiral_residues(topology: "mdtraj.Topology") -> list[tuple["Residue", tuple[int, ...], float]]:
    """Residues whose handedness can be seen: (residue, (N, CA, C, X), sign) with X = CB, else HA.

    Residues that are none of the twenty are judged where CA has four different neighbours as far as the topology tells:
    dehydroalanine, whose CA has three, is not, nor Aib, whose methyls are called CB and CG, a beta-amino acid, or a
    whole peptide in one residue.
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
    if all(amino_acid_of(residue.name) for residue, _, _ in residues):
        return residues
    neighbours = neighbours_of((first.index, second.index) for first, second in topology.bonds)
    return [
        (residue, four, sign)
        for residue, four, sign in residues
        if amino_acid_of(residue.name) or _is_chiral(topology, residue, four, neighbours)
    ]


def _is_chiral(
    topology: "mdtraj.Topology", residue: "Residue", four: Sequence[int], neighbours: Mapping[int, Sequence[int]]
) -> bool:
    """Whether CA of (N, CA, C, X) is bonded to the three others, and to a fourth that is like none of them; the fourth
    may be a hydrogen that the topology leaves out. A topology without bonds of CA tells nothing against it.
    """
    if any(sum(atom.name == name for atom in residue.atoms) > 1 for name in ("N", "CA", "C")):
        return False
    n, ca, c, x = four
    around = [atom for atom in neighbours.get(ca, ()) if symbol_of(topology.atom(atom)) != "VS"]
    if not around:
        return True
    if not {n, c, x} <= set(around):
        return False
    if len(around) == 3:  # a plane where hydrogens of other carbons are there
        return not any(_has_hydrogen(topology, atom.index, neighbours) for atom in residue.atoms if atom.index != ca)
    branches = [_branch(topology, atom, ca, neighbours, _BONDS_TO_COMPARE) for atom in around]
    return len(around) == 4 and len(set(branches)) == 4


def _has_hydrogen(topology: "mdtraj.Topology", atom: int, neighbours: Mapping[int, Sequence[int]]) -> bool:
    """Whether an atom is a carbon that is bonded to a hydrogen."""
    near = {symbol_of(topology.atom(other)) for other in neighbours.get(atom, ())}
    return symbol_of(topology.atom(atom)) == "C" and "H" in near


def _branch(
    topology: "mdtraj.Topology", atom: int, before: int, neighbours: Mapping[int, Sequence[int]], bonds: int
) -> str:
    """The elements that are reached from an atom, away from the one before it, over so many bonds: as text, alike for
    branches that are.
    """
    after = [other for other in neighbours.get(atom, ()) if other != before] if bonds else []
    found = sorted(_branch(topology, other, atom, neighbours, bonds - 1) for other in after)
    return f"{symbol_of(topology.atom(atom))}({''.join(found)})"


def d_residues(xyz: np.ndarray, topology: "mdtraj.Topology") -> list[tuple[str, int, int]]:
    """Residues that are D in at least one frame.

    Args:
        xyz: (frames, atoms, 3), any unit of length.
        topology: mdtraj topology of these atoms.

    Returns:
        [(residue as text, number of D frames, first D frame), ...]; empty if all are L, achiral or cannot be judged. CA
        whose neighbours lie in its plane, as in dehydroalanine without hydrogens, is achiral.
    """
    found = []
    for residue, (n, ca, c, x), sign in chiral_residues(topology):
        centre = xyz[:, ca]
        volume = np.einsum("fd,fd->f", xyz[:, n] - centre, np.cross(xyz[:, c] - centre, xyz[:, x] - centre))
        edges = np.prod([np.linalg.norm(xyz[:, atom] - centre, axis=1) for atom in (n, c, x)], axis=0)
        flat = np.median(np.abs(volume)) < _FLAT * np.median(edges)
        is_d = sign * volume < 0.0
        if is_d.any() and not flat:
            found.append((str(residue), int(is_d.sum()), int(np.argmax(is_d))))
    return found


def dihedral(positions: np.ndarray, quadruple: Sequence[int]) -> np.ndarray:
    """Torsion angles in radians (-pi, pi], IUPAC sign, float64 (frames,), of four points of (frames, n, 3)."""
    first, second, third, fourth = (np.asarray(positions[:, atom], dtype=np.float64) for atom in quadruple)
    axis = third - second
    left, right = np.cross(second - first, axis), np.cross(axis, fourth - third)
    sine = np.einsum("fd,fd->f", np.cross(left, right), axis) / np.linalg.norm(axis, axis=1)
    return np.arctan2(sine, np.einsum("fd,fd->f", left, right))
