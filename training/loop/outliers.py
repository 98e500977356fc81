"""Gradients that are far larger than usual, scaled down before an optimizer learns anything from them.

In: weights with the gradients of a step, and their usual norm. Out: the usual norm after it. The Fokker-Planck term is
the square of a residual that is large at small noise, and of a point there now and then it is far larger than the mean.
Adam divides by the root of a mean square of gradients over a hundred steps, in all of which such a one would hold every
weight back.
Source: Seetharaman et al., arXiv 2007.14469 (clipping by the norms that were).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

MEMORY = 0.99  # of the usual norm, a geometric mean; less at the beginning, when norms grow from those of no energy


def scale_down(
    weights: Iterable[Tensor], usual: float | None, step: int, most: float, outlier: float | None
) -> float | None:
    """Scale the gradients of all weights together to a norm of at most `outlier` times the usual one, and `most`.

    usual, outlier: None where there is none. step: how many steps of the training there were. A norm that is zero or
    not finite tells nothing of what is usual.
    """
    weights = [weight for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
    limit = most if usual is None or outlier is None else min(most, outlier * usual)
    torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
    size = float(norm)
    if not 0.0 < size < math.inf:
        return usual
    borne = min(size, limit)
    memory = min(MEMORY, (1 + step) / (10 + step))
    return borne if usual is None else usual**memory * borne ** (1.0 - memory)
