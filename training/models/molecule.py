"""What the graph transformer knows of a molecule besides its positions, all of it from the bead table's graph.

In: a BeadTable (names, residues, chains, bonds). Out: a `Molecule` of index tensors
(fpforce.forcefield.transferable.graph), and padded batches of several molecules.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fpforce.forcefield.transferable import graph
from fpforce.forcefield.transferable.graph import BOND_DISTANCES, SEPARATIONS
from fpforce.forcefield.transferable.vocabulary import Vocabulary
from fpforce.molecule.beads import BeadTable

__all__ = ["BOND_DISTANCES", "SEPARATIONS", "Molecule", "Rows", "Vocabulary", "describe_molecule", "pad_molecules"]


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


class Rows(NamedTuple):
    """Which molecule every row of a batch is, (batch,), and which of its beads exist, (batch, n); None where all do."""

    which: Tensor
    mask: Tensor | None

    def repeat(self, times: int) -> "Rows":
        """The rows so many times in a row."""
        return Rows(self.which.repeat(times), None if self.mask is None else self.mask.repeat(times, 1))

    def followed_by(self, others: "Rows") -> "Rows":
        """These rows, then others of the same number of beads."""
        mask = None if self.mask is None or others.mask is None else torch.cat([self.mask, others.mask])
        return Rows(torch.cat([self.which, others.which]), mask)


def describe_molecule(
    beads: BeadTable, vocabulary: Vocabulary, distance_mean: Tensor, distance_variance: Tensor
) -> Molecule:
    """The Molecule of a bead table, with the statistics (n, n) of its distances."""
    names, residues = map(torch.from_numpy, vocabulary.indices(beads))
    frames, separation, bond_distance = map(
        torch.from_numpy, (graph.local_frames(beads), graph.separations(beads), graph.bond_distances(beads))
    )
    return Molecule(names, residues, frames, separation, bond_distance, distance_mean, distance_variance)


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
