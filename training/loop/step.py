"""What a training step draws at random, and what it makes of it.

Tuples of tensors throughout, so that a step can be traced and compiled as a function of tensors.
"""

from typing import Any, NamedTuple

import torch
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

    def share(self, number: int, shares: int) -> "StepDraws":
        """Every so many-th of all points from point `number` on. The mean loss of all shares is the loss of the whole,
        but for up to shares - 1 points of the flow, which are left out where they do not come out even.
        """
        if shares == 1:
            return self
        mine = slice(number, None, shares)
        perturbed, weights = self.perturbed, self.weights
        if perturbed is not None and weights is not None:
            count = perturbed.shifts.shape[1]
            stacked = perturbed.points, perturbed.times
            points, times = (torch.cat([each[mine] for each in values.split(count)]) for values in stacked)
            perturbed = perturbed._replace(
                points=points, times=times, shifts=perturbed.shifts[:, mine], mask=_rows_of(perturbed.mask, mine)
            )
            weights = weights.expand(count)[mine]
            weights = weights * (len(weights) * shares / count)
        flow = self.flow
        if flow is not None:
            even = len(flow.t) // shares * shares
            flow = _rows_of(FlowPoints(*(values[:even] for values in flow)), mine)
        return StepDraws(
            _rows_of(self.noised, mine),
            perturbed,
            weights,
            _rows_of(self.boundary, mine),
            _rows_of(self.perturbed_rows, mine),
            flow,
        )


def _rows_of(values: Any, rows: slice) -> Any:
    """These rows of all tensors in nested tuples; None stays None."""
    if isinstance(values, Tensor):
        return values[rows]
    return None if values is None else type(values)(*(_rows_of(each, rows) for each in values))


class StepLosses(NamedTuple):
    """Loss terms of one step, scalars; a term that the step leaves out is zero."""

    denoising: Tensor
    fokker_planck: Tensor
    anchor: Tensor
    flow: Tensor
