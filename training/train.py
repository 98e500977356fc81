"""The training loop: recipe in, model.ckpt out.

Everything lands in the recipe's output folder: model.ckpt (always the latest checkpoint, replaced in one step),
recipe.yaml (the resolved recipe), logs/ (TensorBoard and CSV).
"""

import contextlib
import logging
import math
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import Lock
from fpforce.training.calibration.rounds import calibrate, is_wanted, refuse_uncalibratable
from fpforce.training.checkpoint.checkpoint import CHECKPOINT_NAME, Checkpoint, read_checkpoint, replace_record
from fpforce.training.data.dataset import TrainingSet
from fpforce.training.data.molecules import MoleculeSet
from fpforce.training.data.read import read_training_set
from fpforce.training.loop.callbacks import (
    CheckpointWriter,
    StepRecord,
    StopAfterStep,
    StoppedWhileCompiling,
    exponential_average,
)
from fpforce.training.loop.expert_training import ExpertTraining
from fpforce.training.loop.hand_over import score_jumps
from fpforce.training.loop.progress import TrainingProgress
from fpforce.training.models.experts import Expert, Experts
from fpforce.training.models.transferable import TransferableEnergy
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.sections import Recipe

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
    checkpoint = _claim_output(recipe, resume, overwrite, init)
    initial = None if init is None else read_checkpoint(init)
    if recipe.run.threads is not None:
        torch.set_num_threads(recipe.run.threads)
    torch.set_float32_matmul_precision("highest")  # the weak form subtracts scores 1e-4 apart: no TF32
    training_set = read_training_set(recipe, checkpoint or initial)
    pl.seed_everything(recipe.run.seed, verbose=False)
    module = ExpertTraining(recipe, training_set)
    if recipe.run.precision == "64-true":
        module.double()  # before Lightning does, whose averaged weights would stay single
    if initial is not None:
        module.start_from(initial)
    if is_wanted(recipe.calibration, None):
        refuse_uncalibratable(module.experts[0], f"the expert over {module.plans[0]}")
    numbers, unfinished = _what_is_left(module, checkpoint)
    if not numbers:
        with contextlib.closing(_lock(recipe)):
            _end_with_calibration(recipe, checkpoint, training_set)
        return checkpoint.path
    _quiet_lightning()
    stop = StopAfterStep()
    trainers = [_trainer(recipe, module.plans[number], number, stop, show_progress) for number in numbers]
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the output folder {recipe.output}: {error.strerror}") from None
    with contextlib.closing(_lock(recipe)):
        _claim_output(recipe, resume, overwrite, init)  # again: another run may have come and gone
        _begin_run(recipe, training_set, resume)
        _train_experts(module, recipe, zip(numbers, trainers, strict=True), stop, unfinished)
        if is_wanted(recipe.calibration, None) and trainers[-1].is_global_zero:
            calibrate(recipe.output / CHECKPOINT_NAME, recipe, training_set)
    return recipe.output / CHECKPOINT_NAME


def _lock(recipe: Recipe) -> Lock | contextlib.ExitStack:
    """The lock on the output folder, held by the first of several processes that train together."""
    return Lock(recipe.output / "lock", recipe.output) if rank_zero_only.rank in (None, 0) else contextlib.ExitStack()


