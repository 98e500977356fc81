"""Any trajectory or array -> bead frames in nm, checked.

In: files that mdtraj reads, with their topology, or bare .npy/.npz arrays with a declared unit. Out: BeadFrames.
What cannot be right (NaN, wrong unit, wrong topology, D residues) is refused here, before anything is trained on it, by
frame_checks.py.
Longer than other files, since it is one way from files to frames, and its public function says all that users can give.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.collector import collector_paused
from fpforce.foundation.errors import InputError
from fpforce.molecule.beads import BeadTable
from fpforce.molecule.chirality import chiral_residues
from fpforce.molecule.mapping import BeadChoice
from fpforce.trajectories.arrays import NM_PER
from fpforce.trajectories.atom_frames import AtomFrames
from fpforce.trajectories.checked import checked_pieces, checked_positions
from fpforce.trajectories.chunks import joined
from fpforce.trajectories.collected import Collected
from fpforce.trajectories.files import existing_file, is_array, matching_files
from fpforce.trajectories.forces import BeadForces, ForceFiles, ForceReader
from fpforce.trajectories.frame_checks import check_phi
from fpforce.trajectories.mapping_report import (
    FileFrames,
    LeftOut,
    MappingReport,
    bond_ranges,
    chain_names_in_file,
    chains_of,
    chirality_of,
    left_out_of,
    sites_without_mass,
)
from fpforce.trajectories.repeats import repeat_warnings, repeats
from fpforce.trajectories.scene import Scene
from fpforce.trajectories.several_chains import interfaces_of, overlap_warnings
from fpforce.trajectories.sources import MappedFiles, Sources, resolve
from fpforce.trajectories.weights import FrameWeights, read_weights

if TYPE_CHECKING:
    import mdtraj

logger = logging.getLogger("fpforce")


@dataclass(frozen=True)
class BeadFrames:
    """Positions of the beads over one or more trajectories.

    `positions_nm` float32 (frames, n, 3); `lengths` frames per file, in order; `sources` the files; `sha256` of their
    contents in order; `time_step_ps` between frames, None where the files do not say or differ; `forces` of the same
    frames, and their `weights`, where they were given. Read from files they have a `report` of how these were
    understood, and the `scene` of the first frame.
    """

    positions_nm: np.ndarray
    beads: BeadTable
    lengths: tuple[int, ...]
    sources: tuple[str, ...]
    sha256: str
    time_step_ps: float | None
    forces: BeadForces | None = None
    report: MappingReport | None = None
    scene: Scene | None = None
    weights: FrameWeights | None = None

    def __len__(self) -> int:
        return len(self.positions_nm)

    def split(self) -> list[np.ndarray]:
        """One (frames, n, 3) array per trajectory file."""
        return np.split(self.positions_nm, np.cumsum(self.lengths)[:-1])


def read_bead_frames(
    trajectories: str | Path | Iterable[str | Path],
    topology: "str | Path | mdtraj.Topology | None" = None,
    *,
    beads: BeadChoice = "all",
    length_unit: str | None = None,
    stride: int = 1,
    allow_d_residues: bool = False,
    table: BeadTable | None = None,
    forces: ForceFiles | None = None,
    readable_frames: bool = False,
    weights: Sequence[str | Path] | None = None,
    several_chains: bool = False,
    on_disk: Path | None = None,
) -> BeadFrames:
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
        readable_frames: of a file that ends within a frame, as a killed run leaves it, take the frames before it.
        weights: files with how much each frame counts, one for each trajectory (fpforce.trajectories.weights).
        several_chains: chains may have no bond between them, if they stay together in every frame, as those of a
            dimer; they are put into the image of the box in which they are next to each other.
        on_disk: a folder for scratch files: trajectories are then read in pieces, each checked by itself, and bead
            positions and forces are memory that is mapped from these files, as long as they are there.

    Returns:
        BeadFrames.

    Raises:
        InputError: a file is missing, truncated or empty; topology and trajectory differ in atoms; nothing is
            selected; a frame is not finite; bond lengths are out of any physical range (the likely unit is named);
            a molecule is broken; a residue is D, or phi is positive throughout where nothing else can tell (frames
            of a model's `table` may be: they are judged by comparison); forces do not go with the trajectories, or
            constraints join two beads; weights do not fit the frames, or too few frames count. Logs a warning where
            phi is mostly positive.
    """
    paths, sources = prepared(
        trajectories,
        topology,
        beads=beads,
        length_unit=length_unit,
        stride=stride,
        table=table,
        several_chains=several_chains,
    )
    source = sources.source
    reader = None
    if forces is not None:
        reader = ForceReader(forces, source.mapped_atoms(), source.n_points, stride, len(paths), on_disk)

    def pieces_of(path: Path) -> Iterator[tuple[AtomFrames, np.ndarray]]:
        how = length_unit, stride, allow_d_residues
        if on_disk is not None:
            yield from checked_pieces(path, sources, *how, simulated=own, readable_frames=readable_frames)
            return
        read = source.read(path, length_unit, stride, readable_frames)
        yield read, checked_positions(read.xyz, sources, path, *how, own)

    own, digest, scene = table is not None, hashlib.sha256(), None
    collected, lengths, read_of = Collected(on_disk, "positions"), [], []
    for path in paths:
        parts, frames_of, beginning = [], [], None
        times = Collected(on_disk, "times", np.float64)
        for read, positions in pieces_of(path):
            beginning = read.xyz if beginning is None and reader is not None else beginning
            scene = scene or source.scene(read.xyz[0], positions[0])
            collected.add(positions)
            if read.times_ps is not None:
                times.add(read.times_ps)
            # a view would keep all of it
            parts.append(replace(read, xyz=np.empty((0, 0, 3), np.float32), times_ps=None))
            frames_of.append(len(positions))
        if reader is not None and beginning is not None:
            reader.add(path, sum(frames_of), beginning)
        lengths.append(sum(frames_of))
        read_of.append(joined(path, parts, frames_of, times.array() if len(times) == sum(frames_of) else None))
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    steps: list[Any] = [read.time_step_ps for read in read_of]
    frames = BeadFrames(
        positions_nm=collected.array(),
        beads=sources.table,
        lengths=tuple(lengths),
        sources=tuple(str(path) for path in paths),
        sha256=digest.hexdigest(),
        time_step_ps=steps[0] if None not in steps and np.allclose(steps, steps[0]) else None,
        forces=None if reader is None else reader.collected(),
        scene=scene,
        weights=None if weights is None else read_weights(weights, lengths, stride),
    )
    return reported(frames, sources, stride, length_unit, allow_d_residues, read_of, own=own, scratch=on_disk)


