"""The third stage of calibration: rounds of simulation, each followed by a step of the last layer's weights.

In: a checkpoint, and frames of the data or samples of the model. Out: the checkpoint's calibration record, whose shift
of the weights brings the simulation's averages to theirs; the step is that of newton.py. Replicas go on from one round
to the next, from frames drawn by the weights that the step gives them. So they are where the new weights want them at
once. From where they ended they would follow a slow mode for longer than a round, which meanwhile would look as if the
step had been too short, and the next ones would go too far; between basins that no replica leaves, without an end.
Source: Tieleman, ICML 2008 (persistent replicas).
"""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from fpforce.foundation.seeds import seeds
from fpforce.simulation.time_step import time_step_fs
from fpforce.training.calibration.last_layer import last_layer, last_layer_inputs, last_layer_slopes
from fpforce.training.calibration.newton import (
    BLOCKS,
    NewtonStep,
    chosen_stiffness,
    free_energy,
    nearer,
    newton_step,
    resampled,
)
from fpforce.training.calibration.policy import most_rounds, rounds_are_wanted, rounds_without_gain
from fpforce.training.calibration.resolution import SHORTEST_PS, in_words, picoseconds, resolved_pairs, says_enough
from fpforce.training.calibration.round_in_shards import shard_replicas, simulate_round
from fpforce.training.checkpoint.checkpoint import Checkpoint
from fpforce.training.checkpoint.record import CalibrationRecord
from fpforce.training.data.dataset import evenly, noised
from fpforce.training.data.normalisation import Normalisation
from fpforce.training.modelfile.write import write_force_field
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.recipe.sections import CalibrationRecipe, RunRecipe

logger = logging.getLogger("fpforce")

SETTLING = (0.5, 0.5, 0.1)  # part of rounds 1, 2, 3 ... left out, in which the replicas follow the new weights
MOST_FRAMES = 100_000  # of the data, over which averages are taken
MOST_NUMBERS = 150_000_000  # functions of frames of a round, a gigabyte; beyond, a part of its times counts
MOST_HELD_OUT = 20_000  # frames, by which rounds are judged
SLOPE_FRAMES = 1000  # over which the penalty on the change of the forces is averaged
FAR_APART = 0.5  # nats after the last round; a calibration that went well ends below 0.1
# Times and nats above the best round, beyond which a round goes back to it. Rounds of 64 replicas and 20 ps scatter by
# 0.1 nats.
FAR_WORSE, FAR_WORSE_NATS = 10.0, 0.5
SURE = 2.0  # standard errors by which a simulation must have gone away from held-out frames, to be taken back


