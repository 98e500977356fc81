"""Energies of stretches of a molecule: one small network that sees a few neighbouring beads, on every place of it.

In: features of the internal coordinates (batch, features) and of the noise (batch, 5). Out: the sum of the energies of
all stretches (batch,). How a bond turns depends on the beads around it. A network on all distances of a molecule has to
learn that for each place by itself; this one learns it once, for the places have its weights in common and differ in
their biases and in what they make of its last layer. What it says of a distance at the smallest noise, which the loss
hardly sees, it would say of every place: so its distances stop sharpening at a noise above that.
Source: docs/method.md, eq. 42; the sum over local environments is that of Behler and Parrinello, PRL 98, 146401 (2007).
"""

from typing import Any

import torch
from torch import Tensor, nn


def inputs_of(beads: int, window: int, pairs: Tensor) -> Tensor:
    """The features (windows, inputs) that a stretch of `window` beads sees, by their numbers among InternalCoordinates'
    of so many beads: both of every pair of its own, and four of every dihedral.

    pairs (pairs, 2): of all beads, in the order of the features. window: at least 4 and at most `beads`.
    """
    numbers = {(i, j): k for k, (i, j) in enumerate(pairs.tolist())}
    turns = beads - 3
    rows = []
    for start in range(beads - window + 1):
        stretch = range(start, start + window)
        own = [numbers[i, j] for i in stretch for j in stretch if i < j]
        turned = [2 * len(pairs) + part * turns + k for part in range(4) for k in stretch[:-3]]
        rows.append([*own, *(len(pairs) + k for k in own), *turned])
    return torch.tensor(rows)


class Windows(nn.Module):
    """The sum over the stretches of out_w . (h_w (1 + gate(level))), with h_w = silu(W h_w' + b + p_w + C level) of the
    layer below, h_w'.

    inputs (windows, inputs): as `inputs_of` gives them. width, layers: of the network. places (layers, windows, width):
    p of each layer. earliest: the time (1,) from which on the noise grows for them; 0 for all of it.
    """

    inputs: Tensor
    earliest: Tensor

    def __init__(self, inputs: Tensor, width: int, layers: int, earliest: float = 0.0):
        super().__init__()
        self.register_buffer("inputs", inputs)
        self.register_buffer("earliest", torch.tensor([earliest]))
        sizes = [inputs.shape[1]] + [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.conditions = nn.ModuleList(nn.Linear(5, width) for _ in range(layers))
        self.places = nn.Parameter(0.1 * torch.randn(layers, len(inputs), width))
        self.gate = nn.Linear(5, width)
        self.out = nn.Parameter(torch.zeros(len(inputs), width))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of an earlier version see all times."""
        state_dict.setdefault(f"{prefix}earliest", torch.zeros_like(self.earliest))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def seen(self, t: Tensor) -> Tensor:
        """The times (batch,) or (1,) as the stretches see them."""
        return torch.clamp(t, min=self.earliest)

    def forward(self, q: Tensor, level: Tensor) -> Tensor:
        h = q[:, self.inputs]
        for k, (linear, condition) in enumerate(zip(self.hidden, self.conditions)):  # noqa: B905 (TorchScript knows no strict=)
            h = torch.nn.functional.silu(linear(h) + self.places[k] + condition(level)[:, None])
        return (h * (1.0 + self.gate(level))[:, None] * self.out).sum((1, 2))
