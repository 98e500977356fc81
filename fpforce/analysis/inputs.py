"""Files of an evaluation -> arrays, each checked to belong to the force field.

In: paths of trajectories, simulations by fpforce-simulate and samples by fpforce-sample. Out: positions in nm,
`ReplicaFrames` and log weights.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.analysis.replica_frames import ReplicaFrames
from fpforce.forcefield.force_field import ForceField
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file, read_json
from fpforce.molecule.beads import BeadTable

logger = logging.getLogger("fpforce")


def refuse_repeated(kind: str, paths: Sequence[str | Path]) -> None:
    """The same file twice would count as two independent trajectories."""
    resolved = [Path(path).resolve() for path in paths]
    for path in paths:
        if resolved.count(Path(path).resolve()) > 1:
            raise InputError(f"{kind} {path} is given twice; give each trajectory once")


def listed(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Paths as a list, also of a single one."""
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def read_trajectories(
    paths: str | Path | Sequence[str | Path], topology: Any, table: BeadTable
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """One array per file, and what they are: [{"path", "sha256", "frames", "time_step_ps"}]."""
    from fpforce.trajectories.bead_frames import read_bead_frames
    from fpforce.trajectories.files import is_array, matching_files

    arrays, described = [], []
    for path in matching_files(paths):
        frames = read_bead_frames(path, topology, table=table, length_unit="nm" if is_array(path) else None)
        arrays.append(frames.positions_nm)
        described.append(
            {
                "path": str(path),
                "sha256": frames.sha256,
                "frames": len(frames.positions_nm),
                "time_step_ps": frames.time_step_ps,
            }
        )
    return arrays, described


def read_simulation_of(path: str | Path, force_field: ForceField) -> tuple[ReplicaFrames, dict[str, Any]]:
    """(ReplicaFrames, its metadata); the simulation must be of this very model."""
    from fpforce.simulation.simulate import read_simulation

    frames = read_simulation(path, force_field.beads)
    simulated_with = frames.metadata.get("model_sha256")
    if simulated_with != force_field.sha256:
        raise InputError(
            f"simulation {path} was made with another model (sha256 {str(simulated_with)[:12]}) than "
            f"{force_field.path} ({force_field.sha256[:12]}); give the model that it was made with, or simulate again"
        )
    start = frames.metadata.get("start", {}).get("positions_nm")
    simulation = ReplicaFrames(
        positions_nm=frames.positions_nm,
        valid=frames.valid,
        name=Path(path).stem,
        time_step_ps=frames.metadata.get("frame_interval_ps"),
        failed_replicas=len(frames.failed),
        start_nm=None if start is None else np.asarray(start),
        exchanged=frames.metadata.get("ladder_k") is not None,
    )
    return simulation, frames.metadata


def named_by_start(simulations: Sequence[ReplicaFrames]) -> list[ReplicaFrames]:
    """The simulations, numbered where file names repeat."""
    names = [s.name for s in simulations]
    if len(set(names)) == len(names):
        return list(simulations)
    return [ReplicaFrames(**(vars(s) | {"name": f"{s.name} {k + 1}"})) for k, s in enumerate(simulations)]


def read_iid(sample: str | Path, force_field: ForceField) -> tuple[np.ndarray, np.ndarray | None]:
    """Finite sampled frames (frames, n, 3) in nm, for a sample, unlike a trajectory, may hold outliers; and their log
    weights (frames,), or None.
    """
    from fpforce.trajectories.arrays import read_array
    from fpforce.trajectories.files import existing_file, is_array, read_atoms

    path = existing_file(sample, "iid sample")
    order = _order_of_samples(path, force_field)
    if is_array(path):
        positions = read_array(path, "nm", 1)
    else:
        beads = force_field.beads.to_mdtraj()
        positions = read_atoms(path, beads, range(len(force_field.beads)), beads, 1).xyz
    finite, log_weights = np.isfinite(positions).all(axis=(1, 2)), _read_log_weights(path, force_field, len(positions))
    return positions[finite][:, order], None if log_weights is None else log_weights[finite]


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
            f"was "
            f"exported from ({exported_from[:12]}); repeat fpforce-sample or fpforce-export"
        )
    return force_field.beads.order_in(drawn.get("beads", force_field.beads.labels), f"iid sample {path}")
