"""fpforce-map: how a recipe's files are understood, before anything is trained."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from fpforce.commands.entry import command

if TYPE_CHECKING:
    from fpforce.training.recipe.sections import DataRecipe


@command
def main(
    recipe: Annotated[Path, Argument(help="recipe, a YAML file", show_default=False)],
    overrides: Annotated[
        list[str] | None, Argument(help="changes to the recipe, such as data.beads=ca", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        Option(help="folder for the bead frames, a recipe that trains on them, and a picture", show_default=False),
    ] = None,
    strict: Annotated[bool, Option("--strict", help="treat warnings as errors")] = False,
) -> None:
    """Show what becomes of a recipe's trajectories: beads, bonds and where these come from, what is left out and why.

    Reads and checks everything that a training reads. With --output, writes beads.pdb, the frames of each trajectory as
    .npz and .xtc, mapping.txt, mapping.png and recipe.yaml, which trains on these frames; of many molecules all but the
    recipe, in a folder each. The folder appears when all is in it. With data.on_disk it is a training's folder of bead
    frames, OUTPUT/frames, which is gone on with after an interruption.

    Exit status: 0 all is well; 2 something cannot be right, or is unusual and --strict is given.
    """
    from fpforce.commands.train import need_training
    from fpforce.foundation.atomic_files import new_folder

    need_training()
    from fpforce.training.data.read import read_frames
    from fpforce.training.recipe.read import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if loaded.data.on_disk:
        _map_to_disk(loaded.data, output, strict)
        return
    if output is not None:
        _require_new(output)
    unusual: list[str] = []
    with (
        nullcontext(None) if output is None else new_folder(output) as folder,
        nullcontext(None) if folder is None else _scratch(folder) as scratch,
    ):
        for name, frames in read_frames(loaded.data, scratch):
            assert frames.report is not None  # what was read from files has one
            print(f"{name}\n{frames.report}" if name else frames.report)
            unusual += frames.report.warnings
            if folder is not None and output is not None and not (strict and unusual):
                from fpforce.trajectories.bead_files import write_bead_frames

                write_bead_frames(frames, folder / name, None if name else loaded.model_dump(mode="json"))
                print(f"written to    {output / name}")
        _refuse_unusual(unusual, strict)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder in another one, which is gone in the end: trajectories are larger than memory, and than /tmp."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(dir=folder) as name:
        yield Path(name)


def _map_to_disk(data: "DataRecipe", output: Path | None, strict: bool) -> None:
    """The store that a training with data.on_disk makes, goes on with, or takes as it is."""
    from fpforce.foundation.errors import InputError
    from fpforce.training.data.mapped_data import map_to_disk

    if output is None:
        raise InputError("data.on_disk maps to the disk: give --output FOLDER, such as OUTPUT/frames of the training")
    some = map_to_disk(data, output).some
    assert some.report is not None
    print(some.report)
    print(f"written to    {output}")
    _refuse_unusual(list(some.report.warnings), strict)


def _refuse_unusual(unusual: list[str], strict: bool) -> None:
    from fpforce.foundation.errors import InputError

    if strict and unusual:
        raise InputError(f"{unusual[0]}{f' (and {len(unusual) - 1} warnings more)' if unusual[1:] else ''}")


def _require_new(output: Path) -> None:
    """Raise InputError for a folder that holds anything: it may be the files that the recipe names."""
    from fpforce.foundation.errors import InputError

    if output.exists() and not output.is_dir():
        raise InputError(f"output {output} is a file; give a folder")
    if output.is_dir() and any(output.iterdir()):
        raise InputError(f"output {output} is not empty; give a new folder")
