"""Topology files -> mdtraj topologies, with what a reader would get wrong put right.

In: a file that mdtraj reads. Out: its topology, with elements that fit the names of the atoms and with the cross-links
that a PDB names in SSBOND and LINK records, which mdtraj passes over.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fpforce.foundation.errors import InputError
from fpforce.molecule.elements import correct_elements
from fpforce.trajectories import second_reader
from fpforce.trajectories.formats import GROMACS_TOPOLOGY, format_of, readable, unpacked
from fpforce.trajectories.quiet import native_output_silenced
from fpforce.trajectories.unreadable import lacks_topology, missing_package, reason

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue

_LISTS_BONDS = (".psf", ".prmtop", ".parm7", ".prm7", ".top", ".h5", ".hdf5", ".lh5", ".hoomdxml")
_PDB = (".pdb", ".pdb.gz")
_COUNTS_FROM_ONE = (".prmtop", ".parm7", ".prm7", ".top")  # whose residues mdtraj counts from 0


@dataclass(frozen=True)
class TopologyFile:
    """A topology and how its file gave it.

    lists_bonds: every bond stands in the file. guessed_elements: the file has none for some atoms. corrected: (atom,
    element before, element after) where it contradicted the name. masses_da: of particles that are no atoms, by index.
    """

    topology: "mdtraj.Topology"
    lists_bonds: bool = False
    guessed_elements: bool = False
    corrected: tuple[tuple[str, str, str], ...] = ()
    masses_da: Mapping[int, float] = field(default_factory=dict)


def read_topology_file(path: str | Path) -> TopologyFile:
    """The topology of a file; InputError if mdtraj cannot read it."""
    import mdtraj

    from fpforce.trajectories.files import existing_file

    path = existing_file(path, "topology")
    try:
        if second_reader.reads_topology(path):
            read = second_reader.load_topology(path)
            everything = range(read.topology.n_atoms)
            corrected = [] if read.masses_da else correct_elements(read.topology, everything if read.guessed else ())
            return TopologyFile(read.topology, read.lists_bonds, read.guessed, tuple(corrected), read.masses_da)
        with readable(path) as name, native_output_silenced():
            topology = mdtraj.load_topology(name)
        if topology is None:
            raise lacks_topology(path)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"topology {path}: {missing_package(error)}") from None
    except Exception as error:
        known = second_reader.reads_topology(path) or format_of(path) in (*mdtraj.FormatRegistry.loaders, *_LISTS_BONDS)
        if not known:
            raise InputError(
                f"topology {path} has extension {path.suffix or '(none)'!r}, and neither this nor the content tells a "
                "format that can be read: give a PDB, GRO, PRMTOP or PSF by its own name"
            ) from None
        remedy = "give a PDB, GRO, PRMTOP or PSF"
        if format_of(path) == GROMACS_TOPOLOGY:
            remedy = "give it with the files that it includes beside it, or the .tpr of the simulation"
        raise InputError(f"topology {path} cannot be read: {reason(error)}; {remedy}") from None
    return put_right(topology, path)


def read_topology(path: str | Path) -> "mdtraj.Topology":
    """mdtraj.Topology of a file; InputError if mdtraj cannot read it."""
    return read_topology_file(path).topology


def put_right(topology: "mdtraj.Topology", path: Path) -> TopologyFile:
    """The topology that mdtraj read from a file, changed in place where it is wrong."""
    form = format_of(path)
    lines = _pdb_lines(path) if form in _PDB else []
    guessed = range(topology.n_atoms) if form == ".gro" else _without_element(lines, topology.n_atoms)
    corrected = correct_elements(topology, guessed)
    if form in _COUNTS_FROM_ONE and [residue.resSeq for residue in topology.residues] == [*range(topology.n_residues)]:
        for residue in topology.residues:
            residue.resSeq += 1
    _number_from_ten_thousand_on(topology, lines)
    for first, second in _named_links(topology, lines):
        topology.add_bond(first, second)
    return TopologyFile(topology, form in _LISTS_BONDS, bool(guessed), tuple(corrected))


def _without_element(lines: Sequence[str], n_atoms: int) -> Collection[int]:
    """Which atoms of a PDB have no element, such as the sites of waters that OpenMM writes; all of them where one has
    none and atoms were left out, as of alternate locations.
    """
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    if n_atoms and len(atoms) % n_atoms == 0:  # of several frames without MODEL
        atoms = atoms[:n_atoms]
    found = {number for number, line in enumerate(atoms) if not line[76:78].strip()}
    return range(n_atoms) if found and len(atoms) != n_atoms else found


def _pdb_lines(path: Path) -> list[str]:
    """The lines of a PDB up to the end of its first model."""
    lines = []
    with open(unpacked(path), errors="replace") as file:
        for line in file:
            if line.startswith("ENDMDL"):
                break
            lines.append(line.rstrip("\n"))
    return lines


def _number_from_ten_thousand_on(topology: "mdtraj.Topology", lines: Sequence[str]) -> None:
    """Give residues of a PDB their numbers of five digits, whose last one is read as an insertion code; in place."""
    numbers, before = [], ""
    for line in lines:
        if line.startswith(("ATOM", "HETATM")):
            if line[17:27] != before:
                numbers.append(line[22:27])
            before = line[17:27]
    if len(numbers) != topology.n_residues:
        return
    for residue, number in zip(topology.residues, numbers, strict=True):
        if len(number) == 5 and number.isdecimal() and number[0] != "0":
            residue.resSeq = int(number)


def _named_links(topology: "mdtraj.Topology", lines: Sequence[str]) -> list[tuple["Atom", ...]]:
    """Pairs of atoms that SSBOND and LINK records join within the asymmetric unit, and no bond does yet."""
    bonded = {frozenset((a.index, b.index)) for a, b in topology.bonds}
    records = [line for line in lines if line.startswith(("SSBOND", "LINK  "))]
    if not records:
        return []
    residues: dict[tuple[str, str], list[Residue]] = {}
    for residue in topology.residues:
        chain = (getattr(residue.chain, "chain_id", None) or "").strip()
        residues.setdefault((chain, str(residue.resSeq)), []).append(residue)
    pairs = []
    for line in records:
        if line.startswith("SSBOND"):
            ends = [("SG", line[15:16], line[17:21]), ("SG", line[29:30], line[31:35])]
        else:
            ends = [(line[12:16], line[21:22], line[22:26]), (line[42:46], line[51:52], line[52:56])]
        if line[59:65].strip() != line[66:72].strip():  # to another copy in the crystal
            continue
        atoms = []
        for name, chain, number in ends:
            found = residues.get((chain.strip(), number.strip()), ())
            atoms += [atom for residue in found for atom in residue.atoms if atom.name == name.strip()]
        if len(atoms) == 2 and atoms[0] is not atoms[1]:
            pair = frozenset(atom.index for atom in atoms)
            if pair not in bonded:
                bonded.add(pair)
                pairs.append(tuple(atoms))
    return pairs
