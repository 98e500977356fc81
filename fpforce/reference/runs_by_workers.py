"""The independent runs of a data set by the workers of Dask, each in its own folder on a disk that all share.

In: what `make_reference` takes. Out: the folders of all runs, complete, from which it then writes the data set as if it
had simulated them itself. A run that is lost goes on from its checkpoint.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.distributed.parts import Part, Where
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import wait_until_free
from fpforce.foundation.progress import SimulationProgress
from fpforce.reference.make import ReferenceSettings, make_reference

_GIVE_WAY_SECONDS = 60.0  # in which the earlier process of a run, whose worker was lost, writes its checkpoint


def make_reference_by(
    where: Where, source: str | Path, output: str | Path, settings: ReferenceSettings
) -> dict[str, Any] | None:
    """`make_reference` with the runs by the workers of `where`, or here where that names none.

    Raises what it raises, and InputError where the scheduler or Dask is missing.
    """
    where.check()
    if not where.many:
        return make_reference(source, output, settings)
    if settings.only:
        raise InputError(f"--only {settings.only} is a single run: leave it out, or --workers and --scheduler")
    output = Path(output)
    if not settings.resume and output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: go on with --resume, or choose another folder")
    output.mkdir(parents=True, exist_ok=True)
    if str(source).lower().endswith(".pdb"):
        source = Path(source).absolute()
    starts = tuple(
        Path(start).absolute() if str(start).lower().endswith(".pdb") else start for start in settings.starts
    )
    settings = replace(settings, starts=starts)
    numbers = {f"run {number}": number for number in range(1, settings.runs + 1)}
    parts = [
        Part(
            name,
            make_run,
            {
                "source": source,
                "output": output.absolute(),
                "settings": replace(settings, only=number, resume=True, mean_forces=None),
            },
        )
        for name, number in numbers.items()
    ]
    steps, at_step = (settings.discarded_frames + settings.frames) * settings.protocol.steps_per_frame, {}
    progress = SimulationProgress(steps, 0, settings.runs, settings.protocol.timestep_fs, True)

    def told(name: str, step: int) -> None:
        at_step[name] = step
        progress.update(int(np.sum(list(at_step.values())) / settings.runs), 0)

    with where.pool() as pool, progress:
        stopped = pool.run(iter(parts), told, told)
    if stopped:
        raise KeyboardInterrupt(f"stopped; the runs in {output} have checkpoints: go on with --resume")
    return make_reference(source, output, replace(settings, resume=True))


def make_run(source: str | Path, output: Path, settings: ReferenceSettings, told: Callable[[int], None]) -> int:
    """Simulate the one run that the settings name; its last step. Goes on where an earlier call stopped."""
    if not output.is_dir():
        raise InputError(f"{output} is not there on this machine; give a folder on a disk that all workers share")
    folder = output / f"run{settings.only}"
    wait_until_free(folder / "lock", folder, _GIVE_WAY_SECONDS)
    make_reference(source, output, settings, show_progress=lambda step, failed: told(step))
    return (settings.discarded_frames + settings.frames) * settings.protocol.steps_per_frame
