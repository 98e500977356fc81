"""Elements that contradict the names of their atoms, corrected: CA of an amino acid is carbon and no calcium.

In: an mdtraj topology. Out: the same, with a list of what was changed. Readers guess elements where a file has none,
and take CA, HE1 and ND2 for calcium, helium and neodymium.
"""

import re
from collections.abc import Collection, Container
from typing import TYPE_CHECKING

from fpforce.molecule.residues import STANDARD, ion_symbol, is_lone_alpha_carbon, is_solvent, standard_name

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Residue

_LETTERS = ("H", "C", "N", "O", "S", "P", "F", "B", "I")
_TWO_LETTERS = {"CL": "Cl", "BR": "Br"}


def correct_elements(topology: "mdtraj.Topology", guessed: Container[int] = ()) -> list[tuple[str, str, str]]:
    """Change elements in place; returns [(atom as text, symbol before, symbol after), ...].

    In the twenty amino acids the first letter of an atom's name is its element. Elsewhere a metal or noble gas, which
    atoms of organic molecules are not, gives way to that letter; and so does every other symbol, but for chlorine and
    bromine, of the atoms, by index, that are `guessed`, since the file has no elements of them. A metal of a cofactor,
    whose symbol is the atom's whole name, stays what it is: iron of a heme, cobalt that the file states. What no one
    simulates (dubnium of DB1), and of guessed ones a Drude particle DCA beside CA, is a site without mass.
    """
    import mdtraj

    changed = []
    for residue in topology.residues:
        names = {atom.name for atom in residue.atoms}
        standard = standard_name(residue) in STANDARD and (len(names) > 1 or names == {"CA"})
        first_guessed = residue.n_atoms > 0 and residue.atom(0).index in guessed
        standard = standard or (first_guessed and is_lone_alpha_carbon(residue))
        amino = standard or {"N", "CA", "C"} <= names
        molecular = amino or residue.n_atoms > 2
        if first_guessed and residue.n_atoms in (1, 2) and not standard:
            _name_ion(residue)
        if not molecular or (is_solvent(residue) and not standard):
            continue
        for atom in residue.atoms:
            symbol = "VS" if atom.element is None else atom.element.symbol
            unknown = atom.index in guessed
            if unknown and _is_drude_particle(atom.name, names):
                atom.element = mdtraj.element.virtual
                continue
            wanted = _metal(atom.name, symbol, amino, unknown) or _symbol_of(atom.name, symbol, standard, unknown)
            if wanted == symbol and symbol != "VS" and atom.element.number > _AMERICIUM:
                wanted = "VS"
            if wanted != symbol:
                atom.element = mdtraj.element.virtual if wanted == "VS" else mdtraj.element.get_by_symbol(wanted)
                changed.append((str(atom), symbol, "a site without mass" if wanted == "VS" else wanted))
            elif atom.element is None:
                atom.element = mdtraj.element.virtual
    return changed


def _name_ion(residue: "Residue") -> None:
    """Give an ion of a file without elements, as Na of SOD, that of its name: readers take letters of it for one. Names
    of ions are no elements that they could contradict, so that this is no correction.
    """
    import mdtraj

    symbol = ion_symbol(residue)
    if symbol is not None:
        residue.atom(0).element = mdtraj.element.get_by_symbol(symbol)


def _is_drude_particle(name: str, others: Collection[str]) -> bool:
    """Whether the name of an atom is that of another one of the residue with D before it, as far as columns go."""
    return name.startswith("D") and any(("D" + other)[:4] == name for other in others if other != name)


def _metal(name: str, symbol: str, amino: bool, guessed: bool) -> str | None:
    """The symbol that is the atom's whole name, where it can be one: stated outside of amino acids, or of few
    readings.
    """
    letters = re.sub(r"[^A-Za-z]", "", name).upper()
    if letters == "SE" or (guessed and not amino and letters in _OF_COFACTORS):
        return letters.capitalize()
    return symbol if letters in _STATED and symbol.upper() == letters and not (guessed or amino) else None


def _symbol_of(name: str, symbol: str, standard: bool, guessed: bool) -> str:
    letters = re.sub(r"^[^A-Za-z]+", "", name).upper()
    if not letters or letters[0] not in _LETTERS or symbol.upper() == letters[0]:
        return _TWO_LETTERS.get(letters[:2], symbol) if guessed and not standard and letters else symbol
    if standard:
        return letters[0]
    if guessed:
        return _TWO_LETTERS.get(letters[:2], letters[0])
    return letters[0] if symbol in _NOT_IN_MOLECULES else symbol


_AMERICIUM = 95  # the heaviest element of which there are compounds to simulate
_OF_COFACTORS = ("FE", "ZN", "MG", "MN", "CU", "MO", "SI")
_STATED = (*_OF_COFACTORS, "CO", "NI", "PT", "PD", "RU", "RH")  # CA, CD and HG are names of carbon and hydrogen, too
_NOT_IN_MOLECULES = (
    "VS He Ne Ar Ca Cd Ce Co Cs Cf Cm Cr Ha Hf Hg Ho Hs Na Nb Nd Np No Os Pa Pb Pd Pm Po Pr Pu Sb Sc Sg Sm Sr In Ir Fm "
    "Fr Ba Bi Bk Be Bh"
).split()
