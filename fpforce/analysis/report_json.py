"""An `Assessment` with the provenance of its inputs -> the plain dict that becomes report.json.

Every figure is a named field; estimates carry their standard error and 95 % range. What is not finite or not known is
null.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fpforce.analysis.assessment import Assessment
from fpforce.analysis.comparison import Divergences, Estimate
from fpforce.analysis.criteria import Thresholds
from fpforce.analysis.distributions import DistributionDistance
from fpforce.analysis.geometry import GeometryDistance
from fpforce.analysis.plane_assessment import PlaneAssessment
from fpforce.analysis.protein_json import summarise_protein
from fpforce.analysis.support import SupportAssessment
from fpforce.foundation.plain_json import plain

_METRICS = ("js", "pmf_error", "js_floor", "pmf_error_floor", "excess_js", "excess_pmf_error")


def summarise(
    assessment: Assessment,
    *,
    training_record: dict[str, Any],
    simulation_records: Sequence[dict[str, Any]],
    provenance: dict[str, Any],
    no_support: str | None = None,
) -> dict[str, Any]:
    """The report as a JSON-able dict.

    Args:
        assessment: the Assessment.
        no_support: why it is not said which frames the model has seen, where it is not.
        training_record: `training` of the force field's metadata.
        simulation_records: the metadata (sidecar) of every simulation.
        provenance: dict of file names, hashes and versions.
    """
    a = assessment
    simulation = _set_figures(a, "simulation") | {
        "converged": a.converged,
        "convergence_verdict": a.convergence_verdict,
        "convergence_reason": a.convergence_reason,
        "replicas": a.replicas,
        "failed_replicas": a.failed_replicas,
        "non_finite_frames": a.non_finite_frames,
        "discard": a.discard,
        "bond_w1_nm": _geometry(a.bonds),
        "angle_w1_rad": _geometry(a.angles),
        "wall": None if a.wall is None else asdict(a.wall),
        "wall_reference": None if a.wall_reference is None else asdict(a.wall_reference),
        "outside": None if a.excursion is None else asdict(a.excursion),
    }
    kept = ("seconds", "steps", "device", "step_ms", "commit", "data_sha256", "experts", "hand_overs", "calibration")
    training = {name: training_record.get(name) for name in kept}
    summary = {
        "verdict": {
            "status": a.status,
            "converged": a.convergence_verdict,
            "checks": {
                c.name: {
                    "value": c.value,
                    "standard_error": c.standard_error,
                    "threshold": c.threshold,
                    "pass": c.passed,
                    "label": c.label,
                }
                for c in a.checks
            },
        },
        "diagnosis": [asdict(finding) for finding in a.diagnosis],
        "comparison": {
            "frames": a.frames_compared,
            "frames_sampled": a.frames_sampled,
            "floor": a.floor.description,
            "bins_per_axis": a.resolution.bins_per_axis,
            "js_floor": a.resolution.floor_js,
            "js_floor_at_64_bins": a.resolution.finest_floor_js,
        },
        "support": {"not_measured": no_support} if a.support is None else _support(a.support),
        "distributions": {one.name: _distribution(one) for one in a.distributions},
        "simulation": simulation,
        "reference": _set_figures(a, "reference"),
        "training": training | (_set_figures(a, "training") if "training" in a.frames else {}),
        "speed": _speed(simulation_records),
        "planes": [_plane(plane) for plane in a.planes],
        "provenance": provenance,
    }
    if "iid" in a.frames:
        summary["iid"] = _set_figures(a, "iid")
    consistency = a.self_consistency
    if consistency is not None:
        summary["self_consistency"] = {"frames_compared": consistency.frames} | _divergences(consistency)
    if a.planes[0].weights is not None:
        summary["reweighted"] = _set_figures(a, "reweighted")
    if a.protein is not None:
        summary["protein"] = summarise_protein(a.protein, a.planes[0], _estimate)
    if a.interfaces:
        summary["interfaces"] = [interface.summary() for interface in a.interfaces]
    return plain(summary)


def _set_figures(assessment: Assessment, name: str) -> dict[str, Any]:
    """Frames, divergences (means over planes) and the first plane's free-energy difference of one set of frames."""
    figures: dict[str, Any] = {"frames": assessment.frames["iid" if name == "reweighted" else name]}
    divergences = assessment.divergences.get(name)
    if divergences is not None:
        figures |= {"frames_compared": divergences.frames} | _divergences(divergences)
    first = assessment.planes[0]
    figures["population"] = _estimate(first.populations[name])
    figures["free_energy_kt"] = _estimate(first.free_energies_kt[name])
    figures["effective_frames"] = first.effective_frames.get(name)
    return figures


