"""SimulationSettings: what to simulate and how. The options of fpforce-simulate are made from its fields.

In: values by name. Out: frozen settings, whose `check` refuses what is out of range. Imports nothing heavy, so that a
command can show its help at once.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpforce.distributed.parts import Where
from fpforce.foundation.arguments import require_finite, require_whole
from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def setting(help: str, default: Any = ..., *, option: Any = None, short: str | None = None) -> Any:
    """A field with its help; `option`: the type that the command line takes in place of the field's, `short`: another
    name for the option there.
    """
    metadata = {"help": help, "option": option, "short": short}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """What to simulate and how; every field says what it is in its help, which fpforce-simulate shows.

    steps: a resumed run goes on to this number. max_minutes: a resumed run's earlier part included.
    temperature_k: any other value than the model's needs `override_temperature`, since U is a free energy at the
        model's temperature.
    rungs: with two or more, every replica has molecules at so many temperatures, equally spaced in their logarithm up
        to top_temperature_k, which offer to swap at every saved time. The coldest is saved: its distribution is the
        same as without exchange, but it crosses barriers over the hot rungs, so that saved times are no dynamics.
    report_interval_ps: rounded to whole steps. threads: None leaves it to the backend (make_system).
    seed: a resumed run keeps its own, and its start.
    start: an (n, 3) array in nm, too. topology: whatever TransferableForceField.bind takes.
    minimise: of the free energy, that is.
    workers, scheduler, shard_replicas: with any of them the replicas are cut into shards (fpforce.simulation.shards).
        The frames follow from seed, replicas and shard_replicas, not from who simulates them. max_minutes is then
        shared out: with four times as many shards as workers each shard has a quarter of it.
    """

    steps: int = setting("time steps in total")
    max_minutes: float | None = setting("stop earlier after so many minutes", None)
    replicas: int = setting("independent copies, evaluated as one batch", 1)
    timestep_fs: float = setting("time step in fs", 2.0)
    friction_per_ps: float = setting("in 1/ps", 1.0, short="--friction")
    temperature_k: float | None = setting("K; the model's by default", None)
    override_temperature: bool = setting(
        "run at another temperature than the model's, although its free energy does not hold there", False
    )
    override_not_conservative: bool = setting(
        "simulate forces that are not the gradient of an energy, although they have no Boltzmann distribution", False
    )
    rungs: int = setting(
        "temperatures of a replica exchange, for barriers that a plain simulation does not cross: saved is the "
        "coldest, the model's, with the same distribution but no dynamics; costs about so many times as much",
        1,
    )
    top_temperature_k: float | None = setting("of the hottest rung, K; twice the coldest by default", None)
    report_interval_ps: float = setting("time between saved frames in ps, and between offers of exchange", 0.5)
    topology: Any = setting(
        "PDB of the molecule, all atoms or the beads alone, for a transferable force field; every replica starts there "
        "unless --start says otherwise",
        None,
        option=Path | None,
    )
    start: "str | Path | np.ndarray | None" = setting(
        "FILE[:index], the frame (from 0) where every replica starts, of the beads or of the source molecule; the "
        "model's own by default",
        None,
        option=str | None,
    )
    start_topology: str | Path | None = setting("topology of --start, where it has none", None, option=Path | None)
    seed: int = setting("of velocities and noise; a resumed run keeps its own", 0)
    platform: str = setting(
        "OpenMM platform; auto: Reference or the GPU's, where there is one, whichever is measured to be faster", "auto"
    )
    backend: str = setting(
        "native, torchforce or python; auto: the first of them that can compute the model, on a GPU the fastest", "auto"
    )
    threads: int | None = setting("CPU threads that evaluate the energy", 1, option=int)
    minimise: bool = setting("go to the nearest energy minimum before the first step", False)
    per_replica: bool = setting("one trajectory file per replica", False)
    checkpoint_minutes: float = setting("time between checkpoints in minutes", 5.0)
    workers: int | None = setting(
        "processes of this machine, by Dask, among which the replicas are shared out; without it one process", None
    )
    scheduler: str | Path | None = setting(
        "address of a Dask scheduler, such as tcp://host:8786, or its scheduler.json, whose workers share the replicas",
        None,
        option=str | None,
    )
    shard_replicas: int | None = setting(
        "replicas of a shard, which one worker simulates as one batch with noise of its own; with --workers or "
        "--scheduler a 16th of all by default",
        None,
    )
    resume: bool = setting("go on from the checkpoint, to a larger --steps too", False)
    overwrite: bool = setting("replace an earlier simulation", False)

    @property
    def report_steps(self) -> int:
        """Steps between saved frames."""
        return max(1, round(1000.0 * self.report_interval_ps / self.timestep_fs))

    @property
    def where(self) -> Where:
        """Where the shards are simulated."""
        return Where(self.workers, self.scheduler)

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        for name, least in (("steps", 1), ("replicas", 1), ("rungs", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        for name in ("threads", "shard_replicas"):
            if getattr(self, name) is not None:
                require_whole(name, getattr(self, name), 1)
        self.where.check()
        for name in ("timestep_fs", "report_interval_ps", "checkpoint_minutes"):
            require_finite(name, getattr(self, name))
        require_finite("friction_per_ps", self.friction_per_ps, zero_allowed=True)
        if self.max_minutes is not None:
            require_finite("max_minutes", self.max_minutes)
        for name in ("temperature_k", "top_temperature_k"):
            if getattr(self, name) is not None:
                require_finite(name, getattr(self, name), unit=" K")
        if self.top_temperature_k is not None and self.rungs == 1:
            raise InputError(
                f"top_temperature_k is {self.top_temperature_k:g} K, but there is one rung; give rungs of 2 or more"
            )
        if self.steps < self.report_steps:
            raise InputError(
                f"steps is {self.steps}, but a frame is saved only every {self.report_steps} steps "
                f"({self.report_interval_ps:g} ps); raise steps or lower report_interval_ps"
            )
        if self.overwrite and self.resume:
            raise InputError("overwrite and resume exclude each other; give one of them")

    def ladder_k(self, temperature_k: float) -> list[float] | None:
        """Temperatures of the rungs, the coldest first; None without exchange."""
        if self.rungs == 1:
            return None
        from fpforce.simulation.exchange import geometric_ladder

        return list(geometric_ladder(temperature_k, self.top_temperature_k, self.rungs))
