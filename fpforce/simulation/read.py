"""A simulation read back, in one piece or in shards.

In: the name of its trajectory, and the beads in the order that is wanted. Out: `SimulatedFrames`, all in memory; in
pieces it is read by fpforce.simulation.pieces.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpforce.molecule.beads import BeadTable
from fpforce.simulation.pieces import open_simulation

_FRAMES_AT_ONCE = 50_000


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
    simulation = open_simulation(path, table)
    positions_nm = np.empty((simulation.times, simulation.replicas, len(table), 3), dtype=np.float32)
    for piece in simulation.pieces(_FRAMES_AT_ONCE):
        times, replicas = piece.positions_nm.shape[:2]
        positions_nm[piece.time : piece.time + times, piece.replica : piece.replica + replicas] = piece.positions_nm
    for part in simulation.parts:
        columns = slice(part.first, part.first + part.replicas)
        positions_nm[part.times :, columns] = positions_nm[part.times - 1, columns]
    valid = np.arange(simulation.times)[:, None] < simulation.ends
    return SimulatedFrames(positions_nm, valid, simulation.failed, simulation.metadata)
