"""Errors of Wasserstein distances are those that repeated draws of correlated frames show."""

import math

import numpy as np
import pytest

from fpforce.analysis.divergences import w1_distance
from fpforce.analysis.w1_errors import ALL_SIMULATED, ROLES, Blocks, errors_of, moved_by_blocks

BLOCKS, FRAMES = 20, 100


def drawn(rng, shift, memory):
    """Blocks of frames about middles that scatter by `memory`, as of a slow variable."""
    middles = memory * rng.normal(size=(BLOCKS, 1))
    return (shift + middles + rng.normal(size=(BLOCKS, FRAMES))).ravel(), np.repeat(np.arange(BLOCKS), FRAMES)


def compared(rng, shift=0.6, memory=0.15):
    """Values and blocks of a simulation and a reference, and of a training set as the other side of the floor."""
    sets = {name: drawn(rng, by, memory) for name, by in (("simulation", shift), ("reference", 0.0), ("training", 0.3))}
    names = dict(zip(ROLES, ("reference", "simulation", "reference", "training"), strict=True))
    names_of_all = names | {ALL_SIMULATED: "simulation"}
    values = {role: sets[name][0] for role, name in names_of_all.items()}
    return values, Blocks(names, {role: sets[name][1] for role, name in names_of_all.items()})


def over_the_floor(values):
    return w1_distance(values["simulation"], values["reference"]) - w1_distance(values["first"], values["second"])


def test_error_is_the_spread_of_independent_repetitions():
    rng = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(300):
        values, blocks = compared(rng)
        found.append(over_the_floor(values))
        errors.append(errors_of(moved_by_blocks(values, blocks)))
    # of shifted distributions W1 is the difference of means, and the reference drops out of that and its floor: what is
    # left are the means of simulation and training, each of 20 blocks of variance 0.15^2 + 1 / 100
    exact = math.sqrt((0.15**2 + 1.0 / FRAMES) / BLOCKS)
    total, own = np.sqrt(np.mean(np.square(errors), axis=0))
    assert own == pytest.approx(exact, rel=0.05) and total == pytest.approx(math.sqrt(2.0) * exact, rel=0.2)
    assert np.std(found) == pytest.approx(total, rel=0.15)


def test_a_block_moves_the_distance_by_as_much_as_it_says():
    values, blocks = compared(np.random.default_rng(1))
    kept = blocks.blocks["simulation"] != 7
    without = values | {"simulation": values["simulation"][kept]}
    moved = moved_by_blocks(values, blocks)["simulation"][7]
    change = over_the_floor(values) - over_the_floor(without)
    assert change == pytest.approx(moved * BLOCKS / (BLOCKS - 1), rel=0.1)


def test_errors_of_a_mean_are_those_of_its_terms_together():
    values, blocks = compared(np.random.default_rng(2))
    one = moved_by_blocks(values, blocks)
    turned = moved_by_blocks({role: -each for role, each in values.items()}, blocks)
    assert errors_of(one) == pytest.approx(errors_of(turned), rel=0.02)
    names = ("reference", "simulation", "training", ALL_SIMULATED)
    assert {name: len(each) for name, each in one.items()} == dict.fromkeys(names, 20)
    assert math.isnan(errors_of({name: each[:1] for name, each in one.items()})[0])


def test_what_is_lost_by_comparing_few_frames_is_not_the_simulations():
    rng = np.random.default_rng(3)
    totals, owns = [], []
    for _ in range(50):
        values, blocks = compared(rng, memory=0.0)
        kept = np.sort(rng.permutation(BLOCKS * FRAMES)[:200])  # a tenth
        values |= {"simulation": values["simulation"][kept]}
        few = Blocks(blocks.sets, dict(blocks.blocks) | {"simulation": blocks.blocks["simulation"][kept]})
        total, own = errors_of(moved_by_blocks(values, few))
        totals.append(total)
        owns.append(own)
    # means of 200 and of 2,000 independent values of variance 1; the rest is of 2,000 of the training
    assert np.mean(owns) == pytest.approx(math.sqrt(1 / 2000), rel=0.1)
    assert np.mean(totals) == pytest.approx(math.sqrt(1 / 200 + 1 / 2000), rel=0.1)
