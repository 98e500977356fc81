"""Draws samples of a trained model: from noise at t = 1 down to t_end, one batch after the other.

In: experts and SampleSettings. Out: normalised positions x at t_end, with their log densities where these are asked
for. The noise of a batch is that of batch_size samples from a seed of its own, (seed, number of the batch). Where fewer
are wanted, a part of it is taken. So a run that was interrupted goes on to the samples of an uninterrupted one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpforce.distributed.parts import Where
from fpforce.foundation.arguments import require_finite, require_whole
from fpforce.foundation.errors import InputError
from fpforce.training.diffusion import centred, centred_noise
from fpforce.training.models.experts import Experts
from fpforce.training.sampling.likelihood import field_of, standard_log_density, without_divergence
from fpforce.training.sampling.solvers import euler_maruyama, multistep, probability_flow, shared_steps, time_grid

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
    (training.checkpoint.checkpoint.of_one_molecule). workers, scheduler: of Dask, a batch a part; the samples do not
    depend on them.
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
    workers: int | None = None
    scheduler: str | Path | None = None

    @property
    def where(self) -> Where:
        """Where the batches are drawn."""
        return Where(self.workers, self.scheduler)

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        for name, least in (("samples", 1), ("steps", 1), ("batch_size", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.threads is not None:
            require_whole("threads", self.threads, 1)
        self.where.check()
        if self.t_end is not None:
            require_finite("t_end", self.t_end)
        if self.solver not in SOLVERS:
            raise InputError(f"solver {self.solver!r} is unknown; choose {', '.join(SOLVERS)}")
        if self.log_likelihood and self.solver != "ode":
            raise InputError(
                "log likelihoods follow the probability-flow ODE; --log-likelihood needs --solver ode, "
                f"not {self.solver}"
            )
        if self.overwrite and self.resume:
            raise InputError("--resume and --overwrite exclude each other; give one of them")


class Sampler:
    """Draws batches of normalised samples x (batch, beads, 3) at t_end; `evaluations` scores a batch."""

    def __init__(self, experts: Experts, beads: int, settings: SampleSettings, t_end: float, like: Tensor):
        self._settings, self._like, self._shape = settings, like, (beads, 3)
        self._experts = experts.descent(T_START, t_end)
        shares = shared_steps([T_START, *(expert.t_min for expert in self._experts)], settings.steps)
        self._grids = [time_grid(e.t_max, e.t_min, n) for e, n in zip(self._experts, shares, strict=True)]
        self.steps = sum(shares)

    def draw(self, batch: int, count: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield x (count, beads, 3) and its log density (count,) after every step; the last x is the sample.

        Of batch number `batch` the samples skip to skip + count are drawn. The log density is that of the standard
        normal at the start unless settings.log_likelihood asks for more.
        """
        assert skip + count <= self._settings.batch_size
        generator = torch.Generator(device=self._like.device)
        words = np.random.SeedSequence([self._settings.seed, batch]).generate_state(2, np.uint32)
        generator.manual_seed(int(words[0]) << 31 ^ int(words[1]))

        def noise(like: Tensor) -> Tensor:
            whole = centred_noise((self._settings.batch_size, *self._shape), generator, like)
            return whole[skip : skip + count]

        x = noise(self._like)
        density = standard_log_density(x)
        for expert, times in zip(self._experts, self._grids, strict=True):
            if self._settings.solver == "ode":
                follow = self._settings.log_likelihood
                field = field_of(expert.model, x, noise) if follow else without_divergence(expert.model)
                path = probability_flow(field, times, x, density)
            else:
                solver = SDE_SOLVERS[self._settings.solver]
                path = ((x, density) for x in solver(expert.model.score, times, x, noise))
            for x, density in path:
                x = centred(x)  # rounding must not accumulate outside the subspace
                yield x, density
