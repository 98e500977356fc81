"""The boundary anchor: an expert's energy tied to that of the next one, where their intervals of t meet.

In: both energies at the same points at the boundary. Out: the variance of their difference over the batch, divided by D
like the other losses. Scores do not see one constant for each disconnected basin, and at small t basins are
disconnected; at the boundary the next expert, which has seen them joined, knows the constants.
Source: docs/method.md, eq. 24.
"""

from collections.abc import Callable

from torch import Tensor

from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.models.molecule import Rows


def anchor_loss(
    energy: Tensor, next_energy: Tensor, beads: int, of_all: Callable[[Tensor], Tensor] = Tensor.detach
) -> Tensor:
    """Var(E - E_next) / D for energies (batch,) of points of all basins; a common constant is free.

    of_all: makes of values (batch,) those of the whole batch, of which this may be a share. The mean that is
    subtracted may be detached: the deviations from it add up to zero.
    """
    difference = energy - next_energy.detach()
    all_of_them = of_all(difference)
    count = len(all_of_them)
    return (difference - all_of_them.mean()).square().mean() * count / (count - 1) / degrees_of_freedom(beads)


def anchor_loss_of_molecules(
    energy: Tensor, next_energy: Tensor, beads: int, rows: Rows, of_all: Callable[[Tensor], Tensor] = Tensor.detach
) -> Tensor:
    """The same within each molecule of a batch, averaged over its rows: every molecule has a constant of its own that
    is free.
    """
    difference = energy - next_energy.detach()
    alike = (rows.which[:, None] == of_all(rows.which)).to(difference.dtype)
    count = alike.sum(1)
    variance = (difference - alike @ of_all(difference) / count).square() * count / (count - 1.0).clamp_min(1.0)
    return (variance / degrees_of_freedom(beads, rows.mask)).mean()
