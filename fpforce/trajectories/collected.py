"""Arrays that grow piece by piece, in memory or on the disk, and large ones that are gone through piece by piece.

In: pieces (frames, ...) of an array. Out: the array, which on the disk is one of memory that is mapped from a file.
"""

import mmap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

_BYTES_AT_ONCE = 16 << 20


class Collected:
    """An array (frames, ...) of pieces: in memory, or in a file of a folder, where it then takes none.

    The file is a scratch file: it lasts as long as its folder, and is not brought to the disk.
    """

    def __init__(self, folder: Path | None, name: str, dtype: DTypeLike = np.float32) -> None:
        self._dtype = np.dtype(dtype)
        self._path = None if folder is None else folder / name
        self._pieces: list[np.ndarray] = []
        self._shape: tuple[int, ...] = (0,)
        if self._path is not None:
            self._path.unlink(missing_ok=True)  # an earlier array of this name stays as it is
            self._path.touch()

    def add(self, piece: np.ndarray) -> None:
        """Append a piece (frames, ...)."""
        piece = np.ascontiguousarray(piece, dtype=self._dtype)
        self._shape = (self._shape[0] + len(piece), *piece.shape[1:])
        if self._path is None:
            self._pieces.append(piece)
            return
        with open(self._path, "ab") as file:
            file.write(piece.data)

    def __len__(self) -> int:
        return self._shape[0]

    def array(self) -> np.ndarray:
        """All that was added, at least one frame."""
        if self._path is None:
            return self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces)
        return np.memmap(self._path, dtype=self._dtype, mode="r", shape=self._shape)


def pieces_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive parts along the first axis; of an array that is mapped from a file the memory of each is given back
    after it.
    """
    at_once = max(1, _BYTES_AT_ONCE // max(array[:1].nbytes, 1))
    for start in range(0, len(array), at_once):
        yield array[start : start + at_once]
        advise(array, "MADV_DONTNEED")


def steps_of(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first, steps (some,) float64) from each value (count,) to the next, piece by piece."""
    first, last = 0, np.empty(0)
    for piece in pieces_of(values):
        joined = np.concatenate([last, piece.astype(np.float64)])
        if len(joined) > 1:
            yield first, np.diff(joined)
        first, last = first + len(joined) - 1, joined[-1:]


def advise(mapped: np.ndarray, advice: str) -> None:
    """Tell the system how an array that is mapped from a file is read; nothing for others."""
    under = getattr(mapped, "_mmap", None)
    if under is not None and hasattr(mmap, advice):
        under.madvise(getattr(mmap, advice))


def savez(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """`numpy.savez`, byte for byte, without more than a piece of each array in memory."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array[:1]))
                np.lib.format.write_array_header_1_0(member, header | {"shape": array.shape})
                for piece in pieces_of(array):
                    member.write(np.ascontiguousarray(piece).data)
