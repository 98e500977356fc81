"""Divergences and observables against hand calculation and closed forms."""

import math

import numpy as np
import pytest

from fpforce.analysis.divergences import bin_indices, free_energy_kt, js_divergence, pmf_error, w1_distance
from fpforce.analysis.observables import bond_angles, bond_lengths, dihedral_paths, dihedrals


def test_js_divergence_of_two_bins_matches_hand_calculation():
    # P = (3/4, 1/4), Q = (1/4, 3/4), M = (1/2, 1/2): JS = 3/4 ln(3/2) + 1/4 ln(1/2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert js_divergence([3, 1], [10, 30]) == pytest.approx(expected, rel=1e-12)


def test_js_divergence_is_zero_for_equal_and_ln_2_for_disjoint_histograms():
    assert js_divergence([2, 5, 0], [4, 10, 0]) == pytest.approx(0.0, abs=1e-15)
    assert js_divergence([1, 0], [0, 1]) == pytest.approx(math.log(2.0), rel=1e-12)


def test_pmf_error_matches_hand_calculation_with_an_empty_bin():
    # P = (1/2, 1/2, 0), Q = (1/4, 1/2, 1/4); the empty bin counts as 1e-6
    expected = 0.375 * math.log(2.0) ** 2 + 0.125 * math.log(0.25 / 1e-6) ** 2
    assert pmf_error([1, 1, 0], [1, 2, 1]) == pytest.approx(expected, rel=1e-12)


def test_bins_that_neither_sample_visits_do_not_count():
    p, q = np.array([3.0, 1.0]), np.array([1.0, 2.0])
    padded = np.concatenate([p, np.zeros(50)]), np.concatenate([q, np.zeros(50)])
    assert js_divergence(*padded) == pytest.approx(js_divergence(p, q), rel=1e-12)
    assert pmf_error(*padded) == pytest.approx(pmf_error(p, q), rel=1e-12)


def test_w1_of_a_shifted_sample_is_the_shift():
    sample = np.random.default_rng(0).normal(size=5000)
    assert w1_distance(sample, sample + 0.3) == pytest.approx(0.3, rel=1e-9)


def test_w1_of_two_gaussians_tends_to_the_closed_form():
    # equal means, widths 1 and 2: W1 = (2 - 1) E|z| = sqrt(2 / pi)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=40000), 2.0 * rng.normal(size=40000)
    assert w1_distance(a, b) == pytest.approx(math.sqrt(2.0 / math.pi), abs=0.02)


def test_w1_does_not_depend_on_repeating_a_sample():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=300), rng.normal(size=300) + 0.1
    assert w1_distance(np.tile(a, 3), b) == pytest.approx(w1_distance(a, b), rel=1e-9)


def test_bins_agree_with_numpy_and_points_beyond_the_range_are_kept():
    edges = np.linspace(-math.pi, math.pi, 65)
    points = np.random.default_rng(3).uniform(-math.pi, math.pi, size=(1000, 2))
    counts = np.bincount(bin_indices(points, (edges, edges)), minlength=64 * 64).reshape(64, 64)
    assert np.array_equal(counts, np.histogram2d(*points.T, bins=(edges, edges))[0])
    assert bin_indices(np.array([[9.0, -9.0]]), (edges, edges)) == [63 * 64]


def test_free_energy_of_a_boltzmann_histogram_is_its_energy():
    energy = np.array([1.0, 0.0, 2.5])
    assert free_energy_kt(1e6 * np.exp(-energy)) == pytest.approx(energy)


def test_dihedral_angle_and_sign_match_mdtraj():
    import mdtraj

    positions = np.random.default_rng(4).normal(size=(200, 5, 3)).astype(np.float32)
    topology = mdtraj.Topology()
    residue = topology.add_residue("ALA", topology.add_chain())
    for _ in range(5):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    frames = mdtraj.Trajectory(positions, topology)
    groups = [(0, 1, 2, 3), (1, 2, 3, 4)]
    # mdtraj works in single precision and without a periodic box here
    assert dihedrals(positions, groups) == pytest.approx(mdtraj.compute_dihedrals(frames, groups), abs=2e-4)
    assert bond_angles(positions, [(0, 1, 2)]) == pytest.approx(mdtraj.compute_angles(frames, [(0, 1, 2)]), abs=2e-3)
    assert bond_lengths(positions, [(0, 4)]) == pytest.approx(mdtraj.compute_distances(frames, [(0, 4)]), abs=1e-5)


def test_observables_keep_leading_axes():
    positions = np.random.default_rng(5).normal(size=(7, 3, 5, 3))
    flat = dihedrals(positions.reshape(-1, 5, 3), [(0, 1, 2, 3)])
    assert np.array_equal(dihedrals(positions, [(0, 1, 2, 3)]), flat.reshape(7, 3, 1))


def test_mirror_image_changes_the_sign_of_a_dihedral():
    positions = np.random.default_rng(6).normal(size=(4, 3))
    mirrored = positions * [1.0, 1.0, -1.0]
    assert dihedrals(mirrored, [(0, 1, 2, 3)]) == pytest.approx(-dihedrals(positions, [(0, 1, 2, 3)]))


def test_one_dihedral_for_each_rotatable_bond():
    assert dihedral_paths([(0, 1), (1, 2), (2, 3), (3, 4)], 5) == [(0, 1, 2, 3), (1, 2, 3, 4)]
    assert dihedral_paths([(0, 1), (1, 2), (1, 3)], 4) == []
