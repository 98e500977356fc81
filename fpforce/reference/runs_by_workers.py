"""The independent runs of a data set by the workers of Dask, each in its own folder on a disk that all share.

In: what `make_reference` or `make_bead_reference` takes. Out: the folders of all runs, complete, from which it then
writes the data set as if it had simulated them itself. A run that is lost goes on from its checkpoint.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fpforce.distributed.parts import Part, Where
from fpforce.foundation.errors import InputError
from fpforce.foundation.locking import wait_until_free
from fpforce.foundation.progress import SimulationProgress
from fpforce.reference.bead_make import BeadSettings, bead_dynamics, make_bead_reference
from fpforce.reference.make import ReferenceSettings, make_reference
from fpforce.reference.models.bead_model import BeadModel
from fpforce.reference.protocol import Dynamics

_GIVE_WAY_SECONDS = 60.0  # in which the earlier process of a run, whose worker was lost, writes its checkpoint

Settings = TypeVar("Settings", ReferenceSettings, BeadSettings)


def make_reference_by(
    where: Where, source: str | Path, output: str | Path, settings: ReferenceSettings
) -> dict[str, Any] | None:
    """`make_reference` with the runs by the workers of `where`, or here where that names none.

    Raises what it raises, and InputError where the scheduler or Dask is missing.
    """
    where.check()
    if not where.many:
        return make_reference(source, output, settings)
    shared = replace(_shared(Path(output), settings), mean_forces=None)
    one = partial(make_reference, Path(source).absolute() if str(source).lower().endswith(".pdb") else source)
    frames = settings.discarded_frames + settings.frames
    _simulate_runs(where, one, Path(output), shared, frames, settings.protocol)
    return make_reference(source, output, replace(settings, resume=True))


def make_bead_reference_by(
    where: Where, model: BeadModel, output: str | Path, settings: BeadSettings
) -> dict[str, Any] | None:
    """`make_bead_reference` with the runs by the workers of `where`, or here where that names none. The search for a
    folding temperature, where there is one, is made here, before the runs.

    Raises what it raises, and InputError where the scheduler or Dask is missing.
    """
    where.check()
    if not where.many:
        return make_bead_reference(model, output, settings)
    shared = _shared(Path(output), settings)
    dynamics, _ = bead_dynamics(model, Path(output), settings)
    plan = settings.plan(model)
    one = partial(make_bead_reference, model)
    _simulate_runs(where, one, Path(output), shared, plan.discarded_frames + plan.frames, dynamics)
    return make_bead_reference(model, output, replace(settings, resume=True))


def _shared(output: Path, settings: Settings) -> Settings:
    """The settings with paths that hold wherever a worker runs; the folder is made, or refused where it is in use."""
    if settings.only:
        raise InputError(f"--only {settings.only} is a single run: leave it out, or --workers and --scheduler")
    if not settings.resume and output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: go on with --resume, or choose another folder")
    output.mkdir(parents=True, exist_ok=True)
    starts = (Path(start).absolute() if str(start).lower().endswith(".pdb") else start for start in settings.starts)
    return replace(settings, starts=tuple(map(str, starts)))


def _simulate_runs(
    where: Where, make: Callable[..., Any], output: Path, settings: Settings, frames: int, dynamics: Dynamics
) -> None:
    """Have the workers simulate every run, discarded frames included; `make` takes output and settings, and `only` of
    these names the run.
    """
    steps, at_step = frames * dynamics.steps_per_frame, {}
    parts = (
        Part(
            f"run {number}",
            make_run,
            {
                "make": make,
                "output": output.absolute(),
                "settings": replace(settings, only=number, resume=True),
                "steps": steps,
            },
        )
        for number in range(1, settings.runs + 1)
    )
    progress = SimulationProgress(steps, 0, settings.runs, dynamics.timestep_fs, True)

    def told(name: str, step: int) -> None:
        at_step[name] = step
        progress.update(int(np.sum(list(at_step.values())) / settings.runs), 0)

    with where.pool() as pool, progress:
        stopped = pool.run(parts, told, told)
    if stopped:
        raise KeyboardInterrupt(f"stopped; the runs in {output} have checkpoints: go on with --resume")


def make_run(
    make: Callable[..., Any],
    output: Path,
    settings: ReferenceSettings | BeadSettings,
    steps: int,
    told: Callable[[int], None],
) -> int:
    """Simulate the one run that the settings name; its last step. Goes on where an earlier call stopped."""
    if not output.is_dir():
        raise InputError(f"{output} is not there on this machine; give a folder on a disk that all workers share")
    folder = output / f"run{settings.only}"
    wait_until_free(folder / "lock", folder, _GIVE_WAY_SECONDS)
    make(output, settings, show_progress=lambda step, failed: told(step))
    return steps
