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

from fpforce.forcefield.transferable.chains import inputs_of_stretches


def inputs_of(beads: int, window: int, pairs: Tensor) -> Tensor:
    """The features (windows, inputs) that a stretch of `window` beads sees (inputs_of_stretches)."""
    return torch.from_numpy(inputs_of_stretches(beads, window, pairs.numpy()))


class WindowLayers(nn.Module):
    """What all stretches have in common: the energy of one is out_w . (h_w (1 + gate(level))), with h_w = silu(W h_w' +
    b + p_w + C level) of the layer below, h_w'.

    inputs: features that a stretch sees. width, layers: of the network. earliest: the time (1,) from which on the noise
    grows for them; 0 for all of it.
    """

    earliest: Tensor

    def __init__(self, inputs: int, width: int, layers: int, earliest: float = 0.0):
        super().__init__()
        self.register_buffer("earliest", torch.tensor([earliest]))
        sizes = [inputs] + [width] * layers
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.conditions = nn.ModuleList(nn.Linear(5, width) for _ in range(layers))
        self.gate = nn.Linear(5, width)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights of an earlier version see all times."""
        state_dict.setdefault(f"{prefix}earliest", torch.zeros_like(self.earliest))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def seen(self, t: Tensor) -> Tensor:
        """The times (batch,) or (1,) as the stretches see them."""
        return torch.clamp(t, min=self.earliest)

    def energies(self, h: Tensor, level: Tensor, places: Tensor, out: Tensor) -> Tensor:
        """(batch, windows), of what they see (batch, windows, inputs), p of each layer (layers, 1 or batch, windows,
        width), and the last layer's weights (1 or batch, windows, width).
        """
        for k, (linear, condition) in enumerate(zip(self.hidden, self.conditions)):  # noqa: B905 (TorchScript knows no strict=)
            h = torch.nn.functional.silu(linear(h) + places[k] + condition(level)[:, None])
        return (h * (1.0 + self.gate(level))[:, None] * out).sum(2)


class Windows(WindowLayers):
    """The sum over the stretches of one molecule.

    inputs (windows, inputs): as `inputs_of` gives them. places (layers, windows, width) and out (windows, width) are
    what each has of its own.
    """

    inputs: Tensor

    def __init__(self, inputs: Tensor, width: int, layers: int, earliest: float = 0.0):
        super().__init__(inputs.shape[1], width, layers, earliest)
        self.register_buffer("inputs", inputs)
        self.places = nn.Parameter(0.1 * torch.randn(layers, len(inputs), width))
        self.out = nn.Parameter(torch.zeros(len(inputs), width))

    def forward(self, q: Tensor, level: Tensor) -> Tensor:
        return self.energies(q[:, self.inputs], level, self.places[:, None], self.out[None]).sum(1)
