"""Where simulations start: the most distant states of the data.

In: bead frames in nm, and the planes by which they will be judged. Out: numbers of frames, each in the dense part of a
state. A simulation that starts in one basin and never leaves it agrees with itself, so that starts in different
basins of every plane are asked for; of those that differ the most distant ones. Where the data have one basin alone,
its two most distant parts.
"""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.distance import cdist

from fpforce.analysis.distributions import pairs_of
from fpforce.analysis.observables import bond_lengths, dihedral_paths, dihedrals
from fpforce.analysis.planes import Plane, upper_basin
from fpforce.molecule.beads import BeadTable

Sides = tuple[bool, ...]  # of every plane: whether in its upper basin

SMALLEST_STATE = 0.005  # of the frames: of less it is not known whether it is one
FEWEST_FRAMES = 5
MOST_FRAMES = 4000  # looked at, evenly chosen
_MOST_NEIGHBOURS = 400
_PARTS, _SMALLEST_PART = 8, 0.02  # of the only basin


def find_states(beads: BeadTable, positions_nm: np.ndarray, planes: Sequence[Plane], most: int = 4) -> list[int]:
    """Two or more frames of positions (frames, beads, 3), at most `most`, the two most distant ones first."""
    chosen = np.unique(np.linspace(0, len(positions_nm) - 1, min(len(positions_nm), MOST_FRAMES)).round().astype(int))
    frames = positions_nm[chosen]
    features = _features(beads, frames)
    sides = np.stack([upper_basin(plane, plane.coordinates(frames)) for plane in planes], axis=1)
    states = _basins(sides)
    if len(states) < 2:
        parts = _parts(features)
        return [int(chosen[k]) for k in _most_distant(features, [_typical(features, m) for m in parts.values()])]
    middles = {pattern: _typical(features, members) for pattern, members in states.items()}
    return [int(chosen[k]) for k in _covering(features, sides, middles, states, most)]


def dense_half(features: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Of some members (rows of the features) the half whose near neighbours among them are nearer, nearest first."""
    some = members[np.unique(np.linspace(0, len(members) - 1, min(len(members), _MOST_NEIGHBOURS)).astype(int))]
    near = min(max(1, len(some) // 20), len(some) - 1)
    reach = np.sort(cdist(features[some], features[some]), axis=1)[:, near]
    return some[np.argsort(reach)[: (len(some) + 1) // 2]]


def _typical(features: np.ndarray, members: np.ndarray) -> int:
    """Of the denser half of a state the frame that is farthest from all that is not in the state."""
    half = dense_half(features, members)
    others = np.ones(len(features), dtype=bool)
    others[members] = False
    if not others.any():
        return int(half[0])
    return int(half[np.argmax(np.linalg.norm(features[half] - features[others].mean(axis=0), axis=1))])


def _features(beads: BeadTable, frames: np.ndarray) -> np.ndarray:
    """Distances and torsions (frames, features), each with variance one; of a single bead its place."""
    if len(beads) == 1:
        values = frames[:, 0].astype(np.float64)
    else:
        torsions = dihedrals(frames, dihedral_paths(beads.bonds, len(beads)))
        values = np.concatenate(
            [bond_lengths(frames, pairs_of(len(beads))), np.cos(torsions), np.sin(torsions)], axis=-1
        )
    spread = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)


def _basins(sides: np.ndarray) -> dict[Sides, np.ndarray]:
    """Sides of every plane -> frames there, of those that hold enough of them, the most populated first."""
    patterns, number = np.unique(sides, axis=0, return_inverse=True)
    members = [np.flatnonzero(number.ravel() == k) for k in range(len(patterns))]
    fewest = max(FEWEST_FRAMES, SMALLEST_STATE * len(sides))
    order = sorted(range(len(patterns)), key=lambda k: -len(members[k]))
    return {tuple(map(bool, patterns[k])): members[k] for k in order if len(members[k]) >= fewest}


def _covering(
    features: np.ndarray,
    sides: np.ndarray,
    middles: dict[Sides, int],
    states: dict[Sides, np.ndarray],
    most: int,
) -> list[int]:
    """Middles of states: the pair that differs in most planes, then by distance; then what other planes lack."""

    def apart(pair: tuple[Sides, Sides]) -> tuple[int, float]:
        differing = sum(a != b for a, b in zip(*pair, strict=True))
        return differing, float(np.linalg.norm(features[middles[pair[0]]] - features[middles[pair[1]]]))

    patterns = list(states)
    first, second = max(((a, b) for k, a in enumerate(patterns) for b in patterns[k + 1 :]), key=apart)
    found = [first, second]
    for plane in range(sides.shape[1]):
        for side in (False, True):
            missing = [pattern for pattern in patterns if pattern[plane] is side]
            if missing and len(found) < most and not any(pattern[plane] is side for pattern in found):
                found.append(missing[0])
    return [middles[pattern] for pattern in found]


def _parts(features: np.ndarray) -> dict[int, np.ndarray]:
    """Cells around frames that are as far apart as can be, of those that hold enough frames."""
    centres = [int(dense_half(features, np.arange(len(features)))[0])]
    nearest = np.linalg.norm(features - features[centres[0]], axis=1)
    owner = np.zeros(len(features), dtype=int)
    for number in range(1, min(_PARTS, len(features))):
        centres.append(int(np.argmax(nearest)))
        distance = np.linalg.norm(features - features[centres[-1]], axis=1)
        owner[distance < nearest] = number
        nearest = np.minimum(nearest, distance)
    cells = {number: np.flatnonzero(owner == number) for number in range(len(centres))}
    large = {k: cell for k, cell in cells.items() if len(cell) >= max(FEWEST_FRAMES, _SMALLEST_PART * len(features))}
    if len(large) >= 2:
        return large
    far = np.argsort(np.linalg.norm(features - features[centres[0]], axis=1))
    return {0: far[: len(far) // 2], 1: far[len(far) // 2 :]}


def _most_distant(features: np.ndarray, middles: list[int]) -> list[int]:
    distances = cdist(features[middles], features[middles])
    first, second = np.unravel_index(int(np.argmax(distances)), distances.shape)
    return [middles[first], middles[second]]
