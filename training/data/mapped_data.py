"""Trajectories, and forces that go with them, mapped to bead frames on the disk, file by file and piece by piece.

In: a recipe's data and a folder. Out: `MappedData`: the store of positions, that of forces in its folder `forces`, and
some frames with the report on all files. What is there already is taken as it is; an unfinished store is gone on with,
and one of other files or another mapping is made anew. Several files are mapped at once where there are processors.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.distributed.child import call_in_child
from fpforce.foundation.errors import InputError
from fpforce.training.data.force_files import force_files
from fpforce.training.recipe.sections import DataRecipe
from fpforce.trajectories.bead_frames import BeadFrames, prepared, reported
from fpforce.trajectories.checked import checked_pieces, frames_at_once
from fpforce.trajectories.chunks import read_chunks
from fpforce.trajectories.forces import BeadForces, ForceReader
from fpforce.trajectories.frame_store import FrameStore, open_store, write_shard
from fpforce.trajectories.sources import Sources

logger = logging.getLogger("fpforce")

SOME = 100_000  # frames in memory: for statistics, conformations, calibration and what is watched
_BYTES_TO_SHARE_OUT = 256 << 20  # of trajectories; of fewer the processes would take longer to start than to map


@dataclass(frozen=True)
class MappedForces:
    """Forces on the beads on the disk, in kJ/mol/nm, with where they came from; `variances` of averages, or None."""

    store: FrameStore
    variances: FrameStore | None
    sources: tuple[str, ...]
    sha256: str
    unit: str

    def of(self, numbers: np.ndarray) -> BeadForces:
        """Those of some frames by their numbers (count,)."""
        variances = None if self.variances is None else self.variances.take(numbers)
        return BeadForces(self.store.take(numbers), self.sources, self.sha256, self.unit, variances)


@dataclass(frozen=True)
class MappedData:
    """The store of all bead frames, BeadFrames of some of them with the report on all files, and the forces or None."""

    store: FrameStore
    some: BeadFrames
    forces: MappedForces | None

    def forces_of(self, numbers: np.ndarray) -> BeadForces | None:
        """Forces of some frames by their numbers in the store (count,)."""
        return None if self.forces is None else self.forces.of(numbers)


def map_to_disk(data: DataRecipe, folder: Path) -> MappedData:
    """The bead frames of a recipe's trajectories in a folder."""
    arguments: dict[str, Any] = {
        "beads": data.beads,
        "length_unit": data.length_unit,
        "several_chains": data.several_chains,
    }
    paths, sources = prepared(data.trajectories, data.topology, stride=data.stride, **arguments)
    table = sources.table
    key = {
        "files": _states(paths),
        "beads": table.to_dict(),
        "stride": data.stride,
        "allow_d_residues": data.allow_d_residues,
        **{name: arguments[name] for name in ("length_unit", "several_chains")},
    }

    def pieces_of(number: int, skip: int) -> Iterator[np.ndarray]:
        return _mapped_pieces(paths[number], sources, data, skip)

    described = {"beads": table.to_dict(), "length_unit": "nm"}
    hashed, names = _hashed(key), [str(path) for path in paths]

    def together(numbers: list[int]) -> None:
        if sum(paths[number].stat().st_size for number in numbers) >= _BYTES_TO_SHARE_OUT:
            _map_together(data, folder, hashed, paths, numbers)

    store = open_store(folder, hashed, described, len(table), names, pieces_of, together)
    store.verify()
    forces = _map_forces(data, folder / "forces", paths, sources, store)
    chosen = [
        first + evenly_spread(length, max(1, SOME // len(paths)))
        for first, length in zip(np.cumsum((0, *store.lengths[:-1])), store.lengths, strict=True)
    ]
    numbers = np.concatenate(chosen)
    frames = BeadFrames(
        positions_nm=store.take(numbers),
        beads=table,
        lengths=tuple(map(len, chosen)),
        sources=tuple(map(str, paths)),
        sha256=hashlib.sha256(json.dumps(store.content["shards"]).encode()).hexdigest(),
        time_step_ps=None,
        forces=None if forces is None else forces.of(numbers),
    )
    some = reported(frames, sources, data.stride, data.length_unit, data.allow_d_residues)
    return MappedData(store, some, forces)


def evenly_spread(count: int, most: int) -> np.ndarray:
    """At most so many numbers, in order, spread evenly over so many."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _map_together(data: DataRecipe, folder: Path, key: str, paths: list[Path], numbers: list[int]) -> None:
    """Map several trajectories at once, each in a process of its own."""
    processes = min(os.cpu_count() or 1, len(numbers))
    if processes == 1:
        return
    broken = threading.Event()

    def mapped(number: int) -> tuple[str, Any]:
        if broken.is_set():
            return "stopped", None
        arguments = {"data": data, "folder": folder, "key": key, "number": number}
        outcome = call_in_child(
            map_file, arguments, lambda told: logger.info("%s", told), logger.warning, broken.is_set
        )
        if outcome[0] != "done":
            broken.set()
        return outcome

    with ThreadPoolExecutor(processes) as pool:
        try:
            outcomes = list(pool.map(mapped, numbers))
        except BaseException:
            broken.set()
            raise
    for kind, value in outcomes:
        if kind == "refused":
            raise InputError(value)
    if any(kind != "done" for kind, _ in outcomes):
        raise KeyboardInterrupt(f"stopped; what is mapped is in {folder}, and the same command goes on with it")


def map_file(data: DataRecipe, folder: Path, key: str, number: int, told: Callable[[str], None]) -> None:
    """Map one of a recipe's trajectories into a store that another process has begun; `told` of every piece."""
    paths, sources = prepared(
        data.trajectories,
        data.topology,
        beads=data.beads,
        length_unit=data.length_unit,
        stride=data.stride,
        several_chains=data.several_chains,
    )

    def pieces_from(skip: int) -> Iterator[np.ndarray]:
        first = skip
        for piece in _mapped_pieces(paths[number], sources, data, skip):
            first += len(piece)
            yield piece
            told(f"{paths[number]}: {first} frames mapped to the disk")

    write_shard(folder, key, number, len(sources.table), pieces_from)


def _mapped_pieces(path: Path, sources: Sources, data: DataRecipe, skip: int) -> Iterator[np.ndarray]:
    """Checked bead positions (frames, beads, 3) in nm of a trajectory from the frame `skip` on."""
    first, how = skip, (data.length_unit, data.stride, data.allow_d_residues)
    for _, positions in checked_pieces(path, sources, *how, skip=skip):
        yield positions
        first += len(positions)
        logger.info("%s: %d frames mapped to the disk", path, first)


def _map_forces(
    data: DataRecipe, folder: Path, paths: list[Path], sources: Sources, positions: FrameStore
) -> MappedForces | None:
    files = force_files(data)
    if files is None:
        return None
    key = {
        "positions": positions.content["key"],
        "files": _states(list(files.paths)),
        "unit": files.unit,
        "constraints": files.constraints,
        "optimal": files.optimal,
    }
    reader = ForceReader(files, sources.source.mapped_atoms(), sources.source.n_points, data.stride, len(paths))
    at_once, names = frames_at_once(sources), [str(path) for path in files.paths]
    for number, (path, length) in enumerate(zip(paths, positions.lengths, strict=True)):
        reader.refuse_other_frames(number, path, length)
        beginning = next(read_chunks(sources.source, path, data.length_unit, data.stride, at_once))
        reader.refuse_rigid_bonds(number, beginning.xyz)

    def pieces_of(number: int, skip: int) -> Iterator[np.ndarray]:
        return reader.pieces(number, skip, at_once)

    def variances_of(number: int, skip: int) -> Iterator[np.ndarray]:
        return reader.variance_pieces(number, skip, at_once)

    beads = len(sources.table)
    store = open_store(folder, _hashed(key), {"unit": "kJ/mol/nm"}, beads, names, pieces_of)
    store.verify()
    variances = None
    if all(reader.has_variances(number) for number in range(len(paths))):
        described = {"unit": "(kJ/mol/nm)^2"}
        variances = open_store(folder / "variances", _hashed(key), described, beads, names, variances_of)
        variances.verify()
    return MappedForces(store, variances, tuple(names), reader.sha256(), files.unit)


def _states(paths: list[Path]) -> list[tuple[str, int, int]]:
    """What shows that files have changed."""
    return [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _hashed(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
