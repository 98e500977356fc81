"""The verb `train`: a recipe in, model.ckpt out.

Everything lands in the recipe's output folder: model.ckpt (always the latest checkpoint, replaced in one step),
recipe.yaml (the resolved recipe), logs/ (TensorBoard and CSV).
"""

import contextlib
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError, NoWorkersError
from fpforce.foundation.locking import Lock
from fpforce.training.calibration.policy import is_wanted, passed_over, refuse_uncalibratable
from fpforce.training.calibration.stages import calibrate
from fpforce.training.checkpoint.checkpoint import (
    CHECKPOINT_NAME,
    AnyCheckpoint,
    read_checkpoint,
    replace_record,
    replace_weights,
)
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.data.read import read_training_set
from fpforce.training.data.rigid_bonds import rigid_bonds, time_that_widens, told_of
from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.loop.callbacks import StopAfterStep, StoppedWhileCompiling
from fpforce.training.loop.early_stopping import conclude
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.hand_over import measured_hand_overs
from fpforce.training.loop.processes import is_first, quiet_others
from fpforce.training.loop.trainer import quiet_lightning, trainer_of
from fpforce.training.models.internal import bond_of
from fpforce.training.models.memory import free_memory_bytes, require_memory
from fpforce.training.recipe.models import InternalRecipe
from fpforce.training.recipe.plan import BOND, ExpertPlan, plan_experts, settled
from fpforce.training.recipe.resumption import refuse_other_recipe
from fpforce.training.recipe.sections import T_EVAL, Recipe

logger = logging.getLogger("fpforce")


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    overwrite: bool = False,
    init: str | Path | None = None,
    show_progress: bool = True,
) -> Path:
    """Train the recipe's experts, from the largest diffusion time down, and return the path of model.ckpt.

    resume: go on from output/model.ckpt; the recipe must agree with the one that made it, except for the length of
        the run. Experts that were finished before the last one are left as they are. overwrite: replace an earlier run.
    init: a checkpoint whose weights and normalisation to start from, of the same beads and models.
    Ctrl-C stops after the step with a checkpoint and raises KeyboardInterrupt.
    Raises InputError for data that cannot be read or is too little, and for an output folder that holds a run.
    """
    quiet_others()
    checkpoint = _claim_output(recipe, resume, overwrite, init) if resume or is_first() else None
    initial = None if init is None else read_checkpoint(init)
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    torch.set_float32_matmul_precision("highest")  # the weak form subtracts scores 1e-4 apart: no TF32
    plans, earlier = plan_experts(recipe), checkpoint or initial
    training_set = read_training_set(
        recipe.data,
        temperature_k=recipe.temperature_k,
        batch_size=recipe.optimizer.batch_size,
        internal=any(isinstance(plan.model, InternalRecipe) for plan in plans),
        earlier=None if earlier is None else earlier.data,
        frames_folder=recipe.output / "frames",
    )
    _require_memory(recipe, plans, training_set.frames.shape[1])
    one = training_set.frames.shape[1] if isinstance(training_set, TrainingSet) else None
    begun_with, weights_of = (None if found is None else found.recipe for found in (checkpoint, initial))
    unasked = recipe.calibration.rounds is None
    bond = bond_of(training_set.frames) if isinstance(training_set, TrainingSet) else BOND
    rigid = rigid_bonds(training_set)
    t_eval = time_that_widens(training_set.scale_nm) if rigid and one else T_EVAL
    recipe = settled(recipe, one and degrees_of_freedom(one), begun_with, weights_of, bond, t_eval)
    if rigid and is_first():
        logger.warning("%s", told_of(rigid, recipe.diffusion.evaluated_at, t_eval if one else None))
    plans = plan_experts(recipe)
    pl.seed_everything(recipe.run.seed, verbose=False)
    module = ExpertTraining(recipe, plans, training_set)
    if recipe.run.precision == "64-true":
        module.double()  # before Lightning does, whose averaged weights would stay single
    if initial is not None:
        module.start_from(initial)
    if is_wanted(recipe.calibration, None):
        refuse_uncalibratable(module.experts[0], f"the expert over {module.plans[0]}")
        if is_first():
            recipe.run.where.require()
    numbers, unfinished = _what_is_left(module, checkpoint)
    if not numbers:
        assert checkpoint is not None
        if not is_first():
            return checkpoint.path
        with contextlib.closing(_lock(recipe)):
            _end_with_calibration(recipe, checkpoint, training_set)
        return checkpoint.path
    quiet_lightning()
    stop = StopAfterStep()
    trainers = [trainer_of(recipe, module.plans[number], number, stop, show_progress) for number in numbers]
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the output folder {recipe.output}: {error.strerror}") from None
    with contextlib.closing(_lock(recipe)):
        if is_first():
            _claim_output(recipe, resume, overwrite, init)  # again: another run may have come and gone
            _begin_run(recipe, training_set, resume)
        _train_experts(module, recipe, zip(numbers, trainers, strict=True), stop, unfinished)
        if is_wanted(recipe.calibration, None) and trainers[-1].is_global_zero:
            assert isinstance(training_set, TrainingSet)  # the recipe refuses a calibration of many molecules
            _calibrate(recipe, training_set, unasked)
    return recipe.output / CHECKPOINT_NAME


