"""The data of an earlier training, where one goes on from it: what new data must agree with.

In: what the earlier training's checkpoint says of its data. Out: its normalisation and its knowledge, or an InputError
for data of another kind.
"""

from dataclasses import dataclass
from pathlib import Path

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.training.data.normalisation import Normalisation


@dataclass(frozen=True)
class EarlierData:
    """path: the checkpoint. trained_on: the beads of its one molecule, or what it knows of the types of many."""

    path: Path
    normalisation: Normalisation
    trained_on: BeadTable | Knowledge

    def of_one_molecule(self) -> BeadTable:
        """The beads; InputError where the earlier training had many molecules."""
        if isinstance(self.trained_on, Knowledge):
            raise self._of_another_kind("many molecules", "trajectories")
        return self.trained_on

    def of_many_molecules(self) -> Knowledge:
        """What is known of types; InputError where the earlier training had one molecule."""
        if isinstance(self.trained_on, BeadTable):
            raise self._of_another_kind("one molecule", "molecules")
        return self.trained_on

    def require_beads(self, beads: BeadTable) -> None:
        """Raise InputError unless `beads` are those that the checkpoint was trained on."""
        had = self.of_one_molecule()
        ours, theirs = ([*map(str, table.beads), *table.bonds] for table in (had, beads))
        if ours != theirs:
            raise InputError(
                f"{self.path} was trained on the beads {', '.join(map(str, had.beads))}, and the recipe's "
                f"data give {', '.join(map(str, beads.beads))}, or other bonds; both must be the same molecule"
            )

    def _of_another_kind(self, had: str, asked: str) -> InputError:
        return InputError(
            f"{self.path} was trained on {had}, and the recipe has data.{asked}; give a checkpoint and a recipe of one "
            "kind"
        )
