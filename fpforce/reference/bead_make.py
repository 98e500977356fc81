"""From a bead model to a data set: independent runs at one temperature, by default where the molecule folds."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.constants import BOLTZMANN_KJ_PER_MOL_K
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import read_json
from fpforce.foundation.seeds import seeds
from fpforce.reference.bead_dataset import write_bead_dataset
from fpforce.reference.dataset import Run
from fpforce.reference.folding import FOLDED_ABOVE, Scan, find_folding_temperature
from fpforce.reference.make import seed_of_run
from fpforce.reference.models.bead_model import BeadModel, RunPlan
from fpforce.reference.models.start import start_positions
from fpforce.reference.platform import choose_platform
from fpforce.reference.protocol import Dynamics
from fpforce.reference.run import ReferenceRun
from fpforce.simulation.exchange import geometric_ladder

logger = logging.getLogger("fpforce")

_SCAN_FILE = "folding_temperature.json"
# Ladder of the search, in units of the model's energy over Boltzmann's constant.
_COLDEST, _HOTTEST = 1.6, 2.7


@dataclass(frozen=True, kw_only=True)
class BeadSettings:
    """What `make_bead_reference` does; None takes what the model usually does.

    temperatures_k: the ladder, coldest first. None: one rung at temperature_k or, where that is None too, at the
        temperature at which the molecule folds. starts: of the runs in turn, see `start_positions`.
    only: simulate just this run (from 1) and write no data set; 0: all of them. platform: auto is Reference, the
        fastest for chains of up to hundreds of beads.
    """

    temperature_k: float | None = None
    temperatures_k: tuple[float, ...] | None = None
    rungs: int = 1
    top_temperature_k: float | None = None
    timestep_fs: float | None = None
    friction_per_ps: float | None = None
    interval_ps: float | None = None
    ns: float | None = None
    discard_ps: float | None = None
    runs: int = 2
    seed: int = 1
    only: int = 0
    starts: tuple[str, ...] = ()
    platform: str = "auto"
    threads: int = 1
    checkpoint_minutes: float = 1.0
    resume: bool = False

    def __post_init__(self) -> None:
        if self.runs < 1 or not 0 <= self.only <= self.runs:
            raise InputError(f"runs {self.runs}, only {self.only}: need at least one run, and only up to their number")
        if min(self.seed, self.checkpoint_minutes, self.discard_ps or 0.0) < 0:
            raise InputError(
                f"seed {self.seed}, checkpoint-minutes {self.checkpoint_minutes}, discard-ps {self.discard_ps}: "
                "none may be negative"
            )

    def plan(self, model: BeadModel) -> RunPlan:
        """The model's usual run with what these settings ask for instead."""
        asked = {field.name: getattr(self, field.name) for field in fields(RunPlan)}
        return replace(model.usual, **{name: value for name, value in asked.items() if value is not None})


