"""Frames that a set of trajectories holds more than once: restarts that overlap, a run in two formats, a copy that was
centred or fitted.

In: bead positions, an array a file. Out: how often frames return, and a warning for each two files that share some.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from fpforce.trajectories.collected import Collected, advise, pieces_of
from fpforce.trajectories.moved_copies import (
    BEADS_OF_A_SHAPE,
    PAIRS_AT_ONCE,
    SAME_SHAPE_NM,
    SAME_WITHIN_NM,
    moved_in_order,
    superposed,
)
from fpforce.trajectories.moved_copies import shapes as shapes_of

_FILE_PRECISION_NM = 1e-3  # of an .xtc
_FRAMES_OF_A_GROUP, _MOST_BITS = 500_000, 8  # 2**8 groups are as many files
_FEWEST_TO_ROUND, _BEADS_OF_A_KEY = 4, 6
_FEWEST_IN_ORDER = 3
_FEWEST_TO_MOVE = 8  # of fewer beads frames are alike by chance, where they may lie anywhere
# Each of the cells' grids lies a part of a width beside the one before. The edge of one grid at most is between two
# distances that differ by less than this part, so that one grid more than distances has none between any of a frame's.
_CELL_NM = 0.014  # a seventh is 0.002 nm, above what two roundings change a distance by
_NEXT_ONES = 4
_BY_CHANCE = 1e-3  # of the frames of a file


def repeats(pieces: Sequence[np.ndarray], scratch: Path | None = None) -> tuple[list[int], dict[tuple[int, int], int]]:
    """How often frames return: (repeated frames of each piece, {(earlier piece, later piece): frames that both have}).

    pieces: one array (frames, n, 3) in nm a file. Of four beads or more frames are alike within the precision of
    coordinates in files, since a run may be given in two formats; of fewer, number by number. Of eight beads or more
    they are alike, too, where one is moved and turned, but not mirrored; of three to seven, where a whole file is
    another's frames in order so, be it of every k-th one or of a stretch. scratch: a folder for what would take memory
    with every frame.
    """
    ends = np.cumsum([len(piece) for piece in pieces])
    shared: Counter[tuple[int, int]] = Counter()
    frames, beads = int(ends[-1]), pieces[0].shape[1]
    found = Collected(scratch, "found", np.int64)
    keys = _Keys(frames, scratch)
    shapes = Collected(scratch, "shapes")
    for piece in pieces:
        for part in pieces_of(piece):
            keys.add(_keys(part))
            if beads >= _FEWEST_TO_MOVE:
                shapes.add(shapes_of(part))
    for earlier, later in map(_alike, keys.groups()):
        for start in range(0, len(later), PAIRS_AT_ONCE):
            before, now = (numbers[start : start + PAIRS_AT_ONCE] for numbers in (earlier, later))
            distances = np.abs(_frames(pieces, ends, before) - _frames(pieces, ends, now)).max(axis=(1, 2))
            near = distances <= SAME_WITHIN_NM
            shared.update(_files(ends, before[near], now[near]))
            found.add(np.stack([before[near], now[near]], axis=1))
            for piece in pieces:
                advise(piece, "MADV_DONTNEED")
    if beads >= _FEWEST_TO_MOVE:
        shared.update(_moved(pieces, ends, shapes.array(), found, scratch))
    elif beads >= _FEWEST_IN_ORDER:
        shared.update(moved_in_order(pieces, _of_later(shared, len(pieces))))
    return _of_later(shared, len(pieces)), dict(shared)


def _of_later(shared: Mapping[tuple[int, int], int], pieces: int) -> list[int]:
    """Repeated frames of each of so many pieces."""
    counts = [0] * pieces
    for (_, later), count in shared.items():
        counts[later] += count
    return counts


def _moved(
    pieces: Sequence[np.ndarray], ends: np.ndarray, shapes: np.ndarray, found: Collected, scratch: Path | None
) -> dict[tuple[int, int], int]:
    """{(earlier piece, later piece): frames of the later that are one of the earlier, moved and turned}, without those
    that were found as they lie. shapes: (frames, distances) of all, in nm; found: (earlier frame, frame) of these.
    """
    origins = _numbers(len(shapes), scratch)  # an earlier frame that is the same, or the frame itself
    as_they_lie = found.array() if len(found) else np.empty((0, 2), np.int64)
    for pairs in pieces_of(as_they_lie):
        origins[pairs[:, 1]] = pairs[:, 0]
    grids = len(_keyed()) + 1
    for grid in range(grids):
        keys = _Keys(len(shapes), scratch)
        for part in pieces_of(shapes):
            keys.add(_cells(part, grid / grids))
        for group in keys.groups():
            earlier, later = _of_one_shape(group, shapes)
            for start in range(0, len(later), PAIRS_AT_ONCE):
                before, now = (numbers[start : start + PAIRS_AT_ONCE] for numbers in (earlier, later))
                new = origins[now] == now
                before, now = before[new], now[new]
                near = superposed(_frames(pieces, ends, before), _frames(pieces, ends, now)) <= SAME_WITHIN_NM
                origins[now[near][::-1]] = before[near][::-1]  # the earliest is set last
                for array in (*pieces, shapes):
                    advise(array, "MADV_DONTNEED")
    shared: Counter[tuple[int, int]] = Counter()
    for start in range(0, len(shapes), PAIRS_AT_ONCE):
        now = np.arange(start, min(start + PAIRS_AT_ONCE, len(shapes)))
        now = now[origins[now] != now]
        shared.update(_files(ends, _first_of(origins, now), now))
    for pairs in pieces_of(as_they_lie):
        shared.subtract(_files(ends, _first_of(origins, pairs[:, 1]), pairs[:, 1]))
    return {pair: count for pair, count in shared.items() if count > _BY_CHANCE * len(pieces[pair[1]])}


def _first_of(origins: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The first of the frames (some,) that are the same as each."""
    while (origins[numbers] != numbers).any():
        numbers = origins[numbers]
    return np.asarray(numbers)


