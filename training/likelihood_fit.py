"""Calibration without simulation: the last layer of the energy, fitted to the model's own log likelihood.

In: the experts and frames of the data. Out: a shift of the last layer's weights. For an exact model E(x, t_eval) + ln q(x), with
q the density that the probability-flow ODE gives from t = 1 on, is one constant. The losses at small t leave a constant
free in each separated basin, whereas the ODE passes through large t, where the basins are joined: so the difference between
basins of E + ln q is the energy's error, and least squares over frames of all basins takes it out of E = w.h + ... . Within
basins the ODE knows no better than the energy, so the fit is held back from changing forces (last_layer.py).
Source: Song et al., arXiv 2011.13456, section 4.3 (likelihood by the ODE); Hoerl and Kennard, Technometrics 12, 55 (1970) (ridge).
"""

import logging
import time
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fpforce.training.last_layer import damped
from fpforce.training.likelihood import log_likelihood
from fpforce.training.models.experts import Experts

logger = logging.getLogger("fpforce")

ODE_STEPS = 30  # of order 4; the exact mixture of tests/training/test_likelihood_fit.py keeps them within 0.03 kT between basins
BATCH = 100


@dataclass(frozen=True)
class LikelihoodFit:
    """What a fit found: standard deviation over `frames` frames of E + ln q before and after it, in kT; seconds it took."""

    frames: int
    spread_before_kt: float
    spread_after_kt: float
    seconds: float

    def summary(self) -> dict:
        return asdict(self)


def log_likelihoods(experts: Experts, x: Tensor, t_eval: float, generator: torch.Generator, stop) -> Tensor | None:
    """ln q (frames,) in float64 of x (frames, beads, 3) at t_eval, in batches; None if the event `stop` is set meanwhile."""
    parts, began = [], time.monotonic()
    last_line = began
    for part in x.split(BATCH):
        if stop.is_set():
            return None
        parts.append(log_likelihood(experts, part, t_eval, ODE_STEPS, generator).double())
        now, done = time.monotonic(), len(parts) * BATCH / len(x)
        if done < 1.0 and now - last_line > 30.0:
            last_line = now
            logger.info("log likelihoods: %.0f%% done, %.1f min left", 100 * done, (now - began) * (1 / done - 1) / 60)
    return torch.cat(parts)


def smooth_shift(inputs: Tensor, excess: Tensor, slopes: Tensor) -> Tensor:
    """Shift (features,) of the weights for which excess + inputs.shift is the most even while forces stay what they are, from
    h (frames, features), E + ln q (frames,) and what the change of the forces costs (features, features) (last_layer).
    """
    h, y = inputs - inputs.mean(0), excess - excess.mean()
    return torch.linalg.solve(damped(h.T @ h / len(h), slopes), -(h.T @ y) / len(h))
