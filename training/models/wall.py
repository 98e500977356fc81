"""The wall of fpforce.wall as a part of the exported program.

In: normalised positions (batch, beads, 3). Out: energies (batch,) in kT. It has no part in training.
"""

import torch
from torch import Tensor, nn

from fpforce.wall import HEIGHT_KT, Wall


class WallEnergy(nn.Module):
    """Sum over pairs of HEIGHT_KT (1 - d / d0)^3 below d0; distances d0 in units of length_nm."""

    def __init__(self, wall: Wall, length_nm: float, dtype: torch.dtype):
        super().__init__()
        pairs = torch.from_numpy(wall.pairs)
        self.height = HEIGHT_KT
        self.register_buffer("first", pairs[:, 0].clone())
        self.register_buffer("second", pairs[:, 1].clone())
        self.register_buffer("distance", torch.from_numpy(wall.distances_nm / length_nm).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Energy (batch,) of x (batch, beads, 3)."""
        square = (x[:, self.first] - x[:, self.second]).square().sum(-1)
        depth = torch.relu(1.0 - torch.sqrt(square + 1e-20) / self.distance)
        return self.height * (depth * depth * depth).sum(-1)


def wall_tensors(wall: Wall) -> dict[str, Tensor]:
    """What model.pt's weights hold of it, for the native plugin."""
    pairs = torch.from_numpy(wall.pairs)
    return {"wall.first": pairs[:, 0].contiguous(), "wall.second": pairs[:, 1].contiguous(),
            "wall.distance_nm": torch.from_numpy(wall.distances_nm)}
