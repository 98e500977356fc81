"""Calibration: the last layer of the trained energy, moved until it has the weights of the basins.

In: a trained checkpoint and its training set. Out: a shift of the last layer's weights, kept in the checkpoint, that
export adds to the force field. Denoising and Fokker-Planck loss see no constant between separated basins, so it is
these that a trained force field has least right. The first of two stages takes them from the model's own likelihoods
(likelihood_fit.py); the second, here, from simulations, until these have the data's averages.

The energy is linear in the last layer's weights w, E = w.h + ..., so that the relative entropy of the data from the
simulated distribution is convex in a shift of w, with the gradient <h>_data - <h>_simulation and the Hessian
cov(h)_simulation. Rounds of simulation, with replicas that go on from one to the next, alternate with Newton's method
on the reweighted frames.
Source: Shell, J. Chem. Phys. 129, 144108 (2008) (relative entropy); Tieleman, ICML 2008 (persistent replicas).
"""

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fpforce.forcefield.load import load
from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import stop_signals
from fpforce.molecule.space import space_of
from fpforce.training.calibration.last_layer import STIFFNESS, damped, last_layer_inputs, last_layer_slopes
from fpforce.training.calibration.likelihood_fit import LikelihoodFit, astray, log_likelihoods, smooth_shift
from fpforce.training.calibration.persistent_replicas import PersistentReplicas
from fpforce.training.checkpoint.checkpoint import Checkpoint, read_checkpoint, replace_record
from fpforce.training.checkpoint.record import CalibrationRecord, TrainingRecord
from fpforce.training.data.dataset import TrainingSet, conformation_weights
from fpforce.training.diffusion import alpha, centred_noise, diffuse
from fpforce.training.export import write_force_field
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.models.experts import Experts
from fpforce.training.recipe.sections import CalibrationRecipe, Recipe, RunRecipe

logger = logging.getLogger("fpforce")

SETTLING = (0.5, 0.5, 0.1)  # part of rounds 1, 2, 3 ... left out, in which the replicas follow the new weights
SLOPE_FRAMES = 1000  # over which the penalty on the change of the forces is averaged
FAR_APART = 0.5  # nats after the last round; a calibration that went well ends below 0.1
FAR_WORSE, FAR_WORSE_NATS = (
    10.0,
    0.5,
)  # times and nats above the best round; those of 64 replicas and 20 ps scatter by 0.1 nats
SMALLEST_SHARE = 0.5  # of the frames that must still count after reweighting; a longer step is cut


@dataclass(frozen=True)
class NewtonStep:
    """A change of the last layer's weights (features,), and what was seen on the way.

    relative_entropy: what a full step would gain by the quadratic estimate, in nats. effective: part of the frames that
    count after the step that was taken.
    """

    change: Tensor
    relative_entropy: float
    effective: float


def newton_step(data_mean: Tensor, simulated: Tensor, slopes: Tensor, shift: Tensor, gain: float) -> NewtonStep:
    """The step towards <h>_simulation = data_mean (features,), from simulated h (frames, features) under `shift`
    (features,).

    slopes (features, features): what holds the shift back (last_layer). gain: part of the way that is gone, less where
    the reweighted frames would be too few.
    """
    h = simulated - simulated.mean(0)
    target = data_mean - simulated.mean(0)
    full = _least_relative_entropy(h, target, slopes, shift)
    gain = _bearable(h @ full, gain)
    hessian = damped(h.T @ h / len(h), slopes)
    gained = 0.5 * float(target @ torch.linalg.solve(hessian, target))
    return NewtonStep(gain * full, gained, _effective(h @ (gain * full)))


