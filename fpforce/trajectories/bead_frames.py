"""Any trajectory or array -> bead frames in nm, checked.

In: files that mdtraj reads, with their topology, or bare .npy/.npz arrays with a declared unit. Out: BeadFrames.
What cannot be right (NaN, wrong unit, wrong topology, D residues) is refused here, before anything is trained on it, by
frame_checks.py.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.chirality import chiral_residues
from fpforce.molecule.mapping import list_beads, map_beads
from fpforce.molecule.periodic import bonded_molecules
from fpforce.trajectories.files import (
    NM_PER,
    existing_file,
    holds_topology,
    is_array,
    matching_files,
    read_array,
    read_atoms,
    read_topology,
)
from fpforce.trajectories.force_map import MappedAtoms
from fpforce.trajectories.forces import BeadForces, ForceFiles, ForceReader
from fpforce.trajectories.frame_checks import check_bonds, check_chirality, check_finite, check_phi


@dataclass(frozen=True)
class BeadFrames:
    """Positions of the beads over one or more trajectories.

    `positions_nm` float32 (frames, n, 3); `lengths` frames per file, in order; `sources` the files; `sha256` of their
    contents in order; `time_step_ps` between frames, None where the files do not say or differ; `forces` of the same
    frames, where they were given.
    """

    positions_nm: np.ndarray
    beads: BeadTable
    lengths: tuple[int, ...]
    sources: tuple[str, ...]
    sha256: str
    time_step_ps: float | None
    forces: BeadForces | None = None

    def __len__(self):
        return len(self.positions_nm)

    def split(self):
        """One (frames, n, 3) array per trajectory file."""
        return np.split(self.positions_nm, np.cumsum(self.lengths)[:-1])


@dataclass(frozen=True)
class _Source:
    """The atoms to read: `indices` into the files (None: all), their `topology` (None: bare beads) and bead `table`."""

    table: BeadTable
    n_atoms: int
    indices: list[int] | None = None
    topology: object | None = None
    file_topology: object | None = None

    def positions(self, xyz):
        return xyz if self.topology is None else self.table.positions(xyz, self.topology)

    def mapped_atoms(self):
        """How atoms make the beads, for mapping forces."""
        groups = tuple(bead.atoms for bead in self.table.beads)
        count = self.n_atoms if self.indices is None else len(self.indices)
        parts = np.zeros((len(groups), count))
        for bead, group in enumerate(groups):
            masses = [1.0] if len(group) == 1 else [self.topology.atom(atom).element.mass for atom in group]
            parts[bead, list(group)] = np.array(masses) / sum(masses)
        indices = tuple(range(count)) if self.indices is None else tuple(self.indices)
        return MappedAtoms(indices, self.topology, groups, parts, tuple(map(str, self.table.beads)), self.table.bonds)


def read_bead_frames(
    trajectories,
    topology=None,
    *,
    beads="all",
    length_unit=None,
    stride=1,
    allow_d_residues=False,
    table=None,
    forces: ForceFiles | None = None,
):
    """Read trajectories and map them to beads.

    Args:
        trajectories: a path or a list of paths: anything mdtraj reads, or .npy / .npz arrays of (frames, atoms or
            beads, 3); an .npz holds `positions` or exactly one 3-dimensional array.
        topology: path of a topology file (PDB, GRO, PRMTOP, ...) of the atoms or of the beads, or an mdtraj.Topology;
            not needed for formats that bring their own, with `table`, nor where `beads` is a list of bead records.
        beads: the choice of beads, as for `fpforce.molecule.mapping.map_beads`; for arrays without a topology a list of
        bead
            records (`fpforce.molecule.mapping.list_beads`).
        length_unit: "nm" or "angstrom", required for arrays and refused for formats that have a unit.
        stride: take every stride-th frame of each file.
        allow_d_residues: accept D amino acids.
        table: use this BeadTable (of a model) instead of `beads`; the topology must match it.
        forces: read forces too, from one file for each trajectory.

    Returns:
        BeadFrames.

    Raises:
        InputError: a file is missing, truncated or empty; topology and trajectory differ in atoms; nothing is
            selected; a frame is not finite; bond lengths are out of any physical range (the likely unit is named);
            a molecule is broken; a residue is D, or phi is positive throughout where nothing else can tell (frames
            of a model's `table` may be: they are judged by comparison); forces do not go with the trajectories, or
            constraints join two beads. Logs a warning where phi is mostly positive.
    """
    paths = matching_files(trajectories)
    if not paths:
        raise InputError("no trajectory is given: name at least one file")
    if not isinstance(stride, int) or stride < 1:
        raise InputError(f"stride = {stride!r} must be a whole number of at least 1")
    paths = [existing_file(path, "trajectory") for path in paths]
    _check_length_unit(paths, length_unit)
    full_table, source = _source(paths[0], topology, beads, table)
    reader = None
    if forces is not None:
        if len(forces.paths) != len(paths):
            raise InputError(f"{len(forces.paths)} files of forces for {len(paths)} trajectories: give one for each")
        reader = ForceReader(forces, source.mapped_atoms(), source.n_atoms, stride)

    pieces, steps, digest = [], [], hashlib.sha256()
    for path in paths:
        xyz, step = _read_one(path, source, length_unit, stride)
        check_finite(xyz, path, stride)
        positions = source.positions(xyz)
        check_bonds(positions, source.table, path, length_unit, stride)
        if source.topology is not None and not allow_d_residues:
            check_chirality(xyz, source.topology, path, stride)
        if reader is not None:
            reader.add(path, xyz)
        pieces.append(np.ascontiguousarray(positions, dtype=np.float32))
        steps.append(step)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    frames = BeadFrames(
        positions_nm=pieces[0] if len(pieces) == 1 else np.concatenate(pieces),
        beads=full_table,
        lengths=tuple(len(piece) for piece in pieces),
        sources=tuple(str(path) for path in paths),
        sha256=digest.hexdigest(),
        time_step_ps=steps[0] if None not in steps and np.allclose(steps, steps[0]) else None,
        forces=None if reader is None else reader.collected(),
    )
    if not allow_d_residues and (source.topology is None or not chiral_residues(source.topology)):
        check_phi(frames, refuse=table is None)
    return frames


def _check_length_unit(paths, length_unit):
    arrays = [path for path in paths if is_array(path)]
    if length_unit is not None and length_unit not in NM_PER:
        raise InputError(f"length_unit = {length_unit!r} is unknown: give 'nm' or 'angstrom'")
    if arrays and length_unit is None:
        raise InputError(f"{arrays[0]} is a bare array without a unit: give length_unit = 'nm' or 'angstrom'")
    if length_unit is not None and len(arrays) < len(paths):
        other = next(path for path in paths if path not in arrays)
        raise InputError(f"length_unit = {length_unit!r} is given, but the format of {other} has its own: leave it out")


def _source(first, topology, beads, table):
    """The full bead table, and the part of the files to read: the molecules to which the beads belong."""
    if topology is None and not holds_topology(first):
        if table is None and is_array(first) and _are_records(beads):
            listed = list_beads(beads)
            return listed, _Source(listed, len(listed))
        topology = _own_topology(first, table)
    elif topology is None or isinstance(topology, (str, Path)):
        topology = read_topology(topology or first)
    if table is None:
        table = map_beads(topology, beads)
    from_atoms = table.match(topology) == "source"
    groups = [bead.atoms if from_atoms else (i,) for i, bead in enumerate(table.beads)]
    indices = bonded_molecules(topology, [atom for group in groups for atom in group])
    where = {atom: position for position, atom in enumerate(indices)}
    local = replace(
        table,
        beads=tuple(
            replace(bead, atoms=tuple(where[atom] for atom in group))
            for bead, group in zip(table.beads, groups, strict=True)
        ),
    )
    return table, _Source(local, topology.n_atoms, indices, topology.subset(indices), topology)


def _are_records(beads):
    return (
        isinstance(beads, (list, tuple)) and len(beads) > 0 and isinstance(beads[0], dict) and "atoms" not in beads[0]
    )


def _own_topology(first, table):
    """The beads' own topology, for files that name no atoms and come without a topology file."""
    if table is not None:
        return table.to_mdtraj()
    if is_array(first):
        raise InputError(f"{first} is a bare array: give a topology file, or `beads` as a list of name and residue")
    raise InputError(f"{first} does not name its atoms: give a topology file (PDB, GRO, PRMTOP, ...)")


def _read_one(path, source, length_unit, stride):
    """Coordinates (frames, atoms of the source, 3) in nm, and the time step in ps or None."""
    if not is_array(path):
        if source.file_topology is None:
            raise InputError(f"{path}: without a topology only .npy and .npz arrays can be read: give a topology file")
        return read_atoms(path, source.file_topology, source.indices, stride)
    xyz = read_array(path, length_unit, stride)
    if xyz.shape[1] != source.n_atoms:
        raise InputError(
            f"{path} holds {xyz.shape[1]} points per frame, but the topology or bead list has {source.n_atoms}"
        )
    return (xyz if source.indices is None else xyz[:, source.indices]), None
