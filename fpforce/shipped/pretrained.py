"""pretrained: the name of a model that comes with the package -> its force field, for a sequence that of one molecule.

Imports no torch.
"""

from pathlib import Path

from fpforce.forcefield.force_field import ForceField
from fpforce.forcefield.load import load
from fpforce.forcefield.transferable.bound import TransferableForceField
from fpforce.foundation.errors import InputError
from fpforce.shipped.card import Card
from fpforce.shipped.chains import CHAINS

# Beside this file also where the package is installed editable, so that a model that is made anew is there at once.
FOLDER = Path(__file__).parent


def pretrained(name: str, sequence: str | None = None, *, seed: int = 0) -> ForceField | TransferableForceField:
    """A force field that comes with the package, by name: it simulates a molecule without any training.

    name: one of those that fpforce-info lists, with a card for each.
    sequence: one-letter codes of amino acids, for a model of many molecules. The force field is then bound to this
        molecule, with coordinates to start from. Without it, or for coordinates of your own, bind the
        TransferableForceField to a PDB (TransferableForceField.bind).
    seed: of these coordinates.

    Returns what `fpforce.load` returns of the file, or with a sequence the ForceField of that molecule. Needs no torch.
    Raises InputError for a name that is not there, for a sequence with a residue that the model was not trained with or
    of a length that it does not know, and for a sequence where the model is of one molecule.
    """
    force_field = load(path_of(name))
    if sequence is None:
        return force_field
    chain = card(name).chain
    if not isinstance(force_field, TransferableForceField) or chain is None:
        raise InputError(f"{name} is the force field of one molecule already; leave the sequence out")
    if not isinstance(sequence, str):
        raise InputError(f"sequence is {sequence!r}; give one-letter codes of amino acids, such as 'WK'")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}; give a whole number of 0 or more")
    molecule, source = CHAINS[chain](sequence), f"sequence {sequence}"
    force_field.bind(molecule.topology, source=source)  # what it does not know is said before coordinates are made
    return force_field.bind(molecule.frame(seed), source=source)


def names() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def path_of(name: str) -> Path:
    """The model file; InputError, listing what there is, for another name."""
    if name not in names():
        raise InputError(f"no pretrained model is called {name!r}; there are {', '.join(names())}")
    return FOLDER / f"{name}.pt"


def card(name: str) -> Card:
    """The card of a model; InputError for another name."""
    return Card.read(path_of(name).with_suffix(".md"))
