"""What OpenMM calls: a trained energy in physical units, as a torch module.

U(r) = kT [E_theta((r - centre) / s, t_eval) + wall(r)], r in nm, U in kJ/mol; the centre is that of each replica, or of
a particle in the plane that of the data.
Source: docs/method.md, eq. 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fpforce.forcefield.wall import Wall
from fpforce.molecule.space import PLANE, space_of
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.wall import WallEnergy


class CentreOfBeads(nn.Module):
    """Positions (R, n, 3) relative to the mean over beads of each replica."""

    def forward(self, r: Tensor) -> Tensor:
        return r - r.mean(dim=1, keepdim=True)


class FixedOrigin(nn.Module):
    """Positions (R, 1, 3) relative to one point, with z = 0, so that no force acts along z."""

    origin_nm: Tensor
    in_plane: Tensor

    def __init__(self, origin_nm: Sequence[float]):
        super().__init__()
        self.register_buffer("origin_nm", torch.tensor(origin_nm, dtype=torch.float64))
        self.register_buffer("in_plane", torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))

    def forward(self, r: Tensor) -> Tensor:
        return (r - self.origin_nm.to(r.dtype)) * self.in_plane.to(r.dtype)


class PhysicalEnergy(nn.Module):
    """Positions (R*n, 3) in nm -> energy in kJ/mol; what OpenMM calls.

    scale_nm is the length by which centred positions are divided, s / alpha(t_eval). Of a model that is not
    conservative, only the gradient of the result means anything: it is minus the force. Each replica is centred in the
    incoming precision before the cast to the weights' precision; origin_nm (3,) is the data's mean, for a particle in
    the plane.
    wall: excluded volume, or None.
    """

    t_eval: Tensor

    def __init__(
        self,
        energy: DiffusionEnergy | DiffusionScore,
        beads: int,
        scale_nm: float,
        kt_kj_per_mol: float,
        t_eval: float,
        origin_nm: Sequence[float] = (0.0, 0.0, 0.0),
        wall: Wall | None = None,
    ):
        super().__init__()
        self.energy = energy
        self.wall = None if wall is None else WallEnergy(wall, scale_nm, energy_dtype(energy))
        self.centre = FixedOrigin(origin_nm) if space_of(beads) is PLANE else CentreOfBeads()
        self.beads = beads
        self.inverse_scale = 1.0 / scale_nm
        self.kt = kt_kj_per_mol
        self.register_buffer("t_eval", torch.full((1,), t_eval, dtype=energy_dtype(energy)))

    @torch.jit.export
    def energies(self, positions: Tensor) -> Tensor:
        """(R,) energies of the replicas."""
        r = positions.reshape(-1, self.beads, 3)
        x = (self.centre(r) * self.inverse_scale).to(self.t_eval.dtype)
        energies = self.energy(x, self.t_eval)
        if self.wall is not None:
            energies = energies + self.wall(x)
        return self.kt * energies.to(positions.dtype)

    def forward(self, positions: Tensor) -> Tensor:
        """Scalar: the sum over replicas."""
        return self.energies(positions).sum()


def energy_dtype(energy: nn.Module) -> torch.dtype:
    """Floating-point type of a module's weights."""
    return next(energy.parameters()).dtype
