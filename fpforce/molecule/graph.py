"""Graphs of bonds: neighbours, components, owners, shortest paths, and walks that make molecules whole across boxes."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

_STRETCH = 1.3  # of a bond beyond its typical length, in any frame


def neighbours_of(pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """{node: [bonded nodes]} of pairs."""
    neighbours: dict[int, list[int]] = {}
    for i, j in pairs:
        neighbours.setdefault(i, []).append(j)
        neighbours.setdefault(j, []).append(i)
    return neighbours


def connected_components(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sorted lists of the nodes 0..n-1 that the pairs connect, ordered by their first node."""
    neighbours = neighbours_of(pairs)
    seen, components = set(), []
    for start in range(n):
        if start not in seen:
            component = reached(neighbours, [start])
            seen |= component
            components.append(sorted(component))
    return components


def reached(neighbours: Mapping[int, Sequence[int]], starts: Sequence[int]) -> set[int]:
    """The nodes to which paths lead from the starts, with these."""
    seen, queue = set(starts), deque(starts)
    while queue:
        for other in neighbours.get(queue.popleft(), ()):
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen


def steps_from(neighbours: Mapping[int, Sequence[int]], start: int, most: float = math.inf) -> dict[int, int]:
    """{node: edges on the shortest path from the start}, nearest first, of the nodes at most so many edges away."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        if steps[node] < most:
            for other in neighbours.get(node, ()):
                if other not in steps:
                    steps[other] = steps[node] + 1
                    queue.append(other)
    return steps


def nearest_owner(pairs: Iterable[tuple[int, int]], groups: Iterable[Iterable[int]]) -> dict[int, tuple[int, int]]:
    """{node: (number of the group that is nearest along the pairs, node before it on the way)}, in the order of their
    distances; nodes that no path reaches are left out, and those of groups have themselves before.
    """
    neighbours = neighbours_of(pairs)
    owner = {node: (number, node) for number, group in enumerate(groups) for node in group}
    queue = deque(owner)
    while queue:
        node = queue.popleft()
        for other in neighbours.get(node, ()):
            if other not in owner:
                owner[other] = owner[node][0], node
                queue.append(other)
    return owner


def walk_whole(xyz: np.ndarray, box_vectors: np.ndarray, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Shift points by box vectors until every pair is at its nearest image; in place.

    Args:
        xyz: (frames, points, 3).
        box_vectors: (frames, 3, 3), rows are the vectors, same unit.
        pairs: bonds.

    Returns:
        xyz. Walks each component from its first point along a spanning tree, so any molecule whose bonds are shorter
        than half the box comes out whole, however large it is. Molecules stay where their first point is. All of them
        are walked at once, a bond further each time.
    """
    inverse = np.linalg.inv(box_vectors.astype(np.float64))
    for parents, children in _levels(neighbours_of(pairs)):
        step = (xyz[:, children] - xyz[:, parents]).astype(np.float64)
        images = np.round(np.einsum("fpd,fde->fpe", step, inverse))
        moved = images.any(axis=(0, 2))
        if moved.any():
            shift = np.einsum("fpe,fed->fpd", images[:, moved], box_vectors)
            xyz[:, np.array(children)[moved]] -= shift.astype(xyz.dtype)
    return xyz


def _levels(neighbours: Mapping[int, Sequence[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """The edges (parents, children) of trees that span all components from their first nodes, as many edges away from
    these each time.
    """
    seen: set[int] = set()
    first = []
    for start in sorted(neighbours):
        if start not in seen:
            first.append(start)
            seen |= reached(neighbours, [start])
    seen, level = set(first), first
    while level:
        parents, children = [], []
        for parent in level:
            for child in neighbours[parent]:
                if child not in seen:
                    seen.add(child)
                    parents.append(parent)
                    children.append(child)
        if children:
            yield parents, children
        level = children


def box_problem(xyz: np.ndarray, box_vectors: np.ndarray, pairs: Iterable[tuple[int, int]]) -> str | None:
    """Why the boxes (frames, 3, 3) cannot be those of coordinates (frames, atoms, 3) in nm, or None.

    A box is believed only if it can hold every bond twice, stretched by 30%: across a smaller one the nearest image of
    a bonded atom is another atom, and the molecule would be folded into the box. Files without a box often hold a tiny
    one.
    """
    volumes = np.abs(np.linalg.det(box_vectors.astype(np.float64)))
    if not np.all(volumes > 0.0):
        return "has no volume"
    faces = np.linalg.norm(np.cross(box_vectors[:, [1, 2, 0]], box_vectors[:, [2, 0, 1]]), axis=-1)
    width = float((volumes[:, None] / faces).min())
    pairs = np.array(sorted(pairs), dtype=int).reshape(-1, 2)
    if not len(pairs):
        return None
    some = np.unique(np.linspace(0, len(xyz) - 1, 20).astype(int))
    lengths = np.median(np.linalg.norm(xyz[some][:, pairs[:, 0]] - xyz[some][:, pairs[:, 1]], axis=-1), axis=0)
    unbroken = lengths[lengths <= 3.0 * np.quantile(lengths, 0.1)]  # most may lie across the box
    longest = float(unbroken.max())
    if width < 2.0 * _STRETCH * longest:
        return f"is {width:.3g} nm wide, too narrow to hold a bond of typically {longest:.3g} nm twice"
    return None
