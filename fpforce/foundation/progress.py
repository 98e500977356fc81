"""Progress of a simulation: a live bar on a terminal, a plain line every half minute elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_PLAIN_SECONDS = 30.0


class SimulationProgress:
    """Shows steps done, steps/s, ns/day over all replicas, time left and failed replicas on stderr.

    A context manager; with `shown=False` it shows nothing, and where `shown` is a function it calls that with the step
    and the number of failed replicas instead. seconds: after which the run ends, if it has not before.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        replicas: int,
        timestep_fs: float,
        shown: bool | Callable[[int, int], None],
        seconds: float = float("inf"),
    ) -> None:
        self._seconds = seconds
        self._total, self._first, self._replicas, self._timestep_fs = total_steps, first_step, replicas, timestep_fs
        self._told = shown if callable(shown) else None
        self._shown = shown is True
        self._on_terminal = self._shown and sys.stderr.isatty()
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "SimulationProgress":
        if self._on_terminal:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("simulating"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=Console(stderr=True),
            )
            self._bar.add_task("simulating", total=self._total, completed=self._first, rate="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, failed: int) -> None:
        """Report that `step` is reached and `failed` replicas are frozen."""
        if self._told is not None:
            self._told(step, failed)
        if not self._shown:
            return
        now = time.monotonic()
        rate = (step - self._first) / max(now - self._started, 1e-9)
        text = describe_rate(rate, self._replicas - failed, self._timestep_fs)
        if failed:
            text += f", {failed} failed"
        if self._bar is not None:
            by_time = step + rate * max(self._seconds - (now - self._started), 0.0)
            self._bar.update(self._bar.task_ids[0], total=min(self._total, by_time), completed=step, rate=text)
        elif now - self._last_line >= _PLAIN_SECONDS:
            self._last_line = now
            by_steps, by_time = (self._total - step) / max(rate, 1e-9), self._seconds - (now - self._started)
            of = f" of {self._total}" if by_steps <= by_time else ""
            left = max(min(by_steps, by_time), 0.0)
            print(f"step {step}{of}, {text}, {left / 60:.1f} min left", file=sys.stderr, flush=True)


def describe_rate(steps_per_second: float, replicas: int, timestep_fs: float) -> str:
    """Such as `812 steps/s, 8,980 ns/day over 64 replicas`."""
    ns_per_day = aggregate_ns_per_day(steps_per_second, replicas, timestep_fs)
    shared = f" over {replicas} replicas" if replicas > 1 else ""
    return f"{steps_per_second:,.0f} steps/s, {ns_per_day:,.0f} ns/day{shared}"


def aggregate_ns_per_day(steps_per_second: float, replicas: int, timestep_fs: float) -> float:
    """Simulated time per day of wall time, summed over replicas."""
    return steps_per_second * replicas * timestep_fs * 1e-6 * 86400.0
