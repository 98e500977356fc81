"""Equal frame counts, finite-sample floors, excesses and their errors."""

import numpy as np
import pytest

from fpforce.analysis.comparison import Floor, compare
from fpforce.analysis.divergences import BINS_PER_AXIS, bin_indices
from fpforce.analysis.resolution import BIN_COUNTS
from fpforce.analysis.sample import FINE_BINS, BlockLayout, CellCounter, Sample
from fpforce.foundation.errors import InputError


def sample_of(bins, cells=BINS_PER_AXIS**2):
    """The Sample of whole trajectories, [(frames, planes)] of cells."""
    layout = BlockLayout.of_trajectories([len(values) for values in bins])
    counter = CellCounter(bins[0].shape[1], layout.trajectory, cells)
    for k, values in enumerate(bins):
        counter.add(layout.block(k, np.arange(len(values)), np.zeros(len(values), dtype=int)), values)
    return counter.sample()


def gaussian_bins(rng, frames, shift=0.0):
    """Bins of a two-dimensional Gaussian, 8 bins wide, in the middle of the plane."""
    points = np.clip(np.round(rng.normal(size=(frames, 2)) * 8.0 + 32.0 + [shift, 0.0]), 0, 63).astype(int)
    return (points[:, :1] * 64) + points[:, 1:]


def independent_sets(rng, frames, shift=0.0):
    candidate = sample_of([gaussian_bins(rng, frames, shift)])
    reference, training = (sample_of([gaussian_bins(rng, frames)]) for _ in range(2))
    return candidate, reference, training


def compared(rng, frames, shift=0.0, thinnings=1):
    candidate, reference, training = independent_sets(rng, frames, shift)
    return compare(candidate, reference, training, Floor.choose(reference, training), frames, rng, thinnings)[-1]


def test_floor_falls_as_one_over_the_frames():
    rng = np.random.default_rng(0)
    # enough frames that every bin with weight is visited; then JS ~ (bins - 1) / (4 N) on either side
    few, many = (compared(rng, frames).js_floor.value for frames in (40_000, 160_000))
    assert few / many == pytest.approx(4.0, rel=0.25)


def test_excess_of_the_true_distribution_is_zero_within_its_error():
    rng = np.random.default_rng(1)
    results = [compared(rng, 4000) for _ in range(12)]
    for name in ("excess_js", "excess_pmf_error"):
        values = np.array([getattr(r, name).value for r in results])
        assert abs(values.mean()) < 2.5 * values.std(ddof=1) / np.sqrt(len(values))


def test_own_error_of_a_sample_is_that_of_all_its_frames():
    rng = np.random.default_rng(7)
    _, reference, training = independent_sets(rng, 4000)
    floor = Floor.choose(reference, training)
    own = []
    for frames in (4000, 64_000):
        candidate = sample_of([gaussian_bins(rng, frames, shift=6.0)])
        found = compare(candidate, reference, training, floor, 4000, rng, thinnings=2)[-1]
        assert set(found.own_errors) == {"excess_js", "excess_pmf_error"}
        assert 0.0 < found.own_errors["excess_js"] < found.excess_js.standard_error
        own.append(found.own_errors["excess_js"])
    assert own[0] / own[1] == pytest.approx(4.0, rel=0.5)  # root of 16; of 20 blocks each is known to a sixth


def test_comparing_as_few_frames_as_a_sample_has_is_the_error_of_that_sample():
    rng = np.random.default_rng(8)
    reference = sample_of([gaussian_bins(rng, 40_000) for _ in range(4)])
    candidate = sample_of([gaussian_bins(rng, 4000, shift=6.0)])
    (*_, found) = compare(candidate, reference, None, Floor.choose(reference, None), 80_000, rng, thinnings=2)
    assert found.frames == 4000
    assert found.own_errors["excess_js"] == pytest.approx(found.excess_js.standard_error, rel=0.1)


def test_jackknife_error_covers_the_spread_of_repeated_experiments():
    # near equal distributions it is about sqrt(2) too large, never too small (Efron and Stein 1981)
    rng = np.random.default_rng(2)
    results = [compared(rng, 4000) for _ in range(25)]
    for name in ("js", "excess_js"):
        spread = np.std([getattr(r, name).value for r in results], ddof=1)
        claimed = np.mean([getattr(r, name).standard_error for r in results])
        assert 0.85 * spread < claimed < 2.2 * spread


@pytest.mark.parametrize(("frames", "shift"), [(4000, 0.0), (8000, 2.4)])
def test_errors_of_both_divergences_are_the_spread_of_repeated_experiments(frames, shift):
    # a jackknife alone finds 1.6 to 2.1 times the spread of the PMF error: cells that are empty without one block
    rng = np.random.default_rng(12)
    results = [compared(rng, frames, shift) for _ in range(60)]
    for name in ("js", "pmf_error", "excess_js", "excess_pmf_error"):
        spread = np.std([getattr(r, name).value for r in results], ddof=1)
        claimed = np.sqrt(np.mean([getattr(r, name).standard_error ** 2 for r in results]))
        assert 0.85 * spread < claimed < 1.5 * spread, name


def test_a_wrong_distribution_has_an_excess_far_beyond_its_error():
    excess = compared(np.random.default_rng(3), 8000, shift=5.0).excess_js
    assert excess.value > 5.0 * excess.standard_error > 0.0


