"""A simulation read a piece at a time: its files, and those of its shards one after the other.

In: the name of its trajectory, and the beads in the order that is wanted. Out: `SimulationPieces`, of which no more
than some frames are in memory at once.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, read_json
from fpforce.molecule.beads import BeadTable
from fpforce.simulation.files import sidecar_of
from fpforce.simulation.shard_summary import summary_of_shards
from fpforce.trajectories.formats import readable

if TYPE_CHECKING:
    import mdtraj

logger = logging.getLogger("fpforce")


class SimulatedPiece(NamedTuple):
    """positions_nm (times, replicas, beads, 3) from the saved time `time` and the replica `replica` on."""

    time: int
    replica: int
    positions_nm: np.ndarray


@dataclass(frozen=True)
class SimulationPieces:
    """A simulation of `times` saved times of so many `replicas`, read by its parts, of which a shard is one.

    `ends` (replicas,): how many saved times of each replica are there and before its failure; `failed` maps a replica
    that failed to what happened; `metadata` is the sidecar.
    """

    times: int
    replicas: int
    ends: np.ndarray
    failed: dict[int, dict]
    metadata: dict
    beads: BeadTable
    parts: tuple["_Part", ...]

    def pieces(self, frames: int) -> Iterator[SimulatedPiece]:
        """All frames once, at most so many at once but for one saved time of all replicas of a file."""
        for part in self.parts:
            yield from part.pieces(frames, self.beads)


@dataclass(frozen=True)
class _Part:
    """The files of a simulation in one piece, whose replicas are counted from `first` on."""

    first: int
    files: tuple[Path, ...]
    sidecar: Path
    times: int
    replicas: int
    order: np.ndarray | None

    def pieces(self, frames: int, beads: BeadTable) -> Iterator[SimulatedPiece]:
        topology = beads.to_mdtraj()
        columns = self.replicas if len(self.files) == 1 else 1
        at_once = max(1, frames // columns)
        for number, path in enumerate(self.files):
            with self._reader(path, topology) as read:
                for start in range(0, self.times, at_once):
                    times = min(at_once, self.times - start)
                    xyz = read(times * columns)
                    if len(xyz) < times * columns or xyz.shape[1] != len(beads):
                        raise InputError(
                            f"trajectory {path} has {start * columns + len(xyz)} frames of {xyz.shape[1]} beads, its "
                            f"sidecar {self.sidecar} says {self.times * columns} of {len(beads)}; the two do not "
                            "belong together"
                        )
                    positions_nm = xyz.reshape(times, columns, len(beads), 3)
                    if self.order is not None:
                        positions_nm = positions_nm[:, :, self.order]
                    yield SimulatedPiece(start, self.first + number, positions_nm)

    @contextmanager
    def _reader(self, path: Path, topology: "mdtraj.Topology") -> Iterator[Any]:
        """A function of a number of frames, which reads so many more (frames, beads, 3) in nm."""
        import mdtraj

        own = () if path.suffix == ".h5" else (topology,)

        def read(frames: int) -> np.ndarray:
            try:
                return file.read_as_traj(*own, n_frames=frames).xyz
            except Exception as error:
                raise _unreadable(path, topology, error) from error

        with readable(path) as name:
            try:
                file = mdtraj.open(name)
            except Exception as error:
                raise _unreadable(path, topology, error) from error
            with file:
                yield read


def open_simulation(path: str | Path, table: BeadTable) -> SimulationPieces:
    """The trajectory that fpforce-simulate wrote to `path`, with its sidecar `<path>.json`.

    Of a simulation in shards all are read; one without a frame is left out, with a notice. Frames beyond the last
    checkpoint, which a killed run can leave, are not there. Beads, those of the start in the metadata too, are put in
    the order of `table`, which may be another one. Raises InputError when trajectory or sidecar are missing, cannot be
    read, or do not fit `table`; `pieces` does for what is wrong further on.
    """
    path = Path(path)
    sidecar = sidecar_of(path)
    if not sidecar.exists():
        raise InputError(
            f"{sidecar} does not exist: it belongs to the trajectory {path} and holds its replicas; keep the "
            "two together"
        )
    with _damaged(sidecar):
        metadata = read_json(sidecar)
        shards = [_checked_shard(shard) for shard in metadata["shards"]] if "shards" in metadata else None
    if shards is not None:
        return _open_shards(path, metadata | {"shards": shards}, table)
    with _damaged(sidecar):
        replicas, saved_times = int(metadata["replicas"]), int(metadata["saved_times"])
        files = [path.parent / name for name in metadata["trajectories"]]
        failed = {int(replica): info for replica, info in metadata["failed"].items()}
        ends = np.full(replicas, saved_times)
        if any(Path(name).name != name for name in metadata["trajectories"]):
            raise ValueError(f"trajectories {metadata['trajectories']} are not names of files beside it")
        if min(replicas, len(files), saved_times + 1) < 1 or any(not 0 <= r < replicas for r in failed):
            raise ValueError(f"{saved_times} frames of {replicas} replicas in {len(files)} files")
        if len(files) not in (1, replicas):
            raise ValueError(f"{len(files)} files of {replicas} replicas")
        for replica, info in failed.items():
            ends[replica] = min(max(int(info["frame"]), 0), saved_times)
    if not saved_times:
        raise InputError(f"simulation {path} has no saved frame yet; continue it with --resume")
    for file in files:
        if not os.path.exists(file):  # False for a name that is too long, too
            raise InputError(f"trajectory {file} does not exist, but its sidecar {sidecar} does")
    order = None
    if "beads" in metadata:
        with _damaged(sidecar):
            order = table.order_in(metadata["beads"], f"simulation {path}")
            start = metadata.get("start", {})
            if "positions_nm" in start:
                start_nm = np.asarray(start["positions_nm"], dtype=float).reshape(len(table), 3)[order].tolist()
                metadata |= {"start": start | {"positions_nm": start_nm}, "beads": list(table.labels)}
    part = _Part(0, tuple(files), sidecar, saved_times, replicas, order)
    return SimulationPieces(saved_times, replicas, ends, failed, metadata, table, (part,))


def _checked_shard(shard: dict) -> dict:
    """An entry of `shards`, whose trajectory lies below the simulation's folder; ValueError for any other."""
    output = Path(shard["output"])
    if output.is_absolute() or ".." in output.parts:
        raise ValueError(f"shard {shard['output']} does not lie below it")
    return shard | {"replicas": int(shard["replicas"])}


