"""Bare numpy arrays of positions, whose unit the caller declares.

In: an .npy or .npz. Out: positions in nm.
"""

import lzma
from pathlib import Path
from typing import Any

import numpy as np

from fpforce.foundation.errors import InputError
from fpforce.foundation.foreign_files import numpy_file
from fpforce.trajectories.formats import unpacked
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
    check_positions(array, path)
    return (array[::stride] * NM_PER[length_unit]).astype(np.float32)


def check_positions(array: np.ndarray, path: Path) -> None:
    """Raise InputError for an array that does not hold positions (frames, points, 3)."""
    if array.ndim != 3 or array.shape[-1] != 3 or not len(array) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}: positions must be floating-point (frames, beads, 3)"
        )


def _positions_in(npz: Any, path: Path) -> np.ndarray:
    if "positions" in npz.files:
        return npz["positions"]
    arrays = [array for array in (npz[name] for name in npz.files) if array.ndim == 3]
    if len(arrays) != 1:
        raise InputError(f"{path} holds {sorted(npz.files)}: name the array of (frames, beads, 3) `positions`")
    return arrays[0]