def prepared(
    trajectories: str | Path | Iterable[str | Path],
    topology: "str | Path | mdtraj.Topology | None",
    *,
    beads: BeadChoice,
    length_unit: str | None,
    stride: int,
    table: BeadTable | None = None,
    several_chains: bool = False,
) -> tuple[list[Path], Sources]:
    """The files, and how they are to be read; InputError as `read_bead_frames`."""
    paths = matching_files(trajectories)
    if not paths:
        raise InputError("no trajectory is given: name at least one file")
    if not isinstance(stride, int) or stride < 1:
        raise InputError(f"stride = {stride!r} must be a whole number of at least 1")
    paths = [existing_file(path, "trajectory") for path in paths]
    _check_length_unit(paths, length_unit)
    with collector_paused():
        return paths, resolve(paths, topology, beads, table, length_unit, several_chains)


def reported(
    frames: BeadFrames,
    sources: Sources,
    stride: int,
    length_unit: str | None,
    allow_d_residues: bool,
    read_of: Sequence[AtomFrames] | None = None,
    own: bool = False,
    scratch: Path | None = None,
) -> BeadFrames:
    """The frames with their report, whose warnings are logged; InputError for the handedness of D residues.

    read_of: what was read of each file besides positions; None where that is not known. scratch: a folder for what
    would take memory with every frame.
    """
    source, warnings = sources.source, []
    if not allow_d_residues and not (isinstance(source, MappedFiles) and chiral_residues(source.topology)):
        warnings += check_phi(frames, refuse=not own)
    read_of = read_of or [AtomFrames(np.empty((0, 0, 3), dtype=np.float32)) for _ in frames.sources]
    report = _report(
        frames, sources, read_of, stride, length_unit, allow_d_residues, warnings, own=own, scratch=scratch
    )
    for text in report.warnings:
        logger.warning("%s", text)
    return replace(frames, report=report)


