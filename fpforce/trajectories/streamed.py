"""Medians and extents of numbers that are too many to be held.

In: pieces (some, columns) of floating-point numbers, which can be gone through several times. Out: those of each
column, exactly. Numbers that fit _BYTES_HELD are sorted; of more, digit by digit of their binary form, it is counted
how many begin like the median.
"""

from collections.abc import Callable, Iterable

import numpy as np

_BYTES_HELD = 16 << 20
_DIGIT_BITS = 16

Pieces = Callable[[], Iterable[np.ndarray]]


def medians(pieces: Pieces) -> np.ndarray:
    """Median (columns,) of all numbers of each column, as `numpy.median`; there is at least one.

    pieces(): pieces (some, columns) of one type, the same each time: all are gone through once more for every 16 bits
    of a number.
    """
    held, size = [], 0
    for piece in pieces():
        held.append(piece)
        size += piece.nbytes
        if size > _BYTES_HELD:
            break
    else:
        return np.asarray(np.median(np.concatenate(held), axis=0))
    columns, dtype = piece.shape[1], piece.dtype
    del held, piece
    return _selected(pieces, columns, dtype)


def extents(pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(smallest, median, largest) number (columns,) of each column, as of `medians`."""
    smallest = largest = None
    for piece in filter(len, pieces()):
        low, high = piece.min(axis=0), piece.max(axis=0)
        smallest = low if smallest is None else np.minimum(smallest, low)
        largest = high if largest is None else np.maximum(largest, high)
    assert smallest is not None and largest is not None
    return smallest, medians(pieces), largest


def _selected(pieces: Pieces, columns: int, dtype: np.dtype) -> np.ndarray:
    """The mean of the two middle numbers of each column; each pass knows one digit more of both."""
    bits, unsigned = 8 * dtype.itemsize, np.dtype(f"u{dtype.itemsize}")
    begins = np.zeros((2, columns), dtype=unsigned)  # the middle numbers as far as known, the digits to come 0
    ranks = np.zeros((2, columns), dtype=np.int64)  # among the numbers that begin so
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        counts = np.zeros((2, columns, 1 << _DIGIT_BITS), dtype=np.int64)
        for piece in pieces():
            ordered = _ordered(piece, unsigned)
            for column in range(columns):
                _count(counts[:, column], ordered[:, column], begins[:, column], shift, bits)
        if shift == bits - _DIGIT_BITS:
            total = int(counts[0, 0].sum())
            ranks[:] = [[(total - 1) // 2], [total // 2]]
        below = np.cumsum(counts, axis=2)
        digits = (below <= ranks[..., None]).sum(axis=2)
        ranks -= np.where(digits > 0, np.take_along_axis(below, digits[..., None] - 1, axis=2)[..., 0], 0)
        begins |= digits.astype(unsigned) << unsigned.type(shift)
    return _numbers(begins, dtype).mean(axis=0)


def _count(counts: np.ndarray, ordered: np.ndarray, begins: np.ndarray, shift: int, bits: int) -> None:
    """Add the next digit of those numbers (some,) that begin as either middle one to its counts (2, digits)."""
    known = shift + _DIGIT_BITS
    for which, begin in enumerate(begins):
        if which and begin == begins[0]:
            counts[1] = counts[0]
            return
        alike = ordered if known == bits else ordered[ordered >> known == begin >> known]
        digits = (alike >> shift) & ((1 << _DIGIT_BITS) - 1)
        counts[which] += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT_BITS)


def _ordered(values: np.ndarray, unsigned: np.dtype) -> np.ndarray:
    """Whole numbers in the order of floating-point ones: the sign's bit is turned round, of negative ones all bits."""
    found = np.ascontiguousarray(values).view(unsigned)
    sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
    return np.where(found & sign, ~found, found | sign)


def _numbers(ordered: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The floating-point numbers of `_ordered`."""
    sign = ordered.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(ordered & sign, ordered ^ sign, ~ordered).view(dtype)