def _divergences(divergences: Divergences) -> dict[str, Any]:
    figures = {}
    for metric in _METRICS:
        estimate = getattr(divergences, metric)
        figures[metric] = None if estimate is None else estimate.value
        if estimate is not None:
            figures[f"{metric}_standard_error"] = estimate.standard_error
            figures[f"{metric}_range95"] = list(estimate.range95)
    if divergences.no_excess is not None:
        figures["no_excess"] = divergences.no_excess
    return figures


def _plane(plane: PlaneAssessment) -> dict[str, Any]:
    convergence = plane.convergence
    return {
        "name": plane.plane.name,
        "axes": list(plane.plane.axis_names),
        "tica_lag_frames": getattr(plane.plane, "lag_frames", None),
        "basins": {"names": list(plane.plane.basin_names), "split": plane.plane.split},
        "sets": {
            name: {
                "population": _estimate(population),
                "free_energy_kt": _estimate(plane.free_energies_kt[name]),
                "effective_frames": plane.effective_frames.get(name),
            }
            | (_divergences(plane.divergences[name]) if name in plane.divergences else {})
            for name, population in plane.populations.items()
        },
        "convergence": {
            "verdict": convergence.verdict,
            "reason": convergence.reason,
            "halves_of": convergence.halves_of,
            "simulations": [
                {
                    "name": s.name,
                    "population": _estimate(s.population),
                    "replicas": s.replicas,
                    "started_in": plane.plane.basin_names[int(bool(s.starts_in_upper_basin))],
                    "drift": _estimate(s.drift),
                }
                for s in convergence.simulations
            ],
        },
    }


def _support(support: SupportAssessment) -> dict[str, Any]:
    return {
        "outside": support.outside,
        "floor": support.floor,
        "excess": support.excess,
        "frames": support.frames,
        "floor_frames": support.floor_frames,
        "edge_from": support.reference.calibrated_on,
        "edge_from_frames": support.reference.calibration_frames,
        "reasons": support.reasons,
        "simulations": [
            {
                "name": one.name,
                "outside": one.outside,
                "time": one.time.tolist(),
                "time_unit": one.time_unit,
                "outside_in_time": one.outside_in_time.tolist(),
                "largest_distance": float(one.counted.distances.max()),
            }
            for one in support.simulations
        ],
    }


def _distribution(one: DistributionDistance) -> dict[str, Any]:
    return {
        "w1_nm": one.w1_nm,
        "floor_nm": one.floor_nm,
        "limit_nm": one.limit_nm(Thresholds().excess_js),
        "spread_nm": one.spread_nm,
    }


def _geometry(distances: Sequence[GeometryDistance]) -> dict[str, Any] | None:
    """`max` and `floor_max` over all, and `each` by name; None without any."""
    if not distances:
        return None
    return {
        "max": max(d.w1 for d in distances),
        "floor_max": max(d.w1_floor for d in distances),
        "each": {d.name: d.w1 for d in distances},
    }


def _speed(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the simulations of what their sidecars say."""
    speed: dict[str, Any] = {}
    for name in ("steps_per_second", "ns_per_day"):
        known = [record[name] for record in records if record.get(name) is not None]
        speed[name] = float(np.mean(known)) if known else None
    for name in ("backend", "platform"):
        speed[name] = ", ".join(dict.fromkeys(str(record[name]) for record in records if record.get(name))) or None
    speed["replicas_per_simulation"] = [record.get("replicas") for record in records]
    speed["replica_steps"] = sum(
        (record.get("steps") or 0) * (record.get("replicas") or 0) * len(record.get("ladder_k") or [None])
        for record in records
    )
    return speed


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate) | {"range95": list(estimate.range95)}
