"""Gradients far larger than usual are scaled down."""

import math

import pytest
import torch
from torch import nn

from fpforce.training.loop.outliers import scale_down

LATE = 10_000  # a step


def weights_with(*norms: float) -> list[nn.Parameter]:
    found = [nn.Parameter(torch.zeros(4)) for _ in norms]
    for weight, norm in zip(found, norms, strict=True):
        weight.grad = torch.full((4,), norm / 2.0)
    return found


def test_one_that_is_usual_stays():
    weights = [*weights_with(3.0, 4.0), nn.Parameter(torch.zeros(2))]  # the last has no gradient
    assert scale_down(weights, 4.0, LATE, 100.0, 2.0) == pytest.approx(4.0**0.99 * 5.0**0.01)
    assert [float(weight.grad.norm()) for weight in weights[:2]] == pytest.approx([3.0, 4.0])


def test_an_outlier_is_scaled_down_in_its_own_direction_and_hardly_becomes_what_is_usual():
    weights = weights_with(300.0, 400.0)
    usual = scale_down(weights, 1.0, LATE, 100.0, 2.0)
    assert [float(weight.grad.norm()) for weight in weights] == pytest.approx([1.2, 1.6])
    assert usual == pytest.approx(2.0**0.01)


def test_the_first_is_bounded_by_the_recipe_alone():
    weights = weights_with(30.0)
    assert scale_down(weights, None, 0, 10.0, 2.0) == pytest.approx(10.0)
    assert float(weights[0].grad.norm()) == pytest.approx(10.0)


def test_usual_gradients_that_shrink_are_followed():
    usual = 1.0
    for _ in range(1000):
        usual = scale_down(weights_with(0.01), usual, LATE, 1.0, 2.0)
    assert usual == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("norm", [0.0, math.inf, math.nan])
def test_what_tells_nothing_is_not_learned_from(norm):
    assert scale_down(weights_with(norm), 1.0, LATE, 10.0, 2.0) == 1.0
    assert scale_down(weights_with(norm), None, 0, 10.0, 2.0) is None


def test_norms_that_grow_a_hundredfold_from_no_energy_are_followed():
    usual = scale_down(weights_with(0.01), None, 0, 10.0, 2.0)
    scaled = []
    for step in range(1, 200):
        weights = weights_with(1.0)
        usual = scale_down(weights, usual, step, 10.0, 2.0)
        scaled.append(float(weights[0].grad.norm()) < 0.999)
    assert sum(scaled) < 50 and not any(scaled[50:])


def test_without_outliers_the_recipe_alone_bounds_a_gradient():
    weights = weights_with(8.0)
    scale_down(weights, 1.0, LATE, 10.0, None)
    assert float(weights[0].grad.norm()) == pytest.approx(8.0)
