"""Contacts between molecules that no bond joins: what a dimer's report has besides.

In: frames of every set. Out: an `InterfaceAssessment` for every two molecules that touch in the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.contacts import MapDifference
from fpforce.analysis.folding import CONTACT_NM
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.several_chains import APART_NM, molecules_of, nearest_distances

_DISTANCES_AT_ONCE = 4_000_000
_TOUCHING = 0.05  # part of the reference's frames in which two molecules have a contact, from which they are assessed


@dataclass(frozen=True)
class InterfaceAssessment:
    """Two molecules by their `chains`, with the names of their `beads`; the dicts are keyed by set.

    `maps`: part of the frames in which two beads are within CONTACT_NM, (first, second). `contacts`: their mean number.
    `apart`: part of the frames whose nearest beads are farther than APART_NM. `differences` from the reference's map,
    and the `floor` between two halves of the reference.
    """

    chains: tuple[str, str]
    beads: tuple[tuple[str, ...], tuple[str, ...]]
    maps: dict[str, np.ndarray]
    contacts: dict[str, float]
    apart: dict[str, float]
    differences: dict[str, MapDifference]
    floor: MapDifference

    def summary(self) -> dict[str, Any]:
        """Its part of report.json."""
        return {
            "chains": list(self.chains),
            "cutoff_nm": CONTACT_NM,
            "apart_nm": APART_NM,
            "contacts": self.contacts,
            "apart": self.apart,
            "differences": {name: self._difference(one) for name, one in self.differences.items()},
            "floor": self._difference(self.floor),
            "beads": [list(names) for names in self.beads],
            "maps": {name: np.round(values, 5).tolist() for name, values in self.maps.items()},
        }

    def _difference(self, one: MapDifference) -> dict[str, Any]:
        pair = [names[place] for names, place in zip(self.beads, one.pair, strict=True)]
        return {"root_mean_square": one.root_mean_square, "largest": one.largest, "pair": pair}


def assess_interfaces(
    beads: BeadTable, halves: tuple[np.ndarray, np.ndarray], frames: dict[str, np.ndarray]
) -> tuple[InterfaceAssessment, ...]:
    """Of every two molecules that touch in the reference; nothing where bonds join all beads.

    halves: of the reference, (F, beads, 3) in nm each. frames: name -> (F, beads, 3) of every set, "reference" among
    them.
    """
    molecules, found = molecules_of(beads), []
    for number, first in enumerate(molecules):
        for second in molecules[number + 1 :]:
            near = {name: nearest_distances(positions, first, second) for name, positions in frames.items()}
            if float(np.mean(near["reference"] < CONTACT_NM)) < _TOUCHING:
                continue
            maps = {name: interface_map(positions, first, second) for name, positions in frames.items()}
            found.append(
                InterfaceAssessment(
                    chains=(beads.beads[first[0]].chain, beads.beads[second[0]].chain),
                    beads=(tuple(str(beads.beads[k]) for k in first), tuple(str(beads.beads[k]) for k in second)),
                    maps=maps,
                    contacts={name: float(one.sum()) for name, one in maps.items()},
                    apart={name: float(np.mean(one > APART_NM)) for name, one in near.items()},
                    differences={
                        name: _difference(one, maps["reference"]) for name, one in maps.items() if name != "reference"
                    },
                    floor=_difference(*(interface_map(half, first, second) for half in halves)),
                )
            )
    return tuple(found)


def interface_map(positions_nm: np.ndarray, first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """Part of the frames in which two beads of two molecules are within CONTACT_NM, (first, second)."""
    hits = np.zeros((len(first), len(second)))
    at_once = max(1, _DISTANCES_AT_ONCE // hits.size)
    for start in range(0, len(positions_nm), at_once):
        part = positions_nm[start : start + at_once]
        step = part[:, first][:, :, None] - part[:, second][:, None]
        hits += (np.einsum("fijd,fijd->fij", step, step) < CONTACT_NM**2).sum(axis=0)
    return hits / len(positions_nm)


def _difference(one: np.ndarray, other: np.ndarray) -> MapDifference:
    change = np.abs(one - other)
    row, column = divmod(int(np.argmax(change)), change.shape[1])
    return MapDifference(float(np.sqrt(np.mean(change**2))), float(change.max()), (row, column))
