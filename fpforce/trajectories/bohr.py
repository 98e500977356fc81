"""Coordinates in bohr, as some quantum programs write them, taken for angstrom: all distances are 1.89 times too long.

In: a topology, and some frames of its atoms. Out: an InputError that says so. Only what is at one length in every
molecule is judged, hydrogens and the backbone; beads of a coarse model have neither.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.covalent import symbol_of
from fpforce.molecule.residues import backbone, is_solvent

if TYPE_CHECKING:
    import mdtraj

ANGSTROM_PER_BOHR = 0.529177210903  # CODATA 2018
# In bohr that are read as angstrom, in nm; in truth 0.096 to 0.109, 0.116 to 0.2, 0.146 and 0.153.
_TO_HYDROGEN_NM = (0.175, 0.215)  # O-H, N-H and C-H
_BETWEEN_HEAVY_NM = (0.21, 0.38)  # from C#N to P-S
_N_CA_NM, _CA_C_NM = (0.265, 0.287), (0.277, 0.301)
_NEARLY_ALL = 0.9  # of S-H, and of what is bonded to no heavy atom of its residue, there are few
_HYDROGENS_OF_ATOMS = 0.2
_ENOUGH = 60


def refuse_bohr(
    topology: "mdtraj.Topology", frames: SampleFrames | None, path: Path, coarse: Collection[int] = ()
) -> None:
    """Raise InputError where atoms of a topology are as far apart in some frames of a file as bonded ones are in bohr.

    coarse: indices of its atoms that are beads.
    """
    if frames is None or not np.isfinite(frames.xyz).all():
        return
    to_hydrogen, between_heavy, n_ca, ca_c = [], [], [], []
    atoms = hydrogens = 0
    for residue in topology.residues:
        if is_solvent(residue) or any(atom.index in coarse for atom in residue.atoms):
            continue
        light = [atom.index for atom in residue.atoms if symbol_of(atom) == "H"]
        heavy = [atom.index for atom in residue.atoms if symbol_of(atom) not in ("H", "VS")]
        atoms, hydrogens = atoms + len(light) + len(heavy), hydrogens + len(light)
        to_hydrogen += _nearest(light, heavy, frames)
        between_heavy += _nearest(heavy, heavy, frames)
        if found := backbone(residue):
            ends = [found[name].index for name in ("N", "CA", "C")]
            one, other = frames.typical(ends[:2], ends[1:])
            n_ca.append(one)
            ca_c.append(other)
        if max(len(to_hydrogen), len(n_ca), len(between_heavy) // 4) >= _ENOUGH:
            break
    if hydrogens and hydrogens >= _HYDROGENS_OF_ATOMS * atoms:
        if _are(to_hydrogen, _TO_HYDROGEN_NM) and (not between_heavy or _are(between_heavy, _BETWEEN_HEAVY_NM)):
            raise _in_bohr(path, f"hydrogens are typically {np.median(to_hydrogen):.3g} nm from the next heavier atom")
    elif n_ca and _are(n_ca, _N_CA_NM) and _are(ca_c, _CA_C_NM):
        raise _in_bohr(path, f"N and CA of a residue are typically {np.median(n_ca):.3g} nm apart")


def _nearest(atoms: list[int], others: list[int], frames: SampleFrames) -> list[float]:
    """How far each of some atoms is from the nearest of the others, in nm; nothing where there are none."""
    found = []
    for atom in atoms[:_ENOUGH]:
        rest = [other for other in others if other != atom]
        if rest:
            found.append(float(frames.typical([atom] * len(rest), rest).min()))
    return found


def _are(lengths: list[float], bounds: tuple[float, float]) -> bool:
    low, high = bounds
    inside = sum(low <= length <= high for length in lengths)
    return bool(lengths) and inside >= _NEARLY_ALL * len(lengths)


def _in_bohr(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: {what}, {1.0 / ANGSTROM_PER_BOHR:.2f} times as far as they are: the numbers are likely in bohr, "
        f"taken for angstrom: multiply the coordinates by {ANGSTROM_PER_BOHR:.6f} when writing the file"
    )
