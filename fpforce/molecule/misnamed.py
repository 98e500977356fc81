"""Residues whose CA is no carbon of the backbone by their bonds: their atoms have each other's names, or another order.

In: an mdtraj topology with all bonds, and the atoms of beads. Out: what is to be said of such residues, in words. Names
choose beads, and bonds that frames show of a residue that nobody knows do not depend on names, so that the two can
differ without anything being torn.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from fpforce.molecule.graph import neighbours_of, steps_from
from fpforce.molecule.residues import backbone

if TYPE_CHECKING:
    import mdtraj


def off_the_backbone(topology: "mdtraj.Topology", atoms: Collection[int]) -> list[str]:
    """A line for each residue with one of these atoms in whose bonds a way from N to C is shorter than any by CA."""
    lines = []
    pairs_of: dict[int, list[tuple[int, int]]] = {}
    for first, second in topology.bonds:
        if first.residue is second.residue:
            pairs_of.setdefault(first.residue.index, []).append((first.index, second.index))
    for residue in {topology.atom(atom).residue.index: topology.atom(atom).residue for atom in atoms}.values():
        found = backbone(residue)
        if not found or found["CA"].index not in atoms:
            continue
        nitrogen, alpha, carbon = (found[name].index for name in ("N", "CA", "C"))
        neighbours = neighbours_of(pairs_of.get(residue.index, ()))
        from_n, from_c = steps_from(neighbours, nitrogen), steps_from(neighbours, carbon)
        if carbon not in from_n or alpha not in from_n or from_n[alpha] + from_c[alpha] == from_n[carbon]:
            continue
        if from_n[carbon] == from_n[alpha] == 1:  # an amide of another acid, as N, CA and C of folate
            continue
        between = [
            topology.atom(atom).name
            for atom in from_n
            if from_n[atom] + from_c[atom] == from_n[carbon] and atom not in (nitrogen, carbon)
        ]
        lines.append(
            f"the bead {found['CA']} is not between N and C of its residue by the bonds that the frames show, but "
            f"{' and '.join(between) or 'nothing'} is: the topology has these atoms under each other's names or in "
            "another order than the trajectory, or the residue is no amino acid; choose the atom that is meant"
        )
    return lines
