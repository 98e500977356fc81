"""The simulation of a round: of all replicas together, or in shards, by this process or by Dask's workers.

In: the force field so far and the replicas' positions. Out: their frames, and where the next round goes on from.
How replicas are cut follows from their number and from `shard_replicas` alone, and a shard's noise from the round's
seed and its first replica, as in fpforce.simulation.shards: frames are the same whoever simulates the shards. A shard
whose worker is lost begins anew, and a round that is stopped is lost.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.distributed.parts import Part, Pool
from fpforce.forcefield.load import load
from fpforce.foundation.seeds import seeds
from fpforce.foundation.signals import stop_signals
from fpforce.simulation.shards import MOST_SHARDS
from fpforce.training.calibration.persistent_replicas import PersistentReplicas
from fpforce.training.recipe.sections import CalibrationRecipe, RunRecipe


def shard_replicas(settings: CalibrationRecipe, run: RunRecipe, begun: Mapping[str, Any]) -> int | None:
    """Replicas of a shard, or None where all are simulated together.

    begun: the settings of earlier rounds, which go on as they began unless the recipe says otherwise; empty where there
    were none.
    """
    if settings.shard_replicas is not None or begun:
        return settings.shard_replicas or begun.get("shard_replicas")
    return -(-settings.replicas // MOST_SHARDS) if run.where.many else None


def simulate_round(
    model: Path, positions_nm: np.ndarray, settings: CalibrationRecipe, threads: int | None, seed: int, pool: Pool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames (times, R, n, 3) of the coldest rung and the last positions (K, R, n, 3) of the replicas, in nm.

    model: model.pt, which workers need not see. positions_nm (K, R, n, 3): where the replicas begin. threads: of a
    shard; None for as many as pay off, or 1 where there are shards. None where a signal stopped it.
    Raises InputError where a replica breaks.
    """
    replicas = positions_nm.shape[1]
    size = settings.shard_replicas or replicas
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    parts, contents = [], model.read_bytes()
    for first in range(0, replicas, size):
        whole = size >= replicas
        arguments = {
            "model": contents,
            "first": first,
            "positions_nm": positions_nm[:, first : first + size],
            "settings": settings,
            "threads": threads or (None if whole else 1),
            "seed": seed if whole else seeds(seed, "shard", first)[0],
        }
        parts.append(Part(f"replicas from {first}", simulate_shard, arguments))
    if pool.run(parts, lambda *_: None, found.__setitem__):
        return None
    frames_nm, last_nm = zip(*(found[part.name] for part in parts), strict=True)
    return np.concatenate(frames_nm, axis=1), np.concatenate(last_nm, axis=1)


def simulate_shard(
    model: bytes,
    first: int,
    positions_nm: np.ndarray,
    settings: CalibrationRecipe,
    threads: int | None,
    seed: int,
    told: Callable[[Any], None],
) -> tuple[np.ndarray, np.ndarray]:
    """What `simulate_round` returns, of the replicas from `first` on alone. model: the contents of model.pt.

    Raises KeyboardInterrupt on a signal.
    """
    with tempfile.TemporaryDirectory() as folder, stop_signals() as stop:
        path = Path(folder) / "model.pt"
        path.write_bytes(model)
        replicas = PersistentReplicas(load(path).bound(), positions_nm, settings, threads, seed, first=first)
        frames_nm = replicas.simulate(stop)
    if frames_nm is None:
        raise KeyboardInterrupt
    return frames_nm, replicas.positions_nm
