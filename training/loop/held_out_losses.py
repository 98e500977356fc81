"""What a training knows of frames that it was never shown.

In: the averaged energy so far, training frames and frames held out (data.held_out). Out: both losses on both. All are
measured with the same noise each time, so that they change with the weights alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fpforce.training.data.dataset import NoisedBatches
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.losses.time_sampling import ResidualTimes, TimeSampler
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.recipe.plan import ExpertPlan

FRAMES, BATCHES, BATCH, POINTS = 1024, 2, 512, 128


@dataclass(frozen=True)
class Losses:
    """On one set of frames; fokker_planck is 0 for a model without an energy."""

    denoising: float
    fokker_planck: float

    def minimised(self, fokker_planck_weight: float) -> float:
        """What the training makes small, without the terms that held-out frames do not have."""
        return self.denoising + fokker_planck_weight * self.fokker_planck if fokker_planck_weight else self.denoising


class Watched:
    """Frames on which losses are measured, with the noise that they are measured with."""

    def __init__(self, frames: Tensor, plan: ExpertPlan, width: float):
        self.plan, self._width = plan, width
        self.frames = spread_evenly(frames, FRAMES)
        self._batches = NoisedBatches(self.frames, TimeSampler(plan.t_min, plan.t_max, plan.v_min), BATCH, seed=0)
        self._batches.to(frames.device, frames.dtype)

    def losses(self, energy: DiffusionEnergy | DiffusionScore) -> Losses:
        """Mean losses of an expert."""
        denoising, fokker_planck = 0.0, 0.0
        for number in range(BATCHES):
            noised, generator = self._batches.batch(number)
            denoising += float(denoising_loss(energy.score(noised.x, noised.t).detach(), noised.t, noised.z)) / BATCHES
            if isinstance(energy, DiffusionEnergy):
                times, weights = ResidualTimes(self._batches.times)(POINTS, generator, noised.x)
                x, t, _ = self._batches.spread(POINTS, generator, at=times)
                perturbed = perturb(x, t, self._width, generator)
                residual = residuals(
                    energy, energy.log_density(perturbed.points, perturbed.times, create_graph=False), perturbed
                )
                fokker_planck += float(fokker_planck_loss(residual.detach(), x.shape[1], weights)) / BATCHES
        return Losses(denoising, fokker_planck)


def spread_evenly(frames: Tensor, count: int) -> Tensor:
    """At most `count` of the frames, at equal distances."""
    return frames[torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().long()]
