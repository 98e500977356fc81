"""Frames that are kept out of a training, to tell what it has learned from what it has memorised.

In: the BeadFrames of one molecule and the share to hold out. Out: the frames to train on and those held out. Frames
that are near in time are near in shape, so that frames held out one by one would have their likes among the others.
Blocks of time are held out
instead: whole trajectories where there are many, else the middle of each of a few stretches of every trajectory. Which
frames these are depends on the trajectories' lengths alone, so that a resumed run holds out the same.
"""

from dataclasses import replace

import numpy as np

from fpforce.trajectories.bead_frames import BeadFrames

STRETCHES = 5  # of a trajectory, with a block held out in each: few, since neighbours in time lie at a block's two ends
FEWEST_HELD_OUT = 20  # frames; fewer say nothing


def split_off(frames: BeadFrames, share: float) -> tuple[BeadFrames, BeadFrames | None]:
    """(frames to train on, frames held out); None, and all frames to train on, where the share is less than
    FEWEST_HELD_OUT frames.
    """
    held = held_out(frames.lengths, share)
    if held.sum() < FEWEST_HELD_OUT:
        return frames, None
    return _part(frames, ~held), _part(frames, held)


def held_out(lengths: tuple[int, ...], share: float) -> np.ndarray:
    """Which frames (all frames,) are held out of trajectories with so many frames each.

    Of trajectories that are at least as many as 1/share, every so-many-th is held out as a whole.
    """
    held = [np.zeros(length, dtype=bool) for length in lengths]
    if share <= 0:
        return np.concatenate(held)
    whole = int(len(lengths) * share + 1e-9)
    if whole:
        for number in range(whole):
            held[int((number + 0.5) * len(lengths) / whole)][:] = True
        return np.concatenate(held)
    for one in held:
        edges = np.linspace(0, len(one), STRETCHES + 1)
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            middle, half = 0.5 * (start + end), 0.5 * share * (end - start)
            one[round(middle - half) : round(middle + half)] = True
    return np.concatenate(held)


def _part(frames: BeadFrames, chosen: np.ndarray) -> BeadFrames:
    """The chosen frames; what belongs to a frame goes with it."""
    ends = np.cumsum(frames.lengths)
    lengths = tuple(int(part.sum()) for part in np.split(chosen, ends[:-1]))
    forces = frames.forces and replace(frames.forces, kj_per_mol_nm=frames.forces.kj_per_mol_nm[chosen])
    return replace(frames, positions_nm=frames.positions_nm[chosen], lengths=lengths, forces=forces)
