"""The simulations of a round: side by side, one process each, as many at a time as there are processors, or one after
the other, each shared by Dask's workers.

In: a model, and for each simulation its output and settings. Out: their files. Ctrl-C stops all with their checkpoints.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fpforce.distributed.parts import Where
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import wait_until_free
from fpforce.simulation.files import sidecar_of

# In which the simulations of a fit that was killed notice it, and write their checkpoints.
_GIVE_WAY_SECONDS = 60.0


def has_begun(output: Path) -> bool:
    """Whether a simulation, in one piece or in shards, can be gone on with."""
    in_shards = output.with_name(output.name + ".shards").is_dir() and sidecar_of(output).exists()
    return in_shards or output.with_name(output.name + ".checkpoint").exists()


def simulate_in_shards(
    model: Path, wanted: Sequence[tuple[Path, dict[str, Any]]], where: Where, show_progress: bool
) -> None:
    """Run all simulations, one after the other, by Dask's workers; one that was begun in one piece goes on so.

    wanted and errors: as of `simulate_together`.
    """
    from fpforce.simulation.simulate import SimulationSettings, simulate

    for output, fields in wanted:
        settings = SimulationSettings(**fields)
        if not settings.resume or output.with_name(output.name + ".shards").is_dir():
            settings = replace(settings, workers=where.workers, scheduler=where.scheduler)
        simulate(model, output, settings, show_progress=show_progress)


def simulate_together(
    model: Path, wanted: Sequence[tuple[Path, dict[str, Any]]], show_progress: bool, processes: int | None = None
) -> None:
    """Run all simulations, each given by its output and the fields of its SimulationSettings.

    Raises InputError where one cannot run, and KeyboardInterrupt where one was stopped; the others are stopped then,
    too.
    """
    at_once = max(1, min(len(wanted), processes or os.cpu_count() or 1))
    for first in range(0, len(wanted), at_once):
        _run(model, wanted[first : first + at_once], show_progress)


def _run(model: Path, wanted: Sequence[tuple[Path, dict[str, Any]]], show_progress: bool) -> None:
    running: list[subprocess.Popen] = []
    try:
        for number, (output, settings) in enumerate(wanted):
            wait_until_free(output.with_name(output.name + ".lock"), output, _GIVE_WAY_SECONDS)
            running.append(_start(model, output, settings, show_progress and number == 0))
        statuses = list(_ended(running))
    except BaseException:
        for process in running:
            if process.poll() is None:
                process.terminate()  # which a simulation stops on, with a checkpoint
        for process in running:
            process.wait()
        raise
    for (output, _), status in zip(wanted, statuses, strict=True):
        if status in (130, -2, -15):
            raise KeyboardInterrupt(f"the simulation {output} was stopped")
        if status:
            raise InputError(
                f"the simulation {output} ended with status {status}; a line above says why. Mend it, and go on with "
                "--resume"
            )


def _start(model: Path, output: Path, settings: dict[str, Any], show_progress: bool) -> subprocess.Popen:
    asked = {
        "parent": os.getpid(),
        "model": str(model),
        "output": str(output),
        "settings": settings,
        "show_progress": show_progress,
    }
    process = subprocess.Popen([sys.executable, "-P", "-m", "fpforce.fitting.child"], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked))
    process.stdin.close()
    return process


def _ended(running: Sequence[subprocess.Popen]) -> Iterator[int]:
    for process in running:
        yield process.wait()
