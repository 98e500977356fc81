"""fpforce-train: recipe -> model.ckpt."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fpforce.commands.entry import command


@command
def main(
    recipe: Annotated[Path, Argument(help="recipe, a YAML file", show_default=False)],
    overrides: Annotated[
        list[str] | None, Argument(help="changes to the recipe, such as run.max_steps=1000", show_default=False)
    ] = None,
    init: Annotated[Path | None, Option(help="start from the weights of this checkpoint", show_default=False)] = None,
    resume: Annotated[bool, Option("--resume", help="go on from the run's last checkpoint")] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="replace an earlier run")] = False,
) -> None:
    """Train a force field on a trajectory.

    Writes model.ckpt, recipe.yaml (every value in force) and logs/ (TensorBoard and CSV) into the recipe's output
    folder. Ctrl-C stops with a checkpoint.

    Exit status: 0 done; 2 wrong input or disk full; 130 interrupted.
    """
    need_training()
    from fpforce.training.loop.processes import is_first
    from fpforce.training.recipe.read import load_recipe
    from fpforce.training.train import train

    checkpoint = train(load_recipe(recipe, overrides or ()), init=init, resume=resume, overwrite=overwrite)
    if not is_first():
        return
    print(
        f"{checkpoint} is ready; make the force field with: fpforce-export {checkpoint} {checkpoint.with_suffix('.pt')}"
    )


def need_training() -> None:
    """Raise InputError where the packages of the training extra are missing."""
    from importlib.util import find_spec

    from fpforce.foundation.errors import InputError, install_extra

    missing = [name for name in ("torch", "pytorch_lightning", "pydantic") if find_spec(name) is None]
    if missing:
        raise InputError(f"training needs {', '.join(missing)}; {install_extra('cpu', 'cuda13')}")
