"""How well two experts agree where one hands over to the other.

In: experts and normalised frames. Out: for each boundary the jump of the score, relative to the score itself.
"""

import copy
import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from fpforce.training.checkpoint.record import TrainingRecord
from fpforce.training.diffusion import centred_noise, diffuse
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.models.transferable import TransferableEnergy
from fpforce.training.recipe.plan import ExpertPlan

logger = logging.getLogger("fpforce")


def score_jumps(experts: Experts, frames: Tensor) -> list[dict[str, float]]:
    """[{"t", "relative_jump"}]: rms of the difference of both scores over the rms of their mean, at each boundary.

    frames (frames, beads, 3) are diffused to the boundary; everything is computed in float64.
    """
    jumps = []
    generator = torch.Generator().manual_seed(0)
    for lower, upper in pairwise(experts.parts):
        x0 = frames.double()
        t = torch.full((len(x0),), lower.t_max, dtype=torch.float64)
        x = diffuse(x0, t, centred_noise(x0.shape, generator, x0))
        models = (cast(nn.Module, copy.deepcopy(expert.model)) for expert in (lower, upper))
        below, above = (model.cpu().double().score(x, t) for model in models)
        mean = 0.5 * (below + above)
        jump = float((below - above).square().mean().sqrt() / mean.square().mean().sqrt())
        jumps.append({"t": lower.t_max, "relative_jump": jump})
    return jumps


def measured_hand_overs(
    record: TrainingRecord, experts: nn.ModuleList, plans: Sequence[ExpertPlan]
) -> list[dict[str, float]]:
    """The score's jumps between the experts that are trained by now, as of `score_jumps`.

    Those of a transferable model are root mean squares over the molecules of the record.
    """
    trained = [
        (model, plan) for model, plan, expert in zip(experts, plans, record.experts, strict=True) if expert.steps
    ]
    measured = []
    for beads, frames in record.samples():
        bound = [
            (model.bind(beads) if isinstance(model, TransferableEnergy) else model, plan) for model, plan in trained
        ]
        mixture = Experts(tuple(Expert(model, plan.t_min, plan.t_max) for model, plan in bound))
        measured.append(score_jumps(mixture, frames))
    jumps = [
        {"t": same[0]["t"], "relative_jump": math.sqrt(sum(jump["relative_jump"] ** 2 for jump in same) / len(same))}
        for same in zip(*measured, strict=True)
    ]
    for jump in jumps:
        logger.info("at t = %g the scores of the two experts differ by %.2g of their size", *jump.values())
    return jumps
