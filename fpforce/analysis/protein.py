"""What a protein's assessment has besides its plane: contact maps, distance from the folded structure, kinetics.

In: frames of every set and the plane. Out: a `ProteinAssessment`, None for a molecule without a chain of CA beads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.contacts import MapDifference, contact_map, map_difference
from fpforce.analysis.folding import FoldedStructure, protein_chain
from fpforce.analysis.kinetics import Kinetics, TimeSeries, kinetics
from fpforce.analysis.planes import Plane
from fpforce.analysis.tica import TicaPlane
from fpforce.molecule.beads import BeadTable

MOST_FRAMES = 50_000  # of a set, evenly chosen, for RMSD and Q


@dataclass(frozen=True)
class FoldedDistances:
    """RMSD in nm and fraction of native contacts of frames of one set, (F,) each."""

    rmsd_nm: np.ndarray
    contact_fraction: np.ndarray


@dataclass(frozen=True)
class ProteinAssessment:
    """`residues` of the CA chain; the dicts are keyed by set: reference, simulation, training, iid.

    `map_differences` from the reference's map, with the `map_floor` between two halves of the reference; `folded` and
    `distances` are None without a folded structure, `kinetics` without a TICA plane.
    """

    residues: tuple[str, ...]
    contact_maps: dict[str, np.ndarray]
    map_differences: dict[str, MapDifference]
    map_floor: MapDifference
    folded: FoldedStructure | None
    distances: dict[str, FoldedDistances] | None
    kinetics: Kinetics | None


@dataclass(frozen=True)
class ReferenceSide:
    """Reference trajectories in nm [(frames, beads, 3)], their coordinates on the plane, and the time between
    frames.
    """

    trajectories: list
    coordinates: list
    time_step_ps: float | None


def assess_protein(
    beads: BeadTable,
    plane: Plane,
    reference: ReferenceSide,
    frames: dict[str, np.ndarray],
    simulated: Sequence[TimeSeries],
    folded: FoldedStructure | None,
    seed: int = 0,
) -> ProteinAssessment | None:
    """ProteinAssessment, or None for a molecule without a chain.

    Args:
        beads: the BeadTable. plane: the first plane of the assessment.
        reference: ReferenceSide. frames: name -> (F, beads, 3) nm of every set, "reference" and "simulation" among
        them.
        simulated: TimeSeries on the plane of every simulation that is dynamics.
        folded: FoldedStructure or None. seed: of the clusters.
    """
    chain = protein_chain(beads)
    if chain is None:
        return None
    maps = {name: contact_map(positions, chain) for name, positions in frames.items()}
    halves = [contact_map(half, chain) for half in _halves(reference.trajectories)]
    distances = None
    if folded is not None:
        distances = {name: _distances(folded, positions) for name, positions in frames.items()}
    dynamics = None
    if isinstance(plane, TicaPlane):
        whole = TimeSeries("reference", reference.coordinates, reference.time_step_ps)
        dynamics = kinetics(plane, [whole, *simulated], plane.lag_frames, seed)
    return ProteinAssessment(
        residues=tuple(f"{beads.beads[k].residue}{beads.beads[k].residue_number}" for k in chain),
        contact_maps=maps,
        map_differences={
            name: map_difference(one, maps["reference"]) for name, one in maps.items() if name != "reference"
        },
        map_floor=map_difference(*halves),
        folded=folded,
        distances=distances,
        kinetics=dynamics,
    )


def _halves(trajectories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of the reference: of whole trajectories where there are several, else of the only one."""
    if len(trajectories) > 1:
        return np.concatenate(trajectories[::2]), np.concatenate(trajectories[1::2])
    middle = len(trajectories[0]) // 2
    return trajectories[0][:middle], trajectories[0][middle:]


def _distances(folded: FoldedStructure, positions_nm: np.ndarray) -> FoldedDistances:
    chosen = positions_nm[np.linspace(0, len(positions_nm) - 1, min(len(positions_nm), MOST_FRAMES)).astype(int)]
    return FoldedDistances(folded.rmsd_nm(chosen), folded.contact_fraction(chosen))
