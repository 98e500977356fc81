"""From arrays of frames to every figure of the consistency report.

In: bead table, reference, simulations and optionally training and iid frames, positions in nm. Out: an `Assessment`,
with named fields only; no files are read or written here.
Longer than other files, since it is the one list of all figures, in the order in which they follow from each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fpforce.analysis.causes import Finding
from fpforce.analysis.comparison import Divergences, Estimate, Floor, Sample, compare
from fpforce.analysis.convergence import (
    CONVERGED,
    NOT_CONVERGED,
    Convergence,
    combine,
    free_energy_difference,
    judge,
    trajectory_population,
)
from fpforce.analysis.correlation import as_columns, effective_sample_size
from fpforce.analysis.criteria import Check, checks_of, status_of
from fpforce.analysis.diagnosis import diagnose
from fpforce.analysis.distributions import DistributionDistance, Excursion, distribution_distances, excursion_of
from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.geometry import GeometryDistance, draw_geometry, geometry_distances
from fpforce.analysis.history import PopulationSeries, population_series
from fpforce.analysis.interfaces import InterfaceAssessment, assess_interfaces
from fpforce.analysis.kinetics import TimeSeries
from fpforce.analysis.observables import bond_angles, bond_lengths
from fpforce.analysis.planes import Plane, choose_planes, upper_basin, with_bins
from fpforce.analysis.protein import ProteinAssessment, ReferenceSide, assess_protein
from fpforce.analysis.replica_frames import ReplicaFrames, check_shapes, counted_frames, counted_mask, valid_frames
from fpforce.analysis.resolution import Resolution, binned, choose_resolution
from fpforce.analysis.reweighting import Weights
from fpforce.analysis.settings import AssessmentSettings
from fpforce.analysis.support import SupportAssessment, assess_support
from fpforce.forcefield.wall import WallAction
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

Signal = Callable[[np.ndarray], np.ndarray]  # of a plane's coordinates


@dataclass(frozen=True)
class PlaneAssessment:
    """All figures of one plane. The dicts are keyed by set: reference, simulation, training, iid.

    `coordinates` (frames, 2); `effective_frames` observable -> number of independent frames; `series` one for each
    simulation. `populations` and `free_energies_kt` have a set `reweighted` too, where the iid samples have `weights`.
    """

    plane: Plane
    divergences: dict[str, Divergences]
    convergence: Convergence
    populations: dict[str, Estimate]
    free_energies_kt: dict[str, Estimate]
    effective_frames: dict[str, dict[str, float]]
    coordinates: dict[str, np.ndarray]
    reference_trajectories: list[np.ndarray]
    series: tuple[PopulationSeries, ...]
    weights: Weights | None = None


@dataclass(frozen=True)
class Assessment:
    """Everything the report shows. `divergences` are means over the planes, keyed by set as in `PlaneAssessment`.

    `self_consistency`: divergence of the simulation from the iid samples, over the floor of the reference; None without
    iid samples. `protein`: None for a molecule without a chain of CA beads. `interfaces`: of molecules that touch and
    that no bond joins. `wall`: how often it acted in the counted frames of the simulations, None without one.
    `support`: how many of these lie outside of what the model has seen, None where that cannot be said.
    `diagnosis`: what is wrong, the likeliest cause first, and what to do; empty where nothing is.
    """

    frames: dict[str, int]
    frames_compared: int
    floor: Floor
    resolution: Resolution
    divergences: dict[str, Divergences]
    self_consistency: Divergences | None
    planes: tuple[PlaneAssessment, ...]
    bonds: tuple[GeometryDistance, ...]
    angles: tuple[GeometryDistance, ...]
    distributions: tuple[DistributionDistance, ...]
    excursion: Excursion | None
    convergence_verdict: str
    convergence_reason: str
    non_finite_frames: int
    failed_replicas: int
    replicas: int
    discard: float
    protein: ProteinAssessment | None
    interfaces: tuple[InterfaceAssessment, ...]
    wall: WallAction | None
    support: SupportAssessment | None
    checks: tuple[Check, ...]
    status: str
    diagnosis: tuple[Finding, ...]

    @property
    def converged(self) -> bool:
        return self.convergence_verdict == CONVERGED

    @property
    def passed(self) -> bool:
        return self.status == "pass"


def assess(
    beads: BeadTable,
    reference: list[np.ndarray],
    simulations: Sequence[ReplicaFrames],
    *,
    training: list[np.ndarray] | None = None,
    iid: np.ndarray | None = None,
    iid_log_weights: np.ndarray | None = None,
    settings: AssessmentSettings | None = None,
) -> Assessment:
    """Compare simulations with the reference and judge them.

    Args:
        beads: the BeadTable of all positions.
        reference: held-out trajectories, a list of (frames, beads, 3), nm, each an independent run.
        simulations: `ReplicaFrames`, one for each start frame.
        training: training trajectories as `reference`, or None. iid: sampled frames (frames, beads, 3), or None.
        iid_log_weights: ln of exp(-U/kT)/q (frames,) of the samples, up to a constant, or None (reweighting.py).

    Raises InputError when a set is empty, its shape does not fit the beads, or no simulated frame counts.
    """
    settings = settings or AssessmentSettings()
    rng = np.random.default_rng(settings.seed)
    check_shapes(beads, reference, simulations, training, iid)
    weights = None if iid_log_weights is None else Weights.of(iid_log_weights)
    counted = [counted_mask(simulation, settings.discard) for simulation in simulations]
    if not any(mask.any() for mask in counted):
        raise InputError(
            f"no simulated frame is left after discarding {settings.discard:.0%} of the time "
            f"({sum(simulation.failed_replicas for simulation in simulations)} replicas failed); simulate longer, or "
            f"with "
            "a shorter time step if replicas failed"
        )
    planes = choose_planes(beads, reference, settings.tica_lag_frames, wanted=settings.plane, folded=settings.folded)
    sets = {"reference": list(reference), "training": list(training) if training else None}
    sets["iid"] = [iid] if iid is not None else None
    trajectories = {name: frames for name, frames in sets.items() if frames}
    projected = {
        name: [[plane.coordinates(frames) for frames in each] for plane in planes]
        for name, each in trajectories.items()
    }
    simulated = [[plane.coordinates(s.positions_nm) for s in simulations] for plane in planes]
    counted_in_all = sum(int(mask.sum()) for mask in counted)
    resolution = choose_resolution(
        planes, projected, counted_in_all, settings.floor, np.random.default_rng(settings.seed)
    )
    planes = tuple(with_bins(plane, resolution.bins_per_axis) for plane in planes)
    cells = resolution.bins_per_axis**2
    samples = {name: Sample.from_trajectories(binned(planes, each), cells) for name, each in projected.items()}
    samples["simulation"] = _simulation_sample(planes, simulated, counted)
    floor = Floor.choose(samples["reference"], samples.get("training"), settings.floor)
    frames = min(len(samples["simulation"]), len(samples["reference"]), floor.frames)
    divergences = {
        name: compare(
            samples[name],
            samples["reference"],
            samples.get("training"),
            floor,
            frames,
            rng,
            settings.thinnings,
            is_training=name == "training",
        )
        for name in ("simulation", "training", "iid")
        if name in samples
    }
    consistency = None
    if "iid" in samples:
        consistency = compare(
            samples["simulation"],
            samples["reference"],
            samples.get("training"),
            floor,
            frames,
            rng,
            settings.thinnings,
            target=samples["iid"],
        )
    plane_results = tuple(
        _assess_plane(
            plane,
            {name: result[p] for name, result in divergences.items()},
            {name: each[p] for name, each in projected.items()},
            simulated[p],
            simulations,
            counted,
            weights,
            rng,
        )
        for p, plane in enumerate(planes)
    )
    pools = {name: np.concatenate(each) for name, each in trajectories.items() if name != "iid"}
    pools["simulation"] = counted_frames([s.positions_nm for s in simulations], counted)
    pools |= {name: frames[0] for name, frames in trajectories.items() if name == "iid"}
    thinned = draw_geometry(pools, samples, floor, frames, rng)
    verdict, reason = combine([result.convergence for result in plane_results])
    lost = [s.name for s in simulations if s.failed_replicas == s.positions_nm.shape[1]]
    if lost:
        verdict, reason = NOT_CONVERGED, f"every replica failed in {', '.join(lost)}: its frames are no equilibrium"
    failed, replicas = sum(s.failed_replicas for s in simulations), sum(s.positions_nm.shape[1] for s in simulations)
    reason += f"; {failed} of {replicas} replicas failed" if failed else ""
    figures = dict(
        frames={name: len(sample) for name, sample in samples.items()},
        frames_compared=frames,
        floor=floor,
        resolution=resolution,
        divergences={name: result[-1] for name, result in divergences.items()},
        self_consistency=None if consistency is None else consistency[-1],
        planes=plane_results,
        bonds=geometry_distances(bond_lengths, beads, beads.bonds, thinned),
        angles=geometry_distances(bond_angles, beads, beads.angles, thinned),
        distributions=distribution_distances(
            beads, thinned, {name: pools[name] for name in ("training", "iid") if name in pools}
        ),
        excursion=excursion_of(beads, thinned),
        convergence_verdict=verdict,
        convergence_reason=reason,
        non_finite_frames=sum(int(np.sum(~np.isfinite(s.positions_nm).all(axis=(2, 3)))) for s in simulations),
        failed_replicas=failed,
        replicas=replicas,
        discard=settings.discard,
        protein=assess_protein(
            beads,
            planes[0],
            ReferenceSide(list(reference), projected["reference"][0], settings.reference_time_step_ps),
            pools,
            [
                _time_series(s, c, mask)
                for s, c, mask in zip(simulations, simulated[0], counted, strict=True)
                if not s.exchanged
            ],
            settings.folded,
            settings.seed,
        ),
        interfaces=assess_interfaces(beads, reference, pools),
        wall=None if settings.wall is None else settings.wall.action(pools["simulation"]),
        support=assess_support(settings.support, simulations, counted),
    )
    checks = checks_of(figures, settings.thresholds)
    status = status_of(verdict, checks)
    found = diagnose(figures, checks, status, settings.thresholds, settings.facts)
    return Assessment(**figures, checks=checks, status=status, diagnosis=found)


def _assess_plane(
    plane: Plane,
    divergences: dict[str, Divergences],
    projected: dict[str, list[np.ndarray]],
    simulated: list[np.ndarray],
    simulations: Sequence[ReplicaFrames],
    counted: list[np.ndarray],
    weights: Weights | None,
    rng: np.random.Generator,
) -> PlaneAssessment:
    basins = [upper_basin(plane, coordinates) for coordinates in simulated]
    starts = [_starts_in_upper_basin(plane, s, basin) for s, basin in zip(simulations, basins, strict=True)]
    convergence = judge([s.name for s in simulations], basins, counted, starts, rng)
    populations = {
        name: trajectory_population([upper_basin(plane, c) for c in each], rng) for name, each in projected.items()
    }
    populations["simulation"] = convergence.pooled.population
    if weights is not None:
        populations["reweighted"] = weights.population(upper_basin(plane, projected["iid"][0]))
    if populations["reference"].value in (0.0, 1.0) and len(set(starts)) == 1:
        middle = np.median(np.concatenate(projected["reference"])[:, 0])
        halves = [coordinates[..., 0] > middle for coordinates in simulated]
        only_basin = plane.basin_names[int(populations["reference"].value)]
        convergence = judge([s.name for s in simulations], halves, counted, starts, rng, halves_of=only_basin)
    coordinates = {name: np.concatenate(each) for name, each in projected.items()}
    coordinates["simulation"] = counted_frames(simulated, counted)
    effective = {
        name: _effective_frames(plane, partial(_columns_of, each)) for name, each in projected.items() if name != "iid"
    }
    each_simulation = [
        _effective_frames(plane, partial(_masked_columns_of, c, mask))
        for c, mask in zip(simulated, counted, strict=True)
    ]
    effective["simulation"] = {key: sum(one[key] for one in each_simulation) for key in each_simulation[0]}
    if weights is not None:
        effective["reweighted"] = {"all": weights.effective}
    return PlaneAssessment(
        plane=plane,
        divergences=divergences,
        convergence=convergence,
        populations=populations,
        free_energies_kt={name: free_energy_difference(p) for name, p in populations.items()},
        effective_frames=effective,
        coordinates=coordinates,
        reference_trajectories=projected["reference"],
        series=tuple(
            population_series(s, basin, valid_frames(s), rng) for s, basin in zip(simulations, basins, strict=True)
        ),
        weights=weights,
    )


def _columns_of(trajectories: list[np.ndarray], signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    return as_columns([signal(coordinates) for coordinates in trajectories])


def _masked_columns_of(coordinates: np.ndarray, mask: np.ndarray, signal: Signal) -> tuple[np.ndarray, np.ndarray]:
    return signal(coordinates), mask


def _signal(plane: Plane, name: str, coordinates: np.ndarray) -> np.ndarray:
    return plane.signals(coordinates)[name]


def _effective_frames(plane: Plane, columns_of: Callable[[Signal], tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Independent frames by observable; `columns_of(signal)` gives its (times, series) values and mask."""
    names = list(plane.signals(np.zeros((1, 2))))
    sizes = {name: effective_sample_size(*columns_of(partial(_signal, plane, name))) for name in names}
    return sizes | {"basin": effective_sample_size(*columns_of(lambda c: upper_basin(plane, c).astype(float)))}


