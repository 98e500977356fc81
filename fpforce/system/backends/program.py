"""The TorchScript program of a force field, for the backends that run it.

In: a force field. Out: the loaded program, or an InputError. A program does as it is told when it is called, files
included (SECURITY.md); loading it unpickles nothing but what TorchScript knows.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, refuse_damaged_zip


def load_program(force_field: ForceField) -> Any:
    """The torch.jit.ScriptModule; InputError where the file is damaged, which torch does not notice by itself."""
    import torch

    content = intact_program(force_field)
    try:
        with damage_as_value_error(), torchscript():
            return torch.jit.load(io.BytesIO(content), map_location="cpu")
    except ValueError as error:
        raise _unusable(force_field, error) from error


@contextmanager
def torchscript() -> Iterator[None]:
    """Without torch's warnings that TorchScript is deprecated, about which who simulates a model can do nothing."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.* deprecated")
        yield


def intact_program(force_field: ForceField) -> bytes:
    """The bytes that torch.jit.load takes; InputError where the file is damaged."""
    content = force_field.model_bytes()
    try:
        refuse_damaged_zip(io.BytesIO(content))
    except ValueError as error:
        raise _unusable(force_field, error) from error
    return content


def _unusable(force_field: ForceField, error: ValueError) -> InputError:
    what = " ".join(str(error).split())[:200]
    return InputError(f"{force_field.path}: its program cannot be loaded ({what}); repeat fpforce-export")
