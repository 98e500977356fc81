"""Calibration without simulation: the last layer of the energy, fitted to the model's own log likelihood.

In: the experts and frames of the data. Out: a shift of the last layer's weights. Let q be the density that the
probability-flow ODE gives from t = 1 on. For an exact model E(x, t_eval) + ln q(x) is one constant. The losses at small
t leave a constant free in each separated basin. The ODE passes through large t, where the basins are joined. So where
E + ln q differs between basins, the energy is wrong, and least squares over frames of all basins takes the error out of
E = w.h + ... . Within a basin the ODE knows no better than the energy, so the fit is held back from changing forces
(last_layer.py). The ODE can go astray from a frame and be hundreds of kT off. The fit is therefore robust: such a frame
counts for next to nothing.
Source: Song et al., arXiv 2011.13456, section 4.3 (likelihood by the ODE); Hoerl and Kennard, Technometrics 12, 55
(1970) (ridge); Huber, Ann. Math. Statist. 35, 73 (1964) (robust loss); docs/method.md, eq. 27.
"""

import logging
import time
from dataclasses import asdict, dataclass
from threading import Event

import torch
from torch import Tensor

from fpforce.foundation.errors import InputError
from fpforce.training.calibration.last_layer import damped, last_layer_inputs, last_layer_slopes
from fpforce.training.calibration.newton import bearable_part
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.experts import Experts
from fpforce.training.models.moments import NORMAL_MAD
from fpforce.training.sampling.likelihood import log_likelihood

logger = logging.getLogger("fpforce")

# of order 4; the exact mixture of tests/training/calibration/test_likelihood_fit.py keeps them within 0.03 kT between
# basins
ODE_STEPS = 30
BATCH = 100
_MOST_FITS = 50
STRAY = 10.0  # standard deviations, of the frames that are not astray, beyond which a frame counts for less


@dataclass(frozen=True)
class LikelihoodFit:
    """What a fit found: the standard deviation of E + ln q before and after it, in kT.

    frames: how many it had. astray: how many of them the standard deviations leave out. seconds: the time it took.
    """

    frames: int
    astray: int
    spread_before_kt: float
    spread_after_kt: float
    seconds: float

    def summary(self) -> dict:
        return asdict(self)


def log_likelihoods(
    experts: Experts, x: Tensor, t_eval: float, generator: torch.Generator, stop: Event
) -> Tensor | None:
    """ln q (frames,) in float64 of x (frames, beads, 3) at t_eval, in batches.

    None when the event `stop` is set meanwhile.
    """
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


def likelihood_shift(
    experts: Experts,
    energy: DiffusionEnergy,
    x: Tensor,
    data: Tensor | None,
    t_eval: float,
    generator: torch.Generator,
    stop: Event,
) -> tuple[Tensor, LikelihoodFit] | None:
    """Shift (features,) of the energy's last layer towards the log likelihoods of x (frames, beads, 3), and what the
    fit found.

    x covers all conformations. data (frames, beads, 3) are distributed as the training set: the shift is cut until
    enough of them still count after it; with None it is not cut. Both have the noise of t_eval. The result is None when
    the event `stop` is set meanwhile.
    """
    began = time.monotonic()
    logger.info("calibrating the last layer: log likelihoods of %d frames", len(x))
    log_density = log_likelihoods(experts, x, t_eval, generator, stop)
    if log_density is None:
        return None
    t = torch.full((1,), t_eval, dtype=x.dtype)
    with torch.no_grad():
        excess = torch.cat([energy(part, t) for part in x.split(4096)]).double() + log_density
    inputs = last_layer_inputs(energy, x, t_eval)
    shift = smooth_shift(inputs, excess, last_layer_slopes(energy, x, t_eval))
    part = 1.0 if data is None else bearable_part(last_layer_inputs(energy, data, t_eval) @ shift, 1.0)
    if part < 1.0:
        logger.warning(
            "calibration by likelihoods is cut to %.0f%%: a model this far from its own likelihoods (%.1f kT) needs "
            "more "
            "training",
            100 * part,
            float(excess[~astray(excess)].std()),
        )
    shift = part * shift
    after = excess + inputs @ shift
    lost = astray(after)
    if lost.any():
        logger.warning(
            "%d of %d frames have log likelihoods far off the others and count for little: the probability-flow ODE "
            "goes astray "
            "from there",
            int(lost.sum()),
            len(x),
        )
    fit = LikelihoodFit(
        len(x), int(lost.sum()), float(excess[~lost].std()), float(after[~lost].std()), time.monotonic() - began
    )
    logger.info(
        "calibrated by likelihoods: energy and log likelihood %.2f kT apart, %.2f kT before",
        fit.spread_after_kt,
        fit.spread_before_kt,
    )
    return shift, fit


def smooth_shift(inputs: Tensor, excess: Tensor, slopes: Tensor) -> Tensor:
    """Shift (features,) of the weights that makes excess + inputs.shift as even as it can while forces hardly change.

    inputs (frames, features): h. excess (frames,): E + ln q. slopes (features, features): what a change of the forces
    costs (last_layer). The fit is by least squares, but beyond STRAY deviations a frame counts by its distance, no
    longer by its square; the squares are reweighted until the weights agree with the fit.
    Raises InputError where no frame has a finite E + ln q.
    """
    finite = torch.isfinite(excess)
    if not finite.any():
        raise InputError(
            "no frame has a finite log likelihood: the model is not trained far enough to be calibrated by likelihoods"
        )
    inputs, excess = inputs[finite], excess[finite]
    shift, weights = inputs.new_zeros(inputs.shape[1]), torch.zeros_like(excess)
    for _ in range(_MOST_FITS):
        before, weights = weights, robust_weights(excess + inputs @ shift)
        if torch.equal(weights, before):
            break
        share = weights / weights.sum()
        h, y = inputs - share @ inputs, excess - share @ excess
        shift = torch.linalg.solve(damped(h.T @ (share[:, None] * h), slopes), -h.T @ (share * y))
    return shift


def robust_weights(excess: Tensor) -> Tensor:
    """Weights (frames,) of excess (frames,): 1 within STRAY robust standard deviations of the median, the less the
    farther beyond.
    """
    away = (excess - excess.median()).abs()
    limit = STRAY * NORMAL_MAD * away.median()
    return torch.where(away > limit, limit / away.clamp_min(1e-300), torch.ones_like(away))


def astray(excess: Tensor) -> Tensor:
    """Which frames (frames,) have an E + ln q that is not finite or counts for less than a tenth."""
    finite, found = torch.isfinite(excess), torch.ones(len(excess), dtype=torch.bool)
    found[finite] = robust_weights(excess[finite]) < 0.1
    return found
