"""Errors of Wasserstein distances are those that repeated draws of correlated frames show."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.signal import lfilter

from fpforce.analysis.divergences import w1_distance
from fpforce.analysis.sample import BlockLayout
from fpforce.analysis.w1_errors import (
    ALL_COMPARED,
    ALL_REFERENCE,
    COMPARED,
    ROLES,
    Chains,
    Origins,
    errors_of,
    moved_by_frames,
)

BLOCKS, FRAMES = 20, 100
SETS = dict(zip(ROLES, ("reference", "simulation", "reference", "training", "simulation", "reference"), strict=True))


def drawn(rng, shift, memory):
    """Blocks of frames about middles that scatter by `memory`, as of a slow variable; each block a replica."""
    middles = memory * rng.normal(size=(BLOCKS, 1))
    return (shift + middles + rng.normal(size=(BLOCKS, FRAMES))).ravel()


def each_a_replica(blocks=BLOCKS, frames=FRAMES):
    number = np.repeat(np.arange(blocks), frames)
    return Chains(number, number, np.tile(np.arange(frames), blocks))


def compared(rng, shift=0.6, memory=0.15):
    """Values and origins of a simulation and a reference, and of a training set as the other side of the floor."""
    sets = {name: drawn(rng, by, memory) for name, by in (("simulation", shift), ("reference", 0.0), ("training", 0.3))}
    every = {role: np.arange(BLOCKS * FRAMES) for role in ROLES}
    return {role: sets[name] for role, name in SETS.items()}, Origins(
        SETS, every, dict.fromkeys(sets, each_a_replica())
    )


def found_of(values, origins):
    return errors_of(moved_by_frames(values, origins), origins)


def over_the_floor(values):
    return w1_distance(values["compared"], values["reference"]) - w1_distance(values["first"], values["second"])


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def test_error_is_the_spread_of_independent_repetitions():
    rng = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(300):
        values, origins = compared(rng)
        found.append(over_the_floor(values))
        errors.append(found_of(values, origins))
    # of shifted distributions W1 is the difference of means, and the reference drops out of that and its floor: what is
    # left are the means of simulation and training, each of 20 blocks of variance 0.15^2 + 1 / 100
    exact = math.sqrt((0.15**2 + 1.0 / FRAMES) / BLOCKS)
    total, own = rms([one.total for one in errors]), rms([one.own for one in errors])
    assert own == pytest.approx(exact, rel=0.05) and total == pytest.approx(math.sqrt(2.0) * exact, rel=0.2)
    assert np.std(found) == pytest.approx(total, rel=0.15)
    assert rms([one.others for one in errors]) == pytest.approx(math.sqrt(total**2 - own**2))


def test_a_block_moves_the_distance_by_as_much_as_it_says():
    values, origins = compared(np.random.default_rng(1))
    block = origins.chains["simulation"].block
    without = values | {"compared": values["compared"][block != 7]}
    moved = moved_by_frames(values, origins)["simulation"][block == 7].sum()
    change = over_the_floor(values) - over_the_floor(without)
    assert change == pytest.approx(moved * BLOCKS / (BLOCKS - 1), rel=0.1)


def test_errors_of_a_mean_are_those_of_its_terms_together():
    values, origins = compared(np.random.default_rng(2))
    one = moved_by_frames(values, origins)
    turned = moved_by_frames({role: -each for role, each in values.items()}, origins)
    there, back = errors_of(one, origins), errors_of(turned, origins)
    assert (there.total, there.own) == pytest.approx((back.total, back.own), rel=0.02)
    assert set(one) == {"reference", "simulation", "training", ALL_COMPARED, ALL_REFERENCE}
    assert all(one[name].sum() == pytest.approx(0.0, abs=1e-9) for name in one)
    single = dict.fromkeys(origins.chains, each_a_replica(1, BLOCKS * FRAMES))
    assert math.isnan(errors_of(one, dataclasses.replace(origins, chains=single)).total)


def thinned(values, origins, roles, frames, rng):
    """The same with so many random frames in some roles."""
    kept = {role: np.sort(rng.permutation(BLOCKS * FRAMES)[:frames]) for role in roles}
    values = values | {role: values[role][one] for role, one in kept.items()}
    return values, dataclasses.replace(origins, frames=dict(origins.frames) | kept)


def test_what_is_lost_by_comparing_few_frames_is_not_the_simulations():
    rng = np.random.default_rng(3)
    errors = [found_of(*thinned(*compared(rng, memory=0.0), ["compared"], 200, rng)) for _ in range(50)]
    # means of 200 and of 2,000 independent values of variance 1; the rest is of 2,000 of the training
    assert np.mean([one.own for one in errors]) == pytest.approx(math.sqrt(1 / 2000), rel=0.1)
    assert np.mean([one.total for one in errors]) == pytest.approx(math.sqrt(1 / 200 + 1 / 2000), rel=0.1)


def test_what_is_lost_by_comparing_as_few_frames_as_a_simulation_has_is_its_own():
    rng, errors = np.random.default_rng(4), []
    for _ in range(50):
        values, origins = thinned(*compared(rng, memory=0.0), COMPARED, 200, rng)
        # all 200 frames of the simulation are compared, of the reference two times other 200 of 2,000
        values |= {ALL_COMPARED: values["compared"]}
        origins = dataclasses.replace(
            origins, short=True, frames=dict(origins.frames) | {ALL_COMPARED: origins.frames["compared"]}
        )
        errors.append(found_of(values, origins))
    # four means of 200 values each; with as many of all as the reference has, that of the reference would be left
    assert np.mean([one.total for one in errors]) == pytest.approx(math.sqrt(4 / 200), rel=0.1)
    assert np.mean([one.own for one in errors]) == pytest.approx(math.sqrt(4 / 200 - 2 / 2000), rel=0.1)


def slow(rng, frames, series, memory):
    """Stationary values (series * frames,) of variance 1, whose correlation falls to 1/e in `memory` frames."""
    decay = math.exp(-1.0 / memory)
    noise = rng.normal(size=(series, frames)) * math.sqrt(1.0 - decay**2)
    noise[:, 0] = rng.normal(size=series)
    return lfilter([1.0], [1.0, -decay], noise, axis=1).ravel()


@pytest.mark.parametrize("memory", [10, 500])
def test_error_of_correlated_frames_is_the_spread_of_repeated_simulations(memory):
    # two replicas, and two reference trajectories, of 5,000 frames each: cut into ten blocks of 500 frames, of which
    # those of a memory of 500 frames are not independent
    frames, series, rng = 5000, 2, np.random.default_rng(5)
    layout = BlockLayout.of_trajectories([frames] * series)
    chain, time = np.repeat(np.arange(series), frames), np.tile(np.arange(frames), series)
    block = np.concatenate([layout.block(k, time[:frames], np.zeros(frames, int)) for k in range(series)])
    names = dict(
        zip(ROLES, ("reference", "simulation", "reference", "reference", "simulation", "reference"), strict=True)
    )
    every = np.arange(series * frames)
    numbers = dict.fromkeys(ROLES, every) | {"first": every[:frames], "second": every[frames:]}
    origins = Origins(names, numbers, dict.fromkeys(("reference", "simulation"), Chains(block, chain, time)))
    found, errors = [], []
    for _ in range(120):
        sets = {"reference": slow(rng, frames, series, memory), "simulation": 3.0 + slow(rng, frames, series, memory)}
        values = {role: sets[name][numbers[role]] for role, name in names.items()}
        found.append(over_the_floor(values))
        errors.append(found_of(values, origins))
    # of distributions that are that far apart W1 is the difference of means, each of 2 x 5,000 frames
    decay = math.exp(-1.0 / memory)
    of_mean = math.sqrt((1 + decay) / (1 - decay) * (1 - memory / frames) / (frames * series))
    own, total = rms([one.own for one in errors]), rms([one.total for one in errors])
    assert 0.85 * of_mean < own < 1.3 * of_mean
    assert 0.85 * np.std(found) < total < 1.35 * np.std(found)
