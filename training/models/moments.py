"""Means and variances over frames that may have weights.

In: values (frames, ...) and weights (frames,), or None where all frames count alike. Out: float64 moments, as torch has
them without weights, so that nothing changes where there are none.
"""

import torch
from torch import Tensor

NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation, of a normal distribution


def mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the first dimension."""
    if weights is None:
        return values.mean(0)
    return torch.tensordot(shares(weights).to(values), values, 1)


def variance(values: Tensor, weights: Tensor | None) -> Tensor:
    """Unbiased variance over the first dimension, of frames that are independent of their weights."""
    if weights is None:
        return values.var(0)
    own = shares(weights).to(values)
    squares = torch.tensordot(own, (values - mean(values, weights)).square(), 1)
    return squares / (1.0 - own.square().sum())


def covariance(values: Tensor, weights: Tensor | None) -> Tensor:
    """Unbiased covariance (k, k) of values (frames, k)."""
    return torch.cov(values.T, aweights=weights)


def shares(weights: Tensor) -> Tensor:
    """The weights, of sum one, in float64."""
    return weights.double() / weights.double().sum()
