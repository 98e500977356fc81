"""Bonds between beads, lifted from the bonds between the atoms they stand for.

In: an mdtraj topology with the bonds of its atoms, and the atom indices of every bead. Out: pairs of bead indices, the
skeleton on which the bonded prior, the angles and the unit check rest, each with where it comes from.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import BondedTopology
from fpforce.molecule.beads import Bead, BeadTable
from fpforce.molecule.bonds_by_name import is_peptide_bond
from fpforce.molecule.chains import chain_numbers, numbers_begin_anew
from fpforce.molecule.covalent import symbol_of
from fpforce.molecule.graph import connected_components, nearest_owner, neighbours_of
from fpforce.molecule.residues import is_solvent, lacking_backbone, whole_residues

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue

LINK, SEQUENCE = "link", "sequence"
_ENDS = (("C", "N"), ("O3'", "P"), ("O3*", "P"))  # atoms by which residues are bonded to the next
_MAIN_BEADS = ("CA", "BB")  # of a residue of a protein, the latter in Martini


def bead_bonds(bonded: BondedTopology, groups: Sequence[Sequence[int]]) -> dict[tuple[int, int], str]:
    """{(i, j): source} of the bonds between beads, i < j, sorted.

    Every other atom is counted to the bead nearest along the bonds; two beads are bonded when atoms counted to them
    are. So `ca` gives the chain with its disulfides and ring closures, `heavy` the molecule itself. Sources are those
    of the atoms' bond; LINK where the way from bead to bead joins residues other than by a peptide bond or neighbours
    in the sequence.
    Only where a chain has no bond between residues that follow each other, and not the atoms that would show one (as in
    a coarse-grained PDB), residues that follow each other are joined, at CA-CA, BB-BB or their only beads: SEQUENCE.

    Args:
        bonded: topology of the atoms with its bonds.
        groups: one sequence of atom indices per bead.
    """
    topology = bonded.topology
    owner = nearest_owner(bonded.sources, groups)
    whole = whole_residues(topology)

    def links(a: int, b: int) -> bool:
        """Whether a bond of two atoms leads otherwise than along the chain."""
        first, second = topology.atom(a), topology.atom(b)
        return whole[first.residue.index] != whole[second.residue.index] and _is_link(first, second)

    across: dict[int, bool] = {}  # whether the way from its bead to an atom has a link
    for atom, (_, before) in owner.items():
        across[atom] = before != atom and (across[before] or links(before, atom))
    pairs: dict[tuple[int, int], str] = {}
    for (a, b), source in sorted(bonded.sources.items()):
        if a not in owner or b not in owner or owner[a][0] == owner[b][0]:
            continue
        i, j = owner[a][0], owner[b][0]
        pair = (min(i, j), max(i, j))
        link = across[a] or across[b] or links(a, b)
        first, second = topology.atom(a).residue, topology.atom(b).residue
        if not link and whole[first.index] == whole[second.index]:
            link = _is_beside(first, [topology.atom(groups[bead][0]).residue for bead in (i, j)])
        kind = LINK if link else source
        if pair not in pairs or pairs[pair] == LINK:
            pairs[pair] = kind
    pairs |= dict.fromkeys(_sequence_bonds(bonded, groups, pairs), SEQUENCE)
    return dict(sorted(pairs.items()))


def other_ways(topology: "mdtraj.Topology", table: BeadTable) -> frozenset[tuple[int, int]]:
    """Bonds between beads of one atom each that lead along the atoms otherwise than their names say: over neither one
    bond nor CA-C-N-CA, as from CA to CA across the side chain of an isoaspartate, or from N to CA of a beta-amino acid.

    topology: of the atoms of the table, with all bonds.
    """
    neighbours = neighbours_of((first.index, second.index) for first, second in topology.bonds)

    def over(atoms: Collection[int], name: str) -> set[int]:
        return {other for atom in atoms for other in neighbours.get(atom, ()) if topology.atom(other).name == name}

    def usual(a: int, b: int) -> bool:
        if b in neighbours.get(a, ()):
            return True
        return any(b in over(over(over([a], near), far), "CA") for near, far in (("C", "N"), ("N", "C")))

    ends = {(i, j): (table.beads[i].atoms, table.beads[j].atoms) for i, j in table.bonds}
    single = {pair: (*a, *b) for pair, (a, b) in ends.items() if len(a) == len(b) == 1}
    return frozenset(pair for pair, (a, b) in single.items() if not usual(a, b))


def reasons_apart(bonded: BondedTopology, groups: Sequence[Sequence[int]]) -> list[str]:
    """Why beads may be apart, in words: gaps between their residues, and residues that lack an atom of the backbone."""
    topology = bonded.topology
    residues = {topology.atom(atom).residue.index for group in groups for atom in group}
    if not residues:
        return []
    ends = range(min(residues), max(residues) + 1)
    incomplete = [
        f"residue {residue} lacks its atom {' and '.join(lacking)}"
        for residue in (topology.residue(index) for index in ends)
        if (lacking := lacking_backbone(residue))
    ]
    gaps = [str(gap) for gap in bonded.gaps if {gap.before.residue.index, gap.after.residue.index} <= set(ends)]
    return [*incomplete, *gaps]


def require_connected(
    beads: Sequence[Bead],
    pairs: Collection[tuple[int, int]],
    reasons: Sequence[str] = (),
    several_chains: bool = False,
) -> None:
    """Raise InputError, naming a loose bead, unless bonds connect all the beads to one molecule.

    Chains may differ, as long as bonds (such as a disulfide's) lead from one to the other. With `several_chains` bonds
    must connect the beads of each chain.

    Args:
        beads: the Beads.
        pairs: bead bonds.
        reasons: why they may not be connected, in words, most likely first.
    """
    if len(beads) < 2:
        raise InputError(
            f"the mapping gives {len(beads)} bead; a force field needs at least two bonded beads (a single "
            "particle in an external potential comes as a .npz and a list of one bead record)"
        )
    components = connected_components(len(beads), pairs)
    apart = len(components) > 1
    if several_chains and apart:
        of_chain: dict[str, set[int]] = {}
        for number, component in enumerate(components):
            for bead in component:
                of_chain.setdefault(beads[bead].chain, set()).add(number)
        torn = next((numbers for numbers in of_chain.values() if len(numbers) > 1), set())
        components = [components[number] for number in sorted(torn)]
        apart = bool(torn)
    if apart:
        body = max(components, key=len)
        loose = min((component for component in components if component is not body), key=len)
        chains = {beads[loose[0]].chain, beads[body[0]].chain}
        together = "; chains that stay together without bonds, as in a dimer, are taken with data.several_chains = true"
        raise InputError(
            f"bead {beads[loose[0]]} (chain {beads[loose[0]].chain}) and bead {beads[body[0]]} (chain "
            f"{beads[body[0]].chain}) are not connected by bonds: {reasons[0] + '; ' if reasons else ''}choose beads "
            "of one molecule that follow each other (a selection can say `and protein` or `chainid 0`), or give the "
            "bonds (CONECT in a PDB, a .psf, .prmtop, .tpr, .itp or GROMACS' .top, `bonds` in a list)"
            f"{_alone_in_chain(several_chains) if len(loose) == len(chains) == 1 and not reasons else ''}"
            f"{'' if several_chains or len(chains) < 2 else together}"
        )


def _alone_in_chain(several_chains: bool) -> str:
    """What to do about a bead without a bond that is not of a chain and is listed in it."""
    setting = "" if several_chains else ", with data.several_chains = true"
    return (
        "; what stays near the others without a bond, such as a metal ion, has to be a chain of its own: give a PDB "
        f"with a TER before it or with a chain letter of its own{setting}"
    )


def _is_link(first: "Atom", second: "Atom") -> bool:
    """Whether a bond joins two residues as no chain of residues does: a disulfide, a ring's closure, a branch."""
    if first.residue.chain is not second.residue.chain:
        return True
    follow = abs(first.residue.index - second.residue.index) == 1
    both_sulfur = {symbol_of(first), symbol_of(second)} <= {"S", "Se"}
    return both_sulfur or not (follow or (is_peptide_bond(first, second) and _skips(first, second)))


def _is_beside(between: "Residue", ends: Sequence["Residue"]) -> bool:
    """Whether a residue that joins two beads' residues lies beside the chain of these, as a heme does."""
    if between in ends:
        return False
    low, high = sorted(end.index for end in ends)
    return ends[0].chain is not ends[1].chain or not low < between.index < high


def _skips(first: "Atom", second: "Atom") -> bool:
    """Whether only solvent lies between two residues of a chain."""
    low, high = sorted((first.residue.index, second.residue.index))
    topology = first.residue.chain.topology
    return all(is_solvent(topology.residue(index)) for index in range(low + 1, high))


def _has(residue: "Residue", name: str) -> bool:
    return any(atom.name == name for atom in residue.atoms)


def _sequence_bonds(
    bonded: BondedTopology, groups: Sequence[Sequence[int]], pairs: Collection[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Bonds between residues of a chain that follow each other, where the topology has nothing to tell them."""
    topology = bonded.topology
    residues = {}
    for bead, group in enumerate(groups):
        residues.setdefault(topology.atom(group[0]).residue.index, []).append(bead)
    order = sorted(residues)
    following = list(zip(order[:-1], order[1:], strict=True))
    residue_of = {bead: index for index, beads in residues.items() for bead in beads}
    component_of = {bead: k for k, members in enumerate(connected_components(len(groups), pairs)) for bead in members}
    apart = []
    for left, right in following:
        before, after = topology.residue(left), topology.residue(right)
        if before.chain is not after.chain or numbers_begin_anew(before, after):
            continue
        if any(_has(before, last) and _has(after, first) for last, first in _ENDS):
            continue  # these would be bonded
        if {component_of[bead] for bead in residues[left]}.isdisjoint(component_of[bead] for bead in residues[right]):
            apart.append((left, right))
    if not apart:
        return set()
    chain_of = chain_numbers(bonded)
    neighbours = set(following)
    told = {chain_of[residue_of[i]] for i, j in pairs if tuple(sorted((residue_of[i], residue_of[j]))) in neighbours}
    found = set()
    for left, right in apart:
        if chain_of[left] != chain_of[right] or chain_of[left] in told:
            continue
        ends = [
            {topology.atom(groups[bead][0]).name: bead for bead in beads} for beads in (residues[left], residues[right])
        ]
        main = next((name for name in _MAIN_BEADS if all(name in names for names in ends)), None)
        if main is not None:
            found.add((ends[0][main], ends[1][main]))
        elif len(residues[left]) == len(residues[right]) == 1:
            found.add((residues[left][0], residues[right][0]))
    return {(min(i, j), max(i, j)) for i, j in found}
