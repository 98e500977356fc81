"""Which atoms of a large residue are bonded, told by distances without looking at all pairs."""

import tracemalloc

import mdtraj
import numpy as np
import pytest

from fpforce.molecule.atom_bonds import complete_bonds
from fpforce.molecule.bonds_by_distance import SampleFrames

BOXES = {
    "none": None,
    "orthorhombic": [[1.0, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 1.3]],
    "triclinic": [[1.0, 0.0, 0.0], [0.4, 0.9, 0.0], [-0.3, 0.35, 0.8]],
    "narrow": [[0.5, 0.0, 0.0], [0.2, 0.3, 0.0], [0.1, 0.1, 0.25]],
}


@pytest.mark.parametrize("box", BOXES)
def test_near_pairs_are_all_that_are_near_in_a_frame(box):
    vectors = BOXES[box]
    xyz = np.random.default_rng(1).uniform(-1.5, 1.5, size=(3, 400, 3)).astype(np.float32)
    frames = SampleFrames(xyz, None if vectors is None else np.array([vectors] * 3, dtype=np.float32))
    atoms = np.arange(20, 400)
    first, second = np.triu_indices(len(atoms), 1)
    near = frames.distances(atoms[first], atoms[second]).min(axis=0) <= 0.18
    found = set(zip(*map(np.ndarray.tolist, frames.near_pairs(atoms, 0.18)), strict=True))
    assert set(zip(first[near].tolist(), second[near].tolist(), strict=True)) <= found
    assert all(i < j for i, j in found) and len(found) < len(first) * (1.0 if box == "narrow" else 0.5)


@pytest.mark.parametrize("boxed", [False, True])
def test_residue_of_thousands_of_atoms_needs_no_memory_of_all_their_pairs(boxed):
    """A row of carbons 0.142 nm apart, across the box: each is bonded to the next. All pairs took 1 GB and more."""
    n = 4000
    topology = mdtraj.Topology()
    sheet = topology.add_residue("GRA", topology.add_chain("A"))
    for _ in range(n):
        topology.add_atom("C", mdtraj.element.carbon, sheet)
    row, place = np.divmod(np.arange(n), 50)
    places = np.stack([0.142 * place, 0.3 * row, np.zeros(n)], axis=1)
    xyz = places + 0.002 * np.random.default_rng(0).normal(size=(3, n, 3))
    box = np.array([np.diag([50 * 0.142, 30.0, 30.0])] * 3) if boxed else None
    if boxed:
        xyz[:, :, 0] = (xyz[:, :, 0] + 1.0) % (50 * 0.142)
    tracemalloc.start()
    found = complete_bonds(topology, SampleFrames(xyz.astype(np.float32), box)).sources
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    rings = {(50 * k, 50 * k + 49) for k in range(n // 50)} if boxed else set()
    assert set(found) == {(i, i + 1) for i in range(n - 1) if i % 50 != 49} | rings
