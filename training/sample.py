"""The verb `sample`: independent samples of a trained model, a checkpoint in, a trajectory of its beads out.

Batches are drawn (training.sampling.drawing) one after the other, or by the workers of Dask, and written in their order
(training.sampling.files), so that a run that was interrupted goes on where it stopped, and the files are the same
whoever draws.
"""

import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fpforce.distributed.parts import Part, Pool
from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import AnyCheckpoint, Checkpoint, of_one_molecule, read_checkpoint
from fpforce.training.sampling.drawing import Batch, Drawing, draw_by_worker, for_workers
from fpforce.training.sampling.files import SampleFiles
from fpforce.training.sampling.progress import SamplingProgress
from fpforce.training.sampling.sampler import SampleSettings

__all__ = ["SampleResult", "SampleSettings", "sample"]

logger = logging.getLogger("fpforce")


@dataclass(frozen=True)
class SampleResult:
    """What was drawn: `samples` frames written, `non_finite` left out, `seconds` of all batches of the whole run."""

    output: Path
    samples: int
    non_finite: int
    seconds: float


def sample(
    checkpoint: str | Path | AnyCheckpoint, output: str | Path, settings: SampleSettings, *, show_progress: bool = False
) -> SampleResult:
    """Draw settings.samples independent samples of a checkpoint's model and write them as frames of its beads.

    checkpoint: a path or a Checkpoint. output: .xtc, .dcd or .h5; beside it OUTPUT.pdb (topology), OUTPUT.json and,
    with log_likelihood, OUTPUT.npz: log_density (per nm^D) and energy_kt of the force field, as calibrated. Positions
    are those whose density is exp(-U / kT) of the force field exported at t = t_end: r = s x / alpha(t_end). Ctrl-C or
    SIGTERM keeps all complete batches and raises KeyboardInterrupt.
    Raises InputError for a checkpoint whose trained experts do not reach from t = 1 to t_end, and for files in the way.
    """
    settings.check()
    with settings.where.pool() as pool:
        return _sample(checkpoint, output, settings, pool, show_progress)


def _sample(
    checkpoint: str | Path | AnyCheckpoint, output: str | Path, settings: SampleSettings, pool: Pool, show: bool
) -> SampleResult:
    found = checkpoint if isinstance(checkpoint, AnyCheckpoint) else read_checkpoint(checkpoint)
    bound = of_one_molecule(found, settings.topology)
    drawing = Drawing(bound, settings)
    files = SampleFiles(output, bound.beads, with_log_density=settings.log_likelihood)
    record = files.open(
        _describe(bound, settings, drawing.t_end),
        bound.record.start_positions_nm.double().numpy(),
        resume=settings.resume,
        overwrite=settings.overwrite,
    )
    try:
        _refuse_fewer(record, settings, files.output)
        parts = _parts(found, None if settings.where.many else drawing, settings, record["drawn"])
        stopped = _draw_all(pool, parts, drawing.steps, files, record, settings.samples, show)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"no space left for {files.output} after {record['samples']} samples, which are intact: free "
            "some and go on with --resume"
        ) from error
    finally:
        files.close()
    if record["non_finite"]:
        logger.warning(
            "%d of %d samples were not finite and are left out: train further, or take more --steps",
            record["non_finite"],
            record["drawn"],
        )
    if not stopped and record["drawn"] and not record["samples"]:
        raise InputError(
            f"none of {record['drawn']} samples is finite, and {files.output} has no frame: the model is not trained "
            "far enough, or its scores diverge; train further, or take more --steps"
        )
    if stopped:
        raise KeyboardInterrupt(_what_is_kept(record, settings, files.output))
    return SampleResult(files.output, record["samples"], record["non_finite"], record["seconds"])


def _parts(checkpoint: AnyCheckpoint, drawing: Drawing | None, settings: SampleSettings, drawn: int) -> Iterator[Part]:
    """What is missing, a batch a part, by this process's drawing or, without it, by workers."""
    shared = {} if drawing is not None else for_workers(checkpoint, settings)
    draw = draw_by_worker if drawing is None else drawing.draw
    while drawn < settings.samples:
        batch, skip = divmod(drawn, settings.batch_size)
        count = min(settings.batch_size - skip, settings.samples - drawn)
        which = {"batch": batch, "count": count, "skip": skip}
        yield Part(f"samples {drawn}", draw, shared | which, own_process=False)
        drawn += count


def _draw_all(
    pool: Pool, parts: Iterator[Part], steps: int, files: SampleFiles, record: dict, samples: int, show_progress: bool
) -> bool:
    """Have all parts drawn, and write them in their order; True if a signal stopped it."""
    at_step: dict[str, int] = {}
    sizes: dict[str, int] = {}
    ahead: dict[str, Batch] = {}
    progress = SamplingProgress(samples, record["drawn"], steps, show_progress)

    def listed() -> Iterator[Part]:
        for part in parts:
            sizes[part.name] = part.arguments["count"]
            yield part

    def told(name: str, step: int) -> None:
        at_step[name] = step
        under_way = sum(sizes[each] for each in at_step)
        done = sum(sizes[each] * number for each, number in at_step.items())
        progress.update(record["drawn"], done // under_way, under_way)

    def drawn(name: str, batch: Batch) -> None:
        at_step[name], ahead[name] = steps, batch
        while (name := f"samples {record['drawn']}") in ahead:
            batch = ahead.pop(name)
            at_step.pop(name)
            record["drawn"] += batch.drawn
            record["non_finite"] += batch.drawn - len(batch.positions_nm)
            record["seconds"] += batch.seconds
            files.append(batch.positions_nm, batch.arrays, record)

    with progress:
        pool.run(listed(), told, drawn)
    return record["drawn"] < samples


def _refuse_fewer(record: dict, settings: SampleSettings, output: Path) -> None:
    if record["drawn"] > settings.samples:
        raise InputError(
            f"--resume goes on to a larger number of samples, and --samples {settings.samples} is less than the "
            f"{record['drawn']} that {output} holds already; ask for more, or --overwrite to draw anew"
        )
    if record["drawn"] == settings.samples:
        logger.info(
            "nothing left to do: %s holds %d samples already; give a larger --samples to go on", output, record["drawn"]
        )


def _what_is_kept(record: dict, settings: SampleSettings, output: Path) -> str:
    if record["drawn"]:
        return (
            f"stopped after {record['drawn']} of {settings.samples} samples, which {output} holds: go on with --resume"
        )
    together = min(settings.batch_size, settings.samples)
    return (
        f"stopped within the first {together} samples, which are drawn together, so that none is kept: start again "
        "with --resume (a smaller --batch-size with --overwrite keeps more)"
    )


def _describe(checkpoint: Checkpoint, settings: SampleSettings, t_end: float) -> dict:
    """What a resumed run must have in common with the run that it continues."""
    return {
        "checkpoint": str(checkpoint.path),
        "checkpoint_sha256": checkpoint.sha256,
        "solver": settings.solver,
        "steps": settings.steps,
        "t_end": t_end,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "log_likelihood": settings.log_likelihood,
        "calibrated": checkpoint.record.calibration is not None and checkpoint.record.calibration.applies_at(t_end),
        "beads": list(checkpoint.beads.labels),
    } | ({"molecule": checkpoint.beads.residues} if checkpoint.shared is not None else {})