def _least_relative_entropy(h: Tensor, target: Tensor, slopes: Tensor, shift: Tensor, steps: int = 20) -> Tensor:
    """The change of the shift with the least relative entropy plus penalty, by damped Newton steps from none; as far as
    the frames reach, and some way where they hardly have the basin that is wanted. <h> = target (features,) but for the
    penalty, under weights exp(-h.change).
    """
    change = torch.zeros_like(target)
    for _ in range(steps):
        weights = torch.softmax(-(h @ change), 0)
        mean = weights @ h
        centred = h - mean
        hessian = damped(centred.T @ (weights[:, None] * centred), slopes)
        step = torch.linalg.solve(hessian, mean - target - STIFFNESS * slopes @ (shift + change))
        size = float((h @ step).std())  # kT
        step = step * min(1.0, 1.0 / max(size, 1e-12))
        while _effective(h @ (change + step)) < 0.5 * SMALLEST_SHARE:
            if change.any():
                return change
            step = 0.5 * step
        change = change + step
    return change


def _bearable(energy_change: Tensor, gain: float) -> float:
    """`gain`, or the lower one up to which enough of the frames still count after reweighting by it."""
    while _effective(gain * energy_change) < SMALLEST_SHARE:
        gain *= 0.8
    return gain


def _effective(energy_change: Tensor) -> float:
    """Kish's effective part of frames with weights exp(-energy_change)."""
    weights = torch.softmax(-energy_change, 0)
    return float(1.0 / (len(weights) * weights.square().sum()))


def is_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    """Whether the settings ask for what the calibration `record` (None: nothing) has not had."""
    return settings.rounds > (0 if record is None else record.done) or _fit_is_wanted(settings, record)


def _fit_is_wanted(settings: CalibrationRecipe, record: CalibrationRecord | None) -> bool:
    fitted = 0 if record is None or record.likelihood is None else record.likelihood["frames"]
    return settings.likelihood_frames not in (0, fitted)


def calibrate(checkpoint_path: Path, recipe: Recipe, training_set: TrainingSet) -> None:
    """Do what recipe.calibration asks for and the checkpoint has not had: the likelihood fit, then rounds one by one.

    Each goes into the checkpoint when it is done, and `recipe` at once. Ctrl-C and SIGTERM stop within seconds, keep
    that and raise KeyboardInterrupt. A fit over another number of frames than that of an earlier one replaces it.
    Raises InputError for a model without a linear last layer, for a likelihood fit after rounds that had none or
    another, for another number of replicas than in earlier rounds, and where a replica breaks.
    """
    settings, checkpoint = recipe.calibration, read_checkpoint(checkpoint_path)
    if not is_wanted(settings, checkpoint.record.calibration):
        return
    t_eval = checkpoint.recipe.diffusion.t_eval
    energy = calibratable(checkpoint, t_eval)
    _refuse_other_rounds(checkpoint, settings)
    generator = torch.Generator().manual_seed(recipe.run.seed)
    checkpoint.record.recipe = recipe.model_dump(mode="json")  # that of the training may have asked for less
    replace_record(checkpoint_path, checkpoint.record)
    if checkpoint.record.calibration is None:
        features = energy.network.readout().in_features
        checkpoint.record.calibration = CalibrationRecord(t_eval, torch.zeros(features, dtype=torch.float64))
    with stop_signals() as stop:
        if _fit_is_wanted(settings, checkpoint.record.calibration):
            _fit_to_likelihoods(checkpoint, energy, settings.likelihood_frames, training_set, generator, stop)
        if settings.rounds > checkpoint.record.calibration.done:
            done = calibrate_in_rounds(
                checkpoint,
                energy,
                settings,
                training_set.frames,
                recipe.run,
                generator,
                stop,
                lambda: replace_record(checkpoint_path, checkpoint.record),
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
    stop,
) -> None:
    """The first stage, on `count` frames drawn evenly over the conformations."""
    record = checkpoint.record.calibration
    x = _noised(evenly(training_set.frames, count, generator), record.t_eval, generator)
    others = training_set.frames[torch.randint(len(training_set.frames), (4096,), generator=generator)]
    found = likelihood_shift(
        checkpoint.experts(), energy, x, _noised(others, record.t_eval, generator), record.t_eval, generator, stop
    )
    if found is None:
        raise KeyboardInterrupt(
            f"stopped before the calibration had its log likelihoods; {checkpoint.path} holds the finished "
            "training: go on with --resume"
        )
    record.shift, fit = found
    record.likelihood = fit.summary()
    replace_record(checkpoint.path, checkpoint.record)


