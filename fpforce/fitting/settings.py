"""FitSettings: how long, judged by what, simulated how. The options of fpforce-fit are made from its fields.

In: values by name. Out: frozen settings, whose `check` refuses what is out of range. Imports nothing heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fpforce.distributed.parts import Where
from fpforce.foundation.arguments import require_finite, require_whole
from fpforce.foundation.errors import InputError
from fpforce.simulation.settings import setting


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What a fit may spend and how it judges; every field says what it is in its help.

    reference: trajectories that no training saw, of the recipe's topology; without any a part of the recipe's own is
    held out. max_minutes: of all stages, resumed ones included.
    simulate_ps: None simulates for a share of the time. timestep_fs: None takes the longest that the bonds allow.
    workers, scheduler: of Dask, for samples, simulations and rounds of calibration; a resumed fit may have others.
    """

    max_minutes: float = setting("stop when so many minutes are spent, earlier ones of a resumed fit included", 60.0)
    max_rounds: int | None = setting("stop after so many rounds of training, simulation and evaluation", None)
    reference: Sequence[str | Path] | None = setting(
        "held-out trajectory to judge by, of the recipe's topology; repeatable. By default a part of the recipe's own, "
        "in blocks of time that training never sees",
        None,
        option=list[Path] | None,
    )
    states: int = setting("most states to start simulations from, found in the data", 4)
    replicas: int = setting("molecules of each simulation", 128)
    simulate_ps: float | None = setting(
        "simulated time of each molecule in ps; by default as long as the minutes allow", None
    )
    timestep_fs: float | None = setting("of the simulations; by default the longest that the bonds allow", None)
    samples: int = setting("independent samples of the model, by which causes are told apart", 8192)
    seed: int = setting("of simulations, samples and the report; the recipe's run.seed is that of the training", 0)
    workers: int | None = setting(
        "processes of this machine, by Dask, which share samples, simulations and rounds of calibration", None
    )
    scheduler: str | Path | None = setting(
        "address of a Dask scheduler, or its scheduler.json, whose workers do that", None, option=str | None
    )
    resume: bool = setting("go on with an interrupted fit, or with more minutes", False)
    overwrite: bool = setting("replace an earlier fit", False)

    @property
    def where(self) -> Where:
        """Where what can be shared is done."""
        return Where(self.workers, self.scheduler)

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        self.where.check()
        require_finite("max_minutes", self.max_minutes)
        for name, least in (("states", 2), ("replicas", 2), ("samples", 1), ("seed", 0)):
            require_whole(name, getattr(self, name), least)
        if self.max_rounds is not None:
            require_whole("max_rounds", self.max_rounds, 1)
        for name in ("simulate_ps", "timestep_fs"):
            if getattr(self, name) is not None:
                require_finite(name, getattr(self, name))
        if self.overwrite and self.resume:
            raise InputError("overwrite and resume exclude each other; give one of them")

    def fixed(self) -> dict[str, object]:
        """What a resumed fit must have in common with the one that it goes on with."""
        return {
            "reference": [str(path) for path in self.reference or ()],
            "states": self.states,
            "replicas": self.replicas,
            "simulate_ps": self.simulate_ps,
            "timestep_fs": self.timestep_fs,
            "samples": self.samples,
            "seed": self.seed,
        }
