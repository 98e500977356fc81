"""A transferable model made the force field of one molecule, whose basins take their weights from the model's own samples.

In: a transferable checkpoint and a topology. Out: a Checkpoint of that molecule, without any data of it. For a sequence never seen the
energy at t_eval may give basins other weights than samples of the same model, which pass through large t. So samples are drawn,
log likelihoods of some, spread evenly over what they cover, follow the probability-flow ODE, and the last layer is fitted to
these (training.likelihood_fit), as it is for one molecule to those of its data. It is then as right as the samples are.
"""

import torch
from torch import Tensor

from fpforce.errors import InputError
from fpforce.stop_signals import stop_signals
from fpforce.training.calibration import calibratable, evenly, likelihood_shift
from fpforce.training.checkpoint import Checkpoint
from fpforce.training.iid import Sampler, SampleSettings
from fpforce.training.recipe_sections import FEWEST_LIKELIHOODS
from fpforce.training.record import CalibrationRecord

SAMPLES, STEPS = 4096, 100
FEWEST_FINITE = 32


def for_molecule(checkpoint: Checkpoint, topology, likelihood_frames: int, t_eval: float, seed: int = 0) -> Checkpoint:
    """The checkpoint of a topology's molecule (Checkpoint.bound_to), calibrated by `likelihood_frames` of its own samples; 0: not.

    Raises InputError as bound_to does, for too few frames, a model that calibration cannot move, experts that do not reach
    t = 1, and samples that are not finite; KeyboardInterrupt where a signal comes meanwhile.
    """
    if likelihood_frames and likelihood_frames < FEWEST_LIKELIHOODS:
        raise InputError(f"{likelihood_frames} likelihood frames are too few to fit an energy to; give {FEWEST_LIKELIHOODS} at least "
                         "(300 are usual), or 0 for none")
    bound = checkpoint.bound_to(topology)
    bound.record.calibration = None
    if not likelihood_frames:
        return bound
    energy, generator = calibratable(bound, t_eval), torch.Generator().manual_seed(seed)
    samples = _draw(bound, t_eval, seed)
    with stop_signals() as stop:
        found = likelihood_shift(bound.experts(), energy, evenly(samples, likelihood_frames, generator), None, t_eval, generator, stop)
    if found is None:
        raise KeyboardInterrupt("stopped before the log likelihoods were known; nothing was written")
    bound.record.calibration = CalibrationRecord(t_eval, found[0], found[1].summary())
    return bound


def _draw(bound: Checkpoint, t_eval: float, seed: int) -> Tensor:
    """Normalised samples (SAMPLES or less, beads, 3) of the bound model at t_eval."""
    settings = SampleSettings(samples=SAMPLES, steps=STEPS, seed=seed)
    sampler, parts = Sampler(bound.experts(), len(bound.beads), settings, t_eval, torch.zeros(())), []
    for batch in range(-(-SAMPLES // settings.batch_size)):
        *_, (x, _) = sampler.draw(batch, min(SAMPLES, settings.batch_size))
        parts.append(x[torch.isfinite(x).all(dim=(1, 2))])
    samples = torch.cat(parts)
    if len(samples) < FEWEST_FINITE:
        raise InputError(f"{len(samples)} of {SAMPLES} samples of {bound.path} for this molecule are finite: train the model further")
    return samples
