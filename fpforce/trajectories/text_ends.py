"""Whether a trajectory of text ends within a frame, as a killed run or a full disk leaves it.

In: an .xyz, AMBER's .mdcrd, a LAMMPS dump, a .gro or a .pdb. Out: how many frames are whole, where the last one is
not. mdtraj passes over what follows them, and takes the beginning of a number for the number.
"""

import gzip
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, cast

from fpforce.trajectories.formats import format_of, unpacked

# Lines before the atoms, which of them has their number, and lines after the atoms.
_COUNTED = {".xyz": (2, 0, 0), ".xyz.gz": (2, 0, 0), ".lammpstrj": (9, 3, 0), ".gro": (2, 1, 1)}
_AMBER = (".mdcrd", ".crd")
_END_OF_PDB_Z = 54
_LINES_TO_COMPARE = 20
_NUMBERS_A_LINE, _WIDTH = 10, 8  # of AMBER's format


def whole_frames_before_end(path: Path, n_atoms: int) -> int | None:
    """How many whole frames a file of text holds that ends within another one; None where it ends with a frame, or is
    of another format.
    """
    form = format_of(path)
    if form not in (*_COUNTED, *_AMBER, ".pdb"):
        return None
    with _opened(path, form) as file:
        if form == ".pdb":
            return _of_pdb(file)
        if form in _AMBER:
            return _of_amber(file, n_atoms)
        return _of_counted(iter(file), *_COUNTED[form])


def _opened(path: Path, form: str) -> IO[str]:
    if form.endswith(".gz"):
        return cast(IO[str], gzip.open(path, "rt", errors="replace"))
    return open(unpacked(path), errors="replace")


def _of_counted(lines: Iterator[str], before: int, count_at: int, after: int) -> int | None:
    """Of frames that say how many atoms follow."""
    frames, last = 0, ""
    while True:
        head = list(islice(lines, before))
        if not any(map(str.strip, head)):
            return None
        try:
            count = int(head[count_at]) if len(head) == before else -1
        except ValueError:  # its reader says what is wrong
            return None if head[count_at].endswith("\n") else frames
        atoms = list(islice(lines, max(count, 0) + after))
        if count < 0 or len(atoms) < count + after:
            return frames
        alike = [last] if frames else [atoms[-1].split(maxsplit=1)[0]]
        if after == 0 and count > 1:
            alike = atoms[-1 - _LINES_TO_COMPARE : -1]
        if atoms and _is_cut(atoms[-1], alike):
            return frames
        frames, last = frames + 1, atoms[-1] if atoms else ""


def _is_cut(line: str, alike: Sequence[str]) -> bool:
    """Whether a line without an end has fewer numbers than lines like it, or fewer decimals in the last one."""
    if line.endswith("\n"):
        return False
    own = line.split()
    others = [other.split() for other in alike]
    if not own or any(len(own) < len(other) for other in others):
        return True
    return bool(others) and _decimals(own[-1]) < min(_decimals(other[-1]) for other in others if other)


def _decimals(number: str) -> int:
    """Characters after the point."""
    return len(number.partition(".")[2])


def _of_pdb(file: IO[str]) -> int | None:
    """Of models whose last atom may be cut within its z; other cuts leave a model of fewer atoms, which is refused."""
    models, last = 0, ""
    for line in file:
        models += line.startswith("ENDMDL")
        last = line
    cut = last.startswith(("ATOM", "HETATM")) and not last.endswith("\n") and len(last) < _END_OF_PDB_Z
    return models if cut else None


def _of_amber(file: IO[str], n_atoms: int) -> int | None:
    """Of lines of ten numbers, a title before the first frame, and a line for the box after each, in some files."""
    numbers = 3 * n_atoms
    each = -(-numbers // _NUMBERS_A_LINE)
    file.readline()
    lines, last, boxed = 0, "", False
    for line in file:
        if not line.strip():
            continue
        if lines == each:
            boxed = len(line.split()) == 3 and numbers > 3
        lines, last = lines + 1, line
    frames, more = divmod(lines, each + boxed)
    if more:
        return frames
    if boxed:
        cut = len(last.split()) < 3 or _is_cut(last, last.split()[:1])
    else:
        cut = len(last.rstrip()) < _WIDTH * (numbers - (each - 1) * _NUMBERS_A_LINE)
    return frames - 1 if cut else None
