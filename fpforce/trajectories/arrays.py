"""Bare numpy arrays of positions, whose unit the caller declares.

In: an .npy or .npz. Out: positions in nm, all at once or some frames after the others.
"""

import lzma
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import damage_as_value_error, numpy_file, refuse_bomb
from fpforce.trajectories.formats import packing_of, unpacked
from fpforce.trajectories.unreadable import reason

NM_PER = {"nm": 1.0, "angstrom": 0.1}


def read_array(path: Path, length_unit: str, stride: int) -> np.ndarray:
    """Positions (frames, atoms, 3) in nm of an .npy, or of an .npz holding `positions` or one 3-d array.

    Args:
        length_unit: "nm" or "angstrom".
        stride: take every stride-th frame.
    """
    try:
        with numpy_file(unpacked(path)) as content:
            array = content if isinstance(content, np.ndarray) else _positions_in(content, path)
    except (OSError, ValueError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read as a numpy file ({reason(error)}): truncated? make it anew") from None
    check_positions(array.shape, array.dtype, path)
    return (array[::stride] * NM_PER[length_unit]).astype(np.float32)


class ArrayReader:
    """An array `shape`, `dtype` of an open .npy or .npz, read in order along its first axis; what lies between may be
    passed over.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile | None, file: IO[bytes]) -> None:
        self._path, self._archive, self._file, self._next = path, archive, file, 0
        self.shape, self.fortran_order, self.dtype = _header(file)

    def read(self, first: int, count: int) -> np.ndarray:
        """At most so many of its parts (count, ...) from the first on, which is not before those read already."""
        bytes_each = self.dtype.itemsize * math.prod(self.shape[1:])
        count = max(0, min(count, self.shape[0] - first))
        try:
            with damage_as_value_error():
                self._file.seek((first - self._next) * bytes_each, 1)
                data = self._file.read(count * bytes_each)
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path} cannot be read as a numpy file ({reason(error)}): make it anew") from None
        if len(data) < count * bytes_each:
            raise InputError(f"{self._path} is truncated: its header announces {self.shape[0]} frames; make it anew")
        self._next = first + count
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._archive is not None:
            self._archive.close()


def open_array(path: Path, name: str = "positions") -> ArrayReader | None:
    """The array of an .npy, or the one of this name in an .npz (`positions` may have another, where it is the only one
    of three dimensions); None where it can be read as a whole alone: packed files, and those in Fortran's order.

    OSError, ValueError or EOFError for what cannot be read, InputError where an .npz has no such array.
    """
    if packing_of(path):
        return None
    with damage_as_value_error():
        archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None
        file: IO[bytes] | None = None
        try:
            if archive is None:
                file = open(path, "rb")
            else:
                refuse_bomb(archive)
                file = archive.open(_member(archive, path, name))
            reader = ArrayReader(path, archive, file)
        except BaseException:
            for opened in (file, archive):
                if opened is not None:
                    opened.close()
            raise
    if reader.fortran_order or reader.dtype.hasobject:
        reader.close()
        return None
    return reader


def read_some(path: Path, length_unit: str) -> np.ndarray:
    """The first, middle and last frame of an array (3 or fewer, points, 3) in nm; InputError as `read_array`."""
    with opened(path) as reader:
        if reader is not None:
            check_positions(reader.shape, reader.dtype, path)
            frames = reader.shape[0]
            some = [reader.read(number, 1) for number in sorted({0, frames // 2, frames - 1})]
            return (np.concatenate(some) * NM_PER[length_unit]).astype(np.float32)
    array = read_array(path, length_unit, 1)
    return array[sorted({0, len(array) // 2, len(array) - 1})]


@contextmanager
def opened(path: Path, name: str = "positions") -> Iterator[ArrayReader | None]:
    """`open_array` for a block; InputError for what cannot be read."""
    try:
        reader = open_array(path, name)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a numpy file ({reason(error)}): truncated? make it anew") from None
    try:
        yield reader
    finally:
        if reader is not None:
            reader.close()


def _header(file: IO[bytes]) -> Any:
    """(shape, whether in Fortran's order, dtype) of an .npy at whose beginning a file is."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _member(archive: zipfile.ZipFile, path: Path, wanted: str) -> str:
    """The file in an .npz that holds an array."""
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if f"{wanted}.npy" in names:
        return f"{wanted}.npy"
    found = []
    for name in names if wanted == "positions" else ():
        with archive.open(name) as file:
            if len(_header(file)[0]) == 3:
                found.append(name)
    if len(found) != 1:
        what = "(frames, beads, 3)" if wanted == "positions" else wanted
        listed = sorted(name.removesuffix(".npy") for name in names)
        raise InputError(f"{path} holds {listed}: name the array of {what} `{wanted}`")
    return found[0]


def check_positions(shape: tuple[int, ...], dtype: np.dtype, path: Path) -> None:
    """Raise InputError for an array that does not hold positions (frames, points, 3)."""
    if len(shape) != 3 or shape[-1] != 3 or not shape[0] or not np.issubdtype(dtype, np.floating):
        raise InputError(f"{path} holds {dtype} of shape {shape}: positions must be floating-point (frames, beads, 3)")


def _positions_in(npz: Any, path: Path) -> np.ndarray:
    if "positions" in npz.files:
        return npz["positions"]
    arrays = [array for array in (npz[name] for name in npz.files) if array.ndim == 3]
    if len(arrays) != 1:
        raise InputError(f"{path} holds {sorted(npz.files)}: name the array of (frames, beads, 3) `positions`")
    return arrays[0]
