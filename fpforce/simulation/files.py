"""The files of one simulation: trajectory, `<output>.json` sidecar, `<output>.checkpoint`, `<output>.pdb` topology.

For every saved time the trajectory holds one frame per replica, in replica order (with `per_replica`, one file per
replica). Frames are appended as they come; the checkpoint records how far the files reach, so that a resumed run first
cuts them back to it and no frame appears twice. Checkpoint and sidecar are replaced in one step: a kill at any moment
leaves the previous ones.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, mapping_in, numpy_file, read_json
from fpforce.foundation.locking import Lock
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.formats import readable
from fpforce.trajectories.writers import check_extension, open_trajectory

# Frames are kept in memory for at most this long before they go to the file.
_FLUSH_SECONDS = 1.0


class SimulationFiles:
    """Names, existence checks and writing of a simulation's files."""

    def __init__(self, output: str | Path, beads: BeadTable, replicas: int, per_replica: bool) -> None:
        self.output = Path(output)
        check_extension(self.output)
        self._beads, self._replicas = beads, replicas
        self.sidecar = self.output.with_name(self.output.name + ".json")
        self.checkpoint = self.output.with_name(self.output.name + ".checkpoint")
        self.topology = self.output.with_name(self.output.name + ".pdb")
        self.trajectories = [self.output]
        if per_replica:
            digits = len(str(replicas - 1))
            self.trajectories = [
                self.output.with_name(f"{self.output.stem}.replica{r:0{digits}d}{self.output.suffix}")
                for r in range(replicas)
            ]
        self._writers, self._pending, self._flushed_at = [], [], time.monotonic()
        self._lock: Lock | None = None

    def require_absent(self) -> None:
        """Raise InputError if a file of an earlier simulation is in the way."""
        for path in (*self.trajectories, self.topology, self.sidecar, self.checkpoint):
            if path.exists():
                raise InputError(
                    f"{path} already exists; give another --output, or --overwrite, or --resume to continue "
                    "that simulation"
                )

    def check_folder(self) -> None:
        """Raise InputError unless the output's folder is writable, or can be made; nothing is made yet."""
        if self.output.is_dir():
            raise InputError(f"output {self.output} is a folder; give the name of a trajectory file")
        folder = self.output.parent
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir():
            raise InputError(f"output folder {folder} cannot be made: {existing} is a file; give another --output")
        if not os.access(existing, os.W_OK):
            raise InputError(f"output folder {existing} is not writable; give another --output")

    def make_folder(self) -> None:
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output folder {self.output.parent} cannot be made: {error.strerror}") from error

    def lock(self) -> None:
        """Keep other processes from writing these files until `close`; InputError where one does."""
        self._lock = Lock(self.output.with_name(self.output.name + ".lock"), self.output)

    def start(self, positions_nm: np.ndarray) -> None:
        """Begin new trajectory files and write the topology; files of an earlier simulation are replaced."""
        for path in (*self._earlier_trajectories(), self.checkpoint, self.sidecar):
            path.unlink(missing_ok=True)
        self._beads.write_pdb(self.topology, positions_nm)
        self._writers = [open_trajectory(path, self._beads) for path in self.trajectories]

    def _earlier_trajectories(self) -> list[Path]:
        """Trajectories of the simulation that is replaced; it may have had more replicas."""
        try:
            with damage_as_value_error():
                names = [Path(name).name for name in read_json(self.sidecar)["trajectories"]]
        except (OSError, ValueError):
            return []
        return [self.output.with_name(name) for name in names if name]

    def continue_from(self, extents: np.ndarray) -> None:
        """Open the trajectory files of an earlier run, cut back to the extents in its checkpoint."""
        for path in self.trajectories:
            if not path.exists():
                raise InputError(
                    f"{path} is missing, but its checkpoint {self.checkpoint} exists; start again with --overwrite"
                )
        self._writers = [
            open_trajectory(path, self._beads, int(extent))
            for path, extent in zip(self.trajectories, extents, strict=True)
        ]

    def append(self, positions_nm: np.ndarray, time_ps: float, step: int) -> None:
        """Add one saved time, positions (R, n, 3) nm; it reaches the file within about a second."""
        self._pending.append((np.asarray(positions_nm, np.float32), time_ps, step))
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write all frames that are still in memory."""
        if self._pending:
            positions, times, steps = (np.array(column) for column in zip(*self._pending, strict=True))
            if len(self._writers) == 1:
                self._writers[0].append(
                    positions.reshape(-1, *positions.shape[2:]),
                    np.repeat(times, self._replicas),
                    np.repeat(steps, self._replicas),
                )
            else:
                for replica, writer in enumerate(self._writers):
                    writer.append(positions[:, replica], times, steps)
        self._pending.clear()
        self._flushed_at = time.monotonic()

    def save(self, arrays: dict, metadata: dict) -> None:
        """Bring the trajectory to disk, then replace the checkpoint (`arrays`) and the sidecar (`metadata`)."""
        self.flush()
        for writer in self._writers:
            writer.sync()
        extents = np.array([writer.extent for writer in self._writers])
        with replacing(self.checkpoint) as unfinished, open(unfinished, "wb") as file:
            np.savez(file, extents=extents, metadata=json.dumps(metadata), **arrays)
        with replacing(self.sidecar) as unfinished:
            unfinished.write_text(json.dumps(metadata, indent=1))

    def require_checkpoint(self) -> None:
        """Raise InputError where no earlier run has left a checkpoint."""
        if not self.checkpoint.exists():
            raise InputError(f"nothing to resume: {self.checkpoint} does not exist; start without --resume")

    def read_checkpoint(self) -> tuple[dict, dict]:
        """The arrays (with `extents`) and the metadata that `save` wrote."""
        try:
            with numpy_file(self.checkpoint) as stored:
                arrays = dict(stored)
                return arrays, mapping_in(str(arrays.pop("metadata")))
        except (OSError, ValueError) as error:
            raise InputError(
                f"checkpoint {self.checkpoint} cannot be read ({error}); start again with --overwrite"
            ) from error

    def close(self) -> None:
        for writer in self._writers:
            writer.close()
        if self._lock is not None:
            self._lock.close()


@dataclass(frozen=True)
class SimulatedFrames:
    """A simulation read back: positions (S, R, n, 3) nm at S saved times of R replicas.

    `valid` (S, R) is False from the moment a replica failed; `failed` maps such a replica to what happened
    (`step`, `frame`, `reason`, `rung` and its `temperature_k`); `metadata` is the sidecar.
    """

    positions_nm: np.ndarray
    valid: np.ndarray
    failed: dict[int, dict]
    metadata: dict


def read_simulation(path: str | Path, table: BeadTable) -> SimulatedFrames:
    """Read the trajectory that fpforce-simulate wrote to `path`, with its sidecar `<path>.json`.

    Frames beyond the last checkpoint, which a killed run can leave, are not returned. Beads, those of the start in the
    metadata too, are put in the order of `table`, which may be another one.
    Raises InputError when trajectory or sidecar are missing, cannot be read, or do not fit `table`.
    """
    import mdtraj

    path = Path(path)
    sidecar = path.with_name(path.name + ".json")
    if not sidecar.exists():
        raise InputError(
            f"{sidecar} does not exist: it belongs to the trajectory {path} and holds its replicas; keep the "
            "two together"
        )
    try:
        with damage_as_value_error():
            metadata = read_json(sidecar)
            replicas, files = int(metadata["replicas"]), [path.parent / name for name in metadata["trajectories"]]
            saved_times, failed = int(metadata["saved_times"]), {int(r): info for r, info in metadata["failed"].items()}
            failed_from = {replica: int(info["frame"]) for replica, info in failed.items()}
            if any(Path(name).name != name for name in metadata["trajectories"]):
                raise ValueError(f"trajectories {metadata['trajectories']} are not names of files beside it")
            if min(replicas, len(files), saved_times + 1) < 1 or any(not 0 <= r < replicas for r in failed):
                raise ValueError(f"{saved_times} frames of {replicas} replicas in {len(files)} files")
    except (OSError, ValueError) as error:
        raise InputError(f"sidecar {sidecar} cannot be read ({error}); run the simulation again") from error
    if not saved_times:
        raise InputError(f"simulation {path} has no saved frame yet; continue it with --resume")
    topology, frames = table.to_mdtraj(), []
    for file in files:
        if not file.exists():
            raise InputError(f"trajectory {file} does not exist, but its sidecar {sidecar} does")
        try:
            with readable(file) as name:
                frames.append(mdtraj.load(name, **({} if file.suffix == ".h5" else {"top": topology})).xyz)
        except Exception as error:
            raise InputError(f"trajectory {file} cannot be read with {len(table)} beads: {error}") from error
    frames_per_file = saved_times * replicas // len(files)
    for file, xyz in zip(files, frames, strict=True):
        if xyz.shape[1] != len(table) or len(xyz) < frames_per_file:
            raise InputError(
                f"trajectory {file} has {len(xyz)} frames of {xyz.shape[1]} beads, its sidecar {sidecar} says "
                f"{frames_per_file} of {len(table)}; the two do not belong together"
            )
    if len(files) == 1:
        positions_nm = frames[0][:frames_per_file].reshape(saved_times, replicas, len(table), 3)
    else:
        positions_nm = np.stack([xyz[:frames_per_file] for xyz in frames], axis=1)
    if "beads" in metadata:
        try:
            with damage_as_value_error():
                order = table.order_in(metadata["beads"], f"simulation {path}")
                start = metadata.get("start", {})
                if "positions_nm" in start:
                    start_nm = np.asarray(start["positions_nm"], dtype=float).reshape(len(table), 3)[order].tolist()
                    metadata |= {"start": start | {"positions_nm": start_nm}, "beads": list(table.labels)}
        except ValueError as error:
            raise InputError(f"sidecar {sidecar} cannot be read ({error}); run the simulation again") from error
        positions_nm = positions_nm[:, :, order]
    valid = np.ones((saved_times, replicas), dtype=bool)
    for replica, frame in failed_from.items():
        valid[frame:, replica] = False
    return SimulatedFrames(positions_nm, valid, failed, metadata)
