"""Statistics of the distances between beads by the types of the beads, so that they extend to unseen sequences.

In: bead tables with normalised frames of many molecules. Out: a PairTable, and from it the statistics of every pair of
any molecule of the same types.

A pair is known by its place, (bead name, bead name, residues apart, bonds apart), the bead of the earlier residue
first, and by the residue types of both. What is looked up, in this order:

1. By residue type. Two beads of a residue: those at this place in residues of this type. Beads of two residues: the
mean
   over what is known of the first one's type, with any second, and of the second one's, with any first. Both types
   together are left out on purpose: a training molecule would have statistics of its own there, an unseen sequence
   would not, and the network would learn to rely on what is missing when it matters.
2. By the place alone, whatever the residues.
3. By the place without the number of bonds.

What none of them knows is an error: no training molecule has such beads so many residues apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.forcefield.transferable.graph import bond_distances
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

FIELDS = ("mean", "variance", "smooth_mean", "smooth_variance", "low", "high")
ANY = "*"
_PAIRS_AT_ONCE = 1_000_000

Place = tuple[str, str, int, int]
Key = tuple[str, str, int, int, str, str]


@dataclass(frozen=True)
class PairStatistics:
    """Distances of the pairs i < j of a molecule, all (pairs,) in the order of np.triu_indices, normalised units.

    mean and variance of the distance; smooth_mean and smooth_variance of the distance with a length added in
    quadrature, which the network's features use; low and high, the range.
    """

    mean: np.ndarray
    variance: np.ndarray
    smooth_mean: np.ndarray
    smooth_variance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def stacked(self) -> np.ndarray:
        """(pairs, 6) in the order of FIELDS."""
        return np.stack([getattr(self, name) for name in FIELDS], axis=1)


def measure(frames: np.ndarray, smooth_length: float) -> PairStatistics:
    """Statistics of normalised frames (frames, n, 3), a part of them at a time; variances as of a sample."""
    first, second = np.triu_indices(frames.shape[1], k=1)
    count, at_once = len(frames), max(1, _PAIRS_AT_ONCE // max(len(first), 1))
    sums, low, high = np.zeros((4, len(first))), np.full(len(first), np.inf), np.zeros(len(first))
    for start in range(0, count, at_once):
        part = np.asarray(frames[start : start + at_once], dtype=np.float64)
        square = np.square(part[:, first] - part[:, second]).sum(-1)
        distance, smooth = np.sqrt(square), np.sqrt(square + smooth_length**2)
        sums += [distance.sum(0), smooth.sum(0), square.sum(0), (square + smooth_length**2).sum(0)]
        low, high = np.minimum(low, distance.min(0)), np.maximum(high, distance.max(0))
    mean, smooth_mean, square, smooth_square = sums / count
    correction = count / max(count - 1, 1)
    return PairStatistics(
        mean, correction * (square - mean**2), smooth_mean, correction * (smooth_square - smooth_mean**2), low, high
    )


class PairTable:
    """Statistics by key, (name, name, residues apart, bonds apart or -1 for any, residue or *, residue or *).

    entries: key -> the values of FIELDS, of all pairs with this key together, each molecule's pair counting alike.
    """

    def __init__(self, entries: dict[Key, np.ndarray]) -> None:
        self.entries = entries

    @staticmethod
    def of(tables: Sequence[BeadTable], statistics: Sequence[PairStatistics]) -> "PairTable":
        """The table of several molecules; InputError for one of several chains."""
        gathered: dict[Key, list[np.ndarray]] = {}
        for beads, own in zip(tables, statistics, strict=True):
            for (place, residues), values in zip(typed_pairs(beads), own.stacked(), strict=True):
                for key in (*_by_residue(place, residues), _by_place(place), _by_names(place)):
                    gathered.setdefault(key, []).append(values)
        return PairTable({key: _pooled(np.array(values)) for key, values in gathered.items()})

    def of_molecule(self, beads: BeadTable) -> PairStatistics:
        """Statistics of all pairs of a molecule; InputError naming the first pair of which nothing is known."""
        found = []
        first, second = np.triu_indices(len(beads), k=1)
        for i, j, (place, residues) in zip(first, second, typed_pairs(beads), strict=True):
            known = [self.entries[key] for key in _by_residue(place, residues) if key in self.entries]
            known = (
                known or [self.entries[key] for key in (_by_place(place), _by_names(place)) if key in self.entries][:1]
            )
            if not known:
                raise InputError(
                    f"beads {beads.beads[i]} and {beads.beads[j]}: no molecule that the model was trained on has beads "
                    f"{place[0]} and {place[1]} {_apart(place[2])}; train on molecules that do"
                )
            found.append(_pooled(np.array(known)))
        return PairStatistics(*np.array(found).reshape(-1, len(FIELDS)).T)

    def require_same_bonds(self, beads: BeadTable) -> None:
        """Raise InputError, naming the beads, for a bond that no training molecule has there, and for one that all have
        and is missing.
        """
        known: dict[tuple[str, str, int], set[int]] = {}
        for name, other, separation, bonds, *residues in self.entries:
            if bonds != -1 and residues == [ANY, ANY]:
                known.setdefault((name, other, separation), set()).add(bonds)
        for i, j, (place, _) in zip(*np.triu_indices(len(beads), k=1), typed_pairs(beads), strict=True):
            seen = known.get(place[:3], set())
            if seen and (place[3] == 1) not in {bonds == 1 for bonds in seen}:
                here, there = ("", " not") if place[3] == 1 else ("not ", "")
                raise InputError(
                    f"beads {beads.beads[i]} and {beads.beads[j]} are {here}bonded, and in the molecules that the "
                    f"model was trained on they are{there}; check the residues and the bonds of the topology (CONECT)"
                )

    def range(self) -> tuple[float, float]:
        """Shortest and longest distance of all."""
        values = np.array(list(self.entries.values()))
        return float(values[:, FIELDS.index("low")].min()), float(values[:, FIELDS.index("high")].max())

    def to_dict(self) -> dict:
        """A JSON-able dict; `from_dict` reads it back."""
        return {
            "fields": list(FIELDS),
            "keys": [list(key) for key in self.entries],
            "values": [values.tolist() for values in self.entries.values()],
        }

    @staticmethod
    def from_dict(record: dict) -> "PairTable":
        """The table that `to_dict` wrote."""
        order = [record["fields"].index(name) for name in FIELDS]
        return PairTable(
            {
                (str(key[0]), str(key[1]), int(key[2]), int(key[3]), str(key[4]), str(key[5])): (
                    np.array(values, dtype=float)[order]
                )
                for key, values in zip(record["keys"], record["values"], strict=True)
            }
        )


def typed_pairs(beads: BeadTable) -> list[tuple[Place, tuple[str, str]]]:
    """The place and the residue types of every pair i < j, in the order of np.triu_indices.

    Raises InputError for beads of several chains, which have no number of residues between them.
    """
    chains = sorted({bead.chain for bead in beads.beads})
    if len(chains) > 1:
        raise InputError(
            f"the beads are of the chains {', '.join(chains)}: a transferable model knows molecules of one chain"
        )
    bonds = bond_distances(beads)
    found = []
    for i, j in zip(*np.triu_indices(len(beads), k=1), strict=True):
        ends = sorted((beads.beads[k].residue_index, beads.beads[k].name, k) for k in (i, j))
        a, b = (beads.beads[k] for _, _, k in ends)
        found.append(((a.name, b.name, b.residue_index - a.residue_index, int(bonds[i, j])), (a.residue, b.residue)))
    return found


def _by_residue(place: Place, residues: tuple[str, str]) -> list[Key]:
    return [(*place, *residues)] if place[2] == 0 else [(*place, residues[0], ANY), (*place, ANY, residues[1])]


def _by_place(place: Place) -> Key:
    return (*place, ANY, ANY)


def _by_names(place: Place) -> Key:
    return (*place[:3], -1, ANY, ANY)


def _pooled(values: np.ndarray) -> np.ndarray:
    """Statistics (6,) of several groups (groups, 6) that count alike, by the law of total variance."""
    mean, variance, smooth_mean, smooth_variance, low, high = values.T
    return np.array(
        [
            mean.mean(),
            variance.mean() + mean.var(),
            smooth_mean.mean(),
            smooth_variance.mean() + smooth_mean.var(),
            low.min(),
            high.max(),
        ]
    )


def _apart(separation: int) -> str:
    return "in one residue" if separation == 0 else f"{separation} residue{'' if separation == 1 else 's'} apart"
