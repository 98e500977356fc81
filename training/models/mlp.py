"""`mlp`: an MLP on the raw coordinates of a particle in an external potential.

In: normalised positions (batch, 1, 3) in the plane, times (batch,) or (1,). Out: the network's energy (batch,), or its
score as weights of x and y. Neither is invariant under anything: places differ in energy.
Source: arXiv 2506.17139, section 5 (the Müller-Brown potential).
"""

import torch
from torch import Tensor, nn

from fpforce.training.models.contract import Network
from fpforce.training.models.noise import NoiseFeatures


class PlaneCoordinates(nn.Module):
    """Positions (batch, 1, 3) -> x and y (batch, 2), of order one at every t."""

    features = 2

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x[:, 0, :2]


class MlpLayers(Network):
    """Hidden layers on x and y, the noise level entering every one; what both networks below share."""

    rotation_invariant = False

    def __init__(self, width: int, layers: int, v_min: float):
        super().__init__()
        self.noise = NoiseFeatures(v_min)
        sizes = [2] + [width] * layers
        self.coordinates = PlaneCoordinates()
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.conditions = nn.ModuleList(nn.Linear(5, width) for _ in range(layers))
        self.gate = nn.Linear(5, width)

    def state(self, q: Tensor, level: Tensor) -> Tensor:
        """Last hidden state (batch, width) from coordinates and noise features."""
        h = q
        for linear, condition in zip(self.hidden, self.conditions):  # noqa: B905 (TorchScript knows no strict=)
            h = torch.nn.functional.silu(linear(h) + condition(level))
        return h * (1.0 + self.gate(level))


class MlpModel(MlpLayers):
    """Energy: one output of the layers, plus a head c(t) that ignores x.

    Unlike those of molecules it does not fade at large t, so that it serves without the prior too.
    """

    def __init__(self, width: int = 64, layers: int = 3, v_min: float = 1e-3):
        super().__init__(width, layers, v_min)
        self.out = nn.Linear(width, 1, bias=False)
        self.offset = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.out.weight)

    def readout(self) -> nn.Linear:
        return self.out

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        level = self.noise(t)
        return self.out(self.state(self.coordinates(x, t), level)).squeeze(-1) + self.offset(level).squeeze(-1)


class MlpScore(MlpLayers):
    """Score network: x and y themselves, and two outputs of the layers as their weights."""

    def __init__(self, width: int = 64, layers: int = 3, v_min: float = 1e-3):
        super().__init__(width, layers, v_min)
        self.out = nn.Linear(width, 2, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        q = self.coordinates(x, t)
        return q, self.out(self.state(q, self.noise(t)))
