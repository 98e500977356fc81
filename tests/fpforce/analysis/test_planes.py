"""The plane of a particle in an external potential: its bins, and where its basins part."""

import numpy as np
import pytest

from fpforce.analysis.histograms import LEAST_POPULATION, main_barrier, plane_edges
from fpforce.analysis.planes import PositionPlane, choose_planes, upper_basin
from fpforce.molecule.mapping import list_beads

BEADS = list_beads([{"name": "P", "residue": "PAR", "mass_da": 1.0}])


def two_islands(axis, seed=0):
    """20,000 positions (frames, 1, 3) nm: Gaussian islands of variance 0.01 at -1 and 1 along one axis, 70 % on the
    first.
    """
    rng = np.random.default_rng(seed)
    positions = np.zeros((20_000, 1, 3))
    positions[:, 0, :2] = rng.normal(scale=0.1, size=(20_000, 2))
    positions[:, 0, axis] += np.where(rng.random(20_000) < 0.7, -1.0, 1.0)
    return positions


@pytest.mark.parametrize("axis", [0, 1])
def test_basins_part_at_the_barrier_of_the_coordinate_that_has_it(axis):
    (plane,) = choose_planes(BEADS, [two_islands(axis)])
    assert isinstance(plane, PositionPlane) and plane.split_axis == axis
    assert abs(plane.split) < 0.5
    assert plane.basin_names[0] == f"{'xy'[axis]} < {plane.split:.2f} nm"
    upper = upper_basin(plane, plane.coordinates(two_islands(axis, seed=1)))
    assert upper.mean() == pytest.approx(0.3, abs=0.02)


def test_few_frames_far_out_are_no_basin():
    positions = two_islands(0)
    positions[:5, 0, 0] = -9.0
    (plane,) = choose_planes(BEADS, [positions])
    assert abs(plane.split) < 0.5
    assert plane.edges[0][0] > -2.0


def test_coordinates_are_positions_whatever_the_leading_axes():
    (plane,) = choose_planes(BEADS, [two_islands(0)])
    positions = np.random.default_rng(0).normal(size=(4, 3, 1, 3)).astype(np.float32)
    np.testing.assert_array_equal(plane.coordinates(positions), positions[..., 0, :2])
    assert set(plane.signals(plane.coordinates(positions))) == {"x", "y"}


def test_frames_far_out_behind_empty_bins_are_no_basin():
    rng = np.random.default_rng(0)
    two = np.concatenate([rng.normal(-1.0, 0.3, 2400), rng.normal(1.0, 0.3, 600)])
    values = np.concatenate([two, [6.0, 6.1]])
    split, height = main_barrier(values, plane_edges(values))
    assert -0.4 < split < 0.4 and height > 1.0
    one = np.concatenate([rng.normal(0.0, 1.0, 3000), [9.0]])
    split, _ = main_barrier(one, plane_edges(one))
    assert LEAST_POPULATION <= (one > split).mean() <= 1.0 - LEAST_POPULATION
    spiked = np.concatenate([np.zeros(2999), [5.0]])  # all but one in a single bin
    assert abs(main_barrier(spiked, plane_edges(spiked))[0]) < 0.1
