"""How much of a simulation lies outside of what its model has seen, against time, beside the same of the reference.

In: a force field, its reference, and simulations. Out: a `SupportAssessment`. What a frame's distance from the support
is, fpforce.forcefield.support says; its edge comes from model.pt, or where that says nothing from one half of the
reference, and the floor then from the other half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.analysis.replica_frames import ReplicaFrames, valid_frames
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.support import FrameSupport
from fpforce.foundation.errors import InputError
from fpforce.system.support import SupportMeter

MOST_FRAMES = 2000  # of a simulation, and of the reference, that are measured
_MOST_BEADS = 40  # beyond which fewer frames are measured, since each takes the longer
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
    def of(cls, force_field: ForceField, reference: Sequence[np.ndarray]) -> "SupportSource":
        """From a force field and its reference, a list of (frames, beads, 3) in nm."""
        whole = np.concatenate(list(reference))
        try:
            if "support" in force_field.metadata:
                return cls(SupportMeter.of(force_field), whole)
            halves = [np.array_split(frames, 2) for frames in reference]
            first, second = (np.concatenate([pair[k] for pair in halves]) for k in (0, 1))
            return cls(SupportMeter.by(force_field, first), second)
        except InputError as error:
            return cls(None, whole, str(error))


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
    source: SupportSource | None, simulations: Sequence[ReplicaFrames], counted: Sequence[np.ndarray]
) -> SupportAssessment | None:
    """counted: which frames (times, replicas) of each simulation count. None where nothing can be measured."""
    if source is None or source.meter is None:
        return None
    beads = source.floor_nm.shape[1]
    most = max(200, round(MOST_FRAMES * min(1.0, (_MOST_BEADS / beads) ** 2)))
    reference = source.meter(source.floor_nm[_evenly(len(source.floor_nm), most)])
    series = tuple(
        _series(source.meter, simulation, mask, most)
        for simulation, mask in zip(simulations, counted, strict=True)
        if mask.any()
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


def _series(meter: SupportMeter, simulation: ReplicaFrames, counted: np.ndarray, most: int) -> SupportSeries:
    """Of a simulation of which at most so many frames are measured, spread over replicas and over its time."""
    valid = valid_frames(simulation)
    times, replicas = np.nonzero(valid)
    chosen = _some(len(times), most)
    times, replicas = times[chosen], replicas[chosen]
    found = meter(simulation.positions_nm[times, replicas])
    late = counted[times, replicas]
    if not late.any():  # counted frames are few: these, then
        times, replicas = (one[_some(len(one), most)] for one in np.nonzero(counted))
        found = meter(simulation.positions_nm[times, replicas])
        late = np.ones(len(times), dtype=bool)
    windows = np.array_split(np.arange(len(valid)), min(POINTS, len(valid)))
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


def _some(count: int, most: int) -> np.ndarray:
    """At most so many numbers below count, drawn at random, so that no replica and no time is left out."""
    return np.sort(np.random.default_rng(0).choice(count, min(count, most), replace=False))


def _evenly(count: int, most: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)
