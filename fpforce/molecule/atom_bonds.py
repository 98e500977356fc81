"""Which atoms are bonded, and how that is known.

In: an mdtraj topology as its file gave it, and some frames of its atoms where there are any. Out: the topology with all
its bonds, each with a source: the topology itself, the names of residues and atoms, or the distance in the frames.

Files seldom list all bonds. A PDB names residues whose bonds everybody knows, but has no bonds of a protonated or
modified residue; a disulfide may be in a CONECT, in an SSBOND, or nowhere; and two residues that follow each other may
be the ends of a gap, or of two molecules. So names give the bonds that they imply, and frames add and remove.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from fpforce.molecule.bonds_by_distance import SampleFrames, add_links, add_within_residues, tell
from fpforce.molecule.bonds_by_name import PeptideEnds, bonds_by_name, is_peptide_bond, pair_of
from fpforce.molecule.covalent import BondLimits, symbol_of
from fpforce.molecule.graph import box_problem, neighbours_of, reached
from fpforce.molecule.residues import amino_acid_of, backbone, is_solvent

if TYPE_CHECKING:
    import mdtraj
    from mdtraj.core.topology import Atom, Residue

TOPOLOGY, NAMES = "topology", "names"

LONGEST_PEPTIDE_BOND_NM = 0.27  # C and N without a bond come no closer; a bond is 0.133 nm


@dataclass(frozen=True)
class Gap:
    """Two residues that follow each other without a bond: their atoms C and N, and the distance between these."""

    before: "Atom"
    after: "Atom"
    distance_nm: float

    def __str__(self) -> str:
        return (
            f"residue {self.after.residue} follows {self.before.residue} in the topology, but C and N are "
            f"{self.distance_nm:.2g} nm apart in the frames: residues are missing, another chain begins there (say so "
            "by TER or a chain name), the order is another, or the molecule is broken across a box that the file does "
            "not hold"
        )


@dataclass(frozen=True)
class BondedTopology:
    """An mdtraj topology with all bonds; `sources` of each (i, j), i < j; `gaps` where a bond was expected; whether it
    is `complete` because the file lists every bond.
    """

    topology: "mdtraj.Topology"
    sources: dict[tuple[int, int], str]
    gaps: tuple[Gap, ...] = ()
    complete: bool = False


def complete_bonds(
    topology: "mdtraj.Topology",
    frames: SampleFrames | None = None,
    *,
    lists_bonds: bool = False,
    coarse: Collection[int] = (),
) -> BondedTopology:
    """The topology (a copy, where something is added) with the bonds that names imply and frames show.

    frames: of all atoms of the topology; without them nothing is inferred from distances. lists_bonds: the topology
    came from a file that lists every bond, so that names add none. coarse: indices of its atoms that are beads, of
    whose bonds neither names nor distances tell anything.
    """
    given = {pair_of(a.index, b.index) for a, b in topology.bonds}
    solute = [
        atom
        for residue in topology.residues
        if not is_solvent(residue)
        for atom in residue.atoms
        if atom.index not in coarse
    ]
    implied = set() if lists_bonds and given else bonds_by_name(topology, solute)
    sources = dict.fromkeys(given, TOPOLOGY)
    for pair in implied & given:  # the readers of PDB and GRO files add them by name
        sources[pair] = NAMES
    free = PeptideEnds(topology, given)
    for pair in sorted(implied - given):
        if free.take(pair):
            sources[pair] = NAMES
    gaps: tuple[Gap, ...] = ()
    if (
        frames is not None
        and _has_box(frames)
        and box_problem(frames.xyz, cast(np.ndarray, frames.box_vectors), sources)
    ):
        frames = SampleFrames(frames.xyz)
    if frames is not None and tell(frames, sources):
        gaps = _remove_gaps(topology, sources, frames)
        _remove_misnamed_hydrogens(topology, sources, frames)
        doubted = _remove_doubted_backbone(topology, sources, frames)
        add_within_residues(topology, solute, sources, frames)
        add_links(topology, solute, sources, frames)
        _restore_unreplaced(topology, sources, doubted)
        gaps = _without_bonded(topology, sources, gaps)
    if sources.keys() != given:
        topology = topology.copy()
        topology._bonds = [bond for bond in topology._bonds if pair_of(bond[0].index, bond[1].index) in sources]
        for i, j in sorted(sources.keys() - given):
            topology.add_bond(topology.atom(i), topology.atom(j))
    return BondedTopology(topology, sources, gaps, lists_bonds and bool(given))


def with_bonds(bonded: BondedTopology, pairs: Iterable[tuple[int, int]], source: str) -> BondedTopology:
    """With more bonds, pairs of atoms, of one source."""
    new = {pair_of(i, j) for i, j in pairs} - bonded.sources.keys()
    if not new:
        return bonded
    topology = bonded.topology.copy()
    for i, j in sorted(new):
        topology.add_bond(topology.atom(i), topology.atom(j))
    return replace(bonded, topology=topology, sources=bonded.sources | dict.fromkeys(new, source))


def _without_bonded(
    topology: "mdtraj.Topology", sources: Iterable[tuple[int, int]], gaps: tuple[Gap, ...]
) -> tuple[Gap, ...]:
    """The gaps whose residues are not bonded otherwise, by C of the first or N of the second, as by an isopeptide bond:
    there no residue is missing. A bond of two side chains, as of cysteines, says nothing of that.
    """
    neighbours = neighbours_of(sources) if gaps else {}

    def bonded_to(atom: "Atom", residue: "Residue") -> bool:
        return any(topology.atom(other).residue is residue for other in neighbours.get(atom.index, ()))

    return tuple(
        gap
        for gap in gaps
        if not bonded_to(gap.before, gap.after.residue) and not bonded_to(gap.after, gap.before.residue)
    )


def _has_box(frames: SampleFrames) -> bool:
    return frames.box_vectors is not None and np.isfinite(frames.xyz).all()


def _remove_doubted_backbone(
    topology: "mdtraj.Topology", sources: dict[tuple[int, int], str], frames: SampleFrames
) -> list[tuple[int, int]]:
    """Take out bonds of the backbone that only names imply and the frames do not have; returns them.

    N, CA and C of a residue that is none of the twenty may be those of a beta-amino acid, in which another carbon lies
    between two of them, or of a whole peptide that is written as one residue. Those of the twenty are what they are
    called: there a bond that the frames do not have shows that the topology is of other atoms.
    """
    named = []
    for pair, source in sources.items():
        first, second = map(topology.atom, pair)
        inside = first.residue is second.residue and "VS" not in (symbol_of(first), symbol_of(second))
        if source == NAMES and inside and backbone(first.residue) and not amino_acid_of(first.residue.name):
            named.append(pair)
    doubted = _too_long(topology, named, frames)
    for pair in doubted:
        del sources[pair]
    return doubted


def _restore_unreplaced(
    topology: "mdtraj.Topology", sources: dict[tuple[int, int], str], doubted: Sequence[tuple[int, int]]
) -> None:
    """Put bonds back whose ends no other bonds of their residue join: there the residue is torn, or of other atoms."""
    if not doubted:
        return
    neighbours = neighbours_of(sources)
    for i, j in doubted:
        inside = {atom.index for atom in topology.atom(i).residue.atoms}
        within = {atom: [other for other in neighbours.get(atom, ()) if other in inside] for atom in inside}
        if j not in reached(within, [i]):
            sources[i, j] = NAMES


def _too_long(topology: "mdtraj.Topology", pairs: list[tuple[int, int]], frames: SampleFrames) -> list[tuple[int, int]]:
    """Those of the pairs that typically are farther apart in the frames than bonded atoms are."""
    if not pairs:
        return []
    ends = np.array(pairs).T
    limits = BondLimits(*([topology.atom(int(end)) for end in side] for side in ends))
    return [pairs[place] for place in np.flatnonzero(frames.typical(*ends) > limits.longest)]


def _remove_misnamed_hydrogens(
    topology: "mdtraj.Topology", sources: dict[tuple[int, int], str], frames: SampleFrames
) -> None:
    """Take out bonds of hydrogens that names imply and the frames do not have, but in amino acids: CHARMM calls the
    hydrogen of O2' in a nucleotide H2', which elsewhere is bonded to C2'.
    """
    named = []
    for pair, source in sources.items():
        first, second = map(topology.atom, pair)
        hydrogen = "H" in (symbol_of(first), symbol_of(second))
        if source == NAMES and hydrogen and first.residue is second.residue and not backbone(first.residue):
            named.append(pair)
    for pair in _too_long(topology, named, frames):
        del sources[pair]


def _remove_gaps(
    topology: "mdtraj.Topology", sources: dict[tuple[int, int], str], frames: SampleFrames
) -> tuple[Gap, ...]:
    """Take out peptide bonds that only names imply and that the frames do not have; returns them."""
    expected = [
        pair for pair in sorted(sources) if sources[pair] == NAMES and is_peptide_bond(*map(topology.atom, pair))
    ]
    if not expected:
        return ()
    gaps = []
    for pair, distance in zip(expected, frames.typical(*np.array(expected).T), strict=True):
        if distance > LONGEST_PEPTIDE_BOND_NM:
            del sources[pair]
            first, second = sorted(map(topology.atom, pair), key=lambda atom: atom.name)
            gaps.append(Gap(first, second, float(distance)))
    return tuple(gaps)
