"""What the pictures of the report count."""

import numpy as np

from fpforce.analysis.divergences import bin_indices
from fpforce.analysis.frame_source import ArrayFrames
from fpforce.analysis.gathering import Gathering
from fpforce.analysis.planes import PositionPlane


def test_the_maps_count_frames_beyond_the_edges_as_the_distances_do():
    edges = (np.linspace(-1.0, 1.0, 65),) * 2
    plane = PositionPlane(edges, split_axis=0, split=0.0)
    positions = np.random.default_rng(0).normal(size=(960, 1, 1, 3))
    points = positions[:, 0, 0, :2]
    assert (np.abs(points) > 1.0).any(axis=1).sum() > 300
    gathered = Gathering.of_trajectories([plane], [ArrayFrames(positions)], 0).gather()
    counts = gathered.sample.with_bins(64).histogram(0).sum(axis=0)
    assert counts.sum() == 960
    np.testing.assert_array_equal(counts, np.bincount(bin_indices(points, edges), minlength=64 * 64))
