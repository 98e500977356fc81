"""The exact densities against closed forms, adaptive quadrature and samples by OpenMM."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from fpforce.potentials import DOUBLE_WELL, MULLER_BROWN, ExactDensity, compare_with_exact
from fpforce.potentials.dataset import DatasetSize, write_dataset
from fpforce.trajectories.bead_frames import read_bead_frames


@pytest.fixture(scope="module")
def density(potential):
    return ExactDensity.of(potential)


def double_well_marginal(x):
    """exp(-(x^4/4 - 2 x^2 + x/4)), the coefficients written anew."""
    return math.exp(-(0.25 * x**4 - 2.0 * x**2 + 0.25 * x))


def test_probabilities_sum_to_one_and_hardly_any_lies_at_the_edges(density):
    p = density.probabilities
    assert abs(p.sum() - 1.0) < 1e-12
    assert max(p[0].sum(), p[-1].sum(), p[:, 0].sum(), p[:, -1].sum()) < 2e-3


def test_double_well_has_its_one_dimensional_marginals():
    density = ExactDensity.of(DOUBLE_WELL)
    total = quad(double_well_marginal, -6, 6, epsabs=1e-12)[0]
    for axis, integral in (
        (0, lambda a, b: quad(double_well_marginal, a, b, epsabs=1e-12)[0] / total),
        (1, lambda a, b: 0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2)))),
    ):
        edges = density.edges[axis]
        expected = [integral(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        # The midpoint rule's error relative to a bin is (step)^2 / 24 times the relative curvature, below 100 / nm^2
        # here.
        np.testing.assert_allclose(density.probabilities.sum(axis=1 - axis), expected, atol=2e-5)
    right = quad(double_well_marginal, 0, 6, epsabs=1e-12)[0] / total
    assert abs(density.basin_weight - right) < 1e-4
    assert abs(density.free_energy_kt - math.log(right / (1 - right))) < 1e-3


def test_muller_brown_has_its_published_stationary_points():
    # Minima and saddles of the surface, in its own units, as in the literature.
    known = [
        ((-0.558224, 1.441726), -146.69952),
        ((0.623499, 0.028038), -108.16672),
        ((-0.050011, 0.466694), -80.76782),
        ((-0.822002, 0.624313), -40.66484),
        ((0.212487, 0.292988), -72.24894),
    ]
    h = 1e-4
    for (x, y), value in known:
        energy = lambda u, v: MULLER_BROWN.energy(u, v) / 0.125  # noqa: E731
        assert abs(energy(x, y) - value) < 1e-3
        slope = np.hypot(energy(x + h, y) - energy(x - h, y), energy(x, y + h) - energy(x, y - h)) / (2 * h)
        assert slope < 0.1


def test_openmm_computes_the_energy_and_its_gradient(potential):
    import openmm

    rng = np.random.default_rng(0)
    points = np.array([rng.uniform(*limits, size=12) for limits in potential.box_nm]).T
    system = potential.make_system(1)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    h = 1e-5
    for x, y in points:
        context.setPositions([(x, y, 0.7)])
        state = context.getState(energy=True, forces=True)
        force = state.getForces(asNumpy=True)._value[0]
        slope = [
            (potential.energy(x + a, y + b) - potential.energy(x - a, y - b)) / (2 * h) for a, b in ((h, 0), (0, h))
        ]
        assert state.getPotentialEnergy()._value == pytest.approx(potential.energy(x, y), rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(force[:2], -np.array(slope), rtol=1e-5, atol=1e-5)
        assert force[2] == 0.0


def test_langevin_samples_follow_the_exact_density(potential, density):
    # 300 independent particles. Frames of one are 5 ps apart: that they are correlated only raises the distance.
    positions = potential.simulate(particles=300, frames=20, discarded_ps=100.0, interval_ps=5.0, seed=3)
    found = compare_with_exact(positions, density)
    assert found.frames == 6000 and found.excess_js < 0.006
    # The floor itself: independent samples are at it, and a density with another barrier is far from it.
    hotter = np.exp(0.7 * np.log(density.probabilities + 1e-300))
    drawn = np.random.default_rng(1).multinomial(6000, hotter.ravel() / hotter.sum())
    from fpforce.analysis.divergences import js_divergence

    assert js_divergence(drawn, density.probabilities.ravel()) > found.js_floor + 0.015


def test_simulation_is_a_function_of_its_seed(potential):
    size = dict(particles=4, frames=3, discarded_ps=0.1, interval_ps=0.1)
    first, again, other = (potential.simulate(**size, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert (first[..., 2] == 0.0).all()


def test_floor_is_the_distance_of_independent_samples(density):
    rng = np.random.default_rng(5)
    counts = density.sample_counts(4000, rng)
    x, y = (0.5 * (edges[1:] + edges[:-1]) for edges in density.edges)
    rows, columns = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), len(y))
    positions = np.stack([x[rows], y[columns], 0.0 * rows], axis=-1)
    found = compare_with_exact(positions, density)
    assert abs(found.excess_js) < 0.15 * found.js_floor
    assert np.array_equal(density.counts(positions), counts)


def test_dataset_is_read_as_bead_frames_of_two_independent_runs(potential, tmp_path):
    write_dataset(potential, tmp_path, DatasetSize(particles=6, frames=5, interval_ps=0.1, discarded_ps=0.1))
    read = [
        read_bead_frames(tmp_path / f"{name}.npz", table=potential.beads, length_unit="nm").positions_nm
        for name in ("train", "reference")
    ]
    assert [frames.shape for frames in read] == [(30, 1, 3)] * 2
    assert not np.array_equal(*read)


@pytest.mark.parametrize("folder, system", [("muller_brown", MULLER_BROWN), ("double_well", DOUBLE_WELL)])
def test_the_examples_data_are_of_the_exact_density(folder, system):
    density, read = ExactDensity.of(system), []
    for name in ("train", "reference"):
        path = Path(__file__).parents[3] / "examples" / folder / f"{name}.npz"
        frames = read_bead_frames(path, table=system.beads, length_unit="nm").positions_nm
        found = compare_with_exact(frames, density)
        assert found.frames == 20_000 and found.excess_js < 0.002
        # 400 particles, hardly correlated between frames 10 ps apart: below 0.02 for a weight of 0.3 and 1,000 samples.
        assert abs(system.in_basin(*frames[:, 0, :2].T).mean() - density.basin_weight) < 0.02
        read.append(frames)
    assert not np.array_equal(*read)
