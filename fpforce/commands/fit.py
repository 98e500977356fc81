"""fpforce-fit: recipe -> model.pt that was judged, with its report."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from fpforce.commands.entry import command
from fpforce.commands.settings_options import options_from
from fpforce.fitting.settings import FitSettings

NO_PASS = 3


@command
@options_from(FitSettings)
def main(
    recipe: Annotated[
        Path, Argument(help="recipe, a YAML file: files, beads, temperature, output", show_default=False)
    ],
    settings: FitSettings,
    overrides: Annotated[
        list[str] | None, Argument(help="changes to the recipe, such as output=runs/mine", show_default=False)
    ] = None,
) -> int:
    """Train a force field and go on until its simulation has the distribution of held-out data.

    Trains, exports, draws samples, simulates from the most distant states of the data, and evaluates; then goes on, by
    what the report says is wrong, until the verdict is pass or the minutes are spent. Writes model.pt, report.html and
    report.json of the best round into the recipe's output folder, beside fit.json and the files of all rounds. Ctrl-C
    stops, and --resume goes on, at any point.

    Exit status: 0 the force field passes; 2 wrong input or disk full; 3 it does not pass, and the last line says why;
    130 interrupted.
    """
    from fpforce.analysis.criteria import PASS
    from fpforce.commands.train import need_training

    need_training()
    from fpforce.fitting.fit import fit
    from fpforce.training.recipe.read import load_recipe

    result = fit(load_recipe(recipe, overrides or ()), settings)
    print(result.sentence)
    return 0 if result.status == PASS else NO_PASS
