"""What a protein's assessment has besides its plane: contact maps, distance from the folded structure, kinetics.

In: sampled frames of every set and the kinetics. Out: a `ProteinAssessment`, None for a molecule without a chain of CA
beads.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.contacts import MapDifference, contact_map, map_difference
from fpforce.analysis.folding import FoldedStructure, protein_chain
from fpforce.analysis.kinetics import Kinetics
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


def assess_protein(
    beads: BeadTable,
    halves: tuple[np.ndarray, np.ndarray],
    frames: dict[str, np.ndarray],
    folded: FoldedStructure | None,
    dynamics: Kinetics | None,
) -> ProteinAssessment | None:
    """ProteinAssessment, or None for a molecule without a chain.

    Args:
        beads: the BeadTable. halves: of the reference, (F, beads, 3) nm each.
        frames: name -> (F, beads, 3) nm of every set, "reference" and "simulation" among them.
        folded: FoldedStructure or None. dynamics: Kinetics on a TICA plane, or None.
    """
    chain = protein_chain(beads)
    if chain is None:
        return None
    maps = {name: contact_map(positions, chain) for name, positions in frames.items()}
    distances = None
    if folded is not None:
        distances = {name: _distances(folded, positions) for name, positions in frames.items()}
    return ProteinAssessment(
        residues=tuple(f"{beads.beads[k].residue}{beads.beads[k].residue_number}" for k in chain),
        contact_maps=maps,
        map_differences={
            name: map_difference(one, maps["reference"]) for name, one in maps.items() if name != "reference"
        },
        map_floor=map_difference(*(contact_map(half, chain) for half in halves)),
        folded=folded,
        distances=distances,
        kinetics=dynamics,
    )


def _distances(folded: FoldedStructure, positions_nm: np.ndarray) -> FoldedDistances:
    chosen = positions_nm[np.linspace(0, len(positions_nm) - 1, min(len(positions_nm), MOST_FRAMES)).astype(int)]
    return FoldedDistances(folded.rmsd_nm(chosen), folded.contact_fraction(chosen))
