"""Weights of samples with known densities: right populations, and an error that is that of repeated experiments."""

import numpy as np
import pytest

from fpforce.analysis.reweighting import Weights


def draw(rng, frames):
    """Samples of a mixture of two Gaussians 10 sigma apart with weights 0.7 and 0.3, and ln p/q for p with 0.9
    and 0.1.
    """
    right = rng.random(frames) < 0.3
    x = rng.normal(size=frames) + np.where(right, 10.0, 0.0)
    return x, np.where(x > 5.0, np.log(0.1 / 0.3), np.log(0.9 / 0.7)) + 123.0


def test_populations_of_another_mixture_are_recovered_within_their_errors():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        x, log_weights = draw(rng, 1000)
        found.append(Weights.of(log_weights).population(x > 5.0))
    values, errors = np.array([(f.value, f.standard_error) for f in found]).T
    assert values.mean() == pytest.approx(0.1, abs=4.0 * values.std() / np.sqrt(300))
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_the_number_that_counts_is_all_for_equal_weights_and_one_for_a_single_weight():
    assert Weights.of(np.full(50, -3.0)).effective == pytest.approx(50.0)
    assert Weights.of(np.array([1000.0, 0.0, 0.0])).effective == pytest.approx(1.0)
