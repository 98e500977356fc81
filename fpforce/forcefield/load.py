"""load: the path of a model.pt -> the force field in it, of one molecule or of any of known types.

In: a path. Out: a ForceField or a TransferableForceField. Imports no torch.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.forcefield.artifact import METADATA_ENTRY, read_metadata
from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.transferable.bound import TransferableForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error
from fpforce.molecule.beads import BeadTable

# What must be there in every file, and where it is of one molecule.
_OF_ANY = ("kind", "temperature_k", "kt_kj_per_mol", "scale_nm", "t_eval")
_OF_ONE = ("positions_nm", "bonds_nm", "wall")

# What the verbs take: a force field, or the path of one.
AnyForceField = ForceField | TransferableForceField | str | os.PathLike[str]


def load(path: str | os.PathLike[str]) -> ForceField | TransferableForceField:
    """Read a force field from `model.pt` without importing torch.

    Returns a ForceField, or where the model was trained over many molecules a TransferableForceField, of which `bind`
    makes the force field of one.
    Raises InputError for a missing, truncated or damaged file, for a training checkpoint, for TorchScript without
    fpforce metadata, and for a file of a newer format version.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"model file is {path!r}; give the path of a model.pt")
    path = Path(path)
    metadata = read_metadata(path)
    try:
        with damage_as_value_error():
            force_field = _read(path, metadata)
    except ValueError as error:
        if isinstance(error.__cause__, KeyError):
            raise InputError(f"{path}: extra/{METADATA_ENTRY} lacks {error}; repeat fpforce-export") from None
        raise InputError(f"{path}: extra/{METADATA_ENTRY} is damaged ({error}); repeat fpforce-export") from None
    if isinstance(force_field, ForceField):
        start_shape, beads = np.shape(force_field.metadata["start_positions_nm"]), len(force_field.beads)
        if start_shape != (beads, 3):
            raise InputError(
                f"{path}: the start frame has shape {start_shape} for {beads} beads; repeat fpforce-export"
            )
    return force_field


def loaded(model: AnyForceField) -> ForceField | TransferableForceField:
    """A force field itself, or what `load` reads from the path of one."""
    return model if isinstance(model, (ForceField, TransferableForceField)) else load(model)


def _read(path: Path, metadata: dict[str, Any]) -> ForceField | TransferableForceField:
    """The force field; nearly any error where the metadata do not describe one."""
    force_field: ForceField | TransferableForceField
    if "transferable" in metadata:
        force_field = TransferableForceField(path, metadata)
    else:
        force_field = ForceField(path, metadata, BeadTable.from_dict(metadata["beads"]))
    for name in (*_OF_ANY, *(_OF_ONE if isinstance(force_field, ForceField) else ())):
        getattr(force_field, name)
    return force_field
