"""Frames that a set of trajectories holds more than once: restarts that overlap, a run in two formats.

In: bead positions, an array a file. Out: how often frames return, and a warning for each two files that share some.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np

from fpforce.trajectories.collected import frame_by_frame

_FILE_PRECISION_NM = 1e-3  # of an .xtc
_SAME_WITHIN_NM = 1.5e-3
_FEWEST_TO_ROUND, _BEADS_OF_A_KEY = 4, 6


def repeats(pieces: Sequence[np.ndarray]) -> tuple[list[int], dict[tuple[int, int], int]]:
    """How often frames return: (repeated frames of each piece, {(earlier piece, later piece): frames that both have}).

    pieces: one array (frames, n, 3) in nm a file. Of four beads or more frames are alike within the precision of
    coordinates in files, since a run may be given in two formats; of fewer, number by number.
    """
    ends = np.cumsum([len(piece) for piece in pieces])
    repeated, shared = [0] * len(pieces), Counter()
    for pair in zip(*_alike(np.concatenate([frame_by_frame(_keys, piece) for piece in pieces])), strict=True):
        (earlier, before), (later, now) = (
            (int(number), pieces[number][frame - ends[number]])
            for frame, number in zip(pair, np.searchsorted(ends, pair, side="right"), strict=True)
        )
        if np.abs(before - now).max() <= _SAME_WITHIN_NM:
            repeated[later] += 1
            shared[earlier, later] += 1
    return repeated, dict(shared)


def _alike(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the first frame with the key, frame) of every frame but the first with a key, in order of frames."""
    in_order = np.sort(keys)
    several = np.flatnonzero(np.isin(keys, in_order[1:][in_order[1:] == in_order[:-1]]))
    _, first, which = np.unique(keys[several], return_index=True, return_inverse=True)
    earliest = several[first[which]]
    return earliest[earliest != several], several[earliest != several]


def repeat_warnings(
    paths: Sequence[str], pieces: Sequence[np.ndarray], shared: Mapping[tuple[int, int], int]
) -> list[str]:
    """Lines that say which files hold the same frames."""
    lines = []
    for (earlier, later), count in shared.items():
        whole = " (all of them)" if count == len(pieces[later]) else ""
        if earlier == later:
            lines.append(f"{count} frames of {paths[later]} equal an earlier one of it: they are counted again")
        else:
            lines.append(
                f"{count} frames of {paths[later]}{whole} are in {paths[earlier]} too, as where restarts overlap: they "
                "are counted twice; leave them out of one"
            )
    return lines


def _keys(piece: np.ndarray) -> np.ndarray:
    """What frames (frames, n, 3) that are alike have in common, int64 (frames,): of some beads, so that few lie on the
    edge between two rounded numbers.
    """
    beads = piece.shape[1]
    if beads >= _FEWEST_TO_ROUND:
        some = np.unique(np.linspace(0, beads - 1, _BEADS_OF_A_KEY).astype(int))
        piece = np.round(piece[:, some] / _FILE_PRECISION_NM).astype(np.int32)
    digests = b"".join(blake2b(frame.tobytes(), digest_size=8).digest() for frame in piece)
    return np.frombuffer(digests, dtype=np.int64)
