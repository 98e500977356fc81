"""MDAnalysis as a second reader: formats that mdtraj does not know, such as .tng, .tpr, .trc, .trz and LAMMPS data.

In: a path. Out: mdtraj topologies and trajectories, in nm and ps, so that all that follows, and every check, is the
same. MDAnalysis comes with the extra `mdanalysis`; without it these formats are refused with a word on that.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.trajectories.formats import format_of

if TYPE_CHECKING:
    import mdtraj

TRAJECTORIES = (".tng", ".trc", ".trz", ".coor", ".namdbin", ".config", ".history", ".txyz", ".mmtf", ".dms", ".h5md")
TOPOLOGIES = (".tpr", ".itp", ".data", ".config", ".history", ".txyz", ".mmtf", ".dms", ".pqr", ".pdbqt", ".xpdb")
HINT = "this format is read by MDAnalysis: pip install 'fpforce[mdanalysis]'"
_TIMES = (".tng", ".trc", ".trz", ".history")


def reads_trajectory(path: Path) -> bool:
    """Whether a trajectory is one for this reader; InputError where it is and MDAnalysis is not installed."""
    return _is_mine(path, TRAJECTORIES)


def reads_topology(path: Path) -> bool:
    """The same of a topology."""
    return _is_mine(path, TOPOLOGIES)


def has_times(path: Path) -> bool:
    """Whether the format says when its frames are."""
    return format_of(path) in _TIMES


def _is_mine(path: Path, formats: Sequence[str]) -> bool:
    if format_of(path) not in formats:
        return False
    if find_spec("MDAnalysis") is None:
        raise InputError(f"{path}: {HINT}")
    return True


def load_topology(path: Path) -> "tuple[mdtraj.Topology, bool]":
    """The topology of a file and whether elements were guessed, from names, since the file has none.

    Raises what MDAnalysis raises.
    """
    import MDAnalysis
    import mdtraj

    universe = MDAnalysis.Universe(str(path), topology_format=_name(path), to_guess=())
    atoms = universe.atoms
    names = _attribute(atoms, "names", [str(kind) for kind in _attribute(atoms, "types", ["X"] * len(atoms))])
    symbols = _attribute(atoms, "elements", [""] * len(atoms))
    masses = _attribute(atoms, "masses", [0.0] * len(atoms))
    topology, chains, residues = mdtraj.Topology(), {}, {}
    for name, symbol, mass, atom in zip(names, symbols, masses, atoms, strict=True):
        segment = getattr(atom, "chainID", "") or getattr(atom, "segid", "")
        if segment not in chains:
            chains[segment] = topology.add_chain(segment if len(segment) == 1 else None)
        key = atom.resindex
        if key not in residues:
            residue_name = getattr(atom, "resname", "") or "UNK"
            residues[key] = topology.add_residue(residue_name, chains[segment], resSeq=int(getattr(atom, "resid", key)))
        topology.add_atom(str(name), _element(str(symbol), float(mass), str(name)), residues[key])
    for first, second in _attribute(universe, "bonds", []):
        topology.add_bond(topology.atom(first.index), topology.atom(second.index))
    return topology, not any(str(symbol).strip() for symbol in symbols)


def load_trajectory(
    path: Path, topology: "mdtraj.Topology", atoms: Sequence[int] | None = None, frames: slice | int = slice(None)
) -> "mdtraj.Trajectory":
    """Frames of a file as mdtraj.Trajectory, of some atoms or of all.

    Raises InputError for another number of atoms than the topology's, IndexError for a frame that is not there, and
    what MDAnalysis raises.
    """
    import mdtraj

    indices = np.arange(topology.n_atoms) if atoms is None else np.asarray(atoms)
    xyz, times, boxes = [], [], []
    with _opened(path, topology.n_atoms) as reader:
        for step in _steps(reader, frames):
            xyz.append(0.1 * step.positions[indices].astype(np.float64))
            times.append(float(step.time))
            box = step.triclinic_dimensions
            boxes.append(np.zeros((3, 3)) if box is None else 0.1 * np.asarray(box))
    kept = topology if atoms is None else topology.subset(indices)
    found = mdtraj.Trajectory(np.array(xyz).reshape(-1, len(indices), 3), kept, time=np.array(times))
    if np.any(boxes):
        found.unitcell_vectors = np.array(boxes)
    return found


def count_frames(path: Path, n_atoms: int) -> int:
    """Number of frames of a file."""
    with _opened(path, n_atoms) as reader:
        return int(reader.n_frames)


def _opened(path: Path, n_atoms: int) -> Any:
    from MDAnalysis.coordinates.core import get_reader_for

    reader = get_reader_for(str(path), format=_name(path))(str(path), n_atoms=n_atoms)
    if reader.n_atoms != n_atoms:
        raise InputError(
            f"{path} holds {reader.n_atoms} atoms, but its topology has {n_atoms}: give the topology of exactly these "
            "atoms"
        )
    return reader


def _steps(reader: Any, frames: slice | int) -> Iterator[Any]:
    if isinstance(frames, slice):
        yield from reader[frames]
    else:
        yield reader[frames]


def _name(path: Path) -> str:
    """MDAnalysis' name of the format."""
    return {".coor": "NAMDBIN"}.get(format_of(path), format_of(path).lstrip(".").upper())


def _attribute(atoms: Any, name: str, otherwise: list[Any]) -> list[Any]:
    try:
        return list(getattr(atoms, name))
    except AttributeError:  # MDAnalysis' NoDataError is one
        return otherwise


def _element(symbol: str, mass_da: float, name: str) -> Any:
    """By its symbol; else by its mass; else by the first letter of its name."""
    import mdtraj

    letters = "".join(letter for letter in name if letter.isalpha())
    for text in (symbol.strip().capitalize(), _BY_MASS.get(round(mass_da), ""), letters[:1].upper()):
        try:
            return mdtraj.element.get_by_symbol(text)
        except KeyError:
            continue
    return mdtraj.element.virtual


# fmt: off
_BY_MASS = {
    1: "H", 12: "C", 14: "N", 16: "O", 19: "F", 23: "Na", 24: "Mg", 31: "P", 32: "S", 35: "Cl", 39: "K", 40: "Ca",
}
# fmt: on
