"""Lightning's Trainer of one expert: devices, logs, and what happens around the steps.

In: a recipe and what it asks of the expert. Out: a Trainer whose fit() leaves model.ckpt.
"""

import logging
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import CHECKPOINT_NAME
from fpforce.training.loop.callbacks import CheckpointWriter, StepRecord, StopAfterStep, exponential_average
from fpforce.training.loop.early_stopping import AveragedWeights, Watching
from fpforce.training.loop.progress import TrainingProgress
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.sections import Recipe


def trainer_of(recipe: Recipe, plan: ExpertPlan, number: int, stop: StopAfterStep, show_progress: bool) -> pl.Trainer:
    """The Trainer of expert `number`; InputError for hardware that is not there."""
    run = recipe.run
    averaging = AveragedWeights(use_buffers=False, multi_avg_fn=exponential_average(recipe.optimizer.ema_decay))
    callbacks = [
        averaging,
        StepRecord(),
        Watching(averaging),
        CheckpointWriter(recipe.output / CHECKPOINT_NAME, run.checkpoint_minutes),
        TrainingProgress(run.log_every_steps, show_progress),
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


def quiet_lightning() -> None:
    """Keep Lightning's own messages and warnings off the terminal."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning.*")
    warnings.filterwarnings("ignore", module="lightning_fabric.*")
