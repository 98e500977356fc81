"""Bead frames on the disk: an .npy for each trajectory and a JSON that says what they are, how far they reach and their
checksums.

In: positions (frames, beads, 3) in nm, piece after piece. Out: any frames by their numbers, read when they are asked
for. A store is made once and gone on with where its making was interrupted: how many frames of a trajectory are on the
disk stands in a JSON of its own, frames_1.json and so on until all are there, which is replaced every few hundred MB.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.atomic_files import replacing
from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, read_json
from fpforce.foundation.locking import Lock, wait_until_free
from fpforce.trajectories.collected import advise

JSON_NAME = "frames.json"
_VERSION = 1
_HEADER_BYTES = 128
_BYTES_BETWEEN_RECORDS = 256 << 20
_READS_BETWEEN_RELEASES = 64
_OF_A_SHARD = ("file", "frames", "crc32", "done")
# In which the process of one whose parent was killed notices that.
_GIVE_WAY_SECONDS = 60.0


class FrameStore:
    """Frames of one molecule over some trajectories, `lengths` of each; `content` is the JSON."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder, self.content = folder, content
        self.lengths = tuple(int(shard["frames"]) for shard in content["shards"])
        self._ends = np.cumsum(self.lengths)
        self._maps = [np.load(folder / shard["file"], mmap_mode="r") for shard in content["shards"]]
        self._reads = 0
        for one in self._maps:
            advise(one, "MADV_RANDOM")  # frames are drawn at random: neighbours are of no use

    def __len__(self) -> int:
        return sum(self.lengths)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Frames (count, beads, 3) float32 in nm, by their numbers (count,) over all trajectories."""
        shards = np.searchsorted(self._ends, numbers, side="right")
        found = np.empty((len(numbers), *self._maps[0].shape[1:]), dtype=np.float32)
        for shard in np.unique(shards):
            here = shards == shard
            found[here] = self._maps[shard][numbers[here] - (self._ends[shard] - self.lengths[shard])]
        self._reads += 1
        if self._reads % _READS_BETWEEN_RELEASES == 0:
            for one in self._maps:
                advise(one, "MADV_DONTNEED")  # or all pages ever read would count as this process's
        return found

    def pieces(self, frames: int) -> Iterable[tuple[int, np.ndarray]]:
        """(number of the first, positions) of consecutive frames, at most so many at once."""
        first = 0
        for shard, length in zip(self.content["shards"], self.lengths, strict=True):
            for start in range(0, length, frames):
                piece = np.load(self.folder / shard["file"], mmap_mode="r")[start : start + frames]
                yield first + start, np.array(piece)
            first += length

    def verify(self) -> None:
        """Raise InputError for frames that are not those that were written, by their checksums."""
        for shard in self.content["shards"]:
            checksum = 0
            with open(self.folder / shard["file"], "rb") as file:
                file.seek(_HEADER_BYTES)
                while block := file.read(1 << 20):
                    checksum = zlib.crc32(block, checksum)
            if checksum != shard["crc32"]:
                raise InputError(
                    f"{self.folder / shard['file']} is not as it was written: remove {self.folder}, and it is made anew"
                )


def open_store(
    folder: Path,
    key: str,
    described: dict[str, Any],
    beads: int,
    names: list[str],
    pieces_of: Callable[[int, int], Iterable[np.ndarray]],
    together: Callable[[list[int]], None] | None = None,
) -> FrameStore:
    """The store in a folder: made where there is none of this key, gone on with where it is unfinished.

    key: what decides the frames. described: what else the JSON is to hold. names: of the trajectories;
    pieces_of(number, skip): positions (frames, beads, 3) of one, from the frame `skip` on. together(numbers): may write
    the shards of unfinished trajectories by `write_shard`, several at once; those it leaves are written one after the
    other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder / "lock", folder)
    try:
        content = _read(folder, key)
        if content is None:
            content = {"version": _VERSION, "key": key, "done": False, **described, "shards": []}
            _record(folder / JSON_NAME, content)
            numbers = range(len(names))
            unfinished = [number for number in numbers if not _progress(folder, key, number)["done"]]
            if together is not None and len(unfinished) > 1:
                together(unfinished)
            for number in numbers:
                if not _progress(folder, key, number)["done"]:
                    write_shard(folder, key, number, beads, partial(pieces_of, number))
            for number, name in enumerate(names):
                made = _progress(folder, key, number)
                content["shards"].append({"trajectory": name, **{each: made[each] for each in _OF_A_SHARD}})
            content["done"] = True
            _record(folder / JSON_NAME, content)
            for number in numbers:
                _progress_file(folder, number).unlink(missing_ok=True)
        return FrameStore(folder, content)
    finally:
        lock.close()


