"""Progress of a training: a live bar on a terminal, a plain line every half minute elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from fpforce.training.loop.expert_training import ExpertTraining

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_SECONDS = 30.0


class TrainingProgress(pl.Callback):
    """Shows steps, rate, both losses and the time left on stderr, every `every_steps`; `shown=False` shows nothing."""

    def __init__(self, every_steps: int, shown: bool):
        self._every_steps, self._shown = every_steps, shown
        self._bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, module: ExpertTraining) -> None:
        self._shown = self._shown and trainer.is_global_zero
        self._first_step, self._first_progress = trainer.global_step, module.progress
        self._started = self._last_line = time.monotonic()
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[state]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("training", total=1.0, state="")
            self._bar.update(self._task, completed=module.progress)  # add_task is declared for whole numbers
            self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: ExpertTraining, outputs: Any, batch: int, batch_idx: int
    ) -> None:
        if not self._shown or trainer.global_step % self._every_steps:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=module.progress, state=self._state(trainer, module, now))
        elif now - self._last_line >= _PLAIN_SECONDS:
            self._last_line = now
            print(self._state(trainer, module, now), file=sys.stderr, flush=True)

    def teardown(self, trainer: pl.Trainer, module: ExpertTraining, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _state(self, trainer: pl.Trainer, module: ExpertTraining, now: float) -> str:
        steps, part = trainer.global_step - self._first_step, module.progress - self._first_progress
        rate = steps / (now - self._started)
        left = (now - self._started) * (1.0 - module.progress) / max(part, 1e-9)
        curves = module.record.expert.curves
        expert = f"expert {module.record.active}, " if len(module.plans) > 1 else ""
        return (
            f"{expert}step {trainer.global_step}, {rate:.0f} steps/s, denoising {curves['denoising'][-1]:.4f}, "
            f"Fokker-Planck {curves['fokker_planck'][-1]:.3g}, {left / 60:.1f} min left"
        )
