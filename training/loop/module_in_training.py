"""What a training step needs to know of the module that is in training."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from fpforce.training.loop.step import StepDraws, StepLosses
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.sections import Recipe


class ModuleInTraining(Protocol):
    """A torch module whose forward makes loss terms of draws, with the expert that it trains."""

    recipe: Recipe

    @property
    def plan(self) -> ExpertPlan:
        """What the recipe asks of the expert."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def numbers_of_a_frame(self) -> int:
        """How many numbers a frame takes in the network's largest array, 0 where that is not worth a thought."""

    def __call__(self, draws: StepDraws) -> StepLosses:
        """The loss terms of a step."""

    def weighted(self, losses: StepLosses) -> Tensor:
        """The loss, the sum of its terms by their weights."""

    def modules(self) -> Iterator[nn.Module]:
        """The module and all its parts."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights, of which those in training require a gradient."""