def write_shard(
    folder: Path, key: str, number: int, beads: int, pieces_from: Callable[[int], Iterable[np.ndarray]]
) -> None:
    """Write the frames of one trajectory, or go on with them; several processes may, each with another trajectory.

    pieces_from(skip): positions (frames, beads, 3) from the frame `skip` on.
    """
    path = _shard_file(folder, number)
    lock_path = path.with_name(path.name + ".lock")
    wait_until_free(lock_path, path, _GIVE_WAY_SECONDS)
    lock = Lock(lock_path, path)
    try:
        _write(folder, key, number, beads, pieces_from)
    finally:
        lock.close()


def _write(folder: Path, key: str, number: int, beads: int, pieces_from: Callable[[int], Iterable[np.ndarray]]) -> None:
    shard, frame_bytes = _progress(folder, key, number), 12 * beads
    path, record = _shard_file(folder, number), _progress_file(folder, number)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    with open(descriptor, "r+b") as file:
        file.truncate(_HEADER_BYTES + shard["frames"] * frame_bytes)  # what came after the last record
        file.seek(0, os.SEEK_END)
        since = 0
        for piece in pieces_from(shard["frames"]):
            data = np.ascontiguousarray(piece, dtype="<f4").tobytes()
            file.write(data)
            shard["crc32"] = zlib.crc32(data, shard["crc32"])
            shard["frames"] += len(piece)
            since += len(data)
            if since > _BYTES_BETWEEN_RECORDS:
                _to_disk(file)
                _record(record, shard)
                since = 0
        file.seek(0)
        file.write(_header(shard["frames"], beads))
        _to_disk(file)
    _record(record, shard | {"done": True})


def _progress(folder: Path, key: str, number: int) -> dict[str, Any]:
    """How far a shard is; from the beginning where there is none of this key, or less of it than was recorded."""
    path = _shard_file(folder, number)
    nothing = {"key": key, "file": path.name, "frames": 0, "crc32": 0, "done": False}
    try:
        with damage_as_value_error():
            found = nothing | read_json(_progress_file(folder, number))
            enough = not found["frames"] or path.stat().st_size >= _HEADER_BYTES
            return found if found["key"] == key and found["file"] == path.name and enough else nothing
    except (OSError, ValueError):
        return nothing


def _shard_file(folder: Path, number: int) -> Path:
    return folder / f"frames_{number + 1}.npy"


def _progress_file(folder: Path, number: int) -> Path:
    return folder / f"frames_{number + 1}.json"


def _read(folder: Path, key: str) -> dict[str, Any] | None:
    """The JSON of a store that is finished; None where there is none, or one of another key."""
    try:
        with damage_as_value_error():
            content = read_json(folder / JSON_NAME)
            if content["version"] != _VERSION or content["key"] != key or not content["done"]:
                return None
            return content if all((folder / Path(one["file"]).name).exists() for one in content["shards"]) else None
    except (OSError, ValueError):
        return None


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _record(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1))


def _header(frames: int, beads: int) -> bytes:
    """An .npy header of a fixed size, for any number of frames."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {beads}, 3), }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (_HEADER_BYTES - 10).to_bytes(2, "little")
        + text.ljust(_HEADER_BYTES - 11).encode()
        + b"\n"
    )
