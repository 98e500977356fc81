"""Which atoms are bonded, and how that is known.

In: an mdtraj topology as its file gave it, and some frames of its atoms where there are any. Out: the topology with all
its bonds, each with a source: the topology itself, the names of residues and atoms, or the distance in the frames.

Files seldom list all bonds. A PDB names residues whose bonds everybody knows, but has no bonds of a protonated or
modified residue; a disulfide may be in a CONECT, in an SSBOND, or nowhere; and two residues that follow each other may
be the ends of a gap, or of two molecules. So names give the bonds that they imply, and frames add and remove.
"""

from dataclasses import dataclass

import numpy as np

from fpforce.molecule.graph import box_problem, connected_components, neighbours_of, walk_whole
from fpforce.molecule.residues import CAPS, backbone, is_solvent, standard_name

TOPOLOGY, NAMES, DISTANCE = "topology", "names", "distance"

# Radii in nm of atoms in covalent bonds, rounded from the usual tables; others are taken as large as carbon's
# neighbours below it.
_RADIUS_NM = {
    "H": 0.031, "B": 0.084, "C": 0.076, "N": 0.071, "O": 0.066, "F": 0.057, "Si": 0.111, "P": 0.107, "S": 0.105,
    "Cl": 0.102, "Se": 0.120, "Br": 0.120, "I": 0.139,
}  # fmt: skip
_OTHER_RADIUS_NM = 0.11
_TOLERANCE_NM = 0.03  # a bond at 300 K is stretched by less; atoms two bonds apart are 0.06 nm farther
_SHORTEST_NM = 0.06
_LINK_ELEMENTS = ("C", "N", "O", "S", "Se", "P")  # of heavy atoms that a bond between two residues may join
LONGEST_PEPTIDE_BOND_NM = 0.27  # C and N without a bond come no closer; a bond is 0.133 nm
_TYPICAL_BOND_NM = (0.07, 0.25)  # of atoms; frames where bonds are others, in another unit or of beads, tell nothing


@dataclass(frozen=True)
class SampleFrames:
    """Some frames of all atoms of a file: xyz (frames, atoms, 3) in nm, box_vectors (frames, 3, 3) or None."""

    xyz: np.ndarray
    box_vectors: np.ndarray | None = None

    def distances(self, first, second):
        """(frames, pairs) between atoms, at their nearest images."""
        step = (self.xyz[:, second] - self.xyz[:, first]).astype(np.float64)
        if self.box_vectors is not None:
            images = np.round(np.einsum("fpd,fde->fpe", step, np.linalg.inv(self.box_vectors.astype(np.float64))))
            step -= np.einsum("fpe,fed->fpd", images, self.box_vectors)
        return np.linalg.norm(step, axis=-1)

    def typical(self, first, second):
        """(pairs,) medians over the frames."""
        return np.median(self.distances(first, second), axis=0)


@dataclass(frozen=True)
class Gap:
    """Two residues that follow each other without a bond: their atoms C and N, and the distance between these."""

    before: object
    after: object
    distance_nm: float

    def __str__(self):
        return (
            f"residue {self.after.residue} follows {self.before.residue} in the topology, but C and N are "
            f"{self.distance_nm:.2g} nm apart in the frames: residues are missing, another chain begins there (say so "
            "by TER or a chain name), the order is another, or the molecule is broken across a box that the file does "
            "not hold"
        )


@dataclass(frozen=True)
class BondedTopology:
    """An mdtraj topology with all bonds; `sources` of each (i, j), i < j; `gaps` where a bond was expected."""

    topology: object
    sources: dict[tuple[int, int], str]
    gaps: tuple[Gap, ...] = ()


def complete_bonds(topology, frames: SampleFrames | None = None, *, lists_bonds: bool = False) -> BondedTopology:
    """The topology (a copy, where something is added) with the bonds that names imply and frames show.

    frames: of all atoms of the topology; without them nothing is inferred from distances. lists_bonds: the topology
    came from a file that lists every bond, so that names add none.
    """
    given = {_pair(a.index, b.index) for a, b in topology.bonds}
    solute = [atom for residue in topology.residues if not is_solvent(residue) for atom in residue.atoms]
    implied = set() if lists_bonds and given else _bonds_by_name(topology, solute)
    sources = dict.fromkeys(given, TOPOLOGY)
    for pair in implied & given:  # the readers of PDB and GRO files add them by name
        sources[pair] = NAMES
    free = _Ends(topology, given)
    for pair in sorted(implied - given):
        if free.take(pair):
            sources[pair] = NAMES
    gaps = ()
    if frames is not None and _has_box(frames) and box_problem(frames.xyz, frames.box_vectors, sources):
        frames = SampleFrames(frames.xyz)
    if frames is not None and _tells(frames, sources):
        gaps = _remove_gaps(topology, sources, frames)
        _add_by_distance(topology, solute, sources, frames)
        _add_links(topology, solute, sources, frames)
    if sources.keys() != given:
        topology = topology.copy()
        topology._bonds = [bond for bond in topology._bonds if _pair(bond[0].index, bond[1].index) in sources]
        for i, j in sorted(sources.keys() - given):
            topology.add_bond(topology.atom(i), topology.atom(j))
    return BondedTopology(topology, sources, gaps)


