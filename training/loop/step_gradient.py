"""A training step with its gradient in the weights, for all of a batch or a part of it at a time.

In: the module in training and the draws of a step. Out: loss terms, and their weighted sum with its gradient in the
weights. A loss of scores is a gradient already, and only the weights' is wanted of the second differentiation: a plain
backward pass would go on to the positions, through everything that depends on them.

A network of all pairs of beads makes arrays of many numbers a frame. Those of a few frames stay in a processor's cache,
those of a whole batch do not, so the step goes through the batch in parts.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fpforce.training.loop.module_in_training import ModuleInTraining
from fpforce.training.loop.step import StepDraws, StepLosses

StepFunction = Callable[[StepDraws], tuple[StepLosses, Tensor]]

CACHED_NUMBERS = 1_500_000  # of a part's largest array; a step holds several of its size at a time


class PlainStep:
    """The step as it stands."""

    def __init__(self, module: ModuleInTraining):
        self._module = module
        self._weights = [weight for _, weight in module.named_parameters() if weight.requires_grad]

    def __call__(self, draws: StepDraws) -> tuple[StepLosses, Tensor]:
        losses = self._module(draws)
        loss = self._module.weighted(losses)
        slopes = torch.autograd.grad(loss, self._weights, allow_unused=True)
        # Of those that have a slope alone: DDP takes no None.
        used = [(slope, weight) for slope, weight in zip(slopes, self._weights, strict=True) if slope is not None]
        slopes, weights = [slope for slope, _ in used], [weight for _, weight in used]
        return StepLosses(*(term.detach() for term in losses)), with_gradient(loss.detach(), slopes, weights)


def in_parts(step: StepFunction, parts: int) -> StepFunction:
    """The step on so many parts of the batch, one after the other; the mean of them is the step on the whole."""
    if parts == 1:
        return step

    def whole(draws: StepDraws) -> tuple[StepLosses, Tensor]:
        done = [step(draws.share(number, parts)) for number in range(parts)]
        terms = zip(*(losses for losses, _ in done), strict=True)
        loss = torch.stack([loss for _, loss in done]).mean()
        return StepLosses(*(torch.stack(term).mean() for term in terms)), loss

    return whole


def parts_of(module: ModuleInTraining, draws: StepDraws) -> int:
    """Into how many equal parts to divide a step: the fewest whose largest array stays in a processor's cache.

    One on a GPU, which wants large arrays, and where the anchor's loss belongs to the batch as a whole.
    """
    if draws.boundary is not None or module.device.type != "cpu":
        return 1
    frames = len(draws.noised.x)
    rows = frames if draws.perturbed is None else frames + len(draws.perturbed.points)
    most = math.gcd(frames, frames if draws.perturbed is None else draws.perturbed.shifts.shape[1])
    numbers = rows * module.numbers_of_a_frame
    return next((parts for parts in range(1, most) if most % parts == 0 and numbers <= parts * CACHED_NUMBERS), most)


def with_gradient(value: Tensor, slopes: tuple[Tensor | None, ...] | list[Tensor], weights: list) -> Tensor:
    """A scalar with a given gradient in the weights."""
    return _Differentiated.apply(value, slopes, *weights)


class _Differentiated(torch.autograd.Function):
    """A scalar with a given gradient in the weights."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slopes: Any, *weights: Tensor) -> Tensor:
        ctx.slopes = slopes
        return value.clone()

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if slope is None else factor * slope for slope in ctx.slopes)