def _calibrate(recipe: Recipe, training_set: TrainingSet, unasked: bool) -> None:
    """End a training with its calibration. One that nobody asked for by name fails with a warning only."""
    try:
        calibrate(recipe.output / CHECKPOINT_NAME, recipe, training_set)
    except InputError as error:
        if not unasked or isinstance(error, NoWorkersError):
            raise
        logger.warning("the training is done, and its calibration is not: %s", error)


def _require_memory(recipe: Recipe, plans: Sequence[ExpertPlan], beads: int) -> None:
    """Raise InputError, before anything is built, where an expert of the kind `internal` cannot fit."""
    bytes_a_number = 8 if recipe.run.precision == "64-true" else 4
    for plan in plans:
        if isinstance(plan.model, InternalRecipe):
            free = free_memory_bytes(recipe.run.accelerator)
            require_memory(beads, plan.model, recipe.optimizer.batch_size, free, bytes_a_number)


def _lock(recipe: Recipe) -> Lock | contextlib.ExitStack:
    """The lock on the output folder, held by the first of several processes that train together."""
    return Lock(recipe.output / "lock", recipe.output) if is_first() else contextlib.ExitStack()


def _begin_run(recipe: Recipe, training_set: TrainingSet | MoleculeSet, resume: bool) -> None:
    """Make room for a new run, write its recipe and say what it trains on."""
    if not resume:  # only now: a mistake must not cost an earlier run
        shutil.rmtree(recipe.output / "logs", ignore_errors=True)
        (recipe.output / CHECKPOINT_NAME).unlink(missing_ok=True)
    _write(recipe)
    if isinstance(training_set, TrainingSet) and training_set.mapping:
        logger.info("%s", training_set.mapping)
    count = len(training_set.molecules) if isinstance(training_set, MoleculeSet) else 0
    kinds = f"{count} molecules of up to " if count > 1 else "1 molecule of " if count else ""
    logger.info(
        "training on %d frames of %s%d beads; output in %s",
        training_set.count,
        kinds,
        training_set.frames.shape[1],
        recipe.output,
    )


def _train_experts(
    module: ExpertTraining,
    recipe: Recipe,
    runs: Iterable[tuple[int, pl.Trainer]],
    stop: StopAfterStep,
    unfinished: bool,
) -> None:
    """Train each expert by its trainer, the first of them from its checkpoint where it is unfinished."""
    path = recipe.output / CHECKPOINT_NAME
    for number, trainer in runs:
        plan = module.plans[number]
        if len(module.plans) > 1:
            logger.info("expert over %s, %s", plan, "conservative" if plan.conservative else "not conservative")
        module.begin(number)
        ctrl_c = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, range(plan.max_steps), ckpt_path=path if unfinished else None, weights_only=True)
        except StoppedWhileCompiling:
            raise KeyboardInterrupt(
                f"stopped while the training step was compiled; {_kept(path)} (run.compile=false does without)"
            ) from None
        except SystemExit:  # which Lightning makes of a stop before the first step and after the last one
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, ctrl_c)  # which it leaves ignored
            if not is_first():
                raise
            raise KeyboardInterrupt(f"stopped; {_kept(path)}") from None
        unfinished = False
        if not stop.requested:
            _adopt_best(module, path, trainer.is_global_zero)
        if stop.requested:
            if not is_first():
                sys.exit()  # what there is to say the first process says
            raise KeyboardInterrupt(
                f"stopped after step {trainer.global_step}; {path} is complete, go on with --resume"
            )
        module.record.hand_overs = measured_hand_overs(module.record, module.experts, module.plans)
        if trainer.is_global_zero and module.record.hand_overs:
            replace_record(path, module.record)


