"""One run of reference data in a folder: frames of the coldest rung as part-*.xtc and a checkpoint to go on from.

A part is complete when it appears, and the checkpoint names the parts that belong to it: a kill at any moment loses no
more than the time since the last checkpoint, and on the Reference platform the run then repeats the same frames.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import mapping_in, numpy_file
from fpforce.foundation.locking import Lock
from fpforce.foundation.progress import SimulationProgress, aggregate_ns_per_day
from fpforce.foundation.signals import stop_signals
from fpforce.molecule.chirality import d_residues
from fpforce.reference.protocol import Dynamics
from fpforce.reference.replica_exchange import ReplicaExchange
from fpforce.trajectories.trajectory_writer import write_xtc

if TYPE_CHECKING:
    import openmm
    from openmm import app


class ReferenceRun:
    """The frames of one run's coldest rung.

    Args:
        folder: of this run alone; made if missing, and locked while the object lives.
        topology: openmm.app.Topology of all particles.
        system: openmm.System of them.
        positions_nm: (atoms, 3), where every replica starts.
        protocol: Dynamics.
        identity: dict of what else must be the same when the run goes on; `seed` and `discarded_frames` at least.
        resume: go on where an earlier call stopped.
        stored: indices of the atoms to keep; all by default.
        platform, threads: of OpenMM.

    Raises:
        InputError: the folder is in use, holds a run and `resume` is not set, or was begun differently.
    """

    def __init__(
        self,
        folder: Path,
        topology: "app.Topology",
        system: "openmm.System",
        positions_nm: np.ndarray,
        protocol: Dynamics,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        stored: Sequence[int] | None = None,
        platform: str = "Reference",
        threads: int = 1,
    ) -> None:
        import mdtraj
        import openmm

        self.topology = mdtraj.Topology.from_openmm(topology)
        if stored is not None:
            self.topology = self.topology.subset(stored)
        self._stored = slice(None) if stored is None else np.asarray(stored)
        self._folder, self._protocol = folder, protocol
        self._identity = dict(identity) | protocol.to_dict() | {"platform": platform, "openmm": openmm.version.version}
        self._exchange = ReplicaExchange(
            system,
            positions_nm,
            protocol.temperatures_k,
            timestep_fs=protocol.timestep_fs,
            friction_per_ps=protocol.friction_per_ps,
            seed=identity["seed"],
            platform=platform,
            threads=threads,
        )
        self._frames, self._parts, self._buffer, self._holders, self._wall_s = 0, 0, [], [], 0.0
        occupied = folder.exists() and any(folder.iterdir())
        if occupied and not resume:
            raise InputError(f"{folder} is not empty: go on with --resume, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(folder / "lock", folder)
        if occupied:
            self._restore()

    @property
    def frames(self) -> int:
        """Frames so far, the discarded ones included."""
        return self._frames

    def run_to(
        self,
        frames: int,
        seconds_between_checkpoints: float,
        show_progress: bool | Callable[[int, int], None] = True,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        """Simulate until this many frames (the discarded ones included) are on disk.

        keep_going: asked after every frame; False stops with a checkpoint.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C, SIGTERM or keep_going, with everything kept.
            InputError: unstable, or a residue turned D.
        """
        steps = self._protocol.steps_per_frame
        begun = last_checkpoint = time.monotonic()
        wall_before = self._wall_s
        shown = show_progress if frames > self._frames else False
        progress = SimulationProgress(frames * steps, self._frames * steps, 1, self._protocol.timestep_fs, shown)
        # A signal inside a replica's steps would leave the others behind: it is noted, and heeded between frames.
        with stop_signals() as stop, progress:
            while self._frames < frames and not stop.is_set() and keep_going():
                self._exchange.advance(steps)
                self._buffer.append(self._exchange.frame()[self._stored])
                self._holders.append(self._exchange.coldest)
                self._frames += 1
                progress.update(self._frames * steps, 0)
                now = time.monotonic()
                self._wall_s = wall_before + now - begun
                if now - last_checkpoint > seconds_between_checkpoints:
                    self._checkpoint()
                    last_checkpoint = now
            self._checkpoint()
        if self._frames < frames:
            raise KeyboardInterrupt(f"{self._folder} holds {self._frames} of {frames} frames; go on with --resume")

    def read_frames(self) -> np.ndarray:
        """Positions (frames, stored atoms, 3) in nm without the discarded ones."""
        import mdtraj

        parts = [mdtraj.load(str(self._part(number)), top=self.topology).xyz for number in range(self._parts)]
        return np.concatenate(parts)[self._identity["discarded_frames"] :]

    def facts(self) -> dict[str, Any]:
        """What the record of a data set tells of the run."""
        holders, exchange = np.array(self._holders), self._exchange
        steps_per_second = self._frames * self._protocol.steps_per_frame / max(self._wall_s, 1e-9)
        facts = {
            "seed": self._identity["seed"],
            "discarded_frames": self._identity["discarded_frames"],
            "steps_per_second": round(steps_per_second, 1),
            "ns_per_day": round(aggregate_ns_per_day(steps_per_second, 1, self._protocol.timestep_fs), 1),
        }
        return facts | {
            "round_trips": exchange.round_trips.tolist(),
            "swap_acceptance": np.round(exchange.swaps.accepted / np.maximum(exchange.swaps.attempts, 1), 3).tolist(),
            "coldest_rung_changed_hands": int(np.count_nonzero(holders[1:] != holders[:-1])),
        }

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.xtc"

    def _checkpoint(self) -> None:
        """Write the frames since the last checkpoint as a part, then the state that goes with them."""
        if not self._buffer:
            return
        xyz = np.array(self._buffer, dtype=np.float32)
        found = d_residues(xyz, self.topology)
        if found:
            raise InputError(f"{self._folder}: {found[0][0]} turned into a D amino acid: start anew with another seed")
        with replacing(self._part(self._parts)) as unfinished:
            write_xtc(unfinished, xyz, self._protocol.interval_ps, first=self._frames - len(xyz))
        self._parts, self._buffer = self._parts + 1, []
        with replacing(self._folder / "checkpoint.npz") as unfinished, open(unfinished, "wb") as file:
            np.savez(
                file,
                **self._exchange.state(),  # type: ignore[arg-type]
                holders=np.array(self._holders, dtype=np.int16),
                progress=np.array([self._frames, self._parts]),
                wall_s=np.array(self._wall_s),
                protocol=np.array(json.dumps(self._identity)),
            )

    def _restore(self) -> None:
        checkpoint = self._folder / "checkpoint.npz"
        if not checkpoint.exists():
            return
        try:
            with numpy_file(checkpoint) as stored:
                state = dict(stored)
                made_by = mapping_in(str(state["protocol"]))
                self._frames, self._parts = (int(count) for count in state["progress"])
                self._holders, self._wall_s = state["holders"].tolist(), float(state["wall_s"])
        except (OSError, ValueError) as error:
            raise InputError(f"{checkpoint} cannot be read ({error}): remove {self._folder} to start anew") from None
        if "start" in made_by:  # earlier versions kept the path as it was given
            made_by["start"] = Path(made_by["start"]).name
        for key, value in self._identity.items():
            if made_by.get(key) != value:
                raise InputError(
                    f"{self._folder} was begun with {key} = {made_by.get(key)!r}, not {value!r}: "
                    "resume with the same, or choose another folder"
                )
        self._exchange.restore(state)
