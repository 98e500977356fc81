"""Files that are another one's frames in order, moved and turned: of few beads, of which single frames are alike by
chance, and many in a row are not.

In: bead positions, an array a file. Out: which files are such copies, be it of every k-th frame, or of a stretch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial import cKDTree

from fpforce.trajectories.collected import advise

SAME_WITHIN_NM = 1.5e-3
SAME_SHAPE_NM = 3e-3
PAIRS_AT_ONCE = 10_000
BEADS_OF_A_SHAPE = 5
_FRAMES_IN_ORDER, _NEARLY_ALL = 20, 0.9
_LARGEST_STRIDE = 100


def shapes(piece: np.ndarray) -> np.ndarray:
    """Distances (frames, 10) between five beads of frames (frames, n, 3), which no motion of the whole changes."""
    some = piece[:, np.linspace(0, piece.shape[1] - 1, BEADS_OF_A_SHAPE).round().astype(int)]
    first, second = np.triu_indices(BEADS_OF_A_SHAPE, k=1)
    return np.linalg.norm(some[:, first] - some[:, second], axis=-1)


def superposed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How far at most, (frames,), one coordinate of a bead lies beside its other, of frames (frames, n, 3) that are
    moved and turned onto each other.

    Source: W. Kabsch, Acta Cryst. A32, 922 (1976).
    """
    first, second = (frames.astype(np.float64) for frames in (first, second))
    first, second = (frames - frames.mean(axis=1, keepdims=True) for frames in (first, second))
    left, _, right = np.linalg.svd(np.swapaxes(second, 1, 2) @ first)
    left[:, :, -1] *= np.sign(np.linalg.det(left @ right))[:, None]
    return np.abs(first - second @ (left @ right)).max(axis=(1, 2))


def moved_in_order(pieces: Sequence[np.ndarray], known: Sequence[int]) -> dict[tuple[int, int], int]:
    """{(earlier piece, later piece): frames of the later that are one of the earlier}, moved and turned, where the
    whole of the shorter one is in the longer one, every k-th frame of it from some frame on. known: how many of each
    were found as they lie. Rigid molecules, whose frames are all alike so, are left out.
    """
    samples = {
        number: some
        for number, piece in enumerate(pieces)
        if known[number] < len(piece) >= _FRAMES_IN_ORDER and _varies(some := shapes(piece[_in_order(len(piece))]))
    }
    if len(samples) < 2:
        return {}
    shared: dict[tuple[int, int], int] = {}
    copied: set[int] = set()
    numbers = list(samples)
    beginnings = [cKDTree([samples[number][frame] for number in numbers]) for frame in (0, 1)]
    for longer in numbers:
        for which, starts, seconds in _beginning_like(pieces[longer], beginnings):
            shorter = numbers[which]
            pair = min(longer, shorter), max(longer, shorter)
            if longer == shorter or pair[1] in copied or len(pieces[shorter]) > len(pieces[longer]):
                continue
            count = _copied(pieces[longer], pieces[shorter], samples[shorter], starts, seconds)
            if count > known[pair[1]]:
                shared[pair] = count - known[pair[1]]
                copied.add(pair[1])
    return shared


def _in_order(frames: int) -> np.ndarray:
    return np.linspace(0, frames - 1, _FRAMES_IN_ORDER).astype(int)


def _varies(some: np.ndarray) -> bool:
    return not (np.abs(some[1:] - some[:-1]).max(axis=1) < SAME_SHAPE_NM).any()


def _beginning_like(piece: np.ndarray, beginnings: Sequence[cKDTree]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(place of one of the first shapes, which frames of a piece nearly have it, and which the second shape at this
    place) of those that some have.
    """
    found: list[list[np.ndarray]] = [[] for _ in beginnings]
    for start in range(0, len(piece), PAIRS_AT_ONCE):
        here = cKDTree(shapes(piece[start : start + PAIRS_AT_ONCE]))
        for tree, pairs in zip(beginnings, found, strict=True):
            near = here.sparse_distance_matrix(tree, SAME_SHAPE_NM, p=np.inf, output_type="ndarray")
            pairs.append(np.stack([near["j"], near["i"] + start], axis=1))
        advise(piece, "MADV_DONTNEED")
    first, second = map(_by_place, found)
    for which in sorted(first.keys() & second.keys()):
        yield which, first[which], second[which]


def _by_place(found: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """{place: frames in order} of pairs (some, 2) of both."""
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    places, starts = np.unique(pairs[:, 0], return_index=True)
    return dict(zip(places.tolist(), np.split(pairs[:, 1], starts[1:]), strict=False))


def _copied(long: np.ndarray, short: np.ndarray, some: np.ndarray, starts: np.ndarray, seconds: np.ndarray) -> int:
    """How many frames of a piece are those of a longer one in order, from one of some frames on. some: the shapes of
    its frames `_in_order`; seconds: where the longer one has the second of these.
    """
    is_second = np.zeros(len(long), dtype=bool)
    is_second[seconds] = True
    second, *others = _in_order(len(short))[1:]
    for stride in range(1, min((len(long) - 1) // (len(short) - 1), _LARGEST_STRIDE) + 1):
        left = starts[starts + stride * (len(short) - 1) < len(long)]
        left = left[is_second[left + stride * second]]
        for frame, shape in zip(others, some[2:], strict=True):
            left = left[np.abs(shapes(long[left + stride * frame]) - shape).max(axis=1) < SAME_SHAPE_NM]
        for start in left:
            of_long, count = long[start::stride][: len(short)], 0
            for first in range(0, len(short), PAIRS_AT_ONCE):
                part = slice(first, first + PAIRS_AT_ONCE)
                count += int(np.count_nonzero(superposed(of_long[part], short[part]) <= SAME_WITHIN_NM))
            if count > _NEARLY_ALL * len(short):
                return count
    return 0
