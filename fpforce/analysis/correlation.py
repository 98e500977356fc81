"""How many independent frames a correlated series is worth.

In: series of one observable, shape (times, series), with a mask of the frames that count, or its sums over stretches of
frames. Out: statistical inefficiencies in frames and effective sample sizes.
"""

import numpy as np


def statistical_inefficiency(
    series: np.ndarray, valid: np.ndarray | None = None, squares: float | None = None
) -> float:
    """g = 1 + 2 sum rho(tau), in frames; frames / g are worth that many independent ones.

    The autocorrelation is averaged over the series and taken about their common mean, so that a series which never
    leaves a basin counts as correlated over its whole length. It is summed as an initial monotone sequence, which
    follows slow tails to where the noise begins. Returns nan for a constant observable, about which the data say
    nothing. Source: C. J. Geyer, Statist. Sci. 7, 473 (1992), section 3.3.

    series: values, or their sums over stretches of frames; `valid` then has the number of frames of each stretch, and
        `squares` is the sum of the squares of all values. The variance of a mean is the same of frames and of
        stretches: g is then that of the stretches, times the variance of their sums over that of all frames (batch
        means; C. J. Geyer, l.c., section 3.2).
    """
    series = np.asarray(series, dtype=np.float64)
    frames = np.ones(series.shape) if valid is None else np.asarray(valid, dtype=np.float64)
    count = frames.sum()
    if count == 0:
        return float("nan")
    counted = frames > 0
    mean = series[counted].sum() / count
    deviation = np.where(counted, series - mean * frames, 0.0)
    products = _lagged_sums(deviation)
    single = squares is None or frames.max() <= 1
    variance = float(np.sum(deviation**2)) if single else squares - count * mean**2
    if variance <= 1e-20 * max(mean**2, 1.0) * count:
        return float("nan")
    rho = products / products[0]  # products, not their means: this holds the weight (number of pairs) / (frames)
    even = len(rho) // 2 * 2
    pairs = rho[:even].reshape(-1, 2).sum(axis=1) if even else rho
    ends = pairs <= 0.0
    pairs = np.minimum.accumulate(pairs[: np.argmax(ends)] if ends.any() else pairs)
    of_stretches = 1.0 if single else products[0] / variance
    return float(max(of_stretches * (2.0 * pairs.sum() - 1.0), 1.0))


def effective_sample_size(series: np.ndarray, valid: np.ndarray | None = None, squares: float | None = None) -> float:
    """Number of independent frames that (times, series) of an observable are worth; nan if it never changes.

    Arguments as of `statistical_inefficiency`.
    """
    count = np.asarray(series).size if valid is None else int(np.sum(valid))
    return count / statistical_inefficiency(series, valid, squares)


def _lagged_sums(values: np.ndarray) -> np.ndarray:
    """sum over times and series of values(t) values(t + tau), for tau = 0 .. times - 1, by FFT of each series."""
    times = values.shape[0]
    length = 1 << (2 * times - 1).bit_length()
    power = np.zeros(length // 2 + 1)
    for column in values.T:
        power += np.abs(np.fft.rfft(column, length)) ** 2
    return np.fft.irfft(power, length)[:times]
