"""Bonds that frames show: within residues that no name explains, of hydrogens listed apart, and links across the chain.

In: the bonds that are known, and some frames of all atoms. Out: more bonds, by the distance of atoms that bonds alone
bring so near.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from fpforce.molecule.bonds_by_name import pair_of
from fpforce.molecule.covalent import TOLERANCE_NM, radii_nm, symbol_of
from fpforce.molecule.graph import connected_components, neighbours_of, walk_whole
from fpforce.molecule.residues import backbone

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom

_SHORTEST_NM = 0.06
_LINK_ELEMENTS = ("C", "N", "O", "S", "Se", "P")  # of heavy atoms that a bond between two residues may join
DISTANCE = "distance"
_FEW_ATOMS = 200  # of which all pairs are as soon looked at
_ROUNDING_NM = 1e-6
_HALF_OF_THE_IMAGES = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
_TYPICAL_BOND_NM = (0.07, 0.25)  # of atoms; frames where bonds are others, in another unit or of beads, tell nothing


@dataclass(frozen=True)
class SampleFrames:
    """Some frames of all atoms of a file: xyz (frames, atoms, 3) in nm, box_vectors (frames, 3, 3) or None."""

    xyz: np.ndarray
    box_vectors: np.ndarray | None = None

    def distances(self, first: np.ndarray | Sequence[int], second: np.ndarray | Sequence[int]) -> np.ndarray:
        """(frames, pairs) between atoms, at their nearest images."""
        step = (self.xyz[:, second] - self.xyz[:, first]).astype(np.float64)
        if self.box_vectors is not None:
            box_vectors = self.box_vectors.astype(np.float64)
            step -= np.round(step @ np.linalg.inv(box_vectors)) @ box_vectors
        return np.linalg.norm(step, axis=-1)

    def typical(self, first: np.ndarray | Sequence[int], second: np.ndarray | Sequence[int]) -> np.ndarray:
        """(pairs,) medians over the frames."""
        return np.median(self.distances(first, second), axis=0)

    def near_pairs(self, atoms: np.ndarray, cutoff_nm: float) -> tuple[np.ndarray, np.ndarray]:
        """(first, second), places in `atoms`, of all pairs that are within the cutoff at their nearest images in at
        least one frame, and of some more; first < second. Memory goes with the pairs found.
        """
        if len(atoms) <= _FEW_ATOMS:
            return np.triu_indices(len(atoms), 1)
        found = [_near_in_frame(*frame, cutoff_nm + _ROUNDING_NM) for frame in self._each(atoms)]
        pairs = np.unique(np.concatenate(found), axis=0)
        return pairs[:, 0], pairs[:, 1]

    def _each(self, atoms: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Positions (atoms, 3) and box vectors (3, 3), or None, of each frame."""
        for number, xyz in enumerate(self.xyz):
            yield xyz[atoms].astype(np.float64), None if self.box_vectors is None else self.box_vectors[number]