def likelihood_shift(
    experts: Experts,
    energy: DiffusionEnergy,
    x: Tensor,
    data: Tensor | None,
    t_eval: float,
    generator: torch.Generator,
    stop,
) -> tuple[Tensor, LikelihoodFit] | None:
    """Shift (features,) of the energy's last layer towards the log likelihoods of x (frames, beads, 3), and what the
    fit found.

    x covers all conformations; data (frames, beads, 3) are distributed as the training set: over these the change of
    the energy is held back where too few would count after it; None: not held back. Both have the noise of t_eval. None
    if the event `stop` is set meanwhile.
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
    part = 1.0 if data is None else _bearable(last_layer_inputs(energy, data, t_eval) @ shift, 1.0)
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


def calibrate_in_rounds(
    checkpoint: Checkpoint,
    energy: DiffusionEnergy,
    settings: CalibrationRecipe,
    data: Tensor,
    run: RunRecipe,
    generator: torch.Generator,
    stop,
    keep: Callable[[], None],
) -> bool:
    """The second stage: rounds of simulation, each followed by a Newton step towards the averages of data (frames,
    beads, 3).

    data: normalised; the model's own samples have the noise of t_eval, and training frames get it here. run: threads
    and seed. keep: called after each round, when the checkpoint's record has it. False if the event `stop` is set
    meanwhile, in a round that is then lost.
    """
    record = checkpoint.record.calibration
    record.settings, t_eval = settings.model_dump(mode="json"), record.t_eval

    def at_t_eval(frames: Tensor) -> Tensor:
        return frames if record.samples else _noised(frames, t_eval, generator)

    slopes = last_layer_slopes(energy, at_t_eval(evenly(data, SLOPE_FRAMES, generator)), t_eval)
    data_mean = last_layer_inputs(energy, at_t_eval(data), t_eval).mean(0)
    if record.positions_nm is None:
        record.positions_nm = _start_nm(checkpoint.record, data, settings, generator)
    logger.info(
        "calibrating the last layer in rounds of simulation, up to %d: %g ps of %d replicas at %d temperature%s",
        settings.rounds,
        settings.picoseconds,
        settings.replicas,
        settings.rungs,
        "" if settings.rungs == 1 else "s",
    )
    with tempfile.TemporaryDirectory() as folder:
        while record.done < settings.rounds:
            began, model = time.monotonic(), Path(folder) / "model.pt"
            write_force_field(checkpoint, model, t_eval, overwrite=True)
            replicas = PersistentReplicas(
                load(model).bound(), record.positions_nm.numpy(), settings, run.threads, seed=run.seed + record.done
            )
            frames_nm = replicas.simulate(stop)
            if frames_nm is None:
                return False
            left_out = SETTLING[min(record.done, len(SETTLING) - 1)]
            settled = torch.from_numpy(frames_nm[int(left_out * len(frames_nm)) :]).flatten(0, 1)
            x = space_of(settled.shape[1]).project(settled - torch.tensor(checkpoint.record.origin_nm))
            x = x * float(alpha(torch.tensor(t_eval, dtype=torch.float64))) / checkpoint.record.scale_nm
            inputs = last_layer_inputs(energy, x.to(data.dtype), t_eval)
            step = newton_step(data_mean, inputs, slopes, record.shift, gain=1.0 / max(record.done, 1))
            _take(record, step, time.monotonic() - began, torch.from_numpy(replicas.positions_nm), settings)
            keep()
    if record.relative_entropy[-1] > FAR_APART:
        logger.warning(
            "the calibration is not done: %s and simulation are %.3g nats apart in its last round; give more rounds, "
            "more "
            "than %d replicas or longer ones than %g ps, or train further",
            record.target,
            record.relative_entropy[-1],
            settings.replicas,
            settings.picoseconds,
        )
    return True


def _take(
    record: CalibrationRecord, step: NewtonStep, seconds: float, positions_nm: Tensor, settings: CalibrationRecipe
) -> None:
    """End a round: make the step, or go back to the best round where its simulation was far worse than that one's."""
    nats, best = step.relative_entropy, record.best
    if best is not None and nats > max(FAR_WORSE * best["relative_entropy"], best["relative_entropy"] + FAR_WORSE_NATS):
        record.undo(nats, seconds)
        logger.warning(
            "calibration round %d of %d: %s and simulation %.3g nats apart, %.3g in round %d, to which it goes back: "
            "simulate more than %d replicas or longer than %g ps in a round, or train further before calibrating",
            record.done,
            settings.rounds,
            record.target,
            nats,
            best["relative_entropy"],
            best["round"],
            settings.replicas,
            settings.picoseconds,
        )
        return
    record.add(step.change, nats, step.effective, seconds, positions_nm)
    logger.info(
        "calibration round %d of %d: %s and simulation %.4f nats apart, %.0f%% of the frames count after the step",
        record.done,
        settings.rounds,
        record.target,
        nats,
        100 * step.effective,
    )


