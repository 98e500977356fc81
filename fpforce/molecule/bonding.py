"""Bonds between beads, derived from the bonds between the atoms they stand for.

In: an mdtraj topology and the atom indices of every bead. Out: pairs of bead indices, the skeleton on which the
bonded prior, the angles and the unit check rest.
"""

from collections import deque

from fpforce.foundation.errors import InputError


def with_bonds(topology):
    """The topology itself if it has bonds, else a copy with mdtraj's standard bonds added."""
    if topology.n_bonds:
        return topology
    bonded = topology.copy()
    bonded.create_standard_bonds()
    return bonded


def bead_bonds(topology, groups):
    """Bonds between beads as sorted pairs (i, j), i < j.

    Every other atom is counted to the bead nearest along the bonds; two beads are bonded when atoms counted to them
    are, either directly or between residues that follow each other. So `ca` gives the chain, `heavy` the molecule
    itself. Where a chain still falls apart (its topology lists no bonds, as in a coarse-grained PDB), residues that
    follow each other are joined at C-N, at CA-CA, or at their only beads.

    Args:
        topology: mdtraj topology of the atoms.
        groups: one sequence of atom indices per bead.
    """
    topology = with_bonds(topology)
    owner = _nearest_bead(topology, groups)
    bead_atoms = {atom for group in groups for atom in group}
    rank = _residue_ranks(topology, groups)
    residue = [topology.atom(group[0]).residue for group in groups]
    pairs = set()
    for a, b in topology.bonds:
        i, j = owner.get(a.index), owner.get(b.index)
        if i is None or j is None or i == j:
            continue
        direct = a.index in bead_atoms and b.index in bead_atoms
        if direct or (residue[i].chain is residue[j].chain and abs(rank[i] - rank[j]) <= 1):
            pairs.add((min(i, j), max(i, j)))
    pairs |= _chain_links([topology.atom(group[0]) for group in groups], groups, rank, pairs)
    return tuple(sorted(pairs))


def connected_components(n, pairs):
    """Sorted lists of the nodes 0..n-1 that the pairs connect, ordered by their first node."""
    neighbours = [[] for _ in range(n)]
    for i, j in pairs:
        neighbours[i].append(j)
        neighbours[j].append(i)
    seen, components = set(), []
    for start in range(n):
        if start in seen:
            continue
        component, queue = [], deque([start])
        seen.add(start)
        while queue:
            i = queue.popleft()
            component.append(i)
            for j in neighbours[i]:
                if j not in seen:
                    seen.add(j)
                    queue.append(j)
        components.append(sorted(component))
    return components


def require_connected(beads, pairs):
    """Raise InputError, naming a loose bead, unless bonds connect all the beads to one molecule.

    Chains may differ, as long as bonds (such as a disulfide's) lead from one to the other.

    Args:
        beads: the Beads.
        pairs: bead bonds.
    """
    if len(beads) < 2:
        raise InputError(
            f"the mapping gives {len(beads)} bead; a force field needs at least two bonded beads (a single "
            "particle in an external potential comes as a .npz and a list of one bead record)"
        )
    components = connected_components(len(beads), pairs)
    if len(components) > 1:
        body = max(components, key=len)
        loose = min((component for component in components if component is not body), key=len)
        raise InputError(
            f"bead {beads[loose[0]]} (chain {beads[loose[0]].chain}) and bead {beads[body[0]]} (chain "
            f"{beads[body[0]].chain}) are not connected by bonds: choose beads of one molecule that follow each other "
            "(a selection can say `and protein` or `chainid 0`), or give the bonds (CONECT in a PDB, `bonds` in a list)"
        )


def _nearest_bead(topology, groups):
    """atom index -> bead index by breadth-first search along the bonds from all beads at once."""
    neighbours = {}
    for a, b in topology.bonds:
        neighbours.setdefault(a.index, []).append(b.index)
        neighbours.setdefault(b.index, []).append(a.index)
    owner = {atom: bead for bead, group in enumerate(groups) for atom in group}
    queue = deque(owner)
    while queue:
        atom = queue.popleft()
        for other in neighbours.get(atom, ()):
            if other not in owner:
                owner[other] = owner[atom]
                queue.append(other)
    return owner


def _residue_ranks(topology, groups):
    """Position of each bead's residue among the residues that supply beads."""
    residues = [topology.atom(group[0]).residue.index for group in groups]
    order = {index: position for position, index in enumerate(sorted(set(residues)))}
    return [order[index] for index in residues]


def _chain_links(first_atoms, groups, rank, pairs):
    """The missing links between consecutive residues of a chain."""
    component_of = {bead: k for k, c in enumerate(connected_components(len(groups), pairs)) for bead in c}
    members = {}
    for bead, r in enumerate(rank):
        members.setdefault(r, []).append(bead)
    links = set()
    for r in range(len(members) - 1):
        left = {first_atoms[b].name: b for b in members[r]}
        right = {first_atoms[b].name: b for b in members[r + 1]}
        if first_atoms[members[r][0]].residue.chain is not first_atoms[members[r + 1][0]].residue.chain:
            continue
        if {component_of[b] for b in members[r]} & {component_of[b] for b in members[r + 1]}:
            continue
        if "C" in left and "N" in right:
            links.add((left["C"], right["N"]))
        elif "CA" in left and "CA" in right:
            links.add((left["CA"], right["CA"]))
        elif len(members[r]) == len(members[r + 1]) == 1:
            links.add((members[r][0], members[r + 1][0]))
    return {(min(i, j), max(i, j)) for i, j in links}
