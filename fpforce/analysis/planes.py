"""The two-dimensional planes on which distributions are compared, and the two basins of each.

`choose_planes` gives phi/psi of every residue whose beads define both; without any, psi and phi on the two sides of every
peptide bond; without these, the first two TICA components of the reference; of a single bead, its position. A plane turns positions (..., beads, 3) in nm into coordinates (..., 2).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from fpforce.analysis.divergences import BINS_PER_AXIS
from fpforce.analysis.observables import bond_lengths, dihedral_paths, dihedrals
from fpforce.errors import InputError
from fpforce.space import PLANE, space_of


@dataclass(frozen=True)
class PhiPsiPlane:
    """Backbone dihedrals of one residue, or around one peptide bond, in radians; the basins are phi < 0 and phi > 0."""

    residue: str
    phi: tuple[int, int, int, int]
    psi: tuple[int, int, int, int]
    axis_names = ("phi", "psi")
    axis_labels = (r"$\phi$ / rad", r"$\psi$ / rad")
    basin_names = ("phi < 0", "phi > 0")
    split_axis, split = 0, 0.0
    periodic = True
    edges = (np.linspace(-math.pi, math.pi, BINS_PER_AXIS + 1),) * 2

    @property
    def name(self):
        return self.residue

    def coordinates(self, positions_nm):
        """(phi, psi) in radians, shape (..., 2)."""
        return dihedrals(positions_nm, [self.phi, self.psi])

    def signals(self, coordinates):
        """Smooth functions of the coordinates for autocorrelation times: name -> (...,)."""
        return {
            f"{function.__name__} {name}": function(coordinates[..., axis])
            for axis, name in enumerate(self.axis_names)
            for function in (np.cos, np.sin)
        }


@dataclass(frozen=True)
class TicaPlane:
    """The two slowest linear modes of the reference; the basins lie on the two sides of the first mode's main barrier.

    Features: distances of all bead pairs that are not bonded (of three beads, of all), and cosine and sine of one
    dihedral per central bond.
    """

    lag_frames: int
    pairs: np.ndarray
    torsions: list
    mean: np.ndarray
    components: np.ndarray
    edges: tuple
    split: float
    split_axis = 0
    name: str = "TICA"
    axis_names: tuple = ("tica 1", "tica 2")
    axis_labels: tuple = ("TICA component 1", "TICA component 2")
    basin_names: tuple = ("first component low", "first component high")
    periodic: bool = field(default=False)

    @classmethod
    def fit(cls, beads, trajectories, lag_frames=10):
        """Fit to reference trajectories [(frames, beads, 3) nm]; raises InputError when they are shorter than the lag.

        Source: Perez-Hernandez et al., J. Chem. Phys. 139, 015102 (2013), as in deeptime.decomposition.TICA.
        """
        from deeptime.decomposition import TICA

        if max(len(frames) for frames in trajectories) <= 2 * lag_frames:
            raise InputError(
                f"the reference is too short for TICA: the longest trajectory has {max(map(len, trajectories))} frames "
                f"for a lag of {lag_frames}; give a longer reference"
            )
        bonded = {tuple(sorted(bond)) for bond in beads.bonds} if len(beads) > 3 else set()
        upper = zip(*np.triu_indices(len(beads), k=1), strict=True)
        pairs = np.array([pair for pair in upper if tuple(map(int, pair)) not in bonded]).reshape(-1, 2)
        torsions = dihedral_paths(beads.bonds, len(beads))
        features = [_features(frames, pairs, torsions) for frames in trajectories]
        # TICA does not depend on the scale of its features, but drops directions of little variance.
        spread = np.concatenate(features).std(axis=0)
        spread[spread == 0.0] = 1.0
        estimator = TICA(lagtime=lag_frames, dim=2)
        for values in features:
            if len(values) > lag_frames:
                estimator.partial_fit((values[:-lag_frames] / spread, values[lag_frames:] / spread))
        model = estimator.fetch_model()
        loading, mean = model.singular_vectors_left[:, :2] / spread[:, None], model.mean_0 * spread
        if loading.shape[1] < 2:
            raise InputError("the reference has fewer than two independent coordinates; TICA needs two")
        projected = np.concatenate([(values - mean) @ loading for values in features])
        edges = tuple(_edges(projected[:, axis]) for axis in range(2))
        return cls(lag_frames, pairs, torsions, mean, loading, edges, main_barrier(projected[:, 0], edges[0])[0])

    def coordinates(self, positions_nm):
        """The two components, dimensionless, scaled by their autocorrelations (kinetic map), shape (..., 2)."""
        return (_features(positions_nm, self.pairs, self.torsions) - self.mean) @ self.components

    def signals(self, coordinates):
        """The components themselves, for autocorrelation times: name -> (...,)."""
        return {name: coordinates[..., axis] for axis, name in enumerate(self.axis_names)}


@dataclass(frozen=True)
class PositionPlane:
    """x and y of a particle in an external potential, in nm.

    The basins lie on the two sides of the main barrier along the coordinate that has the higher one.
    """

    edges: tuple
    split_axis: int
    split: float
    name: str = "x, y"
    axis_names: tuple = ("x", "y")
    axis_labels: tuple = ("x / nm", "y / nm")
    periodic: bool = field(default=False)

    @classmethod
    def fit(cls, trajectories):
        """Bins over the range of reference trajectories [(frames, 1, 3) nm], without the outermost thousandth at either end.

        Few frames far out would else make a basin of their own, behind a barrier of empty bins.
        """
        positions = np.concatenate(trajectories)[:, 0, :2].astype(np.float64)
        inner = np.quantile(positions, [0.001, 0.999], axis=0)
        edges = tuple(_edges(inner[:, axis]) for axis in range(2))
        barriers = [main_barrier(positions[:, axis], edges[axis]) for axis in range(2)]
        axis = int(np.argmax([height for _, height in barriers]))
        return cls(edges, axis, barriers[axis][0])

    @property
    def basin_names(self):
        return tuple(f"{self.axis_names[self.split_axis]} {side} {self.split:.2f} nm" for side in "<>")

    def coordinates(self, positions_nm):
        """(x, y) in nm, shape (..., 2)."""
        return np.asarray(positions_nm)[..., 0, :2].astype(np.float64)

    def signals(self, coordinates):
        """The coordinates themselves, for autocorrelation times: name -> (...,)."""
        return {name: coordinates[..., axis] for axis, name in enumerate(self.axis_names)}


def upper_basin(plane, coordinates):
    """Whether each point lies in the plane's second basin (phi > 0, or the high side of the first component)."""
    return coordinates[..., plane.split_axis] > plane.split


