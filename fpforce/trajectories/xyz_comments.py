"""What the comments of an extended XYZ say: the box of each frame, and which columns hold the positions.

In: an .xyz. Out: box vectors in nm, which mdtraj does not read, and an InputError where it would take other columns for
positions.
Source: github.com/libAtoms/extxyz.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice, permutations
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError

_NM_PER_ANGSTROM = 0.1
_LATTICE = re.compile(r"(?<![\w-])lattice\s*=\s*(\"[^\"]*\"|'[^']*'|\{[^}]*\}|\[[^=]*\])", re.IGNORECASE)
_PERIODIC = re.compile(r"(?<!\w)pbc\s*=\s*[\"'{\[]*((?:\b(?:true|false|[tf01])\b[\s,]*)+)", re.IGNORECASE)
_PROPERTIES = re.compile(r"(?<!\w)properties\s*=\s*\"?([^\s\"]+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")
_FIRST_COLUMN = 1  # of positions, after that of the element
_AS_GOOD_AS_ZERO = 1e-4  # part of the longest vector
_NONE = np.zeros((3, 3))
_NO_PERIOD_NM = 1e3  # of a slab's third vector, where it is zero


def boxes(path: Path) -> np.ndarray | None:
    """Box vectors (frames, 3, 3) in nm of the whole frames of an .xyz, zero in those without one; None where none has
    one.

    Raises InputError for a Lattice that is no box, or whose vectors are turned otherwise than those of other formats.
    """
    state = path.stat()
    return _boxes(path.resolve(), state.st_mtime_ns, state.st_size)


def refuse_other_columns(path: Path, comment: str) -> None:
    """Raise InputError where Properties of a comment put the positions elsewhere than after the element."""
    found = _PROPERTIES.search(comment)
    if found is None:
        return
    parts, column = found[1].split(":"), 0
    for name, count in zip(parts[::3], parts[2::3], strict=False):
        if name.lower() in ("pos", "positions") and (column, count) != (_FIRST_COLUMN, "3"):
            raise InputError(
                f"{path}: its Properties ({found[1]}) put the positions after {column} columns, and "
                "they are read after one, the element: write it with Properties=species:S:1:pos:R:3 first"
            )
        column += int(count) if count.isdecimal() else 0


@cache
def _boxes(path: Path, modified_ns: int, size: int) -> np.ndarray | None:
    found = [_box(comment, path, number) for number, comment in enumerate(_comments(path))]
    return np.array(found) if np.any(found) else None


def _comments(path: Path) -> Iterator[str]:
    """The comment of each frame that is whole."""
    with open(path, errors="replace") as file:
        while (count := file.readline().strip()).isdecimal():
            comment = file.readline()
            if sum(1 for _ in islice(file, int(count))) < int(count):
                return
            yield comment


def _box(comment: str, path: Path, number: int) -> np.ndarray:
    """Box vectors (3, 3) in nm; zero where there is none, or no direction is periodic."""
    lattice, periodic = _LATTICE.search(comment), _PERIODIC.search(comment)
    if lattice is None or (periodic and not re.search(r"[t1]", periodic[1], re.IGNORECASE)):
        return _NONE
    values = [float(text.lower().replace("d", "e")) for text in _NUMBER.findall(lattice[1])]
    if not values:  # a word, such as fcc
        return _NONE
    where = f"{path}: in frame {number} (counted from 0) the Lattice"
    if len(values) not in (3, 9):
        raise InputError(f"{where} has {len(values)} numbers, and a box has 9: write three vectors, in angstrom")
    vectors = _NM_PER_ANGSTROM * (np.diag(values) if len(values) == 3 else np.reshape(values, (3, 3)))
    if not vectors.any():
        return _NONE
    along = _along_the_axes(vectors)
    if along is None:
        raise InputError(
            f"{where} is turned: the first of its vectors is to lie along x, the second in the plane of x and y, as in "
            'other formats; turn it with the atoms, or, where molecules are whole, write pbc="F F F"'
        )
    return along


def _along_the_axes(vectors: np.ndarray) -> np.ndarray | None:
    """The same periods (3, 3), in the order and of the signs that put the first along x and the second in the plane of
    x and y; a vector of zeros is no period. None where none are so.
    """
    small = _AS_GOOD_AS_ZERO * np.abs(vectors).max()
    for order in permutations(range(3)):
        ordered = vectors[list(order)]
        missing = np.flatnonzero(~ordered.any(axis=1))
        ordered[missing, missing] = _NO_PERIOD_NM
        ordered = ordered * np.where(np.diag(ordered) < 0.0, -1.0, 1.0)[:, None]
        if (np.abs(ordered[np.triu_indices(3, 1)]) <= small).all() and (np.diag(ordered) > small).all():
            return ordered
    return None
