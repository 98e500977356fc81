"""How far an energy is from the distribution of the model's own samples.

In: the averaged energy so far. Out: the gap in kT, the robust standard deviation over samples of E(x, t) + ln q(x) at
the smallest t, ln q by the probability flow. It is zero if the energy is -ln q but for a constant. A simulation has the
density exp(-E) and samples have q: the gap says what a simulation has to be reweighted by to be the samples.

Samples, not frames: frames that the energy was trained on are known better than others, and of a few held-out ones
single frames decide.

Besides, whether the samples are right, as far as the energy itself can tell: in the mean those of the data's own
distribution have the data's energy.
"""

import math

import torch
from torch import Tensor

from fpforce.training.diffusion import LARGEST_EXACT_DIMENSION, degrees_of_freedom
from fpforce.training.loop.flow_pool import T_TOP, UP, fresh_probes, noised, samples
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.moments import NORMAL_MAD
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.sampling.likelihood import exact_divergence
from fpforce.training.sampling.solvers import probability_flow, time_grid

SAMPLES = 64  # of which the robust deviation is known to an eighth
COMPARED = 1024  # held-out frames, each with noise, that samples are compared with


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


def samples_above(energy: DiffusionEnergy, frames: Tensor, held_out: Tensor, plan: ExpertPlan) -> float:
    """By how many kT a degree of freedom the median energy of the model's own samples is above that of held-out frames
    with the noise of the smallest t. frames, held_out (frames, beads, 3): normalised.

    Of a right model about zero. Where the score is wrong at some noise, samples miss the data, and come out where the
    energy is high; without end, where most of them diverge.
    """
    generator = torch.Generator(device=frames.device).manual_seed(0)
    own = samples(energy, frames, SAMPLES, plan.t_min, min(T_TOP, plan.t_max), generator)
    known = noised(held_out, COMPARED, plan.t_min, generator)
    with torch.no_grad():
        above, about = (energy(x, x.new_full((1,), plan.t_min)).double() for x in (own, known))
    above = torch.where(above.isfinite(), above, torch.inf)
    found = float((above.median() - about.median()) / degrees_of_freedom(own.shape[1]))
    return found if math.isfinite(found) else math.inf
