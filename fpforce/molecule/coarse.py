"""Beads that a topology lists as atoms, such as those of Martini: BB is no boron.

In: an mdtraj topology as its reader gave it, some frames, and masses where the file has them. Out: which of its atoms
are beads, with their masses; in the topology they then count as carbon, so that all weigh alike in a group.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.residues import is_solvent

if TYPE_CHECKING:
    import mdtraj

USUAL_MASS_DA = 72.0  # of a regular bead of Martini, four waters; small beads of Martini 3 have 54 and 36
# Of proteins, of the heads, linkers and tails of lipids, and of sterols.
_NAMES = re.compile(r"BB|SC\d+|PO\d|[NCG]NO|N[CH]3|GL\d|AM\d|[CDT]\d[A-D]|ROH|R\d|[CDT]\d")
_ALONE = (["BB"],)  # of a residue that has nothing else
_NEAREST_NM = 0.2  # two atoms of a residue are nearer, two beads are not, but for some of Martini's smallest
_ENOUGH_RESIDUES = 200


def mark_coarse(
    topology: "mdtraj.Topology", frames: SampleFrames | None, masses_da: Mapping[int, float]
) -> dict[int, float]:
    """{index: mass in Da} of the atoms that are beads, which become carbon in the topology; in place.

    They are those whose mass in the file is no atom's, and those of residues with names of beads, where in most of
    these no two are as near as atoms.

    Args:
        topology: mdtraj.Topology. frames: of all its atoms; without them names decide. masses_da: of particles of the
            file that are no atoms, by index.
    """
    import mdtraj

    found = dict(masses_da)
    named: list[list[int]] = []
    for residue in topology.residues:
        atoms = list(residue.atoms)
        if is_solvent(residue) or any(atom.index in found for atom in atoms):
            continue
        names = [atom.name.upper() for atom in atoms]
        if names in _ALONE if len(atoms) == 1 else all(map(_NAMES.fullmatch, names)):
            named.append([atom.index for atom in atoms])
    if frames is None or not _are_near([indices for indices in named if len(indices) > 1], frames):
        found |= {index: USUAL_MASS_DA for indices in named for index in indices}
    for index in found:
        topology.atom(index).element = mdtraj.element.carbon
    return found


def _are_near(residues: list[list[int]], frames: SampleFrames) -> bool:
    """Whether in most of the residues two atoms are as near as atoms are."""
    nearest = []
    for indices in residues[:_ENOUGH_RESIDUES]:
        first, second = (np.array(indices)[side] for side in np.triu_indices(len(indices), 1))
        nearest.append(float(frames.typical(first, second).min()))
    return bool(nearest and np.median(nearest) < _NEAREST_NM)
