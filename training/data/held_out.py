"""Frames that are kept out of a training, to tell what it has learned from what it has memorised.

In: the BeadFrames of one molecule and the share to hold out. Out: the frames to train on and those held out. Frames
that are near in time are near in shape, so that frames held out one by one would have their likes among the others.
Blocks of time are held out
instead: whole trajectories where there are many, else the middle of each of a few stretches of every trajectory. Where
frames have weights, stretches and their middles have equal shares of the weight. Which frames these are depends on the
trajectories' lengths and the weights alone, so that a resumed run holds out the same.
"""

from dataclasses import replace

import numpy as np

from fpforce.trajectories.bead_frames import BeadFrames
from fpforce.trajectories.weights import effective_number

STRETCHES = 5  # of a trajectory, with a block held out in each: few, since neighbours in time lie at a block's two ends
FEWEST_HELD_OUT = 20  # frames; fewer say nothing
LARGEST_SHARE = 0.2  # of few frames, to have as many


def split_off(frames: BeadFrames, share: float) -> tuple[BeadFrames, BeadFrames | None]:
    """(frames to train on, frames held out); None, and all frames to train on, where `watched` has none."""
    held = watched(frames.lengths, share, None if frames.weights is None else frames.weights.values)
    return (part(frames, ~held), part(frames, held)) if held.any() else (frames, None)


def watched(lengths: tuple[int, ...], share: float, weights: np.ndarray | None = None) -> np.ndarray:
    """`held_out` by a share that is as large as FEWEST_HELD_OUT frames need, up to LARGEST_SHARE.

    None where that does not do.
    """
    count = sum(lengths)
    if share > 0.0:
        share = max(share, min(FEWEST_HELD_OUT / max(count, 1), LARGEST_SHARE))
    held = held_out(lengths, share, weights)
    counted = held.sum() if weights is None or not held.any() else effective_number(weights[held])
    if counted < FEWEST_HELD_OUT:
        return np.zeros(count, dtype=bool)
    return held


def held_out(lengths: tuple[int, ...], share: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Which frames (all frames,) are held out of trajectories with so many frames each.

    Of trajectories that are at least as many as 1/share, every so-many-th is held out as a whole, unless frames have
    weights (all frames,): of a few trajectories the weight may be anything.
    """
    if weights is not None:
        return _by_weight(lengths, share, weights)
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


def _by_weight(lengths: tuple[int, ...], share: float, weights: np.ndarray) -> np.ndarray:
    """The same with stretches of equal weight, in each of which the middle holds out the share of it."""
    held = []
    for own in np.split(weights, np.cumsum(lengths)[:-1]):
        total = own.sum()
        middle = (np.cumsum(own) - 0.5 * own) / total if total > 0 else np.zeros(len(own))  # of each frame's weight
        within = STRETCHES * middle % 1.0
        held.append((np.abs(within - 0.5) < 0.5 * share) & (total > 0))
    return np.concatenate(held)


def part(frames: BeadFrames, chosen: np.ndarray) -> BeadFrames:
    """The chosen frames; what belongs to a frame goes with it."""
    ends = np.cumsum(frames.lengths)
    lengths = tuple(int(one.sum()) for one in np.split(chosen, ends[:-1]))
    forces = frames.forces and frames.forces.of(chosen)
    weights = frames.weights and frames.weights.of(chosen)
    return replace(frames, positions_nm=frames.positions_nm[chosen], lengths=lengths, forces=forces, weights=weights)
