"""How files were understood: what became beads, what was left out and why, which bonds there are and whence.

In: what was resolved, read and checked. Out: a MappingReport, which holds facts alone and prints itself. `warnings` are
what is unusual and may still be meant; what cannot be right was refused before.
Longer than other files, since it holds every fact that a mapping reports, and how each is found.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fpforce.molecule.beads import BeadTable
from fpforce.molecule.bonding import LINK, SEQUENCE
from fpforce.molecule.chains import name_in_file
from fpforce.molecule.chirality import chiral_residues
from fpforce.molecule.residues import CAPS, alpha_carbon, amino_acid_of, backbone, is_solvent, is_water
from fpforce.trajectories.collected import pieces_of
from fpforce.trajectories.several_chains import Interface
from fpforce.trajectories.streamed import extents

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Residue

_BONDS_AT_ONCE = 32  # the positions are gone through for so many together
_SITES_TO_NAME = 8
_HOW = {
    "topology": "listed in the topology",
    "names": "known from the names of residues and atoms",
    "distance": "told by distances in the frames",
    LINK: "links across the chain",
    SEQUENCE: "assumed between residues that follow each other: the topology lists none",
    "list": "of the list of beads",
}


@dataclass(frozen=True)
class LeftOut:
    """Residues without beads, by name: a reason, and how many there are of each name."""

    reason: str
    residues: dict[str, int]

    def __str__(self) -> str:
        return f"{', '.join(f'{count} {name}' for name, count in self.residues.items())}: {self.reason}"


@dataclass(frozen=True)
class BondRange:
    """A bond between two beads, where it comes from, and its lengths in nm over all frames."""

    first: str
    second: str
    source: str
    shortest_nm: float
    typical_nm: float
    longest_nm: float


@dataclass(frozen=True)
class FileFrames:
    """Frames that were taken of a file. repeated: those that equal an earlier frame of the data."""

    path: str
    frames: int
    time_step_ps: float | None
    box_nm: tuple[float, float, float] | None
    without_positions: int
    repeated: int


@dataclass(frozen=True)
class MappingReport:
    """What was taken from the files, and what was not.

    chains: (name, its residues with beads as text) each. corrected_elements: (atom, before, after). chirality: how the
    handedness was judged. stride: every so many-th frame was taken. interfaces: of molecules that no bond joins.
    residue_types: {name: type} of residues whose type for a transferable model is not their name. sites: {name: count}
    of what has no mass and no bead in residues with beads. chains_in_file: {name: name in the file} where they differ.
    """

    mapping: str
    beads: int
    chains: tuple[tuple[str, str], ...]
    residues: tuple[tuple[str, str], ...]
    left_out: tuple[LeftOut, ...]
    bonds: tuple[BondRange, ...]
    guessed_elements: bool
    corrected_elements: tuple[tuple[str, str, str], ...]
    unit: str
    files: tuple[FileFrames, ...]
    stride: int
    chirality: str
    warnings: tuple[str, ...]
    interfaces: tuple[Interface, ...] = ()
    residue_names: tuple[str, ...] = ()
    residue_types: Mapping[str, str] = field(default_factory=dict)
    sites: Mapping[str, int] = field(default_factory=dict)
    chains_in_file: Mapping[str, str] = field(default_factory=dict)

    @property
    def states(self) -> tuple[tuple[str, str], ...]:
        """(name, amino acid) of residues that have the name of a state or an end of an amino acid.

        A model takes names as types: LYSH and LYS are two, but where `residue_types` makes them one.
        """
        own = [name for name in self.residue_names if name not in self.residue_types]
        found = [(name, amino_acid_of(name)) for name in own]
        return tuple((name, of) for name, of in found if of is not None and of != name.upper())

    @property
    def _of_other_types(self) -> list[str]:
        return [name for name in self.residue_names if name in self.residue_types]

    @property
    def links(self) -> tuple[BondRange, ...]:
        """The bonds that join residues otherwise than along the chain."""
        return tuple(bond for bond in self.bonds if bond.source == LINK)

    def _in_file(self, chain: str) -> str:
        name = self.chains_in_file.get(chain)
        return "" if name is None else f" (chain {name} in the file)"

    @property
    def _sites_left_out(self) -> str:
        names = ", ".join(f"{count} {name}" for name, count in list(self.sites.items())[:_SITES_TO_NAME])
        more = ", ..." if len(self.sites) > _SITES_TO_NAME else ""
        return (
            f"{_plural(sum(self.sites.values()), 'site')} without mass in residues with beads, such as Drude particles "
            f"and lone pairs: {names}{more}"
        )

    def short(self) -> str:
        """One line for a log."""
        frames = sum(file.frames for file in self.files)
        out = sum(sum(group.residues.values()) for group in self.left_out)
        links = f", {len(self.links)} of them links" if self.links else ""
        reasons = f" ({'; '.join(map(str, self.left_out))})" if out else ""
        return (
            f"{self.beads} beads ({self.mapping}) of {_plural(len(self.residues), 'residue')} in "
            f"{_plural(len(self.chains), 'chain')}, {_plural(len(self.bonds), 'bond')}{links}; "
            f"{_plural(out, 'residue')} left out{reasons}; {_plural(frames, 'frame')} of "
            f"{_plural(len(self.files), 'file')}"
        )

    def __str__(self) -> str:
        lines = [f"beads         {self.beads}, chosen by {self.mapping}"]
        lines += [f"chain {name:<8}{residues}{self._in_file(name)}" for name, residues in self.chains]
        lines += [f"  {residue:<12}{beads}" for residue, beads in self.residues]
        lines += [f"state         {name}: of {amino_acid}, and a type of its own" for name, amino_acid in self.states]
        lines += [f"type          {name} counts as {self.residue_types[name]}" for name in self._of_other_types]
        left_out = [str(group) for group in self.left_out] + ([self._sites_left_out] if self.sites else [])
        lines += [f"left out      {text}" for text in left_out] or ["left out      nothing"]
        for source, count in Counter(bond.source for bond in self.bonds).items():
            lines.append(f"bonds         {count} {_HOW.get(source, source)}")
        lines.append("bonds (nm)    shortest, typical and longest over all frames")
        lines += [
            f"  {bond.first + ' - ' + bond.second:<28}{bond.shortest_nm:8.4f}{bond.typical_nm:8.4f}"
            f"{bond.longest_nm:8.4f}  {bond.source}"
            for bond in self.bonds
        ]
        lines += [f"together      {interface}" for interface in self.interfaces]
        if self.guessed_elements:
            lines.append("elements      guessed from the names of atoms: the topology has none")
        lines += [f"element       {atom}: {after}, not {before}" for atom, before, after in self.corrected_elements]
        lines.append(f"unit          {self.unit}")
        for file in self.files:
            step = "" if file.time_step_ps is None else f", one every {file.time_step_ps:g} ps"
            box = (
                "no box" if file.box_nm is None else "box " + " x ".join(f"{edge:.3g}" for edge in file.box_nm) + " nm"
            )
            lines.append(f"frames        {file.frames} of {file.path}{step}, {box}")
            if file.without_positions:
                lines.append(f"  {file.without_positions} without positions, passed over")
            if file.repeated:
                lines.append(f"  {file.repeated} equal to an earlier one")
        if self.stride > 1:
            lines.append(f"stride        every {self.stride}th frame")
        lines.append(f"chirality     {self.chirality}")
        lines += [f"warning       {text}" for text in self.warnings] or ["warnings      none"]
        return "\n".join(lines)


def chains_of(table: BeadTable) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """((chain, residues as text), ...) and ((residue, bead names), ...) of a table."""
    chains: dict[str, dict[int, str]] = {}
    residues: dict[int, tuple[str, list[str]]] = {}
    for bead in table.beads:
        name = f"{bead.residue}{bead.residue_number}"
        chains.setdefault(bead.chain, {})[bead.residue_index] = name
        residues.setdefault(bead.residue_index, (name, []))[1].append(bead.name)
    return (
        tuple((chain, " ".join(names.values())) for chain, names in chains.items()),
        tuple((name, " ".join(beads)) for name, beads in residues.values()),
    )


def chain_names_in_file(topology: "mdtraj.Topology", table: BeadTable) -> dict[str, str]:
    """{chain of the beads: its name in an mdtraj topology} of chains that have another one there."""
    names = {bead.chain: name_in_file(topology.atom(bead.atoms[0]).residue) for bead in reversed(table.beads)}
    return {chain: name for chain, name in reversed(names.items()) if name not in ("", chain)}


def left_out_of(
    topology: "mdtraj.Topology", table: BeadTable, molecule: Iterable[int]
) -> tuple[tuple[LeftOut, ...], list[str]]:
    """(LeftOut, ...) of an mdtraj topology, and warnings for amino acids, and for other residues of the chain, that
    stand between residues with beads.

    molecule: indices of the atoms that are bonded to the beads.
    """
    used = {topology.atom(atom).residue.index for bead in table.beads for atom in bead.atoms}
    inside = set(molecule)
    found: dict[str, Counter[str]] = {}
    missed, others = [], []
    joined_by = _neighbours_in_chain(topology, used)
    for residue in topology.residues:
        if residue.index in used:
            continue
        reason = _why(residue, inside)
        found.setdefault(reason, Counter())[residue.name] += 1
        between = used and min(used) < residue.index < max(used)
        if between and backbone(residue) and next(residue.atoms).index in inside:
            missed.append(str(residue))
        elif between and {number > residue.index for number in joined_by.get(residue.index, ())} == {True, False}:
            others.append(str(residue))
    warnings = []
    if missed:
        warnings.append(
            f"{', '.join(missed)} {'is an amino acid' if len(missed) == 1 else 'are amino acids'} without a bead, "
            f"between residues that have some: the choice of beads ({table.mapping}) leaves them out"
        )
    if others:
        warnings.append(
            f"{', '.join(others)} {'is a part' if len(others) == 1 else 'are parts'} of the chain without a bead, "
            f"between residues that have some: the choice of beads ({table.mapping}) leaves "
            f"{'it' if len(others) == 1 else 'them'} out, and the residues on both sides are joined across; name atoms "
            f"of {'it' if len(others) == 1 else 'them'} too, or see that this is meant"
        )
    return tuple(LeftOut(reason, dict(counts)) for reason, counts in found.items()), warnings


def _neighbours_in_chain(topology: "mdtraj.Topology", used: Container[int]) -> dict[int, set[int]]:
    """{residue without beads, no end group and no solvent: residues of its chain to which it is bonded}."""
    found: dict[int, set[int]] = {}
    for pair in topology.bonds:
        first, second = (atom.residue for atom in pair)
        if first is second or first.chain is not second.chain:
            continue
        for here, there in ((first, second), (second, first)):
            if here.index not in used and here.name not in CAPS and not is_solvent(here):
                found.setdefault(here.index, set()).add(there.index)
    return found


def sites_without_mass(topology: "mdtraj.Topology", table: BeadTable) -> dict[str, int]:
    """{name: count} of what has no mass and is in no bead, of residues with beads of an mdtraj topology."""
    beads = {atom for bead in table.beads for atom in bead.atoms}
    residues = {topology.atom(atom).residue.index for atom in beads}
    return dict(
        Counter(
            atom.name
            for index in sorted(residues)
            for atom in topology.residue(index).atoms
            if atom.index not in beads and (atom.element is None or not atom.element.mass)
        )
    )


def _why(residue: "Residue", molecule: Container[int]) -> str:
    if is_water(residue):
        return "water"
    if is_solvent(residue):
        return "ions"
    if residue.name in CAPS:
        return "end groups, of which no atom is a bead"
    if not any(atom.index in molecule for atom in residue.atoms):
        return "not bonded to the molecule of the beads"
    if not alpha_carbon(residue):
        lacking = [name for name in ("N", "CA", "C") if name not in {atom.name for atom in residue.atoms}]
        if len(lacking) in (1, 2) or (lacking and amino_acid_of(residue.name)):  # others are no amino acids
            return f"{_NOT_CHOSEN} (it lacks {', '.join(lacking)})"
    return _NOT_CHOSEN


_NOT_CHOSEN = "bonded to the beads, but no atom chosen"


def bond_ranges(
    positions_nm: np.ndarray, table: BeadTable, sources: Mapping[tuple[int, int], str]
) -> tuple[BondRange, ...]:
    """A BondRange of every bond over positions (frames, n, 3)."""
    ranges = []
    for start in range(0, len(table.bonds), _BONDS_AT_ONCE):
        bonds = table.bonds[start : start + _BONDS_AT_ONCE]
        first, second = np.array(bonds).T

        def lengths(i: np.ndarray = first, j: np.ndarray = second) -> Iterator[np.ndarray]:
            for piece in pieces_of(positions_nm):
                yield np.linalg.norm(piece[:, i] - piece[:, j], axis=2)

        for (i, j), *extent in zip(bonds, *extents(lengths), strict=True):
            source = sources.get((i, j), "list")
            ranges.append(BondRange(str(table.beads[i]), str(table.beads[j]), source, *map(float, extent)))
    return tuple(ranges)


def chirality_of(topology: "mdtraj.Topology | None", table: BeadTable, allow_d_residues: bool) -> str:
    """How the handedness of the residues was judged, in words."""
    if allow_d_residues:
        return "not judged: D amino acids are allowed"
    judged = [] if topology is None else chiral_residues(topology)
    if judged:
        return f"{_plural(len(judged), 'residue')} found L by CB or HA in every frame"
    torsions = [torsion for torsion in table.phi_psi if not torsion["residue"].startswith("GLY")]
    if torsions:
        return f"judged by the sign of phi of {_plural(len(torsions), 'residue')}; no CB or HA is there to tell"
    return "cannot be judged: the atoms that would tell it are not in the files"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
