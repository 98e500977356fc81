"""Choosing beads: presets, mdtraj selections, explicit groups, or a plain list for arrays without a topology.

In: an mdtraj topology (or a list of bead records). Out: a BeadTable with masses, residues and bonds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.atom_bonds import BondedTopology, complete_bonds
from fpforce.molecule.beads import LETTERS, Bead, BeadTable
from fpforce.molecule.bonding import bead_bonds, reasons_apart, require_connected
from fpforce.molecule.chains import chain_numbers, name_in_file
from fpforce.molecule.graph import neighbours_of, reached
from fpforce.molecule.presets import PRESETS
from fpforce.molecule.residues import is_solvent, is_water, whole_residues
from fpforce.molecule.selection import group_of, indices_of, selected

if TYPE_CHECKING:
    import mdtraj

BeadChoice = str | Mapping[Any, Any] | list[Any] | tuple[Any, ...] | np.ndarray  # what `map_beads` takes

_BACKBONE_ELEMENTS = {"N": "N", "CA": "C", "C": "C", "O": "O", "CB": "C"}


@dataclass(frozen=True)
class Choice:
    """A bead table, and where each of its bonds comes from: {(i, j): source}, as `fpforce.molecule.bonding` says."""

    table: BeadTable
    sources: dict[tuple[int, int], str]


def map_beads(topology: "mdtraj.Topology", beads: BeadChoice, several_chains: bool = False) -> BeadTable:
    """Choose beads from the atoms of a topology and derive their masses, residues and bonds.

    Args:
        topology: mdtraj.Topology of the atoms (or of the beads themselves).
        beads: one of
            - a preset: `ca` and `backbone` (CA, or N, CA, C of every amino acid: what has these atoms, whatever its
              name); `backbone5` (C, N, CA, C, N of one amino acid between two caps); `heavy`; `all`. Presets leave
              out water and ions;
            - any other string: an mdtraj selection, one atom = one bead;
            - a list of atom indices, one atom = one bead;
            - groups, mapped to their centres of mass: {bead name: selection | atom index or indices | atom names}, or a
              list of {"name": ..., "atoms": ...} where names repeat.
        several_chains: chains may have no bond between them, as those of a dimer.

    Raises:
        InputError: unknown selection, no atoms selected, an atom in two beads, a bead without mass, or beads that
            bonds do not connect to one molecule.
    """
    return choose_beads(complete_bonds(topology), beads, several_chains).table


def choose_beads(
    bonded: BondedTopology,
    beads: BeadChoice,
    several_chains: bool = False,
    coarse_da: Mapping[int, float] | None = None,
) -> Choice:
    """`map_beads` of a topology whose bonds are complete, with the sources of the bonds.

    coarse_da: {index: mass in Da} of those of its atoms that are beads.
    """
    topology = bonded.topology
    if isinstance(beads, str):
        groups, mapping = selected(topology, beads), beads
        names = [topology.atom(group[0]).name for group in groups]
    elif isinstance(beads, Mapping) and beads:
        names, mapping = [str(name) for name in beads], "groups"
        groups = [group_of(topology, name, atoms) for name, atoms in beads.items()]
    elif isinstance(beads, Sequence) and beads and all(isinstance(bead, Mapping) for bead in beads):
        for i, bead in enumerate(beads):
            if not {"name", "atoms"} <= set(bead):
                raise InputError(f"bead {i} of the list has the keys {sorted(bead)}: give `name` and `atoms`")
        names, mapping = [_name(bead["name"], f"bead {i}: name") for i, bead in enumerate(beads)], "groups"
        groups = [group_of(topology, bead["name"], bead["atoms"]) for bead in beads]
    elif isinstance(beads, (Sequence, np.ndarray)) and len(beads):
        groups, mapping = [(atom,) for atom in indices_of(topology, beads, "the list of bead atoms")], "indices"
        names = [topology.atom(group[0]).name for group in groups]
    else:
        raise InputError(
            f"beads = {beads!r} chooses nothing: give a preset ({', '.join(PRESETS)}), a selection or groups"
        )
    _refuse_shared_atoms(topology, groups)
    _refuse_spread_groups(topology, names, groups)
    chains = _chain_names(bonded, groups, several_chains)
    whole = whole_residues(topology)
    sources = bead_bonds(bonded, groups)
    chosen = [
        _bead(topology, name, group, chains, whole, coarse_da or {}) for name, group in zip(names, groups, strict=True)
    ]
    table = BeadTable(tuple(_distinct_residues(chosen)), tuple(sources), mapping)
    require_connected(table.beads, table.bonds, reasons_apart(bonded, groups), several_chains)
    return Choice(table, sources)


def list_beads(records: Sequence[Mapping[str, Any]], several_chains: bool = False) -> BeadTable:
    """A BeadTable from bead records, for arrays that come without a topology.

    Args:
        records: one mapping per bead, in the order of the array: `name`, `residue`; and where wanted `residue_number`
            (default: a new residue begins where the residue name changes or a bead name repeats), `chain` ("A"),
            `element`, `mass_da` (default: of the element, which the backbone names N, CA, C, O, CB imply), `bonds`
            (indices of bonded beads; default, when no record has any: each bead with the next of its chain).
        several_chains: chains may have no bond between them.

    Raises:
        InputError: missing or unknown key, unknown element, bond out of range, beads that bonds do not connect.
    """
    import mdtraj

    known = {"name", "residue", "residue_number", "chain", "element", "mass_da", "bonds"}
    beads, pairs, residue_index, seen = [], set(), 0, set()
    for i, record in enumerate(records):
        if not isinstance(record, Mapping) or not {"name", "residue"} <= set(record) <= known:
            raise InputError(f"bead {i} is {record!r}: give `name`, `residue` and optionally {sorted(known)[:-1]}")
        name, residue, chain = (_name(record.get(key, "A"), f"bead {i}: {key}") for key in ("name", "residue", "chain"))
        number = record.get("residue_number")
        if beads:
            last = beads[-1]
            same = (last.residue, last.chain) == (residue, chain)
            same = same and (name not in seen if number is None else number == last.residue_number)
            if not same:
                residue_index, seen = residue_index + 1, set()
        seen.add(name)
        element = record.get("element", _BACKBONE_ELEMENTS.get(name))
        try:
            mass = record["mass_da"] if "mass_da" in record else mdtraj.element.get_by_symbol(element).mass
        except (KeyError, AttributeError):
            raise InputError(f"bead {i} ({name}) has no mass: give `mass_da`, or `element` as a symbol") from None
        number = residue_index + 1 if number is None else int(number)
        beads.append(Bead(name, residue, residue_index, number, chain, element, float(mass), (i,), (name,)))
        for other in record.get("bonds", ()):
            if not isinstance(other, int) or not 0 <= other < len(records) or other == i:
                raise InputError(f"bead {i} ({name}) names the bond partner {other}: give indices below {len(records)}")
            pairs.add((min(i, other), max(i, other)))
    if not pairs:
        pairs = {(i, i + 1) for i in range(len(beads) - 1) if beads[i].chain == beads[i + 1].chain}
    if len(beads) != 1:  # one is a particle in an external potential
        require_connected(beads, pairs, several_chains=several_chains)
    return BeadTable(tuple(beads), tuple(sorted(pairs)), "list")


def _name(given: Any, what: str) -> str:
    """A name as text; InputError for what a file has made a number with a point, or nothing, of."""
    if not isinstance(given, (str, int, np.integer)) or isinstance(given, bool):
        raise InputError(f"{what} = {given!r} is no text: put the name in quotes")
    return str(given)


def _refuse_shared_atoms(topology: "mdtraj.Topology", groups: Iterable[Sequence[int]]) -> None:
    seen = set()
    for group in groups:
        for atom in group:
            if atom in seen:
                raise InputError(
                    f"atom {atom} ({topology.atom(atom)}) is in two beads: each atom belongs to one at most"
                )
            seen.add(atom)


def _refuse_spread_groups(topology: "mdtraj.Topology", names: Sequence[str], groups: Sequence[Sequence[int]]) -> None:
    """Raise InputError for a bead of atoms of two molecules: its centre of mass lies between them."""
    if all(len(group) == 1 for group in groups):
        return
    for name, group in zip(names, groups, strict=True):
        loose = [topology.atom(atom) for atom in group if is_solvent(topology.atom(atom).residue)]
        if loose and len(group) > 1:
            kind = "water" if is_water(loose[0].residue) else "an ion"
            raise InputError(
                f"bead {name!r} has the atom {loose[0]}, which is {kind} and bonded to nothing, so that it may move "
                f"away from the rest: leave it out, such as by `and not resname {loose[0].residue.name}`"
            )
    neighbours = neighbours_of((bond[0].index, bond[1].index) for bond in topology.bonds)
    for name, group in zip(names, groups, strict=True):
        molecule = reached(neighbours, [group[0]])
        apart = [atom for atom in group if atom not in molecule and neighbours.get(atom)]
        if apart and neighbours.get(group[0]):
            raise InputError(
                f"bead {name!r} has the atoms {topology.atom(group[0])} and {topology.atom(apart[0])}, which no bonds "
                "connect: they are of two molecules; restrict the bead to one, such as by `resid 0 and ...`"
            )


def _chain_names(bonded: BondedTopology, groups: Iterable[Sequence[int]], several_chains: bool) -> dict[int, str]:
    """{residue: name of its chain}, distinct for each chain that supplies beads: that of the file where all have one of
    their own, else letters.
    """
    topology = bonded.topology
    number_of = chain_numbers(bonded)
    residues = [topology.atom(group[0]).residue for group in groups]
    used = sorted({number_of[residue.index] for residue in residues})
    given = {number_of[residue.index]: name_in_file(residue) for residue in residues}
    names = [given[number] for number in used]
    if not all(names) or len(set(names)) < len(names):
        if len(used) > len(LETTERS) and several_chains:
            raise InputError(
                f"the beads come from {len(used)} chains without names of their own, and there are {len(LETTERS)} "
                "letters for them: name the chains in an mmCIF, or choose fewer"
            )
        names = [LETTERS[place % len(LETTERS)] for place in range(len(used))]
    name_of = dict(zip(used, names, strict=True))
    return {residue.index: name_of[number_of[residue.index]] for residue in residues}


def _bead(
    topology: "mdtraj.Topology",
    name: str,
    group: Sequence[int],
    chains: Mapping[int, str],
    whole: Sequence[int],
    coarse_da: Mapping[int, float],
) -> Bead:
    atoms = [topology.atom(atom) for atom in group]
    mass = float(sum(coarse_da.get(atom.index, 0.0 if atom.element is None else atom.element.mass) for atom in atoms))
    if mass <= 0.0:
        raise InputError(
            f"bead {name} ({atoms[0]}) has no mass: leave virtual sites out, or give elements in the topology, as a "
            "PDB has them in columns 77 and 78 and a GRO has not; masses of beads that are no atoms stand in a .tpr"
        )
    residue = atoms[0].residue
    single = len(atoms) == 1 and atoms[0].index not in coarse_da
    return Bead(
        name,
        residue.name,
        whole[residue.index],
        residue.resSeq,
        chains[residue.index],
        atoms[0].element.symbol if single else None,
        mass,
        tuple(group),
        tuple(atom.name for atom in atoms),
    )


def _distinct_residues(beads: list[Bead]) -> list[Bead]:
    """The beads, residues of a chain counted from 1 where two that follow each other have one name and number: files
    of beads have no insertion codes to tell them apart.
    """
    alike = {
        before.chain
        for before, after in pairwise(beads)
        if before.residue_index != after.residue_index
        and (before.chain, before.residue, before.residue_number) == (after.chain, after.residue, after.residue_number)
    }
    number_of: dict[tuple[str, int], int] = {}
    count: Counter[str] = Counter()
    for bead in beads:
        if (bead.chain, bead.residue_index) not in number_of:
            count[bead.chain] += 1
            number_of[bead.chain, bead.residue_index] = count[bead.chain]
    return [
        replace(bead, residue_number=number_of[bead.chain, bead.residue_index]) if bead.chain in alike else bead
        for bead in beads
    ]
