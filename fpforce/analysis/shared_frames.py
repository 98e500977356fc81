"""Frames that trajectories have in common, wherever they lie in space: copies, centred copies, runs cut out of another.

In: `FrameSource`s of one molecule. Out: what part of each is in another. A frame is known by distances between a few
beads, which neither moving nor turning a molecule changes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fpforce.analysis.frame_source import ChosenFrames, FrameSource, trajectory_pieces

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FEWEST_BEADS = 4  # of fewer, frames are alike by chance
_BEADS, _FRAMES = 6, 200  # of a fingerprint, and sampled of each trajectory
_EQUAL_NM = 1e-5  # rms over distances, as of the same numbers in two formats
_ALIKE_NM = 1e-3  # as of positions that were rounded to those of an .xtc again
_APART = 4.0  # times as far is the next frame at least, where one is alike by more than chance
_FEWEST_SHARED, _SMALLEST_PART = 3, 0.05  # of sampled frames; fewer may be chance
_NEIGHBOURS = 4  # among them the frame itself, and one of a trajectory in each of three copies


def shared_parts(sources: Sequence[FrameSource]) -> dict[tuple[int, int], float]:
    """{(a, b): part of the frames of source a that source b holds, too}, of pairs with any; by 200 frames of each a.

    Empty for molecules of fewer than FEWEST_BEADS beads, whose frames are alike by chance. Reads every source twice.
    """
    from scipy.spatial import cKDTree

    if len(sources) < 2 or sources[0].shape[2] < FEWEST_BEADS:
        return {}
    samples = [_sampled(source) for source in sources]
    tree, of = cKDTree(np.concatenate(samples)), np.repeat(np.arange(len(samples)), [len(one) for one in samples])
    found = {}
    for b, source in enumerate(sources):
        held = _held(tree, source)
        for a, sample in enumerate(samples):
            count = int(held[of == a].sum())
            if a != b and count >= max(_FEWEST_SHARED, _SMALLEST_PART * len(sample)):
                found[a, b] = count / len(sample)
    return found


def _held(tree: "cKDTree", source: FrameSource) -> np.ndarray:
    """Which fingerprints of the tree (points,) are those of a frame of the source."""
    nearest = np.full((tree.n, 2), np.inf)
    for positions in trajectory_pieces(source):
        distances, points = tree.query(
            _fingerprints(positions), k=min(_NEIGHBOURS, tree.n), distance_upper_bound=_APART * _ALIKE_NM
        )
        near = np.isfinite(distances)
        _keep_nearest(nearest, points[near], distances[near])
    first, second = nearest.T
    return (first <= _EQUAL_NM) | ((first <= _ALIKE_NM) & (second > _APART * first))


def _keep_nearest(nearest: np.ndarray, points: np.ndarray, distances: np.ndarray) -> None:
    """Put distances (some,) from points (some,) of the tree into the two least of each, (all points, 2), in place."""
    order = np.lexsort((distances, points))
    points, distances = points[order], distances[order]
    first = np.flatnonzero(np.diff(points, prepend=-1))
    rank = np.arange(len(points)) - np.repeat(first, np.diff(first, append=len(points)))
    two = np.full((len(nearest), 4), np.inf)
    two[:, :2] = nearest
    for place in (0, 1):
        two[points[rank == place], 2 + place] = distances[rank == place]
    nearest[:] = np.sort(two, axis=1)[:, :2]


def _sampled(source: FrameSource) -> np.ndarray:
    """Fingerprints of frames at equal intervals."""
    frames = source.shape[0]
    chosen = ChosenFrames(source, np.unique(np.linspace(0, frames - 1, min(frames, _FRAMES)).astype(int)))
    return np.concatenate([_fingerprints(positions) for positions in trajectory_pieces(chosen)])


def _fingerprints(positions_nm: np.ndarray) -> np.ndarray:
    """Distances between a few beads, of finite frames (frames, beads, 3); scaled so that the Euclidean distance of two
    fingerprints is the rms difference in nm.
    """
    positions_nm = positions_nm[np.isfinite(positions_nm).all(axis=(1, 2))]
    some = np.unique(np.linspace(0, positions_nm.shape[1] - 1, _BEADS).astype(int))
    first, second = np.triu_indices(len(some), k=1)
    apart = positions_nm[:, some[first]] - positions_nm[:, some[second]]
    return np.linalg.norm(apart, axis=2) / np.sqrt(len(first))
