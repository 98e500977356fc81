"""Which linear maps take forces on atoms to forces on beads.

In: the atoms of the beads' molecules with their bonds, and which of them constraints hold together. Out: weights b of a
map F_J = sum_i b_Ji f_i whose mean over all atomistic configurations of given beads is the gradient of the beads' log
density, times kT. With the beads at R_I = sum_i c_Ii r_i it is right where

- sum_i c_Ii b_Ji is 1 for I = J and 0 otherwise: moving the atoms along b_J moves bead J and no other;
- b_Ji = b_Jj for every constrained pair (i, j): that motion leaves all constraints alone. Forces of MD programs leave
  the constraints' own forces out, and over such rigid groups those cancel anyway.

Source: Noid et al., J. Chem. Phys. 128, 244114 (2008); Ciccotti, Kapral and Vanden-Eijnden, ChemPhysChem 6, 1809
(2005); docs/method.md, eq. 8 and 9.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.graph import connected_components

if TYPE_CHECKING:
    import mdtraj

RIGID_WIDTH_NM = 1e-3  # bonds that vibrate at 300 K are some 2e-3 nm wide; rounding to 0.001 nm adds 4e-4
_FRAMES_TO_JUDGE_RIGIDITY = 1000
_FEWEST_FRAMES_TO_JUDGE_RIGIDITY = 20


@dataclass(frozen=True)
class MappedAtoms:
    """The atoms of which forces are read, `indices` into the files, with `topology`, and those of each bead, `groups`.

    `groups` and the topology, which has all bonds, count within `indices`. Where the files list nothing but beads,
    topology is None. masses: weights c of the atoms in their bead, (n, atoms), which sum to one for each bead.
    """

    indices: tuple[int, ...]
    topology: "mdtraj.Topology | None"
    groups: tuple[tuple[int, ...], ...]
    masses: np.ndarray
    names: tuple[str, ...]
    bonds: tuple[tuple[int, int], ...]

    def describe(self, atom: int) -> str:
        """Name of one of the atoms for a message."""
        return self.names[atom] if self.topology is None else str(self.topology.atom(atom))


def rigid_groups(atoms: MappedAtoms, constraints: str | Sequence[tuple[int, int]]) -> list[list[int]]:
    """All atoms in sorted lists, each held together by constraints; most atoms are on their own.

    Raises InputError for a hydrogen without a bond, where bonds are to tell what is constrained, and for pairs that
    name atoms outside the beads' molecules.
    """
    if constraints == "none" or (constraints == "h-bonds" and atoms.topology is None):
        pairs = []
    elif constraints == "h-bonds":
        topology = atoms.topology
        assert topology is not None
        pairs = [(a.index, b.index) for a, b in topology.bonds if "H" in (a.element.symbol, b.element.symbol)]
        bonded = {atom for pair in pairs for atom in pair}
        for atom in topology.atoms:
            if atom.element.symbol == "H" and atom.index not in bonded:
                raise InputError(
                    f"hydrogen {atom} has no bond in the topology, so that data.constraints = h-bonds cannot tell what "
                    "holds it: give a topology with bonds (CONECT in a PDB), or the constrained pairs of atoms"
                )
    else:
        assert not isinstance(constraints, str)
        where = {atom: position for position, atom in enumerate(atoms.indices)}
        for i, j in constraints:
            if i not in where or j not in where:
                raise InputError(
                    f"data.constraints joins the atoms {i} and {j}, and not both belong to the molecules of the beads: "
                    "give indices of the trajectory's atoms, counted from 0"
                )
        pairs = [(where[i], where[j]) for i, j in constraints]
    return connected_components(len(atoms.indices), pairs)


def refuse_joined_beads(atoms: MappedAtoms, rigid: Iterable[Sequence[int]]) -> None:
    """Raise InputError where one rigid group holds atoms of two beads: for single atoms no map is right then."""
    bead_of = {atom: bead for bead, group in enumerate(atoms.groups) for atom in group}
    for group in rigid:
        beads = sorted({bead_of[atom] for atom in group if atom in bead_of})
        if len(beads) > 1:
            raise InputError(
                f"constraints join the beads {atoms.names[beads[0]]} and {atoms.names[beads[1]]} (atoms "
                f"{', '.join(map(atoms.describe, group))}), so that the forces do not tell them apart: choose beads in "
                "different rigid groups (no hydrogens, usually), correct data.constraints, or leave data.forces out"
            )


def group_weights(atoms: MappedAtoms, rigid: Sequence[Sequence[int]]) -> np.ndarray:
    """(n, atoms) weights: 1 for a bead's atoms and for everything rigidly joined to them, 0 elsewhere."""
    weights = np.zeros((len(atoms.groups), len(atoms.indices)))
    for bead, group in enumerate(atoms.groups):
        for members in rigid:
            if not set(members).isdisjoint(group):
                weights[bead, members] = 1.0
    return weights


def optimal_weights(atoms: MappedAtoms, rigid: Sequence[Sequence[int]], covariance: np.ndarray) -> np.ndarray:
    """(n, atoms) weights of the valid map whose forces have the smallest covariance (in every direction at once).

    covariance (groups, groups): sum over frames of the dot products of the forces on the rigid groups. With A the part
    of each group in each bead, the weights of the groups are (A K^-1 A^T)^-1 A K^-1, the best linear unbiased estimate.
    Source: Kraemer et al., J. Phys. Chem. Lett. 14, 3970 (2023).
    """
    parts = np.stack([atoms.masses[:, members].sum(1) for members in rigid], 1)
    # Forces on a molecule alone sum to zero, which leaves K without an inverse.
    ridge = 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    solved = np.linalg.solve(covariance + ridge, parts.T)
    by_group = np.linalg.solve(parts @ solved, solved.T)
    weights = np.zeros((len(atoms.groups), len(atoms.indices)))
    for number, members in enumerate(rigid):
        weights[:, members] = by_group[:, number, None]
    return weights


def refuse_undeclared_constraints(atoms: MappedAtoms, weights: np.ndarray, xyz: np.ndarray, path: Path) -> None:
    """Raise InputError where a bond of constant length joins atoms that the map (n, atoms) treats differently.

    Fewer than 20 frames, xyz (frames, atoms, 3) in nm, do not tell.
    """
    if len(xyz) < _FEWEST_FRAMES_TO_JUDGE_RIGIDITY:
        return
    if atoms.topology is None:
        bonds: Sequence[tuple[int, int]] = atoms.bonds
    else:
        bonds = [(a.index, b.index) for a, b in atoms.topology.bonds]
    some = np.unique(np.linspace(0, len(xyz) - 1, _FRAMES_TO_JUDGE_RIGIDITY).round().astype(int))
    for i, j in bonds:
        if np.array_equal(weights[:, i], weights[:, j]):
            continue
        length = np.linalg.norm((xyz[some, i] - xyz[some, j]).astype(np.float64), axis=1)
        if length.std() < RIGID_WIDTH_NM:
            first, second = atoms.describe(i), atoms.describe(j)
            raise InputError(
                f"{path}: the bond {first} - {second} keeps its length of {length.mean():.4g} nm within "
                f"{length.std():.1e} nm, so that it was constrained, and data.constraints does not say so: list all "
                "constrained pairs there (h-bonds where hydrogens are); where that joins two beads, choose other beads "
                "or "
                "leave data.forces out"
            )
