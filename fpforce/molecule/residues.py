"""What a residue of a topology is: solvent, an amino acid, an end group.

In: residues of an mdtraj topology, with the names that programs and databases give them. Out: what they are, by the
atoms that they have, because lists of names never end.
"""

import weakref
from typing import TYPE_CHECKING

from fpforce.molecule.covalent import symbol_of

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue

CAPS = ("ACE", "FOR", "NME", "NMA", "NHE", "NH2")  # end groups, which may be without beads

# fmt: off
# Names of amino acids by their state, in AMBER, CHARMM, GROMACS and GROMOS, and the residue that they are of.
_STATES = {
    "ARG": ("ARN", "ARGN", "AR0"),
    "ASP": ("ASH", "ASPH", "ASPP", "ASPN", "AS4"),
    "CYS": ("CYX", "CYM", "CYN", "CYSH", "CYSN", "CYS1", "CYS2", "CYS3", "CYSM"),
    "GLU": ("GLH", "GLUH", "GLUP", "GLUN", "GL4"),
    "HIS": ("HID", "HIE", "HIP", "HSD", "HSE", "HSP", "HISA", "HISB", "HISD", "HISE", "HISH", "HISP", "HIS1", "HIS2"),
    "LYS": ("LYN", "LSN", "LYP", "LYSH", "LYSN"),
    "TYR": ("TYM", "TYRM", "TYRU"),
}
# fmt: on
STANDARD = (
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()  # those with a template
)
_NAME_OF = {name: name for name in STANDARD} | {state: name for name, states in _STATES.items() for state in states}

# fmt: off
_BEADS_OF_WATER = ("W", "WF", "SW", "TW")
_ION_ELEMENTS = {
    "Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Cd",
    "F", "Cl", "Br", "I",
}
ION_RESIDUES = {  # and the symbols with which names of their atoms begin
    "LI": "LI", "NA": "NA", "K": "K", "RB": "RB", "CS": "CS", "MG": "MG", "CA": "CA", "SR": "SR", "BA": "BA",
    "ZN": "ZN", "CL": "CL", "BR": "BR", "I": "I", "F": "F", "SOD": "NA", "POT": "K", "CLA": "CL", "CAL": "CA",
    "CES": "CS", "LIT": "LI", "RUB": "RB", "BAR": "BA", "CAD": "CD", "IOD": "I", "IB": "IB", "CIO": "CS", "CIM": "CL",
    "CIP": "NA",
}
_METALS = (  # ions whose residues are named after them
    "LI", "NA", "K", "RB", "CS", "MG", "CA", "SR", "BA", "MN", "FE", "CO", "NI", "CU", "ZN", "CD", "HG", "AL", "AG",
)
_ANY_ION = ("ION", "IONS")  # residues that are called so whatever their ion is
# fmt: on
_CALCIUM = ("CA", "CAL", "ION", "IONS")  # residues whose only atom CA is no carbon
_in_strands: dict[int, tuple[int, frozenset[int]]] = {}


def standard_name(residue: "Residue") -> str:
    """The amino acid of which a residue is a state (LYSH of LYS) or an end in AMBER's way (NTYR of TYR), or its own
    name.
    """
    return amino_acid_of(residue.name) or residue.name


def amino_acid_of(name: str) -> str | None:
    """The amino acid of which a residue of this name is a state or an end; None where the name is of none."""
    upper = name.upper()
    if upper in _NAME_OF:
        return _NAME_OF[upper]
    return _NAME_OF.get(upper[1:]) if len(upper) == 4 and upper[0] in "NC" else None


def backbone(residue: "Residue") -> "dict[str, Atom] | None":
    """{"N": atom, "CA": atom, "C": atom} of an amino acid, whatever its name; None of any other residue, such as a
    whole peptide that is written as one residue and has these names many times.
    """
    found = [atom for atom in residue.atoms if atom.name in ("N", "CA", "C")]
    atoms = {atom.name: atom for atom in found}
    if len(found) != 3 or len(atoms) != 3:
        return None
    return None if any(symbol_of(atom) not in (name[0], "VS") for name, atom in atoms.items()) else atoms


def lacking_backbone(residue: "Residue") -> list[str]:
    """Which of N, CA and C an amino acid by name lacks; nothing of other residues, and of those that are beads."""
    if standard_name(residue) not in STANDARD:
        return []
    names = {atom.name for atom in residue.atoms}
    lacking = [name for name in ("N", "CA", "C") if name not in names]
    return lacking if len(lacking) == 1 else []


