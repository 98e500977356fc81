"""What happens around the steps of a training: bookkeeping, checkpoints, averaging, a clean stop."""

import errno
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import handle_ending, put_back
from fpforce.training.loop.expert_training import ExpertTraining


class StepRecord(pl.Callback):
    """Accounts for a step before the other callbacks use the record: Lightning runs a module's own hooks last."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: ExpertTraining, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        module.record_step()


class CheckpointWriter(pl.Callback):
    """Replaces model.ckpt every few minutes and at the end; the file is whole at any moment."""

    def __init__(self, path: Path, minutes: float):
        self.path, self._seconds, self._last = Path(path), 60.0 * minutes, 0.0

    def on_train_start(self, trainer: pl.Trainer, module: ExpertTraining) -> None:
        self._last = module.record.expert.seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: ExpertTraining, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        seconds = module.record.expert.seconds  # those of the first process, in all of them
        if seconds - self._last >= self._seconds:
            self.write(trainer)
            self._last = seconds

    def on_train_epoch_end(self, trainer: pl.Trainer, module: ExpertTraining) -> None:
        self.write(trainer)  # before the averaged weights replace the current ones in on_train_end

    def write(self, trainer: pl.Trainer) -> None:
        """Replace the file in one step; InputError where the disk is full."""
        # Every process takes part, and the first one writes.
        place = replacing(self.path) if trainer.is_global_zero else nullcontext(self.path)
        try:
            with place as target:
                trainer.save_checkpoint(target)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remedy = (
                "the earlier checkpoint is intact: free some and go on with --resume"
                if self.path.exists()
                else "free some and start again"
            )
            raise InputError(
                f"no space left on the disk of {self.path} or of temporary files at step "
                f"{trainer.global_step}; {remedy}"
            ) from error


class StoppedWhileCompiling(BaseException):
    """A signal came while the step was compiled, for which nothing waits; no Exception, which the compiler would take
    for its own.
    """


class StopAfterStep(pl.Callback):
    """Turns Ctrl-C, SIGTERM and SIGHUP into a stop at the end of the step, so that the checkpoint is consistent. Of
    several processes that train together all stop after the same step, whichever had the signal.

    While the step is compiled they raise StoppedWhileCompiling at once: that takes minutes, and at most one step is
    lost. The handlers are put in when the steps begin, in place of Lightning's: its own for SIGTERM ends the process
    with status 0 and no checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict = {}

    def on_train_start(self, trainer: pl.Trainer, module: ExpertTraining) -> None:
        def request(*_: object) -> None:
            module.asked_to_stop = True
            if module.compiling:
                raise StoppedWhileCompiling

        if threading.current_thread() is threading.main_thread():
            self._previous = handle_ending(request)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: ExpertTraining, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        self.requested = module.stopping

    def teardown(self, trainer: pl.Trainer, module: ExpertTraining, stage: str) -> None:
        put_back(self._previous)
        self._previous = {}


def exponential_average(decay: float) -> Callable[[list[Tensor], list[Tensor], Tensor], None]:
    """Averaging function for AveragedModel: the decay grows from 0.1 to `decay`, so that early weights are
    forgotten.
    """

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        weight = 1.0 - min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        torch._foreach_lerp_(averaged, current, weight)

    return update
