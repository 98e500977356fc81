"""How far an energy is from the distribution of the model's own samples.

In: the averaged energy so far. Out: the gap in kT, the robust standard deviation over samples of E(x, t) + ln q(x) at
the smallest t, ln q by the probability flow. It is zero if the energy is -ln q but for a constant. A simulation has the
density exp(-E) and samples have q: the gap says what a simulation has to be reweighted by to be the samples.

Samples, not frames: frames that the energy was trained on are known better than others, and of a few held-out ones
single frames decide.
"""

import torch
from torch import Tensor

from fpforce.training.diffusion import LARGEST_EXACT_DIMENSION, degrees_of_freedom
from fpforce.training.loop.flow_pool import T_TOP, UP, fresh_probes, samples
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.moments import NORMAL_MAD
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.sampling.likelihood import exact_divergence
from fpforce.training.sampling.solvers import probability_flow, time_grid

SAMPLES = 64  # of which the robust deviation is known to an eighth


def gap_kt(energy: DiffusionEnergy, frames: Tensor, plan: ExpertPlan) -> float:
    """The gap of an expert that begins below T_TOP, the same samples' noise each time; frames (frames, beads, 3) are
    normalised training frames.

    Beyond LARGEST_EXACT_DIMENSION degrees of freedom the divergence is estimated, and the estimate's noise is part of
    the gap.
    """
    generator = torch.Generator(device=frames.device).manual_seed(0)
    t_top = min(T_TOP, plan.t_max)
    x = samples(energy, frames, SAMPLES, plan.t_min, t_top, generator)
    exact = degrees_of_freedom(x.shape[1]) <= LARGEST_EXACT_DIMENSION
    field = exact_divergence(energy) if exact else fresh_probes(energy, generator)
    end, gained = x, x.new_zeros(len(x))
    for state, gain in probability_flow(field, time_grid(t_top, plan.t_min, UP).flip(0), x, gained):
        end, gained = state.detach(), gain.detach()
    with torch.no_grad():
        low, high = (energy(at, at.new_full((1,), t)) for at, t in ((x, plan.t_min), (end, t_top)))
    difference = (low - high - gained).double()
    return float(NORMAL_MAD * (difference - difference.median()).abs().median())
