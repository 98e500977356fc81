"""Molecules broken across a periodic box, made whole along their bonds."""

from collections import deque

import numpy as np

from fpforce.molecule.bonding import with_bonds


def bonded_molecules(topology, atoms):
    """Indices, sorted, of all atoms of the molecules (bond graph components) to which the given atoms belong."""
    neighbours = _neighbours(topology)
    seen, queue = set(atoms), deque(atoms)
    while queue:
        for other in neighbours.get(queue.popleft(), ()):
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return sorted(seen)


def make_whole(xyz, box_vectors, topology):
    """Shift atoms by box vectors until every bonded pair is at its nearest image; in place.

    Args:
        xyz: (frames, atoms, 3).
        box_vectors: (frames, 3, 3), rows are the vectors, same unit.
        topology: mdtraj topology with the bonds of these atoms.

    Returns:
        xyz. Walks each molecule from its first atom along a spanning tree of its bonds, so any molecule whose bonds
        are shorter than half the box comes out whole, however large it is. Molecules stay where their first atom is.
    """
    neighbours = _neighbours(topology)
    inverse = np.linalg.inv(box_vectors.astype(np.float64))
    seen = set()
    for start in range(topology.n_atoms):
        if start in seen:
            continue
        seen.add(start)
        queue = deque([start])
        while queue:
            parent = queue.popleft()
            for child in neighbours.get(parent, ()):
                if child in seen:
                    continue
                seen.add(child)
                queue.append(child)
                step = (xyz[:, child] - xyz[:, parent]).astype(np.float64)
                images = np.round(np.einsum("fd,fde->fe", step, inverse))
                if images.any():
                    xyz[:, child] -= np.einsum("fe,fed->fd", images, box_vectors).astype(xyz.dtype)
    return xyz


def _neighbours(topology):
    neighbours = {}
    for a, b in with_bonds(topology).bonds:
        neighbours.setdefault(a.index, []).append(b.index)
        neighbours.setdefault(b.index, []).append(a.index)
    return neighbours