def choose_planes(beads, reference, tica_lag_frames=10):
    """Planes for a bead table, given reference trajectories [(frames, beads, 3) nm].

    phi/psi per residue, else per peptide bond, else TICA; of a particle in an external potential its own x and y.
    """
    if space_of(len(beads)) is PLANE:
        return (PositionPlane.fit(reference),)
    residues = beads.phi_psi or beads.phi_psi_across_peptide_bonds
    if residues:
        return tuple(PhiPsiPlane(r["residue"], tuple(r["phi"]), tuple(r["psi"])) for r in residues)
    if len(beads) < 3:
        raise InputError(
            f"the evaluation compares two internal coordinates, and {len(beads)} beads have fewer; it needs a model of "
            "at least 3"
        )
    return (TicaPlane.fit(beads, reference, tica_lag_frames),)


def main_barrier(values, edges, smoothing_bins=3):
    """(position, height in kT) of the main barrier of the free energy along one coordinate.

    The bin whose free energy rises most above the minimum of the shallower of its two sides: a barrier counts by the
    height seen from the basin that is easier to leave, so the noisy minima of a histogram do not. Of a flat top, such as
    unvisited bins, the middle.
    """
    counts = np.histogram(values, bins=edges)[0] + 1e-3
    smooth = np.convolve(counts, np.ones(smoothing_bins) / smoothing_bins, mode="same")
    free_energy = -np.log(smooth)
    left = np.minimum.accumulate(free_energy)
    right = np.minimum.accumulate(free_energy[::-1])[::-1]
    height = free_energy - np.maximum(left, right)
    best = int(np.median(np.flatnonzero(height > height.max() - 1e-9)))
    return float(0.5 * (edges[best] + edges[best + 1])), float(height.max())


def _edges(values, margin=0.05):
    low, high = values.min(), values.max()
    return np.linspace(low - margin * (high - low), high + margin * (high - low), BINS_PER_AXIS + 1)


def _features(positions_nm, pairs, torsions):
    torsion_angles = dihedrals(positions_nm, torsions)
    return np.concatenate([bond_lengths(positions_nm, pairs), np.cos(torsion_angles), np.sin(torsion_angles)], axis=-1)
