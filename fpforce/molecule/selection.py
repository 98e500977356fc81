"""The atoms that a choice of beads means: a preset, an mdtraj selection, indices or names.

In: an mdtraj topology and what a recipe says. Out: indices of its atoms, or an InputError that says what was meant or
what is there instead.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.presets import PRESETS
from fpforce.molecule.residues import is_solvent

if TYPE_CHECKING:
    import mdtraj


def chosen_atoms(topology: "mdtraj.Topology", choice: str) -> list[int]:
    """Indices of the atoms that a preset or an mdtraj selection makes beads, each one bead; water and ions left out."""
    atoms = [group[0] for group in selected(topology, choice)]
    return [atom for atom in atoms if not is_solvent(topology.atom(atom).residue)]


def selected(topology: "mdtraj.Topology", choice: str) -> list[tuple[int, ...]]:
    """One-atom groups of a preset or an mdtraj selection."""
    if not choice.strip():
        raise InputError(
            f"beads = {choice!r} chooses nothing: give a preset ({', '.join(PRESETS)}), a selection or groups"
        )
    if choice in PRESETS:
        atoms = PRESETS[choice](topology)
    else:
        try:
            atoms = topology.select(_quoted(choice))
        except Exception as error:
            raise InputError(
                f"beads = {choice!r} is neither a preset ({', '.join(PRESETS)}) nor an mdtraj selection: "
                f"{_first_line(error)}{_meant(topology, choice)}"
            ) from None
    if len(atoms) == 0:
        raise InputError(f"beads = {choice!r} selects none of the {topology.n_atoms} atoms{_there_are(topology)}")
    return [(int(atom),) for atom in atoms]


def _there_are(topology: "mdtraj.Topology") -> str:
    """What a topology has instead of what was chosen, in words."""
    if any(atom.name == "BB" for atom in topology.atoms):
        return ": it has beads of Martini, whose backbone is `name BB`"
    solvent = Counter(residue.name for residue in topology.residues if is_solvent(residue))
    names = ", ".join(f"{count} {name}" for name, count in solvent.most_common(3))
    if sum(solvent.values()) == topology.n_residues:
        return f": all of its residues are water or ions ({names})"
    if not any(atom.element is not None and atom.element.mass for atom in topology.atoms):
        return (
            ": none of them has an element, so that their masses are not known: give a topology that has (a .tpr, the "
            "element columns of a PDB), or the beads as a list with mass_da and their positions as an array"
        )
    others = dict.fromkeys(residue.name for residue in topology.residues if not is_solvent(residue))
    first = next(residue for residue in topology.residues if not is_solvent(residue))
    return (
        f": its residues are {', '.join(list(others)[:6])}{', ...' if others.keys() - set(list(others)[:6]) else ''}, "
        f"the first with the atoms {' '.join([atom.name for atom in first.atoms][:6])}; check names and residues"
    )


def _meant(topology: "mdtraj.Topology", choice: str) -> str:
    """What a choice that cannot be read may have been meant to be, in words."""
    word = choice.strip()
    near = get_close_matches(word.lower(), PRESETS, 1, 0.8)
    if near:
        return f"; did you mean the preset {near[0]!r}?"
    if any(atom.name == word for atom in topology.atoms):
        return f"; atoms of that name are `name {word}`"
    if any(residue.name == word for residue in topology.residues):
        return f"; residues of that name are `resname {word}`"
    return ""


def group_of(topology: "mdtraj.Topology", name: object, atoms: Any) -> tuple[int, ...]:
    """Atom indices of one explicit group."""
    what = f"bead {name!r}"
    if isinstance(atoms, str) and not atoms.strip():
        raise InputError(f"{what} = {atoms!r} names no atoms: give a selection, atom indices or atom names")
    if isinstance(atoms, str):
        try:
            chosen = [int(atom) for atom in topology.select(_quoted(atoms))]
        except Exception as error:
            raise InputError(f"{what}: {atoms!r} is not an mdtraj selection: {_first_line(error)}") from None
    elif isinstance(atoms, (int, np.integer)):
        chosen = indices_of(topology, [atoms], what)
    elif not isinstance(atoms, (Sequence, np.ndarray)):
        raise InputError(f"{what} = {atoms!r} names no atoms: give a selection, atom indices or atom names")
    elif len(atoms) and all(isinstance(atom, str) for atom in atoms):
        by_name = {}
        for atom in topology.atoms:
            if not is_solvent(atom.residue):
                by_name.setdefault(atom.name, []).append(atom)
        for atom in atoms:
            if len(by_name.get(atom, ())) != 1:
                raise InputError(
                    f"{what}: {len(by_name.get(atom, ()))} atoms are named {atom!r}: give a selection with the residue"
                )
        chosen = [by_name[atom][0].index for atom in atoms]
    else:
        chosen = indices_of(topology, atoms, what)
    if not chosen:
        raise InputError(f"{what} has no atoms: {atoms!r} selects none of the {topology.n_atoms} atoms")
    return tuple(chosen)


def indices_of(topology: "mdtraj.Topology", atoms: Iterable[Any], what: str) -> list[int]:
    chosen = []
    for atom in atoms:
        if (
            isinstance(atom, (bool, np.bool_))
            or not isinstance(atom, (int, np.integer))
            or not 0 <= atom < topology.n_atoms
        ):
            raise InputError(f"{what}: {atom!r} is no atom index of a topology with {topology.n_atoms} atoms (0-based)")
        chosen.append(int(atom))
    return chosen


def _quoted(selection: str) -> str:
    """The selection with names that begin with a digit, such as 1Q5, or have a prime, such as C4', in quotes, which
    mdtraj takes apart otherwise.
    """
    selection = re.sub(r"(?<![\w'\"])(\w+(?:'+|\*+)\w*)(?![\w'\"*])", r'"\1"', selection)
    parts = re.split(r"('[^']*'|\"[^\"]*\")", selection)
    parts[::2] = [re.sub(r"(?<![\w.])(\d+[A-Za-z]\w*)(?![\w.])", r"'\1'", part) for part in parts[::2]]
    return "".join(parts)


def _first_line(error: Exception) -> str:
    """What an error says, without the grammar that the parser expects."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    place = re.search(r"\(at char (\d+)\)", text)
    if text.startswith("Expected ") and place:
        return f"it cannot be understood from character {int(place[1]) + 1} on"
    return text
