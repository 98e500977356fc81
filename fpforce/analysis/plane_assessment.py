"""All figures of one plane: populations, free energies, convergence, effective frames, histograms.

In: what a pass over every set has gathered (gathering.py). Out: a `PlaneAssessment`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.comparison import Divergences, Estimate
from fpforce.analysis.convergence import Convergence, free_energy_difference, judge, trajectory_population
from fpforce.analysis.correlation import effective_sample_size
from fpforce.analysis.frame_source import FrameSource
from fpforce.analysis.gathering import BASIN, UPPER_HALF, GatheredSet
from fpforce.analysis.history import PopulationSeries, population_series
from fpforce.analysis.planes import Plane, upper_basin
from fpforce.analysis.replica_frames import ReplicaFrames
from fpforce.analysis.reweighting import ReweightedPoints, Weights
from fpforce.analysis.time_series import ObservedSeries


@dataclass(frozen=True)
class ReferencePoints:
    """Sampled frames of the reference on the plane: `coordinates` (frames, 2 or 3), and the trajectory and the frame in
    it (frames,) that each is.
    """

    coordinates: np.ndarray
    source: np.ndarray
    time: np.ndarray


@dataclass(frozen=True)
class PlaneAssessment:
    """All figures of one plane. The dicts are keyed by set: reference, simulation, training, iid.

    `histograms`: frames in each bin (bins, bins), those beyond an edge in the outermost bins; `reference_blocks`: of
    blocks of the reference (blocks, bins, bins); `effective_frames` observable -> number of independent frames;
    `series` one for each simulation. `populations`, `free_energies_kt` and `histograms` (of weights) have a set
    `reweighted` too, where the iid samples have `weights`.
    """

    plane: Plane
    divergences: dict[str, Divergences]
    convergence: Convergence
    populations: dict[str, Estimate]
    free_energies_kt: dict[str, Estimate]
    effective_frames: dict[str, dict[str, float]]
    histograms: dict[str, np.ndarray]
    reference_blocks: np.ndarray
    reference_points: ReferencePoints
    series: tuple[PopulationSeries, ...]
    weights: Weights | None = None


def reference_points(plane: Plane, reference: GatheredSet) -> ReferencePoints:
    """Where the sampled frames of the reference lie on a plane."""
    frames = reference.frames
    return ReferencePoints(plane.coordinates(frames.positions_nm), frames.source, frames.time)


def only_basin(basin: ObservedSeries) -> int | None:
    """The only basin that the reference has, 0 or 1; None where it has both."""
    inside, frames = basin.sums.sum(), basin.frames.sum()
    return int(inside > 0) if inside in (0, frames) else None


def starts_in_upper_basin(plane: Plane, start_nm: np.ndarray) -> bool:
    """Where a simulation starts that says from which frame."""
    return bool(upper_basin(plane, plane.coordinates(start_nm)))


def first_start(plane: Plane, simulation: ReplicaFrames, source: FrameSource) -> bool:
    """Where a simulation starts, by its start or the majority of its replicas' first saved frames."""
    if simulation.start_nm is not None:
        return starts_in_upper_basin(plane, simulation.start_nm)
    inside = frames = 0
    for piece in source.pieces():
        if piece.time == 0:
            inside += int(upper_basin(plane, plane.coordinates(piece.positions_nm[:1])).sum())
            frames += piece.positions_nm.shape[1]
        if frames == source.shape[1]:
            break
    return inside > 0.5 * frames


def assess_plane(
    place: int,
    plane: Plane,
    gathered: dict[str, GatheredSet],
    simulations: Sequence[ReplicaFrames],
    *,
    divergences: dict[str, Divergences],
    points: ReferencePoints,
    starts: Sequence[bool],
    reweighted: ReweightedPoints | None,
    rng: np.random.Generator,
) -> PlaneAssessment:
    """The PlaneAssessment of the plane at a `place` among all.

    gathered: every set, those of simulations with UPPER_HALF where the reference has one basin and all simulations
        start alike.
    divergences: from the reference, of each other set. points: as of `reference_points`.
    starts: of each simulation, whether it starts in the upper basin.
    reweighted: the iid samples, weighted to the force field's distribution, where their densities are known.
    rng: of bootstraps.
    """
    names = [s.name for s in simulations]
    observed = [of_planes[place] for of_planes in gathered["simulation"].series]
    basins = [one[BASIN] for one in observed]
    convergence = _judged(names, basins, starts, rng)
    of_trajectories = {name: one.series[0][place] for name, one in gathered.items() if name != "simulation"}
    populations = {name: trajectory_population(one[BASIN], rng) for name, one in of_trajectories.items()}
    populations["simulation"] = convergence.pooled.population
    if reweighted is not None:
        populations["reweighted"] = reweighted.population(place)
    if UPPER_HALF in observed[0]:
        only = plane.basin_names[int(populations["reference"].value)]
        convergence = _judged(names, [one[UPPER_HALF] for one in observed], starts, rng, halves_of=only)
    effective = {name: _effective_frames([one]) for name, one in of_trajectories.items() if name != "iid"}
    effective["simulation"] = _effective_frames(observed)
    if reweighted is not None:
        effective["reweighted"] = {"all": reweighted.weights.effective}
    bins = len(plane.edges[0]) - 1
    blocks = {name: one.sample.with_bins(bins).histogram(place) for name, one in gathered.items()}
    histograms = {name: one.sum(axis=0).reshape(bins, bins) for name, one in blocks.items()}
    if reweighted is not None:
        histograms["reweighted"] = reweighted.histogram(place, bins)
    return PlaneAssessment(
        plane=plane,
        divergences=divergences,
        convergence=convergence,
        populations=populations,
        free_energies_kt={name: free_energy_difference(p) for name, p in populations.items()},
        effective_frames=effective,
        histograms=histograms,
        reference_blocks=blocks["reference"].reshape(-1, bins, bins),
        reference_points=points,
        series=tuple(population_series(s, basin, rng) for s, basin in zip(simulations, basins, strict=True)),
        weights=None if reweighted is None else reweighted.weights,
    )


def _judged(
    names: Sequence[str],
    inside: Sequence[ObservedSeries],
    starts: Sequence[bool],
    rng: np.random.Generator,
    halves_of: str | None = None,
) -> Convergence:
    return judge(names, [one.sums for one in inside], [one.counted for one in inside], starts, rng, halves_of)


def _effective_frames(sets: Sequence[dict[str, ObservedSeries]]) -> dict[str, float]:
    """Independent frames by observable, of all sets together."""
    return {
        name: sum(effective_sample_size(one[name].counted_sums, one[name].counted, one[name].squares) for one in sets)
        for name in sets[0]
        if name != UPPER_HALF
    }
