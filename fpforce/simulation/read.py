"""A simulation read back, in one piece or in shards.

In: the name of its trajectory, and the beads in the order that is wanted. Out: `SimulatedFrames`.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, read_json
from fpforce.molecule.beads import BeadTable
from fpforce.simulation.files import sidecar_of
from fpforce.trajectories.formats import readable

logger = logging.getLogger("fpforce")


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

    Of a simulation in shards all are read. Where one is behind the others its last frame is repeated, not valid; one
    without a frame is left out, with a notice. Frames beyond the last checkpoint, which a killed run can leave, are not
    returned. Beads, those of the start in the metadata too, are put in the order of `table`, which may be another one.
    Raises InputError when trajectory or sidecar are missing, cannot be read, or do not fit `table`.
    """
    import mdtraj

    path = Path(path)
    sidecar = sidecar_of(path)
    if not sidecar.exists():
        raise InputError(
            f"{sidecar} does not exist: it belongs to the trajectory {path} and holds its replicas; keep the "
            "two together"
        )
    try:
        with damage_as_value_error():
            metadata = read_json(sidecar)
            if "shards" in metadata:
                shards = [_checked_shard(shard) for shard in metadata["shards"]]
            else:
                shards, replicas, saved_times = None, int(metadata["replicas"]), int(metadata["saved_times"])
                files = [path.parent / name for name in metadata["trajectories"]]
                failed = {int(replica): info for replica, info in metadata["failed"].items()}
                failed_from = {replica: int(info["frame"]) for replica, info in failed.items()}
                if any(Path(name).name != name for name in metadata["trajectories"]):
                    raise ValueError(f"trajectories {metadata['trajectories']} are not names of files beside it")
                if min(replicas, len(files), saved_times + 1) < 1 or any(not 0 <= r < replicas for r in failed):
                    raise ValueError(f"{saved_times} frames of {replicas} replicas in {len(files)} files")
    except (OSError, ValueError) as error:
        raise InputError(f"sidecar {sidecar} cannot be read ({error}); run the simulation again") from error
    if shards is not None:
        return _read_shards(path, metadata | {"shards": shards}, table)
    if not saved_times:
        raise InputError(f"simulation {path} has no saved frame yet; continue it with --resume")
    topology, frames = table.to_mdtraj(), []
    for file in files:
        if not os.path.exists(file):  # False for a name that is too long, too
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


def _checked_shard(shard: dict) -> dict:
    """An entry of `shards`, whose trajectory lies below the simulation's folder; ValueError for any other."""
    output = Path(shard["output"])
    if output.is_absolute() or ".." in output.parts:
        raise ValueError(f"shard {shard['output']} does not lie below it")
    return shard | {"replicas": int(shard["replicas"])}


def _read_shards(path: Path, metadata: dict, table: BeadTable) -> SimulatedFrames:
    """All shards that have frames as one simulation."""
    listed, parts = [], []
    for shard in metadata["shards"]:
        sidecar = sidecar_of(path.parent / shard["output"])
        if sidecar.exists() and read_json(sidecar).get("saved_times"):
            listed.append(shard)
            parts.append(read_simulation(path.parent / shard["output"], table))
    if not parts:
        raise InputError(f"simulation {path} has no saved frame yet; continue it with --resume")
    times = [len(part.positions_nm) for part in parts]
    if len(set(times)) > 1 or len(parts) < len(metadata["shards"]):
        logger.warning(
            "%s is not finished: %d of its %d shards have frames, from %d to %d saved times",
            path,
            len(parts),
            len(metadata["shards"]),
            min(times),
            max(times),
        )
    short = [((0, max(times) - behind), (0, 0)) for behind in times]
    positions_nm = [
        np.pad(part.positions_nm, (*pad, (0, 0), (0, 0)), "edge") for part, pad in zip(parts, short, strict=True)
    ]
    valid = [np.pad(part.valid, pad) for part, pad in zip(parts, short, strict=True)]
    summary = summary_of_shards(listed, [part.metadata for part in parts])
    metadata |= summary | {"beads": parts[0].metadata["beads"]}
    metadata["start"] |= {"positions_nm": parts[0].metadata["start"]["positions_nm"]}
    return SimulatedFrames(
        np.concatenate(positions_nm, axis=1),
        np.concatenate(valid, axis=1),
        {int(replica): info for replica, info in summary["failed"].items()},
        metadata,
    )


def summary_of_shards(listed: Sequence[dict], sidecars: Sequence[dict | None]) -> dict:
    """What the sidecars of shards, None for those not begun, say of the simulation that they make.

    listed: its entry `shards`. steps and saved_times are those of the shard that is furthest behind and ahead.
    """
    begun = [each for each in sidecars if each is not None]
    firsts = np.cumsum([0, *(shard["replicas"] for shard in listed)])
    summary = {
        "replicas": int(firsts[-1]),
        "steps": min(each["steps"] for each in begun) if len(begun) == len(sidecars) else 0,
        "saved_times": max((each["saved_times"] for each in begun), default=0),
        "seconds": sum(each["seconds"] for each in begun),
        "backend": ", ".join(sorted({each["backend"] for each in begun})),
        "platform": ", ".join(sorted({each["platform"] for each in begun})),
        "trajectories": [
            str(Path(shard["output"]).with_name(name))
            for shard, each in zip(listed, sidecars, strict=True)
            if each is not None
            for name in each["trajectories"]
        ],
        "failed": {
            str(first + int(replica)): info
            for first, each in zip(firsts.tolist(), sidecars, strict=False)
            if each is not None
            for replica, info in each["failed"].items()
        },
    }
    swaps = [each["swaps"] for each in begun if "swaps" in each]
    if swaps:
        summary["swaps"] = {name: np.sum([each[name] for each in swaps], axis=0).tolist() for name in swaps[0]}
    return summary
