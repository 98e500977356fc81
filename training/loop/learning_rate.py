"""The learning rate of a step. In: the optimizer's settings and how far the run is. Out: a rate."""

import math

from fpforce.training.recipe.sections import OptimizerRecipe


def learning_rate(settings: OptimizerRecipe, step: int, progress: float) -> float:
    """Linear warm-up, then a cosine from the peak to a thousandth of it; progress: part of the run that is done."""
    warmup = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    return settings.learning_rate * warmup * (0.001 + 0.999 * cosine)
