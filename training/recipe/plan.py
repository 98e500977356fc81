"""What a recipe asks of each expert, nothing left open: in a Recipe, out one ExpertPlan for each interval of t.

A recipe without `experts` is a mixture of one.
"""

from dataclasses import dataclass
from typing import Any

from fpforce.training.recipe.models import PAIRS, InternalRecipe, ModelRecipe
from fpforce.training.recipe.sections import T_EVAL, ExpertRecipe, Recipe

FOKKER_PLANCK_WEIGHT = 5e-4  # where the recipe leaves it open
FEW = 12  # degrees of freedom, those of five beads
V_MIN = 1e-3  # where the recipe leaves it open
V_MIN_OF_MANY = 0.05  # the same for more than FEW degrees of freedom and the kind `internal`
# Mean distance of neighbours in the chain, in units of the molecule's size, below which lengths that go with a bond
# shrink with it: the longer a chain, the shorter its bonds in these units.
BOND = 0.9
ROUNDS, MOST_ROUNDS = 8, 24  # of calibration, where the recipe leaves them open
WINDOW = 6  # beads of a stretch with an energy of its own, where a molecule has more; chosen on hexadecane
FEWEST_STEPS = 2000  # a training that is asked to be shorter is a trial, which is not calibrated unless it says so
FEWEST_MINUTES = 2.0
FLOW_WEIGHT = 0.05  # where the recipe leaves it open; chosen on the first of benchmarks/studies/strangers.py


@dataclass(frozen=True, kw_only=True)
class ExpertPlan:
    """One expert over (t_min, t_max], as `ExpertRecipe` describes it."""

    t_min: float
    t_max: float
    conservative: bool
    model: ModelRecipe
    v_min: float
    fokker_planck_weight: float
    flow_weight: float
    anchor_weight: float
    max_steps: int
    max_minutes: float | None

    def __str__(self) -> str:
        return f"({self.t_min:g}, {self.t_max:g}]"


def settled(
    recipe: Recipe,
    degrees_of_freedom: int | None,
    begun_with: Recipe | None = None,
    weights_of: Recipe | None = None,
    bond: float = BOND,
    t_eval: float = T_EVAL,
) -> Recipe:
    """The recipe with numbers for what it leaves to the data: those of the run it goes on with, or ours.

    degrees_of_freedom: D of one molecule, or of a particle in the plane; None for many molecules. weights_of: the
    recipe of the weights that a new run starts from, whose v_min these need. bond: mean distance of neighbours in the
    chain, in units of the molecule's size. t_eval: where the data ask for it, if the first expert covers it.

    v_min is large for more than FEW degrees of freedom of one molecule and the kind `internal`; others were not
    measured. The denoising loss is blind to the energy at small noise: of an error of some kT over a length l it sees
    sigma^2 (kT / l)^2 per frame, beside D of the noise. What the network says there must follow from what it says at
    the noise at which neighbouring frames blur into each other, and in ln(sigma^2 + v_min) it is near. Of a small
    molecule frames are dense, and there is no gap to bridge; the price would be stiff bonds that are too short. Of a
    long chain the unit of length is many bonds, and v_min a noise that blurs dihedrals too: so it is at most so much of
    a bond's square.

    A denoising fit and rounds of calibration follow where v_min is large, for the same reason: of what the loss hardly
    sees at small noise, least squares over many frames see more than steps over batches, and a simulation the rest.
    """
    loss, diffusion, calibration = recipe.loss, recipe.diffusion, recipe.calibration
    if loss.fokker_planck_weight is None:
        weight = None if begun_with is None else begun_with.loss.fokker_planck_weight
        loss = loss.model_copy(update={"fokker_planck_weight": FOKKER_PLANCK_WEIGHT if weight is None else weight})
    if diffusion.v_min is None:
        earlier = begun_with or weights_of
        v_min = None if earlier is None else earlier.diffusion.v_min
        if v_min is None:
            flexible = (degrees_of_freedom or 0) > FEW and recipe.model.kind == "internal"
            v_min = max(V_MIN, V_MIN_OF_MANY * min(1.0, bond / BOND) ** 2) if flexible else V_MIN
        diffusion = diffusion.model_copy(update={"v_min": v_min})
    if diffusion.t_eval is None:
        covered = t_eval if t_eval < (recipe.experts[0] if recipe.experts else diffusion).t_max else T_EVAL
        at = covered if begun_with is None else begun_with.diffusion.evaluated_at
        diffusion = diffusion.model_copy(update={"t_eval": at})
    wanted = (degrees_of_freedom or 0) > FEW and _calibrates(recipe)
    longer = (degrees_of_freedom or 0) > 3 * (WINDOW - 1) and all(one.conservative for one in recipe.experts)
    recipe = _with_models(recipe, begun_with, weights_of, PAIRS if wanted else False, WINDOW if longer else 0)
    if calibration.most_rounds is None and calibration.rounds is None:
        ours = MOST_ROUNDS if wanted else None
        most = ours if begun_with is None else begun_with.calibration.most_rounds
        calibration = calibration.model_copy(update={"most_rounds": most})
    for name, ours in (("denoising_fit", wanted), ("rounds", ROUNDS if wanted else 0)):
        if getattr(calibration, name) is None:
            begun = None if begun_with is None else getattr(begun_with.calibration, name)
            if begun is None and begun_with is not None and name == "denoising_fit":
                begun = False  # as runs of earlier versions began
            calibration = calibration.model_copy(update={name: ours if begun is None else begun})
    return recipe.model_copy(update={"loss": loss, "diffusion": diffusion, "calibration": calibration})


