"""Simulations as frames, and which of the frames count.

In: positions in nm with the mask of frames before a replica failed, or a source that reads them. Out: `ReplicaFrames`.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.analysis.frame_source import Frames, FrameSource, replicas


@dataclass(frozen=True)
class ReplicaFrames:
    """One simulation: R replicas started from one frame.

    `positions_nm` (saved times, R, beads, 3), an array or a FrameSource; `valid` (saved times, R) of an array, False
    from a replica's failure on (None: all valid); `failed_replicas` counts those; `time_step_ps` between saved times,
    None if unknown; `start_nm` (beads, 3), None to take the basin of the majority of first saved frames as the start
    basin; `exchanged`: the replicas are the coldest rungs of replica exchanges, whose saved times are no dynamics.
    """

    positions_nm: Frames
    valid: np.ndarray | None = None
    name: str = "simulation"
    time_step_ps: float | None = None
    failed_replicas: int = 0
    start_nm: np.ndarray | None = None
    exchanged: bool = False

    def source(self, beads: int) -> FrameSource:
        """Its frames in pieces; InputError where it is empty or its shape does not fit so many beads."""
        return replicas(self.positions_nm, self.valid, "simulation", beads)


def first_counted(times: int, discard: float) -> int:
    """The first of so many saved times that is after the first `discard` of the time."""
    return int(np.count_nonzero(np.arange(times) < discard * times))
