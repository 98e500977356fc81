"""What is known of the runs behind an assessment beside their frames: files, settings, losses.

In: metadata of a force field and of its simulations, and the names that an evaluation was called with. Out: a
`RunFacts`, by which a diagnosis can tell causes apart and name the command that is next. All of it may be unknown: the
defaults then stand for the names in a command.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How the model was trained. `recipe`, `output`: the run's recipe and folder. `loss`, `held_out_loss`: denoising
    loss on training frames and on frames held out, None where none were; `gap_kt`: spread of energy and log likelihood
    on these. `rounds` of calibration, at `rungs` temperatures. `data`: lists of files that the recipe names, by key.
    """

    recipe: str = "recipe.yaml"
    output: str = "runs/mine"
    steps: int | None = None
    max_minutes: float | None = None
    loss: float | None = None
    held_out_loss: float | None = None
    stopped_early: bool = False
    gap_kt: float | None = None
    flow_weight: float = 0.0
    rounds: int = 0
    rungs: int = 1
    data: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SimulationFacts:
    """How one simulation was run; `start` as --start takes it, None for the model's own or an array."""

    output: str = "simulated.xtc"
    start: str | None = None
    steps: int = 500_000
    replicas: int = 64
    timestep_fs: float = 2.0
    report_interval_ps: float = 0.5
    friction_per_ps: float = 1.0
    rungs: int = 1
    temperature_k: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """`reference`, `trained_on`, `topology`, `iid`, `report`: what fpforce-evaluate was given. `options`: what else it
    was given, as `further_options` has it. `bound`: whether the model has its molecule from the topology.
    """

    model: str = "model.pt"
    temperature_k: float | None = None
    reference: tuple[str, ...] = ("held_out.xtc",)
    reference_time_step_ps: float | None = None
    trained_on: tuple[str, ...] = ()
    topology: str | None = None
    iid: str | None = None
    report: str = "report"
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    bound: bool = False
    training: TrainingFacts = dataclasses.field(default_factory=TrainingFacts)
    simulations: tuple[SimulationFacts, ...] = (SimulationFacts(),)


# Arguments of an evaluation that RunFacts has by name, and those that are no options (`note`) or always given again.
_BY_NAME = {"force_field", "reference", "simulation", "topology", "training", "iid", "output", "overwrite", "note"}


def further_options(
    evaluation: Callable[..., object], given: Mapping[str, Any]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Options of a command line (--name, its values) for arguments `given` to an evaluation, of those that RunFacts has
    no field for and that are not as by default.

    Every argument is an option of the same name, so that none has to be listed here.
    """
    options = []
    for name, parameter in inspect.signature(evaluation).parameters.items():
        value = given[name]
        if name in _BY_NAME or value is None or value == parameter.default:
            continue
        each = value if isinstance(value, list | tuple) else (value,)
        options.append((f"--{name.replace('_', '-')}", tuple(map(str, each))))
    return tuple(options)


# Keys of a recipe's data with a file for each of more trajectories, or a folder of more molecules.
GROWING = ("trajectories", "forces", "weights", "molecules")


def training_facts(record: dict[str, Any]) -> TrainingFacts:
    """From `training` of a force field's metadata."""
    recipe = record.get("recipe") or {}
    output = recipe.get("output") or TrainingFacts.output
    exported: dict[str, Any] = next((e for e in record.get("experts") or () if e.get("exported")), {})
    watched = exported.get("watched") or {}
    calibration = record.get("calibration") or {}
    return TrainingFacts(
        recipe=f"{output}/recipe.yaml",
        output=str(output),
        steps=record.get("steps"),
        max_minutes=(recipe.get("run") or {}).get("max_minutes"),
        loss=watched.get("denoising"),
        held_out_loss=watched.get("held_out_denoising"),
        stopped_early=bool(watched.get("stopped_early")),
        gap_kt=watched.get("gap_kt"),
        flow_weight=exported.get("flow_weight") or 0.0,
        rounds=calibration.get("rounds") or 0,
        rungs=rungs_of(recipe, calibration),
        data={
            key: tuple(map(str, files)) for key, files in (recipe.get("data") or {}).items() if key in GROWING and files
        },
    )


def rungs_of(recipe: Mapping[str, Any], calibration: Mapping[str, Any]) -> int:
    """Temperatures of the last rounds of a calibration, or those that the recipe asks for."""
    asked = calibration.get("settings") or recipe.get("calibration") or {}
    return asked.get("rungs") or 1


def simulation_facts(outputs: Sequence[object], records: Sequence[dict[str, Any]]) -> tuple[SimulationFacts, ...]:
    """From the paths of simulations and their sidecars."""
    return tuple(_simulation(str(output), record) for output, record in zip(outputs, records, strict=True))


def _simulation(output: str, record: dict[str, Any]) -> SimulationFacts:
    start: dict[str, Any] = record.get("start") or {}
    known: dict[str, Any] = {}
    if isinstance(start.get("frame"), int):
        known["start"] = f"{start['source']}:{start['frame']}"
    for field, name in (
        ("steps", "steps"),
        ("replicas", "replicas"),
        ("timestep_fs", "timestep_fs"),
        ("report_interval_ps", "frame_interval_ps"),
        ("friction_per_ps", "friction_per_ps"),
        ("temperature_k", "temperature_k"),
    ):
        if record.get(name) is not None:
            known[field] = record[name]
    return SimulationFacts(output=output, rungs=len(record.get("ladder_k") or [None]), **known)
