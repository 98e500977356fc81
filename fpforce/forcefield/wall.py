"""The excluded volume of a coarse-grained molecule: a wall at the smallest distances of the data.

In: a bead table, and the frames of a training. Out: a `Wall`, which is a part of the force field where the recipe asks
for it (`model.wall`). It takes no part in training. By bead names it is zero for everything that the data have seen,
and keeps a simulation that left the data from letting beads pass through each other. Of each pair of one molecule it
reaches a little into the data, as far as MEAN_ENERGY_KT allows, and holds the pair's distances to their smallest.
Source: docs/method.md, eq. 22.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.graph import neighbours_of, steps_from

HEIGHT_KT = 1000.0  # of a pair's wall at distance 0: 1 kT at 0.9 of the smallest distance, 8 kT at 0.8
FEWEST_BONDS = 3  # bonds and angles have the prior
MEAN_ENERGY_KT = 0.05  # over the data, of the walls of all pairs of one molecule
TAIL = 0.1  # part of the frames of the data, at most, that any of these walls reaches
MOST_FRAMES = 20_000  # of the data, by which they are placed
COINCIDENT_NM = 1e-3  # a smaller distance counts as this
HALVINGS = 40
_CHUNK_DISTANCES = 4_000_000  # held at once


@dataclass(frozen=True)
class WallAction:
    """How often the wall acted in frames, and how strongly.

    `acted`: part of the frames with any pair within it; `more_than_a_kt`: with an energy above 1 kT; `largest_kt`
    energy.
    """

    frames: int
    acted: float
    more_than_a_kt: float
    largest_kt: float

    @classmethod
    def over(cls, parts: Sequence["WallAction"]) -> "WallAction":
        """In the frames of all parts together."""
        frames = sum(part.frames for part in parts)
        acted, more = (
            sum(getattr(part, name) * part.frames for part in parts) / frames for name in ("acted", "more_than_a_kt")
        )
        return cls(frames, acted, more, max(part.largest_kt for part in parts))


@dataclass(frozen=True)
class Wall:
    """Pairs of beads (P, 2) at least FEWEST_BONDS bonds apart, and the distance (P,) in nm below which each repels.

    The energy of a pair at distance d is HEIGHT_KT (1 - d / distance)^3 kT below it and 0 above, with two continuous
    derivatives.
    """

    pairs: np.ndarray
    distances_nm: np.ndarray

    @classmethod
    def of(cls, beads: BeadTable, smallest: list[dict[str, Any]]) -> "Wall":
        """From the bead table and the smallest distances of the data, as `smallest_distances` gives them.

        Pairs of names that the data never had so far apart along the bonds, which another molecule may have, get no
        wall.
        """
        by_names = {tuple(entry["names"]): entry["distance_nm"] for entry in smallest}
        pairs = [pair for pair in distant_pairs(beads) if _names(beads, pair) in by_names]
        distances_nm = np.array([by_names[_names(beads, pair)] for pair in pairs], dtype=np.float64)
        return cls(np.array(pairs, dtype=np.int64).reshape(-1, 2), distances_nm)

    @classmethod
    def of_constants(cls, constants: Mapping[str, np.ndarray], beads: int) -> "Wall":
        """What `constants` gave, of a molecule of so many beads. InputError where it is damaged."""
        first, second, distances_nm = (constants.get(f"wall.{name}") for name in ("first", "second", "distance_nm"))
        if first is None or second is None or distances_nm is None:
            raise InputError("the weights lack those of the wall that fpforce.json names; repeat fpforce-export")
        pairs = np.concatenate([first, second])
        if not first.shape == second.shape == distances_nm.shape == (len(distances_nm),):
            raise InputError(f"wall of {first.shape} pairs and {distances_nm.shape} distances; repeat fpforce-export")
        if not (np.isfinite(distances_nm).all() and (distances_nm > 0.0).all()):
            raise InputError("distances of the wall are not all finite and above 0; repeat fpforce-export")
        if len(pairs) and not (0 <= pairs.min() and pairs.max() < beads and (first != second).all()):
            raise InputError(f"pairs of the wall are of other beads than the {beads} there are; repeat fpforce-export")
        return cls(np.stack([first, second], axis=1).astype(np.int64), distances_nm.astype(np.float64))

    def energies_kt(self, positions_nm: np.ndarray) -> np.ndarray:
        """Energy (F,) in kT of frames (F, beads, 3)."""
        return np.concatenate(
            [
                HEIGHT_KT * np.sum(np.maximum(1.0 - distances / self.distances_nm, 0.0) ** 3, axis=1)
                for distances in _distances(positions_nm, self.pairs)
            ]
        )

    def action(self, positions_nm: np.ndarray) -> WallAction:
        """WallAction in frames (F, beads, 3)."""
        energies = self.energies_kt(positions_nm)
        return WallAction(
            len(energies), float(np.mean(energies > 0.0)), float(np.mean(energies > 1.0)), float(energies.max())
        )

    def constants(self) -> dict[str, np.ndarray]:
        """What the weights of a force field hold of it, by name."""
        return {
            "wall.first": self.pairs[:, 0].copy(),
            "wall.second": self.pairs[:, 1].copy(),
            "wall.distance_nm": self.distances_nm,
        }


def smallest_distances(molecules: Iterable[tuple[BeadTable, np.ndarray]]) -> list[dict[str, Any]]:
    """The smallest distance of each pair of bead names in the data: [{"names": [a, b], "distance_nm": d}].

    molecules: (bead table, frames (F, beads, 3) in nm) of each molecule. One distance for all beads of two names, so
    that it holds where the data are thin, too. Raises InputError where no two beads are FEWEST_BONDS bonds apart.
    """
    smallest = {}
    for beads, frames_nm in molecules:
        pairs = distant_pairs(beads)
        if len(pairs) == 0:
            continue
        lowest = np.min([distances.min(axis=0) for distances in _distances(frames_nm, pairs)], axis=0)
        for pair, distance in zip(pairs, lowest.tolist(), strict=True):
            names = _names(beads, pair)
            smallest[names] = min(distance, smallest.get(names, np.inf))
    if not smallest:
        raise InputError(
            f"model.wall = true keeps beads apart that are at least {FEWEST_BONDS} bonds from each other, and the data "
            "have no such pair; set it to false"
        )
    return [{"names": list(names), "distance_nm": distance} for names, distance in sorted(smallest.items())]


def distances_of_pairs(beads: BeadTable, frames_nm: np.ndarray) -> np.ndarray:
    """The distance (P,) in nm below which each of `distant_pairs` repels, such that all of them together have a mean
    energy of MEAN_ENERGY_KT over frames (F, beads, 3) in nm, each the same, or where that is less the TAIL quantile of
    its distances.

    Few frames place a wall near their smallest distance, many a little above it. Empty where there is no such pair.
    """
    pairs = distant_pairs(beads)
    frames_nm = frames_nm[:: -(-len(frames_nm) // MOST_FRAMES)]
    reached = max(1, round(TAIL * len(frames_nm)))
    x = np.ascontiguousarray(np.moveaxis(frames_nm, 0, -1), dtype=np.float32)  # (beads, 3, frames)
    found = [np.zeros(0)]
    for some in np.array_split(pairs, -(-len(pairs) * len(frames_nm) // _CHUNK_DISTANCES)) if len(pairs) else []:
        distances = np.linalg.norm(x[some[:, 0]] - x[some[:, 1]], axis=1)
        nearest = np.partition(distances, reached - 1, axis=1)[:, :reached].astype(np.float64)
        nearest = np.maximum(nearest, COINCIDENT_NM)
        energy_kt = MEAN_ENERGY_KT / len(pairs) * len(frames_nm)  # of all frames
        low, high = nearest.min(axis=1), nearest.max(axis=1)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            less = HEIGHT_KT * (np.maximum(1.0 - nearest / middle[:, None], 0.0) ** 3).sum(axis=1) < energy_kt
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        found.append(high)
    return np.concatenate(found)


def wall_record(smallest: list[dict[str, Any]] | None) -> dict[str, Any]:
    """What fpforce.json says of a wall of these smallest distances; None: of one of each pair, whose distances are with
    the weights.
    """
    record = {"height_kt": HEIGHT_KT, "fewest_bonds": FEWEST_BONDS}
    return record | ({"of_pairs": True} if smallest is None else {"smallest_distances": smallest})


def distant_pairs(beads: BeadTable) -> np.ndarray:
    """Pairs i < j of beads at least FEWEST_BONDS bonds apart, or not joined at all, int (P, 2)."""
    neighbours, pairs = neighbours_of(beads.bonds), []
    for start in range(len(beads)):
        near = steps_from(neighbours, start, most=FEWEST_BONDS - 1)
        pairs.extend((start, other) for other in range(start + 1, len(beads)) if other not in near)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _names(beads: BeadTable, pair: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(beads.beads[k].name for k in pair))


def _distances(positions_nm: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Distances (part of the frames, P) of one part of the frames after another."""
    step = max(1, _CHUNK_DISTANCES // max(1, len(pairs)))
    for first in range(0, len(positions_nm), step):
        part = np.asarray(positions_nm[first : first + step], dtype=np.float64)
        yield np.linalg.norm(part[:, pairs[:, 0]] - part[:, pairs[:, 1]], axis=-1)
