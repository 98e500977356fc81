"""Distances between two samples: JS divergence and PMF error of histograms, W1 distance of one-dimensional samples.

In: counts or probabilities per bin (any shape, the last axis is summed), or samples. Out: dimensionless numbers (JS in
nats), W1 in the sample's unit.
Source: arXiv 2506.17139 (both metrics on 64 x 64 bins); docs/method.md, eq. 34.
"""

from collections.abc import Sequence

import numpy as np

BINS_PER_AXIS = 64
PMF_FLOOR = 1e-6


def bin_indices(coordinates: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Flat bin of every point of a plane, shape (F,), for coordinates (F, 2) and two ascending, even `edges` arrays.

    Points beyond an edge count in the outermost bin, so that no probability is lost.
    """
    flat = np.zeros(len(coordinates), dtype=np.int64)
    for axis, edge in enumerate(edges):
        bins = len(edge) - 1
        position = (coordinates[:, axis] - edge[0]) * (bins / (edge[-1] - edge[0]))
        flat = flat * bins + np.clip(np.floor(position).astype(np.int64), 0, bins - 1)
    return flat


def normalised(counts: np.ndarray) -> np.ndarray:
    """Probabilities per bin; the last axis sums to one."""
    counts = np.asarray(counts, dtype=np.float64)
    return counts / counts.sum(axis=-1, keepdims=True)


def js_divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in nats of two sets of bin counts or probabilities, 1/2 KL(P|M) + 1/2 KL(Q|M).

    0 for equal, ln 2 for disjoint distributions.
    """
    p, q = normalised(p), normalised(q)
    mean = 0.5 * (p + q)
    return 0.5 * (_kl_terms(p, mean) + _kl_terms(q, mean)).sum(axis=-1)


def pmf_error(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Mean squared difference of the potentials of mean force, in (kT)^2, weighted by the mean distribution.

    sum over bins of M (ln max(P, 1e-6) - ln max(Q, 1e-6))^2, M = (P + Q) / 2. Source: arXiv 2506.17139.
    """
    p, q = normalised(p), normalised(q)
    difference = np.log(np.maximum(p, PMF_FLOOR)) - np.log(np.maximum(q, PMF_FLOOR))
    return (0.5 * (p + q) * difference**2).sum(axis=-1)


def w1_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein-1 distance of two one-dimensional samples, the area between their distribution functions.

    In the unit of the samples. The samples may differ in size.
    """
    a, b = np.sort(a), np.sort(b)
    if len(a) == len(b):
        return float(np.mean(np.abs(a - b)))
    points = np.sort(np.concatenate([a, b]))
    below_a = np.searchsorted(a, points[:-1], side="right") / len(a)
    below_b = np.searchsorted(b, points[:-1], side="right") / len(b)
    return float(np.sum(np.abs(below_a - below_b) * np.diff(points)))


def free_energy_kt(counts: np.ndarray) -> np.ndarray:
    """-ln of the bin probabilities, lowest bin at zero, in kT; unvisited bins are infinite."""
    with np.errstate(divide="ignore"):
        free_energy = -np.log(np.asarray(counts, dtype=np.float64))
    return free_energy - free_energy.min()


def _kl_terms(p: np.ndarray, mean: np.ndarray) -> np.ndarray:
    occupied = p > 0
    return np.where(occupied, p * np.log(np.where(occupied, p / np.where(occupied, mean, 1.0), 1.0)), 0.0)