def with_bonds(bonded: BondedTopology, pairs, source) -> BondedTopology:
    """With more bonds, pairs of atoms, of one source."""
    new = {_pair(i, j) for i, j in pairs} - bonded.sources.keys()
    if not new:
        return bonded
    topology = bonded.topology.copy()
    for i, j in sorted(new):
        topology.add_bond(topology.atom(i), topology.atom(j))
    return BondedTopology(topology, bonded.sources | dict.fromkeys(new, source), bonded.gaps)


def is_peptide_bond(first, second):
    """Whether a bond between two mdtraj atoms joins C of one residue with N of another."""
    return {first.name, second.name} == {"C", "N"} and first.residue is not second.residue


def _pair(i, j):
    return (i, j) if i < j else (j, i)


def _bonds_by_name(topology, solute):
    """Pairs that the names of residues and atoms imply: templates, and the backbone of every amino acid."""
    if not solute:
        return set()
    indices = [atom.index for atom in solute]
    named = topology.subset(indices)
    named._bonds = []
    for residue in named.residues:
        residue.name = standard_name(residue)
    named.create_standard_bonds()
    pairs = {_pair(indices[a.index], indices[b.index]) for a, b in named.bonds}
    bonded = {i for pair in pairs for i in pair}
    for chain in topology.chains:
        before = None
        for residue in chain.residues:
            found = None if is_solvent(residue) else backbone(residue)
            if found:
                pairs |= {_pair(found["N"].index, found["CA"].index), _pair(found["CA"].index, found["C"].index)}
                if found["CA"].index not in bonded:
                    names = {atom.name: atom for atom in residue.atoms}
                    pairs |= {
                        _pair(names[a].index, names[b].index)
                        for a, b in (("C", "O"), ("C", "OXT"), ("CA", "CB"))
                        if a in names and b in names
                    }
            carbon, nitrogen = before, _end(residue, found, "N")
            if carbon is not None and nitrogen is not None and (found or backbone(carbon.residue)):
                pairs.add(_pair(carbon.index, nitrogen.index))
            before = _end(residue, found, "C")
    return pairs


def _end(residue, found, name):
    """The atom by which an amino acid or an end group is bonded to the next."""
    if found:
        return found[name]
    if residue.name not in CAPS:
        return None
    return next((atom for atom in residue.atoms if atom.name == name), None)


class _Ends:
    """Which C and N have a peptide bond already, and may not get another by their names."""

    def __init__(self, topology, pairs):
        self.topology, self.taken = topology, set()
        for pair in pairs:
            self._mark(pair)

    def take(self, pair):
        first, second = map(self.topology.atom, pair)
        if is_peptide_bond(first, second) and self.taken & set(pair):
            return False
        self._mark(pair)
        return True

    def _mark(self, pair):
        if is_peptide_bond(*map(self.topology.atom, pair)):
            self.taken |= set(pair)


def _has_box(frames):
    return frames.box_vectors is not None and np.isfinite(frames.xyz).all()


def _tells(frames, sources):
    """Whether bonds have the lengths of bonds between atoms in these frames."""
    if not sources:
        return True
    first, second = np.array(sorted(sources)).T
    with np.errstate(invalid="ignore"):
        typical = float(np.median(frames.distances(first, second)))
    return bool(np.isfinite(frames.xyz).all()) and _TYPICAL_BOND_NM[0] <= typical <= _TYPICAL_BOND_NM[1]


def _remove_gaps(topology, sources, frames):
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


def _radii(atoms):
    return np.array([_RADIUS_NM.get(_symbol(atom), _OTHER_RADIUS_NM) for atom in atoms])


def _symbol(atom):
    return "VS" if atom.element is None else atom.element.symbol


