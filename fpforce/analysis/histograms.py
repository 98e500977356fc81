"""Bins of a plane and the main barrier along one coordinate.

In: values of a coordinate. Out: bin edges, and where the free energy parts two basins.
"""

import numpy as np

from fpforce.analysis.divergences import BINS_PER_AXIS

LEAST_POPULATION = 0.01  # of a basin


def main_barrier(values: np.ndarray, edges: np.ndarray, smoothing_bins: int = 3) -> tuple[float, float]:
    """(position, height in kT) of the main barrier of the free energy along one coordinate.

    The bin whose free energy rises most above the minimum of the shallower of its two sides: a barrier counts by the
    height seen from the basin that is easier to leave, so the noisy minima of a histogram do not. Of a flat top, such
    as unvisited bins, the middle. At least LEAST_POPULATION of the values lie on either side: a single frame far out
    is behind a barrier of unvisited bins, too, and no basin whose weight these values know.
    """
    found = np.histogram(values, bins=edges)[0]
    below = np.cumsum(found) - 0.5 * found
    basins = np.minimum(below, found.sum() - below) >= LEAST_POPULATION * found.sum()
    counts = found + 1e-3
    smooth = np.convolve(counts, np.ones(smoothing_bins) / smoothing_bins, mode="same")
    free_energy = -np.log(smooth)
    left = np.minimum.accumulate(free_energy)
    right = np.minimum.accumulate(free_energy[::-1])[::-1]
    height = np.where(basins, free_energy - np.maximum(left, right), -np.inf)
    best = int(np.median(np.flatnonzero(height > height.max() - 1e-9)))
    return float(0.5 * (edges[best] + edges[best + 1])), float(height.max())


def plane_edges(values: np.ndarray, margin: float = 0.05) -> np.ndarray:
    """BINS_PER_AXIS even bins over the range of the values and a margin at either end."""
    low, high = values.min(), values.max()
    return np.linspace(low - margin * (high - low), high + margin * (high - low), BINS_PER_AXIS + 1)


def rebinned(edges: np.ndarray, bins: int) -> np.ndarray:
    """So many even bins over the same range."""
    return np.linspace(edges[0], edges[-1], bins + 1)
