"""From the frames of every set to every figure of the consistency report.

In: bead table, reference, simulations and optionally training and iid frames, positions in nm, as arrays or as sources
that read them in pieces. Out: an `Assessment`, with named fields only; nothing is written here.

The reference is read first, once or, where its planes are fitted to it, more often; every other set once. Of all frames
are histograms, populations, autocorrelations, transitions and the action of the wall; of at most MOST_SAMPLED of each
set (sampled_frames.py), drawn at random, what needs positions: bonds, angles, other distributions, contacts.
Longer than other files, since it is the one list of all figures, in the order in which they follow from each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.analysis.causes import Finding
from fpforce.analysis.comparison import Divergences, Floor, compare, excess_from
from fpforce.analysis.convergence import CONVERGED, NOT_CONVERGED, combine
from fpforce.analysis.criteria import Check, checks_of, status_of
from fpforce.analysis.diagnosis import diagnose
from fpforce.analysis.distributions import DistributionDistance, Excursion, distribution_distances, excursion_of
from fpforce.analysis.folding import protein_chain
from fpforce.analysis.frame_source import Frames, FrameSource, lengths_of, trajectory
from fpforce.analysis.gathering import BASIN, GatheredSet, Gathering, Watcher
from fpforce.analysis.geometry import GeometryDistance, draw_geometry, geometry_distances
from fpforce.analysis.interfaces import InterfaceAssessment, assess_interfaces
from fpforce.analysis.kinetics import Kinetics, KineticsCounter, States, kinetics
from fpforce.analysis.observables import bond_angles, bond_lengths
from fpforce.analysis.plane_assessment import (
    PlaneAssessment,
    ReferencePoints,
    assess_plane,
    first_start,
    only_basin,
    reference_points,
)
from fpforce.analysis.planes import Plane, choose_planes, with_bins
from fpforce.analysis.protein import ProteinAssessment, assess_protein
from fpforce.analysis.replica_frames import ReplicaFrames, first_counted
from fpforce.analysis.resolution import Resolution, choose_resolution
from fpforce.analysis.reweighting import ReweightedPoints, Weights
from fpforce.analysis.sample import Sample
from fpforce.analysis.sampled_frames import sample_of
from fpforce.analysis.settings import AssessmentSettings
from fpforce.analysis.support import SupportAssessment, assess_support
from fpforce.analysis.tica import TicaPlane
from fpforce.forcefield.wall import Wall, WallAction
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable


@dataclass(frozen=True)
class Assessment:
    """Everything the report shows. `divergences` are means over the planes, keyed by set as in `PlaneAssessment`.

    `frames_sampled`: of each set in the distances of bonds, angles and other distributions, at most MOST_SAMPLED.
    `self_consistency`: divergence of the simulation from the iid samples, over the floor of the reference; None without
    iid samples. `excess_from_training`: excess of the simulation's divergences from the training frames, over the same
    floor, by name; empty without any. `protein`: None for a molecule without a chain of CA beads. `interfaces`: of
    molecules that touch and that no bond joins. `wall`: how often it acted in the counted frames of the simulations,
    None without one; `wall_reference`: how often it would in sampled frames of the reference.
    `support`: how many of these lie outside of what the model has seen, None where that cannot be said.
    `diagnosis`: what is wrong, the likeliest cause first, and what to do; empty where nothing is.
    """

    frames: dict[str, int]
    frames_compared: int
    frames_sampled: int
    floor: Floor
    resolution: Resolution
    divergences: dict[str, Divergences]
    self_consistency: Divergences | None
    excess_from_training: dict[str, float]
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
    wall_reference: WallAction | None
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
    reference: Sequence[Frames],
    simulations: Sequence[ReplicaFrames],
    *,
    training: Sequence[Frames] | None = None,
    iid: Frames | None = None,
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

    Each set is an array, or a FrameSource, of which a piece at a time is in memory.
    Raises InputError when a set is empty, its shape does not fit the beads, or no simulated frame counts.
    """
    settings = settings or AssessmentSettings()
    for name, number in (("reference", len(reference)), ("simulation", len(simulations))):
        if number == 0:
            raise InputError(f"no {name} is given; the evaluation needs at least one")
    given = {"reference": reference, "training": training or (), "iid": () if iid is None else (iid,)}
    trajectories = {
        name: [trajectory(frames, name, len(beads)) for frames in each] for name, each in given.items() if each
    }
    rng = np.random.default_rng(settings.seed)
    all_frames = _gather(beads, trajectories, simulations, iid_log_weights, settings)
    compared = _compare(all_frames.gathered, settings, rng)
    return _judge(beads, trajectories, simulations, all_frames, compared, settings, rng)


