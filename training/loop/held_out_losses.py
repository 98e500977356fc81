"""What a training knows of frames that it was never shown.

In: the averaged energy so far, training frames and frames held out (data.held_out). Out: both losses on both, and the
gap in kT. All are measured with the same noise each time, so that they change with the weights alone.

The gap is the standard deviation over frames of E(x, t) + ln q(x) at the smallest t, ln q by the probability-flow ODE:
zero if the energy is the logarithm of the density of the model's own samples. A simulation has the density exp(-E),
samples have q.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fpforce.training.data.dataset import NoisedBatches
from fpforce.training.diffusion import centred_noise, diffuse
from fpforce.training.losses.denoising import denoising_loss
from fpforce.training.losses.fokker_planck import fokker_planck_loss, perturb, residuals
from fpforce.training.losses.time_sampling import ResidualTimes, TimeSampler
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.sampling.likelihood import log_likelihood

FRAMES, BATCHES, BATCH, POINTS = 1024, 2, 512, 128
GAP_FRAMES, GAP_STEPS = 24, 20


@dataclass(frozen=True)
class Losses:
    """On one set of frames; fokker_planck is 0 for a model without an energy."""

    denoising: float
    fokker_planck: float


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

    def gap_kt(self, energy: DiffusionEnergy) -> float:
        """Standard deviation over GAP_FRAMES frames of E + ln q at the smallest t, in kT; of an expert that
        reaches t = 1.
        """
        generator = torch.Generator(device=self.frames.device).manual_seed(0)
        frames = spread_evenly(self.frames, GAP_FRAMES)
        times = frames.new_full((len(frames),), self.plan.t_min)
        x = diffuse(frames, times, centred_noise(frames.shape, generator, frames))
        log_density = log_likelihood(
            Experts((Expert(energy, self.plan.t_min, 1.0),)), x, self.plan.t_min, GAP_STEPS, generator
        )
        return float((log_density + energy(x, times)).detach().double().std())


def spread_evenly(frames: Tensor, count: int) -> Tensor:
    """At most `count` of the frames, at equal distances."""
    return frames[torch.linspace(0, len(frames) - 1, min(count, len(frames))).round().long()]