def test_larger_sets_are_thinned_to_the_smallest():
    rng = np.random.default_rng(4)
    candidate = sample_of([gaussian_bins(rng, 1000)])
    reference, training = (sample_of([gaussian_bins(rng, 5000)]) for _ in range(2))
    result = compare(candidate, reference, training, Floor.choose(reference, training), 5000, rng)[-1]
    assert result.frames == 1000
    assert result.js.value == pytest.approx(result.js_floor.value, rel=0.1)


def test_correlation_in_the_candidate_only_raises_its_value():
    rng = np.random.default_rng(5)
    _, reference, training = independent_sets(rng, 8000)
    correlated = sample_of([np.repeat(gaussian_bins(rng, 1000), 8, axis=0)])
    result = compare(correlated, reference, training, Floor.choose(reference, training), 8000, rng)[-1]
    assert result.excess_js.value > 0.02


def test_floor_prefers_whole_trajectories_then_the_training_set_then_halves():
    rng = np.random.default_rng(6)
    one = sample_of([gaussian_bins(rng, 300)])
    three = sample_of([gaussian_bins(rng, n) for n in (100, 300, 200)])
    assert Floor.choose(three, one) == Floor("trajectories", 100, "trajectories of the reference against each other")
    assert (Floor.choose(one, one).source, Floor.choose(one, one).frames) == ("training", 300)
    assert (Floor.choose(one, None).source, Floor.choose(one, None).frames) == ("halves", 150)


def test_floor_against_the_training_set_shows_a_model_that_trajectories_in_disagreement_would_hide():
    rng = np.random.default_rng(8)

    def disagreeing(n):  # two trajectories, each stuck in a basin of its own
        return sample_of([gaussian_bins(rng, n), gaussian_bins(rng, n, shift=12.0)])

    reference, training = disagreeing(1000), disagreeing(1000)
    wrong = sample_of([gaussian_bins(rng, 2000)])
    usual, sharp = (
        compare(wrong, reference, training, Floor.choose(reference, training, wanted), 1000, rng)[-1].excess_js.value
        for wanted in ("auto", "training")
    )
    assert usual < 0.0 < 0.02 < sharp
    one = sample_of([gaussian_bins(rng, 300)])
    for sets, wanted in (
        ((one, training), "trajectories"),
        ((reference, None), "training"),
        ((reference, training), "halves of it"),
    ):
        with pytest.raises(InputError, match=wanted):
            Floor.choose(*sets, wanted)


def test_floor_of_trajectories_never_puts_one_trajectory_on_both_sides():
    rng = np.random.default_rng(7)
    reference = sample_of([gaussian_bins(rng, n) for n in (100, 120, 140, 160)])
    floor = Floor.choose(reference, None)
    for _ in range(10):
        (_, first), (_, second) = floor.sides(reference, rng)
        assert not set(reference.trajectory[first]) & set(reference.trajectory[second])
        for side in (first, second):
            assert reference.drawn(floor.frames, rng, side).sum() == floor.frames


def test_blocks_hold_whole_replicas_when_there_are_many_and_stretches_of_time_when_few():
    replica = np.repeat(np.arange(64), 100)
    many = Sample.from_replicas(replica[:, None], replica)  # the cell says which replica a frame is of
    blocks = many.histogram(0)
    assert len(blocks) == 20 and all(np.count_nonzero(blocks[:, r]) == 1 for r in range(64))
    replica = np.repeat(np.arange(4), 100)
    few = Sample.from_replicas(replica[:, None], replica)
    assert len(few.frames) == 20 and (few.frames == 20).all()
    assert (np.count_nonzero(few.histogram(0), axis=1) == 1).all()


def test_counts_are_thinned_as_frames_drawn_one_by_one_are():
    # without replacement: of a cell with K of M frames n draws take n K / M, variance n K/M (1 - K/M) (M - n)/(M - 1)
    rng = np.random.default_rng(9)
    bins = np.repeat([0, 1, 70], [50, 150, 300])[rng.permutation(500)]
    sample = sample_of([bins[:, None]])
    drawn = np.array([sample.drawn(200, rng).sum(axis=0)[0, [0, 1, 70]] for _ in range(4000)])
    assert (drawn.sum(axis=1) == 200).all()
    share = np.array([0.1, 0.3, 0.6])
    variance = 200 * share * (1.0 - share) * 300 / 499
    np.testing.assert_allclose(drawn.mean(axis=0), 200 * share, atol=4.0 * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.1)
    np.testing.assert_array_equal(sample.drawn(500, rng)[:, 0], sample.histogram(0))


@pytest.mark.parametrize("bins", BIN_COUNTS)
def test_coarser_bins_of_fine_cells_are_the_bins_of_the_points(bins):
    points = np.random.default_rng(10).normal(size=(20_000, 2))
    fine, coarse = ((np.linspace(-2.0, 2.0, n + 1),) * 2 for n in (FINE_BINS, bins))
    counted, direct = (
        sample_of([bin_indices(points, edges)[:, None]], (len(edges[0]) - 1) ** 2) for edges in (fine, coarse)
    )
    np.testing.assert_array_equal(counted.with_bins(bins).histogram(0), direct.histogram(0))
