"""How much of a simulation lies outside of what its model has seen, against time, beside the same of the reference.

In: a force field, its reference, and simulations. Out: a `SupportAssessment`. What a frame's distance from the support
is, fpforce.forcefield.support says; its edge comes from model.pt, or where that says nothing from one half of the
reference, and the floor then from the other half.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.frame_source import ChosenFrames, Frames, FrameSource, trajectory, trajectory_pieces
from fpforce.analysis.replica_frames import ReplicaFrames
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.support import FrameSupport
from fpforce.foundation.errors import InputError
from fpforce.system.support import SupportMeter

MOST_FRAMES = 2000  # of a simulation, and of the reference, that are measured
_MOST_BEADS = 40  # beyond which fewer frames are measured, since each takes the longer
MOST_CALIBRATION_FRAMES = 20_000  # of the reference, where model.pt does not say where the edge is
POINTS = 20  # in time


@dataclass(frozen=True)
class SupportSource:
    """What frames of a force field are measured by, and frames (frames, beads, 3) in nm for the floor; without a meter
    the reason why there is none.
    """

    meter: SupportMeter | None
    floor_nm: np.ndarray
    no_meter: str | None = None

    @classmethod
    def of(cls, force_field: ForceField, reference: Sequence[Frames]) -> "SupportSource":
        """From a force field and its reference, arrays (frames, beads, 3) in nm or what is read in pieces."""
        beads = len(force_field.beads)
        sources = [trajectory(frames, "reference", beads) for frames in reference]
        rng = np.random.default_rng(0)

        def blurred(frames_nm: np.ndarray) -> np.ndarray:
            """As the force field has them, with bonds wider than constraints left them."""
            return frames_nm + force_field.noise_nm * rng.standard_normal(frames_nm.shape)

        try:
            if "support" in force_field.metadata:
                return cls(SupportMeter.of(force_field), blurred(_spread(sources, most_frames(beads))))
            first = blurred(_spread(sources, MOST_CALIBRATION_FRAMES, slice(0, 2)))
            rest = blurred(_spread(sources, most_frames(beads), slice(2, 4)))
            return cls(SupportMeter.by(force_field, first), rest)
        except InputError as error:
            return cls(None, np.zeros((0, beads, 3)), str(error))


@dataclass(frozen=True)
class SupportSeries:
    """One simulation: part of its counted frames that is outside, and against time (windows,) of all its replicas.

    `measured`: of every frame that was measured, counted or not, its saved time, replica and distance from the support.
    """

    name: str
    outside: float
    time: np.ndarray
    time_unit: str
    outside_in_time: np.ndarray
    counted: FrameSupport
    measured: dict[str, np.ndarray]


@dataclass(frozen=True)
class SupportAssessment:
    """`outside`: part of the counted frames of all simulations that lie outside; `floor`: the same of the reference's,
    which is 1% where these are like the frames that the edge was taken from. `frames`, `floor_frames`: how many were
    measured. `reasons`: by which measure frames outside are the farthest out -> part of the frames outside.
    """

    outside: float
    floor: float
    frames: int
    floor_frames: int
    reasons: dict[str, float]
    reference: FrameSupport
    simulations: tuple[SupportSeries, ...]

    @property
    def excess(self) -> float:
        """How much more than of the reference lies outside."""
        return self.outside - self.floor


def assess_support(
    source: SupportSource | None,
    simulations: Sequence[ReplicaFrames],
    sources: Sequence[FrameSource],
    starts: Sequence[int],
) -> SupportAssessment | None:
    """sources: the frames of the simulations; starts: from which saved time of each on they count. None where nothing
    can be measured.
    """
    if source is None or source.meter is None:
        return None
    most = most_frames(source.floor_nm.shape[1])
    reference = source.meter(source.floor_nm)
    series = tuple(
        _series(source.meter, simulation, frames, start, most)
        for simulation, frames, start in zip(simulations, sources, starts, strict=True)
        if (frames.ends > start).any()
    )
    frames = sum(len(one.counted.distances) for one in series)
    outside = sum(int(one.counted.outside.sum()) for one in series)
    reasons: dict[str, float] = {}
    for one in series:
        for name, count in one.counted.reasons().items():
            reasons[name] = reasons.get(name, 0.0) + count / outside
    return SupportAssessment(
        outside=outside / frames,
        floor=reference.share,
        frames=frames,
        floor_frames=len(reference.distances),
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        reference=reference,
        simulations=series,
    )


def most_frames(beads: int) -> int:
    """How many frames of a simulation, and of the reference, are measured."""
    return max(200, round(MOST_FRAMES * min(1.0, (_MOST_BEADS / beads) ** 2)))


def _series(
    meter: SupportMeter, simulation: ReplicaFrames, source: FrameSource, start: int, most: int
) -> SupportSeries:
    """Of a simulation of which at most so many frames are measured, spread over replicas and over its time."""
    times, replicas, positions_nm = _drawn(source, np.zeros_like(source.ends), most)
    if not (times >= start).any():  # counted frames are few: these, then
        times, replicas, positions_nm = _drawn(source, np.full_like(source.ends, start), most)
    found, late = meter(positions_nm), times >= start
    windows = np.array_split(np.arange(source.shape[0]), min(POINTS, source.shape[0]))
    own = [found.outside[(times >= window[0]) & (times <= window[-1])] for window in windows]
    step = simulation.time_step_ps or 1.0
    return SupportSeries(
        name=simulation.name,
        outside=float(found.outside[late].mean()),
        time=np.array([step * (window.mean() + 1) for window in windows]),
        time_unit="ps" if simulation.time_step_ps else "saved times",
        outside_in_time=np.array([one.mean() if len(one) else np.nan for one in own]),
        counted=FrameSupport(
            found.distances[late], found.strangest[late], found.names, found.calibrated_on, found.calibration_frames
        ),
        measured={"saved_time": times, "replica": replicas, "distance": found.distances},
    )


def _drawn(source: FrameSource, starts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Saved times (count,), replicas and positions (count, beads, 3) of at most so many valid frames, drawn at random
    among those of each replica from `starts` on, so that no replica and no time is left out.
    """
    counts = np.maximum(source.ends - starts, 0)
    ends = np.cumsum(counts)
    drawn = np.array(sorted(random.Random(0).sample(range(int(ends[-1])), min(int(ends[-1]), most))), dtype=int)
    replicas = np.searchsorted(ends, drawn, side="right")
    times = drawn - (ends - counts)[replicas] + starts[replicas]
    positions_nm, valid = np.zeros((len(drawn), *source.shape[2:])), np.zeros(len(drawn), dtype=bool)
    for piece in source.pieces():
        inside = (times >= piece.times.start) & (times < piece.times.stop)
        here = np.flatnonzero(inside & (replicas >= piece.replicas.start) & (replicas < piece.replicas.stop))
        where = times[here] - piece.time, replicas[here] - piece.replica
        positions_nm[here], valid[here] = piece.positions_nm[where], piece.valid[where]
    return times[valid], replicas[valid], positions_nm[valid]


def _spread(sources: Sequence[FrameSource], most: int, quarters: slice = slice(0, 4)) -> np.ndarray:
    """At most so many frames (frames, beads, 3) of trajectories, evenly over some quarters of each."""
    parts = [(source.shape[0] * quarters.start // 4, source.shape[0] * quarters.stop // 4) for source in sources]
    every = max(1, -(-sum(end - first for first, end in parts) // most))
    chosen = [ChosenFrames(source, np.arange(*part, every)) for source, part in zip(sources, parts, strict=True)]
    return np.concatenate([piece for one in chosen for piece in trajectory_pieces(one)])