def _report(
    frames: BeadFrames,
    sources: Sources,
    read_of: Sequence[AtomFrames],
    stride: int,
    length_unit: str | None,
    allow_d_residues: bool,
    warnings: list[str],
    own: bool,
    scratch: Path | None,
) -> MappingReport:
    """The MappingReport; of a model's `own` frames, which may return, repeats are not looked for."""
    source, table = sources.source, sources.table
    atoms = source.topology if isinstance(source, MappedFiles) else None
    left_out: tuple[LeftOut, ...] = ()
    whole = None
    if isinstance(source, MappedFiles) and not own:
        whole = source.whole.topology
        left_out, missed = left_out_of(whole, table, source.indices)
        warnings += missed
    warnings += sources.warnings()
    for path, read in zip(frames.sources, read_of, strict=True):
        if read.box_problem:
            warnings.append(f"{path}: its box {read.box_problem}; it is ignored")
        if read.without_box:
            warnings.append(
                f"{path}: {read.without_box} of its frames have no box, where the others have one: molecules are taken "
                "as they are in these; see that they are whole there"
            )
        warnings += [f"{path}: {text}" for text in read.notices]
        if read.incomplete:
            warnings.append(
                f"{path} ends within a frame or before those that it announces: the frames before are taken"
            )
        if read.without_positions:
            warnings.append(
                f"{path}: {read.without_positions} frames have velocities or forces and no positions; they are passed "
                "over"
            )
    pieces = frames.split()
    repeated, shared = ([0] * len(pieces), {}) if own else repeats(pieces, scratch)
    warnings += repeat_warnings(frames.sources, pieces, shared)
    chains, residues = chains_of(table)
    interfaces = interfaces_of(frames.positions_nm, table)
    warnings += [] if own else overlap_warnings(interfaces, table)
    return MappingReport(
        mapping=table.mapping,
        beads=len(table),
        chains=chains,
        residues=residues,
        left_out=left_out,
        bonds=bond_ranges(frames.positions_nm, table, sources.bond_sources),
        guessed_elements=sources.file is not None and sources.file.guessed_elements,
        corrected_elements=() if sources.file is None else sources.file.corrected,
        unit=f"{length_unit}, as declared" if length_unit else "of the format, read as nm",
        files=tuple(
            FileFrames(path, len(piece), read.time_step_ps, read.box, read.without_positions, again)
            for path, piece, read, again in zip(frames.sources, pieces, read_of, repeated, strict=True)
        ),
        stride=stride,
        chirality=chirality_of(atoms, table, allow_d_residues),
        warnings=tuple(warnings),
        residue_names=tuple(dict.fromkeys(bead.residue for bead in table.beads)),
        interfaces=interfaces,
        sites={} if whole is None else sites_without_mass(whole, table),
        chains_in_file={} if whole is None else chain_names_in_file(whole, table),
    )


def _check_length_unit(paths: Sequence[Path], length_unit: str | None) -> None:
    arrays = [path for path in paths if is_array(path)]
    if length_unit is not None and length_unit not in NM_PER:
        raise InputError(f"length_unit = {length_unit!r} is unknown: give 'nm' or 'angstrom'")
    if arrays and length_unit is None:
        raise InputError(f"{arrays[0]} is a bare array without a unit: give length_unit = 'nm' or 'angstrom'")
    if length_unit is not None and len(arrays) < len(paths):
        other = next(path for path in paths if path not in arrays)
        raise InputError(f"length_unit = {length_unit!r} is given, but the format of {other} has its own: leave it out")
