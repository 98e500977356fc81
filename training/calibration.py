"""Calibration: the last layer of the trained energy, moved until simulations have the data's averages.

In: a trained checkpoint and its training set. Out: a shift of the last layer's weights, kept in the checkpoint, that export
adds to the force field. Denoising and Fokker-Planck loss see no constant between separated basins, so it is these that a
trained force field has least right; a simulation sees little else.

The energy is linear in the last layer's weights w, E = w.h + ..., so that the relative entropy of the data from the simulated
distribution is convex in a shift of w, with the gradient <h>_data - <h>_simulation and the Hessian cov(h)_simulation. Rounds
of simulation, with replicas that go on from one to the next, alternate with Newton's method on the reweighted frames.
Source: Shell, J. Chem. Phys. 129, 144108 (2008) (relative entropy); Tieleman, ICML 2008 (persistent replicas).
"""

import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fpforce.artifact import load
from fpforce.errors import InputError
from fpforce.space import space_of
from fpforce.stop_signals import stop_signals
from fpforce.training.checkpoint import CalibrationRecord, Checkpoint, read_checkpoint, replace_record
from fpforce.training.dataset import TrainingSet
from fpforce.training.diffusion import alpha, centred_noise, diffuse
from fpforce.training.export import write_force_field
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.persistent_replicas import PersistentReplicas
from fpforce.training.recipe import Recipe

logger = logging.getLogger("fpforce")

SETTLING = (0.5, 0.5, 0.1)  # part of rounds 1, 2, 3 ... left out, in which the replicas follow the new weights
KEPT_VARIANCE = 0.999  # of the last layer's inputs: beyond lie directions in which next to nothing moves
FRAMES_PER_DIRECTION = 50  # at least, so that a direction's variance is known
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


def last_layer_inputs(energy: DiffusionEnergy, x: Tensor, t_eval: float) -> Tensor:
    """h (frames, features) with E = w.h + terms without w, for positions x (frames, beads, 3); in float64."""
    layer, parts = energy.network.readout(), []
    handle = layer.register_forward_pre_hook(lambda module, inputs: parts.append(inputs[0].double()))
    try:
        t = torch.full((1,), t_eval, dtype=x.dtype)
        with torch.no_grad():
            for part in x.split(4096):
                energy(part, t)
    finally:
        handle.remove()
    return energy.network.readout_factor(t_eval) * torch.cat(parts)


