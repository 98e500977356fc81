"""Trajectories -> bead positions in nm, of which what cannot be right is refused.

In: a file, and the sources that know its atoms. Out: positions of the beads, of a whole file or piece after piece.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fpforce.molecule.bonding import SEQUENCE
from fpforce.trajectories.atom_checks import are_chemical, check_atom_bonds
from fpforce.trajectories.atom_frames import AtomFrames
from fpforce.trajectories.chunks import read_chunks
from fpforce.trajectories.frame_checks import (
    BY_ATOMS,
    check_bonds,
    check_chirality,
    check_finite,
    check_flat,
    check_peptide_bonds,
)
from fpforce.trajectories.several_chains import check_together
from fpforce.trajectories.sources import LISTED, MappedFiles, Sources

_BYTES_AT_ONCE = 64 << 20  # of atoms that are read of a trajectory


def frames_at_once(sources: Sources) -> int:
    """Frames of all atoms that a piece has."""
    return max(1, _BYTES_AT_ONCE // (12 * max(sources.source.n_points, 1)))


def checked_pieces(
    path: Path,
    sources: Sources,
    length_unit: str | None,
    stride: int,
    allow_d_residues: bool,
    *,
    simulated: bool = False,
    skip: int = 0,
    readable_frames: bool = False,
) -> Iterator[tuple[AtomFrames, np.ndarray]]:
    """What was read of a piece of a trajectory, with the bead positions (frames, n, 3) in nm of it, piece after piece
    from the frame `skip` on; InputError as `checked_positions`, of each piece by itself.
    """
    first, at_once = skip, frames_at_once(sources)
    for read in read_chunks(sources.source, path, length_unit, stride, at_once, skip, readable_frames):
        where = path if not first else Path(f"{path} (from frame {first * stride} on)")
        yield read, checked_positions(read.xyz, sources, where, length_unit, stride, allow_d_residues, simulated)
        first += len(read.xyz)


def checked_positions(
    xyz: np.ndarray,
    sources: Sources,
    path: Path,
    length_unit: str | None,
    stride: int,
    allow_d_residues: bool,
    simulated: bool = False,
) -> np.ndarray:
    """Bead positions (frames, n, 3) in nm of what was read of a file; InputError for what cannot be right.

    simulated: the frames may be a model's own, and are to be judged by comparison.
    """
    source = sources.source
    check_finite(xyz, path, stride)
    check_flat(xyz, path, stride)
    positions = source.positions(xyz)
    told_by = sources.bond_sources
    if (
        isinstance(source, MappedFiles)
        and source.chemical_bonds is not None
        and are_chemical(xyz, source.chemical_bonds)
    ):
        told_by = {pair: BY_ATOMS if kind not in (SEQUENCE, LISTED) else kind for pair, kind in told_by.items()}
    other_ways = source.other_ways if isinstance(source, MappedFiles) else frozenset()
    check_bonds(positions, source.table, path, length_unit, stride, told_by, simulated, other_ways)
    if not simulated:
        check_together(positions, source.table, path, stride)
    if isinstance(source, MappedFiles):
        check_peptide_bonds(xyz, source.topology, path)
        if source.chemical_bonds is not None:
            check_atom_bonds(xyz, source.chemical_bonds, path, stride)
        if not allow_d_residues:
            check_chirality(xyz, source.topology, path, stride)
    return positions
