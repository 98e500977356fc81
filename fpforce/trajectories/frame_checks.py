"""What frames of a molecule cannot be: not finite, in another unit, of another topology, torn apart, or mirrored.

In: coordinates as read from a file, with what is known of them. Each check raises InputError naming the file, the place
and the remedy.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.molecule.bonding import LINK, SEQUENCE
from fpforce.molecule.bonds_by_name import is_peptide_bond
from fpforce.molecule.chirality import chiral_residues, d_residues, dihedral
from fpforce.trajectories.collected import pieces_of

if TYPE_CHECKING:
    import mdtraj

    from fpforce.trajectories.bead_frames import BeadFrames

# Bonds between beads, from a bond to hydrogen to the centres of two large groups. Nanometres taken for angstroms, or
# the reverse, move the typical bond of any molecule out of this range.
_BOND_RANGE_NM = (0.07, 1.0)
_LONGEST_LINK_NM = 2.0  # between beads that a residue without beads joins, such as a heme with its two ligands
# Bonds of the backbone, all close to 0.15 nm: (names, whether within one residue).
_BACKBONE_BONDS = {("C", "CA", True), ("CA", "N", True), ("CA", "CB", True), ("C", "O", True), ("C", "N", False)}
_BACKBONE_RANGE_NM = (0.10, 0.20)
_CA_RANGE_NM = (0.25, 0.45)  # neighbours in a chain: 0.38 nm across a trans peptide bond, 0.29 nm across a cis one
_LONGEST_CA_NM, _LONGEST_BACKBONE_NM = 0.5, 0.22  # in any frame, at any temperature at which a chain stays one
BY_ATOMS = "atoms"  # source of a bond between beads: it follows from bonds of atoms, which have their lengths
_FEWEST_ATOMS_TO_BE_FLAT = 5
_NO_EXTENT_NM = 1e-5
_RIGID_NM = 1e-3  # a bond at 300 K varies by 2e-3 nm, everything else by more
_NO_BOND_NM = 0.04  # nothing is so near
_FEW_D_RESIDUES = 0.25  # part of the residues, up to which the trajectory is not taken to be mirrored
_FEWEST_FRAMES_TO_JUDGE_PHI = 100
_PHI_OF_D_RESIDUES = 0.9  # part of positive phi; L residues are there a few percent of the time


def check_finite(xyz: np.ndarray, path: Path, stride: int) -> None:
    """Refuse coordinates (frames, atoms, 3) that are NaN or infinite; `stride` is that of the frames in the file."""
    finite = np.isfinite(xyz).all(axis=(1, 2))
    if not finite.all():
        frame = int(np.argmin(finite)) * stride
        raise InputError(f"{path}: frame {frame} (counted from 0) has NaN or infinite coordinates: leave it out")


def check_flat(xyz: np.ndarray, path: Path, stride: int) -> None:
    """Refuse frames of coordinates (frames, atoms, 3) in which x, y or z of all atoms is one number, unless most are
    like that.
    """
    if xyz.shape[1] < _FEWEST_ATOMS_TO_BE_FLAT:
        return
    extent = np.ptp(xyz, axis=1)
    flat = (extent < _NO_EXTENT_NM) & (extent.max(axis=1, keepdims=True) > _NO_EXTENT_NM)
    flat &= np.median(extent, axis=0) >= _NO_EXTENT_NM
    if flat.any():
        frame = int(np.argmax(flat.any(axis=1)))
        axis = "xyz"[int(np.argmax(flat[frame]))]
        raise InputError(
            f"{path}: in frame {frame * stride} (counted from 0) all atoms have one {axis}"
            f"{_and_others(flat.any(axis=1))}: its coordinates are damaged: leave the frame out"
        )


def check_bonds(
    positions: np.ndarray,
    table: BeadTable,
    path: Path,
    length_unit: str | None,
    stride: int,
    sources: Mapping[tuple[int, int], str] | None = None,
    simulated: bool = False,
    other_ways: Collection[tuple[int, int]] = (),
) -> None:
    """Refuse positions (frames, beads, 3) in nm whose bonds are in no physical range, and frames in which one is torn
    or next to nothing.

    length_unit: the one that was declared for a bare array, else None; another that would fit is named. sources: where
    each bond comes from; one that is only the order of residues must be as long as a chain's, and one BY_ATOMS, between
    beads far along the molecule, may be of any length. simulated: they may be frames of a force field of these beads,
    whose stretched bonds are to be judged and not refused. other_ways: bonds whose names tell nothing of their lengths,
    since the atoms are bonded otherwise.
    """
    if not table.bonds:
        return
    first, second = np.array(table.bonds).T
    lengths = np.linalg.norm(positions[:, first] - positions[:, second], axis=2)
    _refuse_mixed_units(lengths, path, length_unit, stride)
    typical = np.median(lengths, axis=0)
    by_atoms = np.array([(sources or {}).get(pair) == BY_ATOMS for pair in table.bonds])
    middle = float(np.median(typical))
    if not by_atoms.any() and not _BOND_RANGE_NM[0] <= middle <= _BOND_RANGE_NM[1]:
        _refuse_unit(middle, path, length_unit)
    for (i, j), length in zip(table.bonds, typical, strict=True):
        source = (sources or {}).get((i, j))
        in_order = source == SEQUENCE
        as_named = (i, j) not in other_ways
        shortest, longest = _bond_range(table.beads[i], table.beads[j], in_order) if as_named else _BOND_RANGE_NM
        if source == LINK:
            longest = _LONGEST_LINK_NM
        if source == BY_ATOMS:
            shortest, longest = _NO_BOND_NM, float("inf")
        if not shortest <= length <= longest:
            why = (
                "residues are missing between them, or they are of two chains, which a TER or chain names tell"
                if in_order
                else "the topology lists other atoms, or lists them in another order than the trajectory, or the "
                "molecule is broken across a box that the file does not hold or that is wrong"
            )
            if length < _NO_BOND_NM:
                why = "both lie in one place: a chain was copied onto another, or the coordinates are damaged"
            raise InputError(
                f"{path}: the bond {table.beads[i]} - {table.beads[j]} is typically {length:.3g} nm long, "
                f"which it never is: {why}"
            )
    least = np.array([_shortest_part(table.beads[i], table.beads[j]) for i, j in table.bonds])
    most = 3.0 * typical
    if not simulated:
        known = np.array([_longest_in_a_frame(table.beads[i], table.beads[j]) for i, j in table.bonds])
        known[[pair in other_ways for pair in table.bonds]] = float("inf")
        most = np.where(typical < known, np.minimum(known, most), most)
    for wrong, remedy in (
        (lengths < np.maximum(least * typical, _NO_BOND_NM), "its coordinates are damaged: leave the frame out"),
        (lengths > most, "make the molecule whole, or leave the frame out"),
    ):
        frames = wrong.any(axis=1)
        if frames.any():
            frame = int(np.argmax(frames))
            bond = int(np.argmax(np.where(wrong[frame], np.abs(np.log((lengths[frame] + 1e-6) / typical)), -1.0)))
            i, j = table.bonds[bond]
            raise InputError(
                f"{path}: in frame {frame * stride} (counted from 0) the bond {table.beads[i]} - {table.beads[j]} is "
                f"{lengths[frame, bond]:.3g} nm long, typically {typical[bond]:.3g} nm"
                f"{_and_others(frames)}: {remedy}"
            )


def _and_others(frames: np.ndarray) -> str:
    return f" ({int(frames.sum())} of {len(frames)} frames are like it)" if frames.sum() > 1 else ""


def _refuse_mixed_units(lengths: np.ndarray, path: Path, length_unit: str | None, stride: int) -> None:
    """Refuse bond lengths (frames, bonds) of which some frames are ten times as long as others."""
    middle = np.median(lengths, axis=1)
    low, high = _BOND_RANGE_NM
    right = (middle >= low) & (middle <= high)
    if right.all() or not right.any():
        return
    ratio = middle / np.median(middle[right])
    for factor, unit in ((10.0, "angstrom"), (0.1, "nm, divided by 10")):
        other = np.abs(np.log(np.maximum(ratio, 1e-12) / factor)) < np.log(1.5)
        if other.any() and (other | right).all():
            frame = int(np.argmax(other))
            raise InputError(
                f"{path}: {int(other.sum())} of {len(middle)} frames are in another unit than the others (likely "
                f"{unit}): in frame {frame * stride} (counted from 0) bonds are typically {middle[frame]:.3g} nm long, "
                f"in the others {np.median(middle[right]):.3g} nm: write all frames in one unit"
            )


def check_peptide_bonds(xyz: np.ndarray, topology: "mdtraj.Topology", path: Path) -> None:
    """Refuse coordinates (frames, atoms, 3) of an mdtraj Topology in which a peptide bond has no bond's length."""
    pairs = [(a, b) for a, b in topology.bonds if is_peptide_bond(a, b)]
    for first, second in pairs:
        length = float(np.median(np.linalg.norm(xyz[:, first.index] - xyz[:, second.index], axis=1)))
        if not _BACKBONE_RANGE_NM[0] <= length <= _BACKBONE_RANGE_NM[1]:
            raise InputError(
                f"{path}: the peptide bond {first} - {second} is typically {length:.3g} nm long, which it never is: "
                "the topology lists other atoms, or residues are missing between these"
            )