def newton_step(data_mean: Tensor, simulated: Tensor, gain: float) -> NewtonStep:
    """The step towards <h>_simulation = data_mean (features,), from simulated h (frames, features).

    gain: part of the way that is gone, less where the reweighted frames would be too few.
    """
    mean = simulated.mean(0)
    variances, directions = torch.linalg.eigh(torch.atleast_2d(torch.cov(simulated.T)))
    variances, directions = variances.flip(0), directions.flip(1)
    needed = int((variances.cumsum(0) < KEPT_VARIANCE * variances.sum()).sum()) + 1
    needed = min(needed, max(1, len(simulated) // FRAMES_PER_DIRECTION))
    whitening = directions[:, :needed] / variances[:needed].sqrt()
    z, target = (simulated - mean) @ whitening, (data_mean - mean) @ whitening
    full = _least_relative_entropy(z, target)
    while _effective(z @ (gain * full)) < SMALLEST_SHARE:
        gain *= 0.8
    return NewtonStep(whitening @ (gain * full), 0.5 * float(target.square().sum()), _effective(z @ (gain * full)))


def _least_relative_entropy(z: Tensor, target: Tensor, steps: int = 20) -> Tensor:
    """zeta with <z> = target under weights exp(-z.zeta), by damped Newton steps from zero; as far as the frames reach."""
    zeta = torch.zeros_like(target)
    for _ in range(steps):
        weights = torch.softmax(-(z @ zeta), 0)
        mean = weights @ z
        centred = z - mean
        hessian = centred.T @ (weights[:, None] * centred)
        hessian += 1e-3 * torch.eye(len(target), dtype=z.dtype)
        change = torch.linalg.solve(hessian, mean - target)
        change = change * min(1.0, 1.0 / float(change.norm().clamp_min(1e-12)))
        if _effective(z @ (zeta + change)) < 0.5 * SMALLEST_SHARE:
            break
        zeta = zeta + change
    return zeta


def _effective(energy_change: Tensor) -> float:
    """Kish's effective part of frames with weights exp(-energy_change)."""
    weights = torch.softmax(-energy_change, 0)
    return float(1.0 / (len(weights) * weights.square().sum()))


def calibrate(checkpoint_path: Path, recipe: Recipe, training_set: TrainingSet) -> None:
    """Do the rounds that recipe.calibration asks for and that the checkpoint has not had; put them into it one by one.

    Ctrl-C and SIGTERM stop within a second, keep the finished rounds and raise KeyboardInterrupt. Raises InputError for a
    model without a linear last layer, and where a replica breaks.
    """
    settings = recipe.calibration
    checkpoint = read_checkpoint(checkpoint_path)
    t_eval = checkpoint.recipe.diffusion.t_eval
    energy = _calibratable(checkpoint)
    generator = torch.Generator().manual_seed(recipe.run.seed)
    t = torch.full((len(training_set.frames),), t_eval)
    noise = centred_noise(training_set.frames.shape, generator, training_set.frames)
    data_mean = last_layer_inputs(energy, diffuse(training_set.frames, t, noise), t_eval).mean(0)
    record = checkpoint.record.calibration or _begin(training_set, t_eval, len(data_mean), settings.replicas, generator)
    if record.done >= settings.rounds:
        return
    logger.info("calibrating the last layer: %d rounds of %g ps with %d replicas", settings.rounds, settings.picoseconds,
                len(record.positions_nm))
    checkpoint.record.calibration = record
    with stop_signals() as stop, tempfile.TemporaryDirectory() as folder:
        while record.done < settings.rounds:
            began, model = time.monotonic(), Path(folder) / "model.pt"
            write_force_field(checkpoint, model, t_eval, overwrite=True)
            replicas = PersistentReplicas(load(model), record.positions_nm.numpy(), settings, recipe.run.threads,
                                          seed=recipe.run.seed + record.done)
            frames_nm = replicas.simulate(stop)
            if frames_nm is None:
                raise KeyboardInterrupt(f"stopped in round {record.done + 1} of the calibration; {checkpoint_path} holds the "
                                        "rounds before: go on with --resume")
            left_out = SETTLING[min(record.done, len(SETTLING) - 1)]
            settled = torch.from_numpy(frames_nm[int(left_out * len(frames_nm)) :]).flatten(0, 1)
            x = space_of(settled.shape[1]).project(settled - torch.tensor(checkpoint.record.origin_nm))
            x = x * float(alpha(torch.tensor(t_eval, dtype=torch.float64))) / checkpoint.record.scale_nm
            inputs = last_layer_inputs(energy, x.to(training_set.frames.dtype), t_eval)
            step = newton_step(data_mean, inputs, gain=1.0 / max(record.done, 1))
            record.add(step.change, step.relative_entropy, step.effective, time.monotonic() - began,
                       torch.from_numpy(frames_nm[-1]))
            replace_record(checkpoint_path, checkpoint.record)
            logger.info("calibration round %d of %d: data and simulation %.4f nats apart, %.0f%% of the frames count after "
                        "the step", record.done, settings.rounds, step.relative_entropy, 100 * step.effective)


def _calibratable(checkpoint: Checkpoint) -> DiffusionEnergy:
    number = checkpoint.covering(checkpoint.recipe.diffusion.t_eval)
    model = checkpoint.model(number)
    if not isinstance(model, DiffusionEnergy):
        raise InputError(f"{checkpoint.path}: calibration moves an energy, and the expert over {checkpoint.plans[number]} is a "
                         "score; make it conservative, or leave calibration.rounds at 0")
    if model.network.readout() is None:
        raise InputError(f"{checkpoint.path}: the network {type(model.network).__name__} names no linear last layer "
                         "(readout) to calibrate; leave calibration.rounds at 0")
    return model


def _begin(training_set: TrainingSet, t_eval: float, features: int, replicas: int,
           generator: torch.Generator) -> CalibrationRecord:
    """Replicas that start at frames drawn from the data, so that every basin holds its share."""
    chosen = torch.randint(len(training_set.frames), (replicas,), generator=generator)
    positions_nm = training_set.frames[chosen].double() * training_set.scale_nm + torch.tensor(training_set.origin_nm)
    return CalibrationRecord(t_eval, torch.zeros(features, dtype=torch.float64), positions_nm)
