"""Random molecules with a known answer: the mapping returns it, or refuses."""

import mdtraj
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import shortest_path

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import complete_bonds
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.graph import connected_components, neighbours_of, steps_from, walk_whole
from fpforce.molecule.mapping import choose_beads

NAMES = st.sampled_from("ALA GLY LYSH ASPH NTYR CYX HIE SEP X1Z 0AA lig PRO".split())


@st.composite
def graphs(draw, largest=12):
    """Bonds of a connected graph: a random tree with a few more edges."""
    n = draw(st.integers(3, largest))
    tree = [(draw(st.integers(0, i - 1)), i) for i in range(1, n)]
    more = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=3))
    return n, sorted({(min(i, j), max(i, j)) for i, j in [*tree, *more] if i != j})


def points(n, pairs, length, rng):
    """Positions where bonded points are `length` apart in the tree, and no two nearer than that."""
    placed = {0: np.zeros(3)}
    while len(placed) < n:
        for i, j in pairs:
            for known, new in ((i, j), (j, i)):
                if known in placed and new not in placed:
                    for _ in range(200):
                        way = rng.normal(size=3)
                        place = placed[known] + length * way / np.linalg.norm(way)
                        if min(np.linalg.norm(place - other) for other in placed.values()) > 0.99 * length:
                            break
                    placed[new] = place
    return np.array([placed[i] for i in range(n)])


@settings(max_examples=40, deadline=None)
@given(graphs(), st.booleans(), st.data())
def test_beads_of_a_topology_with_bonds_have_exactly_these(graph, own_residues, data):
    n, pairs = graph
    topology = mdtraj.Topology()
    chain, atoms = topology.add_chain("A"), []
    residue = topology.add_residue("MOL", chain, resSeq=1)
    for i in range(n):
        if own_residues and i:
            residue = topology.add_residue(data.draw(NAMES), chain, resSeq=data.draw(st.integers(-5, 20)))
        atoms.append(topology.add_atom(f"B{i}", mdtraj.element.carbon, residue))
    for i, j in data.draw(st.permutations(pairs)):
        topology.add_bond(atoms[i], atoms[j])
    assert list(choose_beads(complete_bonds(topology), "all").table.bonds) == pairs


@settings(max_examples=40, deadline=None)
@given(graphs(), st.data())
def test_beads_that_stand_for_parts_are_bonded_where_the_parts_are(graph, data):
    """Contracting a graph: parts that are connected inside, each one bead, are bonded where any of their atoms are."""
    n, pairs = graph
    topology = mdtraj.Topology()
    chain = topology.add_chain("A")
    residue = topology.add_residue("MOL", chain, resSeq=1)
    atoms = [topology.add_atom(f"B{i}", mdtraj.element.carbon, residue) for i in range(n)]
    for i, j in pairs:
        topology.add_bond(atoms[i], atoms[j])
    merged = data.draw(st.lists(st.sampled_from(pairs), max_size=n - 2))
    parts = connected_components(n, merged)
    groups = [{"name": f"P{number}", "atoms": part} for number, part in enumerate(parts)]
    if len(parts) < 2:
        return
    part_of = {atom: number for number, part in enumerate(parts) for atom in part}
    right = {tuple(sorted((part_of[i], part_of[j]))) for i, j in pairs if part_of[i] != part_of[j]}
    assert set(choose_beads(complete_bonds(topology), groups).table.bonds) == right


def peptide(names, rng, breaks=()):
    """(topology, xyz) of N, CA, C, O of residues along x; after a number in `breaks` C and N are 0.5 nm apart."""
    topology, places = mdtraj.Topology(), []
    chain, end = topology.add_chain("A"), np.zeros(3)
    for number, name in enumerate(names):
        residue = topology.add_residue(name, chain, resSeq=int(rng.integers(1, 500)))
        for atom, step in (("N", 0.5 if number - 1 in breaks else 0.133), ("CA", 0.146), ("C", 0.152), ("O", 0.123)):
            topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
            way = np.array([0.0 if atom == "O" else 1.0, *rng.normal(scale=1.0 if atom == "O" else 0.15, size=2)])
            places.append(end + step * way / np.linalg.norm(way))
            end = end if atom == "O" else places[-1]
    return topology, np.array(places)[None]


@settings(max_examples=25, deadline=None)
@given(st.lists(NAMES, min_size=3, max_size=9), st.data())
def test_residues_with_n_ca_c_are_a_chain_up_to_where_the_atoms_part(names, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    breaks = data.draw(st.sets(st.integers(0, len(names) - 2), max_size=1))
    topology, xyz = peptide(names, rng, breaks)
    box = np.diag([5.5, 5.7, 5.9])[None]
    wrapped = xyz + data.draw(st.floats(-3, 3))
    wrapped = (wrapped @ np.linalg.inv(box[0]) % 1.0) @ box[0]
    for frames in (SampleFrames(xyz), SampleFrames(wrapped, box)):
        bonded = complete_bonds(topology, frames)
        try:
            table = choose_beads(bonded, "ca").table
        except InputError as error:
            assert breaks and "C and N are" in str(error)
        else:
            assert not breaks
            assert [bead.residue for bead in table.beads] == names
            assert table.bonds == tuple((i, i + 1) for i in range(len(names) - 1))
        inside = {pair for pair in bonded.sources if pair[0] // 4 == pair[1] // 4}
        assert inside == {
            pair for k in range(0, 4 * len(names), 4) for pair in ((k, k + 1), (k + 1, k + 2), (k + 2, k + 3))
        }


@settings(max_examples=40, deadline=None)
@given(graphs(), st.floats(-5, 5), st.integers(0, 2**32))
def test_walking_the_bonds_undoes_wrapping(graph, shift, seed):
    n, pairs = graph
    xyz = points(n, pairs, 0.15, np.random.default_rng(seed))
    tree = [pair for pair in pairs if np.linalg.norm(xyz[pair[0]] - xyz[pair[1]]) < 0.7]
    box = np.array([[2.0, 0, 0], [0.3, 1.8, 0], [-0.4, 0.5, 1.7]])
    wrapped = ((xyz + shift) @ np.linalg.inv(box) % 1.0) @ box
    whole = walk_whole(wrapped[None].copy(), box[None], tree)[0]
    i, j = np.array(tree).T
    np.testing.assert_allclose(
        np.linalg.norm(whole[i] - whole[j], axis=1), np.linalg.norm(xyz[i] - xyz[j], axis=1), atol=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.data())
def test_steps_are_those_of_shortest_paths_and_end_where_asked(n, data):
    numbers = st.integers(0, n - 1)
    pairs = [(i, j) for i, j in data.draw(st.lists(st.tuples(numbers, numbers), max_size=12)) if i != j]
    bonded = np.zeros((n, n))
    for i, j in pairs:
        bonded[i, j] = 1.0
    shortest = shortest_path(bonded, directed=False, unweighted=True)  # Dijkstra's algorithm, of scipy
    start, most = data.draw(numbers), data.draw(st.integers(0, 5))
    found = steps_from(neighbours_of(pairs), start)
    assert found == {node: steps for node, steps in enumerate(shortest[start]) if np.isfinite(steps)}
    assert list(found.values()) == sorted(found.values())
    within = {node: steps for node, steps in found.items() if steps <= most}
    assert steps_from(neighbours_of(pairs), start, most) == within