def _refuse_other_rounds(checkpoint: Checkpoint, settings: CalibrationRecipe) -> None:
    """Raise InputError where rounds that are done do not go with what the settings ask for."""
    record = checkpoint.record.calibration
    if record is None or not record.done:
        return
    if _fit_is_wanted(settings, record):
        fitted = record.likelihood["frames"] if record.likelihood else 0
        raise InputError(
            f"{checkpoint.path} has had {record.done} rounds of calibration, and calibration.likelihood_frames = "
            f"{settings.likelihood_frames} comes before them; set it to {fitted} as it was then, or train anew"
        )
    rungs, replicas = record.positions_nm.shape[:2]
    top_k = {"top_temperature_k": record.settings.get("top_temperature_k")} if rungs > 1 else {}
    for name, had in ({"replicas": replicas, "rungs": rungs} | top_k).items():
        if getattr(settings, name) != had:
            raise InputError(
                f"{checkpoint.path} has had {record.done} rounds of calibration with calibration.{name} = "
                f"{had or 'null'}, "
                f"which go on; set it back to that from {getattr(settings, name) or 'null'}"
            )


def refuse_uncalibratable(model: DiffusionEnergy | DiffusionScore, where: str) -> None:
    """Raise InputError for a model that calibration cannot move; `where`: what to call it."""
    remedy = "leave calibration.rounds and calibration.likelihood_frames at 0"
    if not isinstance(model, DiffusionEnergy):
        raise InputError(
            f"{where}: calibration moves an energy, and this is a score; make it conservative, or {remedy}"
        )
    if model.network.readout() is None:
        network = getattr(model.network, "module", model.network)
        raise InputError(
            f"{where}: the network {type(network).__name__} names no linear last layer (readout) to calibrate; {remedy}"
        )


def calibratable(checkpoint: Checkpoint, t_eval: float) -> DiffusionEnergy:
    """The energy that becomes the force field at t_eval; InputError where calibration cannot move it."""
    number = checkpoint.covering(t_eval)
    model = checkpoint.model(number)
    refuse_uncalibratable(model, f"{checkpoint.path}, expert over {checkpoint.plans[number]}")
    return model


def evenly(frames: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the frames (frames, beads, 3), drawn evenly over the conformations."""
    return frames[torch.multinomial(conformation_weights(frames, 1.0), count, replacement=True, generator=generator)]


def _noised(frames: Tensor, t_eval: float, generator: torch.Generator) -> Tensor:
    """Normalised frames (frames, beads, 3) with the noise of t_eval."""
    return diffuse(frames, torch.full((len(frames),), t_eval), centred_noise(frames.shape, generator, frames))


def _start_nm(record: TrainingRecord, data: Tensor, settings: CalibrationRecipe, generator: torch.Generator) -> Tensor:
    """Positions (rungs, replicas, beads, 3) of frames drawn from the data, so that every basin holds its share."""
    chosen = torch.randint(len(data), (settings.rungs * settings.replicas,), generator=generator)
    positions_nm = data[chosen].double() * record.scale_nm + torch.tensor(record.origin_nm)
    return positions_nm.unflatten(0, (settings.rungs, settings.replicas))
