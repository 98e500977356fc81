"""Calibration of a trained checkpoint: what is linear in its energy, moved to where data and simulations want it.

In: a trained checkpoint and its training set. Out: series at each noise level, and a shift of the last layer's weights
and of the series at t_eval, kept in the checkpoint. The first stage is least squares on the denoising loss, at all t
(denoising_fit.py). The denoising and Fokker-Planck losses do not see a constant between separated basins, so a trained
force field is least right in these constants. The second stage takes them from the model's own likelihoods
(likelihood_fit.py), the third from simulations (rounds.py). Export adds the shift to the force field.
"""

import logging
from dataclasses import replace
from pathlib import Path
from threading import Event

import torch

from fpforce.foundation.seeds import seeds
from fpforce.foundation.signals import stop_signals
from fpforce.training.calibration.denoising_fit import END, denoising_fit, refusal
from fpforce.training.calibration.last_layer import last_layer
from fpforce.training.calibration.likelihood_fit import likelihood_shift
from fpforce.training.calibration.policy import (
    calibratable,
    fit_is_wanted,
    is_wanted,
    levels_are_wanted,
    refuse_other_rounds,
    rounds_are_wanted,
)
from fpforce.training.calibration.rounds import calibrate_in_rounds
from fpforce.training.checkpoint.checkpoint import Checkpoint, read_checkpoint, replace_record
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.dataset import TrainingSet, noised
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.recipe.sections import Recipe

logger = logging.getLogger("fpforce")


def calibrate(checkpoint_path: Path, recipe: Recipe, training_set: TrainingSet) -> None:
    """Run the stages that recipe.calibration asks for and the checkpoint lacks: the fit to the denoising loss, the one
    to likelihoods, then the rounds.

    `recipe` goes into the checkpoint at once, each fit and each round when they are done. Ctrl-C and SIGTERM stop
    within seconds, keep what is done and raise KeyboardInterrupt. A likelihood fit over another number of frames
    replaces an earlier one. Raises InputError for a model without a linear last layer, for a likelihood fit after
    rounds that had none or another, for another number of replicas than in earlier rounds, and for a replica that
    breaks.
    """
    settings, checkpoint = recipe.calibration, read_checkpoint(checkpoint_path)
    assert isinstance(checkpoint, Checkpoint)  # the recipe refuses a calibration of many molecules
    if not is_wanted(settings, checkpoint.record.calibration):
        return
    t_eval = checkpoint.recipe.diffusion.evaluated_at
    energy = calibratable(checkpoint, t_eval)
    refuse_other_rounds(checkpoint, settings)
    generator = torch.Generator().manual_seed(recipe.run.seed)
    checkpoint.record.recipe = recipe.model_dump(mode="json")  # that of the training may have asked for less
    replace_record(checkpoint_path, checkpoint.record)
    if checkpoint.record.calibration is None:
        features = last_layer(energy).in_features
        checkpoint.record.calibration = CalibrationRecord(t_eval, torch.zeros(features, dtype=torch.float64))
    with stop_signals() as stop:
        if levels_are_wanted(settings, checkpoint.record.calibration):
            _fit_to_denoising(checkpoint, training_set, recipe.run.seed, stop)
            energy = calibratable(checkpoint, t_eval)
        if fit_is_wanted(settings, checkpoint.record.calibration):
            _fit_to_likelihoods(checkpoint, energy, settings.likelihood_frames, training_set, generator, stop)
        if rounds_are_wanted(settings, checkpoint.record.calibration):
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


def _fit_to_denoising(checkpoint: Checkpoint, training_set: TrainingSet, seed: int, stop: Event) -> None:
    """The first stage, of every trained energy that has series."""
    record, made = checkpoint.record.calibration, checkpoint.record.unfinished_fit
    assert record is not None
    for number, (plan, expert) in enumerate(zip(checkpoint.plans, checkpoint.record.experts, strict=True)):
        energy = checkpoint.model(number)
        if not expert.steps or not isinstance(energy, DiffusionEnergy) or plan.t_min >= END:
            continue
        if number in made:
            continue
        why_not = refusal(energy, training_set)
        if why_not:
            logger.info("no denoising fit: %s", why_not)
            continue
        generator = torch.Generator().manual_seed(seeds(seed, "denoising fit", number)[0])
        logger.info(
            "fitting series of dihedrals and angles to the denoising loss at each noise level, expert over %s", plan
        )
        try:
            weights, fit = denoising_fit(energy, plan, training_set, generator, stop.is_set)
        except KeyboardInterrupt:
            also = f" and the fits of {len(made)} of {len(checkpoint.plans)} experts" if made else ""
            raise KeyboardInterrupt(
                f"stopped within the denoising fit; {checkpoint.path} holds the finished training{also}: go on with "
                "--resume"
            ) from None
        logger.info("%s", fit.in_words())
        made[number] = (weights, fit.summary())
        replace_record(checkpoint.path, replace(checkpoint.record, calibration=None))
    record.levels = {number: weights for number, (weights, _) in made.items()} or None
    record.denoising = {number: summary for number, (_, summary) in made.items()}
    checkpoint.record.unfinished_fit = {}
    replace_record(checkpoint.path, checkpoint.record)


def _fit_to_likelihoods(
    checkpoint: Checkpoint,
    energy: DiffusionEnergy,
    count: int,
    training_set: TrainingSet,
    generator: torch.Generator,
    stop: Event,
) -> None:
    """The second stage, on `count` frames drawn evenly over the conformations."""
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
