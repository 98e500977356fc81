"""Progress of sampling: a live bar on a terminal, a plain line every half minute elsewhere."""

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_SECONDS = 30.0
_FIRST_SECONDS = 5.0  # the first line comes this early, to say how long the run will take


class SamplingProgress:
    """Shows samples drawn, samples/s and time left on stderr, a step at a time; `shown=False` shows nothing."""

    def __init__(self, samples: int, drawn: int, steps: int, shown: bool):
        self._samples, self._first, self._steps, self._shown = samples, drawn, steps, shown
        self._started = time.monotonic()
        self._last_line = self._started - _PLAIN_SECONDS + _FIRST_SECONDS
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self._bar = Progress(
                TextColumn("sampling"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[state]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("sampling", total=self._samples, completed=self._first, state="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, drawn: int, step: int, batch: int) -> None:
        """Report that `step` steps of the next `batch` samples are done, after `drawn` samples."""
        if not self._shown:
            return
        now = time.monotonic()
        done = drawn + batch * step / self._steps
        rate = (done - self._first) / max(now - self._started, 1e-9)
        state = (
            f"{drawn} of {self._samples} samples, step {step} of {self._steps} of the next {batch}, {rate:.3g} "
            f"samples/s, {(self._samples - done) / rate / 60:.1f} min left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=done, state=state)
        elif now - self._last_line >= _PLAIN_SECONDS:
            self._last_line = now
            print(state, file=sys.stderr, flush=True)
