"""The verb `sample`: independent samples of a trained model, a checkpoint in, a trajectory of its beads out.

Batches are drawn one after the other (training.sampling.sampler) and written when they are done
(training.sampling.files), so that a run that was interrupted goes on where it stopped.
"""

import errno
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import stop_signals
from fpforce.training.checkpoint.checkpoint import AnyCheckpoint, Checkpoint, of_one_molecule, read_checkpoint
from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.models.contract import DiffusionEnergy, DiffusionScore
from fpforce.training.sampling.files import SampleFiles
from fpforce.training.sampling.progress import SamplingProgress
from fpforce.training.sampling.sampler import Sampler, SampleSettings

__all__ = ["SampleResult", "SampleSettings", "sample"]

logger = logging.getLogger("fpforce")


@dataclass(frozen=True)
class SampleResult:
    """What was drawn: `samples` frames written, `non_finite` left out, `seconds` of the whole run."""

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
    found = checkpoint if isinstance(checkpoint, AnyCheckpoint) else read_checkpoint(checkpoint)
    bound = of_one_molecule(found, settings.topology)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    t_end = bound.recipe.diffusion.t_eval if settings.t_end is None else settings.t_end
    device = _device(settings.device)
    experts = bound.experts(device)
    force_field = bound.calibrated_model(bound.covering(t_end), t_end).to(device)
    sampler = Sampler(experts, len(bound.beads), settings, t_end, torch.zeros((), device=device))
    files = SampleFiles(output, bound.beads, with_log_density=settings.log_likelihood)
    record = files.open(
        _describe(bound, settings, t_end),
        bound.record.start_positions_nm.double().numpy(),
        resume=settings.resume,
        overwrite=settings.overwrite,
    )
    try:
        _refuse_fewer(record, settings, files.output)
        stopped = _draw_all(bound, force_field, sampler, files, record, settings, t_end, show_progress)
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
            f"far enough, "
            "or its scores diverge; train further, or take more --steps"
        )
    if stopped:
        raise KeyboardInterrupt(_what_is_kept(record, settings, files.output))
    return SampleResult(files.output, record["samples"], record["non_finite"], record["seconds"])


def _draw_all(
    checkpoint: Checkpoint,
    force_field: DiffusionEnergy | DiffusionScore,
    sampler: Sampler,
    files: SampleFiles,
    record: dict,
    settings: SampleSettings,
    t_end: float,
    show_progress: bool,
) -> bool:
    """Draw what is missing; True if a signal stopped it."""
    normalisation = checkpoint.record.normalisation
    length_nm = normalisation.length_nm(t_end)
    wall = checkpoint.wall(checkpoint.covering(t_end))
    volume = degrees_of_freedom(len(checkpoint.beads)) * float(np.log(length_nm))
    progress = SamplingProgress(settings.samples, record["drawn"], sampler.steps, show_progress)
    with stop_signals() as stop, progress:
        while record["drawn"] < settings.samples and not stop.is_set():
            began = time.monotonic()
            batch, skip = divmod(record["drawn"], settings.batch_size)
            count = min(settings.batch_size - skip, settings.samples - record["drawn"])
            for number, (x, density) in enumerate(sampler.draw(batch, count, skip), start=1):  # noqa: B007 (the last one counts)
                progress.update(record["drawn"], number, count)
                if stop.is_set() and number < sampler.steps:
                    return True
            finite = torch.isfinite(x).all(dim=(1, 2))
            x, arrays = x[finite], {}
            if settings.log_likelihood:
                arrays["log_density"] = (density[finite] - volume).double().cpu().numpy()
                if isinstance(force_field, DiffusionEnergy):
                    arrays["energy_kt"] = force_field(x, x.new_full((1,), t_end)).double().cpu().numpy()
                    if wall is not None:
                        arrays["energy_kt"] += wall.energies_kt((x.double() * length_nm).cpu().numpy())
            record["drawn"] += count
            record["non_finite"] += count - len(x)
            record["seconds"] += time.monotonic() - began
            files.append(normalisation.to_nm(x.double(), t_end).cpu().numpy(), arrays, record)
    return record["drawn"] < settings.samples


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
        f"with "
        "--resume (a smaller --batch-size with --overwrite keeps more)"
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
        "calibrated": checkpoint.record.calibration is not None and checkpoint.record.calibration.t_eval == t_end,
        "beads": list(checkpoint.beads.labels),
    } | ({"molecule": checkpoint.beads.residues} if checkpoint.shared is not None else {})


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros((), device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}; leave it out, or give cpu or cuda"
        ) from None
    return torch.device(name)