def _bond_range(first: Bead, second: Bead, in_order: bool) -> tuple[float, float]:
    names = (*sorted((first.name, second.name)), first.residue_index == second.residue_index)
    one_atom_each = first.element is not None and second.element is not None
    if one_atom_each and names in _BACKBONE_BONDS:
        return _BACKBONE_RANGE_NM
    return _CA_RANGE_NM if in_order and names[:2] == ("CA", "CA") else _BOND_RANGE_NM


def _longest_in_a_frame(first: Bead, second: Bead) -> float:
    """The length in nm that a bond between two single atoms reaches in no frame; infinite where none is known."""
    names = tuple(sorted((first.name, second.name)))
    if first.element is None or second.element is None:
        return float("inf")
    if names == ("CA", "CA") and abs(first.residue_index - second.residue_index) == 1:
        return _LONGEST_CA_NM
    within = first.residue_index == second.residue_index
    return _LONGEST_BACKBONE_NM if (*names, within) in _BACKBONE_BONDS else float("inf")


def _shortest_part(first: Bead, second: Bead) -> float:
    """The part of its typical length below which a bond is damaged: less where beads are groups, which turn."""
    return 0.5 if first.element is not None and second.element is not None else 0.2


def _refuse_unit(typical: float, path: Path, length_unit: str | None) -> NoReturn:
    low, high = _BOND_RANGE_NM
    message = f"{path}: bonds are typically {typical:.3g} nm long, which no bond is"
    if low <= typical / 10.0 <= high:
        remedy = (
            "give length_unit = 'angstrom'" if length_unit else "divide the coordinates by 10 when writing the file"
        )
        raise InputError(f"{message}; the numbers are likely in angstrom, taken for nm: {remedy}")
    if low <= typical * 10.0 <= high:
        remedy = "give length_unit = 'nm'" if length_unit else "multiply the coordinates by 10 when writing the file"
        raise InputError(f"{message}; the numbers are likely in nm, taken for angstrom: {remedy}")
    raise InputError(f"{message}: check the unit, and that the topology lists the atoms of this file")


