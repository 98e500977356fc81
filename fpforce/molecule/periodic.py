"""Molecules broken across a periodic box, made whole along their bonds, where the box can be believed."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fpforce.molecule.atom_bonds import complete_bonds
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.graph import box_problem, connected_components, neighbours_of, reached, walk_whole

if TYPE_CHECKING:
    import mdtraj


def bonded_molecules(topology: "mdtraj.Topology", atoms: Sequence[int]) -> list[int]:
    """Indices, sorted, of all atoms of the molecules (bond graph components) to which the given atoms belong."""
    return sorted(reached(neighbours_of(_pairs(topology)), atoms))


def make_whole(
    xyz: np.ndarray, box_vectors: np.ndarray, topology: "mdtraj.Topology", links: Sequence[tuple[int, int]] = ()
) -> np.ndarray:
    """Shift atoms by box vectors until every bonded pair is at its nearest image; in place.

    Args:
        xyz: (frames, atoms, 3).
        box_vectors: (frames, 3, 3), rows are the vectors, same unit.
        topology: mdtraj topology with the bonds of these atoms.
        links: more pairs that are to be at their nearest images, between molecules.

    Returns:
        xyz, as `fpforce.molecule.graph.walk_whole` does.
    """
    return walk_whole(xyz, box_vectors, [*_pairs(topology), *links])


def unfold(
    xyz: np.ndarray,
    box_vectors: np.ndarray | None,
    topology: "mdtraj.Topology",
    links: Sequence[tuple[int, int]] = (),
) -> str | None:
    """`make_whole` in frames that have a box, where it can be believed; in place. Returns why it was not, or None.

    box_vectors: (frames, 3, 3), or None where the file has no box.
    """
    if box_vectors is None or not np.any(box_vectors):
        return None
    there = np.abs(np.linalg.det(box_vectors.astype(np.float64))) > 0.0
    if not there.any():
        return "has no volume"
    problem = box_problem(xyz[there], box_vectors[there], _pairs(topology))
    if problem is not None:
        return problem
    xyz[there] = make_whole(xyz[there], box_vectors[there], topology)
    if links:
        problem = _too_small(xyz[there], box_vectors[there], topology)
        if problem is None:
            xyz[there] = make_whole(xyz[there], box_vectors[there], topology, links)
    return problem


def _too_small(xyz: np.ndarray, box_vectors: np.ndarray, topology: "mdtraj.Topology") -> str | None:
    """Why a box cannot tell where molecules lie beside each other: one of them, whole, is longer than it."""
    sides = np.median(np.linalg.norm(box_vectors, axis=-1).min(axis=1))
    for molecule in connected_components(xyz.shape[1], _pairs(topology)):
        length = float(np.median(np.ptp(xyz[:, molecule], axis=1).max(axis=1)))
        if length > sides:
            return f"is {sides:.3g} nm wide, less than the {length:.3g} nm of one of its molecules"
    return None


def box_vectors_of(frames: "mdtraj.Trajectory") -> np.ndarray | None:
    """Box vectors (frames, 3, 3) of an mdtraj Trajectory, zero in frames without one; None where no frame has."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # of frames whose box has no lengths or angles
        vectors = frames.unitcell_vectors
    if vectors is None:
        return None
    return np.where(np.isfinite(vectors).all(axis=(1, 2), keepdims=True), vectors, 0.0).astype(vectors.dtype)


def whole_frame(frame: "mdtraj.Trajectory") -> "mdtraj.Topology":
    """Make the molecules of an mdtraj Trajectory of one frame whole, in place; returns its topology with all bonds."""
    vectors = box_vectors_of(frame)
    bonded = complete_bonds(frame.topology, SampleFrames(frame.xyz, vectors)).topology
    unfold(frame.xyz, vectors, bonded)
    return bonded


def _pairs(topology: "mdtraj.Topology") -> list[tuple[int, int]]:
    return [(a.index, b.index) for a, b in topology.bonds]
