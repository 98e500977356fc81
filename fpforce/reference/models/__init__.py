"""Bead models whose energy is known: what is simulated is what a force field should become.

In: the name of a model and what it is of (a PDB, a sequence, a number of carbons). Out: a `BeadModel`.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fpforce.foundation.errors import InputError

if TYPE_CHECKING:
    from fpforce.reference.models.bead_model import BeadModel

_HOME_OF = {
    "structure-based": "structure_based",
    "disordered": "disordered",
    "alkane": "alkane",
    "rna": "rna",
}
MODELS = tuple(_HOME_OF)


def build_model(kind: str, source: str | Path) -> "BeadModel":
    """The `BeadModel` of one of MODELS.

    source: `structure-based`: a PDB; `disordered`: one-letter codes of amino acids; `alkane`: a formula such as C16;
        `rna`: letters A, C, G, U.

    Raises:
        InputError: another model, or a source that it cannot read.
    """
    if kind not in _HOME_OF:
        raise InputError(f"model {kind!r} is unknown: give {', '.join(MODELS[:-1])} or {MODELS[-1]}")
    home = import_module(f"fpforce.reference.models.{_HOME_OF[kind]}")
    return cast("Callable[[str], BeadModel]", home.build)(str(source))
