"""Errors of basin populations, autocorrelation times and the convergence verdict."""

import math

import numpy as np
import pytest

from fpforce.analysis.comparison import Estimate
from fpforce.analysis.convergence import (
    free_energy_difference,
    judge,
    populations_agree,
    replica_population,
    trajectory_population,
)
from fpforce.analysis.correlation import effective_sample_size, statistical_inefficiency
from fpforce.analysis.time_series import ObservedSeries


def autoregressive(rng, times, series, memory):
    """x(t + 1) = memory x(t) + noise, stationary from the start, shape (times, series)."""
    x = np.empty((times, series))
    x[0] = rng.normal(size=series)
    for t in range(1, times):
        x[t] = memory * x[t - 1] + math.sqrt(1.0 - memory**2) * rng.normal(size=series)
    return x


def judged(first, second, starts=(False, True), seed=0):
    inside = [np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)]
    counted = [np.ones(i.shape, dtype=bool) for i in inside]
    return judge(["negative", "positive"], inside, counted, starts, np.random.default_rng(seed))


def test_statistical_inefficiency_of_an_autoregressive_process():
    # rho(tau) = a^tau, so g = (1 + a) / (1 - a) = 19 for a = 0.9
    x = autoregressive(np.random.default_rng(0), 4000, 10, 0.9)
    assert statistical_inefficiency(x) == pytest.approx(19.0, rel=0.1)


def test_independent_frames_count_in_full():
    x = np.random.default_rng(1).normal(size=(5000, 4))
    assert effective_sample_size(x) == pytest.approx(20000, rel=0.05)


def test_slow_tails_of_the_autocorrelation_are_counted():
    # an equal mixture of memories 0.5 and 0.98 has g = 1/2 (1.5 / 0.5) + 1/2 (1.98 / 0.02) = 51
    rng = np.random.default_rng(14)
    x = autoregressive(rng, 20000, 10, 0.5) + autoregressive(rng, 20000, 10, 0.98)
    assert statistical_inefficiency(x) == pytest.approx(51.0, rel=0.2)


def test_replicas_stuck_in_their_basins_are_worth_one_frame_each():
    x = np.repeat(np.random.default_rng(2).random(40)[None] < 0.5, 500, axis=0).astype(float)
    assert effective_sample_size(x) == pytest.approx(40, rel=0.3)


def test_a_constant_observable_has_no_known_sample_size():
    assert math.isnan(effective_sample_size(np.zeros((100, 3))))


def test_frames_outside_the_mask_do_not_change_the_inefficiency():
    x = autoregressive(np.random.default_rng(3), 1000, 6, 0.8)
    padded = np.vstack([x, np.full((300, 6), 1e3)])
    valid = np.arange(1300)[:, None] < np.full(6, 1000)
    assert statistical_inefficiency(padded, valid) == pytest.approx(statistical_inefficiency(x), rel=1e-6)


def test_bootstrap_over_replicas_matches_the_binomial_error_of_independent_frames():
    p, times, replicas = 0.1, 50, 400
    inside = np.random.default_rng(4).random((times, replicas)) < p
    estimate = replica_population(inside, np.ones_like(inside), np.random.default_rng(5))
    assert estimate.value == pytest.approx(inside.mean())
    assert estimate.standard_error == pytest.approx(math.sqrt(p * (1 - p) / (times * replicas)), rel=0.15)


def test_block_bootstrap_knows_the_error_of_a_correlated_trajectory():
    # blocks of 100 frames, inefficiency about 10; the spread over independent trajectories is the truth
    rng = np.random.default_rng(6)
    runs = autoregressive(rng, 4000, 60, 0.9) > 0.5
    estimates = [trajectory_population(ObservedSeries.of([run]), rng, resamples=300) for run in runs.T]
    spread = np.std([e.value for e in estimates], ddof=1)
    assert np.mean([e.standard_error for e in estimates]) == pytest.approx(spread, rel=0.3)


def test_error_of_two_runs_that_never_change_their_basin_is_that_of_two_frames():
    estimate = trajectory_population(ObservedSeries.of([np.ones(480), np.zeros(480)]), np.random.default_rng(0))
    assert estimate.value == 0.5
    assert estimate.standard_error == pytest.approx(math.sqrt(0.25 / 2), rel=0.01)


def test_free_energy_of_equal_basins_is_not_minus_zero():
    assert math.copysign(1.0, free_energy_difference(Estimate(0.5, 0.1)).value) == 1.0


def test_free_energy_difference_and_its_error():
    estimate = free_energy_difference(Estimate(0.02, 0.002))
    assert estimate.value == pytest.approx(math.log(49.0))
    assert estimate.standard_error == pytest.approx(0.002 / (0.02 * 0.98))
    assert free_energy_difference(Estimate(0.0, 0.0)).value == math.inf


def test_simulations_that_agree_are_converged():
    rng = np.random.default_rng(7)
    result = judged(rng.random((200, 64)) < 0.05, rng.random((200, 64)) < 0.05)
    assert result.verdict == "converged", result.reason


def test_simulations_that_stay_where_they_started_are_not_converged():
    rng = np.random.default_rng(8)
    result = judged(rng.random((200, 64)) < 0.02, rng.random((200, 64)) < 0.6)
    assert result.verdict == "not converged"
    assert "disagree" in result.reason and "negative" in result.reason and "positive" in result.reason


def test_a_basin_never_visited_from_one_start_is_a_disagreement_despite_zero_or_wide_errors():
    assert not populations_agree(Estimate(0.0, 0.0), Estimate(0.02, 0.0))
    assert not populations_agree(Estimate(0.0, 0.0), Estimate(0.02, 0.05))
    assert not populations_agree(Estimate(0.98, 0.05), Estimate(1.0, 0.0))
    never, seldom = np.zeros((100, 64)), np.random.default_rng(9).random((100, 64)) < 0.02
    assert judged(never, seldom).verdict == "not converged"


def test_wide_errors_do_not_pass_as_agreement():
    # four replicas of each start, each stuck in a basin: the errors are as large as the populations
    first = np.repeat([[True, False, False, False]], 100, axis=0)
    second = np.repeat([[True, True, False, False]], 100, axis=0)
    assert judged(first, second).verdict == "not converged"


def test_populations_that_still_drift_are_not_converged():
    rng = np.random.default_rng(10)
    rising = np.linspace(0.02, 0.1, 400)[:, None]
    result = judged(rng.random((400, 64)) < rising, rng.random((400, 64)) < rising)
    assert result.verdict == "not converged" and "drift" in result.reason


@pytest.mark.parametrize("starts", [(False, False), (True, True)])
def test_two_simulations_from_the_same_basin_cannot_be_judged(starts):
    rng = np.random.default_rng(11)
    result = judged(rng.random((200, 64)) < 0.05, rng.random((200, 64)) < 0.05, starts)
    assert result.verdict == "not judged" and not result.converged


def test_single_replicas_cannot_be_judged():
    rng = np.random.default_rng(12)
    assert judged(rng.random((500, 1)) < 0.3, rng.random((500, 1)) < 0.3).verdict == "not judged"


def test_a_frozen_replica_weighs_by_the_frames_before_its_failure():
    inside = np.zeros((100, 4), dtype=bool)
    inside[:, 0] = True
    counted = np.ones_like(inside)
    counted[50:, 0] = False
    estimate = replica_population(inside, counted, np.random.default_rng(13))
    assert estimate.value == pytest.approx(50 / 350)
