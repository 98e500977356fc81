"""Formats whose readers end the process on a damaged file, or run what a hostile one holds: looked at before they are
read.

In: a file and its format. Out: nothing, or a ValueError that says what is wrong with it. PyTables unpickles attributes
and objects of HDF5 files, which runs whatever stands there; from here on it does not, in this process.
"""

import pickle
import struct
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

_HDF5 = (".h5", ".hdf5", ".lh5")
_TRR_MAGIC = 1993
# In a process of its own, which may crash: all that there is, a piece at a time.
_READ_ALL = """
import sys, tables
with tables.open_file(sys.argv[1]) as file:
    for node in file.walk_nodes("/", "Leaf"):
        step = max(1, (16 << 20) // max(1, node.size_in_memory // max(1, len(node))))
        for start in range(0, len(node), step):
            node[start : start + step]
"""


def refuse_dangerous(path: Path, suffix: str) -> None:
    """Raise ValueError for a file of the format `suffix` that its reader would crash on."""
    if suffix in _HDF5:
        unpickle_no_hdf5()
    if suffix in _HDF5 or suffix == ".trr":
        of = path.stat()
        fault = (_hdf5_fault if suffix in _HDF5 else _trr_fault)(str(path.resolve()), of.st_mtime_ns, of.st_size)
        if fault is not None:
            raise ValueError(fault)


def unpickle_no_hdf5() -> None:
    """Keep PyTables from unpickling anything in this process: pickled attributes stay the bytes that they are."""
    import tables

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise pickle.UnpicklingError("objects of HDF5 files are not unpickled")

    for module in (tables.attributeset, tables.atom):
        if module.pickle is pickle:
            module.pickle = SimpleNamespace(
                loads=refuse,
                dumps=pickle.dumps,
                HIGHEST_PROTOCOL=pickle.HIGHEST_PROTOCOL,
                PickleError=pickle.PickleError,
            )


@lru_cache(maxsize=256)
def _hdf5_fault(path: str, changed_ns: int, size: int) -> str | None:
    """Whether a process that reads the whole file crashes; what else is wrong its reader will say."""
    done = subprocess.run([sys.executable, "-I", "-c", _NO_PICKLE + _READ_ALL, path], capture_output=True)
    return f"reading it ends a process by signal {-done.returncode}" if done.returncode < 0 else None


_NO_PICKLE = """
import tables
from types import SimpleNamespace
def refuse(*_, **__):
    raise ValueError
tables.attributeset.pickle = tables.atom.pickle = SimpleNamespace(loads=refuse)
"""


@lru_cache(maxsize=256)
def _trr_fault(path: str, changed_ns: int, size: int) -> str | None:
    """What makes the reader divide by zero or run off: headers of frames that contradict each other."""
    first = None
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            magic, _, length = struct.unpack(">3i", head)
            if magic != _TRR_MAGIC or not 0 < length < 256:
                return None  # the reader says so
            numbers = file.read((length + 3) // 4 * 4 + 52)[(length + 3) // 4 * 4 :]
            if len(numbers) < 52:
                return None
            ir, e, box, vir, pres, top, sym, x, v, f, atoms, *_ = struct.unpack(">13i", numbers)
            first = first or atoms
            if atoms != first or atoms <= 0 or min(ir, e, box, vir, pres, top, sym, x, v, f) < 0:
                return f"a frame announces {atoms} atoms where the first has {first}"
            numbers_of = [(block, 3 * atoms) for block in (x, v, f) if block] + [(box, 9)] * bool(box)
            real = numbers_of[0][0] // numbers_of[0][1] if numbers_of else 4
            if real not in (4, 8) or any(block != real * count for block, count in numbers_of):
                return "the sizes in a frame's header are not those of its atoms"
            file.seek(2 * real + ir + e + box + vir + pres + top + sym + x + v + f, 1)
    return None