@dataclass(frozen=True)
class _AllFrames:
    """What a pass over every set has found: `gathered` sets by name, and on each of the `planes` where the reference's
    sampled frames lie (`points`) and whether each simulation starts in the upper basin (`started`). `sources` and
    `starts` of the simulations: their frames, and the first saved time that counts.
    """

    planes: tuple[Plane, ...]
    gathered: dict[str, GatheredSet]
    points: list[ReferencePoints]
    started: list[list[bool]]
    sources: list[FrameSource]
    starts: list[int]
    reweighted: ReweightedPoints | None
    kinetics: Kinetics | None
    wall: WallAction | None


def _gather(
    beads: BeadTable,
    trajectories: dict[str, list[FrameSource]],
    simulations: Sequence[ReplicaFrames],
    iid_log_weights: np.ndarray | None,
    settings: AssessmentSettings,
) -> _AllFrames:
    """Choose the planes by the reference, then let all frames of every set go by; InputError where none counts."""
    sources = [simulation.source(len(beads)) for simulation in simulations]
    starts = [first_counted(source.shape[0], settings.discard) for source in sources]
    if not any((source.ends > start).any() for source, start in zip(sources, starts, strict=True)):
        raise _nothing_counts(simulations, settings)
    planes = choose_planes(
        beads, trajectories["reference"], settings.tica_lag_frames, wanted=settings.plane, folded=settings.folded
    )
    dynamics = _Dynamics.of(beads, planes[0], trajectories["reference"], simulations, settings)
    reweighted = None if iid_log_weights is None else ReweightedPoints(Weights.of(iid_log_weights), planes)
    gathered = {}
    for number, (name, each) in enumerate(trajectories.items()):
        gathering = Gathering.of_trajectories(planes, each, settings.seed + number)
        if name == "reference" and dynamics is not None:
            gathering.watchers = (dynamics.watch_reference,)
        if name == "iid" and reweighted is not None:
            gathering.watchers = (reweighted.watch,)
        gathered[name] = gathering.gather()
    points = [reference_points(plane, gathered["reference"]) for plane in planes]
    started = [[first_start(plane, *each) for each in zip(simulations, sources, strict=True)] for plane in planes]
    halves = [
        float(np.median(where.coordinates[:, 0]))
        if only_basin(gathered["reference"].series[0][p][BASIN]) is not None and len(set(started[p])) == 1
        else None
        for p, where in enumerate(points)
    ]
    wall = None if settings.wall is None else _WallWatcher(settings.wall)
    watchers: list[Watcher] = ([] if wall is None else [wall.watch]) + ([] if dynamics is None else [dynamics.watch])
    gathered["simulation"] = Gathering.of_simulations(
        planes, sources, starts, settings.seed + len(trajectories), halves, watchers
    ).gather()
    if not len(gathered["simulation"].sample):
        raise _nothing_counts(simulations, settings)
    return _AllFrames(
        planes=tuple(planes),
        gathered=gathered,
        points=points,
        started=started,
        sources=sources,
        starts=starts,
        reweighted=reweighted,
        kinetics=None if dynamics is None else dynamics.kinetics(),
        wall=None if wall is None else WallAction.over(wall.parts),
    )


