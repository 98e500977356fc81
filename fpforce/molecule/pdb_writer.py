"""Coarse-grained structures as PDB text.

Element columns are always filled, because readers otherwise take a bead named CA for calcium.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def write_pdb(table: BeadTable, path_or_file: str | os.PathLike[str] | TextIO, positions_nm: "ArrayLike") -> None:
    """Write beads as PDB with element column, TER and CONECT records.

    Args:
        table: the BeadTable.
        path_or_file: path, which is replaced when all is written, or a text file open for writing.
        positions_nm: (n, 3) or (frames, n, 3) in nm; several frames become MODELs.

    Raises:
        InputError: other shape, or a coordinate that the PDB columns cannot hold (beyond +-999 nm).
    """
    frames = np.asarray(positions_nm, dtype=np.float64)
    if frames.ndim == 2:
        frames = frames[None]
    if frames.ndim != 3 or frames.shape[1:] != (len(table), 3):
        raise InputError(
            f"positions of shape {np.shape(positions_nm)} do not fit {len(table)} beads: give (frames, n, 3)"
        )
    if not np.all(np.abs(frames) < 999.0):
        raise InputError("positions are not finite or beyond 999 nm, which a PDB cannot hold: centre them first")
    serials, rows = _rows(table)
    with _opened(path_or_file) as out:
        for number, frame in enumerate(frames, start=1):
            if len(frames) > 1:
                out.write(f"MODEL     {number:4d}\n")
            for head, bead, tail in rows:
                coordinates = "".join(f"{10.0 * x:8.3f}" for x in frame[bead]) if bead is not None else ""
                out.write(f"{head}{coordinates}{tail}\n")
            if len(frames) > 1:
                out.write("ENDMDL\n")
        for i in range(len(table)):
            partners = sorted({b if a == i else a for a, b in table.bonds if i in (a, b)})
            for start in range(0, len(partners), 4):
                out.write(
                    f"CONECT{serials[i]:5d}" + "".join(f"{serials[j]:5d}" for j in partners[start : start + 4]) + "\n"
                )
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


def _rows(table: BeadTable) -> tuple[list[int], list[tuple[str, int | None, str]]]:
    """Serial number per bead, and the text around the coordinates: (before, bead index or None for TER, after)."""
    names = pdb_names(table)
    serials: list[int] = []
    rows: list[tuple[str, int | None, str]] = []
    serial = 0
    for i, bead in enumerate(table.beads):
        serial += 1
        serials.append(serial)
        element = (bead.element or "C").upper()
        name, residue_name = names[i]
        name = name if len(name) >= 4 or len(element) == 2 else f" {name}"
        residue = f"{residue_name:>3s}".ljust(4) + f"{bead.chain:1.1s}{bead.residue_number % 10000:4d}"
        rows.append((f"ATOM  {serial:5d} {name:<4.4s} {residue}    ", i, f"  1.00  0.00          {element:>2s}  "))
        if i + 1 == len(table) or table.beads[i + 1].chain != bead.chain:
            serial += 1
            rows.append((f"TER   {serial:5d}      {residue}", None, ""))
    return serials, rows
