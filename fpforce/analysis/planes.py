"""The two-dimensional planes on which distributions are compared, and the two basins of each.

`choose_planes` gives phi/psi of every residue whose beads define both; without any, psi and phi on the two sides of
every peptide bond; without these, the first two TICA components of the reference; of a single bead, its position. A
plane turns positions (..., beads, 3) in nm into coordinates (..., 2); where its basins are those of another quantity,
that follows as a third coordinate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fpforce.analysis.divergences import BINS_PER_AXIS
from fpforce.analysis.folding import FoldedStructure
from fpforce.analysis.frame_source import Frames, FrameSource, trajectory
from fpforce.analysis.histograms import main_barrier, plane_edges, rebinned
from fpforce.analysis.observables import dihedrals
from fpforce.analysis.sampled_frames import sample_of
from fpforce.analysis.tica import TicaPlane
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.space import PLANE, space_of

PLANES = ("auto", "phi-psi", "tica")
_FULL_TURN = (np.linspace(-math.pi, math.pi, BINS_PER_AXIS + 1),) * 2


@dataclass(frozen=True)
class PhiPsiPlane:
    """Backbone dihedrals of one residue, or around one peptide bond, in radians; the basins are phi < 0 and phi > 0.

    peptide_bond: the residues before and after the bond, such as ("TRP2", "HIS3"): psi is of the first and phi of the
    second. None for the dihedrals of one residue.
    """

    residue: str
    phi: tuple[int, int, int, int]
    psi: tuple[int, int, int, int]
    peptide_bond: tuple[str, str] | None = None
    edges: tuple = field(default=_FULL_TURN, compare=False, repr=False)
    axis_names = ("phi", "psi")
    basin_names = ("phi < 0", "phi > 0")
    split_axis, split = 0, 0.0
    periodic = True

    @property
    def name(self) -> str:
        return self.residue

    @property
    def axis_labels(self) -> tuple[str, str]:
        psi_of, phi_of = ("", "") if self.peptide_bond is None else (f" of {residue}" for residue in self.peptide_bond)
        return rf"$\phi${phi_of} / rad", rf"$\psi${psi_of} / rad"

    def coordinates(self, positions_nm: np.ndarray) -> np.ndarray:
        """(phi, psi) in radians, shape (..., 2)."""
        return dihedrals(positions_nm, [self.phi, self.psi])

    def signals(self, coordinates: np.ndarray) -> dict[str, np.ndarray]:
        """Smooth functions of the coordinates for autocorrelation times: name -> (...,)."""
        return {
            f"{function.__name__} {name}": function(coordinates[..., axis])
            for axis, name in enumerate(self.axis_names)
            for function in (np.cos, np.sin)
        }


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
    def fit(cls, frames_nm: np.ndarray) -> "PositionPlane":
        """Bins over the range of frames (frames, 1, 3) nm of the reference, without the outermost thousandth at either
        end.

        Few frames far out would else make a basin of their own, behind a barrier of empty bins.
        """
        positions = frames_nm[:, 0, :2].astype(np.float64)
        inner = np.quantile(positions, [0.001, 0.999], axis=0)
        edges = tuple(plane_edges(inner[:, axis]) for axis in range(2))
        barriers = [main_barrier(positions[:, axis], edges[axis]) for axis in range(2)]
        axis = int(np.argmax([height for _, height in barriers]))
        return cls(edges, axis, barriers[axis][0])

    @property
    def basin_names(self) -> tuple[str, ...]:
        return tuple(f"{self.axis_names[self.split_axis]} {side} {self.split:.2f} nm" for side in "<>")

    def coordinates(self, positions_nm: np.ndarray) -> np.ndarray:
        """(x, y) in nm, shape (..., 2)."""
        return np.asarray(positions_nm)[..., 0, :2].astype(np.float64)

    def signals(self, coordinates: np.ndarray) -> dict[str, np.ndarray]:
        """The coordinates themselves, for autocorrelation times: name -> (...,)."""
        return {name: coordinates[..., axis] for axis, name in enumerate(self.axis_names)}


# Any of them.
Plane = PhiPsiPlane | PositionPlane | TicaPlane


def with_bins(plane: Plane, bins_per_axis: int) -> Plane:
    """The plane with so many bins an axis over the same range, and the same basins."""
    return replace(plane, edges=tuple(rebinned(edge, bins_per_axis) for edge in plane.edges))


def upper_basin(plane: Plane, coordinates: np.ndarray) -> np.ndarray:
    """Whether each point lies in the plane's second basin (phi > 0, the high side of the first component, or
    folded).
    """
    return coordinates[..., plane.split_axis] > plane.split


def choose_planes(
    beads: BeadTable,
    reference: Sequence[Frames],
    tica_lag_frames: int = 10,
    *,
    wanted: str = "auto",
    folded: FoldedStructure | None = None,
) -> tuple[Plane, ...]:
    """Planes for a bead table, given reference trajectories [(frames, beads, 3) nm], arrays or sources.

    wanted: "auto" gives phi/psi per residue, else per peptide bond, else TICA, and with `folded` TICA; "phi-psi" and
    "tica" ask for
        one of them.
    folded: FoldedStructure, which makes folded and unfolded the basins of the TICA plane.

    A particle in an external potential has its own x and y. Raises InputError for a plane that the beads do not have.
    """
    if wanted not in PLANES:
        raise InputError(f"plane {wanted!r} is unknown; give one of {', '.join(PLANES)}")
    if space_of(len(beads)) is PLANE:
        if wanted != "auto" or folded is not None:
            raise InputError(
                "a particle in an external potential is compared in x and y; leave out --plane and --folded"
            )
        return (PositionPlane.fit(sample_of(_sources(reference, beads)).positions_nm),)
    residues = beads.phi_psi or beads.phi_psi_across_peptide_bonds
    if wanted == "phi-psi" and folded is not None:
        raise InputError("--folded makes folding the basins of the TICA plane; leave out --plane phi-psi, or --folded")
    if wanted == "phi-psi" and not residues:
        raise InputError(
            "--plane phi-psi needs the backbone beads of two residues that follow each other, and this model has none; "
            "give tica"
        )
    if residues and wanted != "tica" and folded is None:
        return tuple(
            PhiPsiPlane(r["residue"], tuple(r["phi"]), tuple(r["psi"]), r.get("peptide_bond")) for r in residues
        )
    if len(beads) < 3:
        raise InputError(
            f"the evaluation compares two internal coordinates, and {len(beads)} beads have fewer; it needs a model of "
            "at least 3"
        )
    return (TicaPlane.fit(beads, _sources(reference, beads), tica_lag_frames, folded=folded),)


def _sources(reference: Sequence[Frames], beads: BeadTable) -> list[FrameSource]:
    return [trajectory(frames, "reference", len(beads)) for frames in reference]
