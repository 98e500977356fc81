"""The stages of a round, each of which leaves files that a later run of it recognises.

In: the fit's folder, a `RoundPlan` and the journal's record of the data. Out: a checkpoint, a model, samples,
trajectories, a report. A stage that had begun before is resumed where its own files allow, else done anew; either way
it ends in the same files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fpforce.fitting.policy import RoundPlan
from fpforce.fitting.settings import FitSettings
from fpforce.fitting.simulations import has_begun, simulate_in_shards, simulate_together
from fpforce.foundation.seeds import seeds

if TYPE_CHECKING:
    from fpforce.analysis.report import Report

_ENDLESS_STEPS = 1_000_000_000
SAVED_EVERY_PS = 0.5


class Stages:
    """The stages of one round in a folder; `had_begun`: whether this stage was begun by an earlier run."""

    def __init__(self, folder: Path, data: dict[str, Any], settings: FitSettings, show_progress: bool) -> None:
        self._folder, self._data, self._settings = folder, data, settings
        self._show_progress = show_progress

    def train(self, plan: RoundPlan, had_begun: bool) -> None:
        from fpforce.training.recipe.read import load_recipe
        from fpforce.training.train import train

        output = self._folder / plan.training
        changes = [*plan.changes, *self._who_calibrates(), f"output={output}"]
        recipe = load_recipe(self._folder / "data" / "recipe.yaml", changes)
        resume = plan.resume or (had_begun and (output / "model.ckpt").exists())
        init = None if resume or plan.init is None else self._folder / plan.init
        train(recipe, resume=resume, overwrite=not resume, init=init, show_progress=self._show_progress)

    def export(self, plan: RoundPlan) -> None:
        from fpforce.training.export import export

        model = self._folder / plan.model
        model.parent.mkdir(parents=True, exist_ok=True)
        export(self._folder / plan.training / "model.ckpt", model, overwrite=True)

    def sample(self, plan: RoundPlan) -> None:
        import torch

        from fpforce.training.sample import SampleSettings, sample

        threads = torch.get_num_threads()  # which sampling changes, and a later training uses
        wanted = SampleSettings(
            samples=self._settings.samples,
            seed=self._settings.seed,
            workers=self._settings.workers,
            scheduler=self._settings.scheduler,
            overwrite=True,
        )
        try:
            sample(
                self._folder / plan.training / "model.ckpt",
                self._folder / plan.samples,
                wanted,
                show_progress=self._show_progress,
            )
        finally:
            torch.set_num_threads(threads)

    def simulate(self, plan: RoundPlan, earlier: Sequence[RoundPlan], had_begun: bool) -> None:
        """From every state; goes on with the simulations that are there where an earlier round, or run, began them.

        Side by side in processes of this machine; or one after the other, each in shards, where Dask's workers do it.
        """
        outputs = self.trajectories(plan)
        goes_on = any(one.simulation == plan.simulation for one in earlier)
        minutes = None
        if plan.simulate_minutes is not None:
            shared = [*(one for one in earlier if one.simulation == plan.simulation), plan]
            minutes = sum(one.simulate_minutes or 0.0 for one in shared)
            if self._settings.where.many:
                minutes /= len(outputs)
        steps = _ENDLESS_STEPS
        if plan.simulate_ps is not None:
            steps = max(1, round(1000.0 * plan.simulate_ps / plan.timestep_fs))
        wanted = []
        for number, (output, state) in enumerate(zip(outputs, self._data["states"], strict=True)):
            resume = (goes_on or had_begun) and has_begun(output)
            settings = {
                "steps": steps,
                "max_minutes": minutes,
                "replicas": self._settings.replicas,
                "timestep_fs": plan.timestep_fs,
                "report_interval_ps": SAVED_EVERY_PS,
                "rungs": plan.rungs,
                "start": str(self._folder / state["file"]),
                "seed": seeds(self._settings.seed, "fit", number)[0],
                "checkpoint_minutes": 1.0,
                "resume": resume,
                "overwrite": not resume,
            }
            wanted.append((output, settings))
        if self._settings.where.many:
            simulate_in_shards(self._folder / plan.model, wanted, self._settings.where, self._show_progress)
        else:
            simulate_together(self._folder / plan.model, wanted, self._show_progress)

    def _who_calibrates(self) -> list[str]:
        """Changes to the recipe; none where the fit was not told, so that the recipe may say it."""
        if not self._settings.where.many:
            return []
        asked = {"workers": self._settings.workers, "scheduler": self._settings.scheduler}
        return [f"run.{name}={'null' if value is None else value}" for name, value in asked.items()]

    def trajectories(self, plan: RoundPlan) -> list[Path]:
        """Those of a plan's simulations."""
        states = range(1, len(self._data["states"]) + 1)
        return [self._folder / plan.simulation / f"from_{number}.xtc" for number in states]

    def evaluate(self, plan: RoundPlan, number: int) -> "Report":
        from fpforce.analysis.report import evaluate

        return evaluate(
            self._folder / plan.model,
            [self._path(name) for name in self._data["reference"]],
            self.trajectories(plan),
            topology=self._data["topology"],
            training=[self._path(name) for name in self._data["trained_on"]] or None,
            training_weights=[self._path(name) for name in self._data["weights"]] or None,
            iid=self._folder / plan.samples,
            output=self._folder / f"round_{number}",
            seed=self._settings.seed,
            overwrite=True,
            floor=self._data["floor"],
            note=self._data["note"],
        )

    def _path(self, name: str) -> Path:
        return self._folder / name  # an absolute name stays as it is
