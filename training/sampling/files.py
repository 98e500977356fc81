"""The files of one sampling run: trajectory, `<output>.pdb` topology, `<output>.json` record, `<output>.npz` densities.

A batch goes to the trajectory first; then the record, which says how far the files reach, is replaced in one step. A
resumed run cuts the trajectory back to the record, so that no sample appears twice.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file, read_json
from fpforce.foundation.locking import Lock
from fpforce.molecule.beads import BeadTable
from fpforce.trajectories.trajectory_writer import check_extension, open_trajectory


class SampleFiles:
    """Names, existence checks and writing of a sampling run's files."""

    def __init__(self, output: str | Path, beads: BeadTable, *, with_log_density: bool):
        self.output = Path(output)
        check_extension(self.output)
        self._beads, self._with_log_density = beads, with_log_density
        self.record, self.topology, self.densities = (
            self.output.with_name(self.output.name + suffix) for suffix in (".json", ".pdb", ".npz")
        )
        self.all_names = self.topology.with_suffix(".cif")  # where names are longer than PDB columns
        self._writer: Any = None  # of the format that the output's name asks for
        self._arrays: dict[str, Any] = {}  # arrays; Any, since savez has a keyword of another type
        self._lock: Lock | None = None

    def open(self, description: dict, topology_nm: np.ndarray, *, resume: bool, overwrite: bool) -> dict:
        """Start the files, or go on with those of an earlier run; returns the record to be kept up to date.

        description: what a run to continue must have in common. topology_nm (beads, 3): the frame of the topology file.
        """
        if not resume:
            try:
                self.output.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"output folder {self.output.parent} cannot be made: {error.strerror}") from None
        elif not self.record.exists() or not self.output.exists():
            raise InputError(
                f"nothing to resume: {self.output} or its record {self.record} does not exist; start without --resume"
            )
        self._lock = Lock(self.output.with_name(self.output.name + ".lock"), self.output)
        try:
            return self._continue(description) if resume else self._start(description, topology_nm, overwrite)
        except BaseException:
            self.close()
            raise

    def _start(self, description: dict, topology_nm: np.ndarray, overwrite: bool) -> dict:
        for path in (self.output, self.record, self.topology, self.all_names, self.densities):
            if path.exists() and not overwrite:
                raise InputError(f"{path} already exists; give another --output, or --overwrite, or --resume to go on")
        for path in (self.record, self.densities, self.all_names):
            path.unlink(missing_ok=True)
        self._beads.write_structure(self.topology, topology_nm)
        self._writer = open_trajectory(self.output, self._beads)
        record = description | {"samples": 0, "drawn": 0, "non_finite": 0, "seconds": 0.0}
        self._save(record)
        return record

    def append(self, positions_nm: np.ndarray, arrays: dict[str, np.ndarray], record: dict) -> None:
        """Add a batch (frames, beads, 3) in nm with its arrays (frames,), and bring `record` up to date."""
        numbers = record["samples"] + np.arange(len(positions_nm))
        if len(positions_nm):
            self._writer.append(positions_nm, numbers.astype(float), numbers)
        record["samples"] += len(positions_nm)
        for name, values in arrays.items():
            self._arrays[name] = np.concatenate([self._arrays[name], values]) if name in self._arrays else values
        self._save(record)

    def close(self) -> None:
        """Close the trajectory and let others write."""
        if self._writer is not None:
            self._writer.close()
        if self._lock is not None:
            self._lock.close()

    def _save(self, record: dict) -> None:
        self._writer.sync()
        if self._arrays:
            with replacing(self.densities) as unfinished, open(unfinished, "wb") as file:
                np.savez(file, **self._arrays)
        content = record | {"extent": self._writer.extent}
        with replacing(self.record) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1))

    def _continue(self, description: dict) -> dict:
        try:
            record = read_json(self.record)
            for name, wanted in description.items():
                if name != "checkpoint" and record[name] != wanted:
                    raise InputError(
                        f"cannot resume {self.output}: {name} is {wanted}, that of the run to go on with is "
                        f"{record[name]}; use the same, or --overwrite to start anew"
                    )
            extent = record.pop("extent")
            if self._with_log_density and record["samples"]:
                with numpy_file(self.densities) as stored:
                    self._arrays = {name: values[: record["samples"]] for name, values in stored.items()}
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(
                f"{self.record} or {self.densities} cannot be read ({error}); start again with --overwrite"
            ) from None
        self._writer = open_trajectory(self.output, self._beads, extent)
        return record
