"""How well two experts agree where one hands over to the other.

In: experts and normalised frames. Out: for each boundary the jump of the score, relative to the score itself.
"""

import copy

import torch
from torch import Tensor

from fpforce.training.diffusion import centred_noise, diffuse
from fpforce.training.models.experts import Experts


def score_jumps(experts: Experts, frames: Tensor) -> list[dict[str, float]]:
    """[{"t", "relative_jump"}]: rms of the difference of both scores over the rms of their mean, at each boundary.

    frames (frames, beads, 3) are diffused to the boundary; everything is computed in float64.
    """
    jumps = []
    generator = torch.Generator().manual_seed(0)
    for lower, upper in zip(experts.parts, experts.parts[1:], strict=False):
        x0 = frames.double()
        t = torch.full((len(x0),), lower.t_max, dtype=torch.float64)
        x = diffuse(x0, t, centred_noise(x0.shape, generator, x0))
        below, above = (copy.deepcopy(expert.model).cpu().double().score(x, t) for expert in (lower, upper))
        mean = 0.5 * (below + above)
        jump = float((below - above).square().mean().sqrt() / mean.square().mean().sqrt())
        jumps.append({"t": lower.t_max, "relative_jump": jump})
    return jumps
