"""Gradients of many functions, each of a few neighbouring beads.

In: functions (batch, functions) of positions (batch, beads, 3). Out: a gradient for each.
"""

import torch
from torch import Tensor


def local_gradients(h: Tensor, x: Tensor, beads: Tensor) -> Tensor:
    """The same, where h_a is a function of the beads from beads[a, 0] to beads[a, 1] - 1 alone: features that share no
    bead are differentiated together.
    """
    together: list[list[int]] = []
    ends: list[int] = []
    for a in beads[:, 0].argsort(stable=True).tolist():
        first, end = beads[a].tolist()
        found = next((k for k, last in enumerate(ends) if last <= first), None)
        if found is None:
            together.append([a])
            ends.append(end)
        else:
            together[found].append(a)
            ends[found] = end
    gradients = x.new_zeros(len(beads), *x.shape)
    for group in together:
        slope = torch.autograd.grad(h[:, group].sum(), x, retain_graph=True)[0]
        for a in group:
            first, end = beads[a].tolist()
            gradients[a, :, first:end] = slope[:, first:end]
    return gradients
