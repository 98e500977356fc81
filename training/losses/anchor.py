"""The boundary anchor: an expert's energy tied to that of the next one, where their intervals of t meet.

In: both energies at the same points at the boundary. Out: the variance of their difference over the batch, divided by D
like the other losses. Scores do not see one constant for each disconnected basin, and at small t basins are
disconnected; at the boundary the next expert, which has seen them joined, knows the constants.
Source: docs/method.md, eq. 24.
"""

from torch import Tensor

from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.models.molecule import Rows


def anchor_loss(energy: Tensor, next_energy: Tensor, beads: int) -> Tensor:
    """Var(E - E_next) / D for energies (batch,) of points of all basins; a common constant is free."""
    return (energy - next_energy.detach()).var() / degrees_of_freedom(beads)


def anchor_loss_of_molecules(energy: Tensor, next_energy: Tensor, beads: int, rows: Rows) -> Tensor:
    """The same within each molecule of a batch, averaged over its rows: every molecule has a constant of its own that
    is free.
    """
    difference = energy - next_energy.detach()
    alike = (rows.which[:, None] == rows.which).to(difference.dtype)
    count = alike.sum(1)
    variance = (difference - alike @ difference / count).square() * count / (count - 1.0).clamp_min(1.0)
    return (variance / degrees_of_freedom(beads, rows.mask)).mean()
