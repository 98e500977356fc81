"""How the energy models see the diffusion time.

In: times (batch,) or (1,). Out: smooth features of the noise level, the same for every model.
"""

import torch
from torch import Tensor, nn

from fpforce.training.diffusion import sigma_squared


class NoiseFeatures(nn.Module):
    """Smooth functions (batch, 5) of the noise level, ln(sigma^2 + v_min) mapped to [-1, 1].

    Raw ln t would make dE/dt diverge at t = 0; below v_min nothing changes any more.
    """

    def __init__(self, v_min: float):
        super().__init__()
        self.v_min = v_min
        self.low = float(torch.log(torch.tensor(v_min, dtype=torch.float64)))
        self.high = float(torch.log1p(torch.tensor(v_min, dtype=torch.float64)))

    def forward(self, t: Tensor) -> Tensor:
        level = 2.0 * (torch.log(sigma_squared(t) + self.v_min) - self.low) / (self.high - self.low) - 1.0
        angle = 1.5707963267948966 * level
        return torch.stack([level, torch.sin(angle), torch.cos(angle), torch.sin(2 * angle), torch.cos(2 * angle)], -1)
