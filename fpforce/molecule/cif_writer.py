"""Coarse-grained structures as mmCIF text, for names that the columns of a PDB cannot hold.

In: a BeadTable and positions. Out: a file that mdtraj and OpenMM read, with every name as it is, and the bonds.
"""

import os
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LONGEST_NAME, LONGEST_RESIDUE = 4, 3  # letters that a PDB has room for
_ATOM = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
    "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id "
    "auth_atom_id pdbx_PDB_model_num"
).split()
_ENDS = [f"ptnr{end}_label_{what}" for end in (1, 2) for what in ("asym_id", "comp_id", "seq_id", "atom_id")]


def needs_cif(table: BeadTable) -> bool:
    """Whether names of beads, residues or chains are longer than PDB columns."""
    return any(
        len(bead.name) > LONGEST_NAME or len(bead.residue) > LONGEST_RESIDUE or len(bead.chain) > 1
        for bead in table.beads
    )


def write_cif(table: BeadTable, path: str | os.PathLike[str], positions_nm: "ArrayLike") -> None:
    """Write beads as mmCIF; the file is replaced when all is written.

    positions_nm: (n, 3) or (frames, n, 3) in nm; several frames become models. Raises InputError for another shape.
    """
    frames = np.asarray(positions_nm, dtype=np.float64)
    frames = frames[None] if frames.ndim == 2 else frames
    if frames.ndim != 3 or frames.shape[1:] != (len(table), 3):
        raise InputError(
            f"positions of shape {np.shape(positions_nm)} do not fit {len(table)} beads: give (frames, n, 3)"
        )
    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8") as out:
        out.write("data_beads\n#\nloop_\n" + "".join(f"_atom_site.{name}\n" for name in _ATOM))
        for model, frame in enumerate(frames, start=1):
            for i, (bead, place) in enumerate(zip(table.beads, frame, strict=True)):
                number = i + 1 + (model - 1) * len(table)
                out.write(f"{_atom(bead, number, model, place)}\n")
        if table.bonds:
            names = ["id", "conn_type_id", *_ENDS]
            out.write("#\nloop_\n" + "".join(f"_struct_conn.{name}\n" for name in names))
            for number, pair in enumerate(table.bonds, start=1):
                ends = " ".join(_end(table.beads[i]) for i in pair)
                out.write(f"bond{number} covale {ends}\n")
        out.write("#\n")


def _atom(bead: Bead, number: int, model: int, place_nm: np.ndarray) -> str:
    name, residue, chain = (_word(text) for text in (bead.name, bead.residue, bead.chain))
    x, y, z = (f"{10.0 * value:.4f}" for value in place_nm)
    return (
        f"ATOM {number} {bead.element or 'C'} {name} . {residue} {chain} 1 {bead.residue_number} ? {x} {y} {z} 1.00 "
        f"0.00 {bead.residue_number} {residue} {chain} {name} {model}"
    )


def _end(bead: Bead) -> str:
    return f"{_word(bead.chain)} {_word(bead.residue)} {bead.residue_number} {_word(bead.name)}"


def _word(text: str) -> str:
    """Text as one word of a CIF: in quotes where it has a blank, a quote, or a first letter that means something."""
    if text and not any(letter.isspace() or letter in "'\"" for letter in text) and text[0] not in "_#$[];.?-":
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"
