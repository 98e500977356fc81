"""The words of a model, bead names and residue types in the order of its embeddings, and how a molecule spells its
residues with them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable


@dataclass(frozen=True)
class Vocabulary:
    """The bead names and residue types that a model knows, in the order of its embeddings."""

    names: tuple[str, ...]
    residues: tuple[str, ...]

    @staticmethod
    def of(*tables: BeadTable) -> "Vocabulary":
        """All names and residue types of some bead tables, sorted."""
        beads = [bead for table in tables for bead in table.beads]
        return Vocabulary(_sorted(bead.name for bead in beads), _sorted(bead.residue for bead in beads))

    def indices(self, beads: BeadTable) -> tuple[np.ndarray, np.ndarray]:
        """(n,) indices of the beads' names and residue types; InputError for one that is not known."""
        known = (
            ("name", self.names, [bead.name for bead in beads.beads]),
            ("residue type", self.residues, [bead.residue for bead in beads.beads]),
        )
        for what, entries, wanted in known:
            for bead, entry in zip(beads.beads, wanted, strict=True):
                if entry not in entries:
                    raise InputError(
                        f"bead {bead} has the {what} {entry}, which the model was not trained with; "
                        f"it knows {', '.join(entries)}"
                    )
        names, residues = (
            np.array([entries.index(entry) for entry in wanted], dtype=np.int64) for _, entries, wanted in known
        )
        return names, residues


def with_types(beads: BeadTable, one_type: Mapping[str, str]) -> BeadTable:
    """The table with every residue called by its type: {name: type} where that is another than its name."""
    if not one_type:
        return beads
    typed = (replace(bead, residue=one_type.get(bead.residue, bead.residue)) for bead in beads.beads)
    return replace(beads, beads=tuple(typed))


def beads_by_residue(beads: BeadTable) -> list[tuple[str, list[str]]]:
    """(residue type, bead names) of every residue, in order."""
    residues: dict[int, tuple[str, list[str]]] = {}
    for bead in beads.beads:
        residues.setdefault(bead.residue_index, (bead.residue, []))[1].append(bead.name)
    return list(residues.values())


def layout_of(beads: BeadTable) -> tuple[tuple[str, ...], ...]:
    """The bead names of every residue, in order."""
    return tuple(tuple(names) for _, names in beads_by_residue(beads))


def _sorted(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))
