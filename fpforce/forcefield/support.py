"""Where a force field may be trusted: how far frames are from what the model has seen.

In: measures of frames, each larger the stranger a frame is (fpforce.training.modelfile.support takes them). Out: one
distance for each frame, in units of the distance that one held-out frame in a hundred is beyond: the edge of the
support is at 1. Several measures become one by their largest, each divided by what it is for held-out frames, so that a
frame is outside if it is strange in any way.
Source: docs/method.md, The support of a force field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpforce.foundation.errors import InputError

FLAGGED = 0.01  # of held-out frames lie outside
FEWEST = 100  # held-out frames: of fewer none need be as strange as one in a hundred
NARROWEST_NM = 1e-4  # of a range: what is rigid is not told from what the file's digits leave
_DISTANCES_AT_ONCE = 1_000_000
# What edges were taken from.
HELD_OUT, TRAINING, GIVEN = "frames held out of the training", "training frames", "the frames that were given"
LEFT_OUT = "training molecules, each measured by the others"


@dataclass(frozen=True)
class Edges:
    """What measures are for held-out frames, by name: `medians`, and `spans` from there to the FLAGGED strangest.

    `edge`: the largest of the measures, less median and over span, that FLAGGED of held-out frames exceed. `frames`:
    how many these were; `of`: which.
    """

    names: tuple[str, ...]
    medians: np.ndarray
    spans: np.ndarray
    edge: float
    frames: int
    of: str

    @classmethod
    def at(cls, measures: Mapping[str, np.ndarray], of: str) -> "Edges":
        """From the measures (frames,) of held-out frames by name; InputError for fewer than FEWEST frames."""
        names, values = tuple(measures), _columns(measures)
        if len(values) < FEWEST:
            raise InputError(
                f"{len(values)} held-out frames cannot say where one frame in a hundred lies; give at least {FEWEST}"
            )
        medians, outer = np.median(values, axis=0), np.quantile(values, 1.0 - FLAGGED, axis=0)
        spans = np.maximum(outer - medians, 1e-9 * np.maximum(np.abs(medians), 1.0))
        edge = float(np.quantile(((values - medians) / spans).max(axis=1), 1.0 - FLAGGED))
        return cls(names, medians, spans, edge, len(values), of)

    def distances(self, measures: Mapping[str, np.ndarray]) -> "FrameSupport":
        """How far frames with these measures (frames,) are; what is not finite is infinitely far."""
        values = _columns({name: measures[name] for name in self.names})
        scaled = (values - self.medians) / self.spans / self.edge
        scaled[~np.isfinite(scaled)] = np.inf
        return FrameSupport(scaled.max(axis=1), scaled.argmax(axis=1), self.names, self.of, self.frames)

    def record(self) -> dict[str, Any]:
        """What fpforce.json says of it."""
        return {
            "names": list(self.names),
            "medians": self.medians.tolist(),
            "spans": self.spans.tolist(),
            "edge": self.edge,
            "flagged": FLAGGED,
            "frames": self.frames,
            "of": self.of,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Edges":
        """What `record` wrote."""
        medians, spans = (np.asarray(record[name], dtype=np.float64) for name in ("medians", "spans"))
        names = tuple(map(str, record["names"]))
        if not names or medians.shape != (len(names),) or spans.shape != medians.shape or not (spans > 0).all():
            raise ValueError(f"support of {len(names)} measures with medians {medians} and spans {spans}")
        return cls(names, medians, spans, float(record["edge"]), int(record["frames"]), str(record["of"]))


@dataclass(frozen=True)
class FrameSupport:
    """How far frames are from what a model has seen.

    `distances` (frames,): 1 at the edge of the support, which 1% of held-out frames are beyond. `strangest` (frames,):
    the number in `names` of the measure that is the farthest out. `calibrated_on`: what the edge was taken from, and
    `calibration_frames`: how many frames that were.
    """

    distances: np.ndarray
    strangest: np.ndarray
    names: tuple[str, ...]
    calibrated_on: str
    calibration_frames: int

    @property
    def outside(self) -> np.ndarray:
        """(frames,) bool: beyond the edge."""
        return self.distances > 1.0

    @property
    def share(self) -> float:
        """Part of the frames that are outside."""
        return float(self.outside.mean())

    def reasons(self) -> dict[str, int]:
        """Of the frames outside, how many are the farthest out by which measure; the most frequent first."""
        counts = np.bincount(self.strangest[self.outside], minlength=len(self.names))
        return {self.names[k]: int(counts[k]) for k in np.argsort(-counts, kind="stable") if counts[k]}


def excursions(positions_nm: np.ndarray, low_nm: np.ndarray, high_nm: np.ndarray) -> np.ndarray:
    """How far (frames,) the pair distances of positions (frames, beads, 3) are out of their range, at most.

    low_nm, high_nm (pairs,): the range of each distance in the data, in the order of np.triu_indices. In parts of the
    range; less than 0 for frames all of whose distances are within.
    """
    first, second = np.triu_indices(positions_nm.shape[1], k=1)
    width, step = np.maximum(high_nm - low_nm, NARROWEST_NM), max(1, _DISTANCES_AT_ONCE // len(first))
    found = np.empty(len(positions_nm))
    for start in range(0, len(positions_nm), step):
        part = np.asarray(positions_nm[start : start + step], dtype=np.float64)
        distances = np.linalg.norm(part[:, first] - part[:, second], axis=-1)
        found[start : start + step] = (np.maximum(low_nm - distances, distances - high_nm) / width).max(axis=1)
    return found


def _columns(measures: Mapping[str, Sequence[float] | np.ndarray]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.stack([np.asarray(values, dtype=np.float64) for values in measures.values()], axis=1)
