"""One seed gives every purpose random numbers of its own."""

import subprocess
import sys

import numpy as np
import pytest

from fpforce.foundation.seeds import seeds


def test_seed_0_of_round_1_shares_nothing_with_seed_1_of_round_0():
    """As sums of seed and round do."""
    drawn = [seeds(seed, "round", number, count=3) for seed in range(20) for number in range(20)]
    assert len({seed for each in drawn for seed in each}) == 20 * 20 * 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), (0,)),
        ((0,), (0, 0)),
        ((1, 2), (12,)),
        (("noise",), ("velocities",)),
        (("1",), (1,)),
        (("a", "b"), ("ab",)),
        ((2**32,), (0, 1)),
    ],
)
def test_purposes_that_look_alike_have_seeds_of_their_own(one, other):
    assert seeds(5, *one) != seeds(5, *other)


def test_seeds_are_whole_numbers_that_openmm_takes_as_they_are():
    many = seeds(0, "many", count=20000)
    assert all(type(seed) is int for seed in many) and min(many) >= 1 and max(many) < 2**31
    assert np.mean(many) == pytest.approx(2**30, rel=0.02) and len(set(many)) > 19990


def test_more_seeds_begin_with_the_fewer():
    assert seeds(3, "rung", np.int64(1), count=5)[:2] == seeds(3, "rung", 1, count=2)


def test_seeds_are_the_same_in_every_process():
    code = "from fpforce.foundation.seeds import seeds; print(seeds(7, 'noise', 2, count=2))"
    found = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)]
    assert found[0] == found[1] == f"{seeds(7, 'noise', 2, count=2)}\n"
