"""MDAnalysis as a second reader: formats that mdtraj does not know, such as .tng, .tpr, .trc, .trz and LAMMPS data.

In: a path. Out: mdtraj topologies and trajectories, in nm and ps, so that all that follows, and every check, is the
same. MDAnalysis comes with the extra `mdanalysis`; without it these formats are refused with a word on that.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.trajectories.formats import CHARMM_COORDINATES, format_of, unpacked
from fpforce.trajectories.h5md import refuse_unread

if TYPE_CHECKING:
    import mdtraj

_BOTH = (
    ".config", ".history", ".txyz", ".mmtf", ".dms", ".pqr", ".pdbqt", ".xpdb", ".mol2", ".data", CHARMM_COORDINATES,
)  # fmt: skip
TRAJECTORIES = (".tng", ".trc", ".trz", ".coor", ".namdbin", ".h5md", *_BOTH)
TOPOLOGIES = (".tpr", ".itp", *_BOTH)
_LISTS_BONDS = (".tpr", ".mol2", ".txyz", ".dms", ".itp")
HINT = "this format is read by MDAnalysis: pip install 'fpforce[mdanalysis]'"
_TIMES = (".tng", ".trc", ".trz", ".history")


def reads_trajectory(path: Path) -> bool:
    """Whether a trajectory is one for this reader; InputError where it is and MDAnalysis is not installed."""
    return _is_mine(path, TRAJECTORIES)


def reads_topology(path: Path) -> bool:
    """The same of a topology."""
    return _is_mine(path, TOPOLOGIES)


def holds_topology(path: Path) -> bool:
    """Whether the format, one of this reader, has both a topology and coordinates."""
    return _is_mine(path, _BOTH)


def has_times(path: Path) -> bool:
    """Whether the format says when its frames are."""
    return format_of(path) in _TIMES


def _is_mine(path: Path, formats: Sequence[str]) -> bool:
    if format_of(path) not in formats:
        return False
    if find_spec("MDAnalysis") is None:
        raise InputError(f"{path}: {HINT}")
    return True


@dataclass(frozen=True)
class Read:
    """A topology that MDAnalysis read. guessed: its elements are told by masses or names, since the file has none.
    lists_bonds: every bond stands in the file. masses_da: of particles that are no atoms, by index.
    """

    topology: "mdtraj.Topology"
    guessed: bool
    lists_bonds: bool
    masses_da: dict[int, float]


def load_topology(path: Path) -> Read:
    """The topology of a file. Raises what MDAnalysis raises."""
    import MDAnalysis
    import mdtraj

    with warnings.catch_warnings(), _plain_reasons():
        warnings.simplefilter("ignore")  # of formats without coordinates, and of what is guessed
        universe = MDAnalysis.Universe(
            str(unpacked(path)), topology_format=_name(path), format=_name(path), to_guess=()
        )
    atoms = universe.atoms
    names = _attribute(atoms, "names", [str(kind) for kind in _attribute(atoms, "types", ["X"] * len(atoms))])
    symbols = _attribute(atoms, "elements", [""] * len(atoms))
    if any(one.attrname == "elements" and one.is_guessed for one in universe._topology.attrs):
        symbols = [""] * len(atoms)  # by the types of atoms, whose P2 is a bead of Martini and no phosphorus
    masses = np.nan_to_num(_attribute(atoms, "masses", [0.0] * len(atoms)))  # nan: the file does not say
    reduced = _are_reduced(masses) and not any(str(symbol).strip() for symbol in symbols)
    topology, chains, residues = mdtraj.Topology(), {}, {}
    coarse = {}
    for name, symbol, mass, atom in zip(names, symbols, masses, atoms, strict=True):
        name_of_chain = getattr(atom, "chainID", "") or getattr(atom, "segid", "")
        segment = getattr(atom, "chainID", "") or atom.segindex  # two of one molecule have one name
        if segment not in chains:
            chains[segment] = topology.add_chain(name_of_chain if len(name_of_chain) == 1 else None)
        key = atom.resindex
        if key not in residues:
            residue_name = getattr(atom, "resname", "") or "UNK"
            residues[key] = topology.add_residue(residue_name, chains[segment], resSeq=int(getattr(atom, "resid", key)))
        element = None if reduced and mass > 0.0 else element_of(str(symbol), float(mass), str(name))
        if element is None:
            coarse[topology.n_atoms] = float(mass)
        topology.add_atom(str(name), mdtraj.element.carbon if element is None else element, residues[key])
    for first, second in _attribute(universe, "bonds", []):
        topology.add_bond(topology.atom(first.index), topology.atom(second.index))
    guessed = not any(str(symbol).strip() for symbol in symbols)
    return Read(topology, guessed, format_of(path) in _LISTS_BONDS, coarse)


def _are_reduced(masses: Sequence[float]) -> bool:
    """Whether masses are no atoms', as those of 1 in the units of Lennard-Jones: hydrogens have heavier neighbours."""
    return 0.0 < max(masses, default=0.0) < _LIGHTEST_DA


