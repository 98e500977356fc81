"""What a residue of a topology is: solvent, an amino acid, an end group.

In: residues of an mdtraj topology, with the names that programs and databases give them. Out: what they are, by the
atoms that they have, because lists of names never end.
"""

# fmt: off
_ION_ELEMENTS = {
    "Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Cd",
    "F", "Cl", "Br", "I",
}
ION_RESIDUES = {
    "LI", "NA", "K", "RB", "CS", "MG", "CA", "SR", "BA", "ZN", "CL", "BR", "I", "F",
    "SOD", "POT", "CLA", "CAL", "CES", "LIT", "RUB", "IB", "CIO", "CIM", "CIP",
}
# fmt: on


def is_solvent(residue):
    """Water or a single ion (a bead named CA of a protein residue is neither)."""
    if residue.is_water:
        return True
    if residue.n_atoms != 1:
        return False
    atom = next(residue.atoms)
    return residue.name.upper().rstrip("+-0123456789") in ION_RESIDUES or atom.element.symbol in _ION_ELEMENTS
