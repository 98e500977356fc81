"""The named choices of beads, such as `ca`: which atoms of a topology become a bead each.

In: an mdtraj topology. Out: indices of atoms. A new preset is a function here and an entry of PRESETS; the recipe, the
commands and the messages take its name from there.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.molecule.covalent import symbol_of
from fpforce.molecule.residues import alpha_carbon, is_solvent
from fpforce.molecule.residues import backbone as backbone_of

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue


def ca(topology: "mdtraj.Topology") -> list[int]:
    """CA of every amino acid."""
    return [atom.index for atom in map(alpha_carbon, topology.residues) if atom is not None]


def backbone(topology: "mdtraj.Topology") -> list[int]:
    """N, CA and C of every amino acid."""
    found = filter(None, map(backbone_of, topology.residues))
    return [residue[name].index for residue in found for name in ("N", "CA", "C")]


def backbone5(topology: "mdtraj.Topology") -> list[int]:
    """C, N, CA, C, N around the only amino acid between two caps; InputError where there is no such residue."""
    central = [residue for residue in topology.residues if backbone_of(residue)]
    if len(central) != 1:
        raise InputError(
            f"beads = 'backbone5' is for one amino acid between two caps, but the topology has {len(central)} "
            "amino acids: use 'backbone' for a longer peptide"
        )
    residue = central[0]
    names = {(r.index, a.name): a.index for r in residue.chain.residues for a in r.atoms}
    wanted = [(-1, "C"), (0, "N"), (0, "CA"), (0, "C"), (1, "N")]
    missing = [
        f"{name} of the residue {'before' if shift < 0 else 'after'} {residue}"
        for shift, name in wanted
        if (residue.index + shift, name) not in names
    ]
    if missing:
        raise InputError(f"beads = 'backbone5' needs two caps (ACE, NME), but there is no {missing[0]}: use 'backbone'")
    return [names[residue.index + shift, name] for shift, name in wanted]


def heavy(topology: "mdtraj.Topology") -> list[int]:
    """Every atom but hydrogen, water and ions."""
    return [index for index in all_atoms(topology) if symbol_of(topology.atom(index)) != "H"]


def all_atoms(topology: "mdtraj.Topology") -> list[int]:
    """Every atom that has a mass, but for water and ions.

    Raises InputError where beads, a residue each, would be joined across others whose names are of no element.
    """
    residues = [residue for residue in topology.residues if not is_solvent(residue)]
    _refuse_unknown_beads(residues)
    return [atom.index for residue in residues for atom in residue.atoms if _has_mass(atom)]


def _has_mass(atom: "Atom") -> bool:
    return atom.element is not None and bool(atom.element.mass)


def _refuse_unknown_beads(residues: "Sequence[Residue]") -> None:
    """A site without mass is part of a residue of atoms; alone between two beads of its chain it is a bead."""
    unknown: list[str] = []
    for (_, alone), group in groupby(residues, key=lambda residue: (residue.chain.index, residue.n_atoms == 1)):
        beads = [residue.atom(0) for residue in group] if alone else []
        known = [place for place, bead in enumerate(beads) if _has_mass(bead)]
        between = beads[known[0] : known[-1]] if known else []
        unknown += [str(bead) for bead in between if not _has_mass(bead)]
    if unknown:
        raise InputError(
            f"{', '.join(unknown[:5])}{', ...' if unknown[5:] else ''}: beads whose names are of no element, so that "
            "their masses are not known and others would be joined across them: give a topology that has masses or "
            "elements (a .tpr, the element columns of a PDB), or choose beads by a selection"
        )


PRESETS: dict[str, Callable[["mdtraj.Topology"], list[int]]] = {
    "ca": ca,
    "backbone5": backbone5,
    "backbone": backbone,
    "heavy": heavy,
    "all": all_atoms,
}
