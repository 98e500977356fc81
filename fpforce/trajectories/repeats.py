"""Frames that a set of trajectories holds more than once: restarts that overlap, a run in two formats.

In: bead positions, an array a file. Out: how often frames return, and a warning for each two files that share some.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

_FILE_PRECISION_NM = 1e-3  # of an .xtc
_SAME_WITHIN_NM = 1.5e-3
_FEWEST_TO_ROUND, _BEADS_OF_A_KEY = 4, 6


def repeats(pieces: Sequence[np.ndarray]) -> tuple[list[int], dict[tuple[int, int], int]]:
    """How often frames return: (repeated frames of each piece, {(earlier piece, later piece): frames that both have}).

    pieces: one array (frames, n, 3) in nm a file. Of four beads or more frames are alike within the precision of
    coordinates in files, since a run may be given in two formats; of fewer, number by number.
    """
    first_in: dict[bytes, tuple[int, int]] = {}
    repeated, shared = [], Counter()
    for number, piece in enumerate(pieces):
        again = 0
        for index, (frame, key) in enumerate(zip(piece, _keys(piece), strict=True)):
            there = first_in.setdefault(key, (number, index))
            if there == (number, index):
                continue
            if np.abs(pieces[there[0]][there[1]] - frame).max() <= _SAME_WITHIN_NM:
                again += 1
                shared[there[0], number] += 1
        repeated.append(again)
    return repeated, dict(shared)


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


def _keys(piece: np.ndarray) -> list[bytes]:
    """What frames (frames, n, 3) that are alike have in common: of some beads, so that few lie on the edge between two
    rounded numbers.
    """
    beads = piece.shape[1]
    if beads < _FEWEST_TO_ROUND:
        return [frame.tobytes() for frame in piece]
    some = np.unique(np.linspace(0, beads - 1, _BEADS_OF_A_KEY).astype(int))
    return [frame.tobytes() for frame in np.round(piece[:, some] / _FILE_PRECISION_NM).astype(np.int32)]
