"""Lengths as the networks see them and lengths in nm, at any diffusion time: the one place that converts them.

In: positions of either kind, and the time t at which the normalised ones are taken. Out: positions of the other kind.
A noised position is x_t = alpha(t) (r - origin) / s + sigma(t) z. So the force field at t, whose energy is that of x_t,
has its unit of length at s / alpha(t): alpha undoes the shrinking that comes with the noise.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fpforce.molecule.space import space_of
from fpforce.training.diffusion import alpha

Positions = TypeVar("Positions", np.ndarray, Tensor)


@dataclass(frozen=True)
class Normalisation:
    """scale_nm: s, the length that is 1 without noise. origin_nm (3,): zero for a molecule, of which every frame is
    centred by itself; for a particle in the plane the mean of its data.
    """

    scale_nm: float
    origin_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def length_nm(self, t: float = 0.0) -> float:
        """The unit of length at t in nm, s / alpha(t)."""
        return self.scale_nm / _alpha(t)

    def to_nm(self, x: Positions, t: float = 0.0) -> Positions:
        """Positions (..., beads, 3) in nm, of those that are x at t; by default of x without noise."""
        return x * self.length_nm(t) + self._origin_like(x)

    def from_nm(self, positions_nm: Positions, t: float = 0.0) -> Positions:
        """Normalised positions (..., beads, 3) at t, projected onto the degrees of freedom (fpforce.molecule.space)."""
        projected = space_of(positions_nm.shape[-2]).project(positions_nm - self._origin_like(positions_nm))
        return projected * _alpha(t) / self.scale_nm

    def _origin_like(self, positions: Positions) -> Positions:
        if isinstance(positions, Tensor):
            return torch.tensor(self.origin_nm, dtype=positions.dtype, device=positions.device)
        return np.asarray(self.origin_nm, dtype=positions.dtype)


def _alpha(t: float) -> float:
    return float(alpha(torch.tensor(t, dtype=torch.float64)))
