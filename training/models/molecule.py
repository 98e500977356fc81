"""What the graph transformer knows of a molecule besides its positions, all of it from the bead table's graph.

In: a BeadTable (names, residues, chains, bonds). Out: a `Molecule` of index tensors that follow the beads when these are
put into another order, and padded batches of several molecules. Only where a bead's neighbours share residue and name
does the order of the beads decide which of them a local frame begins with.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fpforce.beads import Bead, BeadTable
from fpforce.errors import InputError

SEPARATIONS = 10  # residue offsets -4 .. 4 (clipped), and 9 for another chain
BOND_DISTANCES = 6  # bonds on the shortest path, 0 .. 4, and 5 for farther or unconnected
_FURTHEST = 4


class Molecule(NamedTuple):
    """Static data of one molecule of n beads, or of a padded batch with a leading dimension.

    names, residues (n,): indices into a Vocabulary. frames (n, 3): the beads p, c, q whose bonds p-c-q define the local
    frame. separation, bond_distance (n, n): classes of the edge from i to j. distance_mean, distance_variance (n, n):
    statistics of the distances in the data, normalised units.
    """

    names: Tensor
    residues: Tensor
    frames: Tensor
    separation: Tensor
    bond_distance: Tensor
    distance_mean: Tensor
    distance_variance: Tensor


@dataclass(frozen=True)
class Vocabulary:
    """The bead names and residue types that a model knows, in the order of its embeddings."""

    names: tuple[str, ...]
    residues: tuple[str, ...]

    @staticmethod
    def of(beads: BeadTable) -> "Vocabulary":
        """All names and residue types of a bead table, sorted."""
        return Vocabulary(tuple(sorted({bead.name for bead in beads.beads})),
                          tuple(sorted({bead.residue for bead in beads.beads})))

    def indices(self, beads: BeadTable) -> tuple[Tensor, Tensor]:
        """(n,) indices of the beads' names and residue types; InputError for one that is not known."""
        known = (("name", self.names, [bead.name for bead in beads.beads]),
                 ("residue type", self.residues, [bead.residue for bead in beads.beads]))
        for what, entries, wanted in known:
            for bead, entry in zip(beads.beads, wanted, strict=True):
                if entry not in entries:
                    raise InputError(f"bead {bead} has the {what} {entry}, which the model was not trained with; "
                                     f"it knows {', '.join(entries)}")
        return tuple(torch.tensor([entries.index(entry) for entry in wanted]) for _, entries, wanted in known)


def describe_molecule(beads: BeadTable, vocabulary: Vocabulary, distance_mean: Tensor, distance_variance: Tensor) -> Molecule:
    """The Molecule of a bead table, with the statistics (n, n) of its distances."""
    names, residues = vocabulary.indices(beads)
    return Molecule(names, residues, local_frames(beads), separations(beads), bond_distances(beads), distance_mean,
                    distance_variance)


def local_frames(beads: BeadTable) -> Tensor:
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
    return torch.tensor(frames)


def separations(beads: BeadTable) -> Tensor:
    """(n, n) class of the offset in residues from bead i to bead j: clipped to -4 .. 4 and counted from 0, or 9."""
    residue = torch.tensor([bead.residue_index for bead in beads.beads])
    chains = [bead.chain for bead in beads.beads]
    chain = torch.tensor([chains.index(name) for name in chains])
    offset = (residue[None, :] - residue[:, None]).clamp(-_FURTHEST, _FURTHEST) + _FURTHEST
    return torch.where(chain[None, :] == chain[:, None], offset, SEPARATIONS - 1)


def bond_distances(beads: BeadTable) -> Tensor:
    """(n, n) number of bonds on the shortest path between two beads; 5 stands for more, or for no path."""
    around = _neighbours(beads)
    classes = torch.full((len(beads), len(beads)), BOND_DISTANCES - 1)
    for start in range(len(beads)):
        steps, queue = {start: 0}, deque([start])
        while queue:
            bead = queue.popleft()
            classes[start, bead] = steps[bead]
            for other in around[bead]:
                if other not in steps and steps[bead] < BOND_DISTANCES - 2:
                    steps[other] = steps[bead] + 1
                    queue.append(other)
    return classes


def pad_molecules(molecules: list[Molecule]) -> tuple[Molecule, Tensor]:
    """A batch (molecules, most beads, ...) and the mask (molecules, most beads) of the beads that exist."""
    sizes = [len(molecule.names) for molecule in molecules]
    most = max(sizes)

    def stacked(name: str) -> Tensor:
        tables = [getattr(molecule, name) for molecule in molecules]
        per_pair = tables[0].dim() == 2 and name != "frames"
        shape = (len(tables), most, *((most,) if per_pair else tables[0].shape[1:]))
        # A variance of one keeps the features finite where there is no pair.
        whole = tables[0].new_full(shape, 1 if name == "distance_variance" else 0)
        for row, table, size in zip(whole, tables, sizes, strict=True):
            row[(slice(size),) * (2 if per_pair else 1)] = table
        return whole

    mask = torch.arange(most) < torch.tensor(sizes)[:, None]
    return Molecule(*map(stacked, Molecule._fields)), mask


def _neighbours(beads: BeadTable) -> list[list[int]]:
    """Bonded beads of every bead, ranked by residue and name."""

    def rank(index: int) -> tuple[int, str]:
        bead: Bead = beads.beads[index]
        return bead.residue_index, bead.name

    around: list[list[int]] = [[] for _ in beads.beads]
    for i, j in beads.bonds:
        around[i].append(j)
        around[j].append(i)
    return [sorted(own, key=rank) for own in around]
