"""Simulations as arrays of frames, and which of the frames count.

In: positions in nm with the mask of frames before a replica failed. Out: `ReplicaFrames`, masks, and the counted
frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable


@dataclass(frozen=True)
class ReplicaFrames:
    """One simulation: R replicas started from one frame.

    `positions_nm` (saved times, R, beads, 3); `valid` (saved times, R), False from a replica's failure on (None: all
    valid); `failed_replicas` counts those; `time_step_ps` between saved times, None if unknown; `start_nm` (beads, 3),
    None to take the basin of the majority of first saved frames as the start basin; `exchanged`: the replicas are the
    coldest rungs of replica exchanges, whose saved times are no dynamics.
    """

    positions_nm: np.ndarray
    valid: np.ndarray | None = None
    name: str = "simulation"
    time_step_ps: float | None = None
    failed_replicas: int = 0
    start_nm: np.ndarray | None = None
    exchanged: bool = False


def valid_frames(simulation: ReplicaFrames) -> np.ndarray:
    """(times, R) bool: finite, and before the replica failed."""
    finite = np.isfinite(simulation.positions_nm).all(axis=(2, 3))
    return finite if simulation.valid is None else finite & simulation.valid


def counted_mask(simulation: ReplicaFrames, discard: float) -> np.ndarray:
    """(times, R) bool: valid, and after the first `discard` of the time."""
    late = np.arange(len(simulation.positions_nm)) >= discard * len(simulation.positions_nm)
    return valid_frames(simulation) & late[:, None]


def counted_frames(arrays: Sequence[np.ndarray], counted: Sequence[np.ndarray]) -> np.ndarray:
    """Counted frames of all simulations in the order replica by replica, in time within each: (S, ...)."""
    return np.concatenate([np.swapaxes(a, 0, 1)[mask.T] for a, mask in zip(arrays, counted, strict=True)])


def check_shapes(
    beads: BeadTable,
    reference: Sequence[np.ndarray],
    simulations: Sequence[ReplicaFrames],
    training: Sequence[np.ndarray] | None,
    iid: np.ndarray | None,
) -> None:
    """Raise InputError when a set is empty or its shape does not fit the beads."""
    sets = [("reference", frames, 3) for frames in reference] + [("training", frames, 3) for frames in training or ()]
    sets += [("simulation", s.positions_nm, 4) for s in simulations] + ([] if iid is None else [("iid", iid, 3)])
    for name, frames, dimensions in sets:
        if frames.ndim != dimensions or frames.shape[-2:] != (len(beads), 3):
            raise InputError(f"{name} positions have shape {frames.shape}; this model needs (..., {len(beads)}, 3)")
        if frames.size == 0:
            raise InputError(f"{name} has no frames; give a longer trajectory")
    for name, number in (("reference", len(reference)), ("simulation", len(simulations))):
        if number == 0:
            raise InputError(f"no {name} is given; the evaluation needs at least one")