@dataclass(frozen=True)
class _Compared:
    """Divergences (planes, and last their mean) of every set from the reference, in bins of one `resolution`, between
    equal numbers of `frames`; `consistency` of the simulation from the iid samples; `from_training`: its excesses from
    the training frames.
    """

    resolution: Resolution
    samples: dict[str, Sample]
    floor: Floor
    frames: int
    divergences: dict[str, tuple[Divergences, ...]]
    consistency: tuple[Divergences, ...] | None
    from_training: dict[str, float]


def _compare(gathered: dict[str, GatheredSet], settings: AssessmentSettings, rng: np.random.Generator) -> _Compared:
    """Choose bins, floor and number of frames, and compare every set with the reference."""
    fine = {name: one.sample for name, one in gathered.items()}
    resolution = choose_resolution(
        fine["reference"],
        fine.get("training"),
        len(fine["simulation"]),
        settings.floor,
        np.random.default_rng(settings.seed),
    )
    samples = {name: sample.with_bins(resolution.bins_per_axis) for name, sample in fine.items()}
    floor = Floor.choose(samples["reference"], samples.get("training"), settings.floor)
    frames = min(len(samples["simulation"]), len(samples["reference"]), floor.frames)
    divergences: dict[str, tuple[Divergences, ...]] = {
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
    from_training: dict[str, float] = {}
    if "training" in samples:
        both, overall = (samples["simulation"], samples["training"]), divergences["simulation"][-1]
        own = np.random.default_rng(settings.seed)
        from_training = excess_from(*both, min(frames, *map(len, both)), overall, own, settings.thinnings)
    return _Compared(resolution, samples, floor, frames, divergences, consistency, from_training)


def _judge(
    beads: BeadTable,
    trajectories: dict[str, list[FrameSource]],
    simulations: Sequence[ReplicaFrames],
    all_frames: _AllFrames,
    compared: _Compared,
    settings: AssessmentSettings,
    rng: np.random.Generator,
) -> Assessment:
    """All figures, what they are checked for, and what is wrong where they do not pass."""
    gathered, floor, frames = all_frames.gathered, compared.floor, compared.frames
    plane_results = tuple(
        assess_plane(
            p,
            with_bins(plane, compared.resolution.bins_per_axis),
            gathered,
            simulations,
            divergences={name: result[p] for name, result in compared.divergences.items()},
            points=all_frames.points[p],
            starts=all_frames.started[p],
            reweighted=all_frames.reweighted,
            rng=rng,
        )
        for p, plane in enumerate(all_frames.planes)
    )
    sampled = {name: one.frames for name, one in gathered.items()}
    pools = {name: one.positions_nm for name, one in sampled.items()}
    reference_halves = sampled["reference"].halves(lengths_of(trajectories["reference"]))
    thinned = draw_geometry(sampled, compared.samples, floor, frames, rng).blurred(settings.noise_nm, settings.seed)
    verdict, reason = combine([result.convergence for result in plane_results])
    replicas = [source.shape[1] for source in all_frames.sources]
    lost = [s.name for s, number in zip(simulations, replicas, strict=True) if s.failed_replicas == number]
    if lost:
        verdict, reason = NOT_CONVERGED, f"every replica failed in {', '.join(lost)}: its frames are no equilibrium"
    failed = sum(s.failed_replicas for s in simulations)
    reason += f"; {failed} of {sum(replicas)} replicas failed" if failed else ""
    figures: dict[str, Any] = dict(
        frames={name: len(sample) for name, sample in compared.samples.items()},
        frames_compared=frames,
        frames_sampled=len(thinned.reference),
        floor=floor,
        resolution=compared.resolution,
        divergences={name: result[-1] for name, result in compared.divergences.items()},
        self_consistency=None if compared.consistency is None else compared.consistency[-1],
        excess_from_training=compared.from_training,
        planes=plane_results,
        bonds=geometry_distances(bond_lengths, beads, beads.bonds, thinned),
        angles=geometry_distances(bond_angles, beads, beads.angles, thinned),
        distributions=distribution_distances(
            beads, thinned, {name: pools[name] for name in ("training", "iid") if name in pools}
        ),
        excursion=excursion_of(beads, thinned),
        convergence_verdict=verdict,
        convergence_reason=reason,
        non_finite_frames=gathered["simulation"].non_finite,
        failed_replicas=failed,
        replicas=sum(replicas),
        discard=settings.discard,
        protein=assess_protein(beads, reference_halves, pools, settings.folded, all_frames.kinetics),
        interfaces=assess_interfaces(beads, reference_halves, pools),
        wall=all_frames.wall,
        wall_reference=None if settings.wall is None else settings.wall.action(pools["reference"]),
        support=assess_support(settings.support, simulations, all_frames.sources, all_frames.starts),
    )
    checks = checks_of(figures, settings.thresholds)
    status = status_of(verdict, checks)
    found = diagnose(figures, checks, status, settings.thresholds, settings.facts, settings.noise_nm)
    return Assessment(**figures, checks=checks, status=status, diagnosis=found)


def _nothing_counts(simulations: Sequence[ReplicaFrames], settings: AssessmentSettings) -> InputError:
    return InputError(
        f"no simulated frame is left after discarding {settings.discard:.0%} of the time "
        f"({sum(simulation.failed_replicas for simulation in simulations)} replicas failed); simulate longer, or with "
        "a shorter time step if replicas failed"
    )


class _WallWatcher:
    """How the wall acts in the counted frames that go by."""

    def __init__(self, wall: Wall) -> None:
        self._wall, self.parts = wall, list[WallAction]()

    def watch(
        self, _: int, __: slice, positions_nm: np.ndarray, ___: Sequence[np.ndarray], counted: np.ndarray
    ) -> None:
        self.parts.append(self._wall.action(positions_nm[counted]))


class _Dynamics:
    """Kinetics on a protein's TICA plane, of the reference and of every simulation that is dynamics."""

    def __init__(self, states: States, reference: KineticsCounter, simulated: dict[int, KineticsCounter]) -> None:
        self._states, self._reference, self._simulated = states, reference, simulated

    @classmethod
    def of(
        cls,
        beads: BeadTable,
        plane: Plane,
        reference: Sequence[FrameSource],
        simulations: Sequence[ReplicaFrames],
        settings: AssessmentSettings,
    ) -> "_Dynamics | None":
        """None for other planes and molecules. Its states are of sampled frames of the reference."""
        if protein_chain(beads) is None or not isinstance(plane, TicaPlane):
            return None
        states = States.of(plane, plane.coordinates(sample_of(reference).positions_nm), settings.seed)
        return cls(
            states,
            KineticsCounter("reference", settings.reference_time_step_ps, plane, states),
            {
                k: KineticsCounter(s.name, s.time_step_ps, plane, states)
                for k, s in enumerate(simulations)
                if not s.exchanged
            },
        )

    def watch_reference(
        self, number: int, _: slice, __: np.ndarray, coordinates: Sequence[np.ndarray], ___: np.ndarray
    ) -> None:
        self._reference.add((number, 0), coordinates[0][:, 0])

    def watch(
        self, number: int, replicas: slice, _: np.ndarray, coordinates: Sequence[np.ndarray], counted: np.ndarray
    ) -> None:
        if number in self._simulated:
            for column, replica in enumerate(range(replicas.start, replicas.stop)):
                points = coordinates[0][counted[:, column], column]
                self._simulated[number].add((number, replica), points)

    def kinetics(self) -> Kinetics:
        return kinetics(self._states, [self._reference, *self._simulated.values()])