def alpha_carbon(residue: "Residue") -> "Atom | None":
    """The atom CA of an amino acid, None of any other residue.

    An amino acid is what has N, CA and C; or, in a file of beads, CA alone; or an amino acid by name that lacks some
    of its atoms.
    """
    found = backbone(residue)
    if found:
        return found["CA"]
    carbons = [atom for atom in residue.atoms if atom.name == "CA"]
    if len(carbons) != 1 or residue.name in CAPS or is_solvent(residue):
        return None
    named = residue.is_protein or standard_name(residue) in STANDARD
    return carbons[0] if named or residue.n_atoms == 1 else None


def is_lone_alpha_carbon(residue: "Residue") -> bool:
    """Whether its only atom is CA, and its name not that of calcium: a residue of a file of beads, be it called K."""
    return residue.n_atoms == 1 and next(residue.atoms).name == "CA" and _ion_name(residue.name) not in _CALCIUM


def is_water(residue: "Residue") -> bool:
    """Water by its name, be it a bead of Martini's; or by its atoms: one oxygen, two hydrogens, and nothing else but
    sites without mass.
    """
    if residue.is_water:
        return True
    if residue.n_atoms == 1 and residue.name in _BEADS_OF_WATER:
        return next(residue.atoms).name in _BEADS_OF_WATER and not _in_strand(residue)
    if not 3 <= residue.n_atoms <= 5:
        return False
    symbols = sorted(symbol_of(atom) for atom in residue.atoms)
    return [symbol for symbol in symbols if symbol != "VS"] == ["H", "H", "O"]


def is_solvent(residue: "Residue") -> bool:
    """Water or a single ion. A bead is neither: CA of a residue called K or F, or K in a strand of beads."""
    if is_water(residue):
        return True
    if residue.n_atoms not in (1, 2):
        return False
    atom, *more = residue.atoms
    if any(other.name != f"D{atom.name}"[:4] for other in more):  # a Drude particle
        return False
    by_name = _has_name_of_ion(residue.name, atom.name)
    return (by_name or symbol_of(atom) in _ION_ELEMENTS) and not _in_strand(residue)


def _ion_name(name: str) -> str:
    return name.upper().rstrip("+-0123456789")


def ion_symbol(residue: "Residue") -> str | None:
    """The symbol of the ion that a residue is, by the names of it and of its only atom, as Na of SOD; None of others.

    A Drude particle may be beside the atom. A bead in a strand is no ion, whatever it is called.
    """
    atom, *more = residue.atoms
    if any(other.name != f"D{atom.name}"[:4] for other in more) or _in_strand(residue):
        return None
    letters, of_residue = _ion_name(atom.name), _ion_name(residue.name)
    found = None
    if _has_name_of_ion(residue.name, atom.name):
        found = ION_RESIDUES[of_residue]
    elif of_residue in _ANY_ION:
        found = ION_RESIDUES.get(letters, letters if letters in _METALS else None)
    elif letters == of_residue and letters in _METALS:
        found = letters
    return None if found is None or found == "IB" else found.capitalize()


def _has_name_of_ion(residue: str, atom: str) -> bool:
    """Whether a residue has the name of an ion, and its only atom another name of this ion."""
    symbol, name = ION_RESIDUES.get(_ion_name(residue)), _ion_name(atom)
    if symbol is None:
        return False
    return ION_RESIDUES[name] == symbol if name in ION_RESIDUES else name.startswith(symbol)


def _in_strand(residue: "Residue") -> bool:
    """Whether the only atom of a residue is bonded to that of another which is no water: both are beads of a chain.

    What is told of a topology is kept until its bonds change: ions are many.
    """
    topology = residue.chain.topology
    key, bonds = id(topology), topology.n_bonds
    if key not in _in_strands:
        weakref.finalize(topology, _in_strands.pop, key, None)
    if _in_strands.get(key, (-1,))[0] != bonds:
        ends = [pair for pair in topology.bonds if all(end.residue.n_atoms == 1 for end in pair)]
        beads = {end.index for pair in ends if not any(end.residue.is_water for end in pair) for end in pair}
        _in_strands[key] = bonds, frozenset(beads)
    return next(residue.atoms).index in _in_strands[key][1]


def whole_residues(topology: "mdtraj.Topology") -> list[int]:
    """For each residue of the topology the first of which it is a part: hydrogens may be listed after everything else.

    Parts have one chain, number and name, and no name of an atom twice.
    """
    first: dict[tuple[int, int, str], tuple[int, set[str]]] = {}
    whole = []
    for residue in topology.residues:
        key = (residue.chain.index, residue.resSeq, residue.name)
        names = {atom.name for atom in residue.atoms}
        start, known = first.get(key, (residue.index, set()))
        if known & names or is_solvent(residue):
            start, known = residue.index, set()
        first[key] = start, known | names
        whole.append(start)
    return whole