def _open_shards(path: Path, metadata: dict, table: BeadTable) -> SimulationPieces:
    """All shards that have frames as one simulation."""
    listed, shards = [], []
    for shard in metadata["shards"]:
        sidecar = sidecar_of(path.parent / shard["output"])
        if sidecar.exists() and read_json(sidecar).get("saved_times"):
            listed.append(shard)
            shards.append(open_simulation(path.parent / shard["output"], table))
    if not shards:
        raise InputError(f"simulation {path} has no saved frame yet; continue it with --resume")
    times = [one.times for one in shards]
    if len(set(times)) > 1 or len(shards) < len(metadata["shards"]):
        logger.warning(
            "%s is not finished: %d of its %d shards have frames, from %d to %d saved times",
            path,
            len(shards),
            len(metadata["shards"]),
            min(times),
            max(times),
        )
    summary = summary_of_shards(listed, [one.metadata for one in shards])
    metadata |= summary | {"beads": shards[0].metadata["beads"]}
    metadata["start"] |= {"positions_nm": shards[0].metadata["start"]["positions_nm"]}
    firsts = np.cumsum([0, *(one.replicas for one in shards)]).tolist()
    parts = [
        _Part(first + part.first, part.files, part.sidecar, part.times, part.replicas, part.order)
        for first, one in zip(firsts, shards, strict=False)
        for part in one.parts
    ]
    return SimulationPieces(
        max(times),
        firsts[-1],
        np.concatenate([one.ends for one in shards]),
        {int(replica): info for replica, info in summary["failed"].items()},
        metadata,
        table,
        tuple(parts),
    )


@contextmanager
def _damaged(sidecar: Path) -> Iterator[None]:
    """InputError for what is wrong with a sidecar within the block."""
    try:
        with damage_as_value_error():
            yield
    except (OSError, ValueError) as error:
        raise InputError(f"sidecar {sidecar} cannot be read ({error}); run the simulation again") from error


def _unreadable(path: Path, topology: "mdtraj.Topology", error: Exception) -> InputError:
    return InputError(f"trajectory {path} cannot be read with {topology.n_atoms} beads: {error}")
