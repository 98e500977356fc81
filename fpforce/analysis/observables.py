"""Internal coordinates of bead frames: bond lengths, angles, dihedrals.

In: positions in nm, shape (..., beads, 3), and bead indices. Out: float64 arrays (..., items), nm or radians.
Leading axes are free, so frames (F, n, 3) and simulations (saved times, replicas, n, 3) go through the same code.
"""

from collections.abc import Sequence

import numpy as np

# Indices of beads, of one or more groups: (groups, width).
Groups = Sequence[tuple[int, ...]] | np.ndarray


def bond_lengths(positions_nm: np.ndarray, pairs: Groups) -> np.ndarray:
    """Distances in nm, shape (..., len(pairs))."""
    first, second = _index_columns(pairs, 2)
    return np.linalg.norm(_displacements(positions_nm, first, second), axis=-1)


def bond_angles(positions_nm: np.ndarray, triples: Groups) -> np.ndarray:
    """Angles i-j-k in radians in [0, pi], shape (..., len(triples)).

    By atan2 of sine and cosine, which keeps its precision near 0 and pi where arccos loses half the digits.
    """
    i, j, k = _index_columns(triples, 3)
    to_i, to_k = _displacements(positions_nm, j, i), _displacements(positions_nm, j, k)
    sine = np.linalg.norm(np.cross(to_i, to_k), axis=-1)
    return np.arctan2(sine, np.sum(to_i * to_k, axis=-1))


def dihedrals(positions_nm: np.ndarray, quadruples: Groups) -> np.ndarray:
    """Dihedral angles i-j-k-m in radians in [-pi, pi], shape (..., len(quadruples)).

    Sign by the IUPAC convention (positive: looking along j-k, the far bond is turned clockwise), as in mdtraj.
    """
    i, j, k, m = _index_columns(quadruples, 4)
    b1, b2, b3 = (_displacements(positions_nm, a, b) for a, b in ((i, j), (j, k), (k, m)))
    normal_far = np.cross(b2, b3)
    sine = np.sum(b1 * normal_far, axis=-1) * np.linalg.norm(b2, axis=-1)
    cosine = np.sum(np.cross(b1, b2) * normal_far, axis=-1)
    return np.arctan2(sine, cosine)


def dihedral_paths(bonds: Sequence[tuple[int, int]], bead_count: int) -> list[tuple[int, int, int, int]]:
    """Dihedrals (i, j, k, l) of the bond graph, one for each central bond that has a neighbour on both sides.

    One per central bond (through the lowest-numbered neighbours) is enough to describe the rotation about it.
    """
    neighbours = [set() for _ in range(bead_count)]
    for i, j in bonds:
        neighbours[i].add(j)
        neighbours[j].add(i)
    paths = []
    for j, k in sorted(tuple(sorted(bond)) for bond in bonds):
        ends = ((i, m) for i in sorted(neighbours[j] - {k}) for m in sorted(neighbours[k] - {j}) if i != m)
        paths.extend((i, j, k, m) for i, m in list(ends)[:1])
    return paths


def _index_columns(groups: Groups, width: int) -> np.ndarray:
    return np.asarray(groups, dtype=int).reshape(-1, width).T


def _displacements(positions_nm: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    positions = np.asarray(positions_nm)
    return positions[..., end, :].astype(np.float64) - positions[..., start, :]
