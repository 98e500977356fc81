"""Which files are which molecule: folders of NAME.pdb with trajectories NAME*.xtc -> molecules with their
trajectories.
"""

import glob
from dataclasses import dataclass
from pathlib import Path

from fpforce.foundation.errors import InputError

TRAJECTORIES = (".xtc", ".trr", ".dcd", ".h5", ".nc")


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
    `.`. Hidden files are left out. Raises InputError for a place without a PDB, a PDB without a trajectory, a
    trajectory without a PDB, an extension in upper case, by which mdtraj reads nothing, and two molecules of one name.
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
    for path in map(Path, sorted(glob.glob(str(place)))):
        found += _files(path, (".pdb",)) if path.is_dir() else [path] if path.suffix.lower() == ".pdb" else []
    if not found:
        raise InputError(
            f"data.molecules: {place} has no PDB file; give a folder of NAME.pdb with NAME*.xtc, or a pattern of such "
            "PDBs"
        )
    return found


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder with one of some extensions, but hidden ones."""
    found = [
        path for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    for path in found:
        if path.suffix not in suffixes:
            raise InputError(
                f"data.molecules: {path} has its extension in upper case, which mdtraj does not read; rename it to "
                f"{path.stem}{path.suffix.lower()}"
            )
    return found


def _trajectories(topology: Path) -> tuple[Path, ...]:
    names = sorted((path.stem for path in _files(topology.parent, (".pdb",))), key=len, reverse=True)
    own = []
    for path in _files(topology.parent, TRAJECTORIES):
        owner = next((name for name in names if path.name.startswith(tuple(name + mark for mark in "._-"))), None)
        if owner is None:
            raise InputError(
                f"data.molecules: {path} belongs to no PDB of its folder; name it like its PDB (NAME.pdb, NAME.xtc or "
                "NAME_run1.xtc), or move it elsewhere"
            )
        if owner == topology.stem:
            own.append(path)
    if not own:
        raise InputError(
            f"data.molecules: {topology} has no trajectory; put {topology.stem}.xtc beside it (or another of "
            f"{', '.join(TRAJECTORIES)})"
        )
    return tuple(own)