def _kept(path: Path) -> str:
    return f"{path} is as it was, go on with --resume" if path.exists() else "nothing was trained yet, start again"


def _adopt_best(module: ExpertTraining, path: Path, writes: bool) -> None:
    """Go back to the averaged weights of a finished expert that were the best on held-out frames."""
    record = module.record.expert
    conclude(record)
    if record.best is None or record.best["step"] == record.steps:
        return
    logger.info(
        "the weights of step %d, the best on held-out frames, are kept instead of those of step %d",
        record.best["step"],
        record.steps,
    )
    module.expert.load_state_dict(record.best["weights"])
    if writes:
        replace_weights(path, module.record.active, record.best["weights"])


def _end_with_calibration(recipe: Recipe, checkpoint: AnyCheckpoint, training_set: TrainingSet | MoleculeSet) -> None:
    """Run the calibration stages that a finished training still lacks, or say that none is missing."""
    had = checkpoint.record.calibration
    not_followed = passed_over(recipe.calibration, had)
    if not_followed:
        logger.warning("%s", not_followed)
    if is_wanted(recipe.calibration, had):
        assert isinstance(training_set, TrainingSet)  # the recipe refuses a calibration of many molecules
        try:
            calibrate(checkpoint.path, recipe, training_set)
        finally:
            if read_checkpoint(checkpoint.path).recipe == recipe:  # unless it was refused
                _write(recipe)
        return
    calibrated = (
        ""
        if had is None
        else f" and calibrated (denoising_fit {had.levels is not None}, likelihood_frames "
        f"{(had.likelihood or {}).get('frames', 0)}, rounds {had.done})"
    )
    logger.info(
        "nothing left to do: %s is trained to its end%s; raise run.max_steps, run.max_minutes or calibration.rounds to "
        "go on%s",
        checkpoint.path,
        calibrated,
        "" if had is None else "; fpforce-export --uncalibrated leaves the calibration out",
    )


def _write(recipe: Recipe) -> None:
    with replacing(recipe.output / "recipe.yaml") as unfinished:
        unfinished.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _what_is_left(module: ExpertTraining, checkpoint: AnyCheckpoint | None) -> tuple[list[int], bool]:
    """Numbers of the experts still to train, the largest times first, and whether the first of them has begun already.

    From the top down, since an expert may be anchored to the next one, which must then be there.
    """
    numbers = list(reversed(range(len(module.plans))))
    if checkpoint is None:
        return numbers, False
    earlier = checkpoint.record
    module.record.refuse_other_data(earlier)
    if earlier.expert.progress(module.plans[earlier.active]) < 1.0:
        return numbers[numbers.index(earlier.active) :], True
    module.take_over(checkpoint)
    return numbers[numbers.index(earlier.active) + 1 :], False


def _claim_output(recipe: Recipe, resume: bool, overwrite: bool, init: str | Path | None) -> AnyCheckpoint | None:
    """The checkpoint to go on from, or None; refuses to replace an earlier run unasked."""
    path = recipe.output / CHECKPOINT_NAME
    if resume and overwrite:
        raise InputError("--resume and --overwrite exclude each other; give one of them")
    if resume:
        if not path.is_file():
            raise InputError(f"nothing to resume: {path} does not exist; start without --resume")
        if init is not None:
            raise InputError("--resume goes on with a run and --init begins one; give one of them")
        checkpoint = read_checkpoint(path)
        refuse_other_recipe(checkpoint.recipe, recipe)
        return checkpoint
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; --resume goes on from it, --overwrite replaces it")
    return None
