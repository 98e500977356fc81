"""The boundary anchor: an expert's energy tied to that of the next one, where their intervals of t meet.

In: both energies at the same points at the boundary. Out: the variance of their difference over the batch, divided by D
like the other losses. Scores do not see one constant for each disconnected basin, and at small t basins are disconnected;
at the boundary the next expert, which has seen them joined, knows the constants.
"""

from torch import Tensor

from fpforce.training.diffusion import degrees_of_freedom


def anchor_loss(energy: Tensor, next_energy: Tensor, beads: int) -> Tensor:
    """Var(E - E_next) / D for energies (batch,) of points of all basins; a common constant is free."""
    return (energy - next_energy.detach()).var() / degrees_of_freedom(beads)
