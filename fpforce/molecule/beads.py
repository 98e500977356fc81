"""The beads of a coarse-grained molecule and how they come from atoms.

In: an mdtraj topology with a choice of beads (fpforce.molecule.mapping does the choosing). Out: a BeadTable, which
names the beads, maps atomistic coordinates onto them, makes their topology for OpenMM and mdtraj, and travels in a
model file.
Longer than other files, since the table and what is derived from it are one class.
"""

import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.graph import neighbours_of

if TYPE_CHECKING:
    import mdtraj
    from numpy.typing import ArrayLike
    from openmm import app


# Names of chains where those of a file will not do.
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Bead:
    """One bead: a single source atom, or a group of them at their centre of mass.

    `residue_index` counts residues of the source topology from 0, `residue_number` is the one in its file; `element`
    is the symbol of the source atom (None for a group); `atoms` are indices into the source topology.
    """

    name: str
    residue: str
    residue_index: int
    residue_number: int
    chain: str
    element: str | None
    mass_da: float
    atoms: tuple[int, ...]
    atom_names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.residue}{self.residue_number}-{self.name}"


@dataclass(frozen=True)
class BeadTable:
    """All beads of a molecule with the bonds between them (pairs i < j); `mapping` says how they were chosen."""

    beads: tuple[Bead, ...]
    bonds: tuple[tuple[int, int], ...]
    mapping: str

    def __len__(self) -> int:
        return len(self.beads)

    @property
    def names(self) -> tuple[str, ...]:
        """Bead names, a tuple of n strings."""
        return tuple(bead.name for bead in self.beads)

    @property
    def residues(self) -> str:
        """The residues in order as text, such as "GLU2 ASN3"."""
        return " ".join(dict.fromkeys(f"{bead.residue}{bead.residue_number}" for bead in self.beads))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """What each bead is, whatever the numbering of the file: a tuple such as ("TRP1-N", "TRP1-CA", ...), residues
        counted from the first that has a bead.
        """
        counted = {
            index: number for number, index in enumerate(dict.fromkeys(b.residue_index for b in self.beads), start=1)
        }
        return tuple(f"{bead.residue}{counted[bead.residue_index]}-{bead.name}" for bead in self.beads)

    def order_in(self, labels: Iterable[str], source: object) -> np.ndarray:
        """Where these beads stand in a file that lists `labels`: frames[..., order, :] are in this table's order.

        Raises InputError, naming `source` and the first bead that only one of the two has.
        """
        labels = list(labels)
        if labels == list(self.labels):
            return np.arange(len(labels))
        for label in (*self.labels, *labels):
            ours, theirs = self.labels.count(label), labels.count(label)
            if ours != theirs:
                raise InputError(
                    f"{source} is of another molecule: it has {theirs or 'no'} bead {label}, and {ours or 'none'} is "
                    f"asked for (there {', '.join(labels[:3])}, ..., here {', '.join(self.labels[:3])}, ...); give "
                    "what belongs together"
                )
            if ours > 1:
                raise InputError(
                    f"{source} lists its beads in another order, and {ours} of them are called {label}, so that they "
                    "cannot be put in order; give the topology in the order of that file"
                )
        return np.array([labels.index(label) for label in self.labels])

    @property
    def masses_da(self) -> np.ndarray:
        """Bead masses, float64 (n,), in Da."""
        return np.array([bead.mass_da for bead in self.beads], dtype=np.float64)

    @cached_property
    def angles(self) -> tuple[tuple[int, int, int], ...]:
        """Triples (i, j, k) with bonds i-j and j-k, i < k, sorted by j."""
        neighbours = neighbours_of(self.bonds)
        return tuple(
            (i, j, k) for j in sorted(neighbours) for i in sorted(neighbours[j]) for k in sorted(neighbours[j]) if i < k
        )

    @cached_property
    def phi_psi(self) -> list[dict[str, Any]]:
        """Backbone torsions: a list of dict(residue="ALA2", phi=(C,N,CA,C), psi=(N,CA,C,N)) as bead indices.

        Only residues with both torsions among the beads are listed; a cap supplies its C or N like any residue. None
        leads over a gap in the chain, where C and N are not bonded.
        """
        torsions = []
        for bead in self._alpha_carbons:
            found = self._backbone(bead, (-1, "C"), (0, "N"), (0, "CA"), (0, "C"), (1, "N"))
            if self._bonded(found[0], found[1]) and self._bonded(found[3], found[4]) and found[2] is not None:
                torsions.append({"residue": f"{bead.residue}{bead.residue_number}", "phi": found[:4], "psi": found[1:]})
        return torsions

    @cached_property
    def phi_psi_across_peptide_bonds(self) -> list[dict[str, Any]]:
        """As `phi_psi`, but psi of the residue before each peptide bond with phi of the one after it
        (residue="TRP1-LYS2", peptide_bond=("TRP1", "LYS2")).

        These are all that a dipeptide without its caps has.
        """
        torsions = []
        for bead in self._alpha_carbons:
            found = self._backbone(bead, (0, "N"), (0, "CA"), (0, "C"), (1, "N"), (1, "CA"), (1, "C"))
            if None not in found and self._bonded(found[2], found[3]):
                after = self.beads[cast(int, found[4])]
                ends = f"{bead.residue}{bead.residue_number}", f"{after.residue}{after.residue_number}"
                torsions.append({"residue": "-".join(ends), "peptide_bond": ends, "phi": found[2:], "psi": found[:4]})
        return torsions

    @property
    def _alpha_carbons(self) -> list[Bead]:
        return [bead for bead in self.beads if bead.name == "CA"]

    def _backbone(self, bead: Bead, *places: tuple[int, str]) -> tuple[int | None, ...]:
        """Indices of beads in the chain of `bead`, by (residues after its own, name); None for one that is missing."""
        return tuple(self._where.get((bead.chain, bead.residue_index + after, name)) for after, name in places)

    def _bonded(self, first: int | None, second: int | None) -> bool:
        """Whether two beads are there and have a bond."""
        return first is not None and second is not None and (min(first, second), max(first, second)) in self._bond_set

    @cached_property
    def _bond_set(self) -> set[tuple[int, int]]:
        return set(self.bonds)

    @cached_property
    def _where(self) -> dict[tuple[str, int, str], int]:
        return {(bead.chain, bead.residue_index, bead.name): i for i, bead in enumerate(self.beads)}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict; `BeadTable.from_dict` reads it back."""
        return {
            "mapping": self.mapping,
            "beads": [
                asdict(bead) | {"atoms": list(bead.atoms), "atom_names": list(bead.atom_names)} for bead in self.beads
            ],
            "bonds": [list(pair) for pair in self.bonds],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "BeadTable":
        """The table that `to_dict` wrote; ValueError for bonds between beads that it does not have."""
        beads = tuple(
            Bead(**(bead | {"atoms": tuple(bead["atoms"]), "atom_names": tuple(bead["atom_names"])}))
            for bead in record["beads"]
        )
        bonds = tuple((i, j) for i, j in record["bonds"])
        for index in itertools.chain.from_iterable(bonds):
            if not isinstance(index, int | np.integer) or not 0 <= index < len(beads):
                raise ValueError(f"a bond of bead {index!r}, and there are {len(beads)} beads")
        return cls(beads, bonds, record["mapping"])

    def to_mdtraj(self) -> "mdtraj.Topology":
        """The coarse-grained topology as mdtraj.Topology; a group of atoms is shown as carbon."""
        import mdtraj

        topology = mdtraj.Topology()
        atoms = []
        for chain, residues in self._tree():
            new_chain = topology.add_chain(chain)
            for beads in residues:
                residue = topology.add_residue(beads[0].residue, new_chain, resSeq=beads[0].residue_number)
                for bead in beads:
                    element = mdtraj.element.get_by_symbol(bead.element or "C")
                    atoms.append(topology.add_atom(bead.name, element, residue))
        for i, j in self.bonds:
            topology.add_bond(atoms[i], atoms[j])
        return topology

    def to_openmm(self) -> "app.Topology":
        """The coarse-grained topology as openmm.app.Topology; a group of atoms is shown as carbon.

        Masses must come from `masses_da`, never from these elements.
        """
        from openmm.app import Element, Topology

        topology = Topology()
        atoms = []
        for chain, residues in self._tree():
            new_chain = topology.addChain(chain)
            for beads in residues:
                residue = topology.addResidue(beads[0].residue, new_chain, str(beads[0].residue_number))
                for bead in beads:
                    atoms.append(topology.addAtom(bead.name, Element.getBySymbol(bead.element or "C"), residue))
        for i, j in self.bonds:
            topology.addBond(atoms[i], atoms[j])
        return topology

    def positions(self, xyz: np.ndarray, topology: "mdtraj.Topology") -> np.ndarray:
        """Bead positions (frames, n, 3) from coordinates (frames, atoms, 3), same unit: centres of mass.

        Coordinates of the beads themselves pass through. Raises InputError as `match` does.
        """
        xyz = np.asarray(xyz)
        if self.match(topology) == "beads":
            return xyz
        positions = np.empty((len(xyz), len(self), 3), dtype=xyz.dtype)
        for i, bead in enumerate(self.beads):
            if len(bead.atoms) == 1:
                positions[:, i] = xyz[:, bead.atoms[0]]
            else:
                masses = np.array([topology.atom(atom).element.mass for atom in bead.atoms])
                positions[:, i] = np.einsum("a,fad->fd", masses / masses.sum(), xyz[:, list(bead.atoms)])
        return positions

    def check_source(self, topology: "mdtraj.Topology") -> None:
        """Raise InputError, naming the first difference, unless `topology` is the one these beads were mapped from."""
        for bead in self.beads:
            for atom, name in zip(bead.atoms, bead.atom_names, strict=True):
                wanted = f"{bead.residue} {name}" if atom == bead.atoms[0] else name
                if atom >= topology.n_atoms:
                    raise InputError(
                        f"the topology has {topology.n_atoms} atoms, but bead {bead} is made from atom {atom} "
                        f"({wanted}): give the topology that the model was trained with, or that of its beads"
                    )
                found = topology.atom(atom)
                if found.name != name or (atom == bead.atoms[0] and found.residue.name != bead.residue):
                    raise InputError(
                        f"atom {atom} of the topology is {found.residue.name} {found.name}, but bead {bead} is made "
                        f"from {wanted}: give the topology that the model was trained with, or that of its beads"
                    )

    def match(self, topology: "mdtraj.Topology") -> str:
        """How an mdtraj topology supplies these beads: "beads" (it lists them itself) or "source" (their atoms).

        Raises InputError naming the first mismatch when it is neither.
        """
        if topology.n_atoms != len(self):
            self.check_source(topology)
            return "source"
        differing = [
            (i, self.beads[i], atom)
            for i, atom in enumerate(topology.atoms)
            if not self.is_called(i, atom.name, atom.residue.name)
        ]
        if not differing:
            return "beads"
        try:
            self.check_source(topology)
        except InputError:
            i, bead, atom = differing[0]
            raise InputError(
                f"atom {i} of the topology is {atom.residue.name} {atom.name}, but bead {i} is {bead.residue} "
                f"{bead.name}: the topology must list the beads in this order"
            ) from None
        return "source"

    def is_called(self, index: int, name: str, residue: str) -> bool:
        """Whether these are the names of a bead, what PDB columns, of three or four letters, leave of them, or what
        they are called by a reader that has one name for each residue and atom: HSD is HIS.
        """
        bead = self.beads[index]
        names = {bead.name, bead.name[:4], self._pdb_names[index][0]}
        residues = {bead.residue, bead.residue[:4], bead.residue[:3]}
        if name in names and residue in residues:
            return True
        read_name, read_residue = self._names_read[index]
        return name in names | {read_name} and residue in residues | {read_residue}

    @cached_property
    def _names_read(self) -> list[tuple[str, str]]:
        """Names of every bead and of its residue, as they are read from a PDB of the beads."""
        import mdtraj

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "beads.pdb"
            self.write_pdb(path, np.zeros((len(self), 3)))
            return [(atom.name, atom.residue.name) for atom in mdtraj.load_topology(str(path)).atoms]

    @cached_property
    def _pdb_names(self) -> list[tuple[str, str]]:
        from fpforce.molecule.pdb_writer import pdb_names

        return pdb_names(self)

    def write_pdb(self, path_or_file: str | os.PathLike[str] | TextIO, positions_nm: "ArrayLike") -> None:
        """Write the beads as PDB with element column and CONECT; (frames, n, 3) gives one MODEL per frame."""
        from fpforce.molecule.pdb_writer import write_pdb

        write_pdb(self, path_or_file, positions_nm)

    def write_structure(self, path: str | os.PathLike[str], positions_nm: "ArrayLike") -> None:
        """Write the beads as PDB, and beside it, as .cif, with all names where PDB columns cannot hold them.

        A PDB that is replaced takes the .cif beside it along.
        """
        from fpforce.molecule.cif_writer import needs_cif, write_cif

        beside = Path(path).with_suffix(".cif")
        if Path(path).exists() and not needs_cif(self):
            beside.unlink(missing_ok=True)
        self.write_pdb(path, positions_nm)
        if needs_cif(self):
            write_cif(self, beside, positions_nm)

    def _tree(self) -> list[tuple[str, list[list[Bead]]]]:
        """[(chain, [[beads of a residue], ...]), ...] in bead order: beads of a residue must follow each other."""
        chains = []
        for bead in self.beads:
            if not chains or chains[-1][0] != bead.chain:
                chains.append((bead.chain, []))
            residues = chains[-1][1]
            if not residues or residues[-1][0].residue_index != bead.residue_index:
                residues.append([])
            residues[-1].append(bead)
        return chains
