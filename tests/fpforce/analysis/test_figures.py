"""What the pictures of the report count."""

from types import SimpleNamespace

import numpy as np

from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.figures import _counts_1d, _counts_2d
from fpforce.analysis.planes import PositionPlane


def test_the_maps_count_frames_beyond_the_edges_as_the_distances_do():
    edges = (np.linspace(-1.0, 1.0, 65),) * 2
    plane = PositionPlane(edges, split_axis=0, split=0.0)
    points = np.random.default_rng(0).normal(size=(960, 2))
    assert (np.abs(points) > 1.0).any(axis=1).sum() > 300
    counts = _counts_2d(SimpleNamespace(plane=plane, coordinates={"simulation": points}), "simulation")
    assert counts.sum() == 960
    np.testing.assert_array_equal(counts.ravel(), np.bincount(bin_indices(points, edges), minlength=64 * 64))
    np.testing.assert_array_equal(_counts_1d(points[:, 0], edges[0]), counts.sum(axis=1))