def make_bead_reference(
    model: BeadModel,
    output: str | Path,
    settings: BeadSettings,
    *,
    show_progress: bool | Callable[[int, int], None] = True,
) -> dict[str, Any] | None:
    """Simulate, and write the data set.

    Args:
        model: BeadModel. output: folder; its name becomes the topology file's. settings: BeadSettings.
        show_progress: of each run, on stderr or to a function of its step and 0.

    Returns:
        The record that data.json holds; None if `settings.only` left the data set for later.

    Raises:
        InputError: wrong input, or a folder that cannot be gone on with. KeyboardInterrupt: stopped, everything kept.
    """
    output, plan = Path(output), settings.plan(model)
    if not settings.resume and not settings.only and output.exists() and any(output.iterdir()):
        raise InputError(f"{output} is not empty: go on with --resume, or choose another folder")
    platform = "Reference" if settings.platform == "auto" else choose_platform(settings.platform, len(model.beads))
    dynamics, scan = bead_dynamics(model, output, settings)
    frames, discarded = plan.frames, plan.discarded_frames
    runs = []
    for number in (settings.only,) if settings.only else range(1, settings.runs + 1):
        starts = settings.starts or model.usual_starts
        start, seed = starts[(number - 1) % len(starts)], seed_of_run(settings.seed, number)
        run = ReferenceRun(
            output / f"run{number}",
            model.beads.to_openmm(),
            model.system,
            start_positions(model, start, seed),
            dynamics,
            model.identity()
            | {
                "seed of the data set": settings.seed,
                "seed": seed,
                "discarded_frames": discarded,
                "start": Path(start).name,
            },
            resume=settings.resume,
            platform=platform,
            threads=settings.threads,
        )
        run.run_to(discarded + frames, 60.0 * settings.checkpoint_minutes, show_progress)
        runs.append(Run(run.read_frames()[:frames], dynamics.interval_ps, run.facts() | {"start": start}))
        run.close()
    if settings.only:
        return None
    made = model.identity() | {"source": model.source, **dynamics.describe()}
    made |= {"temperature_k": dynamics.temperatures_k[0]}
    made |= {"platform": platform, "versions": {p: metadata.version(p) for p in ("openmm", "mdtraj")}}
    made |= {} if scan is None else {"folding_temperature": scan}
    return write_bead_dataset(output, output.resolve().name, model, runs, made)


def bead_dynamics(model: BeadModel, output: Path, settings: BeadSettings) -> tuple[Dynamics, dict[str, Any] | None]:
    """How the runs move, and the search for the folding temperature that this rests on, if any; InputError for a plan
    that cannot be followed.
    """
    plan = settings.plan(model)
    if plan.frames < 1:
        raise InputError(f"ns {plan.ns:g}: need at least one frame of {plan.interval_ps:g} ps")
    temperatures, scan = _temperatures(model, output, settings)
    dynamics = Dynamics(
        temperatures_k=temperatures,
        timestep_fs=plan.timestep_fs,
        friction_per_ps=plan.friction_per_ps,
        interval_ps=plan.interval_ps,
    )
    return dynamics, scan


def _temperatures(
    model: BeadModel, output: Path, settings: BeadSettings
) -> tuple[tuple[float, ...], dict[str, Any] | None]:
    """The ladder, and the search for the folding temperature that it rests on, if any."""
    if settings.temperatures_k is not None:
        return settings.temperatures_k, None
    scan = None
    temperature = settings.plan(model).temperature_k
    if temperature is None:
        scan = folding_temperature(model, output, settings)
        temperature = round(scan["temperature_k"], 1)
    return geometric_ladder(temperature, settings.top_temperature_k, settings.rungs), scan


def folding_temperature(model: BeadModel, output: Path, settings: BeadSettings) -> dict[str, Any]:
    """What `find_folding_temperature` finds, kept in the output folder so that a later call takes the same."""
    contacts, scale = model.contacts, model.scale_kj_per_mol
    if contacts is None or scale is None or model.native_nm is None:
        raise InputError(f"the model {model.kind} has no native structure to fold to: give --temperature-k")
    path = output / _SCAN_FILE
    if path.exists():
        try:
            return read_json(path)
        except ValueError as error:
            raise InputError(f"{path} cannot be read ({error}): remove it, and it is made anew") from None
    (seed,) = seeds(settings.seed, "folding temperature")
    unit_k = scale / BOLTZMANN_KJ_PER_MOL_K
    plan = settings.plan(model)
    logger.info("looking for the folding temperature")
    found = find_folding_temperature(
        model.system,
        [start_positions(model, start, seed) for start in ("native", "random")],
        lambda positions_nm: contacts.fraction(np.asarray(positions_nm)) > FOLDED_ABOVE,
        Scan(
            coldest_k=_COLDEST * unit_k,
            hottest_k=_HOTTEST * unit_k,
            timestep_fs=plan.timestep_fs,
            friction_per_ps=plan.friction_per_ps,
            seed=seed,
        ),
    )
    output.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(found, indent=1) + "\n")
    return found
