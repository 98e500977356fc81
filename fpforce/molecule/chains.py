"""Where a molecule ends and the next one begins in a list of residues, whatever the file calls its chains.

In: an mdtraj topology with all bonds. Out: a number for each residue, alike within a chain. Files such as GRO and
PRMTOP have no chain names, and a PDB may have one for two molecules. What no bonds join is a chain of its own where
the numbers of residues begin anew, or where an end of a chain is seen by its atoms; otherwise residues are missing.
"""

from typing import TYPE_CHECKING

from fpforce.molecule.graph import connected_components
from fpforce.molecule.residues import CAPS, STANDARD, backbone, is_solvent, standard_name

if TYPE_CHECKING:
    from mdtraj.core.topology import Residue

    from fpforce.molecule.atom_bonds import BondedTopology

_LAST_NUMBERS = (9_999, 99_999)  # after which PDB and GRO begin at 0 or 1
# Atoms that only the last or the first residue of a peptide or a nucleic acid has.
_LAST = {"OXT", "OT1", "OT2", "OT", "HO3'", "H3T", "HO3*"}
_FIRST = {"H3", "HT1", "HT2", "HO5'", "H5T", "HO5*"}
_OF_NUCLEOTIDES = {"O3'", "O3*"}


def chain_numbers(bonded: "BondedTopology") -> list[int]:
    """The number of the chain of each residue of the topology, from 0."""
    topology = bonded.topology
    component_of = {}
    for number, members in enumerate(connected_components(topology.n_atoms, bonded.sources)):
        component_of.update(dict.fromkeys(members, number))
    numbers, current = [], -1
    for chain in topology.chains:
        current += 1
        before, seen = None, set()
        for residue in chain.residues:
            own = {component_of[atom.index] for atom in residue.atoms}
            if not is_solvent(residue):
                bonds_known = len(own) < residue.n_atoms
                if (
                    before is not None
                    and not own & seen
                    and (bonded.complete or _begins_anew(before, residue, bonds_known))
                ):
                    current, seen = current + 1, set()
                before, seen = residue, seen | own
            numbers.append(current)
    return numbers


def name_in_file(residue: "Residue") -> str:
    """What the file calls the chain of a residue: the chain's name, or the segment's where it has none, as in a PSF; ""
    without either.
    """
    names = (getattr(residue.chain, "chain_id", None), getattr(residue, "segment_id", None))
    return next((str(name).strip() for name in names if name and str(name).strip()), "")


def numbers_begin_anew(before: "Residue", after: "Residue") -> bool:
    """Whether the number of a residue is below that of the residue before it, and not because the columns of a PDB or
    GRO are full.
    """
    full = before.resSeq in _LAST_NUMBERS and after.resSeq in (0, 1)
    return after.resSeq < before.resSeq and not full


def _begins_anew(before: "Residue", after: "Residue", bonds_known: bool) -> bool:
    """Whether a molecule ends between two residues of a chain that no bonds join; bonds_known: those within them."""
    if numbers_begin_anew(before, after):
        return True
    last, first = ({atom.name for atom in residue.atoms} for residue in (before, after))
    if before.name in ("NME", "NMA", "NHE", "NH2") or after.name in ("ACE", "FOR"):
        return True
    of_chains = [residue for residue in (before, after) if _of_a_chain(residue)]
    if len(of_chains) < 2:
        return bonds_known
    return bool(last & _LAST or first & _FIRST or {"O1", "O2"} <= last)


def _of_a_chain(residue: "Residue") -> bool:
    """Whether it is of a kind of which chains are made, as far as its name and atoms show."""
    names = {atom.name for atom in residue.atoms}
    named = standard_name(residue) in STANDARD or residue.name in CAPS
    return bool(named or backbone(residue) or names & _OF_NUCLEOTIDES or len(names) == 1)
