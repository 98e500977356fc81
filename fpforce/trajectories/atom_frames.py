"""What is read of a trajectory: coordinates of atoms, and what the file says besides them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AtomFrames:
    """What was read of a trajectory: xyz (frames, atoms, 3) float32 in nm, molecules whole.

    time_step_ps: between frames, None if the format does not say. box: the mean lengths of its three vectors in nm, or
    None; box_problem: why it was not believed, or None. without_positions: frames of the file that have velocities or
    forces alone, and were passed over. incomplete: the file ends within a frame, or before those that it announces.
    notices: what else is unusual in it. times_ps: (frames,), of a piece of a file whose format has them.
    """

    xyz: np.ndarray
    time_step_ps: float | None = None
    box: tuple[float, float, float] | None = None
    box_problem: str | None = None
    without_positions: int = 0
    incomplete: bool = False
    notices: tuple[str, ...] = ()
    times_ps: np.ndarray | None = None


def mean_box(vectors: np.ndarray | None) -> tuple[float, float, float] | None:
    """Mean lengths in nm of box vectors (frames, 3, 3); None where there are none."""
    if vectors is None:
        return None
    a, b, c = np.linalg.norm(vectors, axis=-1).mean(0).tolist()
    return a, b, c
