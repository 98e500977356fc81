"""The runs of a data set are independent of each other, and of those of every other seed."""

from fpforce.reference.make import seed_of_run


def test_no_run_of_one_seed_is_a_run_of_another():
    """With sums, run 2 of seed 1 was run 1 of seed 2."""
    assert len({seed_of_run(seed, number) for seed in range(30) for number in range(1, 9)}) == 30 * 8
