"""Frames that a set of trajectories holds more than once: restarts that overlap, a run in two formats.

In: bead positions, an array a file. Out: how often frames return, and a warning for each two files that share some.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from fpforce.trajectories.collected import Collected, advise, pieces_of

_FILE_PRECISION_NM = 1e-3  # of an .xtc
_SAME_WITHIN_NM = 1.5e-3
_PAIRS_AT_ONCE = 10_000
_FRAMES_OF_A_GROUP, _MOST_BITS = 500_000, 8  # 2**8 groups are as many files
_FEWEST_TO_ROUND, _BEADS_OF_A_KEY = 4, 6


def repeats(pieces: Sequence[np.ndarray], scratch: Path | None = None) -> tuple[list[int], dict[tuple[int, int], int]]:
    """How often frames return: (repeated frames of each piece, {(earlier piece, later piece): frames that both have}).

    pieces: one array (frames, n, 3) in nm a file. Of four beads or more frames are alike within the precision of
    coordinates in files, since a run may be given in two formats; of fewer, number by number. scratch: a folder for
    what would take memory with every frame.
    """
    ends = np.cumsum([len(piece) for piece in pieces])
    shared: Counter[tuple[int, int]] = Counter()
    keys = _Keys(int(ends[-1]), scratch)
    for piece in pieces:
        for part in pieces_of(piece):
            keys.add(_keys(part))
    for earlier, later in map(_alike, keys.groups()):
        for start in range(0, len(later), _PAIRS_AT_ONCE):
            before, now = (frames[start : start + _PAIRS_AT_ONCE] for frames in (earlier, later))
            distances = np.abs(_frames(pieces, ends, before) - _frames(pieces, ends, now)).max(axis=(1, 2))
            near = distances <= _SAME_WITHIN_NM
            numbers = (np.searchsorted(ends, frames[near], side="right").tolist() for frames in (before, now))
            shared.update(zip(*numbers, strict=True))
            for piece in pieces:
                advise(piece, "MADV_DONTNEED")
    repeated = [sum(count for (_, later), count in shared.items() if later == number) for number in range(len(pieces))]
    return repeated, dict(shared)


class _Keys:
    """Keys of frames in their order; those that are alike come back in one group. With a folder they are on the disk,
    but for one group.
    """

    def __init__(self, frames: int, folder: Path | None) -> None:
        self._bits = 0 if folder is None else min(_MOST_BITS, max(0, frames // _FRAMES_OF_A_GROUP).bit_length())
        here = folder if self._bits else None
        self._groups = [Collected(here, f"keys_{group}", np.int64) for group in range(1 << self._bits)]
        self._frames = 0

    def add(self, keys: np.ndarray) -> None:
        """Those (some,) of the next frames."""
        numbered = np.stack([keys, np.arange(self._frames, self._frames + len(keys))], axis=1)
        self._frames += len(keys)
        group = keys.view(np.uint64) >> np.uint64(64 - self._bits) if self._bits else np.zeros(len(keys), np.uint64)
        for number in np.unique(group):
            self._groups[number].add(numbered[group == number])

    def groups(self) -> Iterator[np.ndarray]:
        """(key, number of the frame) (some, 2), in the order of frames."""
        for group in filter(len, self._groups):
            yield np.array(group.array())


def _alike(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the first frame with the key, frame) of every frame but the first with a key, of (key, frame) (some, 2)."""
    _, first, which = np.unique(keys[:, 0], return_index=True, return_inverse=True)
    earliest = first[which]
    later = np.flatnonzero(earliest != np.arange(len(keys)))
    return keys[earliest[later], 1], keys[later, 1]


def _frames(pieces: Sequence[np.ndarray], ends: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Frames (some, n, 3) by their numbers over all pieces."""
    found = np.empty((len(numbers), *pieces[0].shape[1:]), dtype=np.float32)
    of = np.searchsorted(ends, numbers, side="right")
    for number in np.unique(of):
        found[of == number] = pieces[number][numbers[of == number] - (ends[number] - len(pieces[number]))]
    return found


def repeat_warnings(
    paths: Sequence[str], pieces: Sequence[np.ndarray], shared: Mapping[tuple[int, int], int]
) -> list[str]:
    """Lines that say which files hold the same frames."""
    lines = []
    for (earlier, later), count in sorted(shared.items(), key=lambda each: each[0][::-1]):
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
