"""Which frames of a GROMACS .trr have positions.

A .trr may hold velocities or forces oftener than positions; its readers then repeat the positions of the frame before.
In: a file. Out: one flag a frame, from the frames' headers, which say how many bytes of what follow.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_MAGIC = 1993
_SIZES = ("ir", "e", "box", "vir", "pres", "top", "sym", "x", "v", "f")


def frames_with_positions(path: Path) -> np.ndarray | None:
    """bool (frames,), or None where the file is none of this format or ends within a frame (its reader says so)."""
    flags = []
    size = path.stat().st_size
    with open(path, "rb") as file:
        while file.tell() < size:
            head = file.read(12)
            if len(head) < 12:
                return None
            magic, _, length = struct.unpack(">3i", head)
            if magic != _MAGIC or not 0 < length < 256:
                return None
            rest = file.read((length + 3) // 4 * 4 + 4 * len(_SIZES) + 12)[(length + 3) // 4 * 4 :]
            if len(rest) < 4 * len(_SIZES) + 12:
                return None
            *numbers, atoms, _, _ = struct.unpack(f">{len(_SIZES) + 3}i", rest)
            sizes = dict(zip(_SIZES, numbers, strict=True))
            real = _bytes_a_number(sizes, atoms)
            if real is None or min(sizes.values()) < 0:
                return None
            file.seek(2 * real + sum(sizes.values()), 1)
            flags.append(sizes["x"] > 0)
    return np.array(flags, dtype=bool)


def _bytes_a_number(sizes: Mapping[str, int], atoms: int) -> int | None:
    """4 or 8, from the first block that there is."""
    for name, numbers in (("box", 9), ("x", 3 * atoms), ("v", 3 * atoms), ("f", 3 * atoms)):
        if sizes[name] and numbers:
            return sizes[name] // numbers if sizes[name] // numbers in (4, 8) else None
    return None
