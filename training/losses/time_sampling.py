"""At which diffusion times the losses are taken.

In: the interval of an expert, and the noise variance below which nothing is resolved. Out: times of a batch:
`TimeSampler` for the denoising loss, `ResidualTimes`, with weights, for the Fokker-Planck loss.
"""

import math

import torch
from torch import Tensor

from fpforce.training.diffusion import alpha, beta, sigma_squared, time_of_variance


class TimeSampler:
    """Draws diffusion times: half of a batch uniform in t, half uniform in log(sigma^2 + v_min).

    The second half resolves small t, where the score steepens; v_min is the variance below which nothing in the
    data is resolved any further. Times lie in [t_min, t_max].
    """

    def __init__(self, t_min: float, t_max: float, v_min: float):
        if not 0.0 < t_min < t_max <= 1.0:
            raise ValueError(f"times need 0 < t_min < t_max <= 1, got t_min={t_min}, t_max={t_max}")
        self.t_min, self.t_max, self.v_min = t_min, t_max, v_min
        ends = sigma_squared(torch.tensor([t_min, t_max], dtype=torch.float64))
        self._low, self._high = torch.log(ends + v_min).tolist()

    def __call__(self, count: int, generator: torch.Generator, like: Tensor) -> Tensor:
        """(count,) times; stratified, so that every batch covers the whole range."""
        strata = torch.arange(count, device=like.device) + torch.rand(count, generator=generator, device=like.device)
        half = count // 2
        uniform = self.t_min + (self.t_max - self.t_min) * strata[:half] / max(half, 1)
        level = self._low + (self._high - self._low) * (strata[half:] - half) / (count - half)
        variance = torch.exp(level.double()) - self.v_min
        times = torch.cat([uniform.double(), time_of_variance(variance)]).clamp(self.t_min, self.t_max)
        order = torch.randperm(count, generator=generator, device=like.device)
        return times[order].to(like.dtype)

    def density(self, t: Tensor) -> Tensor:
        """Probability density of the times drawn, per unit of t."""
        level_slope = beta(t) * alpha(t).square() / (sigma_squared(t) + self.v_min)
        return 0.5 / (self.t_max - self.t_min) + 0.5 * level_slope / (self._high - self._low)


RESOLVED = 1e-3  # variance of the noise, down to which the residual grows


class ResidualTimes:
    """Draws times mostly where a residual is large, with weights that make up for it.

    Means under these weights are means over the times of a TimeSampler. A residual is as large as what it is the small
    difference of: the divergence grows as 1/(sigma^2 + v), and a time's part in the noise of a mean with it. So four
    fifths are uniform in (sigma^2 + v)^(-1/2); the others are uniform in t, which keeps weights of order one. v is
    v_min or, where that is larger, RESOLVED: what a network that hardly sees the time at small noise leaves of the
    equation grows there all the same, and rare points of large weight would make most of the noise of a gradient.
    """

    def __init__(self, sampler: TimeSampler):
        self.sampler, self._v = sampler, min(sampler.v_min, RESOLVED)
        ends = sigma_squared(torch.tensor([sampler.t_max, sampler.t_min], dtype=torch.float64))
        self._low, self._high = (ends + self._v).rsqrt().tolist()

    def __call__(self, count: int, generator: torch.Generator, like: Tensor) -> tuple[Tensor, Tensor]:
        """(count,) times and their weights; both parts are stratified."""
        first, last, v = self.sampler.t_min, self.sampler.t_max, self._v
        uniform = math.ceil(0.2 * count)
        random = torch.rand(count, generator=generator, device=like.device, dtype=torch.float64)
        strata = torch.arange(count, device=like.device) + random
        plain = first + (last - first) * strata[:uniform] / uniform
        resolution = self._low + (self._high - self._low) * (strata[uniform:] - uniform) / max(count - uniform, 1)
        t = torch.cat([plain, time_of_variance(resolution.square().reciprocal() - v)]).clamp(first, last)
        slope = 0.5 * beta(t) * alpha(t).square() * (sigma_squared(t) + v) ** -1.5
        share = uniform / count
        density = share / (last - first) + (1.0 - share) * slope / (self._high - self._low)
        return t.to(like.dtype), (self.sampler.density(t) / density).to(like.dtype)
