"""How many independent frames a correlated series is worth.

In: series of one observable, shape (times, series), with a mask of the frames that count. Out: statistical
inefficiencies in frames and effective sample sizes.
"""

from collections.abc import Sequence

import numpy as np


def statistical_inefficiency(series: np.ndarray, valid: np.ndarray | None = None) -> float:
    """g = 1 + 2 sum rho(tau), in frames; frames / g are worth that many independent ones.

    The autocorrelation is averaged over the series and taken about their common mean, so that a series which never
    leaves a basin counts as correlated over its whole length. It is summed as an initial monotone sequence, which
    follows slow tails to where the noise begins. Returns nan for a constant observable, about which the data say
    nothing. Source: C. J. Geyer, Statist. Sci. 7, 473 (1992), section 3.3.
    """
    series = np.asarray(series, dtype=np.float64)
    valid = np.ones(series.shape, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    count = valid.sum()
    if count == 0:
        return float("nan")
    mean = series[valid].mean()
    deviation = np.where(valid, series - mean, 0.0)
    if np.sum(deviation**2) <= 1e-20 * max(mean**2, 1.0) * count:
        return float("nan")
    products = _lagged_sums(deviation)
    rho = products / products[0]  # products, not their means: this holds the weight (number of pairs) / (frames)
    even = len(rho) // 2 * 2
    pairs = rho[:even].reshape(-1, 2).sum(axis=1) if even else rho
    ends = pairs <= 0.0
    pairs = np.minimum.accumulate(pairs[: np.argmax(ends)] if ends.any() else pairs)
    return float(max(2.0 * pairs.sum() - 1.0, 1.0))


def effective_sample_size(series: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Number of independent frames that (times, series) of an observable are worth; nan if it never changes."""
    count = np.asarray(series).size if valid is None else int(np.sum(valid))
    return count / statistical_inefficiency(series, valid)


def as_columns(trajectories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories of different lengths [(F_k,)] as one array (longest, k) with its mask of frames."""
    longest = max(len(values) for values in trajectories)
    columns = np.zeros((longest, len(trajectories)))
    valid = np.zeros(columns.shape, dtype=bool)
    for k, values in enumerate(trajectories):
        columns[: len(values), k] = values
        valid[: len(values), k] = True
    return columns, valid


def _lagged_sums(values: np.ndarray) -> np.ndarray:
    """sum over times and series of values(t) values(t + tau), for tau = 0 .. times - 1, by FFT of each series."""
    times = values.shape[0]
    length = 1 << (2 * times - 1).bit_length()
    power = np.zeros(length // 2 + 1)
    for column in values.T:
        power += np.abs(np.fft.rfft(column, length)) ** 2
    return np.fft.irfft(power, length)[:times]
