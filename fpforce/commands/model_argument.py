"""The force field that a command takes: a model.pt, or pretrained:NAME for one that comes with the package."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from fpforce.foundation.errors import InputError

PREFIX = "pretrained:"
_HELP = f"force field: model.pt, or {PREFIX}NAME for one that comes with the package (fpforce-info lists them)"

ModelArgument = Annotated[Path, Argument(help=_HELP, show_default=False)]


def model_file(given: Path) -> Path:
    """The file that is meant; InputError, listing what there is, for a name that the package has not."""
    from fpforce.shipped.pretrained import names, path_of

    name = pretrained_name(given)
    if name is not None:
        return path_of(name)
    if str(given) in names() and not given.exists():
        raise InputError(f"there is no file {given}; for the one that comes with the package give {PREFIX}{given}")
    return given


def pretrained_name(given: Path) -> str | None:
    """NAME of pretrained:NAME; None for any other path."""
    text = str(given)
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None