def _starts_in_upper_basin(plane: Plane, simulation: ReplicaFrames, basin: np.ndarray) -> bool:
    if simulation.start_nm is not None:
        return bool(upper_basin(plane, plane.coordinates(simulation.start_nm)))
    return bool(np.mean(basin[0]) > 0.5)


def _time_series(simulation: ReplicaFrames, coordinates: np.ndarray, counted: np.ndarray) -> TimeSeries:
    pieces = [coordinates[counted[:, k], k] for k in range(counted.shape[1])]
    return TimeSeries(simulation.name, [piece for piece in pieces if len(piece)], simulation.time_step_ps)


def _simulation_sample(
    planes: Sequence[Plane], simulated: Sequence[Sequence[np.ndarray]], counted: list[np.ndarray]
) -> Sample:
    bins = np.stack(
        [bin_indices(counted_frames(c, counted), p.edges) for p, c in zip(planes, simulated, strict=False)], axis=1
    )
    offsets = np.cumsum([0] + [mask.shape[1] for mask in counted])
    numbers = [np.broadcast_to(o + np.arange(m.shape[1]), m.shape) for o, m in zip(offsets, counted, strict=False)]
    cells = (len(planes[0].edges[0]) - 1) ** 2
    return Sample.from_replicas(bins, counted_frames(numbers, counted), cells)
