"""Makes a transferable model the force field of one molecule, calibrated by the model's own samples of it.

In: a transferable checkpoint and a topology. Out: a Checkpoint of that molecule; no data of it are needed. For a
sequence that was never seen, the energy at t_eval may weigh the basins otherwise than samples of the same model, which
pass through large t. So samples are drawn, and take the place of the data in both stages of calibration
(training.calibration.stages). The last layer is fitted to the log likelihoods of some samples, spread evenly over what
they cover. Then rounds of simulation move it until the simulation has the averages of the samples. Its basin weights
are then no more accurate than the samples'.
"""

import logging
from collections.abc import Sequence
from threading import Event

import torch
from torch import Tensor

from fpforce.distributed.parts import Where
from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import stop_signals
from fpforce.simulation.replicas import BondLimits
from fpforce.training.calibration.last_layer import last_layer
from fpforce.training.calibration.likelihood_fit import likelihood_shift
from fpforce.training.calibration.policy import calibratable
from fpforce.training.calibration.rounds import calibrate_in_rounds
from fpforce.training.checkpoint.checkpoint import AnyCheckpoint, Checkpoint, of_one_molecule
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.dataset import CHECK_FRAMES, evenly
from fpforce.training.recipe.read import calibration_of
from fpforce.training.recipe.sections import FEWEST_LIKELIHOODS, RunRecipe
from fpforce.training.sampling.sampler import Sampler, SampleSettings

logger = logging.getLogger("fpforce")

SAMPLES, STEPS = 4096, 100
FEWEST_FINITE = 32


def for_molecule(
    checkpoint: AnyCheckpoint,
    topology: object,
    likelihood_frames: int,
    rounds: int,
    t_eval: float,
    overrides: Sequence[str] = (),
    seed: int = 0,
    where: Where | None = None,
) -> Checkpoint:
    """The checkpoint of a topology's molecule (TransferableCheckpoint.bind), calibrated by its own samples.

    likelihood_frames: number of samples to whose log likelihoods the energy is fitted; 0 leaves this stage out. rounds:
    number of rounds of simulation; 0 leaves them out. They have the replicas, times and temperatures of the recipe's
    calibration, which overrides `calibration.key=value` change. where: who simulates; None for this process.
    Raises InputError as binding does, for too few frames, for a model that calibration cannot move, for experts that do
    not reach t = 1, for samples that are not finite, and for a replica that breaks. Raises KeyboardInterrupt when a
    signal comes meanwhile.
    """
    if likelihood_frames and likelihood_frames < FEWEST_LIKELIHOODS:
        raise InputError(
            f"{likelihood_frames} likelihood frames are too few to fit an energy to; give {FEWEST_LIKELIHOODS} at "
            f"least "
            "(300 are usual), or 0 for none"
        )
    if rounds < 0:
        raise InputError(f"{rounds} rounds of calibration; give 0 or more")
    settings = calibration_of(checkpoint.recipe, overrides).model_copy(
        update={"rounds": rounds, "most_rounds": None, "likelihood_frames": likelihood_frames}
    )
    bound = of_one_molecule(checkpoint, topology)
    bound.record.calibration = None
    _require_sound_frame(bound, topology)
    if not (likelihood_frames or rounds):
        return bound
    energy, generator = calibratable(bound, t_eval), torch.Generator().manual_seed(seed)
    stopped = KeyboardInterrupt("stopped before the calibration was done; nothing was written")
    with stop_signals() as stop:
        samples = _draw(bound, t_eval, seed, stop)
        if samples is None:
            raise stopped
        none = torch.zeros(last_layer(energy).in_features, dtype=torch.float64)
        bound.record.calibration = record = CalibrationRecord(t_eval, none, samples=len(samples))
        if likelihood_frames:
            found = likelihood_shift(
                bound.experts(), energy, evenly(samples, likelihood_frames, generator), None, t_eval, generator, stop
            )
            if found is None:
                raise stopped
            record.shift, record.likelihood = found[0], found[1].summary()
        normalisation, checked = bound.record.normalisation, evenly(samples, CHECK_FRAMES, generator)
        bound.record.check_frames = normalisation.from_nm(normalisation.to_nm(checked, t_eval))
        workers, scheduler = (None, None) if where is None else (where.workers, where.scheduler)
        threads = None if where is not None and where.many else torch.get_num_threads()
        run = RunRecipe(seed=seed, threads=threads, workers=workers, scheduler=scheduler)
        if rounds and not calibrate_in_rounds(bound, energy, settings, samples, run, generator, stop, lambda: None):
            raise stopped
    return bound


def _require_sound_frame(bound: Checkpoint, topology: object) -> None:
    """Raise InputError where the topology has coordinates, and no simulation could start from them."""
    frame_nm = bound.record.start_positions_nm.double().numpy()
    problem = (
        BondLimits.of_bonds(bound.beads, bound.record.bond_lengths_nm).broken(frame_nm[None])
        if frame_nm.any()
        else None
    )
    if problem:
        raise InputError(f"frame of {topology}: {problem[0]}; check the frame, and that its unit is nm")


def _draw(bound: Checkpoint, t_eval: float, seed: int, stop: Event) -> Tensor | None:
    """Normalised samples of the bound model at t_eval, (SAMPLES or less, beads, 3).

    None when the event `stop` is set meanwhile.
    """
    logger.info("drawing %d samples to calibrate to", SAMPLES)
    settings = SampleSettings(samples=SAMPLES, steps=STEPS, seed=seed)
    sampler, parts = Sampler(bound.experts(), len(bound.beads), settings, t_eval, torch.zeros(())), []
    for batch in range(-(-SAMPLES // settings.batch_size)):
        for x, _ in sampler.draw(batch, min(SAMPLES, settings.batch_size)):  # noqa: B007 (the last x is wanted)
            if stop.is_set():
                return None
        parts.append(x[torch.isfinite(x).all(dim=(1, 2))])
    samples = torch.cat(parts)
    if len(samples) < FEWEST_FINITE:
        raise InputError(
            f"{len(samples)} of {SAMPLES} samples of {bound.path} for this molecule are finite: train the model further"
        )
    return samples
