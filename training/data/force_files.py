"""The files of forces that a recipe names."""

from fpforce.training.recipe.sections import DataRecipe
from fpforce.trajectories.forces import ForceFiles


def force_files(data: DataRecipe) -> ForceFiles | None:
    """Where a recipe's forces are and how they are taken; None where it names none."""
    if data.forces is None:
        return None
    constraints = data.constraints if isinstance(data.constraints, str) else tuple(data.constraints)
    return ForceFiles(
        paths=tuple(data.forces), unit=data.force_unit, constraints=constraints, optimal=data.force_map == "optimal"
    )
