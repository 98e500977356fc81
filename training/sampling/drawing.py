"""One batch of samples at a time, in nm, with its densities where these are asked for: here, or in a worker of Dask.

In: a checkpoint of one molecule and SampleSettings. Out: a `Batch` for each number. A batch follows from the seed and
its number alone, so that the samples are the same whoever draws them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fpforce.foundation.errors import InputError
from fpforce.training.checkpoint.checkpoint import AnyCheckpoint, Checkpoint, of_one_molecule, read_checkpoint
from fpforce.training.diffusion import degrees_of_freedom
from fpforce.training.models.contract import DiffusionEnergy
from fpforce.training.sampling.sampler import Sampler, SampleSettings


@dataclass(frozen=True)
class Batch:
    """positions_nm (samples, beads, 3) of the finite ones among `drawn`; arrays (samples,), such as log_density."""

    positions_nm: np.ndarray
    arrays: dict[str, np.ndarray]
    drawn: int
    seconds: float


class Drawing:
    """Draws batches of a checkpoint's samples at settings.t_end. `steps`: of one batch."""

    def __init__(self, checkpoint: Checkpoint, settings: SampleSettings) -> None:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self.t_end = checkpoint.recipe.diffusion.evaluated_at if settings.t_end is None else settings.t_end
        device, expert = _device(settings.device), checkpoint.covering(self.t_end)
        experts = checkpoint.experts(device)
        self._force_field = checkpoint.calibrated_model(expert, self.t_end).to(device)
        self._sampler = Sampler(experts, len(checkpoint.beads), settings, self.t_end, torch.zeros((), device=device))
        self.steps, self._log_likelihood = self._sampler.steps, settings.log_likelihood
        self._normalisation, self._wall = checkpoint.record.normalisation, checkpoint.wall(expert)
        self._length_nm = self._normalisation.length_nm(self.t_end)
        self._volume = degrees_of_freedom(len(checkpoint.beads)) * float(np.log(self._length_nm))

    def draw(
        self, batch: int, count: int, skip: int, told: Callable[[int], None], stopped: Callable[[], bool]
    ) -> Batch:
        """The samples skip to skip + count of a batch. told: of each step. Raises KeyboardInterrupt once `stopped`."""
        began = time.monotonic()
        for number, (x, density) in enumerate(self._sampler.draw(batch, count, skip), start=1):  # noqa: B007 (the last one counts)
            told(number)
            if stopped() and number < self.steps:
                raise KeyboardInterrupt
        finite = torch.isfinite(x).all(dim=(1, 2))
        x, arrays = x[finite], {}
        if self._log_likelihood:
            arrays["log_density"] = (density[finite] - self._volume).double().cpu().numpy()
            if isinstance(self._force_field, DiffusionEnergy):
                arrays["energy_kt"] = self._force_field(x, x.new_full((1,), self.t_end)).double().cpu().numpy()
                if self._wall is not None:
                    arrays["energy_kt"] += self._wall.energies_kt((x.double() * self._length_nm).cpu().numpy())
        positions_nm = self._normalisation.to_nm(x.double(), self.t_end).cpu().numpy()
        return Batch(positions_nm, arrays, count, time.monotonic() - began)


def draw_by_worker(
    checkpoint: Path,
    sha256: str,
    settings: SampleSettings,
    told: Callable[[Any], None],
    stopped: Callable[[], bool],
    **which: int,
) -> Batch:
    """`Drawing.draw` in a process that keeps the model from batch to batch.

    Raises InputError where the checkpoint is not there, or another one.
    """
    return _kept(checkpoint, sha256, settings).draw(told=told, stopped=stopped, **which)


@lru_cache(maxsize=1)
def _kept(path: Path, sha256: str, settings: SampleSettings) -> Drawing:
    checkpoint = read_checkpoint(path)
    if checkpoint.sha256 != sha256:
        raise InputError(f"{path} is another file on this machine; put the checkpoint on a disk that all workers share")
    return Drawing(of_one_molecule(checkpoint, settings.topology), settings)


def for_workers(checkpoint: AnyCheckpoint, settings: SampleSettings) -> dict[str, Any]:
    """What `draw_by_worker` needs to know of the checkpoint and the settings."""
    topology = settings.topology
    if isinstance(topology, str | Path):
        topology = Path(topology).absolute()
    return {
        "checkpoint": checkpoint.path.absolute(),
        "sha256": checkpoint.sha256,
        "settings": replace(settings, topology=topology, resume=False, overwrite=False),
    }


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