def _near_in_frame(places: np.ndarray, box_vectors: np.ndarray | None, cutoff_nm: float) -> np.ndarray:
    """(pairs, 2) of points (n, 3) within the cutoff, i < j, of all their images where there is a box."""
    if box_vectors is None:
        return cKDTree(places).query_pairs(cutoff_nm, output_type="ndarray").reshape(-1, 2)
    box_vectors = box_vectors.astype(np.float64)
    parts = places @ np.linalg.inv(box_vectors)
    folded = (parts - np.floor(parts)) @ box_vectors
    tree = cKDTree(folded)
    found = [tree.query_pairs(cutoff_nm, output_type="ndarray").reshape(-1, 2)]
    for step in _HALF_OF_THE_IMAGES:  # the others are these, seen from the second point
        images = cKDTree(folded + np.array(step) @ box_vectors)
        near = tree.sparse_distance_matrix(images, cutoff_nm, output_type="ndarray")
        found.append(np.stack([near["i"], near["j"]], axis=1))
    pairs = np.sort(np.concatenate(found), axis=1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def tell(frames: SampleFrames, sources: Collection[tuple[int, int]]) -> bool:
    """Whether bonds have the lengths of bonds between atoms in these frames."""
    if not sources:
        return True
    first, second = np.array(sorted(sources)).T
    with np.errstate(invalid="ignore"):
        typical = float(np.median(frames.distances(first, second)))
    return bool(np.isfinite(frames.xyz).all()) and _TYPICAL_BOND_NM[0] <= typical <= _TYPICAL_BOND_NM[1]


def add_within_residues(
    topology: "mdtraj.Topology", solute: Sequence["Atom"], sources: dict[tuple[int, int], str], frames: SampleFrames
) -> None:
    """Bonds within residues that are in pieces, and of hydrogens that are listed apart from what they are bonded to."""
    bonded = {i for pair in sources for i in pair}
    of_residue: dict[int, list[Atom]] = {}
    for atom in solute:
        if symbol_of(atom) != "VS":
            of_residue.setdefault(atom.residue.index, []).append(atom)
    within = [pair for pair in sources if topology.atom(pair[0]).residue is topology.atom(pair[1]).residue]
    inside: dict[int, list[tuple[int, int]]] = {}
    for pair in within:
        inside.setdefault(topology.atom(pair[0]).residue.index, []).append(pair)
    for number, atoms in of_residue.items():
        if len(atoms) > 1:
            _join_pieces(atoms, inside.get(number, []), sources, frames, bonded)
    alone = [atom for atom in solute if atom.index not in bonded and symbol_of(atom) == "H"]
    if alone:
        heavy = [atom for atom in solute if symbol_of(atom) not in ("H", "VS")]
        for atom in alone:
            if not heavy:
                break
            distance = frames.typical([atom.index] * len(heavy), [other.index for other in heavy])
            nearest = int(np.argmin(distance))
            if _SHORTEST_NM < distance[nearest] <= radii_nm([atom, heavy[nearest]]).sum() + TOLERANCE_NM:
                sources[pair_of(atom.index, heavy[nearest].index)] = DISTANCE


def _join_pieces(
    atoms: Sequence["Atom"],
    pairs: Sequence[tuple[int, int]],
    sources: dict[tuple[int, int], str],
    frames: SampleFrames,
    bonded: set[int],
) -> None:
    """Add the bonds between pieces of a residue that are not bonded to each other."""
    where = {atom.index: place for place, atom in enumerate(atoms)}
    pieces = connected_components(len(atoms), [(where[i], where[j]) for i, j in pairs if i in where and j in where])
    if len(pieces) == 1:
        return
    piece_of = np.empty(len(atoms), dtype=int)
    for number, members in enumerate(pieces):
        piece_of[members] = number
    indices, radii = np.array([atom.index for atom in atoms]), radii_nm(atoms)
    first, second = frames.near_pairs(indices, 2.0 * radii.max() + TOLERANCE_NM)
    apart = piece_of[first] != piece_of[second]
    hydrogen = np.array([symbol_of(atom) == "H" for atom in atoms])
    apart &= ~(hydrogen[first] & hydrogen[second])
    first, second = first[apart], second[apart]
    if not len(first):
        return
    distances = frames.distances(indices[first], indices[second])
    some = np.flatnonzero(distances.min(axis=0) <= radii[first] + radii[second] + TOLERANCE_NM)
    first, second, distance = first[some], second[some], np.median(distances[:, some], axis=0)
    near = (distance > _SHORTEST_NM) & (distance <= radii[first] + radii[second] + TOLERANCE_NM)
    full = {place for place, atom in enumerate(atoms) if atom.index in bonded}  # of hydrogens: they have their bond
    for place in np.argsort(distance):
        if not near[place]:
            continue
        ends = int(first[place]), int(second[place])
        protons = [end for end in ends if hydrogen[end]]
        if full.intersection(protons):
            continue
        full.update(protons)
        pair = pair_of(*(atoms[end].index for end in ends))
        sources[pair] = DISTANCE
        bonded.update(pair)


def add_links(
    topology: "mdtraj.Topology", solute: Sequence["Atom"], sources: dict[tuple[int, int], str], frames: SampleFrames
) -> None:
    """Bonds between residues that no name implies: disulfides, closed rings, cross-links."""
    atoms = [atom for atom in solute if symbol_of(atom) in _LINK_ELEMENTS]
    if len(atoms) < 2:
        return
    indices, radii = np.array([atom.index for atom in atoms]), radii_nm(atoms)
    residue = np.array([atom.residue.index for atom in atoms])
    whole = _whole_frame(topology, indices, sources, frames)
    pairs = cKDTree(whole).query_pairs(2.0 * radii.max() + 2.0 * TOLERANCE_NM, output_type="ndarray")
    sulfurs = np.array([place for place, atom in enumerate(atoms) if symbol_of(atom) in ("S", "Se")], dtype=int)
    if len(sulfurs) > 1:  # of two chains that may lie in different images
        first, second = np.triu_indices(len(sulfurs), 1)
        pairs = np.concatenate([pairs.reshape(-1, 2), np.stack([sulfurs[first], sulfurs[second]], 1)])
    pairs = pairs[residue[pairs[:, 0]] != residue[pairs[:, 1]]]
    if not len(pairs):
        return
    distance = frames.distances(indices[pairs[:, 0]], indices[pairs[:, 1]])
    limit = radii[pairs].sum(1) + TOLERANCE_NM
    near = (np.median(distance, axis=0) <= limit) & (distance.min(axis=0) > 2.0 * _SHORTEST_NM)
    neighbours = neighbours_of(sources)
    for a, b in pairs[near]:
        i, j = int(indices[a]), int(indices[b])
        around = set(neighbours.get(i, ()))
        free = all(len(neighbours.get(atoms[end].index, ())) < _valence(atoms[end]) for end in (a, b))
        if free and j not in around and around.isdisjoint(neighbours.get(j, ())):
            sources.setdefault(pair_of(i, j), DISTANCE)


def _valence(atom: "Atom") -> int:
    """How many bonded neighbours an atom has at most."""
    if atom.name == "C" and backbone(atom.residue):
        return 3
    return {"C": 4, "N": 4, "P": 5}.get(symbol_of(atom), 2)


def _whole_frame(
    topology: "mdtraj.Topology", indices: np.ndarray, sources: Collection[tuple[int, int]], frames: SampleFrames
) -> np.ndarray:
    """Positions (atoms, 3) of the chosen atoms in the first frame, molecules made whole along the known bonds."""
    xyz = frames.xyz[0].astype(np.float64)
    if frames.box_vectors is None:
        return xyz[indices]
    return walk_whole(xyz[None].copy(), frames.box_vectors[:1], sources)[0][indices]
