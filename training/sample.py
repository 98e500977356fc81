"""Independent samples of a trained model: checkpoint in, a trajectory of its beads out.

Batches are drawn one after the other and written when they are done. The noise of a batch is that of batch_size samples
from a seed of its own, (seed, number of the batch), of which a part is taken where fewer are wanted: so a run that was
interrupted, or ended within a batch, goes on to the samples of an uninterrupted one. The solvers are in sampling.py,
the files in sample_files.py.
"""

import errno
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpforce.foundation.arguments import require_finite, require_whole
from fpforce.foundation.errors import InputError
from fpforce.foundation.signals import stop_signals
from fpforce.training.checkpoint.checkpoint import Checkpoint, read_checkpoint
from fpforce.training.diffusion import alpha, centred, centred_noise, degrees_of_freedom
from fpforce.training.loop.progress import SamplingProgress
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.models.experts import Experts
from fpforce.training.sampling.files import SampleFiles
from fpforce.training.sampling.likelihood import field_of, standard_log_density, without_divergence
from fpforce.training.sampling.solvers import euler_maruyama, multistep, probability_flow, shared_steps, time_grid

logger = logging.getLogger("fpforce")

SDE_SOLVERS = {"multistep": multistep, "euler-maruyama": euler_maruyama}
SOLVERS = (*SDE_SOLVERS, "ode")
T_START = 1.0


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How many samples, and how they are drawn.

    solver: `multistep` (reverse SDE, order 2), `euler-maruyama` (reverse SDE, order 1) or `ode` (probability flow,
        order 4, four scores a step). steps: from t = 1 to t_end, over all experts.
    batch_size: samples drawn together, and lost together by an interruption; the noise depends on it as on the seed.
    t_end: None takes the recipe's t_eval. log_likelihood: also follow the log density, with the solver `ode`.
    device: `auto`, or torch's name of one. topology: of the molecule, for a transferable checkpoint
    (Checkpoint.bound_to).
    """

    samples: int
    solver: str = "multistep"
    steps: int = 200
    t_end: float | None = None
    batch_size: int = 1024
    seed: int = 0
    log_likelihood: bool = False
    device: str = "auto"
    threads: int | None = 1
    resume: bool = False
    overwrite: bool = False
    topology: object | None = None

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        for name, least in (("samples", 1), ("steps", 1), ("batch_size", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.threads is not None:
            require_whole("threads", self.threads, 1)
        if self.t_end is not None:
            require_finite("t_end", self.t_end)
        if self.solver not in SOLVERS:
            raise InputError(f"solver {self.solver!r} is unknown; choose {', '.join(SOLVERS)}")
        if self.log_likelihood and self.solver != "ode":
            raise InputError(
                f"log likelihoods follow the probability-flow ODE; --log-likelihood needs --solver ode, "
                f"not {self.solver}"
            )
        if self.overwrite and self.resume:
            raise InputError("--resume and --overwrite exclude each other; give one of them")


@dataclass(frozen=True)
class SampleResult:
    """What was drawn: `samples` frames written, `non_finite` left out, `seconds` of the whole run."""

    output: Path
    samples: int
    non_finite: int
    seconds: float


class Sampler:
    """Draws batches of normalised samples x (batch, beads, 3) at t_end; `evaluations` scores a batch."""

    def __init__(self, experts: Experts, beads: int, settings: SampleSettings, t_end: float, like: Tensor):
        self._settings, self._like, self._shape = settings, like, (beads, 3)
        self._stretches = experts.descent(T_START, t_end)
        shares = shared_steps([T_START, *(stretch.t_end for stretch in self._stretches)], settings.steps)
        self._grids = [time_grid(s.t_start, s.t_end, n) for s, n in zip(self._stretches, shares, strict=True)]
        self.steps = sum(shares)

    def draw(self, batch: int, count: int, skip: int = 0):
        """Iterate over (x, log density (count,)) after every step; the last is the sample: skip to skip + count of
        batch `batch`.

        The log density is that of the standard normal at the start unless settings.log_likelihood asks for more.
        """
        assert skip + count <= self._settings.batch_size
        generator = torch.Generator(device=self._like.device)
        words = np.random.SeedSequence([self._settings.seed, batch]).generate_state(2, np.uint32)
        generator.manual_seed(int(words[0]) << 31 ^ int(words[1]))

        def noise(like):
            whole = centred_noise((self._settings.batch_size, *self._shape), generator, like)
            return whole[skip : skip + count]

        x = noise(self._like)
        density = standard_log_density(x)
        for stretch, times in zip(self._stretches, self._grids, strict=True):
            if self._settings.solver == "ode":
                follow = self._settings.log_likelihood
                field = field_of(stretch.model, x, noise) if follow else without_divergence(stretch.model)
                path = probability_flow(field, times, x, density)
            else:
                solver = SDE_SOLVERS[self._settings.solver]
                path = ((x, density) for x in solver(stretch.model.score, times, x, noise))
            for x, density in path:
                x = centred(x)  # rounding must not accumulate outside the subspace
                yield x, density


def sample(checkpoint, output, settings: SampleSettings, *, show_progress: bool = False) -> SampleResult:
    """Draw settings.samples independent samples of a checkpoint's model and write them as frames of its beads.

    checkpoint: a path or a Checkpoint. output: .xtc, .dcd or .h5; beside it OUTPUT.pdb (topology), OUTPUT.json and,
    with log_likelihood, OUTPUT.npz: log_density (per nm^D) and energy_kt of the force field, as calibrated. Positions
    are those whose density is exp(-U / kT) of the force field exported at t = t_end: r = s x / alpha(t_end). Ctrl-C or
    SIGTERM keeps all complete batches and raises KeyboardInterrupt.
    Raises InputError for a checkpoint whose trained experts do not reach from t = 1 to t_end, and for files in the way.
    """
    settings.check()
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    checkpoint = checkpoint.bound_to(settings.topology)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    t_end = checkpoint.recipe.diffusion.t_eval if settings.t_end is None else settings.t_end
    device = _device(settings.device)
    experts = checkpoint.experts(device)
    force_field = checkpoint.calibrated_model(checkpoint.covering(t_end), t_end).to(device)
    sampler = Sampler(experts, len(checkpoint.beads), settings, t_end, torch.zeros((), device=device))
    files = SampleFiles(output, checkpoint.beads, with_log_density=settings.log_likelihood)
    record = files.open(
        _describe(checkpoint, settings, t_end),
        checkpoint.record.start_positions_nm.double().numpy(),
        resume=settings.resume,
        overwrite=settings.overwrite,
    )
    try:
        _refuse_fewer(record, settings, files.output)
        stopped = _draw_all(checkpoint, force_field, sampler, files, record, settings, t_end, show_progress)
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


def _draw_all(checkpoint, force_field, sampler, files, record, settings, t_end, show_progress) -> bool:
    """Draw what is missing; True if a signal stopped it."""
    to_nm = checkpoint.record.scale_nm / float(alpha(torch.tensor(t_end, dtype=torch.float64)))
    wall = checkpoint.wall(checkpoint.covering(t_end))
    volume = degrees_of_freedom(len(checkpoint.beads)) * float(np.log(to_nm))
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
                        arrays["energy_kt"] += wall.energies_kt((x.double() * to_nm).cpu().numpy())
            record["drawn"] += count
            record["non_finite"] += count - len(x)
            record["seconds"] += time.monotonic() - began
            files.append((x.double() * to_nm).cpu().numpy() + checkpoint.record.origin_nm, arrays, record)
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
    } | ({"molecule": checkpoint.beads.residues} if checkpoint.bound else {})


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
