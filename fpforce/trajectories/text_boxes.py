"""Boxes that stand in texts and that mdtraj does not give: of a PDB it gives the last one to all models, of an extended
XYZ none.

In: a file, and the frames that mdtraj read from it. Out: the same frames, each in the box of the CRYST1 before it, or
of its Lattice.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.trajectories import xyz_comments
from fpforce.trajectories.formats import format_of, unpacked

if TYPE_CHECKING:
    import mdtraj

_PDB = (".pdb", ".pdb.gz")
_XYZ = (".xyz", ".xyz.gz")
_NM_PER_ANGSTROM = 0.1
_NUMBERS = ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54))  # columns of three lengths and three angles


def give_boxes(frames: "mdtraj.Trajectory", path: Path, which: slice | int) -> None:
    """Give frames, those of `which` of a file's, their own boxes; in place. Nothing for other formats, for a PDB whose
    models are all in one box, and for boxes that mdtraj does not believe.

    Raises InputError where boxes differ and it cannot be told which is whose, or a Lattice cannot be read.
    """
    if format_of(path) in _PDB and frames.unitcell_lengths is not None:
        _give_crystals(frames, path, which)
    elif format_of(path) in _XYZ:
        _give_lattices(frames, path, which)


def _give_lattices(frames: "mdtraj.Trajectory", path: Path, which: slice | int) -> None:
    """Those of an extended XYZ; none to what follows its last whole frame."""
    from mdtraj.utils import box_vectors_to_lengths_and_angles

    vectors = xyz_comments.boxes(unpacked(path))
    if vectors is None:
        return
    own = np.zeros((frames.n_frames, 3, 3))
    known = (vectors[which : which + 1] if isinstance(which, int) else vectors[which])[: frames.n_frames]
    own[: len(known)] = known
    lengths, angles = np.zeros((len(own), 3)), np.full((len(own), 3), 90.0)
    for number in np.flatnonzero(np.abs(np.linalg.det(own)) > 0.0):
        values = box_vectors_to_lengths_and_angles(*own[number])
        lengths[number], angles[number] = values[:3], values[3:]
    frames.unitcell_lengths, frames.unitcell_angles = lengths, angles


def _give_crystals(frames: "mdtraj.Trajectory", path: Path, which: slice | int) -> None:
    """Those of a PDB."""
    records = _records(path)
    if len(set(records)) < 2:
        return
    boxes = np.array([[float(record[a:b]) for a, b in _NUMBERS] for record in records if record])
    own = boxes[[which]] if isinstance(which, int) else boxes[which]
    if "" in records or len(own) != frames.n_frames:
        raise InputError(
            f"{path} has CRYST1 records that differ, and not one before each of its models: which box is whose cannot "
            "be told; write it as .xtc, .dcd or .gro, or make its molecules whole and leave CRYST1 out"
        )
    frames.unitcell_lengths = _NM_PER_ANGSTROM * own[:, :3]
    frames.unitcell_angles = own[:, 3:]


def _records(path: Path) -> list[str]:
    """The last CRYST1 record before the atoms of each model, empty where there is none."""
    records, last, inside = [], "", False
    with open(unpacked(path), errors="replace") as file:
        for line in file:
            if line.startswith("CRYST1"):
                last = line[:54]
            elif line.startswith(("MODEL", "END")):
                inside = False
            elif not inside and line.startswith(("ATOM  ", "HETATM")):
                inside = True
                records.append(last)
    return records
