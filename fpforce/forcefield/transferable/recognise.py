"""Which beads of a topology a transferable model sees, and whether it knows them all.

In: what names the atoms of a molecule (a file, or a topology of openmm or mdtraj), all atoms or the beads themselves.
Out: a BeadTable and, where the input has coordinates, bead positions. What the model would treat wrongly is refused
here by name.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.forcefield.transferable.knowledge import Knowledge
from fpforce.forcefield.transferable.vocabulary import with_types
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.chirality import d_residues
from fpforce.molecule.mapping import map_beads
from fpforce.molecule.periodic import whole_frame
from fpforce.molecule.residues import is_solvent
from fpforce.molecule.selection import chosen_atoms
from fpforce.trajectories.files import existing_file, holds_topology, load_frame
from fpforce.trajectories.topology_files import read_topology

if TYPE_CHECKING:
    import mdtraj

logger = logging.getLogger("fpforce")

# Residue, hydrogens that are there and that are not there (names of the PDB) in a state that is unusual at pH 7.
UNUSUAL_STATES = (
    ("HIS", {"HD1", "HE2"}, set(), "doubly protonated"),
    ("ASP", {"HD2"}, set(), "protonated"),
    ("GLU", {"HE2"}, set(), "protonated"),
    ("LYS", {"HZ2"}, {"HZ1"}, "neutral"),
    ("LYS", {"HZ2"}, {"HZ3"}, "neutral"),
    ("TYR", {"HD1"}, {"HH"}, "deprotonated"),
    ("CYS", {"HB2"}, {"HG"}, "without the hydrogen of its sulfur, as in a disulfide"),
)
# Names of residues in a PDB, which mdtraj reads as HIS and CYS, and the state that they mean.
NAMED_STATES = {
    "HID": "protonated at ND1",
    "HSD": "protonated at ND1",
    "HIP": "doubly protonated",
    "HSP": "doubly protonated",
    "HIH": "doubly protonated",
    "HSH": "doubly protonated",
    "CYX": "in a disulfide",
}

CAPS = ("ACE", "FOR", "NME", "NMA", "NHE", "NH2")  # end groups, which may be without beads


@dataclass(frozen=True)
class Recognised:
    """A molecule of known types. positions_nm (n, 3): its beads in the input, or None where that has no coordinates."""

    beads: BeadTable
    positions_nm: np.ndarray | None
    source: str


def recognise(topology: Any, knowledge: Knowledge, *, any_order: bool = False, source: str | None = None) -> Recognised:
    """The beads of a topology: a file that mdtraj reads, an openmm or mdtraj Topology, or an mdtraj Trajectory (its
    first frame). source: what messages call it, in place of what it is.

    Water and ions are left out with a notice, end groups without beads too; where the input shows that an end of the
    chain has no end group, a warning says that the model cannot tell. The order of the beads within a residue does not
    matter to a graph transformer: the beads keep it. A model with a layout gets those of a topology of more atoms in
    its order, and refuses a topology of the beads in another, unless any_order says that nobody counts on it. Raises
    InputError, naming the residue, for an unknown residue or bead, a missing bead, several chains, gaps in the
    numbering, bonds as in no training molecule, and D residues.
    """
    atoms, xyz, found = _read(topology)
    source = found if source is None else source
    chosen = chosen_atoms(atoms, knowledge.choice)
    if not chosen:
        raise InputError(
            f"{source}: no atom is a bead ({knowledge.choice}); give the topology of a peptide or of its beads"
        )
    _say_what_is_left_out(atoms, source)
    _check_residues(atoms, chosen, knowledge, source)
    _say_which_ends_are_bare(atoms, chosen, source)
    _say_which_states_are_unusual(atoms, chosen, source, _named_states(topology))
    if knowledge.layout is not None and (any_order or not _are_all(atoms, chosen)):
        chosen = _in_order(atoms, chosen, knowledge.layout)
    beads = replace(map_beads(atoms, chosen), mapping=knowledge.choice)
    try:
        knowledge.require_layout(beads)
        knowledge.network_constants(beads)
        knowledge.pairs.require_same_bonds(with_types(beads, knowledge.one_type))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if new := knowledge.new_places(beads):
        logger.warning(
            "%s: no molecule that the model was trained on has a residue of the type of %s at its place: what it does "
            "there is a guess",
            source,
            " and ".join(new),
        )
    if xyz is None:
        return Recognised(beads, None, source)
    mirrored = [] if knowledge.allow_d_residues else d_residues(xyz, atoms)
    if mirrored:
        raise InputError(
            f"{source}: {mirrored[0][0]} is a D amino acid, and the model was trained on L amino acids: the frame is "
            "mirrored, or of a D peptide; give an L peptide"
        )
    return Recognised(beads, beads.positions(xyz, atoms)[0].astype(float), source)


def _read(topology: Any) -> tuple["mdtraj.Topology", np.ndarray | None, str]:
    """(mdtraj Topology, coordinates (1, atoms, 3) in nm or None, what to call the input)."""
    import mdtraj

    if isinstance(topology, str | Path):
        path = existing_file(topology, "topology")
        if not holds_topology(path):
            return read_topology(path), None, str(path)
        try:
            frame = load_frame(path, 0)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"topology {path} cannot be read: {reason}; give a PDB of the molecule") from None
        return _whole(frame), frame.xyz, str(path)
    if isinstance(topology, mdtraj.Trajectory):
        frame = topology[0]
        return _whole(frame), frame.xyz, "the frame"
    if isinstance(topology, mdtraj.Topology):
        return topology, None, "the topology"
    if callable(getattr(topology, "atoms", None)):
        return mdtraj.Topology.from_openmm(topology), None, "the topology"
    raise InputError(f"topology is {topology!r}; give an openmm or mdtraj Topology, or a topology file")


def _whole(frame: "mdtraj.Trajectory") -> "mdtraj.Topology":
    """The topology of a frame, whose molecules are put together across a periodic box."""
    return whole_frame(frame)


def _say_what_is_left_out(topology: "mdtraj.Topology", source: str) -> None:
    solvent = Counter(residue.name for residue in topology.residues if is_solvent(residue))
    if solvent:
        found = ", ".join(f"{count} {name}" for name, count in sorted(solvent.items()))
        logger.warning("%s: water and ions are left out (%s)", source, found)


def _are_all(topology: "mdtraj.Topology", chosen: Sequence[int]) -> bool:
    """Whether these atoms are all but water and ions."""
    return len(chosen) == sum(residue.n_atoms for residue in topology.residues if not is_solvent(residue))


def _say_which_ends_are_bare(topology: "mdtraj.Topology", chosen: Sequence[int], source: str) -> None:
    """Warn where a topology of more atoms than the beads has an end without an end group: charged, or cut from
    something longer.

    The beads do not show it, and the model treats the ends as those of the molecules that it was trained on.
    """
    if _are_all(topology, chosen):
        return
    bare = []
    for atom, step in ((chosen[0], -1), (chosen[-1], 1)):
        residue = topology.atom(atom).residue
        beside = residue.index + step
        if residue.name not in CAPS and not (
            0 <= beside < topology.n_residues and topology.residue(beside).name in CAPS
        ):
            bare.append(str(residue))
    if bare:
        logger.warning(
            "%s: the chain has no end group at %s, and the model, which sees the beads alone, treats its ends as those "
            "of the molecules it was trained on; if these had caps (such as ACE and NME), forces and populations will "
            "be wrong: bind the capped molecule",
            source,
            " and ".join(dict.fromkeys(bare)),
        )


def _named_states(topology: Any) -> dict[int, str]:
    """What the residue names of a PDB file say of their state, by number; mdtraj reads HIP as HIS, CYX as CYS, as does
    the model.
    """
    if not (isinstance(topology, str | Path) and Path(topology).suffix.lower() in (".pdb", ".ent")):
        return {}
    atoms = [
        line for line in Path(topology).read_text(errors="replace").splitlines() if line.startswith(("ATOM", "HETATM"))
    ]
    named = dict.fromkeys((line[17:20].strip(), line[22:26].strip()) for line in atoms)
    return {
        int(number): f"{name}{number} is {NAMED_STATES[name]}"
        for name, number in named
        if name in NAMED_STATES and number.isdigit()
    }


def _say_which_states_are_unusual(
    topology: "mdtraj.Topology", chosen: Sequence[int], source: str, named: dict[int, str]
) -> None:
    """Warn of residues whose names (_named_states) or hydrogens show another state than the usual one at pH 7, or a
    disulfide.
    """
    found = list(named.values())
    for residue in dict.fromkeys(topology.atom(atom).residue for atom in chosen):
        if residue.resSeq in named:
            continue
        names = {atom.name for atom in residue.atoms}
        found += [
            f"{residue} is {state}"
            for name, present, absent, state in UNUSUAL_STATES
            if residue.name == name and names >= present and not names & absent
        ]
    if found:
        logger.warning(
            "%s: %s, which the beads do not show: the model takes the residue as it was in training",
            source,
            ", ".join(found),
        )


def _check_residues(topology: "mdtraj.Topology", chosen: Sequence[int], knowledge: Knowledge, source: str) -> None:
    """Raise InputError unless the chosen atoms are the beads of one chain of known residues without a gap."""
    names: dict[int, list[str]] = {}
    for atom in map(topology.atom, chosen):
        names.setdefault(atom.residue.index, []).append(atom.name)
    chains = sorted({topology.residue(index).chain.index for index in names})
    if len(chains) > 1:
        found = ", ".join(_chain(topology.chain(index)) for index in chains)
        raise InputError(
            f"{source} has {len(chains)} chains ({found}), and the model knows molecules of one; give one of them"
        )
    first, last = min(names), max(names)
    for residue in topology.residues:
        if is_solvent(residue) or (
            residue.index not in names and residue.name in CAPS and not first < residue.index < last
        ):
            continue
        _check_beads(residue, tuple(sorted(names.get(residue.index, ()))), knowledge, source)
    for left, right in zip(range(first, last), range(first + 1, last + 1), strict=True):
        before, after = topology.residue(left), topology.residue(right)
        if after.resSeq != before.resSeq + 1:
            raise InputError(
                f"{source}: residue {before} is followed by {after}: residues are missing or out of order; complete "
                "the chain, and number it without a gap"
            )


def _check_beads(residue: Any, names: tuple[str, ...], knowledge: Knowledge, source: str) -> None:
    kind = knowledge.type_of(residue.name)
    if kind not in knowledge.residues:
        raise InputError(
            f"{source}: residue {residue} is of a type that the model was not trained with; it knows "
            f"{', '.join(knowledge.residues)}"
        )
    known = knowledge.residues[kind]
    if names in known:
        return
    nearest = min(known, key=lambda beads: len(set(beads) ^ set(names)))
    missing, unknown = sorted(set(nearest) - set(names)), sorted(set(names) - set(nearest))
    problem = (
        f"lacks the bead {', '.join(missing)}"
        if missing
        else f"has the bead {', '.join(unknown)}"
        if unknown
        else "has a bead twice"
    )
    raise InputError(
        f"{source}: residue {residue} {problem}; the model knows {residue.name} with {', '.join(nearest)}: complete "
        "the residue (such as with pdbfixer)"
    )


def _in_order(topology: "mdtraj.Topology", chosen: Sequence[int], layout: tuple[tuple[str, ...], ...]) -> list[int]:
    """The chosen atoms with those of every residue in the order of the layout's residue at this place."""
    residues = {
        number: place
        for place, number in enumerate(dict.fromkeys(topology.atom(atom).residue.index for atom in chosen))
    }

    def place(index: int) -> tuple[int, int]:
        atom = topology.atom(index)
        residue = residues[atom.residue.index]
        names = layout[residue] if residue < len(layout) else ()
        return residue, names.index(atom.name) if atom.name in names else len(names)

    return sorted(chosen, key=place)


def _chain(chain: Any) -> str:
    residues = list(chain.residues)
    return f"{residues[0]} to {residues[-1]}"
