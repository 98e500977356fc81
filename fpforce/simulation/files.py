"""The files of one simulation: trajectory, `<output>.json` sidecar, `<output>.checkpoint`, `<output>.pdb` topology.

Where names are longer than PDB columns, `<output>.cif` has them besides.
For every saved time the trajectory holds one frame per replica, in replica order (with `per_replica`, one file per
replica). Frames are appended as they come; the checkpoint records how far the files reach, so that a resumed run first
cuts them back to it and no frame appears twice. Checkpoint and sidecar are replaced in one step: a kill at any moment
leaves the previous ones.
"""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, mapping_in, numpy_file, read_json
from fpforce.foundation.locking import Lock
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.trajectory_writer import check_extension, open_trajectory

# Frames are kept in memory for at most this long before they go to the file.
_FLUSH_SECONDS = 1.0


def sidecar_of(output: str | Path) -> Path:
    """The path of a simulation's sidecar."""
    return Path(output).with_name(Path(output).name + ".json")


class SimulationFiles:
    """Names, existence checks and writing of a simulation's files."""

    def __init__(self, output: str | Path, beads: BeadTable, replicas: int, per_replica: bool) -> None:
        self.output = Path(output)
        check_extension(self.output)
        self._beads, self._replicas = beads, replicas
        self.sidecar = sidecar_of(self.output)
        self.checkpoint = self.output.with_name(self.output.name + ".checkpoint")
        self.topology = self.output.with_name(self.output.name + ".pdb")
        self.all_names = self.topology.with_suffix(".cif")  # where names are longer than PDB columns
        self.shards = self.output.with_name(self.output.name + ".shards")
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
        for path in (*self.trajectories, self.topology, self.all_names, self.sidecar, self.checkpoint, self.shards):
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
        self.remove_earlier()
        self._beads.write_structure(self.topology, positions_nm)
        self._writers = [open_trajectory(path, self._beads) for path in self.trajectories]

    def remove_earlier(self) -> None:
        """Remove trajectories, checkpoint, shards, sidecar and .cif of the simulation that is replaced."""
        for path in (*self._earlier_trajectories(), self.checkpoint, self.all_names):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.shards, ignore_errors=True)
        self.sidecar.unlink(missing_ok=True)

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
        self.write_sidecar(metadata)

    def write_sidecar(self, metadata: dict) -> None:
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
