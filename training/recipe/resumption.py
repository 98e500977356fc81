"""What may differ between the recipe that a run was begun with and the one that it goes on with.

In: both recipes. Out: nothing, or an InputError naming the first key that may not change. The run's length may change,
the machine, and the places of the data; what the data are is compared by their hashes
(training.checkpoint.record.TrainingRecord.refuse_other_data). A calibration may be added. How a graph transformer finds
its pairs changes no number. Where an expert starts from the weights of another run, fewer keys must agree
(`changes_of_weights`).
"""

import re

from fpforce.foundation.errors import InputError
from fpforce.training.recipe.plan import ExpertPlan
from fpforce.training.recipe.sections import Recipe

# `experts.N.` stands for every entry of the list.
FREE = frozenset(
    (
        "output",
        "data.trajectories",
        "data.molecules",
        "data.topology",
        "data.forces",
        "data.weights",
        "model.neighbours",
        "experts.N.model.neighbours",
        "experts.N.max_steps",
        "experts.N.max_minutes",
        "run.max_steps",
        "run.max_minutes",
        "run.checkpoint_minutes",
        "run.accelerator",
        "run.devices",
        "run.strategy",
        "run.threads",
        "run.workers",
        "run.scheduler",
        "run.compile",
    )
)

# By the data where the recipe has null (recipe.plan.settled); calibration.rounds may change anyway.
SETTLED = (
    "loss.fokker_planck_weight",
    "diffusion.v_min",
    "diffusion.t_eval",
    "model.wall",
    "experts.N.model.wall",
    "model.window",
    "experts.N.model.window",
)


def refuse_other_recipe(begun_with: Recipe, recipe: Recipe) -> None:
    """Raise InputError unless `recipe` differs from the one of the run in what is free to change only."""
    ours, theirs = _flat(begun_with.model_dump(mode="json")), _flat(recipe.model_dump(mode="json"))
    for key in sorted(ours.keys() | theirs.keys()):
        entry = re.sub(r"^experts\.\d+\.", "experts.N.", key)
        if entry in FREE or key.startswith("calibration."):
            continue
        if entry in SETTLED and theirs.get(key) is None:
            continue
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"--resume with another recipe: {key} was {ours.get(key)!r}, is {theirs.get(key)!r}; "
                "undo the change, or start anew with --overwrite"
            )


def changes_of_weights(recipe: Recipe, number: int, plan: ExpertPlan, earlier: ExpertPlan) -> list[str]:
    """What keeps expert `number` from taking over the weights of `earlier`: the recipe's keys, with both values.

    The wall does not, since it takes no part in training.
    """
    listed = f"experts.{number}."
    model = f"{listed}model." if recipe.experts and recipe.experts[number].model is not None else "model."
    ours, theirs = (
        {f"{listed}conservative": one.conservative, "diffusion.v_min": one.v_min}
        | {model + name: value for name, value in one.model.model_dump(exclude={"wall"}).items()}
        for one in (plan, earlier)
    )
    if ours[f"{model}kind"] != theirs[f"{model}kind"]:  # whose other keys are not the same
        ours, theirs = ({f"{model}kind": one[f"{model}kind"]} for one in (ours, theirs))
    return [f"{key} was {theirs[key]!r}, is {value!r}" for key, value in ours.items() if theirs[key] != value]


def _flat(section: dict, prefix: str = "") -> dict:
    """A nested mapping as one with dotted keys; the sections of a list are numbered."""
    flat: dict = {}
    for key, value in section.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
