"""Chains that no bond joins and that stay together: a dimer, a peptide in a groove.

In: a bead table of several molecules, and frames. Out: links along which they are made whole across a periodic box, and
how near they come to each other; an InputError, with figures, where they part.

A chain lies in that image of the box in which it is next to the others. Which image this is, is told by one pair of
beads a chain: the pair that stays nearest over the trajectory. A bond is not made of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.graph import box_problem, connected_components, walk_whole
from fpforce.trajectories.collected import pieces_of
from fpforce.trajectories.streamed import extents

APART_NM = 1.5  # between the nearest beads of two molecules: more than one layer of water is between them
TOUCHING_NM = 0.1  # no two atoms of molecules come nearer, be they hydrogen
ONE_PLACE_NM = 0.02  # a group may lie within another, as a guest in its host, but not at its very centre
_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Interface:
    """How near two molecules are: their chains, and the distance of their nearest beads over all frames in nm."""

    chains: tuple[str, str]
    shortest_nm: float
    typical_nm: float
    longest_nm: float

    def __str__(self) -> str:
        return (
            f"chains {self.chains[0]} and {self.chains[1]}: nearest beads {self.shortest_nm:.3g} to "
            f"{self.longest_nm:.3g} nm apart, typically {self.typical_nm:.3g} nm"
        )


def molecules_of(table: BeadTable) -> list[list[int]]:
    """The beads that bonds join, one sorted list a molecule."""
    return connected_components(len(table), table.bonds)


def links_between(
    groups: Sequence[Sequence[int]], molecules: Sequence[Sequence[int]], frames: SampleFrames | None
) -> list[tuple[int, int]]:
    """Pairs of atoms, one for each molecule after the first, along which molecules are next to each other.

    groups: the atoms of every bead. molecules: the beads of each. frames: of all atoms, some over the trajectory; of
    every pair of beads their largest distance, at the nearest images, counts. Without frames there are no links.
    """
    if frames is None or len(molecules) < 2:
        return []
    links, placed, waiting = [], list(molecules[0]), list(map(list, molecules[1:]))
    while waiting:
        best = None
        for number, molecule in enumerate(waiting):
            first, second = (grid.ravel() for grid in np.meshgrid(placed, molecule, indexing="ij"))
            atoms = np.array([group[0] for group in groups])
            distances = frames.distances(atoms[first], atoms[second]).max(axis=0)
            nearest = int(np.argmin(distances))
            if best is None or distances[nearest] < best[0]:
                best = float(distances[nearest]), number, (int(atoms[first[nearest]]), int(atoms[second[nearest]]))
        assert best is not None
        links.append(best[2])
        placed += waiting.pop(best[1])
    return links


def whole_beads(positions_nm: np.ndarray, box_vectors: np.ndarray | None, table: BeadTable) -> np.ndarray:
    """Positions (n, 3) of one frame in which bonds and chains have their nearest images.

    box_vectors: (1, 3, 3), or None. A box that cannot be believed changes nothing.
    """
    frame = np.array(positions_nm, dtype=np.float64)[None]
    if box_vectors is None or not np.isfinite(frame).all() or box_problem(frame, box_vectors, table.bonds):
        return frame[0]
    links = links_between([(i,) for i in range(len(table))], molecules_of(table), SampleFrames(frame, box_vectors))
    return walk_whole(frame, box_vectors, [*table.bonds, *links])[0]


def nearest_distances(positions: np.ndarray, first: Sequence[int], second: Sequence[int]) -> np.ndarray:
    """Distance (frames,) of the nearest two beads of two molecules in positions (frames, beads, 3)."""
    nearest = np.empty(len(positions))
    at_once = max(1, _PAIRS_AT_ONCE // (len(first) * len(second)))
    for start in range(0, len(positions), at_once):
        part = positions[start : start + at_once]
        step = part[:, first][:, :, None] - part[:, second][:, None]
        nearest[start : start + at_once] = np.sqrt(np.einsum("fijd,fijd->fij", step, step).min(axis=(1, 2)))
    return nearest


def check_together(positions: np.ndarray, table: BeadTable, path: Path, stride: int) -> None:
    """Refuse positions (frames, beads, 3) in nm in which a molecule is apart from all the others."""
    molecules = molecules_of(table)
    if len(molecules) < 2:
        return
    for molecule in molecules:
        others = [bead for other in molecules if other is not molecule for bead in other]
        distance = nearest_distances(positions, molecule, others)
        apart = distance > APART_NM
        if apart.any():
            frame, chain = int(np.argmax(apart)), table.beads[molecule[0]].chain
            raise InputError(
                f"{path}: chain {chain} is apart from the others in {int(apart.sum())} of {len(distance)} frames: its "
                f"nearest bead is {distance[frame]:.3g} nm away in frame {frame * stride} (counted from 0), "
                f"{distance.max():.3g} nm at most and typically {np.median(distance):.3g} nm, and {APART_NM:g} nm are "
                "allowed for chains that stay together: leave these frames out, or learn the chains one by one"
            )


def overlap_warnings(interfaces: Sequence[Interface], table: BeadTable) -> list[str]:
    """Lines that say which chains lie on top of each other: nearer than atoms are where no bond joins them, or, of
    groups, with centres that typically are in one place.
    """
    groups = any(bead.element is None for bead in table.beads)
    lines = []
    for interface in interfaces:
        nearest = interface.typical_nm if groups else interface.shortest_nm
        if nearest < (ONE_PLACE_NM if groups else TOUCHING_NM):
            lines.append(
                f"{interface}: they lie on top of each other, as where one of them is in a wrong image of the box or "
                "was copied: look at the frames, make the chains whole and centre them together when writing the file"
            )
    return lines


def interfaces_of(positions: np.ndarray, table: BeadTable) -> tuple[Interface, ...]:
    """An Interface of every two molecules that come within APART_NM of each other in half of the frames."""
    molecules, found = molecules_of(table), []
    for number, first in enumerate(molecules):
        for second in molecules[number + 1 :]:

            def distances(one: list[int] = first, other: list[int] = second) -> Iterator[np.ndarray]:
                for piece in pieces_of(positions):
                    yield nearest_distances(piece, one, other)[:, None]

            shortest, typical, longest = (float(each[0]) for each in extents(distances))
            if typical <= APART_NM:
                chains = table.beads[first[0]].chain, table.beads[second[0]].chain
                found.append(Interface(chains, shortest, typical, longest))
    return tuple(found)
