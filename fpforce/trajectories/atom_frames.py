"""What is read of a trajectory: coordinates of atoms, and what the file says besides them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AtomFrames:
    """What was read of a trajectory: xyz (frames, atoms, 3) float32 in nm, molecules whole.

    time_step_ps: between frames, None if the format does not say. box: the mean lengths of its three vectors in nm, or
    None; box_problem: why it was not believed, or None. without_positions: frames of the file that have velocities or
    forces alone, and were passed over. incomplete: the file ends within a frame, or before those that it announces.
    notices: what else is unusual in it. without_box: frames without one, where others have one. times_ps:
    (frames,), of a piece of a file whose format has them.
    """

    xyz: np.ndarray
    time_step_ps: float | None = None
    box: tuple[float, float, float] | None = None
    box_problem: str | None = None
    without_positions: int = 0
    incomplete: bool = False
    notices: tuple[str, ...] = ()
    times_ps: np.ndarray | None = None
    without_box: int = 0


def has_volume(vectors: np.ndarray) -> np.ndarray:
    """Which frames have a box, bool (frames,), of box vectors (frames, 3, 3)."""
    return np.abs(np.linalg.det(vectors.astype(np.float64))) > 0.0


def mean_box(vectors: np.ndarray | None) -> tuple[float, float, float] | None:
    """Mean lengths in nm of box vectors (frames, 3, 3) over frames that have a box; None where no frame has."""
    if vectors is None or not np.any(vectors):
        return None
    there = has_volume(vectors)
    a, b, c = np.linalg.norm(vectors[there] if there.any() else vectors, axis=-1).mean(0).tolist()
    return a, b, c


def frames_without_box(vectors: np.ndarray | None) -> int:
    """How many frames of box vectors (frames, 3, 3) have none, where others have one."""
    if vectors is None:
        return 0
    there = has_volume(vectors)
    return int((~there).sum()) if there.any() else 0
