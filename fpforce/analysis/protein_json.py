"""A protein's part of report.json.

In: a `ProteinAssessment` and the assessment of its plane. Out: a plain dict.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fpforce.analysis.comparison import Estimate
from fpforce.analysis.contacts import MapDifference
from fpforce.analysis.folding import CONTACT_NM, FEWEST_APART, FOLDED_ABOVE, FORMED_WITHIN
from fpforce.analysis.kinetics import Kinetics
from fpforce.analysis.plane_assessment import PlaneAssessment
from fpforce.analysis.protein import ProteinAssessment


def summarise_protein(
    protein: ProteinAssessment, plane: PlaneAssessment, estimate: Callable[[Estimate], dict[str, Any] | None]
) -> dict[str, Any]:
    """The dict; `estimate` turns an Estimate into a dict."""
    return {
        "residues": list(protein.residues),
        "contacts": {
            "cutoff_nm": CONTACT_NM,
            "fewest_residues_apart": FEWEST_APART,
            "floor": _difference(protein, protein.map_floor),
            "differences": {name: _difference(protein, one) for name, one in protein.map_differences.items()},
            "maps": {name: np.round(values, 5).tolist() for name, values in protein.contact_maps.items()},
        },
        "folding": None if protein.folded is None else _folding(protein, plane, estimate),
        "kinetics": None if protein.kinetics is None else _kinetics(protein.kinetics),
    }


def _difference(protein: ProteinAssessment, one: MapDifference) -> dict[str, Any]:
    return {
        "root_mean_square": one.root_mean_square,
        "largest": one.largest,
        "pair": [protein.residues[k] for k in one.pair],
    }


def _folding(
    protein: ProteinAssessment, plane: PlaneAssessment, estimate: Callable[[Estimate], dict[str, Any] | None]
) -> dict[str, Any]:
    assert protein.folded is not None and protein.distances is not None, "without a folded structure"
    return {
        "structure": protein.folded.source,
        "native_contacts": len(protein.folded.contacts),
        "formed_within": FORMED_WITHIN,
        "folded_above": FOLDED_ABOVE,
        "sets": {
            name: {
                "population": estimate(plane.populations[name]),
                "folding_free_energy_kt": estimate(plane.free_energies_kt[name]),
                "contact_fraction_mean": float(np.mean(distances.contact_fraction)),
                "rmsd_nm_mean": float(np.mean(distances.rmsd_nm)),
                "rmsd_nm_quantiles": dict(
                    zip(("5%", "50%", "95%"), np.quantile(distances.rmsd_nm, [0.05, 0.5, 0.95]), strict=False)
                ),
            }
            for name, distances in protein.distances.items()
        },
    }


def _kinetics(kinetics: Kinetics) -> dict[str, Any]:
    return {
        "cores": None if kinetics.cores is None else list(kinetics.cores),
        "transitions": [asdict(one) for one in kinetics.transitions],
        "time_scales": [asdict(one) for one in kinetics.time_scales],
        "note": "coarse-grained dynamics is faster than that of all atoms: compared, not judged",
    }
