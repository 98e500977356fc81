"""The wall of fpforce.forcefield.wall as a part of the exported program.

In: normalised positions (batch, beads, 3). Out: energies (batch,) in kT. It has no part in training.
Source: docs/method.md, eq. 22.
"""

import torch
from torch import Tensor, nn

from fpforce.forcefield.wall import HEIGHT_KT, Wall


class WallEnergy(nn.Module):
    """Sum over pairs of HEIGHT_KT (1 - d / d0)^3 below d0; length_nm is the unit of the positions.

    The buffers are Wall.constants.
    """

    first: Tensor
    second: Tensor
    distance_nm: Tensor

    def __init__(self, wall: Wall, length_nm: float, dtype: torch.dtype):
        super().__init__()
        pairs = torch.from_numpy(wall.pairs)
        self.height = HEIGHT_KT
        self.length_nm = length_nm
        self.register_buffer("first", pairs[:, 0].clone())
        self.register_buffer("second", pairs[:, 1].clone())
        self.register_buffer("distance_nm", torch.from_numpy(wall.distances_nm).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Energy (batch,) of x (batch, beads, 3)."""
        square = (x[:, self.first] - x[:, self.second]).square().sum(-1)
        depth = torch.relu(1.0 - torch.sqrt(square + 1e-20) * self.length_nm / self.distance_nm)
        return self.height * (depth * depth * depth).sum(-1)
