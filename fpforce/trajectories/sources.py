"""What is to be read: the files, the atoms of the beads' molecules among theirs, and how they make the beads.

In: paths, a topology, a choice of beads. Out: Sources, resolved before a trajectory is read. A source is of one of two
kinds: files of atoms (or of beads that a topology names), or arrays of beads that a list names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import BondedTopology, Gap, complete_bonds, with_bonds
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.bonding import SEQUENCE, bead_bonds, other_ways
from fpforce.molecule.bonds_by_distance import SampleFrames
from fpforce.molecule.chains import chain_numbers
from fpforce.molecule.coarse import USUAL_MASS_DA, mark_coarse
from fpforce.molecule.mapping import BeadChoice, choose_beads, list_beads
from fpforce.molecule.misnamed import across_solvent, off_the_backbone
from fpforce.molecule.periodic import bonded_molecules
from fpforce.trajectories.arrays import read_array, read_some
from fpforce.trajectories.atom_checks import ChemicalBonds
from fpforce.trajectories.atom_frames import AtomFrames
from fpforce.trajectories.bohr import refuse_bohr
from fpforce.trajectories.files import holds_topology, is_array, read_atoms, sample_frames
from fpforce.trajectories.force_map import MappedAtoms
from fpforce.trajectories.own_topology import name_warnings
from fpforce.trajectories.scene import Scene, make_scene
from fpforce.trajectories.several_chains import links_between, molecules_of
from fpforce.trajectories.topology_files import TopologyFile, read_topology_file
from fpforce.trajectories.unreadable import is_topology_alone, other_count, unreadable

if TYPE_CHECKING:
    import mdtraj

LISTED = "list"


@dataclass(frozen=True)
class ListedBeads:
    """Arrays whose points are the beads of a table, in its order."""

    table: BeadTable

    @property
    def n_points(self) -> int:
        return len(self.table)

    def read(self, path: Path, length_unit: str | None, stride: int, readable_frames: bool = False) -> AtomFrames:
        """Its frames; InputError if the file is no array of so many points."""
        if not is_array(path):
            raise InputError(f"{path}: without a topology only .npy and .npz arrays can be read: give a topology file")
        return AtomFrames(_points(path, length_unit, stride, self.n_points))

    def positions(self, xyz: np.ndarray) -> np.ndarray:
        """Bead positions from what was read."""
        return xyz

    def scene(self, xyz: np.ndarray, beads_nm: np.ndarray) -> None:
        """None: no atoms are known."""
        return None

    def mapped_atoms(self) -> MappedAtoms:
        """How points make the beads, for mapping forces."""
        n = len(self.table)
        names = tuple(map(str, self.table.beads))
        return MappedAtoms(tuple(range(n)), None, tuple((i,) for i in range(n)), np.eye(n), names, self.table.bonds)


@dataclass(frozen=True)
class MappedFiles:
    """Files of the atoms of a topology, `whole`; read are `indices`, the molecules of the beads.

    topology and table count within these indices; the topology has all bonds. sample: some frames of all atoms, by
    which bonds were told. chemical_bonds: the bonds of atoms, within these indices; None of a model's own beads, whose
    frames may be a simulation's and are to be judged. links: pairs of atoms within these indices, along which
    molecules that stay together are made whole.
    """

    table: BeadTable
    indices: list[int]
    topology: "mdtraj.Topology"
    whole: BondedTopology
    sample: SampleFrames | None
    chemical_bonds: ChemicalBonds | None = None
    links: tuple[tuple[int, int], ...] = ()

    @property
    def n_points(self) -> int:
        return self.whole.topology.n_atoms

    @cached_property
    def other_ways(self) -> frozenset[tuple[int, int]]:
        """Bonds between beads that lead along the atoms otherwise than their names say."""
        return other_ways(self.topology, self.table)

    def read(self, path: Path, length_unit: str | None, stride: int, readable_frames: bool = False) -> AtomFrames:
        """Frames of the atoms at `indices`, made whole; InputError where the file does not go with the topology."""
        if not is_array(path):
            return read_atoms(
                path, self.whole.topology, self.indices, self.topology, stride, readable_frames, self.links
            )
        return AtomFrames(_points(path, length_unit, stride, self.n_points)[:, self.indices])

    def positions(self, xyz: np.ndarray) -> np.ndarray:
        """Bead positions from what was read."""
        return self.table.positions(xyz, self.topology)

    def scene(self, xyz: np.ndarray, beads_nm: np.ndarray) -> Scene:
        """The first frame, of which xyz (atoms, 3) was read and beads_nm (n, 3) was made."""
        bead_atoms = [self.indices[atom] for bead in self.table.beads for atom in bead.atoms]
        others = None if self.sample is None else self.sample.xyz[0]
        return make_scene(self.whole.topology, bead_atoms, self.indices, xyz, others, beads_nm)

    def mapped_atoms(self) -> MappedAtoms:
        """How atoms make the beads, for mapping forces."""
        groups = tuple(bead.atoms for bead in self.table.beads)
        parts = np.zeros((len(groups), len(self.indices)))
        for bead, group in enumerate(groups):
            masses = [1.0] if len(group) == 1 else [self.topology.atom(atom).element.mass for atom in group]
            parts[bead, list(group)] = np.array(masses) / sum(masses)
        names = tuple(map(str, self.table.beads))
        return MappedAtoms(tuple(self.indices), self.topology, groups, parts, names, self.table.bonds)


@dataclass(frozen=True)
class Sources:
    """What to read: the full bead `table`, the `source` that reads a file, and where each bond of the table comes from.

    file: how the topology was given, None where a list names the beads. gaps: between residues with beads.
    assumed_masses: of how many particles that are no atoms the mass is the usual one. renumbered: residues have other
    numbers than in the file. other_names: in words, of trajectories whose own topology names atoms otherwise.
    """

    table: BeadTable
    source: ListedBeads | MappedFiles
    bond_sources: dict[tuple[int, int], str]
    file: TopologyFile | None = None
    gaps: tuple[Gap, ...] = ()
    assumed_masses: int = 0
    renumbered: bool = False
    other_names: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """What is unusual in them, in words."""
        assumed = sum(
            source == SEQUENCE and {self.table.beads[bead].name for bead in pair} != {"CA"}
            for pair, source in self.bond_sources.items()
        )
        lines = [*self.other_names, *(f"{gap}: no torsion or bond leads across" for gap in self.gaps)]
        if isinstance(self.source, MappedFiles):
            of_beads = {atom for bead in self.source.table.beads for atom in bead.atoms}
            lines += off_the_backbone(self.source.topology, of_beads)
            in_order = [pair for pair, source in self.bond_sources.items() if source == SEQUENCE]
            first = [self.source.indices[bead.atoms[0]] for bead in self.source.table.beads]
            lines += across_solvent(self.source.whole.topology, [(first[i], first[j]) for i, j in in_order])
        if assumed:
            lines.append(
                f"{assumed} bonds between residues are assumed, each with the next: the topology lists none between "
                "them, and has not the atoms that would show them"
            )
        if self.renumbered:
            lines.append(
                "residues that follow each other have one name and number, as by insertion codes: they are counted "
                "anew, from 1 in their chain"
            )
        if self.assumed_masses:
            lines.append(
                f"{self.assumed_masses} particles are beads and no atoms by their names and distances: each is taken "
                f"to weigh {USUAL_MASS_DA:g} Da; a .tpr as the topology has their masses, and so may an .itp"
            )
        if self.file is not None and self.file.corrected:
            atom, before, after = self.file.corrected[0]
            lines.append(
                f"the elements of {len(self.file.corrected)} atoms contradict their names and are taken from these: "
                f"{atom} is {after} and not {before}, for example"
            )
        return lines


def resolve(
    paths: Sequence[Path],
    topology: "str | Path | mdtraj.Topology | None",
    beads: BeadChoice,
    table: BeadTable | None,
    length_unit: str | None,
    several_chains: bool = False,
) -> Sources:
    """The Sources of trajectories: with a `table` of a model its beads, else those that `beads` chooses.

    Raises InputError where no topology is given or found, and as the mapping does.
    """
    first = paths[0]
    if topology is None and table is None and is_array(first) and _are_records(beads):
        listed = list_beads(beads, several_chains)
        return Sources(listed, ListedBeads(listed), dict.fromkeys(listed.bonds, LISTED))
    given = _topology(first, topology, table)
    own_file = first if topology is None and holds_topology(first) else topology
    other_names = name_warnings(paths, given.topology, Path(own_file) if isinstance(own_file, str | Path) else None)
    sample = _sample(first, given, length_unit)
    coarse_da = {} if table is not None else mark_coarse(given.topology, sample, given.masses_da)
    refuse_bohr(given.topology, sample, first, coarse_da)
    whole = complete_bonds(given.topology, sample, lists_bonds=given.lists_bonds, coarse=coarse_da)
    given_table = table is not None
    if table is None:
        choice = choose_beads(whole, beads, several_chains, coarse_da)
        table, bond_sources = choice.table, choice.sources
    else:
        bond_sources = dict.fromkeys(table.bonds, LISTED)
    own_beads = given_table and table.match(whole.topology) == "beads"
    from_atoms = table.match(whole.topology) == "source"
    groups = [bead.atoms if from_atoms else (i,) for i, bead in enumerate(table.beads)]
    if from_atoms and LISTED in bond_sources.values():
        found = bead_bonds(whole, groups)
        bond_sources = {pair: found.get(pair, LISTED) for pair in table.bonds}
    if own_beads:  # a file of beads alone seldom lists their bonds, along which they are made whole
        whole = with_bonds(whole, table.bonds, LISTED)
    in_order = [pair for pair, source in bond_sources.items() if source == SEQUENCE]
    whole = with_bonds(whole, [(groups[i][0], groups[j][0]) for i, j in in_order], SEQUENCE)
    indices = bonded_molecules(whole.topology, [atom for group in groups for atom in group])
    where = {atom: position for position, atom in enumerate(indices)}
    local = replace(
        table,
        beads=tuple(
            replace(bead, atoms=tuple(where[atom] for atom in group))
            for bead, group in zip(table.beads, groups, strict=True)
        ),
    )
    inside = whole.topology.subset(indices)
    atoms = links_between(groups, molecules_of(table), sample)
    links = tuple((where[i], where[j]) for i, j in atoms)
    chemical = None
    if not own_beads:
        kept = {(i, j): kind for (i, j), kind in whole.sources.items() if i in where and j in where}
        chemical = ChemicalBonds.of(inside, {(where[i], where[j]): kind for (i, j), kind in kept.items()})
    source = MappedFiles(local, indices, inside, whole, sample, chemical, links)
    used = {whole.topology.atom(atom).residue.index for group in groups for atom in group}
    chain_of = chain_numbers(whole) if whole.gaps else []
    gaps = tuple(
        gap
        for gap in whole.gaps
        if {gap.before.residue.index, gap.after.residue.index} <= used
        and chain_of[gap.before.residue.index] == chain_of[gap.after.residue.index]
    )
    of_beads = [atom for group in groups for atom in group]
    assumed = sum(atom in coarse_da and atom not in given.masses_da for atom in of_beads)
    coarse_names = {str(whole.topology.atom(atom)) for atom in coarse_da}
    given = replace(given, corrected=tuple(entry for entry in given.corrected if entry[0] not in coarse_names))
    numbers = [whole.topology.atom(group[0]).residue.resSeq for group in groups]
    renumbered = not given_table and numbers != [bead.residue_number for bead in table.beads]
    return Sources(table, source, bond_sources, given, gaps, assumed, renumbered, tuple(other_names))


def _topology(first: Path, topology: "str | Path | mdtraj.Topology | None", table: BeadTable | None) -> TopologyFile:
    if topology is None and not holds_topology(first):
        if table is not None:
            return TopologyFile(table.to_mdtraj(), lists_bonds=True)
        if is_array(first):
            raise InputError(f"{first} is a bare array: give a topology file, or `beads` as a list of name and residue")
        if is_topology_alone(first):
            raise InputError(f"{first} has no coordinates: give it as the topology, and a trajectory of its atoms")
        raise InputError(f"{first} does not name its atoms: give a topology file (PDB, GRO, PRMTOP, ...)")
    if topology is None or isinstance(topology, str | Path):
        return read_topology_file(topology or first)
    return TopologyFile(topology.copy())  # its elements may be put right


def _sample(path: Path, given: TopologyFile, length_unit: str | None) -> SampleFrames | None:
    """Some frames to tell bonds by; None for an array of another number of points, which reading will say."""
    if not is_array(path):
        try:
            frames = sample_frames(path, given.topology)
        except Exception as error:
            raise unreadable(path, given.topology, error, from_the_start=True) from None
        if frames.xyz.shape[1] != given.topology.n_atoms:
            raise other_count(path, frames.xyz.shape[1], given.topology.n_atoms)
        return frames
    assert length_unit is not None  # of an array it is declared
    xyz = read_some(path, length_unit)
    return SampleFrames(xyz) if xyz.shape[1] == given.topology.n_atoms else None


def _points(path: Path, length_unit: str | None, stride: int, count: int) -> np.ndarray:
    assert length_unit is not None  # of an array it is declared
    xyz = read_array(path, length_unit, stride)
    if xyz.shape[1] != count:
        raise InputError(f"{path} holds {xyz.shape[1]} points per frame, but the topology or bead list has {count}")
    return xyz


def _are_records(beads: BeadChoice) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return (
        isinstance(beads, (list, tuple)) and len(beads) > 0 and isinstance(beads[0], dict) and "atoms" not in beads[0]
    )