@contextmanager
def _plain_reasons() -> Iterator[None]:
    """Errors of MDAnalysis' parsers without its words around them."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(str(error).rpartition("Error: ")[2]) from error


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

    file = str(unpacked(path))
    if format_of(path) == ".h5md":
        refuse_unread(Path(file))
    reader = get_reader_for(file, format=_name(path))(file, n_atoms=n_atoms)
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
    form = format_of(path)
    return {".coor": "NAMDBIN", CHARMM_COORDINATES: "CRD"}.get(form, form.lstrip(".").upper())


def _attribute(atoms: Any, name: str, otherwise: list[Any]) -> list[Any]:
    try:
        return list(getattr(atoms, name))
    except AttributeError:  # MDAnalysis' NoDataError is one
        return otherwise


def element_of(symbol: str, mass_da: float, name: str) -> Any:
    """The mdtraj element of an atom, by its symbol; else by the first letter of its name where the mass fits it, or it
    with hydrogens as in united atoms; else by its mass, or by that letter where the file has no masses. None of what
    has a mass and is no single atom.
    """
    import mdtraj

    known = {element.symbol: element for element in map(mdtraj.element.get_by_symbol, _SYMBOLS)}
    if symbol.strip().capitalize() in mdtraj.element.Element._elements_by_symbol:
        return mdtraj.element.get_by_symbol(symbol.strip().capitalize())
    letters = "".join(letter for letter in name if letter.isalpha())
    first = known.get(letters[:1].upper())
    if mass_da <= 0.0:
        return first or mdtraj.element.virtual
    hydrogens_da = _MOST_HYDROGENS_DA if letters[:1].upper() in _WITH_HYDROGENS else _ONE_HYDROGEN_DA
    if first is not None and _LEAST_PART * first.mass < mass_da < first.mass + hydrogens_da:
        return first
    near = min(known.values(), key=lambda element: abs(element.mass - mass_da))
    off = abs(near.mass - mass_da)
    united = min(abs(mass - mass_da) for mass in _UNITED_DA)
    return near if off < min(_SAME_MASS_DA, united) else None


_SYMBOLS = "H He Li B C N O F Na Mg Al Si P S Cl K Ca Mn Fe Co Ni Cu Zn Se Br Rb Sr Mo Ag Cd I Cs Ba Pt Au Hg".split()
_LIGHTEST_DA = 5.0  # of what hydrogens are bonded to: a carbon that gave mass to three of them has more
_UNITED_DA = (13.019, 14.027, 15.035, 16.043)  # CH to CH4, near nitrogen and oxygen
_SAME_MASS_DA = 0.3
_MOST_HYDROGENS_DA = 4.1  # four of a united atom, or what hydrogen is given in mass repartitioning
_WITH_HYDROGENS = "HBCNO"
_ONE_HYDROGEN_DA = 1.1  # of heavier atoms: SC1 of 36 Da is a bead of Martini, and no sulfur
_LEAST_PART = 0.4  # of a carbon whose three hydrogens have been given some of its mass