def _begin_run(recipe: Recipe, training_set: TrainingSet | MoleculeSet, resume: bool) -> None:
    """Make room for a new run, write its recipe and say what it trains on."""
    if not resume:  # only now: a mistake must not cost an earlier run
        shutil.rmtree(recipe.output / "logs", ignore_errors=True)
        (recipe.output / CHECKPOINT_NAME).unlink(missing_ok=True)
    _write(recipe)
    count = len(training_set.molecules) if isinstance(training_set, MoleculeSet) else 0
    kinds = f"{count} molecules of up to " if count > 1 else "1 molecule of " if count else ""
    logger.info(
        "training on %d frames of %s%d beads; output in %s",
        len(training_set.frames),
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
        try:
            trainer.fit(module, range(plan.max_steps), ckpt_path=path if unfinished else None, weights_only=True)
        except StoppedWhileCompiling:
            kept = (
                f"{path} is as it was, go on with --resume" if path.exists() else "nothing was trained yet, start again"
            )
            raise KeyboardInterrupt(
                f"stopped while the training step was compiled; {kept} (run.compile=false does without)"
            ) from None
        unfinished = False
        if stop.requested:
            raise KeyboardInterrupt(
                f"stopped after step {trainer.global_step}; {path} is complete, go on with --resume"
            )
        _measure_hand_overs(module, path, trainer.is_global_zero)


def _end_with_calibration(recipe: Recipe, checkpoint: Checkpoint, training_set: TrainingSet) -> None:
    """Of a run that is trained to its end: do what is asked of its calibration and missing, or say that nothing is."""
    had = checkpoint.record.calibration
    if is_wanted(recipe.calibration, had):
        try:
            calibrate(checkpoint.path, recipe, training_set)
        finally:
            if read_checkpoint(checkpoint.path).recipe == recipe:  # unless it was refused
                _write(recipe)
        return
    calibrated = (
        ""
        if had is None
        else f" and calibrated (likelihood_frames {(had.likelihood or {}).get('frames', 0)}, rounds {had.done})"
    )
    logger.info(
        "nothing left to do: %s is trained to its end%s; raise run.max_steps, run.max_minutes or calibration.rounds to "
        "go "
        "on%s",
        checkpoint.path,
        calibrated,
        "" if had is None else "; fpforce-export --uncalibrated leaves the calibration out",
    )


def _write(recipe: Recipe) -> None:
    with replacing(recipe.output / "recipe.yaml") as unfinished:
        unfinished.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def _what_is_left(module: ExpertTraining, checkpoint: Checkpoint | None) -> tuple[list[int], bool]:
    """Numbers of the experts to train, the one of the largest times first, and whether the first has begun already.

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


def _measure_hand_overs(module: ExpertTraining, path: Path, writes: bool) -> None:
    """Put the score's jumps between the experts that are trained by now into the checkpoint."""
    trained = [
        (model, plan)
        for model, plan, record in zip(module.experts, module.plans, module.record.experts, strict=True)
        if record.steps
    ]
    measured = []
    for beads, frames in module.record.samples():
        bound = [
            (model.bind(beads) if isinstance(model, TransferableEnergy) else model, plan) for model, plan in trained
        ]
        measured.append(
            score_jumps(Experts(tuple(Expert(model, plan.t_min, plan.t_max) for model, plan in bound)), frames)
        )
    module.record.hand_overs = [
        {"t": jumps[0]["t"], "relative_jump": math.sqrt(sum(jump["relative_jump"] ** 2 for jump in jumps) / len(jumps))}
        for jumps in zip(*measured, strict=True)
    ]
    for jump in module.record.hand_overs:
        logger.info("at t = %g the scores of the two experts differ by %.2g of their size", *jump.values())
    if writes and module.record.hand_overs:
        replace_record(path, module.record)


def _trainer(recipe: Recipe, plan: ExpertPlan, number: int, stop: StopAfterStep, show_progress: bool) -> pl.Trainer:
    run = recipe.run
    callbacks = [
        WeightAveraging(use_buffers=False, multi_avg_fn=exponential_average(recipe.optimizer.ema_decay)),
        StepRecord(),
        CheckpointWriter(recipe.output / CHECKPOINT_NAME, run.checkpoint_minutes),
        TrainingProgress(recipe, show_progress),
        stop,
    ]
    logs = recipe.output / "logs" / (f"expert_{number}" if len(recipe.experts) > 1 else "")
    many = {"auto": torch.cuda.device_count(), -1: torch.cuda.device_count()}
    count = len(run.devices) if isinstance(run.devices, list) else many.get(run.devices, run.devices)
    # The energy's constant has no gradient, which plain DDP takes for a mistake.
    strategy = "ddp_find_unused_parameters_true" if count > 1 and run.strategy == "auto" else run.strategy
    try:
        return pl.Trainer(
            accelerator=run.accelerator,
            devices=run.devices,
            strategy=strategy,
            precision=run.precision,
            max_steps=plan.max_steps,
            max_epochs=-1,
            callbacks=callbacks,
            log_every_n_steps=1,
            gradient_clip_val=recipe.optimizer.gradient_clip,
            default_root_dir=recipe.output,
            logger=[
                TensorBoardLogger(logs, name="", version="tensorboard"),
                CSVLogger(logs, name="csv", flush_logs_every_n_steps=1),
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise InputError(
            f"run.accelerator={run.accelerator}, run.devices={run.devices}, run.strategy={run.strategy} "
            f"cannot be used here: {' '.join(str(error).split())[:200]}"
        ) from None


def _claim_output(recipe: Recipe, resume: bool, overwrite: bool, init: str | Path | None) -> Checkpoint | None:
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
        checkpoint.record.refuse_other_recipe(recipe)
        return checkpoint
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists; --resume goes on from it, --overwrite replaces it")
    return None


def _quiet_lightning() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", module="lightning_fabric.*")
