"""Samples of a network that knows its training frames too well, for a new network to learn from.

In: the energy so far and the training frames. Out: conformations at t_min. There is no end of them, so that the new
network cannot learn them by heart, and they come down from large t, where few frames are enough: energies next to the
frames and between them are then learned from one density. What the samples have wrong the new network learns as well.
"""

import torch
from torch import Tensor

from fpforce.foundation.seeds import seeds
from fpforce.training.loop.flow_pool import T_TOP, samples
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.recipe.plan import ExpertPlan

BEGIN = 0.4  # part of the training after which the new network takes over
COUNT, AT_ONCE, STEPS = 16_384, 1024, 40
FARTHEST = 1.5  # times the largest coordinate of the frames; a sample with a larger one went astray


def own_samples(energy: DiffusionEnergy, frames: Tensor, plan: ExpertPlan, seed: tuple[int, ...]) -> Tensor:
    """COUNT samples less those that went astray (count, beads, 3), a function of energy, frames and seed alone.

    frames (frames, beads, 3): normalised training frames.
    """
    generator = torch.Generator(device=frames.device)
    generator.manual_seed(seeds(seed[0], "own samples", *seed[1:])[0])
    top = min(T_TOP, plan.t_max)
    parts = [samples(energy, frames, AT_ONCE, plan.t_min, top, generator, STEPS) for _ in range(COUNT // AT_ONCE)]
    found = torch.cat(parts)
    near = found.abs().amax(dim=(1, 2)) <= FARTHEST * frames.abs().max()  # false where it is no number
    return found[near]