def calibrate_in_rounds(
    checkpoint: Checkpoint,
    energy: DiffusionEnergy,
    settings: CalibrationRecipe,
    data: Tensor,
    run: RunRecipe,
    generator: torch.Generator,
    stop: Event,
    keep: Callable[[], None],
    held_out: Tensor | None = None,
) -> bool:
    """Simulate rounds, each followed by a Newton step towards the averages of the data.

    data (frames, beads, 3): normalised. The model's own samples have the noise of t_eval; training frames get it here.
    run: threads, seed, and who simulates. keep: called after each round, when the checkpoint's record has it. held_out
    (frames, beads, 3): frames that no training saw, in order of time; where the rounds took the simulation away from
    them, the shift is what it was before the first. Returns False when the event `stop` is set meanwhile, or a signal
    stops the simulation; the round that it interrupts is lost.
    """
    record = checkpoint.record.calibration
    assert record is not None
    t_eval = record.t_eval

    def at_t_eval(frames: Tensor) -> Tensor:
        return frames if record.samples else noised(frames, t_eval, generator)

    begun = record.settings
    # Rounds go on as they began, with modes or, as in earlier versions, without.
    modes = len(record.shift) > last_layer(energy).in_features if record.done else says_enough(energy, data, settings)
    if modes and not record.done:
        record.pairs = resolved_pairs(energy, data, t_eval, settings, run.seed, noisy=bool(record.samples))
    if modes and record.pairs is not None:
        energy.network.have_pairs(**record.pairs)
    if settings.picoseconds is None:
        longer = begun.get("picoseconds") or (picoseconds(energy, data, settings) if modes else SHORTEST_PS)
        settings = settings.model_copy(update={"picoseconds": longer})
    settings = settings.model_copy(update={"shard_replicas": shard_replicas(settings, run, begun)})
    if not begun and settings.shard_replicas is not None:
        record.settings = settings.model_dump(mode="json") | {"series": modes}
        keep()  # nothing else yet: a first round that is stopped begins anew, in the same shards
    try:
        slopes = last_layer_slopes(energy, at_t_eval(evenly(data, SLOPE_FRAMES, generator)), t_eval, modes, stop.is_set)
    except KeyboardInterrupt:
        return False
    some = data[:: -(-len(data) // MOST_FRAMES)]
    blocks = some.tensor_split(min(BLOCKS, len(some)))
    known = torch.stack([last_layer_inputs(energy, at_t_eval(block), t_eval, modes).mean(0) for block in blocks])
    record.shift = torch.cat([record.shift, record.shift.new_zeros(len(slopes) - len(record.shift))])
    if record.positions_nm is None:
        t = t_eval if record.samples else 0.0  # of the positions in `data`
        record.positions_nm = _start_nm(checkpoint.record.normalisation, data, t, settings, generator)
    if settings.timestep_fs is None and begun.get("timestep_fs"):
        settings = settings.model_copy(update={"timestep_fs": begun["timestep_fs"]})
    if settings.timestep_fs is None:
        some = at_t_eval(evenly(data, SLOPE_FRAMES, generator)).double()
        some_nm = checkpoint.record.normalisation.to_nm(some, t_eval)
        longest = time_step_fs(checkpoint.beads, some_nm.numpy(), checkpoint.recipe.temperature_k)
        settings = settings.model_copy(update={"timestep_fs": longest})
    if record.done and modes != settings.series:
        logger.info("rounds go on as they began, with%s series of dihedrals and angles", "" if modes else "out")
    since = begun.get("ladder_since", 0)  # the number of rounds before those at these temperatures
    had = len(record.positions_nm)
    if record.done and had != settings.rungs:
        # With others replicas see other weights of basins: how near earlier rounds came does not compare.
        since, record.best = record.done, None
        (logger.warning if settings.rungs < had else logger.info)(
            "rounds go on at %d temperature%s; they were %d so far",
            settings.rungs,
            "" if settings.rungs == 1 else "s",
            had,
        )
    record.settings = settings.model_dump(mode="json") | {"series": modes, "ladder_since": since}
    logger.info(
        "calibrating the last layer%s in rounds of simulation, up to %d: %g ps of %d replicas at %d temperature%s",
        in_words(modes, record.pairs),
        most_rounds(settings),
        settings.picoseconds,
        settings.replicas,
        settings.rungs,
        "" if settings.rungs == 1 else "s",
    )
    with tempfile.TemporaryDirectory() as folder, run.where.pool() as pool:
        while rounds_are_wanted(settings, record):
            began, model = time.monotonic(), Path(folder) / "model.pt"
            if stop.is_set():
                return False
            write_force_field(checkpoint, model, t_eval, overwrite=True, with_support=False)
            if stop.is_set():  # not seen while the pool looks at signals itself
                return False
            (seed,) = seeds(run.seed, "round of calibration", record.done)
            begin_nm = on_rungs(record.positions_nm, settings.rungs)
            found = simulate_round(model, begin_nm.numpy(), settings, run.threads, seed, pool)
            if found is None or stop.is_set():
                return False
            frames_nm, last_nm = found
            left_out = SETTLING[min(record.done - since, len(SETTLING) - 1)]
            settled = torch.from_numpy(frames_nm[int(left_out * len(frames_nm)) :])
            settled = settled[:: -(-settled.shape[0] * settled.shape[1] * len(slopes) // MOST_NUMBERS)]
            x = checkpoint.record.normalisation.from_nm(settled.flatten(0, 1), t_eval)
            inputs = last_layer_inputs(energy, x.to(data.dtype), t_eval, modes)
            simulated = inputs.unflatten(0, settled.shape[:2])
            stiffness = chosen_stiffness(known, simulated, slopes, record.shift)
            _follow(record, inputs.mean(0))
            gain = 1.0 / (1 + rounds_without_gain(record))
            step = newton_step(known.mean(0), inputs, slopes, record.shift, gain, stiffness)
            record.stiffness.append(stiffness)
            (draw,) = seeds(run.seed, "replicas after a round", record.done)
            drawn = resampled(simulated @ step.change, draw)
            ended_nm = torch.from_numpy(last_nm)
            after_nm = torch.cat([settled[drawn][None], ended_nm[1:]])
            _take(record, step, time.monotonic() - began, ended_nm, after_nm, settings)
            keep()
    if held_out is not None and len(held_out) < 2 * BLOCKS:
        held_out = None  # of so few the error could not be told
    if held_out is not None and record.last is not None and record.done > 1:
        of_its_own = torch.Generator().manual_seed(seeds(run.seed, "held-out frames")[0])
        held_out = held_out[:: -(-len(held_out) // MOST_HELD_OUT)]
        frames = held_out if record.samples else noised(held_out, t_eval, of_its_own)
        _judge(record, last_layer_inputs(energy, frames, t_eval, modes))
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


def on_rungs(positions_nm: Tensor, rungs: int) -> Tensor:
    """Positions (rungs, replicas, beads, 3) of other rungs than there were (any, replicas, beads, 3): new hot ones
    begin where other replicas of the coldest are.
    """
    new = [positions_nm[0].roll(1 + k, 0) for k in range(rungs - len(positions_nm))]
    return torch.cat([positions_nm[:rungs], torch.stack(new)]) if new else positions_nm[:rungs]


def _follow(record: CalibrationRecord, mean: Tensor) -> None:
    """Add a round's simulation to the way from the first: mean (features,) are averages of h, under record.shift."""
    here = {"shift": record.shift, "mean": mean, "free_energy": 0.0}
    before = record.last or record.first
    if before is None:
        record.first = here
    else:
        step = free_energy(record.shift - before["shift"], before["mean"], mean)
        here["free_energy"] = before.get("free_energy", 0.0) + step
    record.last = here


def _judge(record: CalibrationRecord, held_out: Tensor) -> None:
    """Take the rounds back where the last simulation is farther from held-out frames than the first.

    held_out (frames, features): h of the frames.
    """
    assert record.first is not None and record.last is not None
    if torch.equal(record.last["shift"], record.first["shift"]):
        return
    nats, error = nearer(record.last["shift"] - record.first["shift"], record.last["free_energy"], held_out)
    record.held_out, record.refused = {"nats": nats, "error": error}, nats < -SURE * error
    if not record.refused:
        logger.info("held-out frames have become more likely by %.3g nats each, give or take %.2g", nats, error)
        return
    record.shift, record.last, record.best = record.first["shift"], record.first, None
    logger.warning(
        "the calibration is taken back: it made held-out frames less likely, by %.3g nats each, give or take "
        "%.2g; the training frames are no good measure of the averages: give more of them, or weights",
        -nats,
        error,
    )


def _take(
    record: CalibrationRecord,
    step: NewtonStep,
    seconds: float,
    positions_nm: Tensor,
    after_nm: Tensor,
    settings: CalibrationRecipe,
) -> None:
    """End a round: make its step, or go back to the best round if this one's simulation was far worse.

    positions_nm, after_nm (rungs, replicas, beads, 3): where the round ended, and where the next one begins.
    """
    nats, best = step.relative_entropy, record.best
    if best is not None and nats > max(FAR_WORSE * best["relative_entropy"], best["relative_entropy"] + FAR_WORSE_NATS):
        record.undo(nats, seconds)
        logger.warning(
            "calibration round %d of %d: %s and simulation %.3g nats apart, %.3g in round %d, to which it goes back: "
            "simulate more than %d replicas or longer than %g ps in a round, or train further before calibrating",
            record.done,
            most_rounds(settings),
            record.target,
            nats,
            best["relative_entropy"],
            best["round"],
            settings.replicas,
            settings.picoseconds,
        )
        return
    record.add(step.change, nats, step.effective, seconds, positions_nm, after_nm)
    logger.info(
        "calibration round %d of %d: %s and simulation %.4f nats apart, %.0f%% of the frames count after the step; "
        "stiffness %g",
        record.done,
        most_rounds(settings),
        record.target,
        nats,
        100 * step.effective,
        record.stiffness[-1] if record.stiffness else 1.0,
    )


def _start_nm(
    normalisation: Normalisation, data: Tensor, t: float, settings: CalibrationRecipe, generator: torch.Generator
) -> Tensor:
    """Positions (rungs, replicas, beads, 3) in nm of frames drawn from the data, so that every basin holds its share.

    data (frames, beads, 3): normalised, at t.
    """
    chosen = torch.randint(len(data), (settings.rungs * settings.replicas,), generator=generator)
    positions_nm = normalisation.to_nm(data[chosen].double(), t)
    return positions_nm.unflatten(0, (settings.rungs, settings.replicas))
