"""How long bonds between atoms are.

In: mdtraj atoms. Out: their covalent radii, and the range in which the length of a bond between them lies.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mdtraj.core.topology import Atom

# Radii in nm of atoms in covalent bonds, rounded from the usual tables; of other elements one value.
_RADIUS_NM = {
    "H": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057, "Si": 0.111, "P": 0.107, "S": 0.105,
    "Cl": 0.102, "Se": 0.120, "Br": 0.120, "I": 0.139,
}  # fmt: skip
_OTHER_RADIUS_NM = 0.11
TOLERANCE_NM = 0.03  # a bond at 300 K is stretched by less; atoms two bonds apart are 0.06 nm farther
_OF_METALS_NM = 0.15  # more: bonds to metals are of many lengths
_SHORTEST_PART = 0.72  # a triple bond has 0.78 of the sum of the radii, everything else more
_STRETCHED_NM = 0.05  # eight standard deviations of a bond between carbons at 1000 K
_SQUEEZED_PART = 0.55
_SHORTEST_TO_HYDROGEN_NM = 0.045  # some force fields put hydrogen in the middle of its bond


def symbol_of(atom: "Atom") -> str:
    """The symbol of an atom's element, VS of a site without one; H of deuterium."""
    symbol = "VS" if atom.element is None else atom.element.symbol
    return "H" if symbol == "D" else symbol


def radii_nm(atoms: Sequence["Atom"]) -> np.ndarray:
    """Covalent radii (atoms,) in nm."""
    return np.array([_RADIUS_NM.get(symbol_of(atom), _OTHER_RADIUS_NM) for atom in atoms])


class BondLimits:
    """Bounds (bonds,) in nm of the bonds between two lists of atoms: typical lengths lie between `shortest` and
    `longest`, lengths in single frames between `squeezed` and `stretched`.
    """

    def __init__(self, first: Sequence["Atom"], second: Sequence["Atom"]) -> None:
        ends = [[symbol_of(atom) for atom in atoms] for atoms in (first, second)]
        known = np.array([{a, b} <= set(_RADIUS_NM) for a, b in zip(*ends, strict=True)], dtype=bool)
        hydrogen = np.array(["H" in pair for pair in zip(*ends, strict=True)], dtype=bool)
        usual = radii_nm(first) + radii_nm(second)
        more = np.where(known, 0.0, _OF_METALS_NM)
        self.longest = usual + TOLERANCE_NM + more
        self.stretched = usual + _STRETCHED_NM + more
        self.shortest = np.where(hydrogen, _SHORTEST_TO_HYDROGEN_NM, _SHORTEST_PART * usual)
        self.squeezed = np.where(hydrogen, 0.8 * _SHORTEST_TO_HYDROGEN_NM, _SQUEEZED_PART * usual)