def _with_models(
    recipe: Recipe, begun_with: Recipe | None, weights_of: Recipe | None, wall: str | bool, window: int
) -> Recipe:
    """With walls and windows for the models of the kind `internal` that leave them open: those of the run it goes on
    with, the windows of the weights it starts from, or these.
    """

    def whole(model: ModelRecipe, begun: ModelRecipe | None, weights: ModelRecipe | None) -> ModelRecipe:
        if not isinstance(model, InternalRecipe):
            return model
        walls, earlier = getattr(begun, "wall", None), begun or weights
        windows = window if earlier is None else getattr(earlier, "window", 0)
        found = {"wall": wall if walls is None else walls, "window": windows}
        return model.model_copy(update={name: value for name, value in found.items() if getattr(model, name) is None})

    def models(one: Recipe | None) -> list[ModelRecipe | None]:
        own = [] if one is None else [one.model, *(expert.model for expert in one.experts)]
        return own + [None] * (1 + len(recipe.experts) - len(own))

    model, *others = (
        own and whole(own, begun, weights)
        for own, begun, weights in zip(models(recipe), models(begun_with), models(weights_of), strict=False)
    )
    experts = [one.model_copy(update={"model": own}) for one, own in zip(recipe.experts, others, strict=True)]
    return recipe.model_copy(update={"model": model, "experts": experts})


def _calibrates(recipe: Recipe) -> bool:
    """Whether the expert that becomes the force field is an `internal` energy whose training is no mere trial."""
    expert, run = recipe.experts[0] if recipe.experts else ExpertRecipe(t_max=1.0), recipe.run
    steps, minutes = _chosen(expert.max_steps, run.max_steps), _chosen(expert.max_minutes, run.max_minutes)
    long_enough = steps >= FEWEST_STEPS and (minutes is None or minutes >= FEWEST_MINUTES)
    return long_enough and expert.conservative and _chosen(expert.model, recipe.model).kind == "internal"


def plan_experts(recipe: Recipe) -> tuple[ExpertPlan, ...]:
    """Every expert with all its values in force, the one of the smallest t first."""
    experts = recipe.experts or [ExpertRecipe(t_max=recipe.diffusion.t_max)]
    starts = [recipe.diffusion.smallest, *(expert.t_max for expert in experts)]
    return tuple(_plan(recipe, expert, start) for expert, start in zip(experts, starts, strict=False))


def _plan(recipe: Recipe, expert: ExpertRecipe, t_min: float) -> ExpertPlan:
    weight = _chosen(recipe.loss.fokker_planck_weight, FOKKER_PLANCK_WEIGHT) if expert.conservative else 0.0
    weight = _chosen(expert.fokker_planck_weight, weight)
    flow = 0.0 if recipe.data.molecules or not weight else FLOW_WEIGHT
    return ExpertPlan(
        t_min=t_min,
        t_max=expert.t_max,
        conservative=expert.conservative,
        model=_chosen(expert.model, recipe.model),
        v_min=_chosen(recipe.diffusion.v_min, V_MIN),
        fokker_planck_weight=weight,
        flow_weight=_chosen(recipe.loss.flow_weight, flow) if expert.conservative else 0.0,
        anchor_weight=expert.anchor_weight,
        max_steps=_chosen(expert.max_steps, recipe.run.max_steps),
        max_minutes=_chosen(expert.max_minutes, recipe.run.max_minutes),
    )


def _chosen(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