def check_chirality(xyz: np.ndarray, topology: "mdtraj.Topology", path: Path, stride: int) -> None:
    """Refuse D amino acids in coordinates (frames, atoms, 3) of an mdtraj Topology, by their CB or HA."""
    found = d_residues(xyz, topology)
    if found:
        residue, count, first = found[0]
        judged = len(chiral_residues(topology))
        others = f", and so are {len(found) - 1} others of {judged} residues" if len(found) > 1 else ""
        few = len(found) <= _FEW_D_RESIDUES * judged
        why = (
            f"the rest of the {judged} residues is L, so that it was built with the wrong hand, or has a D residue"
            if few
            else "the trajectory is mirrored, or of a D peptide"
        )
        raise InputError(
            f"{path}: {residue} is a D amino acid in {count} of {len(xyz)} frames (first: frame {first * stride})"
            f"{others}: {why}; set allow_d_residues = true if that is meant"
        )


def check_phi(frames: "BeadFrames", refuse: bool) -> list[str]:
    """Judge the handedness of BeadFrames by the sign of phi, where no CB or HA is there to tell; returns warnings.

    Nothing is refused where `refuse` is false.
    """
    torsions = [torsion for torsion in frames.beads.phi_psi if not torsion["residue"].startswith("GLY")]
    if len(frames) < _FEWEST_FRAMES_TO_JUDGE_PHI or not torsions:
        return []
    positive = [
        sum(np.count_nonzero(dihedral(piece, torsion["phi"]) > 0.0) for piece in pieces_of(frames.positions_nm))
        / len(frames)
        for torsion in torsions
    ]
    files, residues = ", ".join(frames.sources), ", ".join(torsion["residue"] for torsion in torsions)
    if refuse and np.mean(positive) >= _PHI_OF_D_RESIDUES:
        raise InputError(
            f"{files}: phi of {residues} is positive in {np.mean(positive):.0%} of the frames, as in D amino acids: "
            "the trajectory is mirrored, or of a D peptide; set allow_d_residues = true if that is meant"
        )
    return [
        f"{files}: phi of {torsion['residue']} is positive in {part:.0%} of the frames, which is rare for an L amino "
        "acid: is the trajectory mirrored? (no CB or HA is there to tell)"
        for torsion, part in zip(torsions, positive, strict=True)
        if part > 0.5
    ]


def check_motion(frames: "BeadFrames") -> None:
    """Refuse BeadFrames whose molecule keeps its shape: all frames alike, or exactly rigid. One frame is no matter."""
    n = frames.positions_nm.shape[1]
    if len(frames) < 2 or n < 2:
        return
    some = np.unique(np.linspace(0, len(frames) - 1, 200).astype(int))
    beads = np.unique(np.linspace(0, n - 1, 60).astype(int))
    x = frames.positions_nm[some][:, beads].astype(np.float64)
    i, j = np.triu_indices(len(beads), 1)
    width = float(np.linalg.norm(x[:, i] - x[:, j], axis=-1).std(axis=0).max())
    if width < _RIGID_NM:
        raise InputError(
            f"{', '.join(frames.sources)}: no distance between beads varies by more than {width:.1e} nm: the frames "
            "are all alike, or the molecule is rigid, and there is nothing to learn; give frames of a simulation in "
            "which it moves"
        )
