"""Atoms that are bonded must be as near as such atoms are: in every file typically, and in every frame.

In: coordinates of the atoms of the beads' molecules, whole, with the bonds between them. A bead can look right while
what it stands for is not: the centre of a group that is torn across a box, or of atoms that the trajectory lists in
another order than the topology. Each check raises InputError naming the bond, the file, the frame and the length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.bonding import SEQUENCE
from fpforce.molecule.covalent import BondLimits, symbol_of

if TYPE_CHECKING:
    import mdtraj

_LENGTHS_AT_ONCE = 2_000_000  # 50 MB of working memory, whatever the number of frames
_FRAMES_TO_BE_TYPICAL = 200
_ATOMISTIC = 0.9  # part of bonds with the lengths of chemical ones, from which all must have them
_HYDROGENS_OF_ATOMS = 0.2  # or part of atoms that are hydrogen: no bead is one


@dataclass(frozen=True)
class ChemicalBonds:
    """Bonds (pairs of indices) between atoms of an mdtraj topology; `named` are those that names of residues imply.

    Bonds whose ends are sites without an element are left out.
    """

    topology: "mdtraj.Topology"
    pairs: np.ndarray
    named: np.ndarray

    @classmethod
    def of(cls, topology: "mdtraj.Topology", sources: Mapping[tuple[int, int], str]) -> "ChemicalBonds":
        """Those of {(i, j): source}; what is only the order of residues is none."""
        pairs = [
            (i, j)
            for (i, j), source in sorted(sources.items())
            if source != SEQUENCE and "VS" not in (symbol_of(topology.atom(i)), symbol_of(topology.atom(j)))
        ]
        named = np.array([sources[pair] == "names" for pair in pairs], dtype=bool)
        return cls(topology, np.array(pairs, dtype=int).reshape(-1, 2), named)

    def limits(self) -> BondLimits:
        """The bounds of their lengths."""
        return BondLimits(*([self.topology.atom(int(end)) for end in ends] for ends in self.pairs.T))

    def name(self, bond: int) -> str:
        """A bond as text, such as "ALA2-CA - ALA2-CB"."""
        first, second = (self.topology.atom(int(end)) for end in self.pairs[bond])
        return f"{first} - {second}"


def check_atom_bonds(xyz: np.ndarray, bonds: ChemicalBonds, path: Path, stride: int) -> None:
    """Refuse coordinates (frames, atoms, 3) in nm in which bonded atoms are farther or nearer than such atoms are.

    A topology may list beads as atoms, whose bonds are longer: where many bonds are no chemical ones, only those that
    names imply are judged. stride: that of the frames in the file.
    """
    if not len(bonds.pairs):
        return
    limits = bonds.limits()
    typical = _typical(xyz, bonds)
    fits = (typical >= limits.shortest) & (typical <= limits.longest)
    judged = np.ones(len(fits), dtype=bool) if _atomistic(bonds, fits) else bonds.named & fits
    wrong = judged & ~fits
    if wrong.any():
        bond = int(np.argmax(np.where(wrong, np.abs(np.log((typical + 1e-6) / limits.longest)), -1.0)))
        others = f" (so are {wrong.sum() - 1} other bonds)" if wrong.sum() > 1 else ""
        raise InputError(
            f"{path}: the bond {bonds.name(bond)} is typically {typical[bond]:.3g} nm long{others}, and between such "
            f"atoms it is {limits.shortest[bond]:.2g} to {limits.longest[bond]:.2g} nm: the topology lists atoms "
            "in another order than the trajectory, or has a bond too many, or the molecule is broken across a box that "
            "the file does not hold: give the topology that the trajectory was made with, or make the molecule whole"
        )
    _check_frames(xyz, bonds, judged, limits, path, stride)


def are_chemical(xyz: np.ndarray, bonds: ChemicalBonds) -> bool:
    """Whether all bonds are as long in coordinates (frames, atoms, 3) in nm as bonds between atoms typically are."""
    if not len(bonds.pairs):
        return False
    typical, limits = _typical(xyz, bonds), bonds.limits()
    return bool(((typical >= limits.shortest) & (typical <= limits.longest)).all())


def _typical(xyz: np.ndarray, bonds: ChemicalBonds) -> np.ndarray:
    some = np.unique(np.linspace(0, len(xyz) - 1, _FRAMES_TO_BE_TYPICAL).astype(int))
    return np.median(_lengths(xyz[some], bonds.pairs), axis=0)


def _check_frames(
    xyz: np.ndarray, bonds: ChemicalBonds, judged: np.ndarray, limits: BondLimits, path: Path, stride: int
) -> None:
    chosen = np.flatnonzero(judged)
    if not len(chosen):
        return
    shortest, longest = limits.squeezed[chosen], limits.stretched[chosen]
    count, first = 0, None
    at_once = max(1, _LENGTHS_AT_ONCE // len(chosen))
    for start in range(0, len(xyz), at_once):
        lengths = _lengths(xyz[start : start + at_once], bonds.pairs[chosen])
        wrong = (lengths < shortest) | (lengths > longest)
        frames = wrong.any(axis=1)
        count += int(frames.sum())
        if first is None and frames.any():
            frame = int(np.argmax(frames))
            off = np.where(wrong[frame], np.abs(np.log((lengths[frame] + 1e-6) / longest)), -1.0)
            place = int(np.argmax(off))
            first = start + frame, place, float(lengths[frame, place])
    if first is not None:
        frame, place, length = first
        others = f" ({count} of {len(xyz)} frames are like it)" if count > 1 else ""
        raise InputError(
            f"{path}: in frame {frame * stride} (counted from 0) the bond {bonds.name(int(chosen[place]))} is "
            f"{length:.3g} nm long, and between such atoms it is {shortest[place]:.2g} to {longest[place]:.2g} nm in "
            f"any frame{others}: the molecule is broken across a box that the file does not hold, or the coordinates "
            "are damaged: make the molecule whole, or leave the frame out"
        )


def _atomistic(bonds: ChemicalBonds, fits: np.ndarray) -> bool:
    """Whether all bonds are between atoms, and not between beads that a topology lists as atoms."""
    inside = {int(end) for end in bonds.pairs.ravel()}
    hydrogens = sum(symbol_of(bonds.topology.atom(atom)) == "H" for atom in inside)
    return bool(fits.mean() >= _ATOMISTIC or hydrogens >= _HYDROGENS_OF_ATOMS * len(inside) or bonds.named.all())


def _lengths(xyz: np.ndarray, pairs: np.ndarray | Sequence[tuple[int, int]]) -> np.ndarray:
    """(frames, pairs) in nm."""
    step = xyz[:, np.asarray(pairs)[:, 0]] - xyz[:, np.asarray(pairs)[:, 1]]
    return np.sqrt(np.einsum("fpd,fpd->fp", step, step))
