"""What a training step draws at random, and what it makes of it.

Tuples of tensors throughout, so that a step can be traced and compiled as a function of tensors.
"""

from typing import NamedTuple

from torch import Tensor

from fpforce.training.data.dataset import NoisedBatch, Points
from fpforce.training.losses.flow import FlowPoints
from fpforce.training.losses.fokker_planck import Perturbed
from fpforce.training.models.molecule import Rows


class StepDraws(NamedTuple):
    """The denoising batch, and points of the Fokker-Planck term and of the anchor where this step has these.

    weights (count,): of the points of the Fokker-Planck term, which make up for the steps without it. boundary: points
    of the anchor, all at t_max. perturbed_rows: which molecules the points of the Fokker-Planck term are, where there
    are several. flow: points of the integral form, whose loss is taken outside of the compiled step.
    """

    noised: NoisedBatch
    perturbed: Perturbed | None
    weights: Tensor | None
    boundary: Points | None
    perturbed_rows: Rows | None = None
    flow: FlowPoints | None = None


class StepLosses(NamedTuple):
    """Loss terms of one step, scalars; a term that the step leaves out is zero."""

    denoising: Tensor
    fokker_planck: Tensor
    anchor: Tensor
    flow: Tensor
