"""Solvers of the reverse process: from noise at large t to samples at small t.

In: a score (x, t) -> grad log q_t, a grid of descending times, positions x (batch, beads, 3) at its first time. Out:
an iterator over the positions at the following times, so that the caller can show progress and stop in between.

The reverse SDE is dx = -[x / 2 + s(x, t)] beta dt + sqrt(beta) dw, the probability-flow ODE the same with half the
score and no noise. Grids are even in lambda = ln(alpha / sigma): the posterior mean D = (x + sigma^2 s) / alpha, of
which both equations are linear functions, then changes by similar amounts in each step, and neither equation is stiff,
since with rho = sigma / alpha the ODE of y = x / alpha is dy / d ln rho = y - D, whose slopes lie between 0 and 1 for
Gaussian data.
Source: Song et al., arXiv 2011.13456 (both equations); Lu et al., arXiv 2211.01095 (exponential integrators in lambda);
docs/method.md, eqs. 29, 30 and 31.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from fpforce.foundation.errors import InputError
from fpforce.training.diffusion import alpha, beta, degrees_of_freedom, log_snr, sigma_squared, time_of_log_snr

Score = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Field = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def time_grid(t_start: float, t_end: float, steps: int) -> Tensor:
    """(steps + 1,) float64 times from t_start down to t_end, even in ln(alpha / sigma), the ends exact."""
    ends = torch.tensor([t_start, t_end], dtype=torch.float64)
    first, last = log_snr(ends).tolist()
    times = time_of_log_snr(torch.linspace(first, last, steps + 1, dtype=torch.float64))
    times[0], times[-1] = ends
    return times


def shared_steps(boundaries: list[float], steps: int) -> list[int]:
    """How many of `steps` each expert takes between descending times, by its length in ln(alpha / sigma); 1 at least.

    Raises InputError for fewer steps than experts.
    """
    experts = len(boundaries) - 1
    if steps < experts:
        raise InputError(
            f"steps is {steps}, and the way down from t = {boundaries[0]:g} leads through {experts} experts, each of "
            f"which needs a step; give {experts} or more"
        )
    levels = log_snr(torch.tensor(boundaries, dtype=torch.float64))
    lengths = levels.diff() / (levels[-1] - levels[0])
    shares = torch.clamp(torch.round(lengths * steps), min=1).long()
    while excess := int(shares.sum()) - steps:  # rounding goes where it matters least
        shares[int(shares.argmax())] -= 1 if excess > 0 else -1
    return shares.tolist()


def euler_maruyama(score: Score, times: Tensor, x: Tensor, noise: Noise) -> Iterator[Tensor]:
    """The reverse SDE with drift and noise frozen over a step. Weak order 1, one score a step."""
    for t, s in pairwise(times):
        step = float((t - s) * beta(t))
        x = x + step * (0.5 * x + score(x, _as_time(t, x))) + step**0.5 * noise(x)
        yield x


def multistep(score: Score, times: Tensor, x: Tensor, noise: Noise) -> Iterator[Tensor]:
    """The reverse SDE solved exactly for a posterior mean that is linear in lambda, from its last two values.

    Weak order 2, one score a step; the first step takes the posterior mean as constant.
    Source: Lu et al., arXiv 2211.01095 (SDE-DPM-Solver++(2M)), here with the linear term integrated exactly.
    """
    earlier = None
    for t, s in pairwise(times):
        length = log_snr(s) - log_snr(t)
        gain = -torch.expm1(-2.0 * length)
        mean = posterior_mean(x, score(x, _as_time(t, x)), t)
        estimate = float(alpha(s) * gain) * mean
        if earlier is not None:
            slope = (mean - earlier[0]) / earlier[1]
            estimate = estimate + float(alpha(s) * (length - 0.5 * gain)) * slope
        earlier = mean, float(length)
        carried = torch.sqrt(sigma_squared(s) / sigma_squared(t)) * torch.exp(-length)
        x = float(carried) * x + estimate + float(torch.sqrt(sigma_squared(s) * gain)) * noise(x)
        yield x


def probability_flow(field: Field, times: Tensor, x: Tensor, log_density: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The probability-flow ODE and the log density along it, by the classical Runge-Kutta method in ln rho.

    Order 4, four scores a step; `times` may ascend too, from a sample back to noise.
    field(x, t) -> (score, its divergence (batch,)); log_density (batch,) is that of x, in the subspace of x.
    With y = x / alpha, dy / d ln rho = y - D and d ln q(y) / d ln rho = sigma^2 div s.
    """

    def rate(y: Tensor, density: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        t = time_of_log_snr(-level)
        position = float(alpha(t)) * y
        score, divergence = field(position, _as_time(t, position))
        return y - posterior_mean(position, score, t), float(sigma_squared(t)) * divergence

    dimensions = degrees_of_freedom(x.shape[1])
    for t, s in pairwise(times):
        start, end = -log_snr(t), -log_snr(s)
        length = float(end - start)
        state = x / float(alpha(t)), log_density + dimensions * float(torch.log(alpha(t)))
        middle = 0.5 * (start + end)
        first = rate(*state, start)
        second = rate(*_moved(state, first, 0.5 * length), middle)
        third = rate(*_moved(state, second, 0.5 * length), middle)
        fourth = rate(*_moved(state, third, length), end)
        y, density = (
            value + length / 6.0 * (a + 2.0 * b + 2.0 * c + d)
            for value, a, b, c, d in zip(state, first, second, third, fourth, strict=True)
        )
        x, log_density = float(alpha(s)) * y, density - dimensions * float(torch.log(alpha(s)))
        yield x, log_density


def posterior_mean(x: Tensor, score: Tensor, t: Tensor) -> Tensor:
    """D = E[x_0 | x_t] = (x + sigma^2 s) / alpha."""
    return (x + float(sigma_squared(t)) * score) / float(alpha(t))


def _moved(state: tuple[Tensor, Tensor], rates: tuple[Tensor, Tensor], length: float) -> tuple[Tensor, Tensor]:
    return state[0] + length * rates[0], state[1] + length * rates[1]


def _as_time(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(1).to(device=like.device, dtype=like.dtype)
