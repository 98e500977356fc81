"""Calibration of a trained checkpoint: the last layer of its energy, moved until the basins have their weights.

In: a trained checkpoint and its training set. Out: a shift of the last layer's weights, kept in the checkpoint, that
export adds to the force field. The denoising and Fokker-Planck losses do not see a constant between separated basins,
so a trained force field is least right in these constants. The first stage takes them from the model's own likelihoods
(likelihood_fit.py). The second takes them from simulations (rounds.py).
"""

from pathlib import Path
from threading import Event

import torch

from fpforce.foundation.signals import stop_signals
from fpforce.training.calibration.last_layer import last_layer
from fpforce.training.calibration.likelihood_fit import likelihood_shift
from fpforce.training.calibration.policy import calibratable, fit_is_wanted, is_wanted, refuse_other_rounds
from fpforce.training.calibration.rounds import calibrate_in_rounds
from fpforce.training.checkpoint.checkpoint import Checkpoint, read_checkpoint, replace_record
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.dataset import TrainingSet, noised
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.recipe.sections import Recipe


def calibrate(checkpoint_path: Path, recipe: Recipe, training_set: TrainingSet) -> None:
    """Run the stages that recipe.calibration asks for and the checkpoint lacks: the likelihood fit, then the rounds.

    `recipe` goes into the checkpoint at once, the fit and each round when they are done. Ctrl-C and SIGTERM stop within
    seconds, keep what is done and raise KeyboardInterrupt. A fit over another number of frames replaces an earlier one.
    Raises InputError for a model without a linear last layer, for a likelihood fit after rounds that had none or
    another, for another number of replicas than in earlier rounds, and for a replica that breaks.
    """
    settings, checkpoint = recipe.calibration, read_checkpoint(checkpoint_path)
    assert isinstance(checkpoint, Checkpoint)  # the recipe refuses a calibration of many molecules
    if not is_wanted(settings, checkpoint.record.calibration):
        return
    t_eval = checkpoint.recipe.diffusion.t_eval
    energy = calibratable(checkpoint, t_eval)
    refuse_other_rounds(checkpoint, settings)
    generator = torch.Generator().manual_seed(recipe.run.seed)
    checkpoint.record.recipe = recipe.model_dump(mode="json")  # that of the training may have asked for less
    replace_record(checkpoint_path, checkpoint.record)
    if checkpoint.record.calibration is None:
        features = last_layer(energy).in_features
        checkpoint.record.calibration = CalibrationRecord(t_eval, torch.zeros(features, dtype=torch.float64))
    with stop_signals() as stop:
        if fit_is_wanted(settings, checkpoint.record.calibration):
            _fit_to_likelihoods(checkpoint, energy, settings.likelihood_frames, training_set, generator, stop)
        if (settings.rounds or 0) > checkpoint.record.calibration.done:
            done = calibrate_in_rounds(
                checkpoint,
                energy,
                settings,
                training_set.by_weight,
                recipe.run,
                generator,
                stop,
                lambda: replace_record(checkpoint_path, checkpoint.record),
                training_set.held_out,
            )
            if not done:
                raise KeyboardInterrupt(
                    f"stopped in round {checkpoint.record.calibration.done + 1} of the calibration; "
                    f"{checkpoint_path} holds the rounds before: go on with --resume"
                )


def _fit_to_likelihoods(
    checkpoint: Checkpoint,
    energy: DiffusionEnergy,
    count: int,
    training_set: TrainingSet,
    generator: torch.Generator,
    stop: Event,
) -> None:
    """The first stage, on `count` frames drawn evenly over the conformations."""
    record = checkpoint.record.calibration
    assert record is not None
    x = noised(training_set.evenly(count, generator), record.t_eval, generator)
    others = training_set.by_weight[torch.randint(len(training_set.frames), (4096,), generator=generator)]
    found = likelihood_shift(
        checkpoint.experts(), energy, x, noised(others, record.t_eval, generator), record.t_eval, generator, stop
    )
    if found is None:
        raise KeyboardInterrupt(
            f"stopped before the calibration had its log likelihoods; {checkpoint.path} holds the finished "
            "training: go on with --resume"
        )
    record.shift, fit = found
    record.likelihood = fit.summary()
    replace_record(checkpoint.path, checkpoint.record)
