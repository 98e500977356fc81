"""Files of an evaluation, each checked to belong to the force field, as sources that are read in pieces.

In: paths of trajectories, simulations by fpforce-simulate and samples by fpforce-sample. Out: `FrameSource`s,
`ReplicaFrames` and log weights.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.analysis.frame_source import ChosenFrames, FrameSource, Piece, frames_of_a_piece, piece_of
from fpforce.analysis.replica_frames import ReplicaFrames
from fpforce.analysis.trajectory_file import Memory, TrajectoryFile
from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file, read_json
from fpforce.molecule.beads import BeadTable
from fpforce.simulation.pieces import SimulationPieces, open_simulation
from fpforce.trajectories.files import existing_file, matching_files

logger = logging.getLogger("fpforce")


def refuse_repeated(kind: str, paths: Sequence[str | Path]) -> None:
    """The same file twice would count as two independent trajectories."""
    seen: dict[Path, str | Path] = {}
    for path in paths:
        earlier = seen.get(Path(path).resolve())
        if earlier is not None:
            named = "" if str(earlier) == str(path) else f", also as {earlier}"
            raise InputError(f"{kind} {path} is given twice{named}; give each trajectory once")
        seen[Path(path).resolve()] = path


def refuse_trained_on(reference: Sequence[str | Path], training: Sequence[str | Path]) -> None:
    """One file as reference and training trajectory would be independent of itself."""
    held_out = {Path(path).resolve(): path for path in reference}
    for path in training:
        other = held_out.get(Path(path).resolve())
        if other is not None:
            raise InputError(
                f"training {path} is the same file as reference {other}: a model is not judged by what it was trained "
                "on; give trajectories that were held out of the training as the reference"
            )


def listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Paths as a list, also of a single one."""
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def open_trajectories(
    paths: str | Path | Sequence[str | Path], topology: Any, table: BeadTable
) -> tuple[list[TrajectoryFile], list[dict[str, Any]]]:
    """A source for each file, and what they are: [{"path", "sha256", "frames", "time_step_ps"}]."""
    memory = Memory()
    sources = [TrajectoryFile.open(path, topology, table, memory) for path in matching_files(paths)]
    return sources, [source.description for source in sources]


def open_simulation_of(path: str | Path, force_field: ForceField) -> tuple[ReplicaFrames, dict[str, Any]]:
    """(ReplicaFrames, its metadata); the simulation must be of this very model."""
    simulation = open_simulation(path, force_field.beads)
    metadata = simulation.metadata
    simulated_with = metadata.get("model_sha256")
    if simulated_with != force_field.sha256:
        raise InputError(
            f"simulation {path} was made with another model (sha256 {str(simulated_with)[:12]}) than "
            f"{force_field.path} ({force_field.sha256[:12]}); give the model that it was made with, or simulate again"
        )
    start = metadata.get("start", {}).get("positions_nm")
    frames = ReplicaFrames(
        positions_nm=SimulationFiles(simulation),
        name=Path(path).stem,
        time_step_ps=metadata.get("frame_interval_ps"),
        failed_replicas=len(simulation.failed),
        start_nm=None if start is None else np.asarray(start),
        exchanged=metadata.get("ladder_k") is not None,
    )
    return frames, metadata


@dataclass(frozen=True)
class SimulationFiles:
    """A simulation on the disk as a FrameSource, whose shards are read one after the other."""

    simulation: SimulationPieces

    @property
    def shape(self) -> tuple[int, ...]:
        return self.simulation.times, self.simulation.replicas, len(self.simulation.beads), 3

    @property
    def ends(self) -> np.ndarray:
        return self.simulation.ends

    def pieces(self) -> Iterator[Piece]:
        for piece in self.simulation.pieces(frames_of_a_piece(self.shape[2])):
            times, replicas = piece.positions_nm.shape[:2]
            time = np.arange(piece.time, piece.time + times)[:, None]
            valid = time < self.ends[piece.replica : piece.replica + replicas]
            yield piece_of(piece.time, piece.replica, piece.positions_nm, valid)