def _of_one_shape(keys: np.ndarray, shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(earlier frame, later frame) of frames with one key and nearly one shape, by the later one, of (key, frame)
    (some, 2): each with the first of its key, and with the next ones by the sum of distances.
    """
    distances = np.concatenate([shapes[part] for part in pieces_of(keys[:, 1])])
    pairs = [np.searchsorted(keys[:, 1], np.stack(_alike(keys)))]
    order = np.lexsort((distances.sum(axis=1), keys[:, 0]))
    for step in range(1, _NEXT_ONES + 1):
        two = np.sort(np.stack([order[:-step], order[step:]]), axis=0)
        pairs.append(two[:, keys[two[0], 0] == keys[two[1], 0]])
    close = [two[:, np.abs(distances[two[0]] - distances[two[1]]).max(axis=1) < SAME_SHAPE_NM] for two in pairs]
    earlier, later = np.unique(np.concatenate(close, axis=1)[::-1], axis=1)[::-1]
    return keys[earlier, 1], keys[later, 1]


def _numbers(count: int, folder: Path | None) -> np.ndarray:
    """0 to count - 1, int64 (count,), in a file of a folder where one is given."""
    if folder is None:
        return np.arange(count)
    numbers = np.memmap(folder / "origins", dtype=np.int64, mode="w+", shape=(count,))
    for start in range(0, count, PAIRS_AT_ONCE):
        numbers[start : start + PAIRS_AT_ONCE] = np.arange(start, min(start + PAIRS_AT_ONCE, count))
    return numbers


def _files(ends: np.ndarray, earlier: np.ndarray, later: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pieces of each two frames, by their numbers over all pieces."""
    return zip(*(np.searchsorted(ends, frames, side="right").tolist() for frames in (earlier, later)), strict=True)


def _keyed() -> np.ndarray:
    """Which of these distances make a key: all but those of neighbours, which vary least."""
    first, second = np.triu_indices(BEADS_OF_A_SHAPE, k=1)
    return np.flatnonzero(second - first > 1)


def _cells(shapes: np.ndarray, beside: float) -> np.ndarray:
    """The cell, int64 (frames,), of each shape (frames, distances) in the grid that lies this part of a width beside
    the first.
    """
    cells = np.floor(shapes[:, _keyed()] / _CELL_NM + beside).astype(np.int64)
    odd = np.random.default_rng(0).integers(1 << 62, size=cells.shape[1]) * 2 + 1  # which mix the bits of a product
    return (cells * odd).sum(axis=1)


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
                f"{count} frames of {paths[later]}{whole} are in {paths[earlier]} too, as where restarts overlap or in "
                "a copy that is centred or fitted: they are counted twice; leave them out of one"
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
