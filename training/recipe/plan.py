"""What a recipe asks of each expert, nothing left open: in a Recipe, out one ExpertPlan for each interval of t.

A recipe without `experts` is a mixture of one.
"""

from dataclasses import dataclass
from typing import Any

from fpforce.training.recipe.models import ModelRecipe
from fpforce.training.recipe.sections import ExpertRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class ExpertPlan:
    """One expert over (t_min, t_max], as `ExpertRecipe` describes it."""

    t_min: float
    t_max: float
    conservative: bool
    model: ModelRecipe
    v_min: float
    fokker_planck_weight: float
    anchor_weight: float
    max_steps: int
    max_minutes: float | None

    def __str__(self) -> str:
        return f"({self.t_min:g}, {self.t_max:g}]"


def plan_experts(recipe: Recipe) -> tuple[ExpertPlan, ...]:
    """Every expert with all its values in force, the one of the smallest t first."""
    experts = recipe.experts or [ExpertRecipe(t_max=recipe.diffusion.t_max)]
    starts = [recipe.diffusion.smallest, *(expert.t_max for expert in experts)]
    return tuple(_plan(recipe, expert, start) for expert, start in zip(experts, starts, strict=False))


def _plan(recipe: Recipe, expert: ExpertRecipe, t_min: float) -> ExpertPlan:
    weight = recipe.loss.fokker_planck_weight if expert.conservative else 0.0
    return ExpertPlan(
        t_min=t_min,
        t_max=expert.t_max,
        conservative=expert.conservative,
        model=_chosen(expert.model, recipe.model),
        v_min=recipe.diffusion.v_min,
        fokker_planck_weight=_chosen(expert.fokker_planck_weight, weight),
        anchor_weight=expert.anchor_weight,
        max_steps=_chosen(expert.max_steps, recipe.run.max_steps),
        max_minutes=_chosen(expert.max_minutes, recipe.run.max_minutes),
    )


def _chosen(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