def named_by_start(simulations: Sequence[ReplicaFrames]) -> list[ReplicaFrames]:
    """The simulations, numbered where file names repeat."""
    names = [s.name for s in simulations]
    if len(set(names)) == len(names):
        return list(simulations)
    return [ReplicaFrames(**(vars(s) | {"name": f"{s.name} {k + 1}"})) for k, s in enumerate(simulations)]


def open_iid(sample: str | Path, force_field: ForceField) -> tuple[FrameSource, np.ndarray | None]:
    """Finite sampled frames, for a sample, unlike a trajectory, may hold outliers; and their log weights (frames,), or
    None.
    """
    path = existing_file(sample, "iid sample")
    order = _order_of_samples(path, force_field)
    source = TrajectoryFile.of_samples(path, force_field.beads, order, Memory())
    log_weights = _read_log_weights(path, force_field, source.shape[0])
    finite = np.concatenate([piece.valid[:, 0] for piece in source.pieces()])
    if finite.all():
        return source, log_weights
    return ChosenFrames(source, np.flatnonzero(finite)), None if log_weights is None else log_weights[finite]


def _read_log_weights(path: Path, force_field: ForceField, frames: int) -> np.ndarray | None:
    """ln of exp(-U/kT)/q (frames,) from the files that fpforce-sample wrote beside samples at the force field's t, or
    None.
    """
    record, densities = path.with_name(path.name + ".json"), path.with_name(path.name + ".npz")
    if not (record.is_file() and densities.is_file()):
        return None
    drawn, metadata = _record_of_samples(record), force_field.metadata
    calibrated = bool((metadata.get("training") or {}).get("calibration"))
    if drawn.get("t_end") != metadata.get("t_eval") or drawn.get("calibrated", False) != calibrated:
        logger.warning(
            "%s is not reweighted: its densities are at t = %s, %s, the force field is at t = %s, %s",
            path,
            drawn.get("t_end"),
            _calibrated(drawn.get("calibrated", False)),
            metadata.get("t_eval"),
            _calibrated(calibrated),
        )
        return None
    try:
        with numpy_file(densities) as arrays:
            if not {"energy_kt", "log_density"} <= set(arrays.files):
                return None
            log_weights = -arrays["energy_kt"].astype(float) - arrays["log_density"].astype(float)
    except (OSError, ValueError) as error:
        raise InputError(f"{densities} cannot be read ({error}); repeat fpforce-sample") from None
    if log_weights.shape != (frames,):
        raise InputError(
            f"{densities} has densities of {len(log_weights)} samples, {path} holds {frames}; repeat fpforce-sample"
        )
    return log_weights


def _record_of_samples(record: Path) -> dict[str, Any]:
    try:
        return read_json(record)
    except (OSError, ValueError) as error:
        raise InputError(f"{record} cannot be read ({error}); repeat fpforce-sample") from None


def _calibrated(flag: bool) -> str:
    return "calibrated" if flag else "not calibrated"


def _order_of_samples(path: Path, force_field: ForceField) -> np.ndarray:
    """Where the force field's beads stand in samples by fpforce-sample, which leaves a record of checkpoint and beads
    beside them.

    Samples of other origin have none, and list the beads in order. InputError for samples of another checkpoint or
    molecule.
    """
    record = path.with_name(path.name + ".json")
    drawn = _record_of_samples(record) if record.is_file() else {}
    drawn_from, exported_from = (
        drawn.get("checkpoint_sha256"),
        force_field.metadata.get("training", {}).get("checkpoint_sha256"),
    )
    if drawn_from and exported_from and drawn_from != exported_from:
        raise InputError(
            f"iid samples {path} were drawn from another checkpoint (sha256 {drawn_from[:12]}) than {force_field.path} "
            f"was exported from ({exported_from[:12]}); repeat fpforce-sample or fpforce-export"
        )
    return force_field.beads.order_in(drawn.get("beads", force_field.beads.labels), f"iid sample {path}")
