"""A transferable model made the force field of one molecule, whose basins take their weights from the model's own samples.

In: a transferable checkpoint and a topology. Out: a Checkpoint of that molecule, without any data of it. For a sequence never seen the
energy at t_eval may give basins other weights than samples of the same model, which pass through large t. So samples are drawn, and
stand in for the data in the two stages of calibration (training.calibration): log likelihoods of some, spread evenly over what they
cover, follow the probability-flow ODE, and the last layer is fitted to these; then rounds of simulation move it until the
simulation has the averages of the samples. It is then as right as the samples are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fpforce.errors import InputError
from fpforce.stop_signals import stop_signals
from fpforce.training.calibration import calibratable, calibrate_in_rounds, evenly, likelihood_shift
from fpforce.training.checkpoint import Checkpoint
from fpforce.training.iid import Sampler, SampleSettings
from fpforce.training.recipe import calibration_of
from fpforce.training.recipe_sections import FEWEST_LIKELIHOODS, RunRecipe
from fpforce.training.record import CalibrationRecord

SAMPLES, STEPS = 4096, 100
FEWEST_FINITE = 32


def for_molecule(checkpoint: Checkpoint, topology, likelihood_frames: int, rounds: int, t_eval: float,
                 overrides: Sequence[str] = (), seed: int = 0) -> Checkpoint:
    """The checkpoint of a topology's molecule (Checkpoint.bound_to), calibrated by its own samples.

    likelihood_frames: samples to whose log likelihoods the energy is fitted; 0: none. rounds: of simulation, with the replicas, times and
    temperatures of the recipe's calibration; 0: none. overrides: of these, `calibration.key=value`.
    Raises InputError as bound_to does, for too few frames, a model that calibration cannot move, experts that do not reach
    t = 1, samples that are not finite, and where a replica breaks; KeyboardInterrupt where a signal comes meanwhile.
    """
    if likelihood_frames and likelihood_frames < FEWEST_LIKELIHOODS:
        raise InputError(f"{likelihood_frames} likelihood frames are too few to fit an energy to; give {FEWEST_LIKELIHOODS} at least "
                         "(300 are usual), or 0 for none")
    settings = calibration_of(checkpoint.recipe, overrides).model_copy(update={"rounds": rounds})
    bound = checkpoint.bound_to(topology)
    bound.record.calibration = None
    if not (likelihood_frames or rounds):
        return bound
    energy, generator = calibratable(bound, t_eval), torch.Generator().manual_seed(seed)
    samples = _draw(bound, t_eval, seed)
    shift, fit, done = torch.zeros(energy.network.readout().in_features, dtype=torch.float64), None, True
    with stop_signals() as stop:
        if likelihood_frames:
            found = likelihood_shift(bound.experts(), energy, evenly(samples, likelihood_frames, generator), None, t_eval, generator, stop)
            done, (shift, fit) = found is not None, found or (shift, None)
        bound.record.calibration = CalibrationRecord(t_eval, shift, fit and fit.summary())
        if done and rounds:
            run = RunRecipe(seed=seed, threads=torch.get_num_threads())
            done = calibrate_in_rounds(bound, energy, settings, samples, run, generator, stop, lambda: None)
    if not done:
        raise KeyboardInterrupt("stopped before the calibration was done; nothing was written")
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
