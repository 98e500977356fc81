"""Names that mislead: a CA that is no carbon of the backbone by its bonds, and beads that are called as ions are.

In: an mdtraj topology with all bonds, and the atoms of beads. Out: what is to be said of such residues, in words. Names
choose beads, and bonds that frames show of a residue that nobody knows do not depend on names, so that the two can
differ without anything being torn.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from fpforce.molecule.graph import neighbours_of, steps_from
from fpforce.molecule.residues import backbone, is_solvent

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


def across_solvent(topology: "mdtraj.Topology", pairs: Iterable[tuple[int, int]]) -> list[str]:
    """A line for pairs of atoms that are taken to be bonded since they follow each other, where what stands between
    them is water or ions by its names: a bead of a chain may be called CD or W.
    """
    across = []
    for pair in pairs:
        first, last = sorted(topology.atom(atom).residue.index for atom in pair)
        between = [topology.residue(number) for number in range(first + 1, last)]
        if between and all(map(is_solvent, between)):
            across.append(str(between[0]))
    if not across:
        return []
    names = f"{', '.join(across[:_NAMED])}{', ...' if across[_NAMED:] else ''}"
    return [
        f"{len(across)} of the assumed bonds lead across residues that are water or ions by their names ({names}): "
        "where these are beads of the chain, rename them or give a topology that lists the bonds (CONECT in a PDB, a "
        ".tpr)"
    ]


_NAMED = 5
