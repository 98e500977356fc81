"""Which files are which molecule: folders of NAME.pdb with trajectories NAME*.xtc -> molecules with their
trajectories, and which of these are one file under two names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from filecmp import cmp
from itertools import islice
from lzma import LZMAError
from pathlib import Path

from fpforce.foundation.errors import InputError
from fpforce.trajectories.files import matches
from fpforce.trajectories.formats import packing_of, unpacked

# Bare arrays, which have no unit, and formats of one frame are none.
TRAJECTORIES = (
    ".xtc", ".trr", ".dcd", ".h5", ".hdf5", ".lh5", ".nc", ".netcdf", ".ncdf", ".mdcrd", ".lammpstrj", ".dump", ".tng",
    ".trc", ".trz", ".h5md",
)  # fmt: skip
_OF_SEVERAL_FRAMES = {".xyz": 2, ".gro": 3}  # of one they are structures; the lines of a frame beside those of atoms
_BYTES_TO_COMPARE = 4096


@dataclass(frozen=True)
class MoleculeFiles:
    """One molecule: its topology PDB and its trajectories."""

    topology: Path
    trajectories: tuple[Path, ...]

    @property
    def name(self) -> str:
        return self.topology.stem


def find_molecules(places: list[Path]) -> list[MoleculeFiles]:
    """All molecules of some folders, PDB files or glob patterns of these, sorted by name.

    A trajectory is called like the PDB in its folder that it belongs to, with or without something after a `_`, `-` or
    `.`, and may be packed; an .xyz or .gro is one if it has several frames. Hidden files are left out. Raises
    InputError for a place without a PDB, a PDB without a trajectory, a trajectory without a PDB, an extension in upper
    case, by which mdtraj reads nothing, and two molecules of one name.
    """
    topologies = [topology for place in places for topology in _topologies(place)]
    seen: dict[str, Path] = {}
    for topology in topologies:
        if topology.stem in seen and seen[topology.stem].resolve() != topology.resolve():
            raise InputError(
                f"data.molecules has two molecules called {topology.stem}: {seen[topology.stem]} and {topology}; "
                "rename one"
            )
        seen.setdefault(topology.stem, topology)
    return [MoleculeFiles(topology, _trajectories(topology)) for _, topology in sorted(seen.items())]


def _topologies(place: Path) -> list[Path]:
    found = []
    for path in matches(place):
        found += _files(path, (".pdb",)) if path.is_dir() else [path] if path.suffix.lower() == ".pdb" else []
    if not found:
        raise InputError(
            f"data.molecules: {place} has no PDB file; give a folder of NAME.pdb with NAME*.xtc, or a pattern of such "
            "PDBs"
        )
    return found


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of some extensions, but hidden ones."""
    found = [path for path in sorted(folder.iterdir()) if _suffix(path) in suffixes and not path.name.startswith(".")]
    for path in found:
        if path.suffix != path.suffix.lower():
            raise InputError(
                f"data.molecules: {path} has its extension in upper case, which mdtraj does not read; rename it to "
                f"{path.stem}{path.suffix.lower()}"
            )
    return found


def _suffix(path: Path) -> str:
    """The extension in lower case, of a packed file that of what it holds."""
    return Path(path.name.lower().removesuffix(packing_of(path))).suffix


def _has_several_frames(path: Path) -> bool:
    """Whether an .xyz or .gro goes on after its first frame; True where it cannot be unpacked: its reader says so."""
    try:
        text = unpacked(path)
    except (OSError, EOFError, LZMAError):
        return True
    with open(text, errors="replace") as file:
        head = list(islice(file, 2))
        count = head[0 if _suffix(path) == ".xyz" else 1].strip() if len(head) == 2 else ""
        more = islice(file, int(count) + _OF_SEVERAL_FRAMES[_suffix(path)] - 2, None) if count.isdecimal() else []
        return any(line.strip() for line in more)


def _trajectories(topology: Path) -> tuple[Path, ...]:
    names = sorted((path.stem for path in _files(topology.parent, (".pdb",))), key=len, reverse=True)
    own = []
    for path in _files(topology.parent, (*TRAJECTORIES, *_OF_SEVERAL_FRAMES)):
        owner = next((name for name in names if path.name.startswith(tuple(name + mark for mark in "._-"))), None)
        if owner not in (None, topology.stem) or (
            _suffix(path) in _OF_SEVERAL_FRAMES and not _has_several_frames(path)
        ):
            continue
        if owner is None:
            raise InputError(
                f"data.molecules: {path} belongs to no PDB of its folder; name it like its PDB (NAME.pdb, NAME.xtc or "
                "NAME_run1.xtc), or move it elsewhere"
            )
        own.append(path)
    if not own:
        raise InputError(
            f"data.molecules: {topology} has no trajectory; put {topology.stem}.xtc beside it (or another of "
            f"{', '.join((*TRAJECTORIES, *_OF_SEVERAL_FRAMES))})"
        )
    return tuple(own)


def same_files(molecules: Sequence[MoleculeFiles]) -> dict[str, list[str]]:
    """Warnings of trajectories that an earlier molecule has too, byte for byte, by the names of the later ones."""
    warnings: dict[str, list[str]] = {}
    seen: dict[tuple[int, bytes], list[tuple[str, Path]]] = {}
    for molecule in molecules:
        for path in molecule.trajectories:
            alike = seen.setdefault(_beginning(path), [])
            twin = next(((name, other) for name, other in alike if cmp(path, other, shallow=False)), None)
            if twin is None:
                alike.append((molecule.name, path))
            elif twin[0] != molecule.name:
                warnings.setdefault(molecule.name, []).append(
                    f"{path} is {twin[1]} of molecule {twin[0]} under another name: its frames are counted twice; "
                    f"leave one of the two out, or give {molecule.name} its own"
                )
    return warnings


def _beginning(path: Path) -> tuple[int, bytes]:
    """The size of a file, and its first bytes."""
    with open(path, "rb") as file:
        return path.stat().st_size, file.read(_BYTES_TO_COMPARE)
