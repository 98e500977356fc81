"""Coarse-grained structures as PDB text.

In: a BeadTable and positions. Out: text that mdtraj and OpenMM read, with the bonds. Element columns are always filled,
because readers otherwise take a bead named CA for calcium.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import LETTERS, BeadTable
from fpforce.molecule.graph import neighbours_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_LOWEST_NM, _HIGHEST_NM = -99.9999, 999.9999  # coordinates that eight columns hold, in angstroms with three decimals
_DECIMAL_SERIALS = 100_000  # that five columns hold
_HEXADECIMAL_SERIALS = 0x100000 - 0xA0000  # from A0000 on, as OpenMM goes on counting


def write_pdb(table: BeadTable, path_or_file: str | os.PathLike[str] | TextIO, positions_nm: "ArrayLike") -> None:
    """Write beads as PDB with element column, TER and CONECT records.

    Args:
        table: the BeadTable. Names longer than the columns are cut to them, and such chains get letters. Beyond 99,999
            of beads and ends of chains, serial numbers go on as A0000, A0001, ... in base 16, which OpenMM reads;
            mdtraj then reads the beads, and no bonds.
        path_or_file: path, which is replaced when all is written, or a text file open for writing.
        positions_nm: (n, 3) or (frames, n, 3) in nm; several frames become MODELs. A frame that reaches beyond the
            columns of a PDB (-99.9999 to 999.9999 nm) is moved, with its mean position to the origin.

    Raises:
        InputError: other shape, positions that are not finite or too far apart for these columns, or more beads than a
            PDB can number.
    """
    frames = np.asarray(positions_nm, dtype=np.float64)
    if frames.ndim == 2:
        frames = frames[None]
    if frames.ndim != 3 or frames.shape[1:] != (len(table), 3):
        raise InputError(
            f"positions of shape {np.shape(positions_nm)} do not fit {len(table)} beads: give (frames, n, 3)"
        )
    placed = [_within_columns(frame) for frame in frames]
    serials, rows = _rows(table)
    with _opened(path_or_file) as out:
        for number, frame in enumerate(placed, start=1):
            if len(frames) > 1:
                out.write(f"MODEL     {number:4d}\n")
            for head, bead, tail in rows:
                coordinates = "".join(f"{10.0 * x:8.3f}" for x in frame[bead]) if bead is not None else ""
                out.write(f"{head}{coordinates}{tail}\n")
            if len(frames) > 1:
                out.write("ENDMDL\n")
        neighbours = neighbours_of(table.bonds)
        for i in sorted(neighbours):
            partners = sorted(set(neighbours[i]))
            for start in range(0, len(partners), 4):
                out.write("CONECT" + "".join(serials[j] for j in [i, *partners[start : start + 4]]) + "\n")
        out.write("END\n")


@contextmanager
def _opened(path_or_file: str | os.PathLike[str] | TextIO) -> Iterator[TextIO]:
    if hasattr(path_or_file, "write"):
        yield cast(TextIO, path_or_file)
        return
    with replacing(cast(str, path_or_file)) as unfinished, open(unfinished, "w") as file:
        yield file


def pdb_names(table: BeadTable) -> list[tuple[str, str]]:
    """[(name, residue), ...] of the beads as PDB columns hold them: four letters each.

    Longer names in one residue that would become alike end in a number: head1 and head2 become head and hea1.
    """
    names, taken = [], {}
    for bead in table.beads:
        used = taken.setdefault((bead.chain, bead.residue_index), set())
        name = bead.name[:4]
        number = 0
        while len(bead.name) > 4 and name in used:
            number += 1
            name = bead.name[: 4 - len(str(number))] + str(number)
        used.add(name)
        names.append((name, bead.residue[:4]))
    return names


def pdb_chains(table: BeadTable) -> dict[str, str]:
    """{chain: its letter in a PDB}: its name where that is one letter, else the next letter that no other chain has."""
    chains = list(dict.fromkeys(bead.chain for bead in table.beads))
    taken = {chain for chain in chains if len(chain) == 1}
    free = itertools.cycle([letter for letter in LETTERS if letter not in taken] or LETTERS)
    return {chain: chain if len(chain) == 1 else next(free) for chain in chains}


def _within_columns(frame_nm: np.ndarray) -> np.ndarray:
    """The frame (n, 3) where it is, or centred where the columns hold it no other way."""
    if np.all(np.isfinite(frame_nm)):
        for placed in (frame_nm, frame_nm - frame_nm.mean(axis=0)):
            if np.all((placed >= _LOWEST_NM) & (placed <= _HIGHEST_NM)):
                return placed
    raise InputError(
        f"positions are not finite, or so far apart that a PDB cannot hold them: it has room for {_LOWEST_NM} to "
        f"{_HIGHEST_NM} nm; give positions in nm, of whole molecules"
    )


def _serial(number: int) -> str:
    """A serial number, from 1, in the five columns of a PDB."""
    if number < _DECIMAL_SERIALS:
        return f"{number:5d}"
    if number < _DECIMAL_SERIALS + _HEXADECIMAL_SERIALS:
        return f"{number - _DECIMAL_SERIALS + 0xA0000:5X}"
    raise InputError(
        f"a PDB numbers at most {_DECIMAL_SERIALS + _HEXADECIMAL_SERIALS - 1} beads and ends of chains; "
        "choose fewer beads"
    )


def _rows(table: BeadTable) -> tuple[list[str], list[tuple[str, int | None, str]]]:
    """Serial number per bead, and the text around the coordinates: (before, bead index or None for TER, after)."""
    names, chains = pdb_names(table), pdb_chains(table)
    serials: list[str] = []
    rows: list[tuple[str, int | None, str]] = []
    serial = 0
    for i, bead in enumerate(table.beads):
        serial += 1
        serials.append(_serial(serial))
        element = (bead.element or "C").upper()
        name, residue_name = names[i]
        name = name if len(name) >= 4 or len(element) == 2 else f" {name}"
        residue = f"{residue_name:>3s}".ljust(4) + f"{chains[bead.chain]}{bead.residue_number % 10000:4d}"
        rows.append((f"ATOM  {serials[-1]} {name:<4.4s} {residue}    ", i, f"  1.00  0.00          {element:>2s}  "))
        if i + 1 == len(table) or table.beads[i + 1].chain != bead.chain:
            serial += 1
            rows.append((f"TER   {_serial(serial)}      {residue}", None, ""))
    return serials, rows
