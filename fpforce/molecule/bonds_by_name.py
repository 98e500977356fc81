"""Bonds that the names of residues and atoms imply: templates, and the backbone of every amino acid.

In: an mdtraj topology. Out: pairs of atoms.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fpforce.molecule.residues import CAPS, backbone, is_solvent, standard_name

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue


def is_peptide_bond(first: "Atom", second: "Atom") -> bool:
    """Whether a bond between two mdtraj atoms joins C of one residue with N of another."""
    return {first.name, second.name} == {"C", "N"} and first.residue is not second.residue


def pair_of(i: int, j: int) -> tuple[int, int]:
    """The two in order."""
    return (i, j) if i < j else (j, i)


def bonds_by_name(topology: "mdtraj.Topology", solute: Sequence["Atom"]) -> set[tuple[int, int]]:
    """Pairs that the names of residues and atoms imply: templates, and the backbone of every amino acid."""
    if not solute:
        return set()
    indices = [atom.index for atom in solute]
    named = topology.subset(indices)
    named._bonds = []
    for residue in named.residues:
        residue.name = standard_name(residue)
    named.create_standard_bonds()
    pairs = {pair_of(indices[a.index], indices[b.index]) for a, b in named.bonds}
    bonded = {i for pair in pairs for i in pair}
    for chain in topology.chains:
        before = None
        for residue in chain.residues:
            found = None if is_solvent(residue) else backbone(residue)
            if found:
                pairs |= {pair_of(found["N"].index, found["CA"].index), pair_of(found["CA"].index, found["C"].index)}
                if found["CA"].index not in bonded:
                    names = {atom.name: atom for atom in residue.atoms}
                    pairs |= {
                        pair_of(names[a].index, names[b].index)
                        for a, b in (("C", "O"), ("C", "OXT"), ("CA", "CB"))
                        if a in names and b in names
                    }
            carbon, nitrogen = before, _end(residue, found, "N")
            if carbon is not None and nitrogen is not None and (found or backbone(carbon.residue)):
                pairs.add(pair_of(carbon.index, nitrogen.index))
            before = _end(residue, found, "C")
    return pairs


def _end(residue: "Residue", found: "dict[str, Atom] | None", name: str) -> "Atom | None":
    """The atom by which an amino acid or an end group is bonded to the next."""
    if found:
        return found[name]
    if residue.name not in CAPS:
        return None
    return next((atom for atom in residue.atoms if atom.name == name), None)


class PeptideEnds:
    """Which C and N have a peptide bond already, and may not get another by their names."""

    def __init__(self, topology: "mdtraj.Topology", pairs: Iterable[tuple[int, int]]) -> None:
        self.topology, self.taken = topology, set()
        for pair in pairs:
            self._mark(pair)

    def take(self, pair: tuple[int, int]) -> bool:
        first, second = map(self.topology.atom, pair)
        if is_peptide_bond(first, second) and self.taken & set(pair):
            return False
        self._mark(pair)
        return True

    def _mark(self, pair: tuple[int, int]) -> None:
        if is_peptide_bond(*map(self.topology.atom, pair)):
            self.taken |= set(pair)
