"""The force field of one molecule.

In: the path, the metadata and the beads of a model.pt. Out: a `ForceField`, from which a System and its start are made.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.artifact import TOPOLOGY_ENTRY, read_extra
from fpforce.forcefield.model_file import ModelFile
from fpforce.forcefield.wall import Wall
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.space import MoleculeSpace, PlaneSpace, space_of

if TYPE_CHECKING:
    from openmm import app


@dataclass(frozen=True)
class ForceField(ModelFile):
    """A trained coarse-grained force field: its beads, a start frame, its temperature and its program.

    `metadata` is the file's fpforce.json as a dict. Units: nm, Da, K, kJ/mol.
    """

    beads: BeadTable

    def __repr__(self) -> str:
        return (
            f"ForceField({str(self.path)!r}, kind={self.kind!r}, beads={len(self.beads)}, "
            f"temperature_k={self.temperature_k:g})"
        )

    @property
    def molecule(self) -> str | None:
        """The residues of the molecule that a transferable force field is bound to; None where it was trained
        on one.
        """
        return None

    def bound(self, topology: Any = None) -> "ForceField":
        """Itself: it is of one molecule already, and raises InputError for a topology."""
        if topology is None:
            return self
        raise InputError(
            f"{self.path} is the force field of one molecule already; leave the topology out, or give a "
            "transferable one"
        )

    @property
    def space(self) -> MoleculeSpace | PlaneSpace:
        """What its degrees of freedom are: `fpforce.molecule.space.MOLECULE` or `PLANE`."""
        return space_of(len(self.beads))

    @cached_property
    def positions_nm(self) -> np.ndarray | None:
        """(n, 3) float64: a frame of the training data; of a bound one the topology's own, or None where that has no
        coordinates.
        """
        positions_nm = self.metadata["start_positions_nm"]
        return None if positions_nm is None else np.asarray(positions_nm, dtype=float)

    @property
    def masses_da(self) -> np.ndarray:
        """(n,) float64 bead masses."""
        return self.beads.masses_da

    @property
    def bonds_nm(self) -> dict[str, np.ndarray]:
        """`mean`, `min`, `max` of every bond's length in the training data, in the order of `beads.bonds`."""
        return {name: np.asarray(values, dtype=float) for name, values in self.metadata["bonds_nm"].items()}

    @cached_property
    def wall(self) -> Wall | None:
        """The excluded volume that is part of the energy, or None."""
        record = self.metadata.get("wall")
        if record is None:
            return None
        if record.get("of_pairs"):
            return Wall.of_constants(self.weights(), len(self.beads))
        return Wall.of(self.beads, record["smallest_distances"])

    @property
    def topology(self) -> "app.Topology":
        """The beads as an openmm.app.Topology."""
        return self.beads.to_openmm()

    def replicated_topology(self, replicas: int) -> "app.Topology":
        """An openmm.app.Topology of `replicas` copies of the molecule, each in chains of its own.

        Atoms are in the particle order of `make_system(..., replicas=replicas)`: replica r owns r*n .. (r+1)*n - 1.
        """
        from openmm import app

        single, topology = self.topology, app.Topology()
        for _ in range(replicas):
            copies = {}
            for chain in single.chains():
                new_chain = topology.addChain()
                for residue in chain.residues():
                    new_residue = topology.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
                    for atom in residue.atoms():
                        copies[atom] = topology.addAtom(atom.name, atom.element, new_residue)
            for first, second in single.bonds():
                topology.addBond(copies[first], copies[second])
        return topology

    def topology_pdb(self) -> str:
        """The start frame as PDB text."""
        return read_extra(self.path, TOPOLOGY_ENTRY).decode()