def _add_by_distance(topology, solute, sources, frames):
    """Bonds within residues that are in pieces, and of hydrogens that are listed apart from what they are bonded to."""
    bonded = {i for pair in sources for i in pair}
    of_residue: dict[int, list] = {}
    for atom in solute:
        if _symbol(atom) != "VS":
            of_residue.setdefault(atom.residue.index, []).append(atom)
    within = [pair for pair in sources if topology.atom(pair[0]).residue is topology.atom(pair[1]).residue]
    inside: dict[int, list] = {}
    for pair in within:
        inside.setdefault(topology.atom(pair[0]).residue.index, []).append(pair)
    for number, atoms in of_residue.items():
        if len(atoms) > 1:
            _join_pieces(atoms, inside.get(number, []), sources, frames, bonded)
    alone = [atom for atom in solute if atom.index not in bonded and _symbol(atom) == "H"]
    if alone:
        heavy = [atom for atom in solute if _symbol(atom) not in ("H", "VS")]
        for atom in alone:
            if not heavy:
                break
            distance = frames.typical([atom.index] * len(heavy), [other.index for other in heavy])
            nearest = int(np.argmin(distance))
            if _SHORTEST_NM < distance[nearest] <= _radii([atom, heavy[nearest]]).sum() + _TOLERANCE_NM:
                sources[_pair(atom.index, heavy[nearest].index)] = DISTANCE


def _join_pieces(atoms, pairs, sources, frames, bonded):
    """Add the bonds between pieces of a residue that are not bonded to each other."""
    where = {atom.index: place for place, atom in enumerate(atoms)}
    pieces = connected_components(len(atoms), [(where[i], where[j]) for i, j in pairs if i in where and j in where])
    if len(pieces) == 1:
        return
    piece_of = np.empty(len(atoms), dtype=int)
    for number, members in enumerate(pieces):
        piece_of[members] = number
    first, second = np.triu_indices(len(atoms), 1)
    apart = piece_of[first] != piece_of[second]
    hydrogen = np.array([_symbol(atom) == "H" for atom in atoms])
    apart &= ~(hydrogen[first] & hydrogen[second])
    first, second = first[apart], second[apart]
    if not len(first):
        return
    indices, radii = np.array([atom.index for atom in atoms]), _radii(atoms)
    distance = frames.typical(indices[first], indices[second])
    near = (distance > _SHORTEST_NM) & (distance <= radii[first] + radii[second] + _TOLERANCE_NM)
    full = {place for place, atom in enumerate(atoms) if atom.index in bonded}  # of hydrogens: they have their bond
    for place in np.argsort(distance):
        if not near[place]:
            continue
        ends = int(first[place]), int(second[place])
        protons = [end for end in ends if hydrogen[end]]
        if full.intersection(protons):
            continue
        full.update(protons)
        pair = _pair(*(atoms[end].index for end in ends))
        sources[pair] = DISTANCE
        bonded.update(pair)


def _add_links(topology, solute, sources, frames):
    """Bonds between residues that no name implies: disulfides, closed rings, cross-links."""
    from scipy.spatial import cKDTree

    atoms = [atom for atom in solute if _symbol(atom) in _LINK_ELEMENTS]
    if len(atoms) < 2:
        return
    indices, radii = np.array([atom.index for atom in atoms]), _radii(atoms)
    residue = np.array([atom.residue.index for atom in atoms])
    whole = _whole_frame(topology, indices, sources, frames)
    pairs = cKDTree(whole).query_pairs(2.0 * radii.max() + 2.0 * _TOLERANCE_NM, output_type="ndarray")
    sulfurs = np.array([place for place, atom in enumerate(atoms) if _symbol(atom) in ("S", "Se")], dtype=int)
    if len(sulfurs) > 1:  # of two chains that may lie in different images
        i, j = np.triu_indices(len(sulfurs), 1)
        pairs = np.concatenate([pairs.reshape(-1, 2), np.stack([sulfurs[i], sulfurs[j]], 1)])
    pairs = pairs[residue[pairs[:, 0]] != residue[pairs[:, 1]]]
    if not len(pairs):
        return
    distance = frames.distances(indices[pairs[:, 0]], indices[pairs[:, 1]])
    limit = radii[pairs].sum(1) + _TOLERANCE_NM
    near = (np.median(distance, axis=0) <= limit) & (distance.min(axis=0) > 2.0 * _SHORTEST_NM)
    neighbours = neighbours_of(sources)
    for a, b in pairs[near]:
        i, j = int(indices[a]), int(indices[b])
        around = set(neighbours.get(i, ()))
        free = all(len(neighbours.get(atoms[end].index, ())) < _valence(atoms[end]) for end in (a, b))
        if free and j not in around and around.isdisjoint(neighbours.get(j, ())):
            sources.setdefault(_pair(i, j), DISTANCE)


def _valence(atom):
    """How many bonded neighbours an atom has at most."""
    if atom.name == "C" and backbone(atom.residue):
        return 3
    return {"C": 4, "N": 4, "P": 5}.get(_symbol(atom), 2)


def _whole_frame(topology, indices, sources, frames):
    """Positions (atoms, 3) of the chosen atoms in the first frame, molecules made whole along the known bonds."""
    xyz = frames.xyz[0].astype(np.float64)
    if frames.box_vectors is None:
        return xyz[indices]
    return walk_whole(xyz[None].copy(), frames.box_vectors[:1], sources)[0][indices]
