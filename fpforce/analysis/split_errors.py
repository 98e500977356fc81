"""How much too large the jackknife finds the variance of a divergence, by the same frames in halves and quarters.

In: counts of the independent blocks of two sets, and the metrics without each. Out: factors, 1 where nothing is known.

A jackknife counts what k blocks do together k times: B. Efron and C. Stein, Ann. Statist. 9, 586 (1981). Near equal
distributions a divergence is of second order, and the variance comes out doubled; the logarithm of a cell that holds a
few frames, and is empty without one of them, is of an order far above, and that of the PMF error three or four times
too large. Two parts of the blocks without one in common are independent, so that the squared difference of their
divergences has no such bias. They hold fewer frames: n times the variance of n frames is taken to be a + b / n, with
a, b >= 0, and extrapolated from halves and quarters to all. Of so few parts only what is beyond first order is taken:
what each block does by itself the jackknife knows without the noise of a random choice.
"""

from collections.abc import Callable, Sequence

import numpy as np

SPLITS = 20  # of each size: as many as there are blocks
_SMALLEST = 0.25  # factor: no figure has been seen with less, and each is known to a third

Metrics = Callable[[Sequence[np.ndarray]], np.ndarray]


class SplitVariance:
    """Variance of metrics of two sets by pairs of parts of their blocks, of which there are so many in each."""

    def __init__(self, metrics: Metrics, blocks: Sequence[int]) -> None:
        rng = np.random.default_rng(0)
        self._metrics = metrics
        self._splits = [
            [_two_parts(number, parts, rng) for number in blocks] for parts in (2, 4) for _ in range(SPLITS)
        ]
        self._values: list[np.ndarray] = []

    def add(self, sets: Sequence[np.ndarray]) -> None:
        """Counts (blocks, planes, cells) of both sets, in one of several thinnings."""
        with np.errstate(invalid="ignore"):  # of a part without frames
            self._values.append(
                np.array(
                    [
                        [
                            self._metrics([one[parts[k]].sum(axis=0) for one, parts in zip(sets, split, strict=True)])
                            for k in (0, 1)
                        ]
                        for split in self._splits
                    ]
                )
            )

    def too_large(self, without: Sequence[np.ndarray]) -> np.ndarray:
        """By what to multiply the jackknife's variances of the metrics.

        without: for both sets the metrics without each block (blocks, metrics, planes), averaged over thinnings.
        """
        effects = [(len(one) - 1) * (one.mean(axis=0) - one) for one in without]
        jackknife = np.sum([(one**2).sum(axis=0) / (len(one) * (len(one) - 1)) for one in effects], axis=0)
        first, second = np.moveaxis(np.mean(self._values, axis=0), 1, 0)
        of_first_order = np.array(
            [
                np.sum(
                    [one[a].mean(axis=0) - one[b].mean(axis=0) for one, (a, b) in zip(effects, split, strict=True)], 0
                )
                for split in self._splits
            ]
        )
        beyond = 0.5 * ((first - second) ** 2 - of_first_order**2)
        halves = np.maximum(jackknife + beyond[:SPLITS].mean(axis=0) / 2.0, 0.0)
        quarters = np.maximum(jackknife + beyond[SPLITS:].mean(axis=0) / 4.0, 0.0)
        variance = 0.5 * (halves + np.clip(2.0 * halves - quarters, 0.0, halves))
        known = np.isfinite(variance) & (jackknife > 0.0)
        factors = np.divide(variance, jackknife, out=np.ones_like(jackknife), where=known)
        return np.clip(factors, _SMALLEST, 1.0)


def _two_parts(blocks: int, parts: int, rng: np.random.Generator) -> np.ndarray:
    """(2, blocks // parts): blocks of two random parts that have none in common."""
    each = max(1, blocks // parts)
    return rng.permutation(blocks)[: 2 * each].reshape(2, -1)
