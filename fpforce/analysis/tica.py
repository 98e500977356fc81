"""The plane of the two slowest linear modes of the reference, for molecules without a phi/psi plane and for folding.

In: bead table, reference trajectories in pieces and optionally the folded structure. Out: a `TicaPlane`, which turns
positions into coordinates like the other planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.folding import FOLDED_ABOVE, FoldedStructure, protein_chain
from fpforce.analysis.frame_source import FrameSource, lengths_of, trajectory_pieces
from fpforce.analysis.histograms import main_barrier, plane_edges
from fpforce.analysis.observables import bond_lengths, dihedral_paths, dihedrals
from fpforce.analysis.sampled_frames import sample_of
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

MOST_PAIRS = 1000
_CHUNK = 5_000  # frames whose features are held at once


@dataclass(frozen=True)
class TicaPlane:
    """The two slowest linear modes of the reference; the basins lie on the two sides of the first mode's main barrier.

    Features: of a protein chain the distances between its CA beads that are not neighbours (of a long chain between
    every k-th, so that there are at most MOST_PAIRS) and cosine and sine of its CA dihedrals; of another molecule the
    distances of all bead pairs that are not bonded (of three beads, of all), and cosine and sine of one dihedral per
    central bond. With `folded` the basins are unfolded and folded, by the fraction of native contacts.
    """

    lag_frames: int
    pairs: np.ndarray
    torsions: Sequence[tuple[int, ...]]
    mean: np.ndarray
    components: np.ndarray
    edges: tuple
    split: float
    folded: FoldedStructure | None = None
    name: str = "TICA"
    axis_names: tuple = ("tica 1", "tica 2")
    axis_labels: tuple = ("TICA component 1", "TICA component 2")
    periodic: bool = False

    @property
    def split_axis(self) -> int:
        """Coordinate that parts the basins: the first component, or the third, which is the fraction of contacts."""
        return 0 if self.folded is None else 2

    @property
    def basin_names(self) -> tuple[str, str]:
        return ("first component low", "first component high") if self.folded is None else ("unfolded", "folded")

    @classmethod
    def fit(
        cls,
        beads: BeadTable,
        trajectories: Sequence[FrameSource],
        lag_frames: int = 10,
        *,
        folded: FoldedStructure | None = None,
    ) -> "TicaPlane":
        """Fit to reference trajectories; raises InputError when they are shorter than the lag.

        The modes are those of all frames; what scales the features, bins and barrier are of frames sampled at random
        where there are very many.
        Source: Perez-Hernandez et al., J. Chem. Phys. 139, 015102 (2013), as in deeptime.decomposition.TICA.
        """
        from deeptime.decomposition import TICA

        if lag_frames < 1:
            raise InputError(f"TICA lag = {lag_frames} frames is out of range; give at least 1")
        longest = max(lengths_of(trajectories))
        if longest <= 2 * lag_frames:
            raise InputError(
                f"the reference is too short for TICA: the longest trajectory has {longest} frames "
                f"for a lag of {lag_frames}; give a longer reference, or a shorter --tica-lag"
            )
        pairs, torsions = _internal_coordinates(beads)
        some = sample_of(trajectories).positions_nm
        # TICA does not depend on the scale of its features, but drops directions of little variance.
        spread = _spread(some, pairs, torsions)
        estimator = TICA(lagtime=lag_frames, dim=2)
        for source in trajectories:
            before = np.empty((0, len(spread)))
            for piece in trajectory_pieces(source):
                for first in range(0, len(piece), _CHUNK):
                    values = _features(piece[first : first + _CHUNK], pairs, torsions) / spread
                    values = np.concatenate([before, values])
                    if len(values) > lag_frames:
                        estimator.partial_fit((values[:-lag_frames], values[lag_frames:]))
                    before = values[-lag_frames:]
        model = estimator.fetch_model()
        loading, mean = model.singular_vectors_left[:, :2] / spread[:, None], model.mean_0 * spread
        if loading.shape[1] < 2:
            raise InputError("the reference has fewer than two independent coordinates; TICA needs two")
        projected = _project(some, pairs, torsions, mean, loading)
        edges = tuple(plane_edges(projected[:, axis]) for axis in range(2))
        split = main_barrier(projected[:, 0], edges[0])[0] if folded is None else FOLDED_ABOVE
        return cls(lag_frames, pairs, torsions, mean, loading, edges, split, folded)

    def coordinates(self, positions_nm: np.ndarray) -> np.ndarray:
        """The two components, dimensionless, scaled by their autocorrelations (kinetic map), shape (..., 2).

        With a folded structure (..., 3): the fraction of native contacts follows.
        """
        positions_nm = np.asarray(positions_nm)
        frames = positions_nm.reshape(-1, *positions_nm.shape[-2:])
        columns = [_project(frames, self.pairs, self.torsions, self.mean, self.components)]
        if self.folded is not None:
            columns.append(self.folded.contact_fraction(frames)[:, None])
        return np.concatenate(columns, axis=1).reshape(*positions_nm.shape[:-2], -1)

    def signals(self, coordinates: np.ndarray) -> dict[str, np.ndarray]:
        """The components themselves, for autocorrelation times: name -> (...,)."""
        return {name: coordinates[..., axis] for axis, name in enumerate(self.axis_names)}


def _internal_coordinates(beads: BeadTable) -> tuple[np.ndarray, Sequence[tuple[int, ...]]]:
    """Bead pairs (P, 2) and dihedrals [(i, j, k, l)] whose distances and angles are the features."""
    chain = protein_chain(beads)
    if chain is not None:
        stride = 1
        while len(pairs := _apart(chain[::stride], 2 if stride == 1 else 1)) > MOST_PAIRS:
            stride += 1
        return np.array(pairs), [tuple(chain[k : k + 4]) for k in range(len(chain) - 3)]
    bonded = {tuple(sorted(bond)) for bond in beads.bonds} if len(beads) > 3 else set()
    pairs = [pair for pair in _apart(range(len(beads)), 1) if pair not in bonded]
    return np.array(pairs).reshape(-1, 2), dihedral_paths(beads.bonds, len(beads))


def _apart(items: Sequence[int], fewest: int) -> list[tuple[int, int]]:
    return [(a, b) for k, a in enumerate(items) for b in items[k + fewest :]]


def _features(positions_nm: np.ndarray, pairs: np.ndarray, torsions: Sequence[tuple[int, ...]]) -> np.ndarray:
    torsion_angles = dihedrals(positions_nm, torsions)
    return np.concatenate([bond_lengths(positions_nm, pairs), np.cos(torsion_angles), np.sin(torsion_angles)], axis=-1)


def _spread(frames: np.ndarray, pairs: np.ndarray, torsions: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Standard deviation of every feature, 1 where it does not vary."""
    count, total, squares = 0, 0.0, 0.0
    shift = _features(frames[0], pairs, torsions)
    for first in range(0, len(frames), _CHUNK):
        values = _features(frames[first : first + _CHUNK], pairs, torsions) - shift
        count, total, squares = count + len(values), total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    spread = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
    spread[spread == 0.0] = 1.0
    return spread


def _project(
    frames: np.ndarray,
    pairs: np.ndarray,
    torsions: Sequence[tuple[int, ...]],
    mean: np.ndarray,
    loading: np.ndarray,
) -> np.ndarray:
    projected = np.empty((len(frames), loading.shape[1]))
    for first in range(0, len(frames), _CHUNK):
        part = slice(first, first + _CHUNK)
        projected[part] = (_features(frames[part], pairs, torsions) - mean) @ loading
    return projected
