"""What the bond graph and the residue numbers say of a molecule: local frames, separations, bond distances.

In: a BeadTable. Out: integer arrays that follow the beads when these are put into another order. Only where a bead's
neighbours share residue and name does the order of the beads decide which of them a local frame begins with.
"""

import numpy as np

from fpforce.molecule.beads import BeadTable
from fpforce.molecule.graph import neighbours_of, steps_from

SEPARATIONS = 10  # residue offsets -4 .. 4 (clipped), and 9 for another chain
BOND_DISTANCES = 6  # bonds on the shortest path, 0 .. 4, and 5 for farther or unconnected
_FURTHEST = 4


def local_frames(beads: BeadTable) -> np.ndarray:
    """(n, 3) beads (p, c, q) of every bead's local frame.

    A bead with several neighbours has (first neighbour, itself, last neighbour); an end i of the chain i-j-k has
    (i, j, k). Neighbours are ranked by residue, then by name. Each of two beads bonded to nothing else has (i, j, j), a
    bead on its own (i, i, i): such a frame has lost directions, and their axes vanish.
    """
    around = _neighbours(beads)
    frames = []
    for i, own in enumerate(around):
        if len(own) >= 2:
            frames.append((own[0], i, own[-1]))
        elif own:
            onward = [k for k in around[own[0]] if k != i]
            frames.append((i, own[0], onward[0] if onward else own[0]))
        else:
            frames.append((i, i, i))
    return np.array(frames, dtype=np.int64)


def separations(beads: BeadTable) -> np.ndarray:
    """(n, n) class of the offset in residues from bead i to bead j: clipped to -4 .. 4 and counted from 0, or 9."""
    residue = np.array([bead.residue_index for bead in beads.beads], dtype=np.int64)
    chain = np.array([bead.chain for bead in beads.beads])
    offset = np.clip(residue[None, :] - residue[:, None], -_FURTHEST, _FURTHEST) + _FURTHEST
    return np.where(chain[None, :] == chain[:, None], offset, SEPARATIONS - 1)


def bond_distances(beads: BeadTable) -> np.ndarray:
    """(n, n) number of bonds on the shortest path between two beads; 5 stands for more, or for no path."""
    neighbours = neighbours_of(beads.bonds)
    classes = np.full((len(beads), len(beads)), BOND_DISTANCES - 1, dtype=np.int64)
    for start in range(len(beads)):
        for bead, bonds in steps_from(neighbours, start, most=BOND_DISTANCES - 2).items():
            classes[start, bead] = bonds
    return classes


def held_pairs(beads: BeadTable) -> list[tuple[int, int]]:
    """Bonded (1-2) and angle (1-3) pairs, each once: those whose distances a prior holds."""
    ends = [(i, k) for i, _, k in beads.angles]
    return sorted({(min(pair), max(pair)) for pair in [*beads.bonds, *ends]})


def _neighbours(beads: BeadTable) -> list[list[int]]:
    """Bonded beads of every bead, ranked by residue and name."""

    def rank(index: int) -> tuple[int, str]:
        return beads.beads[index].residue_index, beads.beads[index].name

    neighbours = neighbours_of(beads.bonds)
    return [sorted(neighbours.get(bead, ()), key=rank) for bead in range(len(beads))]
