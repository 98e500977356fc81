"""Gradients that are far larger than usual, scaled down before an optimizer learns anything from them.

In: weights with the gradients of a step, and their usual norm. Out: the usual norm after it. The Fokker-Planck term is
the square of a residual that is large at small noise, and of a point there now and then it is a hundred times the mean.
Adam divides by the root of a mean square of gradients over a hundred steps, in all of which such a one would hold every
weight back.
Source: Seetharaman et al., arXiv 2007.14469 (clipping by the norms that were).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

OUTLIER = 2.0  # times the usual norm
MEMORY = 0.99  # of the usual norm, a geometric mean


def scale_down(weights: Iterable[Tensor], usual: float | None, most: float) -> float | None:
    """Scale the gradients of all weights together to a norm of at most OUTLIER times the usual one and at most `most`.

    usual: None where there was none yet. A norm that is zero or not finite tells nothing of what is usual.
    """
    weights = [weight for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
    limit = most if usual is None else min(most, OUTLIER * usual)
    torch.nn.utils.clip_grads_with_norm_(weights, limit, norm)
    size = float(norm)
    if not 0.0 < size < math.inf:
        return usual
    borne = min(size, limit)
    return borne if usual is None else usual**MEMORY * borne ** (1.0 - MEMORY)
