"""Bare numpy arrays of positions, whose unit the caller declares.

In: an .npy or .npz. Out: positions in nm, all at once or some frames after the others.
"""

import lzma
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
    """Positions `shape` (frames, points, 3) of an open .npy or .npz, read in order of frames; what lies between may be
    passed over.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile | None, file: IO[bytes]) -> None:
        self._path, self._archive, self._file, self._next = path, archive, file, 0
        self.shape, self.fortran_order, self._dtype = _header(file)
        check_positions(self.shape, self._dtype, path)

    def read(self, first: int, frames: int) -> np.ndarray:
        """At most so many frames (frames, points, 3) from the first on, which is not before those read already."""
        frame_bytes = self._dtype.itemsize * self.shape[1] * 3
        count = min(frames, self.shape[0] - first)
        try:
            with damage_as_value_error():
                self._file.seek((first - self._next) * frame_bytes, 1)
                data = self._file.read(count * frame_bytes)
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path} cannot be read as a numpy file ({reason(error)}): make it anew") from None
        if len(data) < count * frame_bytes:
            raise InputError(f"{self._path} is truncated: its header announces {self.shape[0]} frames; make it anew")
        self._next = first + count
        return np.frombuffer(data, self._dtype).reshape(count, *self.shape[1:])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        if self._archive is not None:
            self._archive.close()


def open_array(path: Path) -> ArrayReader:
    """The positions of an .npy or .npz that is not packed; OSError or ValueError for what cannot be read."""
    with damage_as_value_error():
        if not zipfile.is_zipfile(path):
            file: IO[bytes] = open(path, "rb")
            try:
                return ArrayReader(path, None, file)
            except BaseException:
                file.close()
                raise
        archive = zipfile.ZipFile(path)
        try:
            refuse_bomb(archive)
            return ArrayReader(path, archive, archive.open(_member(archive, path)))
        except BaseException:
            archive.close()
            raise


def in_pieces(path: Path) -> bool:
    """Whether the frames of an array lie one after the other in the file, and not packed as a whole."""
    if packing_of(path):
        return False
    try:
        reader = open_array(path)
    except (OSError, ValueError, InputError):
        return True  # which says so where it is read
    reader.close()
    return not reader.fortran_order


def read_some(path: Path, length_unit: str) -> np.ndarray:
    """The first, middle and last frame of an array (3 or fewer, points, 3) in nm; InputError as `read_array`."""
    if not in_pieces(path):
        array = read_array(path, length_unit, 1)
        return array[sorted({0, len(array) // 2, len(array) - 1})]
    with opened(path) as reader:
        frames = reader.shape[0]
        some = [reader.read(number, 1) for number in sorted({0, frames // 2, frames - 1})]
    return (np.concatenate(some) * NM_PER[length_unit]).astype(np.float32)


@contextmanager
def opened(path: Path) -> Iterator[ArrayReader]:
    """`open_array` for a block; InputError for what cannot be read."""
    try:
        reader = open_array(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a numpy file ({reason(error)}): truncated? make it anew") from None
    try:
        yield reader
    finally:
        reader.close()


def _header(file: IO[bytes]) -> Any:
    """(shape, whether in Fortran's order, dtype) of an .npy at whose beginning a file is."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """The array of positions in an .npz: `positions`, or the only one of three dimensions."""
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if "positions.npy" in names:
        return "positions.npy"
    found = []
    for name in names:
        with archive.open(name) as file:
            if len(_header(file)[0]) == 3:
                found.append(name)
    if len(found) != 1:
        listed = sorted(name.removesuffix(".npy") for name in names)
        raise InputError(f"{path} holds {listed}: name the array of (frames, beads, 3) `positions`")
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
