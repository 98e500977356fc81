"""A jackknife's variance, corrected by halves and quarters, is the exact one of metrics of first and second order."""

import numpy as np
import pytest

from fpforce.analysis.comparison import _jackknife_variance
from fpforce.analysis.divergences import normalised
from fpforce.analysis.split_errors import SplitVariance

BLOCKS, FRAMES, CELLS, REPEATS = 20, 100, 50, 60


def counted(rng):
    """Frames of independent blocks in cells, (blocks, 1, cells)."""
    return rng.multinomial(FRAMES, np.full(CELLS, 1.0 / CELLS), size=(BLOCKS, 1)).astype(float)


def variances(metric, draw):
    """Means of the jackknife's variance, as it is and corrected."""
    found = []
    for seed in range(REPEATS):
        sets = [draw(np.random.default_rng([seed, k])) for k in (0, 1)]
        totals = [one.sum(axis=0) for one in sets]
        without = [
            np.array([metric([*totals[:k], totals[k] - block, *totals[k + 1 :]]) for block in sets[k]]) for k in (0, 1)
        ]
        plain = sum(_jackknife_variance(one) for one in without)
        split = SplitVariance(metric, [BLOCKS, BLOCKS])
        split.add(sets)
        found.append((plain.item(), (plain * split.too_large(without)).item()))
    return np.mean(found, axis=0)


def test_variance_of_a_metric_of_second_order_is_no_longer_doubled():
    # p - q of n frames in K equal cells: sum (p - q)^2 nK / 2 is chi squared with K - 1 degrees of freedom
    n = BLOCKS * FRAMES
    exact = 2.0 * (CELLS - 1) * (2.0 / (n * CELLS)) ** 2
    plain, corrected = variances(lambda c: ((normalised(c[0]) - normalised(c[1])) ** 2).sum(-1)[None], counted)
    assert plain == pytest.approx(2.0 * exact, rel=0.15)
    assert exact < corrected < 1.3 * exact  # a part of first order is never taken to be less than none


def test_variance_of_a_metric_of_first_order_stays():
    places, n = np.arange(CELLS, dtype=float), BLOCKS * FRAMES
    exact = 2.0 * (CELLS**2 - 1) / 12.0 / n
    plain, corrected = variances(lambda c: ((normalised(c[0]) - normalised(c[1])) @ places)[None], counted)
    assert plain == pytest.approx(exact, rel=0.15)
    assert corrected == pytest.approx(plain, rel=0.02)


def test_parts_without_frames_correct_nothing():
    sets = [np.zeros((BLOCKS, 1, CELLS)) for _ in (0, 1)]
    for one in sets:
        one[0] = 1.0  # all in one block: every other part is empty
    split = SplitVariance(lambda c: ((normalised(c[0]) - normalised(c[1])) ** 2).sum(-1)[None], [BLOCKS, BLOCKS])
    split.add(sets)
    without = [np.random.default_rng(k).normal(size=(BLOCKS, 1, 1)) for k in (0, 1)]
    assert split.too_large(without) == 1.0
